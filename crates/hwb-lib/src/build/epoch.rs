//! Which time a build counts as.

use hwb_ident::{SourceSpec, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use crate::build::BuildRequest;
use crate::error::{Error, ErrorKind};
use crate::world::World;

/// Who chose the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EpochOrigin {
    /// `--env SOURCE_DATE_EPOCH=…` or the settings.
    Added,
    /// `SOURCE_DATE_EPOCH` of the environment.
    Environment,
    /// The newest member of the archive.
    NewestMember,
    /// The commit.
    Commit,
    /// Nobody: a directory has no time of its own, and the one of its files is no property of the source.
    Fixed,
}

impl EpochOrigin {
    /// Why it is this time, for people.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Added => "`--env` or the settings say so",
            Self::Environment => "`SOURCE_DATE_EPOCH` says so",
            Self::NewestMember => "the newest member of the archive",
            Self::Commit => "when it was committed",
            Self::Fixed => "a directory has no time of its own",
        }
    }

    /// Who chooses the time of a source where the user does not.
    pub(crate) fn of_source(source: &SourceSpec, is_archive: impl FnOnce() -> bool) -> Self {
        match source {
            SourceSpec::Git(_) => Self::Commit,
            SourceSpec::Url(_) | SourceSpec::Requirement(_) => Self::NewestMember,
            SourceSpec::Path(_) if is_archive() => Self::NewestMember,
            SourceSpec::Path(_) => Self::Fixed,
        }
    }
}

/// A time that the user chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) time: Timestamp,
    pub(crate) origin: EpochOrigin,
}

/// The time does not parse.
#[derive(Debug, thiserror::Error)]
#[error("`SOURCE_DATE_EPOCH` cannot be used")]
struct EpochError(#[source] hwb_ident::time::ParseTimestampError);

const VARIABLE: &str = "SOURCE_DATE_EPOCH";

/// The time that the user chose, if he did.
pub(crate) fn given(world: &World, request: &BuildRequest) -> Result<Option<Given>, Error> {
    let (text, origin) = match (request.env.get(VARIABLE), world.ambient.var(VARIABLE)) {
        (Some(text), _) => (text.as_str(), EpochOrigin::Added),
        (None, Some(text)) => (text, EpochOrigin::Environment),
        (None, None) => return Ok(None),
    };
    let time = text.parse().map_err(|error| Error::new(ErrorKind::Configuration, EpochError(error)))?;
    Ok(Some(Given { time, origin }))
}
