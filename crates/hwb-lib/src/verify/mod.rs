//! `hwb verify`: a wheel is built again elsewhere, and compared with the one that is there.

mod compare;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hwb_ident::{Digest, WheelFilename};
use hwb_sandbox::Cancel;
use schemars::JsonSchema;
use serde::Serialize;

pub use self::compare::{Cause, Difference, Lines, What};
use crate::ambient::Ambient;
use crate::build::{ArtifactReport, BuildRequest, Call, Outputs, matrix};
use crate::error::{Error, ErrorKind};
use crate::event::{EventSink, Phase};
use crate::settings::Settings;
use crate::source;
use crate::world::World;

/// What is asked of `hwb verify`.
#[derive(Debug, Clone)]
pub struct VerifyRequest {
    /// The wheel that is there.
    pub wheel: PathBuf,
    /// The build that is to give the same; where it goes is not heeded.
    pub build: BuildRequest,
}

/// What came of it: the document that `--json` prints.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct VerifyReport {
    /// Whether both wheels are the same bytes.
    pub verdict: Verdict,
    /// The file name of the wheel that was given.
    pub wheel: String,
    /// Its SHA-256, as `sha256:…`.
    pub sha256: String,
    /// Every difference; those of members in the order of their paths.
    pub members: Vec<Difference>,
    /// The wheel that was built; its `path` is gone.
    pub built: ArtifactReport,
}

/// Whether two wheels are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every byte of them.
    Identical,
    /// Not every byte of them.
    Different,
}

