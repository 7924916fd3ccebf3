//! How much is kept, and its removal.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs::TryLockError as Busy;
use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, FileType};
use serde::{Deserialize, Serialize};

use super::{Absent, FsError, Lock, Store, StoreError, TryLockError, fs};

/// How much something takes up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes on disk; what several names share counts once.
    pub bytes: u64,
    /// Files and links.
    pub files: u64,
}

/// Reaches what this process may not: files of ids that only a user namespace has.
pub trait Reach {
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

/// What [`Store::prune`] and [`Store::clean`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// What was removed.
    pub removed: Usage,
    /// The kinds that were left alone, wholly or in part, as somebody is using them.
    pub in_use: Vec<String>,
}

impl Usage {
    /// How much everything below a directory takes up.
    ///
    /// # Errors
    ///
    /// If something cannot be read.
    pub fn of(directory: &Path) -> Result<Self, FsError> {
        let mut usage = Self::default();
        let mut seen = BTreeSet::new();
        crate::walk::each(directory, &mut |at, _, name| {
            let stat = rustix::fs::statat(at, &*name.name, AtFlags::SYMLINK_NOFOLLOW)?;
            if name.kind != FileType::Directory {
                usage.files += 1;
            }
            if stat.st_nlink < 2
                || name.kind == FileType::Directory
                || seen.insert((stat.st_dev, stat.st_ino))
            {
                usage.bytes += u64::try_from(stat.st_blocks).unwrap_or_default() * 512;
            }
            Ok(())
        })?;
        Ok(usage)
    }
}

/// Removes a tree, through `reach` where this process may not.
pub(super) fn remove(path: &Path, reach: Option<&dyn Reach>) -> Result<(), StoreError> {
    reaching(path, reach, fs::remove_tree(path), |reach| reach.remove(path))
}

fn measure(path: &Path, reach: Option<&dyn Reach>) -> Result<Usage, StoreError> {
    reaching(path, reach, Usage::of(path), |reach| reach.measure(path))
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
    /// How much each kind of content takes up.
    ///
    /// # Errors
    ///
    /// If something cannot be read, by `reach` neither.
    pub fn usage(&self, reach: Option<&dyn Reach>) -> Result<BTreeMap<String, Usage>, StoreError> {
        let usage = |kind: String| Ok((kind.clone(), measure(&self.home.join(kind), reach)?));
        self.kinds()?.into_iter().map(usage).collect()
    }

    /// Removes all content of these kinds (the keys of [`Store::usage`]); a kind that is not there is fine. What
    /// other users of the store may need is left alone.
    ///
    /// # Errors
    ///
    /// If a kind is no plain name, or something cannot be removed, by `reach` neither.
    pub fn prune(&self, kinds: &[&str], reach: Option<&dyn Reach>) -> Result<Pruned, StoreError> {
        for kind in kinds {
            super::plain(kind)?;
        }
        let swept = self.sweep(reach)?;
        if let Some(failure) = swept.failures.into_iter().next() {
            return Err(failure);
        }
        let held = self.held_areas()?;
        let there = self.kinds()?;
        let mut pruned = Pruned::default();
        let alone = Alone::attempt(self)?;
        for kind in there.into_iter().filter(|kind| kinds.contains(&kind.as_str())) {
            if alone.is_none() || held.contains(&kind) {
                pruned.in_use.push(kind);
                continue;
            }
            let path = self.home.join(&kind);
            let Usage { bytes, files } = measure(&path, reach)?;
            remove(&path, reach)?;
            pruned.removed.bytes += bytes;
            pruned.removed.files += files;
        }
        Ok(pruned)
    }

    /// Removes all content of every kind but what is in use. What other layouts hold beside this one stays.
    ///
    /// # Errors
    ///
    /// If something cannot be removed, by `reach` neither.
    pub fn clean(&self, reach: Option<&dyn Reach>) -> Result<Pruned, StoreError> {
        let kinds = self.kinds()?;
        self.prune(&kinds.iter().map(String::as_str).collect::<Vec<_>>(), reach)
    }

    /// The directories of this layout that hold content.
    fn kinds(&self) -> Result<Vec<String>, StoreError> {
        let kinds = super::directories(&self.home)?;
        Ok(kinds.into_iter().filter(|kind| kind != "locks").collect())
    }

    /// The areas with a lock that somebody holds.
    fn held_areas(&self) -> Result<BTreeSet<String>, StoreError> {
        let mut held = BTreeSet::new();
        for entry in crate::walk_sorted(&self.home.join("locks"))? {
            let Some(area) = entry.path.to_str().and_then(area_of) else { continue };
            if Lock::attempt(&self.home.join("locks").join(&entry.path), Absent::Leave)?.is_none() {
                held.insert(area.to_owned());
            }
        }
        Ok(held)
    }
}

/// The area of which something is held by the lock of this name: a claim's (`area,key,number`), that of something kept
/// (`area,key,kept`) or of a name (`area,name`), or a mirror's (`area-key`). The store's own has none.
fn area_of(lock: &str) -> Option<&str> {
    lock.split_once(',').or_else(|| lock.rsplit_once('-')).map(|(area, _)| area)
}

