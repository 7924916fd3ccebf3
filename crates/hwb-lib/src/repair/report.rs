//! What is said of a repair.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hwb_repair::repair::{Package, Plan};
use schemars::JsonSchema;
use serde::Serialize;

use crate::audit::BlockerReport;
use crate::error::Error;
use crate::schema::ErrorBody;

/// What became of one wheel.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum RepairOutcome {
    /// It was repaired, or would be.
    Report(RepairReport),
    /// It was not; the others were all the same.
    Failure(RepairFailure),
}

/// A wheel that is not repaired.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RepairFailure {
    /// Its file name.
    pub wheel: String,
    /// Why not.
    #[serde(serialize_with = "as_body")]
    #[schemars(with = "ErrorBody")]
    pub error: Error,
    /// What is in the way of the tag, where that is why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blockers: Vec<BlockerReport>,
}

fn as_body<S: serde::Serializer>(error: &Error, serializer: S) -> Result<S::Ok, S::Error> {
    ErrorBody::from(error).serialize(serializer)
}

/// What was done to a wheel, or would be.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RepairReport {
    /// Its file name.
    pub wheel: String,
    /// The file name of the new wheel.
    pub file: String,
    /// Where the new wheel is; null if it was only planned.
    pub path: Option<PathBuf>,
    /// `sha256:…` of the new wheel; null if it was only planned.
    pub digest: Option<String>,
    /// The tag of the policy that it was repaired for; null for a wheel without native code, which is copied.
    pub tag: Option<String>,
    /// All platform tags of the new wheel.
    pub platforms: Vec<String>,
    /// The libraries that come along.
    pub grafted: Vec<GraftReport>,
    /// The libraries that wheels of other distributions provide, with the distributions.
    pub provided: BTreeMap<String, String>,
    /// The files that change.
    pub changed: Vec<ChangeReport>,
}

/// A library that comes along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GraftReport {
    /// Where it was found.
    pub source: String,
    /// Where it is in the wheel.
    pub path: String,
    /// The package URL of what it was installed by, where that is known; not looked up for a plan.
    pub package: Option<String>,
    /// The files that need it.
    pub needed_by: Vec<String>,
}

/// A file that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ChangeReport {
    /// The file.
    pub file: String,
    /// Where it moves to, if it moves.
    pub moved_to: Option<String>,
    /// What it calls libraries now, and what it calls them then; null for those that it needs no more.
    pub needed: BTreeMap<String, Option<String>>,
    /// Its new run path; empty if it loses the one that it has, null if that stays.
    pub run_path: Option<String>,
}

impl RepairReport {
    pub(super) fn new(wheel: &str, plan: &Plan, packages: &BTreeMap<String, Package>) -> Self {
        use hwb_repair::elf::edit::RunPathEdit;

        let package = |source: &String| packages.get(source).map(Package::purl);
        let grafted = plan.grafts.iter().map(|graft| GraftReport {
            source: graft.source.clone(),
            path: graft.path.clone(),
            package: package(&graft.source),
            needed_by: graft.needed_by.iter().cloned().collect(),
        });
        let changed = plan.edits.iter().map(|(file, edits)| ChangeReport {
            file: file.clone(),
            moved_to: plan.moves.get(file).cloned(),
            needed: edits.needed.clone(),
            run_path: match &edits.run_path {
                RunPathEdit::Keep => None,
                RunPathEdit::Remove => Some(String::new()),
                RunPathEdit::Rpath(path) | RunPathEdit::Runpath(path) => Some(path.clone()),
            },
        });
        Self {
            wheel: wheel.to_owned(),
            file: plan.filename.clone(),
            path: None,
            digest: None,
            tag: plan.tag.clone(),
            platforms: plan.platforms.iter().cloned().collect(),
            grafted: grafted.collect(),
            provided: plan.provided.clone(),
            changed: changed.collect(),
        }
    }
}
