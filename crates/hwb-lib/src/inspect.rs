//! `hwb inspect`: what a wheel or sdist says of itself and holds.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use hwb_archive::{Executable, Limits, LinkTarget, Sink, UnpackError, unpack};
use hwb_ident::{ArchivePath, Digest};
use hwb_wheel::metadata::MetadataError;
use hwb_wheel::wheel_file::Root;
use hwb_wheel::{Metadata, Wheel, WheelError};
use schemars::JsonSchema;
use serde::Serialize;

use crate::build::ArtifactKind;
use crate::error::{Error, ErrorKind};

/// A wheel or sdist.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct InspectReport {
    /// Which of the two.
    pub kind: ArtifactKind,
    /// Its file name.
    pub file: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256, as `sha256:…`.
    pub sha256: String,
    /// Its core metadata: `METADATA` or `PKG-INFO`.
    pub metadata: MetadataReport,
    /// What only a wheel has.
    pub wheel: Option<WheelReport>,
    /// Its files and links, sorted by path.
    pub files: Vec<FileReport>,
}

/// The parts of the core metadata that people ask for.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct MetadataReport {
    /// `Metadata-Version`
    pub metadata_version: String,
    /// The name of the distribution, as it is written there.
    pub name: String,
    /// Its version.
    pub version: String,
    /// One line of what it is.
    pub summary: Option<String>,
    /// The licence: an SPDX expression, or the older free text.
    pub license: Option<String>,
    /// Whose work it is.
    pub author: Option<String>,
    /// The versions of Python that it is for.
    pub requires_python: Option<String>,
    /// What it needs at run time.
    pub requires_dist: Vec<String>,
    /// Its extras.
    pub provides_extra: Vec<String>,
    /// Pages about it, by label.
    pub project_urls: BTreeMap<String, String>,
}

/// What only a wheel has.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WheelReport {
    /// What it runs on, one tag each.
    pub tags: Vec<String>,
    /// What made it.
    pub generator: Option<String>,
    /// Whether it goes where pure packages go.
    pub root_is_purelib: bool,
    /// Its build number.
    pub build: Option<String>,
    /// Its entry points: by group and name, the object.
    pub entry_points: BTreeMap<String, BTreeMap<String, String>>,
}

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct FileReport {
    /// Its path in the archive.
    pub path: String,
    /// Its size in bytes, unpacked.
    pub size: u64,
}

#[derive(Debug, thiserror::Error)]
enum InspectError {
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is neither a wheel nor an sdist, going by its name", _0.display())]
    Name(PathBuf),
    #[error("{} is not a sound wheel", path.display())]
    Wheel { path: PathBuf, source: WheelError },
    #[error("{} is not a sound sdist", path.display())]
    Sdist { path: PathBuf, source: UnpackError },
    #[error("{} has no PKG-INFO in its top directory", _0.display())]
    NoMetadata(PathBuf),
    #[error("the PKG-INFO of {} is not valid", path.display())]
    Metadata { path: PathBuf, source: MetadataError },
}

/// Reads a wheel (`.whl`) or sdist (an archive). It is opened, not judged: `hwb build` checks what it writes.
///
/// # Errors
///
/// Kind `check` for a wheel and kind `source` for an sdist that cannot be opened.
pub fn inspect(path: &Path) -> Result<InspectReport, Error> {
    let read_failed =
        |source| Error::new(ErrorKind::Source, InspectError::Read { path: path.to_owned(), source });
    let bytes = fs_err::read(path).map_err(read_failed)?;
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_sdist = [".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst", ".tar", ".zip"]
        .iter()
        .any(|suffix| file.ends_with(suffix));
    let contents = if file.ends_with(".whl") {
        wheel(path, &file, &bytes)?
    } else if is_sdist {
        sdist(path, &bytes)?
    } else {
        return Err(Error::new(ErrorKind::Usage, InspectError::Name(path.to_owned())));
    };
    let Contents { kind, metadata, wheel, files } = contents;
    let (size, sha256) = (bytes.len() as u64, Digest::of(&bytes).to_string());
    Ok(InspectReport { kind, file, size, sha256, metadata, wheel, files })
}

#[derive(Debug)]
struct Contents {
    kind: ArtifactKind,
    metadata: MetadataReport,
    wheel: Option<WheelReport>,
    files: Vec<FileReport>,
}

fn wheel(path: &Path, file: &str, bytes: &[u8]) -> Result<Contents, Error> {
    let failed = |source| Error::new(ErrorKind::Check, InspectError::Wheel { path: path.to_owned(), source });
    let wheel = Wheel::read(file, bytes).map_err(failed)?;
    let members = wheel.archive().members().iter();
    let mut files = members
        .filter(|member| member.kind != hwb_archive::zip::MemberKind::Directory)
        .map(|member| FileReport { path: member.path.to_string(), size: member.size })
        .collect::<Vec<_>>();
    files.sort();
    let groups = wheel.entry_points().groups.iter().map(|(group, points)| {
        let points = points.iter().map(|(name, point)| (name.clone(), point.value.clone()));
        (group.clone(), points.collect())
    });
    let report = WheelReport {
        tags: wheel.wheel_file().tags.iter().map(str::to_owned).collect(),
        generator: wheel.wheel_file().generator.clone(),
        root_is_purelib: wheel.wheel_file().root == Root::Purelib,
        build: wheel.wheel_file().build.clone(),
        entry_points: groups.collect(),
    };
    let metadata = describe(wheel.metadata());
    Ok(Contents { kind: ArtifactKind::Wheel, metadata, wheel: Some(report), files })
}

