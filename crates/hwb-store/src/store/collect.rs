//! The removal of what is kept.
//!
//! Everything is moved away in one step and removed afterwards, so that a killed process leaves what it was removing
//! whole or gone, and the rest for [`Store::sweep`].

use std::collections::BTreeSet;
use std::fs::TryLockError as Busy;
use std::path::{Path, PathBuf};

use hwb_ident::Timestamp;

use super::claim::SCRATCH;
use super::usage::{is_full, measure, remove};
use super::{Absent, FsError, Lock, Reach, Scratch, Store, StoreError, TryLockError, Usage};

/// Names, above all: whatever leads to something goes before it.
const RECORDS: &str = "records";

/// Something in the store that can be removed by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What kind of content it is: a key of [`Store::usage`].
    pub kind: String,
    /// Where it is in the directory of its kind; empty if that goes as a whole.
    pub name: PathBuf,
    /// How much it takes up.
    pub usage: Usage,
}

impl Item {
    /// When it was last made or used.
    pub fn used(&self) -> Timestamp {
        self.usage.changed.unwrap_or(Timestamp::from_seconds(0))
    }

    /// Everything of a kind.
    fn whole(kind: String) -> Self {
        Self { kind, name: PathBuf::new(), usage: Usage::default() }
    }
}

/// How far below the directory of a kind its items are: what another program keeps there is one.
fn depth(kind: &str) -> usize {
    match kind {
        "blobs" | RECORDS => 2,
        "cargo" | "uv" => 0,
        _ => 1,
    }
}

/// What [`Store::clean`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// What was removed.
    pub removed: Usage,
    /// The kinds that were left alone, as somebody is using them.
    pub in_use: Vec<String>,
}

/// The store, used by nobody else; while this value lives, nobody else can open it.
#[derive(Debug)]
pub struct Alone<'a> {
    lock: Exclusive<'a>,
    reach: Option<&'a dyn Reach>,
    /// Where it is put what is to be removed. A full disk may have no place for that: then it is removed at once.
    discarded: Option<Scratch>,
    count: u64,
    /// What was removed at once.
    removed: Usage,
}

impl Store {
    /// Keeps everybody else out of the store; `None` if somebody is in it.
    ///
    /// What was read before may have changed: others may have come and gone.
    ///
    /// # Errors
    ///
    /// If it cannot be locked.
    pub fn alone<'a>(&'a self, reach: Option<&'a dyn Reach>) -> Result<Option<Alone<'a>>, StoreError> {
        let discarded = match self.scratch("removed") {
            Err(error) if is_full(&error) => None,
            scratch => Some(scratch?),
        };
        let lock = Exclusive::attempt(self)?;
        let removed = Usage::default();
        Ok(lock.map(|lock| Alone { lock, reach, discarded, count: 0, removed }))
    }

    /// Removes everything but what is in use. What other layouts hold beside this one stays.
    ///
    /// # Errors
    ///
    /// If something cannot be removed, by `reach` neither.
    pub fn clean(&self, reach: Option<&dyn Reach>) -> Result<Cleaned, StoreError> {
        let mut cleaned = Cleaned { removed: self.swept(reach)?, in_use: Vec::new() };
        let mut kinds = self.kinds()?;
        // There lies what is discarded.
        kinds.retain(|kind| kind != SCRATCH);
        kinds.sort_by_key(|kind| kind != RECORDS);
        let Some(mut alone) = self.alone(reach)? else { return Ok(Cleaned { in_use: kinds, ..cleaned }) };
        let held = alone.held()?;
        for kind in kinds {
            if held.contains(&kind) {
                cleaned.in_use.push(kind);
            } else {
                alone.discard(&Item::whole(kind))?;
            }
        }
        cleaned.removed += alone.finish()?;
        Ok(cleaned)
    }

    /// Where an item is.
    pub fn place(&self, item: &Item) -> PathBuf {
        self.home.join(&item.kind).join(&item.name)
    }

    /// Removes what the dead left, and fails where that fails.
    ///
    /// # Errors
    ///
    /// If something cannot be removed, by `reach` neither.
    pub fn swept(&self, reach: Option<&dyn Reach>) -> Result<Usage, StoreError> {
        let swept = self.sweep(reach)?;
        swept.failures.into_iter().next().map_or(Ok(swept.usage), Err)
    }