/// Proof that nobody else uses the store; while it lives, nobody else can open it.
struct Alone<'a>(&'a Store);

impl<'a> Alone<'a> {
    /// Trades our share of the store's lock for all of it; `None` if others have a share.
    fn attempt(store: &'a Store) -> Result<Option<Self>, StoreError> {
        let path = store.home.join("locks/store");
        // Trading in one step is not promised to work on every system; what is removed in between, others may remove.
        store.in_use.unlock().map_err(FsError::lock(&path))?;
        let alone = Self(store);
        match store.in_use.try_lock() {
            Ok(()) => Ok(Some(alone)),
            Err(Busy::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(FsError::lock(&path)(error).into()),
        }
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        // Without a share we are only less protected against somebody who cleans.
        drop(self.0.in_use.unlock().and_then(|()| self.0.in_use.lock_shared()));
    }
}

#[cfg(test)]
mod tests {
    use hwb_ident::{Digest, Timestamp};

    use super::*;

    #[test]
    fn counts_and_removes_by_kind() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.put_blob(&mut &[1; 10_000][..]).unwrap();
        store.record_put("pins", "x", &1).unwrap();
        store.history_append(Timestamp::from_seconds(1), &1).unwrap();
        let wheels = store.directory("wheels").unwrap();
        fs::write_atomic(&wheels.join("a"), &[1; 10_000]).unwrap();
        std::fs::hard_link(wheels.join("a"), wheels.join("b")).unwrap();
        let usage = store.usage(None).unwrap();
        let files: Vec<_> = usage.iter().map(|(kind, usage)| (kind.as_str(), usage.files)).collect();
        assert_eq!(files, [("blobs", 1), ("history", 1), ("records", 1), ("tmp", 0), ("wheels", 2)]);
        let bytes = |kind: &str| usage[kind].bytes;
        assert!((10_000..20_000).contains(&bytes("wheels")), "{usage:?}");
        let pruned = store.prune(&["wheels", "absent"], None).unwrap();
        assert_eq!((pruned.removed.files, pruned.in_use), (2, Vec::new()));
        let pruned = store.clean(None).unwrap();
        // Our own place for incoming files is held by ourselves.
        assert_eq!((pruned.removed.files, pruned.in_use), (3, vec!["tmp".to_owned()]));
        store.record_put("pins", "x", &2).unwrap();
        assert_eq!(store.record_get("pins", "x").unwrap(), Some(2));
    }

    #[test]
    fn what_is_refused_is_reached_by_others() {
        struct Other;
        impl Reach for Other {
            fn remove(&self, path: &Path) -> Result<(), Box<dyn Error + Send + Sync>> {
                Err(format!("not even {}", path.display()).into())
            }
            fn measure(&self, _: &Path) -> Result<Usage, Box<dyn Error + Send + Sync>> {
                Ok(Usage { bytes: 1, files: 1 })
            }
        }
        let path = Path::new("tree");
        let failed = |kind: io::ErrorKind| Err(FsError::Read { path: path.to_owned(), source: kind.into() });
        let measured = |kind, reach| {
            reaching(path, reach, failed(kind), |reach| reach.measure(path))
                .map_err(|error| error.to_string())
        };
        let other: Option<&dyn Reach> = Some(&Other);
        assert_eq!(measured(io::ErrorKind::PermissionDenied, other), Ok(Usage { bytes: 1, files: 1 }));
        assert_eq!(measured(io::ErrorKind::PermissionDenied, None), Err("cannot read `tree`".to_owned()));
        assert_eq!(measured(io::ErrorKind::StorageFull, other), Err("cannot read `tree`".to_owned()));
        let refused = failed(io::ErrorKind::PermissionDenied);
        let again = |reach: &dyn Reach| reach.remove(path).map(|()| Usage::default());
        let error = reaching(path, other, refused, again).unwrap_err();
        assert_eq!(error.to_string(), "cannot reach what belongs to other ids in `tree`");
        assert_eq!(error.source().unwrap().to_string(), "not even tree");
    }

    #[test]
    fn locks_name_their_area() {
        let cases = [
            ("sources,0123456789ab,0", Some("sources")),
            ("my-area,a-b,12", Some("my-area")),
            ("environments,0123456789ab,kept", Some("environments")),
            ("mirrors-0123456789ab.readers", Some("mirrors")),
            ("store", None),
        ];
        for (lock, area) in cases {
            assert_eq!(area_of(lock), area, "{lock}");
        }
    }

    #[test]
    fn leaves_alone_what_others_use() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.record_put("pins", "x", &1).unwrap();
        let other = Store::open(folder.path()).unwrap();
        let in_use = |pruned: Pruned| pruned.in_use;
        assert_eq!(in_use(store.prune(&["records"], None).unwrap()), ["records"]);
        let slot = other.slot("source", &Digest::of(b"key")).unwrap();
        drop(other);
        assert_eq!(in_use(store.prune(&["source", "records"], None).unwrap()), ["source"]);
        assert!(slot.path().is_dir());
        drop(slot);
        assert!(in_use(store.prune(&["source"], None).unwrap()).is_empty());
        assert_eq!(store.record_get::<u8>("pins", "x").unwrap(), None);
        // Others can come again.
        Store::open(folder.path()).unwrap();
    }
}
