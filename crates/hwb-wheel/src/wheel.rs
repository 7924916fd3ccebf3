//! A wheel, opened.

use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::sync::OnceLock;

use hwb_archive::zip::{Archive, Member, MemberKind, Source, ZipError};
use hwb_archive::{Executable, Limits};
use hwb_ident::{ArchivePath, Digest, PackageName, Version, WheelFilename};

use crate::entry_points::{EntryPoints, EntryPointsError};
use crate::metadata::{Metadata, MetadataError};
use crate::native::Native;
use crate::record::{Record, RecordError};
use crate::tags::{TagError, TagSet};
use crate::wheel_file::{WheelFile, WheelFileError};

/// A wheel whose archive is sound and whose metadata can be read (PEP 427). Whether these agree with each other and
/// with its files is for [`check`](crate::check::check()) to say.
#[derive(Debug)]
pub struct Wheel<'a> {
    filename: WheelFilename,
    filename_tags: TagSet,
    filename_build: Option<String>,
    archive: Archive<'a>,
    dist_info: DistInfo,
    metadata: Metadata,
    wheel_file: WheelFile,
    record: Record,
    entry_points: EntryPoints,
    facts: OnceLock<BTreeMap<ArchivePath, Facts>>,
}

/// The `.dist-info` directory of a wheel, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DistInfo {
    /// `name-version`, without `.dist-info`.
    pub(crate) stem: String,
    pub(crate) name: PackageName,
    pub(crate) version: Version,
}

/// What is found out about a file by reading all of it.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) digest: Digest,
    pub(crate) native: Option<Native>,
}

