//! How much is kept, and its removal.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::TryLockError as Busy;

use rustix::fs::{AtFlags, FileType};

use super::{Absent, FsError, Lock, Store, StoreError, TryLockError, fs};

/// How much something takes up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on disk; what several names share counts once.
    pub bytes: u64,
    /// Files and links.
    pub files: u64,
}

/// What [`Store::prune`] and [`Store::clean`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// What was removed.
    pub removed: Usage,
    /// The kinds that were left alone, wholly or in part, as somebody is using them.
    pub in_use: Vec<String>,
}

impl Store {
    /// How much each kind of content takes up.
    ///
    /// # Errors
    ///
    /// If something cannot be read.
    pub fn usage(&self) -> Result<BTreeMap<String, Usage>, StoreError> {
        self.kinds()?.into_iter().map(|kind| Ok((kind.clone(), self.usage_of(&kind)?))).collect()
    }

    /// Removes all content of these kinds (the keys of [`Store::usage`]); a kind that is not there is fine. What
    /// other users of the store may need is left alone.
    ///
    /// # Errors
    ///
    /// If a kind is no plain name, or something cannot be removed.
    pub fn prune(&self, kinds: &[&str]) -> Result<Pruned, StoreError> {
        for kind in kinds {
            super::plain(kind)?;
        }
        let swept = self.sweep()?;
        if let Some(failure) = swept.failures.into_iter().next() {
            return Err(failure.into());
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
            let Usage { bytes, files } = self.usage_of(&kind)?;
            fs::remove_tree(&self.home.join(&kind))?;
            pruned.removed.bytes += bytes;
            pruned.removed.files += files;
        }
        Ok(pruned)
    }

    /// Removes all content of every kind but what is in use. What other layouts hold beside this one stays.
    ///
    /// # Errors
    ///
    /// If something cannot be removed.
    pub fn clean(&self) -> Result<Pruned, StoreError> {
        let kinds = self.kinds()?;
        self.prune(&kinds.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The directories of this layout that hold content.
    fn kinds(&self) -> Result<Vec<String>, StoreError> {
        let opened = rustix::fs::open(
            &self.home,
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        );
        let names = opened
            .map_err(std::io::Error::from)
            .and_then(|opened| crate::os::list(std::os::fd::AsFd::as_fd(&opened)))
            .map_err(FsError::read(&self.home))?;
        let directories = names.into_iter().filter(|name| name.kind == FileType::Directory);
        let kinds = directories.filter_map(|name| name.name.into_string().ok());
        Ok(kinds.filter(|kind| kind != "locks").collect())
    }

    fn usage_of(&self, kind: &str) -> Result<Usage, StoreError> {
        let mut usage = Usage::default();
        let mut seen = BTreeSet::new();
        crate::walk::each(&self.home.join(kind), &mut |at, _, name| {
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

/// The area of which something is held by the lock of this name: a claim's (`area,key,number`), or that of something
/// kept (`area-key`). The store's own has none.
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
        let usage = store.usage().unwrap();
        let files: Vec<_> = usage.iter().map(|(kind, usage)| (kind.as_str(), usage.files)).collect();
        assert_eq!(files, [("blobs", 1), ("history", 1), ("records", 1), ("tmp", 0), ("wheels", 2)]);
        let bytes = |kind: &str| usage[kind].bytes;
        assert!((10_000..20_000).contains(&bytes("wheels")), "{usage:?}");
        let pruned = store.prune(&["wheels", "absent"]).unwrap();
        assert_eq!((pruned.removed.files, pruned.in_use), (2, Vec::new()));
        let pruned = store.clean().unwrap();
        // Our own place for incoming files is held by ourselves.
        assert_eq!((pruned.removed.files, pruned.in_use), (3, vec!["tmp".to_owned()]));
        store.record_put("pins", "x", &2).unwrap();
        assert_eq!(store.record_get("pins", "x").unwrap(), Some(2));
    }

    #[test]
    fn locks_name_their_area() {
        let cases = [
            ("sources,0123456789ab,0", Some("sources")),
            ("my-area,a-b,12", Some("my-area")),
            ("environments-0123456789ab", Some("environments")),
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
        assert_eq!(in_use(store.prune(&["records"]).unwrap()), ["records"]);
        let slot = other.slot("source", &Digest::of(b"key")).unwrap();
        drop(other);
        assert_eq!(in_use(store.prune(&["source", "records"]).unwrap()), ["source"]);
        assert!(slot.path().is_dir());
        drop(slot);
        assert!(in_use(store.prune(&["source"]).unwrap()).is_empty());
        assert_eq!(store.record_get::<u8>("pins", "x").unwrap(), None);
        // Others can come again.
        Store::open(folder.path()).unwrap();
    }
}
