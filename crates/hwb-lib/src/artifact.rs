//! From what a backend left to an artifact in the output folder: checked, written canonically, published by rename.

use std::path::{Path, PathBuf};

use hwb_archive::Limits;
use hwb_ident::{Digest, PackageName, Timestamp, Version};
use hwb_wheel::native::{Native, NativeFormat, Tie};
use hwb_wheel::{Expect, Sdist, Wheel, sdist};

use crate::build::{ArtifactKind, ArtifactReport};
use crate::error::{Error, ErrorKind};
use crate::world::World;

/// An artifact that passed its check, in the bytes in which it is published.
#[derive(Debug, Clone)]
pub(crate) struct Finished {
    pub(crate) kind: ArtifactKind,
    pub(crate) file: String,
    pub(crate) name: PackageName,
    pub(crate) version: Version,
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: Digest,
    pub(crate) code: Code,
    pub(crate) warnings: Vec<String>,
}

/// Whether an artifact has native code that says where it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// It has programs or libraries in ELF, for a machine that has platform tags.
    Elf,
    /// It has none.
    Absent,
}

/// What the source promised of the artifact.
#[derive(Debug, Clone, Default)]
pub(crate) struct Promise {
    pub(crate) name: Option<PackageName>,
    pub(crate) version: Option<Version>,
}

impl Promise {
    fn expect(&self) -> Expect {
        Expect { name: self.name.clone(), version: self.version.clone() }
    }
}

/// Why an artifact is not published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArtifactError {
    /// The hook named a file that is not there.
    #[error("the backend says that it made `{0}`, which is not in the output folder it was given")]
    Absent(String),
    /// The wheel cannot be read as one.
    #[error("`{file}` is not a valid wheel")]
    Wheel {
        /// Its name.
        file: String,
        /// Why.
        #[source]
        source: hwb_wheel::WheelError,
    },
    /// The wheel fails its check.
    #[error("`{file}` fails its check and was not written to the output folder")]
    Check {
        /// Its name.
        file: String,
        /// Why.
        #[source]
        source: hwb_wheel::CheckError,
    },
    /// The wheel cannot be written canonically.
    #[error("failed to write `{file}`")]
    Write {
        /// Its name.
        file: String,
        /// Why.
        #[source]
        source: hwb_wheel::WriteError,
    },
    /// The sdist cannot be read as one.
    #[error("`{file}` is not a valid sdist")]
    Sdist {
        /// Its name.
        file: String,
        /// Why.
        #[source]
        source: sdist::SdistError,
    },
    /// The sdist fails its check.
    #[error("`{file}` fails its check and was not written to the output folder")]
    SdistCheck {
        /// Its name.
        file: String,
        /// Why.
        #[source]
        source: sdist::SdistCheckError,
    },
    /// The sdist cannot be written canonically.
    #[error("failed to write `{file}`")]
    SdistWrite {
        /// Its name.
        file: String,
        /// Why.
        #[source]
        source: hwb_archive::tar::WriteError,
    },
    /// The output folder cannot be used.
    #[error("failed to write to the output folder `{}`", directory.display())]
    Output {
        /// The folder.
        directory: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Checks the wheel `file` in `directory` and writes it canonically.
pub(crate) fn finish_wheel(
    directory: &Path,
    file: &str,
    promise: &Promise,
    time: Timestamp,
) -> Result<Finished, Error> {
    let raw = read(directory, file)?;
    let named = || file.to_owned();
    let wheel = Wheel::read(file, &raw)
        .map_err(|source| check_error(ArtifactError::Wheel { file: named(), source }))?;
    let report = hwb_wheel::check(&wheel, &promise.expect())
        .map_err(|source| check_error(ArtifactError::Check { file: named(), source }))?;
    let bytes = hwb_wheel::canonical(&wheel, time)
        .map_err(|source| check_error(ArtifactError::Write { file: named(), source }))?;
    Ok(Finished {
        kind: ArtifactKind::Wheel,
        file: named(),
        name: wheel.metadata().name.clone(),
        version: wheel.metadata().version.clone(),
        digest: Digest::of(&bytes),
        bytes,
        code: if report.native.iter().any(|(_, native)| is_elf(native)) { Code::Elf } else { Code::Absent },
        warnings: report.warnings.iter().map(ToString::to_string).collect(),
    })
}

fn is_elf(native: &Native) -> bool {
    native.format == NativeFormat::Elf && native.tie == Tie::Platform
}

/// Checks the sdist `file` in `directory` and writes it canonically.
pub(crate) fn finish_sdist(
    directory: &Path,
    file: &str,
    promise: &Promise,
    time: Timestamp,
) -> Result<Finished, Error> {
    let raw = read(directory, file)?;
    let named = || file.to_owned();
    let sdist = Sdist::read(file, &raw, &Limits::default())
        .map_err(|source| check_error(ArtifactError::Sdist { file: named(), source }))?;
    let report = sdist::check(&sdist, &promise.expect())
        .map_err(|source| check_error(ArtifactError::SdistCheck { file: named(), source }))?;
    let bytes = sdist::canonical(&sdist, time)
        .map_err(|source| check_error(ArtifactError::SdistWrite { file: named(), source }))?;
    Ok(Finished {
        kind: ArtifactKind::Sdist,
        file: named(),
        name: report.metadata.name.clone(),
        version: report.metadata.version.clone(),
        digest: Digest::of(&bytes),
        bytes,
        code: Code::Absent,
        warnings: report.warnings.iter().map(ToString::to_string).collect(),
    })
}

fn read(directory: &Path, file: &str) -> Result<Vec<u8>, Error> {
    fs_err::read(directory.join(file))
        .map_err(|_| Error::new(ErrorKind::Build, ArtifactError::Absent(file.to_owned())))
}

fn check_error(error: ArtifactError) -> Error {
    Error::new(ErrorKind::Check, error)
}

/// Puts an artifact into the output folder: whoever looks sees the old file or the new one, whole.
pub(crate) fn publish(world: &World, artifact: &Finished, out_dir: &Path) -> Result<PathBuf, Error> {
    let place = out_dir.join(&artifact.file);
    fs_err::create_dir_all(out_dir).map_err(|source| output_error(out_dir, source))?;
    let scratch = world.store.scratch("publish")?;
    let complete = scratch.path().join(&artifact.file);
    fs_err::write(&complete, &artifact.bytes).map_err(|source| output_error(scratch.path(), source))?;
    hwb_store::fs::publish(&complete, &place)?;
    Ok(place)
}

/// Removes from the output folder what earlier commands made of the projects of `reports` (`--clean`).
pub(crate) fn clean(out_dir: &Path, reports: &[ArtifactReport]) -> Result<(), Error> {
    let failed = |source| output_error(out_dir, source);
    for entry in fs_err::read_dir(out_dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(file) = entry.file_name().into_string() else { continue };
        let is_new = reports.iter().any(|report| report.file == file);
        if !is_new && reports.iter().any(|report| is_artifact_of(&file, &report.name)) {
            fs_err::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

fn is_artifact_of(file: &str, name: &str) -> bool {
    if file.ends_with(".whl") {
        return file.parse::<hwb_ident::WheelFilename>().is_ok_and(|wheel| wheel.name.as_ref() == name);
    }
    hwb_ident::SourceDistFilename::parsed_normalized_filename(file)
        .is_ok_and(|sdist| sdist.name.as_ref() == name)
}

fn output_error(directory: &Path, source: std::io::Error) -> Error {
    Error::new(ErrorKind::Machine, ArtifactError::Output { directory: directory.to_path_buf(), source })
}
