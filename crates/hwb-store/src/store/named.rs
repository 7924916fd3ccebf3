//! Contents under names that users choose, kept until somebody removes them.

use std::path::{Path, PathBuf};

use super::usage::remove;
use super::{Absent, FsError, Lock, Reach, Scratch, Store, StoreError, fs, plain};

/// A name that this process has to itself. As long as it has, nobody else puts anything there or takes it away.
#[derive(Debug)]
pub struct Named<'a> {
    store: &'a Store,
    path: PathBuf,
    lock: Option<Lock>,
}

impl Named<'_> {
    /// Where its contents are, or would be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is something under the name.
    pub fn is_there(&self) -> bool {
        self.path.symlink_metadata().is_ok()
    }

    /// Moves what was made to its place, in one step: a killed process leaves nothing under the name.
    ///
    /// # Errors
    ///
    /// If something is there already, or it cannot be moved.
    pub fn put(&self, scratch: Scratch) -> Result<(), StoreError> {
        let (from, to) = (scratch.path(), &self.path);
        self.path.parent().map_or(Ok(()), fs::create_directory)?;
        let moved = |source| FsError::Move { from: from.to_owned(), to: to.clone(), source };
        std::fs::rename(from, to).map_err(moved)?;
        scratch.close()
    }

    /// Removes what is under the name. It is gone at once; what a killed process leaves of it, [`Store::sweep`] finds.
    ///
    /// # Errors
    ///
    /// If it cannot be moved away or removed.
    pub fn remove(self, reach: Option<&dyn Reach>) -> Result<(), StoreError> {
        let scratch = self.store.scratch("removed")?;
        let (from, to) = (&self.path, scratch.path().join("contents"));
        std::fs::rename(from, &to).map_err(|source| FsError::Move { from: from.clone(), to, source })?;
        remove(scratch.path(), reach)?;
        scratch.close()
    }
}

impl Drop for Named<'_> {
    fn drop(&mut self) {
        // A lock file that nobody holds is in nobody's way.
        drop(self.lock.take().map(Lock::remove));
    }
}

impl Store {
    /// Takes a name of an area for this process; `None` if another one has it.
    ///
    /// # Errors
    ///
    /// If `area` or `name` is no plain name, or cannot be locked.
    pub fn named(&self, area: &str, name: &str) -> Result<Option<Named<'_>>, StoreError> {
        let path = self.home.join(plain(area)?).join(plain(name)?);
        let lock = Lock::attempt(&self.home.join(format!("locks/{area},{name}")), Absent::Create)?;
        Ok(lock.map(|lock| Named { store: self, path, lock: Some(lock) }))
    }

    /// The names of an area under which something is, sorted, each with where it is.
    ///
    /// # Errors
    ///
    /// If `area` is no plain name, or cannot be read.
    pub fn names(&self, area: &str) -> Result<Vec<(String, PathBuf)>, StoreError> {
        let above = self.home.join(plain(area)?);
        if above.symlink_metadata().is_err() {
            return Ok(Vec::new());
        }
        let mut names = super::directories(&above)?;
        names.sort();
        Ok(names.into_iter().map(|name| (name.clone(), above.join(name))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(store: &Store, named: &Named<'_>) {
        let scratch = store.scratch("made").unwrap();
        fs::write_atomic(&scratch.path().join("file"), b"kept").unwrap();
        named.put(scratch).unwrap();
    }

    fn names(store: &Store) -> Vec<String> {
        store.names("things").unwrap().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn what_has_a_name_stays_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(names(&store), [""; 0]);
        for name in ["b", "a"] {
            let named = store.named("things", name).unwrap().unwrap();
            assert!(!named.is_there());
            put(&store, &named);
            assert!(named.is_there());
        }
        assert_eq!(names(&store), ["a", "b"]);
        assert_eq!(store.sweep(None).unwrap().removed, 0);
        let named = store.named("things", "a").unwrap().unwrap();
        assert_eq!(fs::read(&named.path().join("file")).unwrap(), b"kept");
        named.remove(None).unwrap();
        assert_eq!(names(&store), ["b"]);
        assert!(matches!(store.named("things", "../b"), Err(StoreError::Name { .. })));
        let lock_files = crate::walk_sorted(&store.home.join("locks")).unwrap();
        assert_eq!(lock_files.len(), 1, "the store's own: {lock_files:?}");
    }

    #[test]
    fn one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let other = Store::open(folder.path()).unwrap();
        let named = store.named("things", "my-name").unwrap().unwrap();
        assert!(other.named("things", "my-name").unwrap().is_none());
        put(&store, &named);
        // Nothing takes the place of what is there.
        let scratch = store.scratch("made").unwrap();
        fs::write_atomic(&scratch.path().join("file"), b"other").unwrap();
        assert!(matches!(named.put(scratch), Err(StoreError::Fs(FsError::Move { .. }))));
        drop(named);
        drop(other);
        assert_eq!(store.clean(None).unwrap().removed.files, 1);
        assert_eq!(names(&store), [""; 0]);
    }
}
