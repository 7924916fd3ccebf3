//! What a tree of files is, as one digest.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use hwb_archive::Executable;
use hwb_ident::{Digest, Hasher};

use crate::fs::FsError;
use crate::transfer::{self, Transfer};

/// Why a tree could not be read, copied or measured.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// Something of the tree cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// What could not be read.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The copy cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// What could not be written.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A link points at something that does not come along.
    #[error("link `{}` points out of the source tree, to `{}`", link.display(), target.display())]
    LinkLeaves {
        /// The link.
        link: PathBuf,
        /// What it holds.
        target: PathBuf,
    },
    /// The place for the copy could not be prepared.
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl TreeError {
    /// Makes an error of reading `path`.
    pub(crate) fn read<E: Into<std::io::Error>>(path: PathBuf) -> impl FnOnce(E) -> Self {
        move |source| Self::Read { path, source: source.into() }
    }

    /// Makes an error of writing `path`.
    pub(crate) fn write<E: Into<std::io::Error>>(path: PathBuf) -> impl FnOnce(E) -> Self {
        move |source| Self::Write { path, source: source.into() }
    }

    /// The path that it is about, by which errors of several threads are ordered.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Read { path, .. } | Self::Write { path, .. } => path,
            Self::LinkLeaves { link, .. } => link,
            Self::Fs(_) => Path::new(""),
        }
    }
}

/// Takes the digest of everything below `directory`: the path, the kind and the content of each thing, and whether
/// it may be run. Times, owners and other bits of the mode do not count; sockets, pipes and devices are passed over.
///
/// # Errors
///
/// If something below cannot be read; the error names it.
pub fn tree_digest(directory: &Path) -> Result<Digest, TreeError> {
    let done = transfer::run(&Transfer::measure(directory), &mut transfer::Everything)?;
    Ok(done.records.digest())
}

/// One thing of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    Directory,
    File { executable: Executable, content: Digest, bytes: u64 },
    Link { target: PathBuf },
}

/// The things of a tree, gathered in any order.
#[derive(Debug, Default)]
pub(crate) struct Records(Vec<(PathBuf, Record)>);

impl Records {
    /// Adds what is at `path`, relative to the tree.
    pub(crate) fn push(&mut self, path: PathBuf, record: Record) {
        self.0.push((path, record));
    }

    /// Adds all of `others`.
    pub(crate) fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// Brings the records into the order of the bytes of their paths.
    pub(crate) fn sort(&mut self) {
        self.0.sort_unstable_by(|(a, _), (b, _)| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    }

    /// The digest of the tree.
    pub(crate) fn digest(mut self) -> Digest {
        self.sort();
        digest_sorted(self.0.iter().map(|(path, record)| (path.as_path(), record)))
    }
}

impl IntoIterator for Records {
    type Item = (PathBuf, Record);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The digest of a tree whose things come in the order of the bytes of their paths. Every field has its length before
/// it, so that no two trees look alike.
pub(crate) fn digest_sorted<'a>(records: impl Iterator<Item = (&'a Path, &'a Record)>) -> Digest {
    let mut hasher = Hasher::new();
    hasher.field(b"hwb tree 1");
    for (path, record) in records {
        hasher.field(path.as_os_str().as_bytes());
        match record {
            Record::Directory => hasher.field(b"directory"),
            Record::File { executable: Executable::No, content, .. } => {
                hasher.field(b"file");
                hasher.field(content.as_bytes());
            }
            Record::File { executable: Executable::Yes, content, .. } => {
                hasher.field(b"executable");
                hasher.field(content.as_bytes());
            }
            Record::Link { target } => {
                hasher.field(b"link");
                hasher.field(target.as_os_str().as_bytes());
            }
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(things: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in things {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            if let Some(target) = content.strip_prefix("-> ") {
                std::os::unix::fs::symlink(target, path).unwrap();
            } else {
                crate::fs::write_atomic(&path, content.as_bytes()).unwrap();
            }
        }
        folder
    }

    #[test]
    fn what_counts_and_what_does_not() {
        let base = tree(&[("a/b", "1"), ("a-b", "2"), ("c", "-> a/b")]);
        let digest = tree_digest(base.path()).unwrap();
        assert_eq!(tree_digest(base.path()).unwrap(), digest);
        let same = tree(&[("c", "-> a/b"), ("a-b", "2"), ("a/b", "1")]);
        std::fs::File::open(same.path().join("a-b")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(tree_digest(same.path()).unwrap(), digest);
        for other in [
            &[("a/b", "1"), ("a-b", "3"), ("c", "-> a/b")][..],
            &[("a/b", "1"), ("a-b", "2"), ("c", "-> a-b")],
            &[("a/b", "1"), ("a-b", "2"), ("c", "a/b")],
            &[("a/b", "1"), ("a-b", "2"), ("d", "-> a/b")],
            &[("a/b", "1"), ("a-b", "2")],
        ] {
            assert_ne!(tree_digest(tree(other).path()).unwrap(), digest, "{other:?}");
        }
        std::fs::create_dir(same.path().join("empty")).unwrap();
        assert_ne!(tree_digest(same.path()).unwrap(), digest);
    }

    #[test]
    fn names_what_is_missing() {
        let error = tree_digest(Path::new("/nowhere/at/all")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read `/nowhere/at/all`");
    }
}
