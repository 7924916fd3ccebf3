//! The removal of a tree that nobody needs any more.

use std::io;
use std::path::{Path, PathBuf};

use hwb_store::{FsError, fs};
use serde::{Deserialize, Serialize};

/// What is to be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remove {
    /// The tree. The directory it is in, and the tree's own top, belong to the user.
    pub path: PathBuf,
    /// An empty directory of the same file system, where the tree is moved first: whoever looks sees all of it or
    /// nothing.
    pub trash: PathBuf,
}

/// Why a tree is still there, or some of it.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// It cannot be moved away; nothing has happened to it.
    #[error("cannot move `{}` to `{}`", path.display(), trash.display())]
    Move {
        /// The tree.
        path: PathBuf,
        /// Where it was to go.
        trash: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is in the trash, and cannot be removed there.
    #[error(transparent)]
    Remove(#[from] FsError),
}

/// Removes a tree: directories that nobody may enter included (overlayfs makes such), links never followed, and what
/// is mounted in it not entered. It is fine if nothing is there.
///
/// # Errors
///
/// If something cannot be moved or removed. Files of other ids can be removed only by a process inside the user
/// namespace that they are of.
pub fn remove(request: &Remove) -> Result<(), RemoveError> {
    let Remove { path, trash } = request;
    let place = trash.join(path.file_name().unwrap_or_default());
    match std::fs::rename(path, &place) {
        Ok(()) => Ok(fs::remove_tree(&place)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_gone(path) => Ok(()),
        Err(source) => Err(RemoveError::Move { path: path.clone(), trash: trash.clone(), source }),
    }
}

fn is_gone(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn leaves_nothing_and_follows_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (path, trash) = (folder.path().join("tree"), folder.path().join("trash"));
        std::fs::create_dir_all(path.join("work/work")).unwrap();
        std::fs::create_dir_all(folder.path().join("kept/inside")).unwrap();
        std::fs::create_dir(&trash).unwrap();
        symlink("../kept", path.join("link")).unwrap();
        // As overlayfs leaves it behind.
        std::fs::set_permissions(path.join("work/work"), std::fs::Permissions::from_mode(0o0)).unwrap();
        let request = Remove { path: path.clone(), trash: trash.clone() };
        remove(&request).unwrap();
        assert!(!path.exists() && std::fs::remove_dir(&trash).is_ok());
        assert!(folder.path().join("kept/inside").exists());
        remove(&request).unwrap();
        std::fs::create_dir(&path).unwrap();
        let error = remove(&request).unwrap_err().to_string();
        assert_eq!(error, format!("cannot move `{}` to `{}`", path.display(), trash.display()));
    }
}
