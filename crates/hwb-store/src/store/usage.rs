//! How much is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io;
use std::path::Path;

use hwb_ident::Timestamp;
use rustix::fs::{AtFlags, CWD, FileType, Stat};
use serde::{Deserialize, Serialize};

use super::{FsError, Store, StoreError, fs};

/// What is counted as a kind besides those that can be removed: locks, marks, and the directories of it all.
const OWN: &str = "store";

/// How much something takes up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes on disk, directories included; what several names share counts once.
    pub bytes: u64,
    /// Files and links.
    pub files: u64,
    /// When any of it was last made, moved, written or marked as used; `None` if nothing is there.
    pub changed: Option<Timestamp>,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.files += other.files;
        self.changed = self.changed.max(other.changed);
    }
}

impl std::iter::Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, usage| {
            sum += usage;
            sum
        })
    }
}

/// Reaches what this process may not: files of ids that only a user namespace has.
pub trait Reach: std::fmt::Debug {
    /// Removes a tree.
    ///
    /// # Errors
    ///
    /// If something in it cannot be removed.
    fn remove(&self, path: &Path) -> Result<(), Box<dyn Error + Send + Sync>>;

    /// Does what [`Usage::of`] does.
    ///
    /// # Errors
    ///
    /// If something cannot be read.
    fn measure(&self, path: &Path) -> Result<Usage, Box<dyn Error + Send + Sync>>;
}

impl Usage {
    /// How much a file, or a directory and everything below it, takes up.
    ///
    /// # Errors
    ///
    /// If something cannot be read. It is fine if nothing is there.
    pub fn of(path: &Path) -> Result<Self, FsError> {
        Seen::default().measure(path)
    }
}

/// Files that were counted under one of their names.
#[derive(Debug, Default)]
pub(super) struct Seen(BTreeSet<(u64, u64)>);

impl Seen {
    /// Measures what was not seen yet.
    fn measure(&mut self, path: &Path) -> Result<Usage, FsError> {
        let mut usage = Usage::default();
        let top = match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(top) => top,
            Err(rustix::io::Errno::NOENT) => return Ok(usage),
            Err(error) => return Err(FsError::read(path)(error)),
        };
        self.count(&top, &mut usage);
        if FileType::from_raw_mode(top.st_mode) == FileType::Directory {
            crate::walk::each(path, &mut |at, _, name| {
                self.count(&rustix::fs::statat(at, &*name.name, AtFlags::SYMLINK_NOFOLLOW)?, &mut usage);
                Ok(())
            })?;
        }
        Ok(usage)
    }

    fn count(&mut self, stat: &Stat, usage: &mut Usage) {
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        usage.files += u64::from(!is_directory);
        if stat.st_nlink < 2 || is_directory || self.0.insert((stat.st_dev, stat.st_ino)) {
            usage.bytes += u64::try_from(stat.st_blocks).unwrap_or_default() * 512;
        }
        // No archive, and nobody who copies, sets this time; making a link and moving do.
        let changed = u64::try_from(stat.st_ctime).unwrap_or_default();
        usage.changed = usage.changed.max(Some(Timestamp::from_seconds(changed)));
    }

    /// The same, through `reach` where this process may not look.
    pub(super) fn reaching(&mut self, path: &Path, reach: Option<&dyn Reach>) -> Result<Usage, StoreError> {
        reaching(path, reach, self.measure(path), |reach| reach.measure(path))
    }
}

/// Whether it failed for want of space.
pub(super) fn is_full(error: &StoreError) -> bool {
    let StoreError::Fs(error) = error else { return false };
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|source| source.kind() == io::ErrorKind::StorageFull)
}

/// Removes a tree, through `reach` where this process may not.
pub(super) fn remove(path: &Path, reach: Option<&dyn Reach>) -> Result<(), StoreError> {
    reaching(path, reach, fs::remove_tree(path), |reach| reach.remove(path))
}

/// Measures a tree, through `reach` where this process may not.
pub(super) fn measure(path: &Path, reach: Option<&dyn Reach>) -> Result<Usage, StoreError> {
    Seen::default().reaching(path, reach)
}

