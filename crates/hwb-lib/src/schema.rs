//! The documents that `--json` prints, by name, each with its JSON schema.

use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use crate::audit::{AuditOutcome, PolicyEntry};
use crate::build::{ArtifactReport, BuildReport, PlanReport};
use crate::cache::{CacheDirectory, CacheUsage, Removed};
use crate::doctor::Finding;
use crate::error::{Error, ErrorKind, LogExcerpt};
use crate::history::Record;
use crate::image::{
    CommitReport, ExportReport, ImageDetails, ImageReport, LoginReport, LogoutReport, PushReport, RunReport,
    StepReport,
};
use crate::inspect::InspectReport;
use crate::python::Interpreter;
use crate::repair::RepairOutcome;
use crate::settings::Setting;
use crate::verify::VerifyReport;

/// What every command prints with `--json` when it fails.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ErrorDocument {
    /// The failure.
    pub error: ErrorBody,
    /// What `hwb build` wrote all the same, in the order of the request; absent if that is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<ArtifactReport>,
}

/// A failure.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ErrorBody {
    /// Its kind; the exit code follows from it.
    pub kind: ErrorKind,
    /// What was attempted, on what.
    pub message: String,
    /// Why it failed, down to the root.
    pub causes: Vec<String>,
    /// What to try.
    pub hints: Vec<String>,
    /// What the backend printed before it failed.
    pub log: Option<LogExcerpt>,
}

impl From<&Error> for ErrorBody {
    fn from(error: &Error) -> Self {
        let mut chain = error.chain();
        let message = chain.next().unwrap_or_default();
        let (causes, hints) = (chain.collect(), error.hints().to_vec());
        Self { kind: error.kind(), message, causes, hints, log: error.log().cloned() }
    }
}

impl From<&Error> for ErrorDocument {
    fn from(error: &Error) -> Self {
        Self { error: error.into(), artifacts: error.artifacts().to_vec() }
    }
}

/// The name of a document, and how its schema is made.
type Document = (&'static str, fn() -> Schema);

const DOCUMENTS: [Document; 28] = [
    ("audit", || schema_for!(Vec<AuditOutcome>)),
    ("build", || schema_for!(BuildReport)),
    ("cache-clean", || schema_for!(Removed)),
    ("cache-dir", || schema_for!(CacheDirectory)),
    ("cache-du", || schema_for!(CacheUsage)),
    ("config", || schema_for!(Vec<Setting>)),
    ("doctor", || schema_for!(Vec<Finding>)),
    ("error", || schema_for!(ErrorDocument)),
    ("history", || schema_for!(Vec<Record>)),
    ("image-commit", || schema_for!(CommitReport)),
    ("image-export", || schema_for!(ExportReport)),
    ("image-history", || schema_for!(Vec<StepReport>)),
    ("image-import", || schema_for!(Vec<ImageReport>)),
    ("image-inspect", || schema_for!(ImageDetails)),
    ("image-login", || schema_for!(LoginReport)),
    ("image-logout", || schema_for!(LogoutReport)),
    ("image-ls", || schema_for!(Vec<ImageReport>)),
    ("image-pull", || schema_for!(Vec<ImageReport>)),
    ("image-push", || schema_for!(Vec<PushReport>)),
    ("image-rm", || schema_for!(Vec<String>)),
    ("image-runs", || schema_for!(Vec<RunReport>)),
    ("image-tag", || schema_for!(Vec<ImageReport>)),
    ("inspect", || schema_for!(InspectReport)),
    ("plan", || schema_for!(PlanReport)),
    ("policies", || schema_for!(Vec<PolicyEntry>)),
    ("python", || schema_for!(Vec<Interpreter>)),
    ("repair", || schema_for!(Vec<RepairOutcome>)),
    ("verify", || schema_for!(VerifyReport)),
];

/// The names of the documents, sorted.
pub fn names() -> [&'static str; DOCUMENTS.len()] {
    DOCUMENTS.map(|(name, _)| name)
}

/// The schema of a document; `None` if there is none of that name.
pub fn schema(name: &str) -> Option<Schema> {
    DOCUMENTS.iter().find(|(known, _)| *known == name).map(|(_, schema)| schema())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_has_a_title() {
        assert!(names().is_sorted());
        for name in names() {
            let schema = serde_json::to_value(schema(name).unwrap()).unwrap();
            assert!(schema.get("title").is_some(), "{name}");
        }
        assert!(schema("nothing").is_none());
    }
}
