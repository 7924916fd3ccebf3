//! Git metadata for a copy of a working tree. hwb writes nothing to the repository; a backend that runs git still could.

use std::path::Path;

use super::Repository;
use crate::fs::{self, FsError};

/// What each working tree has of its own: where it stands, and what it tracks.
const OWN: [&str; 3] = ["HEAD", "index", "config.worktree"];

impl Repository {
    /// Makes `copy`, a copy of the working tree, a working tree of this repository, as `git worktree` does
    /// (gitrepository-layout(5)): with its own HEAD and index in `metadata`, which is made, and everything else read
    /// where it is. The repository itself is not told of it and not written to.
    ///
    /// # Errors
    ///
    /// If HEAD or the index cannot be copied, or the copy's `.git` not be written.
    pub fn lend(&self, copy: &Path, metadata: &Path) -> Result<(), FsError> {
        fs::create_directory(metadata)?;
        for name in OWN {
            let own = self.git_dir.join(name);
            if own.is_file() {
                fs::write_atomic(&metadata.join(name), &fs::read(&own)?)?;
            }
        }
        let line = |path: &Path| [path.as_os_str().as_encoded_bytes(), b"\n"].concat();
        fs::write_atomic(&metadata.join("commondir"), &line(&self.common_dir))?;
        let dot_git = copy.join(".git");
        fs::write_atomic(&metadata.join("gitdir"), &line(&dot_git))?;
        fs::write_atomic(&dot_git, &[b"gitdir: ".as_slice(), &line(metadata)].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_a_working_tree_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let (original, copy, metadata) = (root.join("original"), root.join("copy"), root.join("metadata"));
        fs::create_directory(&original.join(".git")).unwrap();
        fs::create_directory(&copy).unwrap();
        fs::write_atomic(&original.join(".git/HEAD"), b"ref: refs/heads/main\n").unwrap();
        fs::write_atomic(&original.join(".git/index"), b"DIRC").unwrap();
        Repository::discover(&original).unwrap().lend(&copy, &metadata).unwrap();
        let lent = Repository::discover(&copy).unwrap();
        assert_eq!(
            lent,
            Repository { work_tree: copy, git_dir: metadata.clone(), common_dir: original.join(".git") }
        );
        assert_eq!(fs::read(&metadata.join("index")).unwrap(), b"DIRC");
    }
}
