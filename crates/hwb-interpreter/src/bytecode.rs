//! Bytecode of unpacked wheels, compiled once, so that no backend pays for its own imports.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use hwb_ident::{Digest, GuestPath};
use hwb_sandbox::{Cancel, Control, ExecSpec, OutputSink, Session, Stream};
use hwb_store::Store;
use hwb_uv::Python;

use crate::environment::EnvironmentError;

/// The first version of Python that can write bytecode that is not checked against a file's time.
const FIRST_UNCHECKED: (u8, u8) = (3, 7);

/// The area of the records that say what was compiled.
const RECORDS: &str = "bytecode";

/// Where the interpreter runs.
#[derive(Debug)]
pub(crate) struct Compiler<'a> {
    pub(crate) session: &'a mut dyn Session,
    pub(crate) cancel: &'a Cancel,
}

/// Compiles the modules of those `wheels` that were not yet compiled for this version of Python. A module that does not
/// compile is left as it is: importing it says why.
pub(crate) fn compile_once<'a>(
    store: &Store,
    python: &Python,
    wheels: impl Iterator<Item = &'a Path>,
    compiler: Compiler<'_>,
) -> Result<(), EnvironmentError> {
    if python.minor() < FIRST_UNCHECKED || python.implementation() != "cpython" {
        return Ok(());
    }
    let mut left = Vec::new();
    for wheel in wheels {
        let record = record_name(python, wheel);
        if store.record_get::<bool>(RECORDS, &record)?.is_none() {
            left.push((wheel, record));
        }
    }
    if left.is_empty() {
        return Ok(());
    }
    let Compiler { session, cancel } = compiler;
    let wheels = left.iter().map(|(wheel, _)| *wheel);
    session.start(&command(python, wheels))?.wait(cancel, None, &mut Silence)?;
    for (_, record) in &left {
        store.record_put(RECORDS, record, &true)?;
    }
    Ok(())
}

/// An unpacked wheel is never changed, so that its path says what it is.
fn record_name(python: &Python, wheel: &Path) -> String {
    let (major, minor) = python.minor();
    let threads = if python.is_free_threaded() { "t" } else { "" };
    format!("{}-{major}.{minor}{threads}", Digest::of(wheel.as_os_str().as_encoded_bytes()).short())
}

/// The interpreter runs without `site`, so that nothing of the wheels is executed.
fn command<'a>(python: &Python, wheels: impl Iterator<Item = &'a Path>) -> ExecSpec {
    let mut argv = vec![python.base_executable().into_os_string()];
    for argument in ["-I", "-S", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"] {
        argv.push(argument.into());
    }
    // Scripts are no modules, and a folder among them makes the wheel one that cannot be installed.
    argv.extend(["-x", "[.]data/(scripts|data|headers)/"].map(OsString::from));
    argv.extend(wheels.map(OsString::from));
    ExecSpec {
        argv,
        cwd: GuestPath::new("/"),
        env: BTreeMap::from([("PATH", "/usr/bin:/bin"), ("LC_ALL", "C.UTF-8")])
            .into_iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect(),
        control: Control::None,
    }
}

/// Modules for other versions of Python do not compile, and say so at length.
struct Silence;

impl OutputSink for Silence {
    fn write(&mut self, _stream: Stream, _bytes: &[u8]) {}
}
