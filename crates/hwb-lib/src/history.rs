//! `hwb history`: the record of each build in the store.

use std::time::Duration;

use hwb_ident::{SourceSpec, Timestamp};
use hwb_store::{Store, StoreError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::build::{ArtifactReport, BuildReport};
use crate::cache;
use crate::error::{Error, ErrorKind};
use crate::settings::Settings;

/// What is kept of one build command.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// What kind of work it was.
    pub kind: RecordKind,
    /// When it started, in seconds since 1970.
    #[schemars(with = "u64")]
    pub started: Timestamp,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The source as it was named; without credentials.
    pub source: String,
    /// What came of it.
    pub result: RecordResult,
}

/// What kind of work a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    /// `hwb build`
    Build,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum RecordResult {
    /// Artifacts, with their pins, phases and digests.
    Built {
        /// In the order of the request.
        artifacts: Vec<ArtifactReport>,
    },
    /// An error.
    Failed {
        /// Of which kind.
        kind: ErrorKind,
        /// What was said first.
        message: String,
        /// Why, down to the root.
        #[serde(default)]
        causes: Vec<String>,
        /// What was built all the same, in the order of the request.
        #[serde(default)]
        artifacts: Vec<ArtifactReport>,
    },
}

impl Record {
    /// Takes down how a build of `source` went that started at `started` and took `elapsed`.
    pub fn of_build(
        source: &SourceSpec,
        started: Timestamp,
        elapsed: Duration,
        result: &Result<BuildReport, Error>,
    ) -> Self {
        let result = match result {
            Ok(report) => RecordResult::Built { artifacts: report.artifacts.clone() },
            Err(error) => RecordResult::Failed {
                kind: error.kind(),
                message: error.to_string(),
                causes: error.chain().skip(1).collect(),
                artifacts: error.artifacts().to_vec(),
            },
        };
        let (kind, seconds) = (RecordKind::Build, elapsed.as_secs_f64());
        Self { kind, started, seconds, source: source.to_string(), result }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("failed to read the history of builds")]
struct HistoryError(#[source] StoreError);

/// Keeps a record.
///
/// # Errors
///
/// If the store cannot write it.
pub fn append(store: &Store, record: &Record) -> Result<(), StoreError> {
    store.history_append(record.started, record)
}

/// The newest records, newest first. Those that another version wrote and this one cannot read are left out.
///
/// # Errors
///
/// If the store cannot be read.
pub fn list(settings: &Settings, limit: usize) -> Result<Vec<Record>, Error> {
    let store = cache::open(settings)?;
    let documents = store.history().map_err(|error| Error::new(ErrorKind::Machine, HistoryError(error)))?;
    let records = documents.into_iter().rev().filter_map(|document| serde_json::from_value(document).ok());
    Ok(records.take(limit).collect())
}
