//! Directories that are made once, then only read.

use std::path::{Path, PathBuf};

use hwb_ident::Digest;

use super::{Lock, Store, StoreError, fs, plain};

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
        clear: impl FnOnce(&Path) -> Result<(), E>,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let above = self.directory(plain(area)?)?;
        let place = above.join(key.short());
        let marker = above.join(format!("{}.complete", key.short()));
        if is_complete(&marker, key) {
            return Ok(place);
        }
        let lock_file = self.home.join(format!("locks/{area}-{}", key.short()));
        let lock = Lock::wait(&lock_file).map_err(StoreError::from)?;
        if !is_complete(&marker, key) {
            fs::remove_tree(&marker).map_err(StoreError::from)?;
            clear(&place)?;
            fs::create_directory(&place).map_err(StoreError::from)?;
            make(&place)?;
            fs::write_atomic(&marker, key.to_string().as_bytes()).map_err(StoreError::from)?;
        }
        lock.remove().map_err(StoreError::from)?;
        Ok(place)
    }
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
        let whole = |path: &Path| -> Result<(), StoreError> {
            assert!(!path.join("file").exists());
            fs::write_atomic(&path.join("file"), b"whole").map_err(StoreError::from)
        };
        assert_eq!(contents(&store.kept("things", &key, whole).unwrap()), "whole");
    }
}
