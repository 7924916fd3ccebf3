//! The one look around: environment, working directory, clock.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use hwb_ident::Timestamp;
use hwb_lib::{Ambient, Error, ErrorKind};

#[derive(Debug, thiserror::Error)]
enum AmbientError {
    #[error("the working directory is gone or cannot be read")]
    WorkingDirectory(#[source] std::io::Error),
    #[error("the path of the running program is not to be had")]
    Executable(#[source] std::io::Error),
}

/// What follows the hidden first argument that turns this process into the small one that enters namespaces.
pub(crate) fn helper_arguments() -> Option<Vec<OsString>> {
    let mut arguments = std::env::args_os().skip(1);
    (arguments.next()? == hwb_lib::HELPER_ARGUMENT).then(|| arguments.collect())
}

/// Captures the surroundings.
#[expect(clippy::disallowed_methods, reason = "this is the place that looks around, once")]
pub(crate) fn capture() -> Result<Ambient, Error> {
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect::<BTreeMap<_, _>>();
    let cwd = std::env::current_dir()
        .map_err(|error| Error::new(ErrorKind::Machine, AmbientError::WorkingDirectory(error)))?;
    let executable = std::env::current_exe()
        .map_err(|error| Error::new(ErrorKind::Machine, AmbientError::Executable(error)))?;
    let home = std::env::home_dir().filter(|home: &PathBuf| home.is_absolute());
    // A clock before 1970 is as good as none.
    let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Ambient { env, cwd, home, clock: Timestamp::from_seconds(now.as_secs()), executable })
}
