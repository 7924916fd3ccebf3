//! Directories that one process has to itself, and the removal of those whose process died.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use hwb_ident::Digest;

use super::kept::KEPT;
use super::usage::{is_refused, measure, remove};
use super::{Absent, FsError, Lock, Reach, Store, StoreError, Usage, fs, plain};

/// The area of scratch directories.
pub(super) const SCRATCH: &str = "tmp";

/// A private directory, removed when it is dropped or, if the process is killed, by a later [`Store::sweep`].
#[derive(Debug)]
pub struct Scratch(Claim);

impl Scratch {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Removes it, and says if that failed.
    ///
    /// # Errors
    ///
    /// If something in it cannot be removed.
    pub fn close(self) -> Result<(), StoreError> {
        self.0.close()
    }
}

/// A directory whose path is the same each time: derived from a key, and numbered only while several are in use.
#[derive(Debug)]
pub struct Slot {
    claim: Claim,
    number: u32,
}

impl Slot {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.claim.path
    }

    /// Which slot of its key it is; 0 unless others were in use.
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Removes it, and says if that failed.
    ///
    /// # Errors
    ///
    /// If something in it cannot be removed.
    pub fn close(self) -> Result<(), StoreError> {
        self.claim.close()
    }
}

/// What [`Store::sweep`] did.
#[derive(Debug, Default)]
pub struct Swept {
    /// Directories and locks of dead processes that were removed.
    pub removed: u64,
    /// How much they took up.
    pub usage: Usage,
    /// What could not be removed, for example as it belongs to another user. No reason to fail a build.
    pub failures: Vec<StoreError>,
}

impl Store {
    /// Makes a private directory; `purpose` is a plain name that shows up in its path.
    ///
    /// # Errors
    ///
    /// If it cannot be made or locked.
    pub fn scratch(&self, purpose: &str) -> Result<Scratch, StoreError> {
        let (claim, _) = self.claim(&Place { area: SCRATCH, key: plain(purpose)?, mode: 0o700 })?;
        Ok(Scratch(claim))
    }

    /// Takes the first slot of `key` in `area` that nobody has, and empties it.
    ///
    /// # Errors
    ///
    /// If it cannot be made, emptied or locked.
    pub fn slot(&self, area: &str, key: &Digest) -> Result<Slot, StoreError> {
        let (claim, number) = self.claim(&Place { area: plain(area)?, key: &key.short(), mode: 0o755 })?;
        Ok(Slot { claim, number })
    }

    /// Removes what processes left that died: scratch directories, slots, what they were making, and their locks. Cheap
    /// if there is nothing.
    ///
    /// # Errors
    ///
    /// If the locks cannot be listed.
    pub fn sweep(&self, reach: Option<&dyn Reach>) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        for entry in crate::walk_sorted(&self.home.join("locks"))? {
            let Some(held) = entry.path.to_str().and_then(Held::parse) else { continue };
            match self.sweep_one(&entry.path, &held, reach) {
                Ok(Some(usage)) => {
                    swept.removed += 1;
                    swept.usage += usage;
                }
                Ok(None) => {}
                Err(error) => swept.failures.push(error),
            }
        }
        Ok(swept)
    }

    /// Removes what belongs to one lock if nobody holds it; how much that was.
    fn sweep_one(
        &self,
        name: &Path,
        held: &Held,
        reach: Option<&dyn Reach>,
    ) -> Result<Option<Usage>, StoreError> {
        let lock_file = self.home.join("locks").join(name);
        let Some(lock) = Lock::attempt(&lock_file, Absent::Leave)? else { return Ok(None) };
        Ok(Some(match held {
            Held::Claim(lock_file) => {
                let path = lock_file.directory(&self.home);
                let usage = measure(&path, reach)?;
                remove(&path, reach)?;
                Claim { path, lock: Some(lock) }.close()?;
                usage
            }
            Held::Kept { area, key } => {
                let usage = self.remove_half_made(area, key, reach)?;
                lock.remove()?;
                usage
            }
            Held::Whole => {
                lock.remove()?;
                Usage::default()
            }
        }))
    }

    /// Takes the first number of a place that is free, and makes an empty directory there.
    fn claim(&self, place: &Place<'_>) -> Result<(Claim, u32), StoreError> {
        let mut number = 0;
        loop {
            let lock_file = LockFile { area: place.area.to_owned(), key: place.key.to_owned(), number };
            if let Some(lock) = Lock::attempt(&lock_file.path(&self.home), Absent::Create)? {
                let claim = Claim { path: lock_file.directory(&self.home), lock: Some(lock) };
                match claim.make_empty(place.mode) {
                    Ok(()) => return Ok((claim, number)),
                    // A dead process left files of other ids. A sweep that reaches them removes them.
                    Err(error) if is_refused(&error) && claim.path.is_dir() => {}
                    Err(error) => return Err(error.into()),
                }
            }
            number += 1;
        }
    }
}