fn sdist(path: &Path, bytes: &[u8]) -> Result<Contents, Error> {
    let failed = |error| Error::new(ErrorKind::Source, error);
    let mut listing = Listing::default();
    unpack(Cursor::new(bytes), &Limits::default(), &mut listing)
        .map_err(|source| failed(InspectError::Sdist { path: path.to_owned(), source }))?;
    let Listing { mut files, pkg_info } = listing;
    files.sort();
    let pkg_info = pkg_info.ok_or_else(|| failed(InspectError::NoMetadata(path.to_owned())))?;
    let metadata = Metadata::parse(&pkg_info)
        .map_err(|source| failed(InspectError::Metadata { path: path.to_owned(), source }))?;
    Ok(Contents { kind: ArtifactKind::Sdist, metadata: describe(&metadata), wheel: None, files })
}

fn describe(metadata: &Metadata) -> MetadataReport {
    let license = metadata.license_expression.as_ref().or(metadata.license.as_ref());
    let author = metadata.author.as_ref().or(metadata.author_email.as_ref());
    MetadataReport {
        metadata_version: metadata.metadata_version.to_string(),
        name: metadata.name_text.clone(),
        version: metadata.version.to_string(),
        summary: metadata.summary.clone(),
        license: license.cloned(),
        author: author.cloned(),
        requires_python: metadata.requires_python.as_ref().map(ToString::to_string),
        requires_dist: metadata.requires_dist.iter().map(ToString::to_string).collect(),
        provides_extra: metadata.provides_extra.iter().map(ToString::to_string).collect(),
        project_urls: metadata.project_urls.iter().cloned().collect(),
    }
}

/// Names and sizes of an archive, and the one file of it that is of interest.
#[derive(Debug, Default)]
struct Listing {
    files: Vec<FileReport>,
    pkg_info: Option<Vec<u8>>,
}

impl Sink for Listing {
    type Error = std::io::Error;

    fn directory(&mut self, _: &ArchivePath) -> Result<(), Self::Error> {
        Ok(())
    }

    fn file(
        &mut self,
        path: &ArchivePath,
        _: Executable,
        contents: &mut dyn Read,
    ) -> Result<(), Self::Error> {
        let is_pkg_info = path.parts().count() == 2 && path.file_name() == "PKG-INFO";
        let size = if is_pkg_info {
            let mut bytes = Vec::new();
            let size = contents.read_to_end(&mut bytes)?;
            self.pkg_info = Some(bytes);
            size as u64
        } else {
            std::io::copy(contents, &mut std::io::sink())?
        };
        self.files.push(FileReport { path: path.to_string(), size });
        Ok(())
    }

    fn symlink(&mut self, path: &ArchivePath, _: &LinkTarget) -> Result<(), Self::Error> {
        self.files.push(FileReport { path: path.to_string(), size: 0 });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use hwb_testkit::{Artifact, Project, Wheel};

    use super::*;

    fn check(artifact: &Artifact, expect: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(&artifact.name);
        fs_err::write(&path, &artifact.bytes).unwrap();
        let shown = match inspect(&path) {
            Ok(report) => {
                let facts = [report.metadata.name, report.metadata.version];
                let tags = report.wheel.map_or_else(Vec::new, |wheel| wheel.tags);
                let requires = report.metadata.requires_dist;
                let files = report.files.into_iter().map(|file| file.path).collect::<Vec<_>>();
                format!("{} {} {} {}", facts.join(" "), tags.join(" "), requires.join(" "), files.join(" "))
            }
            Err(error) => format!("{:?}: {error}", error.kind()),
        };
        assert_eq!(shown.replace(&*folder.path().to_string_lossy(), "~"), expect);
    }

    #[test]
    fn shows_wheels_and_sdists() {
        let wheel = Wheel::new("greeter", "1.0").requires("a>=1").file("greeter/__init__.py", "");
        check(
            &wheel.build(),
            "greeter 1.0 py3-none-any a>=1 greeter-1.0.dist-info/METADATA greeter-1.0.dist-info/RECORD \
             greeter-1.0.dist-info/WHEEL greeter/__init__.py",
        );
        let sdist = Project::new("greeter", "1.0").sdist();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(&sdist.name);
        fs_err::write(&path, &sdist.bytes).unwrap();
        let report = inspect(&path).unwrap();
        assert_eq!((report.kind, report.metadata.name.as_str()), (ArtifactKind::Sdist, "greeter"));
        assert!(report.files.iter().any(|file| file.path == "greeter-1.0/PKG-INFO"));
    }

    #[test]
    fn says_what_is_wrong() {
        let artifact = |name: &str, bytes: &[u8]| Artifact { name: name.to_owned(), bytes: bytes.to_vec() };
        check(&artifact("a.exe", b"MZ"), "Usage: ~/a.exe is neither a wheel nor an sdist, going by its name");
        check(&artifact("a-1-py3-none-any.whl", b"PK"), "Check: ~/a-1-py3-none-any.whl is not a sound wheel");
        check(&artifact("a-1.tar.gz", b"no"), "Source: ~/a-1.tar.gz is not a sound sdist");
    }
}