    /// The kinds of content that there are: the keys of [`Store::usage`] but for the store's own.
    ///
    /// # Errors
    ///
    /// If they cannot be listed.
    pub fn kinds(&self) -> Result<Vec<String>, StoreError> {
        let kinds = super::directories(&self.home)?;
        Ok(kinds.into_iter().filter(|kind| kind != "locks").collect())
    }
}

impl Alone<'_> {
    /// The items of a kind, sorted by name.
    ///
    /// # Errors
    ///
    /// If something cannot be read.
    pub fn items(&self, kind: &str) -> Result<Vec<Item>, StoreError> {
        let above = self.lock.0.home.join(super::plain(kind)?);
        let mut names = vec![PathBuf::new()];
        for _ in 0..depth(kind) {
            let mut deeper = Vec::new();
            for name in names {
                let below = children(&above.join(&name))?;
                deeper.extend(below.into_iter().map(|child| name.join(child)));
            }
            names = deeper;
        }
        let item = |name: PathBuf| {
            let place = above.join(&name);
            let mut usage = measure(&place, self.reach)?;
            usage += measure(&mark(&place), self.reach)?;
            Ok(Item { kind: kind.to_owned(), name, usage })
        };
        names.into_iter().filter(|name| above.join(name).exists()).map(item).collect()
    }

    /// The kinds of which this process itself holds something.
    ///
    /// # Errors
    ///
    /// If the locks cannot be listed.
    pub fn held(&self) -> Result<BTreeSet<String>, StoreError> {
        let locks = self.lock.0.home.join("locks");
        let mut held = BTreeSet::new();
        for entry in crate::walk_sorted(&locks)? {
            let Some(area) = entry.path.to_str().and_then(area_of) else { continue };
            if Lock::attempt(&locks.join(&entry.path), Absent::Leave)?.is_none() {
                held.insert(area.to_owned());
            }
        }
        Ok(held)
    }

    /// Takes an item away in one step; it is removed by [`Alone::finish`], or by a later sweep.
    ///
    /// # Errors
    ///
    /// If it cannot be moved.
    pub fn discard(&mut self, item: &Item) -> Result<(), StoreError> {
        let place = self.lock.0.place(item);
        // What has no mark is not complete.
        for path in [mark(&place), place.clone()] {
            if path.symlink_metadata().is_err() {
                continue;
            }
            let Some(discarded) = &self.discarded else {
                self.removed += measure(&path, self.reach)?;
                remove(&path, self.reach)?;
                continue;
            };
            let to = discarded.path().join(self.count.to_string());
            self.count += 1;
            std::fs::rename(&path, &to).map_err(|source| FsError::Move { from: path, to, source })?;
        }
        if item.name.components().count() > 1 {
            // Neighbours may be in it.
            place.parent().and_then(|above| std::fs::remove_dir(above).ok());
        }
        Ok(())
    }

    /// Lets others in again, and removes what was discarded; how much that was.
    ///
    /// # Errors
    ///
    /// If something cannot be removed.
    pub fn finish(self) -> Result<Usage, StoreError> {
        let Self { lock, reach, discarded, mut removed, count: _ } = self;
        drop(lock);
        let Some(discarded) = discarded else { return Ok(removed) };
        for name in super::listed(discarded.path())? {
            let path = discarded.path().join(name);
            removed += measure(&path, reach)?;
            remove(&path, reach)?;
        }
        discarded.close()?;
        Ok(removed)
    }
}

/// The area of which something is held by the lock of this name: a claim's (`area,key,number`), that of something kept
/// (`area,key,kept`) or of a name (`area,name`), or a mirror's (`area-key`). The store's own has none.
fn area_of(lock: &str) -> Option<&str> {
    lock.split_once(',').or_else(|| lock.rsplit_once('-')).map(|(area, _)| area)
}

/// What is in a directory that may not be there, but for the marks of what else is in it.
fn children(directory: &Path) -> Result<Vec<PathBuf>, FsError> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let mut names: Vec<PathBuf> = super::listed(directory)?.into_iter().map(PathBuf::from).collect();
    let marks: Vec<PathBuf> = names.iter().map(|name| mark(name)).collect();
    names.retain(|name| !marks.contains(name) || directory.join(name).is_dir());
    Ok(names)
}

/// What says that a directory is complete, if it is one that is kept.
fn mark(place: &Path) -> PathBuf {
    let mut name = place.file_name().unwrap_or_default().to_owned();
    name.push(".complete");
    place.with_file_name(name)
}

/// The store's lock, held alone.
#[derive(Debug)]
struct Exclusive<'a>(&'a Store);

