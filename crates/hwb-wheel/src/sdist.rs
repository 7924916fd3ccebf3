//! Source distributions: PEP 625, 643 and 721.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Cursor, Read};
use std::str::FromStr as _;

use hwb_archive::tar;
use hwb_archive::{Compression, Executable, Format, Limits, LinkTarget, Sink, UnpackError, Unpacked};
use hwb_ident::{ArchivePath, PackageName, Timestamp, Version};

use crate::check::Expect;
use crate::metadata::{Metadata, MetadataError, Oddity};

/// A source distribution whose archive is sound, held in memory.
#[derive(Debug)]
pub struct Sdist {
    filename: String,
    unpacked: Unpacked,
    top: String,
    entries: BTreeMap<ArchivePath, Entry>,
}

/// A member of a source distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A directory, of which nothing more is said.
    Directory,
    /// A file.
    File(Executable, Vec<u8>),
    /// A symbolic link.
    Symlink(LinkTarget),
}

/// What was found in a source distribution that keeps the rules.
#[derive(Debug)]
pub struct SdistReport {
    /// Its `PKG-INFO`.
    pub metadata: Metadata,
    /// What is odd about it.
    pub warnings: Vec<SdistWarning>,
    /// How many files it has.
    pub files: u64,
    /// How many bytes they have.
    pub bytes: u64,
}

/// Something odd, but found in the wild.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SdistWarning {
    /// The file name is not spelled as PEP 625 has it; here is the right spelling.
    Filename(String),
    /// The top directory is not named like the file.
    Top(String),
    /// Odd metadata.
    Metadata(Oddity),
}

/// Why a source distribution cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SdistError {
    /// Its archive is wrong.
    #[error("the source distribution is not a sound archive")]
    Unpack(#[from] UnpackError),
    /// It has no members.
    #[error("the source distribution is empty")]
    Empty,
    /// Something lies beside its one directory.
    #[error("the source distribution has more than one thing at its top, `{top}` and `{other}`")]
    SeveralTops {
        /// What comes first by name.
        top: String,
        /// What else there is.
        other: String,
    },
    /// A single file.
    #[error("the source distribution has no directory, only `{0}`")]
    NoTop(String),
}

/// Which rule a source distribution breaks.
#[derive(Debug, thiserror::Error)]
pub enum SdistCheckError {
    /// It is not a tar.gz.
    #[error("`{filename}` is a {format} archive; a source distribution is a tar.gz")]
    Format {
        /// Its name.
        filename: String,
        /// What it is.
        format: Format,
    },
    /// It is not named as source distributions are.
    #[error("`{0}` is not named `name-version.tar.gz`")]
    Filename(String),
    /// Its directory is of another name or version.
    #[error("`{filename}` has the directory `{top}`, of another name or version")]
    Top {
        /// Its name.
        filename: String,
        /// Its directory.
        top: String,
    },
    /// It has no `PKG-INFO`.
    #[error("the source distribution has no `{0}/PKG-INFO`")]
    NoPkgInfo(String),
    /// Its `PKG-INFO` cannot be used.
    #[error("the source distribution has an unusable PKG-INFO")]
    Metadata(#[from] MetadataError),
    /// Its `PKG-INFO` names another distribution.
    #[error("PKG-INFO is of `{found}`, but {other} of `{expected}`")]
    Name {
        /// What `PKG-INFO` says.
        found: PackageName,
        /// What is compared with.
        other: &'static str,
        /// What that says.
        expected: PackageName,
    },
    /// Its `PKG-INFO` is of another version.
    #[error("PKG-INFO is of version {found}, but {other} of version {expected}")]
    Version {
        /// What `PKG-INFO` says.
        found: Box<Version>,
        /// What is compared with.
        other: &'static str,
        /// What that says.
        expected: Box<Version>,
    },
}

impl Sdist {
    /// Opens a source distribution of any format; `filename` is its file's name, without folders.
    ///
    /// # Errors
    ///
    /// If the archive is not sound, or has not exactly one directory at its top.
    pub fn read(filename: &str, bytes: &[u8], limits: &Limits) -> Result<Self, SdistError> {
        let mut entries = Entries::default();
        let unpacked = hwb_archive::unpack(Cursor::new(bytes), limits, &mut entries)?;
        let entries = entries.0;
        let first = entries.keys().next().ok_or(SdistError::Empty)?;
        let top_of = |path: &ArchivePath| path.parts().next().unwrap_or_default().to_owned();
        let top = top_of(first);
        if let Some(other) = entries.keys().map(top_of).find(|other| *other != top) {
            return Err(SdistError::SeveralTops { top, other });
        }
        if first.as_str() == top && entries.get(first) != Some(&Entry::Directory) {
            return Err(SdistError::NoTop(top));
        }
        Ok(Self { filename: filename.to_owned(), unpacked, top, entries })
    }

