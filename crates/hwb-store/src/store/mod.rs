//! The cache on disk.
//!
//! ```text
//! <root>/CACHEDIR.TAG
//! <root>/v1/VERSION           which layout this is; another one is left alone, and a new one made beside it
//! <root>/v1/locks/            one file for each claim, held by a living process; `store` is held by every user
//! <root>/v1/tmp/<purpose>/<n> scratch space
//! <root>/v1/<area>/<key>/<n>  slots
//! <root>/v1/<area>/<key>      kept directories, each with a `<key>.complete` once it is complete
//! <root>/v1/<area>/<name>     contents that a user named, moved there when they were complete
//! <root>/v1/mirrors/<key>/    kept copies of working trees ([`crate::mirror`])
//! <root>/v1/blobs/            contents by digest
//! <root>/v1/records/          small JSON documents by area and name
//! <root>/v1/history/          one JSON document for each build
//! <root>/v1/uv/               uv's own cache
//! ```
//!
//! Everything may be deleted at any time while no build runs. A directory of a claim exists only while its lock file
//! does, and the lock file is removed last: what a killed process leaves is found by one listing of `locks`.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps};

use crate::fs::{self, FsError};
use crate::lock::{Absent, Lock};
use crate::os::Name;

mod claim;
mod collect;
mod content;
mod kept;
mod named;
mod usage;

pub use self::claim::{Scratch, Slot, Swept};
pub use self::collect::{Alone, Cleaned, Item};
pub use self::content::Incoming;
pub use self::named::Named;
pub use self::usage::{Reach, Usage};

/// What the marker of this layout holds.
const VERSION: &[u8] = b"hwb store 1\n";

/// The tag by which backup tools know a cache (<https://bford.info/cachedir/>).
const CACHEDIR_TAG: &[u8] =
    b"Signature: 8a477f597d28d172789f06886806bc55\n# This directory is a cache of hwb. It may be deleted.\n";

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A name that would not be a plain file name.
    #[error(
        "`{name}` cannot name anything in the store: it takes 1 to 100 of `a-z A-Z 0-9 _ - + =`, and `.` within"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// Something cannot be written as JSON.
    #[error("cannot write `{}` as JSON", path.display())]
    Encode {
        /// The document.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// What belongs to other ids cannot be reached.
    #[error("cannot reach what belongs to other ids in `{}`", path.display())]
    Reach {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What was to be put into the store cannot be read.
    #[error("cannot read what is to be stored")]
    Incoming {
        /// Why.
        source: std::io::Error,
    },
}

/// An opened cache. As long as it is open, no other process removes blobs or records from it.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    home: PathBuf,
    in_use: File,
    /// Where files are written before they are put in place; made when first needed.
    incoming: Mutex<Option<Scratch>>,
    serial: AtomicU64,
}

impl Store {
    /// Opens the cache at `root`, and makes it if it is not there.
    ///
    /// # Errors
    ///
    /// If it cannot be made or read.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        fs::create_directory(root)?;
        let root = root.canonicalize().map_err(FsError::open(root))?;
        let home = settle(&root)?;
        let locks = home.join("locks");
        fs::create_directory(&locks)?;
        let in_use = share(&locks.join("store"))?;
        Ok(Self { root, home, in_use, incoming: Mutex::new(None), serial: AtomicU64::new(0) })
    }

    /// The directory of the cache, all layouts and the tag included; absolute and free of links.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where uv keeps its own cache.
    pub fn uv_cache(&self) -> PathBuf {
        self.home.join("uv")
    }

    /// A directory of this layout for the caller's own use, made if needed. It is counted and pruned as a kind.
    ///
    /// # Errors
    ///
    /// If `kind` is no plain name, or the directory cannot be made.
    pub fn directory(&self, kind: &str) -> Result<PathBuf, StoreError> {
        let path = self.home.join(plain(kind)?);
        fs::create_directory(&path)?;
        Ok(path)
    }

    /// Where the lock of this name is.
    pub(crate) fn lock_file(&self, name: &str) -> PathBuf {
        self.home.join("locks").join(name)
    }

    /// A path for a file that will be moved into its place; nobody else has it.
    fn incoming(&self) -> Result<PathBuf, StoreError> {
        let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        if incoming.is_none() {
            *incoming = Some(self.scratch("incoming")?);
        }
        let directory = incoming.as_ref().map(Scratch::path).unwrap_or(&self.home);
        Ok(directory.join(self.serial.fetch_add(1, Ordering::Relaxed).to_string()))
    }
}

/// Finds the directory of this layout below `root`, and makes it if there is none.
fn settle(root: &Path) -> Result<PathBuf, StoreError> {
    if let Some(home) = known(root) {
        return Ok(home);
    }
    let lock_file = root.join(".lock");
    let lock = OpenOptions::new().create(true).write(true).truncate(false).open(&lock_file);
    let lock = lock.map_err(FsError::create(&lock_file))?;
    lock.lock().map_err(FsError::lock(&lock_file))?;
    // Somebody else may have been quicker.
    if let Some(home) = known(root) {
        return Ok(home);
    }
    fs::write_atomic(&root.join("CACHEDIR.TAG"), CACHEDIR_TAG)?;
    let home = candidates(root).find(|home| is_free(home)).expect("numbers do not end");
    // Sources are copied into it with modes that everybody may read.
    std::fs::DirBuilder::new().mode(0o700).create(&home).map_err(FsError::create(&home))?;
    fs::write_atomic(&home.join("VERSION"), VERSION)?;
    Ok(home)
}

