//! The audit of a wheel that was built: the platform tag that it deserves, whatever its backend called it.

use std::collections::BTreeSet;
use std::num::NonZero;

use hwb_ident::Digest;
use hwb_repair::{Audit, AuditError, Exceptions, Sysroot, read_wheel};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ambient::Ambient;
use crate::artifact::{Code, Finished};
use crate::audit::FloorReport;
use crate::error::Error;
use crate::repair::{self, Made};

/// How portable the native code of a wheel is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ArtifactAudit {
    /// The platform tag that it deserves.
    pub tag: String,
    /// The libraries that it needs and that the oldest policy does not allow, sorted.
    pub external_libraries: BTreeSet<String>,
    /// Where it runs; null where nothing says so.
    pub floor: Option<FloorReport>,
}

/// Audits a wheel in the bytes in which it is published; `None` if there is nothing in it to audit.
///
/// The libraries of this system do not count: whoever installs the wheel has others.
pub(super) fn audit(wheel: &Finished) -> Result<Option<ArtifactAudit>, AuditError> {
    if wheel.code == Code::Absent {
        return Ok(None);
    }
    let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let code = read_wheel(&wheel.file, &wheel.bytes, threads)?;
    let Audit { tag, external_libraries, floor, .. } =
        code.audit(&Sysroot::default(), &Exceptions::default());
    Ok(Some(ArtifactAudit { tag, external_libraries, floor: floor.map(FloorReport::from) }))
}

/// Repairs a wheel; one without native code is right as it is.
pub(super) fn repair(ambient: &Ambient, wheel: Finished) -> Result<Finished, Error> {
    if wheel.code == Code::Absent {
        return Ok(wheel);
    }
    let Made { file, bytes } = repair::repair_here(ambient, &wheel.file, &wheel.bytes)?;
    Ok(Finished { file, digest: Digest::of(&bytes), bytes, ..wheel })
}