/// Where a claim is wanted.
#[derive(Debug)]
struct Place<'a> {
    area: &'a str,
    key: &'a str,
    mode: u32,
}

/// The name of a lock file: which directory it stands for. `/` cannot be part of an area or a key, `,` neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LockFile {
    pub(super) area: String,
    key: String,
    number: u32,
}

impl LockFile {
    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split(',');
        let (area, key, number) = (parts.next()?, parts.next()?, parts.next()?);
        let is_whole = parts.next().is_none() && plain(area).is_ok() && plain(key).is_ok();
        is_whole.then_some(())?;
        Some(Self { area: area.to_owned(), key: key.to_owned(), number: number.parse().ok()? })
    }

    pub(super) fn path(&self, home: &Path) -> PathBuf {
        let Self { area, key, number } = self;
        home.join(format!("locks/{area},{key},{number}"))
    }

    fn directory(&self, home: &Path) -> PathBuf {
        home.join(&self.area).join(&self.key).join(self.number.to_string())
    }
}

/// What a lock is for, by the name of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Held {
    /// A directory that goes with its claim.
    Claim(LockFile),
    /// A directory that is being made, and then kept.
    Kept {
        /// Where it is kept.
        area: String,
        /// As what.
        key: String,
    },
    /// Something that is whole at any time, or knows by itself that it is not.
    Whole,
}

impl Held {
    /// `None` for the store's own lock, which is held by everybody.
    fn parse(name: &str) -> Option<Self> {
        if name == "store" {
            return None;
        }
        let claim = LockFile::parse(name).map(Self::Claim);
        let kept = || {
            let [area, key, KEPT] = name.split(',').collect::<Vec<_>>()[..] else { return None };
            let is_plain = plain(area).is_ok() && plain(key).is_ok();
            is_plain.then(|| Self::Kept { area: area.to_owned(), key: key.to_owned() })
        };
        Some(claim.or_else(kept).unwrap_or(Self::Whole))
    }
}

/// Whether making `directory` failed only because a neighbour made or removed it at the same moment.
fn is_race(error: &FsError, directory: &Path) -> bool {
    let FsError::Create { source, .. } = error else { return false };
    let came_or_went = matches!(source.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound);
    came_or_went && std::fs::symlink_metadata(directory).map_or(true, |there| there.is_dir())
}

/// A directory and the lock that makes it ours.
#[derive(Debug)]
struct Claim {
    path: PathBuf,
    lock: Option<Lock>,
}

impl Claim {
    /// Makes the directory; what a dead process left in it goes first.
    fn make_empty(&self, mode: u32) -> Result<(), FsError> {
        fs::remove_tree(&self.path)?;
        let above = self.path.parent().unwrap_or(Path::new("/"));
        loop {
            match fs::create_directory(above) {
                Err(error) if is_race(&error, above) => continue,
                made => made?,
            }
            match std::fs::DirBuilder::new().mode(mode).create(&self.path) {
                Ok(()) => break,
                // A neighbour removed the empty directory above between our two steps.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(FsError::create(&self.path)(error)),
            }
        }
        let permissions = Permissions::from_mode(mode);
        std::fs::set_permissions(&self.path, permissions).map_err(FsError::create(&self.path))
    }