/// Names that a layout of this version may have.
fn candidates(root: &Path) -> impl Iterator<Item = PathBuf> {
    std::iter::once(root.join("v1")).chain((2_u64..).map(move |number| root.join(format!("v1-{number}"))))
}

/// The directory that holds this layout already.
fn known(root: &Path) -> Option<PathBuf> {
    candidates(root)
        .take_while(|home| home.symlink_metadata().is_ok())
        .find(|home| fs::read(&home.join("VERSION")).is_ok_and(|version| version == VERSION))
}

/// Whether nobody has put anything there, but for a marker that was never finished.
fn is_free(home: &Path) -> bool {
    match home.symlink_metadata() {
        Err(_) => true,
        Ok(metadata) if metadata.is_dir() => {
            // The lock at the root is ours: nobody is writing this.
            drop(std::fs::remove_file(home.join(".VERSION.0.part")));
            std::fs::remove_dir(home).is_ok()
        }
        Ok(_) => false,
    }
}

/// Opens the file that every user of the store holds together with the others.
fn share(path: &Path) -> Result<File, FsError> {
    let opened = OpenOptions::new().create(true).read(true).write(true).truncate(false).open(path);
    let file = opened.map_err(FsError::create(path))?;
    file.lock_shared().map_err(FsError::lock(path))?;
    Ok(file)
}

/// The names of the directories in a directory, sorted.
fn directories(above: &Path) -> Result<Vec<String>, FsError> {
    let directories = list(above)?.into_iter().filter(|name| name.kind == FileType::Directory);
    Ok(directories.filter_map(|name| name.name.into_string().ok()).collect())
}

/// Everything that is in a directory, sorted.
fn listed(above: &Path) -> Result<Vec<OsString>, FsError> {
    Ok(list(above)?.into_iter().map(|name| OsString::from_vec(name.name.into_bytes())).collect())
}

fn list(above: &Path) -> Result<Vec<Name>, FsError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(above, flags, Mode::empty()).map_err(std::io::Error::from);
    opened.and_then(|opened| crate::os::list(opened.as_fd())).map_err(FsError::read(above))
}

/// Marks something as used now. Where that is refused, it only seems older than it is.
fn touch(path: &Path) {
    let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).ok();
}

/// Checks that `name` is a plain file name that hides nothing and leads nowhere.
fn plain(name: &str) -> Result<&str, StoreError> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_-+=.".contains(&byte);
    if (1..=100).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(is_fine) {
        Ok(name)
    } else {
        Err(StoreError::Name { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_the_layout_once() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("deep/cache");
        let store = Store::open(&root).unwrap();
        assert_eq!(store.uv_cache(), store.root().join("v1/uv"));
        assert!(fs::read(&root.join("CACHEDIR.TAG")).unwrap().starts_with(b"Signature: 8a477f597d28d172"));
        assert_eq!(Store::open(&root).unwrap().uv_cache(), store.uv_cache());
    }

    #[test]
    fn leaves_another_layout_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (v1, v2) = (folder.path().join("v1"), folder.path().join("v1-2"));
        std::fs::create_dir_all(&v1).unwrap();
        fs::write_atomic(&v1.join("VERSION"), b"hwb store 99\n").unwrap();
        fs::write_atomic(&v2, b"a file in the way").unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert!(store.uv_cache().ends_with("v1-3/uv"));
        assert!(Store::open(folder.path()).unwrap().uv_cache().ends_with("v1-3/uv"));
        assert_eq!(fs::read(&v1.join("VERSION")).unwrap(), b"hwb store 99\n");
        assert_eq!(crate::walk_sorted(&v1).unwrap().len(), 1);
    }

    #[test]
    fn finishes_what_was_begun() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("v1")).unwrap();
        File::create(folder.path().join("v1/.VERSION.0.part")).unwrap();
        assert!(Store::open(folder.path()).unwrap().uv_cache().ends_with("v1/uv"));
    }

    #[test]
    fn opened_by_many_at_once() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| Store::open(folder.path()).unwrap().scratch("x").unwrap().close().unwrap());
            }
        });
        let names: Vec<_> = crate::walk_sorted(folder.path()).unwrap();
        assert_eq!(names.iter().filter(|entry| entry.path.starts_with("v1-2")).count(), 0);
    }

    #[test]
    fn takes_plain_names_only() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        for name in ["", ".", "..", ".hidden", "a/b", "/a", "a\0", "ü", &"n".repeat(101)] {
            assert!(matches!(store.directory(name), Err(StoreError::Name { .. })), "{name:?}");
        }
        assert!(store.directory("wheels-1.0_x+y=z").unwrap().is_dir());
    }
}