impl<'a> Exclusive<'a> {
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

impl Drop for Exclusive<'_> {
    fn drop(&mut self) {
        // Without a share we are only less protected against somebody who cleans.
        drop(self.0.in_use.unlock().and_then(|()| self.0.in_use.lock_shared()));
    }
}

#[cfg(test)]
mod tests {
    use hwb_ident::Digest;

    use super::*;
    use crate::fs;

    fn names(items: &[Item]) -> Vec<String> {
        items.iter().map(|item| item.name.display().to_string()).collect()
    }

    #[test]
    fn items_are_what_can_be_removed_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let blob = store.put_blob(&mut &[1; 10_000][..]).unwrap();
        store.record_put("pins", "x", &1).unwrap();
        let key = Digest::of(b"key");
        let make = |path: &Path| fs::write_atomic(&path.join("file"), b"1").map_err(StoreError::from);
        store.kept("things", &key, make).unwrap();
        fs::create_directory(&store.directory("uv").unwrap().join("a/b")).unwrap();
        let mut alone = store.alone(None).unwrap().unwrap();
        let items = |alone: &Alone<'_>, kind: &str| alone.items(kind).unwrap();
        let hex = blob.hex();
        assert_eq!(names(&items(&alone, "blobs")), [format!("{}/{}", &hex[..2], &hex[2..])]);
        assert_eq!(names(&items(&alone, "records")), ["pins/x.json"]);
        assert_eq!(names(&items(&alone, "uv")), [""]);
        assert_eq!(names(&items(&alone, "absent")), [""; 0]);
        let things = items(&alone, "things");
        assert_eq!(
            (names(&things), things[0].usage.files),
            (vec![key.short()], 2),
            "its mark is a part of it"
        );
        assert!(things[0].used() > Timestamp::ZIP_EPOCH);
        for kind in ["blobs", "things"] {
            for item in items(&alone, kind) {
                alone.discard(&item).unwrap();
            }
            assert_eq!(items(&alone, kind), []);
        }
        assert_eq!(alone.finish().unwrap().files, 3);
        assert!(
            !store.has_blob(&blob) && store.directory("things").unwrap().read_dir().unwrap().next().is_none()
        );
        assert_eq!(store.record_get("pins", "x").unwrap(), Some(1));
    }

    #[test]
    fn everything_is_removed_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.put_blob(&mut &[1; 10_000][..]).unwrap();
        store.record_put("pins", "x", &1).unwrap();
        store.history_append(Timestamp::from_seconds(1), &1).unwrap();
        assert_eq!(store.clean(None).unwrap().removed.files, 3);
        assert_eq!(store.kinds().unwrap(), ["tmp"]);
        store.record_put("pins", "x", &2).unwrap();
        assert_eq!(store.record_get("pins", "x").unwrap(), Some(2));
    }

    #[test]
    fn leaves_alone_what_others_use() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.record_put("pins", "x", &1).unwrap();
        let other = Store::open(folder.path()).unwrap();
        assert!(store.alone(None).unwrap().is_none());
        assert_eq!(store.clean(None).unwrap().in_use, ["records"]);
        let slot = other.slot("source", &Digest::of(b"key")).unwrap();
        drop(other);
        assert_eq!(store.clean(None).unwrap().in_use, ["source"]);
        assert!(slot.path().is_dir());
        assert_eq!(store.record_get::<u8>("pins", "x").unwrap(), None);
        // Others can come again.
        Store::open(folder.path()).unwrap();
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
    fn where_nothing_can_be_moved_away_it_is_removed_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.put_blob(&mut &[1; 10_000][..]).unwrap();
        let mut alone = store.alone(None).unwrap().unwrap();
        alone.discarded = None;
        let blob = alone.items("blobs").unwrap().remove(0);
        alone.discard(&blob).unwrap();
        assert_eq!(alone.items("blobs").unwrap(), []);
        assert_eq!(alone.finish().unwrap().files, 1);
    }

    #[test]
    fn what_is_discarded_by_the_dead_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.record_put("pins", "x", &1).unwrap();
        let mut alone = store.alone(None).unwrap().unwrap();
        for item in alone.items(RECORDS).unwrap() {
            alone.discard(&item).unwrap();
        }
        drop(alone);
        assert_eq!(store.record_get::<u8>("pins", "x").unwrap(), None);
        assert_eq!(store.swept(None).unwrap().files, 0, "it goes with the value");
        assert!(crate::walk_sorted(&store.home.join("tmp/removed")).is_err());
    }
}