/// Why nothing can be said of a wheel.
#[derive(Debug, thiserror::Error)]
enum VerifyError {
    /// It cannot be read.
    #[error("failed to read the wheel")]
    Read(#[source] std::io::Error),
    /// It is not named as a wheel.
    #[error("`{file}` is not the name of a wheel")]
    Name {
        /// Its name.
        file: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It is no sound archive.
    #[error("`{file}` cannot be compared")]
    Archive {
        /// Its name.
        file: String,
        /// Why not.
        #[source]
        source: hwb_archive::zip::ZipError,
    },
    /// The build gave no wheel.
    #[error("nothing was built that could be compared with `{0}`")]
    Nothing(String),
    /// The wheels differ.
    #[error("`{wheel}` is not what its source gives: {count} differences")]
    Different {
        /// The wheel that was given.
        wheel: String,
        /// How many differences there are.
        count: usize,
    },
}

/// Builds a wheel again, in other folders than a first build has, and compares.
///
/// Without an interpreter in the request, the one is taken that the tag of the wheel names.
///
/// # Errors
///
/// As [`build`](crate::build::build()), and if the wheel cannot be read. That the wheels differ is no error here:
/// [`VerifyReport::failure`] makes one of it.
pub fn verify(
    request: &VerifyRequest,
    settings: &Settings,
    ambient: &Ambient,
    cancel: &Cancel,
    events: EventSink<'_>,
) -> Result<VerifyReport, Error> {
    let given = Given::read(&ambient.absolute(&request.wheel))?;
    let mut build = request.build.clone();
    build.outputs = Outputs::Wheel;
    if build.pythons.is_empty() {
        build.pythons.extend(given.python());
    }
    let call = Call { request: &build, settings, ambient, cancel };
    call.run(events, |world, build| given.verify(world, build))
}

/// The wheel that is there.
struct Given {
    file: String,
    name: WheelFilename,
    directory: PathBuf,
    bytes: Vec<u8>,
}

impl Given {
    fn read(path: &Path) -> Result<Self, Error> {
        let file = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let name = file.parse().map_err(|source: <WheelFilename as std::str::FromStr>::Err| {
            let source = Box::new(source);
            Error::new(ErrorKind::Check, VerifyError::Name { file: file.clone(), source })
        })?;
        let bytes =
            fs_err::read(path).map_err(|source| Error::new(ErrorKind::Source, VerifyError::Read(source)))?;
        let directory = path.parent().unwrap_or(Path::new("/")).to_path_buf();
        Ok(Self { file, name, directory, bytes })
    }

    /// The interpreter that the tags name, as `--python` takes it; `None` if any will do.
    fn python(&self) -> Option<String> {
        let is_stable = |abi: &str| matches!(abi, "abi3" | "none");
        let abi = self.name.abi_tags().first().map(ToString::to_string)?;
        let tag = self.name.python_tags().first().map(ToString::to_string)?;
        let threads = if !is_stable(&abi) && abi.ends_with('t') { "t" } else { "" };
        let version = |digits: &str| {
            let (major, minor) = digits.split_at_checked(1)?;
            let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            (is_number(major) && is_number(minor)).then(|| format!("{major}.{minor}"))
        };
        match (tag.strip_prefix("cp"), tag.strip_prefix("pp")) {
            (Some(digits), _) => version(digits).map(|version| format!("{version}{threads}")),
            (_, Some(digits)) => version(digits).map(|version| format!("pypy{version}")),
            (None, None) => None,
        }
    }

    fn verify(&self, world: &Arc<World>, request: &BuildRequest) -> Result<VerifyReport, Error> {
        let (tree, mut phases) = matrix::begin(world, request, std::slice::from_ref(&self.directory))?;
        // The first build had the first slot and the first folders: while these are held, the second gets others.
        let _scratch = world.store.scratch("build")?;
        let other = phases.run(Phase::Source, || source::acquire_copy(world, &tree))?;
        let place = world.store.scratch("verify")?;
        let request = BuildRequest { out_dir: place.path().to_path_buf(), ..request.clone() };
        let report = matrix::build_tree(world, &request, other, phases)?;
        let nothing = || Error::new(ErrorKind::Build, VerifyError::Nothing(self.file.clone()));
        let built = report.artifacts.into_iter().next().ok_or_else(nothing)?;
        let bytes = fs_err::read(&built.path)
            .map_err(|source| Error::new(ErrorKind::Machine, VerifyError::Read(source)))?;
        drop(tree);
        self.compare(built, &bytes)
    }

    fn compare(&self, built: ArtifactReport, bytes: &[u8]) -> Result<VerifyReport, Error> {
        let mut members = compare::compare(&self.bytes, bytes).map_err(|source| {
            Error::new(ErrorKind::Check, VerifyError::Archive { file: self.file.clone(), source })
        })?;
        if built.file != self.file {
            let what = What::FileName { given: self.file.clone(), built: built.file.clone() };
            members.insert(0, Difference { path: None, what, cause: None });
        }
        Ok(VerifyReport {
            verdict: if members.is_empty() { Verdict::Identical } else { Verdict::Different },
            wheel: self.file.clone(),
            sha256: Digest::of(&self.bytes).to_string(),
            members,
            built,
        })
    }
}

impl VerifyReport {
    /// The error of a wheel that is not what its source gives; `None` if it is.
    pub fn failure(&self) -> Option<Error> {
        match self.verdict {
            Verdict::Identical => None,
            Verdict::Different => {
                let error = VerifyError::Different { wheel: self.wheel.clone(), count: self.members.len() };
                Some(Error::new(ErrorKind::Check, error))
            }
        }
    }

    /// The report for people.
    pub fn lines(&self) -> Vec<String> {
        match self.verdict {
            Verdict::Identical => vec![format!("{}: identical ({})", self.wheel, self.sha256)],
            Verdict::Different => {
                let mut lines = vec![
                    format!("{}: different", self.wheel),
                    format!("  given {}", self.sha256),
                    format!("  built {}", self.built.sha256),
                ];
                lines.extend(self.members.iter().map(|difference| format!("  {difference}")));
                if !self.built.influences.is_empty() {
                    let names = self.built.influences.join(", ");
                    lines.push(format!("  set here, and able to change what is built: {names}"));
                }
                lines
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_name_interpreters() {
        for (file, expect) in [
            ("a-1-cp311-cp311-linux_x86_64.whl", Some("3.11")),
            ("a-1-cp38-abi3-linux_x86_64.whl", Some("3.8")),
            ("a-1-cp313-cp313t-linux_x86_64.whl", Some("3.13t")),
            ("a-1-pp310-pypy310_pp73-linux_x86_64.whl", Some("pypy3.10")),
            ("a-1-py3-none-any.whl", None),
            ("a-1-py2.py3-none-any.whl", None),
            ("a-1-cp3-none-any.whl", None),
        ] {
            let name = file.parse().unwrap();
            let given = Given { file: file.to_owned(), name, directory: PathBuf::new(), bytes: Vec::new() };
            assert_eq!(given.python().as_deref(), expect, "{file}");
        }
    }
}
