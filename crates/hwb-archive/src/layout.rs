//! Which paths an archive has taken so far, and by what.

use std::collections::BTreeMap;

use hwb_ident::ArchivePath;

/// The longest path that is read: `PATH_MAX` of Linux.
const MAX_PATH: usize = 4096;

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
    Symlink,
}

/// Why two members cannot both be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The same path again.
    #[error("member `{0}` is there twice")]
    Duplicate(ArchivePath),
    /// A file stands where a directory is needed.
    #[error("member `{path}` lies below `{file}`, which is a file")]
    BelowFile {
        /// The member.
        path: ArchivePath,
        /// The file above it.
        file: ArchivePath,
    },
    /// A link stands where a directory is needed: what is written would land elsewhere.
    #[error("member `{path}` lies below `{link}`, which is a symbolic link")]
    BelowLink {
        /// The member.
        path: ArchivePath,
        /// The link above it.
        link: ArchivePath,
    },
    /// No file system takes a path of this length.
    #[error("a member has a path of {length} bytes, which starts with `{start}`")]
    TooLong {
        /// Its length.
        length: usize,
        /// Its first characters.
        start: String,
    },
    /// More paths than allowed, implied directories included.
    #[error("the archive has more than {0} members")]
    TooMany(u64),
    /// Something else has members below it already.
    #[error("member `{0}` is a directory and something else at once")]
    DirectoryToo(ArchivePath),
}

/// The paths taken so far, the directories that are only implied included.
#[derive(Debug)]
pub(crate) struct Layout {
    taken: BTreeMap<ArchivePath, Kind>,
    most: u64,
}

impl Layout {
    /// Starts with nothing taken; `most` paths may be.
    pub(crate) const fn new(most: u64) -> Self {
        Self { taken: BTreeMap::new(), most }
    }

    /// What is at `path`, if anything.
    pub(crate) fn get(&self, path: &ArchivePath) -> Option<Kind> {
        self.taken.get(path).copied()
    }

    /// Takes `path` for something of this kind. A directory may come again.
    pub(crate) fn take(&mut self, path: &ArchivePath, kind: Kind) -> Result<(), LayoutError> {
        if path.as_str().len() > MAX_PATH {
            let start = path.as_str().chars().take(40).collect();
            return Err(LayoutError::TooLong { length: path.as_str().len(), start });
        }
        let mut above = path.parent();
        while let Some(parent) = above {
            match self.taken.get(&parent) {
                // What is above a known directory was looked at when that came.
                Some(Kind::Directory) => break,
                Some(Kind::File) => {
                    return Err(LayoutError::BelowFile { path: path.clone(), file: parent });
                }
                Some(Kind::Symlink) => {
                    return Err(LayoutError::BelowLink { path: path.clone(), link: parent });
                }
                None => {}
            }
            above = parent.parent();
        }
        match self.taken.get(path) {
            None => {}
            Some(Kind::Directory) if kind == Kind::Directory => return Ok(()),
            Some(found) if *found != kind && (*found == Kind::Directory || kind == Kind::Directory) => {
                return Err(LayoutError::DirectoryToo(path.clone()));
            }
            Some(_) => return Err(LayoutError::Duplicate(path.clone())),
        }
        let mut above = path.parent();
        while let Some(parent) = above.filter(|parent| !self.taken.contains_key(parent)) {
            above = parent.parent();
            self.taken.insert(parent, Kind::Directory);
        }
        self.taken.insert(path.clone(), kind);
        if self.taken.len() as u64 > self.most {
            return Err(LayoutError::TooMany(self.most));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(members: &[(&str, Kind)], expect: Result<(), &str>) {
        let mut layout = Layout::new(9);
        let found = members.iter().try_for_each(|(path, kind)| layout.take(&path.parse().unwrap(), *kind));
        assert_eq!(found.map_err(|error| error.to_string()), expect.map_err(str::to_owned), "{members:?}");
    }

    #[test]
    fn no_two_members_meet() {
        use Kind::{Directory, File, Symlink};
        check(&[("a/b", File), ("a", Directory), ("a", Directory), ("a/c/d", File)], Ok(()));
        check(&[("a", File), ("a", File)], Err("member `a` is there twice"));
        check(&[("a", Symlink), ("a", File)], Err("member `a` is there twice"));
        check(&[("a", File), ("a/b/c", File)], Err("member `a/b/c` lies below `a`, which is a file"));
        check(
            &[("a", Symlink), ("a/b", Directory)],
            Err("member `a/b` lies below `a`, which is a symbolic link"),
        );
        check(&[("a/b", File), ("a", Symlink)], Err("member `a` is a directory and something else at once"));
        check(&[("a", File), ("a", Directory)], Err("member `a` is a directory and something else at once"));
    }
}
