//! Directories that are made once, then only read.

use std::path::{Path, PathBuf};

use hwb_ident::Digest;

use super::usage::{measure, remove};
use super::{Lock, Reach, Store, StoreError, Usage, fs, plain};

/// The last part of the names of locks.
pub(super) const KEPT: &str = "kept";

impl Store {
    /// The directory that holds the content `key` of `area`: as `make` left it, at a path that depends on the key alone.
    ///
    /// `make` gets an empty directory, and runs in one process at a time. What it leaves counts only when it returned:
    /// a killed process leaves nothing that another would take for complete. Nobody may change the directory after
    /// that. As long as this store is open, nobody removes it.
    ///
    /// # Errors
    ///
    /// What `make` gives, or if the directory cannot be made.
    pub fn kept<E: From<StoreError>>(
        &self,
        area: &str,
        key: &Digest,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let clear = |half: &Path| fs::remove_tree(half).map_err(|error| StoreError::from(error).into());
        self.kept_and_cleared(area, key, clear, make)
    }

    /// The same, where `clear` removes what a killed process left: files that belong to ids of a user namespace can
    /// be removed only inside of one. It is fine if nothing is there.
    ///
    /// # Errors
    ///
    /// What `clear` and `make` give, or if the directory cannot be made.
    pub fn kept_and_cleared<E: From<StoreError>>(
        &self,
        area: &str,
        key: &Digest,
        clear: impl Fn(&Path) -> Result<(), E>,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let above = self.directory(plain(area)?)?;
        let place = above.join(key.short());
        let marker = marker(&place);
        if is_complete(&marker, key) {
            super::touch(&marker);
            return Ok(place);
        }
        let lock = Lock::wait(&self.lock_file(&kept_lock(area, &key.short()))).map_err(StoreError::from)?;
        if !is_complete(&marker, key) {
            fs::remove_tree(&marker).map_err(StoreError::from)?;
            clear(&place)?;
            fs::create_directory(&place).map_err(StoreError::from)?;
            let made = make(&place).and_then(|()| {
                Ok(fs::write_atomic(&marker, key.to_string().as_bytes()).map_err(StoreError::from)?)
            });
            if let Err(error) = made {
                // What cannot be removed now keeps its lock file, without a holder: the next sweep tries again.
                clear(&place).and_then(|()| Ok(lock.remove().map_err(StoreError::from)?)).ok();
                return Err(error);
            }
        }
        lock.remove().map_err(StoreError::from)?;
        Ok(place)
    }

    /// Removes what a dead process left half made of `key` in `area`, and says how much. The caller holds its lock.
    pub(super) fn remove_half_made(
        &self,
        area: &str,
        key: &str,
        reach: Option<&dyn Reach>,
    ) -> Result<Usage, StoreError> {
        let place = self.home.join(area).join(key);
        let marker = marker(&place);
        if marker.exists() {
            return Ok(Usage::default());
        }
        let usage = measure(&place, reach)?;
        remove(&place, reach)?;
        fs::remove_tree(&fs::partial(&marker, 0))?;
        Ok(usage)
    }
}

/// The name of the lock that is held while something kept is made.
pub(super) fn kept_lock(area: &str, key: &str) -> String {
    format!("{area},{key},{KEPT}")
}

/// What says that a kept directory is complete.
fn marker(place: &Path) -> PathBuf {
    place.with_extension("complete")
}

/// Whether the marker says that this very content is there: the path has only the first digits of its key.
fn is_complete(marker: &Path, key: &Digest) -> bool {
    fs::read(marker).is_ok_and(|found| found == key.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(path: &Path) -> String {
        String::from_utf8(fs::read(&path.join("file")).unwrap()).unwrap()
    }

    #[test]
    fn makes_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let key = Digest::of(b"key");
        let make = |text: &'static str| {
            move |path: &Path| fs::write_atomic(&path.join("file"), text.as_bytes()).map_err(StoreError::from)
        };
        let first = store.kept("things", &key, make("first")).unwrap();
        let second = store.kept("things", &key, make("second")).unwrap();
        assert_eq!((first.as_path(), contents(&first)), (second.as_path(), "first".to_owned()));
    }

    #[test]
    fn takes_nothing_half_made() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let key = Digest::of(b"key");
        let fail = |path: &Path| -> Result<(), StoreError> {
            fs::write_atomic(&path.join("file"), b"half").map_err(StoreError::from)?;
            Err(StoreError::Name { name: "x".to_owned() })
        };
        assert!(store.kept("things", &key, fail).is_err());
        assert!(crate::walk_sorted(&store.home.join("things")).unwrap().is_empty());
        assert_eq!(crate::walk_sorted(&store.home.join("locks")).unwrap().len(), 1, "the store's own");
        let whole = |path: &Path| -> Result<(), StoreError> {
            assert!(!path.join("file").exists());
            fs::write_atomic(&path.join("file"), b"whole").map_err(StoreError::from)
        };
        assert_eq!(contents(&store.kept("things", &key, whole).unwrap()), "whole");
        assert_eq!(store.sweep(None).unwrap().removed, 0);
    }

    #[test]
    fn what_is_half_made_is_swept_and_what_is_whole_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (whole, half) = (Digest::of(b"whole"), Digest::of(b"half"));
        let place = store.kept("things", &whole, |_| Ok::<_, StoreError>(())).unwrap();
        // Killed when it was complete, before it let go of its lock.
        fs::write_atomic(&store.lock_file(&kept_lock("things", &whole.short())), b"").unwrap();
        let path = place.with_file_name(half.short());
        fs::create_directory(&path).unwrap();
        fs::write_atomic(&path.join("file"), b"half").unwrap();
        // Killed between writing the marker and putting it in its place.
        fs::write_atomic(&fs::partial(&marker(&path), 0), b"").unwrap();
        fs::write_atomic(&store.lock_file(&kept_lock("things", &half.short())), b"").unwrap();
        assert_eq!(store.sweep(None).unwrap().removed, 2);
        let left: Vec<_> =
            crate::walk_sorted(&store.home).unwrap().into_iter().map(|entry| entry.path).collect();
        let name = place.file_name().unwrap().to_str().unwrap();
        let expect = [
            "VERSION",
            "locks",
            "locks/store",
            "things",
            &format!("things/{name}"),
            &format!("things/{name}.complete"),
        ];
        assert_eq!(left, expect.map(PathBuf::from));
    }

    #[test]
    fn what_is_being_made_is_not_swept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let make = |path: &Path| -> Result<(), StoreError> {
            assert_eq!(Store::open(folder.path())?.sweep(None)?.removed, 0);
            assert!(path.is_dir());
            Ok(())
        };
        store.kept("things", &Digest::of(b"key"), make).unwrap();
    }
}