    /// What kind of archive it is, and what came out of it.
    pub const fn unpacked(&self) -> &Unpacked {
        &self.unpacked
    }

    /// The name of its one top directory.
    pub fn top(&self) -> &str {
        &self.top
    }

    /// Its members, sorted; paths begin with the top directory.
    pub const fn entries(&self) -> &BTreeMap<ArchivePath, Entry> {
        &self.entries
    }

    /// The bytes of its `PKG-INFO`, if it has one.
    pub fn pkg_info(&self) -> Option<&[u8]> {
        let path: ArchivePath = format!("{}/PKG-INFO", self.top).parse().ok()?;
        match self.entries.get(&path)? {
            Entry::File(_, contents) => Some(contents),
            Entry::Directory | Entry::Symlink(_) => None,
        }
    }
}

/// Checks that a source distribution keeps PEP 625 and is what was expected.
///
/// Another spelling of the right name is a warning: older backends normalise less than PEP 625 asks.
///
/// # Errors
///
/// The first rule that it breaks.
pub fn check(sdist: &Sdist, expect: &Expect) -> Result<SdistReport, SdistCheckError> {
    let filename = &sdist.filename;
    if sdist.unpacked.format != Format::Tar(Compression::Gzip) {
        return Err(SdistCheckError::Format { filename: filename.clone(), format: sdist.unpacked.format });
    }
    let stem = filename.strip_suffix(".tar.gz");
    let stem = stem.ok_or_else(|| SdistCheckError::Filename(filename.clone()))?;
    let (name, version) = parse_stem(stem).ok_or_else(|| SdistCheckError::Filename(filename.clone()))?;
    let mut warnings = Vec::new();
    let right = format!("{}-{version}.tar.gz", name.as_dist_info_name());
    if *filename != right {
        warnings.push(SdistWarning::Filename(right));
    }
    if sdist.top != stem {
        if parse_stem(&sdist.top) != Some((name.clone(), version.clone())) {
            return Err(SdistCheckError::Top { filename: filename.clone(), top: sdist.top.clone() });
        }
        warnings.push(SdistWarning::Top(sdist.top.clone()));
    }
    let pkg_info = sdist.pkg_info().ok_or_else(|| SdistCheckError::NoPkgInfo(sdist.top.clone()))?;
    let metadata = Metadata::parse(pkg_info)?;
    for (other, expected) in [("the file name", Some(&name)), ("the source", expect.name.as_ref())] {
        if let Some(expected) = expected.filter(|expected| **expected != metadata.name) {
            let (found, expected) = (metadata.name.clone(), expected.clone());
            return Err(SdistCheckError::Name { found, other, expected });
        }
    }
    for (other, expected) in [("the file name", Some(&version)), ("the source", expect.version.as_ref())] {
        if let Some(expected) = expected.filter(|expected| **expected != metadata.version) {
            let (found, expected) = (Box::new(metadata.version.clone()), Box::new(expected.clone()));
            return Err(SdistCheckError::Version { found, other, expected });
        }
    }
    warnings.extend(metadata.oddities.iter().cloned().map(SdistWarning::Metadata));
    let files = sdist.entries.values().filter(|entry| matches!(entry, Entry::File(..))).count() as u64;
    Ok(SdistReport { metadata, warnings, files, bytes: sdist.unpacked.bytes })
}

/// Takes `name-version` apart. A name may have dashes where it is not normalised; a version never has one then.
fn parse_stem(stem: &str) -> Option<(PackageName, Version)> {
    let (name, version) = stem.rsplit_once('-')?;
    Some((PackageName::from_str(name).ok()?, Version::from_str(version).ok()?))
}

/// Writes a source distribution anew as a canonical tar.gz: members by path, one time, modes 0644 and 0755, owner 0.
///
/// Directories are written only where they are empty: the others follow from their members.
///
/// # Errors
///
/// If a member does not fit a tar archive.
pub fn canonical(sdist: &Sdist, time: Timestamp) -> Result<Vec<u8>, tar::WriteError> {
    let mut above = BTreeSet::new();
    for path in sdist.entries.keys() {
        let mut parent = path.parent();
        while let Some(directory) = parent.filter(|directory| !above.contains(directory)) {
            parent = directory.parent();
            above.insert(directory);
        }
    }
    let mut writer = tar::Writer::new(Vec::new(), time);
    for (path, entry) in &sdist.entries {
        match entry {
            Entry::File(executable, contents) => {
                writer.file(path, *executable, contents.len() as u64, &mut contents.as_slice())?;
            }
            Entry::Symlink(target) => writer.symlink(path, target)?,
            Entry::Directory if above.contains(path) => {}
            Entry::Directory => writer.directory(path)?,
        }
    }
    writer.finish()
}

impl fmt::Display for SdistWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filename(right) => write!(f, "the source distribution should be named `{right}`"),
            Self::Top(top) => write!(f, "the directory `{top}` is not named like the file"),
            Self::Metadata(oddity) => fmt::Display::fmt(oddity, f),
        }
    }
}

