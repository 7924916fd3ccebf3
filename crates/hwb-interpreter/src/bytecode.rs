//! Bytecode of an environment, compiled once, so that no backend pays for its own imports.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use hwb_ident::GuestPath;
use hwb_sandbox::{Cancel, Control, ExecSpec, OutputSink, SandboxError, Session, Stream};
use hwb_uv::Python;

/// The first version of Python that can write bytecode that is not checked against a file's time.
const FIRST_UNCHECKED: (u8, u8) = (3, 7);

/// Compiles every module below `packages`. A module that does not compile is left as it is: importing it says why.
///
/// The interpreter runs without `site`, so that nothing of the environment is executed.
pub(crate) fn compile(
    python: &Python,
    packages: &Path,
    session: &mut dyn Session,
    cancel: &Cancel,
) -> Result<(), SandboxError> {
    if python.minor() < FIRST_UNCHECKED || python.implementation() != "cpython" {
        return Ok(());
    }
    let mut argv = vec![python.base_executable().into_os_string()];
    for argument in ["-I", "-S", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"] {
        argv.push(argument.into());
    }
    argv.push(packages.into());
    let spec = ExecSpec {
        argv,
        cwd: GuestPath::new("/"),
        env: BTreeMap::from([("PATH", "/usr/bin:/bin"), ("LC_ALL", "C.UTF-8")])
            .into_iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect(),
        control: Control::None,
    };
    session.start(&spec)?.wait(cancel, None, &mut Silence)?;
    Ok(())
}

/// Modules for other versions of Python do not compile, and say so at length.
struct Silence;

impl OutputSink for Silence {
    fn write(&mut self, _stream: Stream, _bytes: &[u8]) {}
}
