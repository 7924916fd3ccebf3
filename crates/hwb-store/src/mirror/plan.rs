//! What has to be done so that a kept copy equals its source, found out without touching either.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FileType;

use crate::os::Name;
use crate::snapshot::{SnapshotError, confine};
use crate::transfer::{Choice, Done, Moment, Stamp};
use crate::tree::{Record, Records};

use super::index::Entry;

/// How much the clock of a file system may lag behind a change: it advances with the timer of the kernel, of which
/// the slowest has a hundred ticks a second.
const TICK: Duration = Duration::from_millis(20);
/// The same for another file system than the one that was asked for the time: it may count by two seconds, as FAT
/// does, and a server's clock may differ a little from ours.
const FOREIGN_TICK: Duration = Duration::from_secs(2);

/// What time it was for a file system before the source was looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) device: u64,
    pub(super) moment: Moment,
}

impl Now {
    /// `stamp`, if a later change of its file is sure to change it: not if the file was touched so lately that its next
    /// change may fall into the same tick.
    fn trusted(&self, stamp: Stamp) -> Option<Stamp> {
        let tick = if stamp.device == self.device { TICK } else { FOREIGN_TICK };
        (stamp.last_touched() < self.moment.before(tick)).then_some(stamp)
    }
}

/// What a survey found.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    Directory,
    Link { target: PathBuf },
    File(Stamp),
}

impl Found {
    const fn kind(&self) -> FileType {
        match self {
            Self::Directory => FileType::Directory,
            Self::Link { .. } => FileType::Symlink,
            Self::File(_) => FileType::RegularFile,
        }
    }
}

/// What was found, in the order of the bytes of the paths.
fn found_by(survey: Done) -> Vec<(PathBuf, Found)> {
    let others = survey.records.into_iter().filter_map(|(path, record)| match record {
        Record::Directory => Some((path, Found::Directory)),
        Record::Link { target } => Some((path, Found::Link { target })),
        Record::File { .. } => None,
    });
    let mut found: Vec<_> = others.collect();
    found.extend(survey.stamps.into_iter().map(|(path, stamp)| (path, Found::File(stamp))));
    // Long pieces are in order already, of which this kind of sorting makes use.
    found.sort_by(|(a, _), (b, _)| a.as_os_str().cmp(b.as_os_str()));
    found
}

/// The entries of an index beside what a survey found.
#[derive(Debug)]
pub(super) struct Comparison {
    now: Now,
    kept: Vec<Entry>,
    /// Files that have to be read before one can say whether they have changed.
    doubtful: Vec<(Entry, Stamp)>,
    gone: Vec<PathBuf>,
    wanted: Wanted,
}

impl Comparison {
    pub(super) fn of(entries: Vec<Entry>, survey: Done, now: Now) -> Self {
        let mut comparison = Self {
            now,
            kept: Vec::with_capacity(entries.len()),
            doubtful: Vec::new(),
            gone: Vec::new(),
            wanted: Wanted::default(),
        };
        let mut entries = entries.into_iter().peekable();
        for (path, found) in found_by(survey) {
            while let Some(gone) = entries.next_if(|entry| entry.path.as_os_str() < path.as_os_str()) {
                comparison.gone.push(gone.path);
            }
            match entries.next_if(|entry| entry.path.as_os_str() == path.as_os_str()) {
                Some(entry) => comparison.add(entry, found),
                None => comparison.want(&path, &found),
            }
        }
        comparison.gone.extend(entries.map(|entry| entry.path));
        comparison
    }

    /// Compares two of the same path.
    fn add(&mut self, entry: Entry, found: Found) {
        match (&entry.record, found) {
            (Record::Directory, Found::Directory) => self.kept.push(entry),
            (Record::Link { target }, Found::Link { target: now }) if *target == now => self.kept.push(entry),
            (Record::File { .. }, Found::File(stamp)) if entry.stamp == Some(stamp) => self.kept.push(entry),
            (Record::File { .. }, Found::File(stamp)) => self.doubtful.push((entry, stamp)),
            (_, found) => {
                self.want(&entry.path, &found);
                self.gone.push(entry.path);
            }
        }
    }

    fn want(&mut self, path: &Path, found: &Found) {
        let stamp = match found {
            Found::File(stamp) => self.now.trusted(*stamp),
            Found::Directory | Found::Link { .. } => None,
        };
        self.wanted.add(path, Thing { kind: found.kind(), stamp });
    }