    fn close(mut self) -> Result<(), StoreError> {
        Ok(self.release()?)
    }

    /// Removes the directory, then the lock file: in between a crash leaves what a sweep finds.
    fn release(&mut self) -> Result<(), FsError> {
        let Some(lock) = self.lock.take() else { return Ok(()) };
        fs::remove_tree(&self.path)?;
        if let Some(above) = self.path.parent() {
            // Neighbours may be in it.
            drop(std::fs::remove_dir(above));
        }
        lock.remove()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // What cannot be removed now keeps its lock file, without a holder: the next sweep tries again.
        drop(self.release());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(store: &Store) -> usize {
        crate::walk_sorted(&store.home).unwrap().len()
    }

    /// What SIGKILL does: the lock is free, and nothing else happens.
    fn kill(claim: &mut Claim) {
        claim.lock = None;
    }

    #[test]
    fn scratch_is_private_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let before = count(&store);
        let (first, second) = (store.scratch("unpack").unwrap(), store.scratch("unpack").unwrap());
        assert_ne!(first.path(), second.path());
        assert_eq!(first.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        fs::write_atomic(&first.path().join("file"), b"").unwrap();
        first.close().unwrap();
        drop(second);
        std::fs::remove_dir(store.home.join("tmp")).unwrap();
        assert_eq!(count(&store), before);
        assert!(matches!(store.scratch("../x"), Err(StoreError::Name { .. })));
    }

    #[test]
    fn slots_keep_their_path() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (Store::open(folder.path()).unwrap(), Store::open(folder.path()).unwrap());
        let key = Digest::of(b"key");
        let first = one.slot("source", &key).unwrap();
        let path = first.path().to_owned();
        assert!(path.ends_with(format!("v1/source/{}/0", key.short())));
        let second = other.slot("source", &key).unwrap();
        assert_eq!((first.number(), second.number()), (0, 1));
        drop(first);
        let again = other.slot("source", &key).unwrap();
        assert_eq!(again.path(), path);
        assert_eq!(again.path().metadata().unwrap().permissions().mode() & 0o777, 0o755);
        drop((again, second));
        assert!(!path.parent().unwrap().exists());
    }

    #[test]
    fn what_the_dead_left_is_swept_and_the_living_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let before = count(&store);
        let key = Digest::of(b"key");
        let living = store.slot("source", &key).unwrap();
        let mut dead = store.slot("source", &key).unwrap();
        let mut dead_scratch = store.scratch("unpack").unwrap();
        fs::write_atomic(&dead.path().join("file"), b"").unwrap();
        kill(&mut dead.claim);
        kill(&mut dead_scratch.0);
        assert_eq!(store.sweep(None).unwrap().removed, 2);
        assert!(!dead.path().exists() && !dead_scratch.path().exists() && living.path().exists());
        assert_eq!(store.sweep(None).unwrap().removed, 0);
        drop(living);
        for area in ["source", "tmp"] {
            std::fs::remove_dir(store.home.join(area)).unwrap();
        }
        assert_eq!(count(&store), before);
    }

    #[test]
    fn a_dead_slot_is_taken_over_empty() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let key = Digest::of(b"key");
        let mut dead = store.slot("source", &key).unwrap();
        fs::write_atomic(&dead.path().join("file"), b"").unwrap();
        kill(&mut dead.claim);
        let next = store.slot("source", &key).unwrap();
        assert_eq!(next.path(), dead.path());
        assert!(crate::walk_sorted(next.path()).unwrap().is_empty());
    }

    #[test]
    fn many_at_once_never_share() {
        let folder = tempfile::tempdir().unwrap();
        let key = Digest::of(b"key");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let store = Store::open(folder.path()).unwrap();
                    for _ in 0..50 {
                        let slot = store.slot("source", &key).unwrap();
                        std::fs::create_dir(slot.path().join("mine")).unwrap();
                        store.sweep(None).unwrap();
                        assert!(slot.path().join("mine").is_dir());
                        slot.close().unwrap();
                    }
                });
            }
        });
    }
}