/// Takes every member into memory.
#[derive(Default)]
struct Entries(BTreeMap<ArchivePath, Entry>);

impl Sink for Entries {
    type Error = io::Error;

    fn directory(&mut self, path: &ArchivePath) -> io::Result<()> {
        self.0.insert(path.clone(), Entry::Directory);
        Ok(())
    }

    fn file(
        &mut self,
        path: &ArchivePath,
        executable: Executable,
        contents: &mut dyn Read,
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        contents.read_to_end(&mut bytes)?;
        self.0.insert(path.clone(), Entry::File(executable, bytes));
        Ok(())
    }

    fn symlink(&mut self, path: &ArchivePath, target: &LinkTarget) -> io::Result<()> {
        self.0.insert(path.clone(), Entry::Symlink(target.clone()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hwb_archive::zip;

    const PKG_INFO: &str = "Metadata-Version: 2.2\nName: Foo.Bar\nVersion: 1.0\n";

    /// A tar.gz with these files, written in this order by somebody else.
    fn targz(files: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = ::tar::Builder::new(Vec::new());
        for (path, contents) in files {
            let mut header = ::tar::Header::new_gnu();
            header.set_size(contents.len() as u64);
            header.set_mode(if path.ends_with(".sh") { 0o777 } else { 0o600 });
            header.set_mtime(1_700_000_000);
            header.set_uid(1000);
            if path.ends_with('/') {
                header.set_entry_type(::tar::EntryType::Directory);
            }
            builder.append_data(&mut header, path, contents.as_bytes()).unwrap();
        }
        let tar = builder.into_inner().unwrap();
        let mut encoder = flate2::GzBuilder::new()
            .filename("x.tar")
            .mtime(7)
            .write(Vec::new(), flate2::Compression::fast());
        io::copy(&mut &tar[..], &mut encoder).unwrap();
        encoder.finish().unwrap()
    }

    fn outcome(filename: &str, bytes: &[u8], expect: &Expect) -> String {
        let sdist = match Sdist::read(filename, bytes, &Limits::default()) {
            Ok(sdist) => sdist,
            Err(error) => return error.to_string(),
        };
        match check(&sdist, expect) {
            Ok(report) => {
                let warnings: Vec<_> =
                    report.warnings.iter().map(|warning| format!(" ({warning})")).collect();
                let Metadata { name, version, .. } = report.metadata;
                format!("{name} {version} {} files{}", report.files, warnings.concat())
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn checks_name_and_metadata() {
        let check = |filename: &str, files: &[(&str, &str)], expect: &str| {
            assert_eq!(outcome(filename, &targz(files), &Expect::default()), expect);
        };
        let right = [("foo_bar-1.0/PKG-INFO", PKG_INFO), ("foo_bar-1.0/a.py", "")];
        check("foo_bar-1.0.tar.gz", &right, "foo-bar 1.0 2 files");
        check(
            "Foo-Bar-1.0.tar.gz",
            &right,
            "foo-bar 1.0 2 files (the source distribution should be named `foo_bar-1.0.tar.gz`) \
             (the directory `foo_bar-1.0` is not named like the file)",
        );
        check("foo_bar-1.0.zip", &right, "`foo_bar-1.0.zip` is not named `name-version.tar.gz`");
        check("foo_bar.tar.gz", &right, "`foo_bar.tar.gz` is not named `name-version.tar.gz`");
        check(
            "foo_bar-2.0.tar.gz",
            &right,
            "`foo_bar-2.0.tar.gz` has the directory `foo_bar-1.0`, of another name or version",
        );
        check(
            "foo_baz-1.0.tar.gz",
            &[("foo_baz-1.0/PKG-INFO", PKG_INFO)],
            "PKG-INFO is of `foo-bar`, but the file name of `foo-baz`",
        );
        check(
            "foo_bar-1.1.tar.gz",
            &[("foo_bar-1.1/PKG-INFO", PKG_INFO)],
            "PKG-INFO is of version 1.0, but the file name of version 1.1",
        );
        check(
            "foo_bar-1.0.tar.gz",
            &[("foo_bar-1.0/a.py", "")],
            "the source distribution has no `foo_bar-1.0/PKG-INFO`",
        );
        check(
            "foo_bar-1.0.tar.gz",
            &[("foo_bar-1.0/PKG-INFO", "Name: x\n")],
            "the source distribution has an unusable PKG-INFO",
        );
        check(
            "foo_bar-1.0.tar.gz",
            &[("foo_bar-1.0/PKG-INFO", PKG_INFO), ("other", "")],
            "the source distribution has more than one thing at its top, `foo_bar-1.0` and `other`",
        );
        check("foo_bar-1.0.tar.gz", &[("a", "")], "the source distribution has no directory, only `a`");
        check("foo_bar-1.0.tar.gz", &[], "the source distribution is empty");
    }

    #[test]
    fn checks_what_was_expected() {
        let bytes = targz(&[("foo_bar-1.0/PKG-INFO", PKG_INFO)]);
        let expect = |name: &str, version: &str| Expect {
            name: Some(name.parse().unwrap()),
            version: Some(version.parse().unwrap()),
        };
        let check = |expect: &Expect| outcome("foo_bar-1.0.tar.gz", &bytes, expect);
        assert_eq!(check(&expect("foo-bar", "1.0")), "foo-bar 1.0 1 files");
        assert_eq!(check(&expect("foo", "1.0")), "PKG-INFO is of `foo-bar`, but the source of `foo`");
        assert_eq!(check(&expect("foo-bar", "2")), "PKG-INFO is of version 1.0, but the source of version 2");
    }

    #[test]
    fn a_zip_is_no_source_distribution_of_today() {
        let mut writer = zip::Writer::new(Vec::new(), Timestamp::ZIP_EPOCH);
        writer.store(&"a-1/PKG-INFO".parse().unwrap(), Executable::No, b"").unwrap();
        let bytes = writer.finish().unwrap();
        assert_eq!(
            outcome("a-1.zip", &bytes, &Expect::default()),
            "`a-1.zip` is a zip archive; a source distribution is a tar.gz"
        );
        assert_eq!(
            outcome("a-1.tar.gz", b"<html>", &Expect::default()),
            "the source distribution is not a sound archive"
        );
    }

    #[test]
    fn canonical_bytes_follow_from_the_contents() {
        let one = targz(&[
            ("a-1/", ""),
            ("a-1/PKG-INFO", "x"),
            ("a-1/empty/", ""),
            ("a-1/run.sh", "#!"),
            ("a-1/src/a.py", ""),
        ]);
        let other = targz(&[
            ("./a-1/src/a.py", ""),
            ("a-1/run.sh", "#!"),
            ("a-1/empty/", ""),
            ("a-1/PKG-INFO", "x"),
            ("a-1/src/", ""),
        ]);
        assert_ne!(one, other);
        let limits = Limits::default();
        let time = Timestamp::from_seconds(1_600_000_000);
        let write =
            |bytes: &[u8]| canonical(&Sdist::read("a-1.tar.gz", bytes, &limits).unwrap(), time).unwrap();
        let bytes = write(&one);
        assert_eq!(bytes, write(&other));
        assert_eq!(bytes, write(&bytes));
        let again = Sdist::read("a-1.tar.gz", &bytes, &limits).unwrap();
        let paths: Vec<_> = again.entries().keys().map(ArchivePath::as_str).collect();
        assert_eq!(paths, ["a-1/PKG-INFO", "a-1/empty", "a-1/run.sh", "a-1/src/a.py"]);
        assert_eq!(again.unpacked().newest, Some(time));
        let run = &again.entries()[&"a-1/run.sh".parse().unwrap()];
        assert_eq!(*run, Entry::File(Executable::Yes, b"#!".to_vec()));
    }
}