/// Why a wheel cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum WheelError {
    /// It is not named as wheels are.
    #[error("`{filename}` is not the name of a wheel")]
    Filename {
        /// The name.
        filename: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Its name has tags that are none.
    #[error("`{filename}` does not end in compatibility tags")]
    FilenameTags {
        /// The name.
        filename: String,
        /// What is wrong with them.
        #[source]
        source: TagError,
    },
    /// Its archive is wrong.
    #[error("the wheel is not a sound zip archive")]
    Zip(#[from] ZipError),
    /// No `.dist-info`.
    #[error("the wheel has no `.dist-info` directory")]
    NoDistInfo,
    /// More than one `.dist-info`.
    #[error("the wheel has two `.dist-info` directories, `{0}` and `{1}`")]
    SeveralDistInfo(String, String),
    /// A `.dist-info` that is not named after a distribution.
    #[error("`{0}` is not named after a distribution and its version")]
    DistInfoName(String),
    /// A file that every wheel has is not there.
    #[error("the wheel has no `{0}`")]
    Missing(String),
    /// `METADATA` cannot be used.
    #[error("the wheel has an unusable METADATA")]
    Metadata(#[from] MetadataError),
    /// `WHEEL` cannot be used.
    #[error("the wheel has an unusable WHEEL")]
    WheelFile(#[from] WheelFileError),
    /// `RECORD` cannot be used.
    #[error("the wheel has an unusable RECORD")]
    Record(#[from] RecordError),
    /// `entry_points.txt` cannot be used.
    #[error("the wheel has an unusable entry_points.txt")]
    EntryPoints(#[from] EntryPointsError),
}

impl<'a> Wheel<'a> {
    /// Opens a wheel; `filename` is its file's name, without folders.
    ///
    /// # Errors
    ///
    /// If it is not named as a wheel, its archive is not sound, or one of its four metadata files cannot be read.
    pub fn read(filename: &str, source: impl Into<Source<'a>>) -> Result<Self, WheelError> {
        Self::read_within(filename, source, &Limits::default())
    }

    /// Opens a wheel that may unpack to no more than `limits` say.
    ///
    /// # Errors
    ///
    /// As [`Wheel::read`].
    pub fn read_within(
        filename: &str,
        source: impl Into<Source<'a>>,
        limits: &Limits,
    ) -> Result<Self, WheelError> {
        let parsed = WheelFilename::from_str(filename)
            .map_err(|error| WheelError::Filename { filename: filename.to_owned(), source: error.into() })?;
        let (filename_tags, filename_build) = filename_tags(filename)?;
        let archive = Archive::parse(source, limits)?;
        let dist_info = DistInfo::find(&archive)?;
        let read = |name: &str| {
            let path = dist_info.path(name);
            let member = archive.members().iter().find(|member| member.path.as_str() == path);
            member.map(|member| archive.read(member)).transpose()
        };
        let required = |name: &str| read(name)?.ok_or_else(|| WheelError::Missing(dist_info.path(name)));
        let metadata = Metadata::parse(&required("METADATA")?)?;
        let wheel_file = WheelFile::parse(&required("WHEEL")?)?;
        let record = Record::parse(&required("RECORD")?)?;
        let entry_points = match read("entry_points.txt")? {
            Some(bytes) => EntryPoints::parse(&bytes)?,
            None => EntryPoints::default(),
        };
        Ok(Self {
            filename: parsed,
            filename_tags,
            filename_build,
            archive,
            dist_info,
            metadata,
            wheel_file,
            record,
            entry_points,
            facts: OnceLock::new(),
        })
    }

    /// Its file name, taken apart.
    pub const fn filename(&self) -> &WheelFilename {
        &self.filename
    }

    /// The tags of its file name, expanded.
    pub const fn filename_tags(&self) -> &TagSet {
        &self.filename_tags
    }

    /// The build tag of its file name.
    pub fn filename_build(&self) -> Option<&str> {
        self.filename_build.as_deref()
    }

    /// Its archive.
    pub const fn archive(&self) -> &Archive<'a> {
        &self.archive
    }

    /// The name of its `.dist-info` directory.
    pub fn dist_info(&self) -> String {
        format!("{}.dist-info", self.dist_info.stem)
    }

    pub(crate) const fn dist_info_parts(&self) -> &DistInfo {
        &self.dist_info
    }

    /// Its `METADATA`.
    pub const fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Its `WHEEL`.
    pub const fn wheel_file(&self) -> &WheelFile {
        &self.wheel_file
    }

    /// Its `RECORD`.
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// Its `entry_points.txt`; empty if it has none.
    pub const fn entry_points(&self) -> &EntryPoints {
        &self.entry_points
    }

    /// Its members that are not directories, in the order of the archive.
    pub fn files(&self) -> impl Iterator<Item = &Member> {
        self.archive.members().iter().filter(|member| member.kind != MemberKind::Directory)
    }

    /// Tells whether a member is the `RECORD`, or one of its signatures, which PEP 815 did away with.
    pub fn is_record_or_signature(&self, path: &ArchivePath) -> bool {
        ["RECORD", "RECORD.jws", "RECORD.p7s"].iter().any(|name| path.as_str() == self.dist_info.path(name))
    }

    /// What is known of each file by its contents. They are read once, however often this is called.
    pub(crate) fn facts(&self) -> Result<&BTreeMap<ArchivePath, Facts>, ZipError> {
        if let Some(facts) = self.facts.get() {
            return Ok(facts);
        }
        let mut facts = BTreeMap::new();
        for member in self.files() {
            let contents = self.archive.read(member)?;
            let fact = Facts { digest: Digest::of(&contents), native: Native::of(&contents) };
            facts.insert(member.path.clone(), fact);
        }
        Ok(self.facts.get_or_init(|| facts))
    }
}

/// Whether a member of a wheel may be run.
pub fn executable(member: &Member) -> Executable {
    Executable::of_mode(member.unix_mode.unwrap_or(0))
}

/// The last three parts of a wheel's name, and the build tag if there are six.
fn filename_tags(filename: &str) -> Result<(TagSet, Option<String>), WheelError> {
    let stem = filename.strip_suffix(".whl").unwrap_or(filename);
    let parts: Vec<&str> = stem.split('-').collect();
    let tag = parts[parts.len().saturating_sub(3)..].join("-");
    let mut tags = TagSet::default();
    tags.insert(&tag).map_err(|source| WheelError::FilenameTags { filename: filename.to_owned(), source })?;
    Ok((tags, (parts.len() == 6).then(|| parts[2].to_owned())))
}

impl DistInfo {
    fn find(archive: &Archive<'_>) -> Result<Self, WheelError> {
        let mut found: Option<&str> = None;
        for member in archive.members() {
            let Some((top, _)) = member.path.as_str().split_once('/') else {
                continue;
            };
            let Some(stem) = top.strip_suffix(".dist-info") else {
                continue;
            };
            match found {
                Some(other) if other != stem => {
                    let name = |stem: &str| format!("{stem}.dist-info");
                    return Err(WheelError::SeveralDistInfo(name(other), name(stem)));
                }
                _ => found = Some(stem),
            }
        }
        let stem = found.ok_or(WheelError::NoDistInfo)?;
        let fault = || WheelError::DistInfoName(format!("{stem}.dist-info"));
        let (name, version) = parse_stem(stem).ok_or_else(fault)?;
        Ok(Self { stem: stem.to_owned(), name, version })
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}.dist-info/{name}", self.stem)
    }
}

/// Takes `name-version` apart; `None` if it is not that. Old tools wrote `_` where a version has `+` or `-`.
pub(crate) fn parse_stem(stem: &str) -> Option<(PackageName, Version)> {
    let (name, version) = stem.split_once('-')?;
    let version = Version::from_str(version)
        .or_else(|_| Version::from_str(&version.replacen('_', "+", 1)))
        .or_else(|_| Version::from_str(&version.replace('_', "-")));
    Some((PackageName::from_str(name).ok()?, version.ok()?))
}