    /// What has to be read before one can decide.
    pub(super) fn doubtful(&self) -> Wanted {
        let mut wanted = Wanted::default();
        for (entry, _) in &self.doubtful {
            wanted.add(&entry.path, Thing { kind: FileType::RegularFile, stamp: None });
        }
        wanted
    }

    /// Decides, as `records` say what is in the doubtful files now.
    pub(super) fn settle(self, records: Records) -> Plan {
        let Self { now, mut kept, doubtful, mut gone, mut wanted } = self;
        let records: BTreeMap<_, _> =
            records.into_iter().map(|(path, record)| (path.into_os_string(), record)).collect();
        let mut stamps = Stamps::AsBefore;
        for (entry, stamp) in doubtful {
            let stamp = now.trusted(stamp);
            if records.get(entry.path.as_os_str()) == Some(&entry.record) {
                if stamp != entry.stamp {
                    stamps = Stamps::Changed;
                }
                kept.push(Entry { stamp, ..entry });
            } else {
                wanted.add(&entry.path, Thing { kind: FileType::RegularFile, stamp });
                gone.push(entry.path);
            }
        }
        // The directories that lose something get their time again.
        gone.iter().for_each(|path| wanted.add_above(path));
        Plan { kept, gone, wanted, stamps }
    }
}

/// What has to be done.
#[derive(Debug)]
pub(super) struct Plan {
    /// What stays as it is, in no promised order.
    pub(super) kept: Vec<Entry>,
    /// What is to be removed first, with everything below.
    pub(super) gone: Vec<PathBuf>,
    /// What is to be copied then.
    pub(super) wanted: Wanted,
    stamps: Stamps,
}

/// Whether something is known better than before about files that did not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stamps {
    AsBefore,
    Changed,
}

/// What a plan has to write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    Index,
    Tree,
}

impl Plan {
    pub(super) fn need(&self) -> Need {
        match self.stamps {
            _ if !self.gone.is_empty() || !self.wanted.is_empty() => Need::Tree,
            Stamps::Changed => Need::Index,
            Stamps::AsBefore => Need::Nothing,
        }
    }
}

/// Some things of a tree, and the directories above them.
#[derive(Debug, Default)]
pub(super) struct Wanted(BTreeMap<OsString, Thing>);

/// What something was when it was found.
#[derive(Debug, Clone, Copy)]
struct Thing {
    kind: FileType,
    stamp: Option<Stamp>,
}

impl Wanted {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn add(&mut self, path: &Path, thing: Thing) {
        self.add_above(path);
        self.0.insert(path.into(), thing);
    }

    /// Adds the directories above `path`. Those above one that is there are there as well.
    fn add_above(&mut self, path: &Path) {
        for above in path.ancestors().skip(1).take_while(|above| !above.as_os_str().is_empty()) {
            if self.0.contains_key(above.as_os_str()) {
                break;
            }
            self.0.insert(above.into(), Thing { kind: FileType::Directory, stamp: None });
        }
    }

    /// Chooses just these, below `source`.
    pub(super) const fn below<'a>(&'a self, source: &'a Path) -> Chosen<'a> {
        Chosen { wanted: self, source }
    }

    /// The entries of what was copied.
    pub(super) fn entries(&self, copied: Records) -> impl Iterator<Item = Entry> {
        copied.into_iter().map(|(path, record)| {
            let stamp = self.0.get(path.as_os_str()).and_then(|thing| thing.stamp);
            Entry { path, record, stamp }
        })
    }
}

/// The choice of things that were found before, as far as they are of the same kind still.
#[derive(Debug)]
pub(super) struct Chosen<'a> {
    wanted: &'a Wanted,
    source: &'a Path,
}

impl Choice for Chosen<'_> {
    fn takes(&mut self, directory: &Path, name: &Name) -> bool {
        let path = directory.join(OsStr::from_bytes(name.name.to_bytes()));
        self.wanted.0.get(path.as_os_str()).is_some_and(|thing| thing.kind == name.kind)
    }

    fn link(&mut self, path: &Path, target: PathBuf) -> Result<PathBuf, SnapshotError> {
        confine(self.source, path, target)
    }
}