fn reaching<T>(
    path: &Path,
    reach: Option<&dyn Reach>,
    result: Result<T, FsError>,
    again: impl FnOnce(&dyn Reach) -> Result<T, Box<dyn Error + Send + Sync>>,
) -> Result<T, StoreError> {
    match (result, reach) {
        (Err(error), Some(reach)) if is_refused(&error) => {
            again(reach).map_err(|source| StoreError::Reach { path: path.to_owned(), source })
        }
        (result, _) => Ok(result?),
    }
}

/// Whether it failed for want of a right.
pub(super) fn is_refused(error: &FsError) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|source| source.kind() == io::ErrorKind::PermissionDenied)
}

impl Store {
    /// How much each kind of content takes up, and the store itself; together that is the whole directory of the cache.
    /// What several kinds share counts for the first of them.
    ///
    /// # Errors
    ///
    /// If something cannot be read, by `reach` neither.
    pub fn usage(&self, reach: Option<&dyn Reach>) -> Result<BTreeMap<String, Usage>, StoreError> {
        let mut seen = Seen::default();
        let mut all = BTreeMap::new();
        let kinds = self.kinds()?;
        for kind in &kinds {
            all.insert(kind.clone(), seen.reaching(&self.home.join(kind), reach)?);
        }
        let mut own = Usage::default();
        for directory in [&self.root, &self.home] {
            let stat = rustix::fs::statat(CWD, directory, AtFlags::SYMLINK_NOFOLLOW);
            seen.count(&stat.map_err(FsError::read(directory))?, &mut own);
            for name in super::listed(directory)? {
                let path = directory.join(&name);
                let is_kind = || kinds.iter().any(|kind| name == kind.as_str());
                let is_counted = path == self.home || directory == &self.home && is_kind();
                if !is_counted {
                    own += seen.reaching(&path, reach)?;
                }
            }
        }
        all.insert(OWN.to_owned(), own);
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_together_are_the_whole_directory() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("cache");
        let store = Store::open(&root).unwrap();
        store.put_blob(&mut &[1; 10_000][..]).unwrap();
        let (one, other) = (store.directory("one").unwrap(), store.directory("other").unwrap());
        fs::write_atomic(&one.join("file"), &[1; 10_000]).unwrap();
        std::fs::hard_link(one.join("file"), other.join("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", one.join("link")).unwrap();
        fs::create_directory(&root.join("v0/of another layout")).unwrap();
        fs::write_atomic(&root.join("v0/file"), b"1").unwrap();
        let usage = store.usage(None).unwrap();
        let kinds: Vec<_> = usage.keys().map(String::as_str).collect();
        assert_eq!(kinds, ["blobs", "one", "other", "store", "tmp"]);
        let whole = Usage::of(&root).unwrap();
        assert_eq!(usage.values().copied().sum::<Usage>(), whole);
        assert!(usage["one"].bytes > 10_000 && usage["other"].bytes < 10_000, "{usage:?}");
    }

    #[test]
    fn what_is_refused_is_reached_by_others() {
        #[derive(Debug)]
        struct Other;
        impl Reach for Other {
            fn remove(&self, path: &Path) -> Result<(), Box<dyn Error + Send + Sync>> {
                Err(format!("not even {}", path.display()).into())
            }
            fn measure(&self, _: &Path) -> Result<Usage, Box<dyn Error + Send + Sync>> {
                Ok(Usage { bytes: 1, ..Usage::default() })
            }
        }
        let path = Path::new("tree");
        let failed = |kind: io::ErrorKind| Err(FsError::Read { path: path.to_owned(), source: kind.into() });
        let measured = |kind, reach| {
            reaching(path, reach, failed(kind), |reach| reach.measure(path))
                .map_err(|error| error.to_string())
        };
        let other: Option<&dyn Reach> = Some(&Other);
        assert_eq!(
            measured(io::ErrorKind::PermissionDenied, other),
            Ok(Usage { bytes: 1, ..Usage::default() })
        );
        assert_eq!(measured(io::ErrorKind::PermissionDenied, None), Err("cannot read `tree`".to_owned()));
        assert_eq!(measured(io::ErrorKind::StorageFull, other), Err("cannot read `tree`".to_owned()));
        let refused = failed(io::ErrorKind::PermissionDenied);
        let again = |reach: &dyn Reach| reach.remove(path).map(|()| Usage::default());
        let error = reaching(path, other, refused, again).unwrap_err();
        assert_eq!(error.to_string(), "cannot reach what belongs to other ids in `tree`");
        assert_eq!(error.source().unwrap().to_string(), "not even tree");
    }
}
