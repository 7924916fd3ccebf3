//! A directory whose contents are reached from its opened root, part by part, never through a link.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, XattrFlags};
use rustix::io::Errno;

use crate::attributes::Xattrs;
use crate::path::{LayerPath, name_to_c};

/// An opened tree.
#[derive(Debug)]
pub(crate) struct Tree {
    path: PathBuf,
    root: OwnedFd,
}

/// To hold something without opening it.
const HELD: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Tree {
    /// Opens the tree at `path`.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let root = rustix::fs::openat(CWD, path, HELD | OFlags::DIRECTORY, Mode::empty())?;
        Ok(Self { path: path.to_owned(), root })
    }

    /// Where `path` is, for messages: whoever opens it goes part by part.
    pub(crate) fn place(&self, path: &LayerPath) -> PathBuf {
        let mut place = self.path.clone();
        place.extend(path.parts().map(OsStr::from_bytes));
        place
    }

    /// Holds whatever is at `path`; a link itself, too. What lies behind a link is `ELOOP`, behind anything else that
    /// is no directory `ENOTDIR`.
    pub(crate) fn hold(&self, path: &LayerPath) -> Result<OwnedFd, Errno> {
        self.reach(path, HELD)
    }

    /// Holds the directory at `path`.
    pub(crate) fn directory(&self, path: &LayerPath) -> Result<OwnedFd, Errno> {
        self.reach(path, HELD | OFlags::DIRECTORY)
    }

    /// Opens the file at `path` for reading. A pipe would not make it wait.
    pub(crate) fn read(&self, path: &LayerPath) -> Result<OwnedFd, Errno> {
        self.reach(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC)
    }

    /// What is at `path`; `None` if nothing is, be it that the way there ends at something else.
    pub(crate) fn stat(&self, path: &LayerPath) -> Result<Option<Stat>, Errno> {
        match self.hold(path).and_then(rustix::fs::fstat) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn reach(&self, path: &LayerPath, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        match rustix::fs::openat2(&self.root, &*path.to_c(), flags, Mode::empty(), resolve) {
            // Old kernels and some system call filters do not have it.
            Err(Errno::NOSYS | Errno::PERM) => self.walk(path, flags),
            reached => reached,
        }
    }

    /// The same, a call for each part.
    fn walk(&self, path: &LayerPath, flags: OFlags) -> Result<OwnedFd, Errno> {
        let Some((above, name)) = path.split() else {
            return rustix::fs::openat(&self.root, c".", flags, Mode::empty());
        };
        let mut at = rustix::fs::openat(&self.root, c".", HELD, Mode::empty())?;
        for part in above.parts() {
            let part = name_to_c(part);
            at = match rustix::fs::openat(&at, &*part, HELD | OFlags::DIRECTORY, Mode::empty()) {
                Err(Errno::NOTDIR) if is_link(at.as_fd(), &part) => return Err(Errno::LOOP),
                opened => opened?,
            };
        }
        rustix::fs::openat(&at, &*name_to_c(name), flags, Mode::empty())
    }
}

fn is_link(at: BorrowedFd<'_>, name: &CString) -> bool {
    let stat = rustix::fs::statat(at, &**name, AtFlags::SYMLINK_NOFOLLOW);
    stat.is_ok_and(|stat| kind(&stat) == FileType::Symlink)
}

/// What something is.
pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Whether something is the character device 0:0, by which overlayfs says that a name is gone.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    kind(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// The name by which the kernel finds what is held: the calls for extended attributes take no held descriptor.
fn magic(held: &impl AsFd) -> String {
    format!("/proc/self/fd/{}", held.as_fd().as_raw_fd())
}

/// What the link at `path` holds.
pub(crate) fn read_link(tree: &Tree, path: &LayerPath) -> Result<Vec<u8>, Errno> {
    let held = tree.hold(path)?;
    Ok(rustix::fs::readlinkat(&held, c"", Vec::new())?.into_bytes())
}

/// Sets an extended attribute of what is held.
pub(crate) fn set_xattr(held: &impl AsFd, name: &[u8], value: &[u8]) -> Result<(), Errno> {
    rustix::fs::setxattr(magic(held), &*name_to_c(name), value, XattrFlags::empty())
}

/// An extended attribute of what is held; `None` if it has none of this name, or can have none.
pub(crate) fn xattr(held: &impl AsFd, name: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    let (path, name) = (magic(held), name_to_c(name));
    // Values are short; the longest that Linux allows is the second attempt.
    for room in [256, 64 << 10] {
        let mut value = Vec::with_capacity(room);
        match rustix::fs::getxattr(&*path, &*name, rustix::buffer::spare_capacity(&mut value)) {
            Ok(_) => return Ok(Some(value)),
            Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
            Err(Errno::RANGE) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Errno::RANGE)
}

/// The extended attributes of what is held.
pub(crate) fn xattrs(held: &impl AsFd) -> Result<Xattrs, Errno> {
    let path = magic(held);
    let mut names = Vec::with_capacity(1 << 10);
    match rustix::fs::listxattr(&*path, rustix::buffer::spare_capacity(&mut names)) {
        Ok(_) => {}
        Err(Errno::NOTSUP) => return Ok(Xattrs::new()),
        Err(Errno::RANGE) => {
            names = Vec::with_capacity(64 << 10);
            rustix::fs::listxattr(&*path, rustix::buffer::spare_capacity(&mut names))?;
        }
        Err(error) => return Err(error),
    }
    let mut found = Xattrs::new();
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        if let Some(value) = xattr(held, name)? {
            found.insert(name.to_vec(), value);
        }
    }
    Ok(found)
}

/// Removes whatever is at `name` of a directory, with all that is in it.
pub(crate) fn remove(at: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let c = name_to_c(name);
    match rustix::fs::unlinkat(at, &*c, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let path = Path::new(&magic(&at)).join(OsStr::from_bytes(name));
    hwb_store::fs::remove_tree(&path).map_err(io::Error::other)
}

/// The names in a held directory, sorted by their bytes.
pub(crate) fn names(held: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(held, c".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::new(opened)? {
        let entry = entry?;
        match entry.file_name().to_bytes() {
            b"." | b".." => {}
            name => names.push(name.to_vec()),
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn path(text: &str) -> LayerPath {
        LayerPath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn both_ways_lead_to_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path();
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        std::fs::File::create(top.join("a/file")).unwrap();
        symlink("a", top.join("link")).unwrap();
        symlink("..", top.join("a/up")).unwrap();
        symlink("/etc", top.join("a/out")).unwrap();
        let tree = Tree::open(top).unwrap();
        for (name, directory, expect) in [
            ("", true, Ok(())),
            ("a/b", true, Ok(())),
            ("a/file", false, Ok(())),
            ("link", false, Ok(())),
            ("link/b", true, Err(Errno::LOOP)),
            ("a/up/a", true, Err(Errno::LOOP)),
            ("a/out/passwd", false, Err(Errno::LOOP)),
            ("a/file", true, Err(Errno::NOTDIR)),
            ("a/file/x", false, Err(Errno::NOTDIR)),
            ("a/none", false, Err(Errno::NOENT)),
            ("none/b", false, Err(Errno::NOENT)),
        ] {
            let flags = if directory { HELD | OFlags::DIRECTORY } else { HELD };
            for reached in [tree.reach(&path(name), flags), tree.walk(&path(name), flags)] {
                assert_eq!(reached.map(drop), expect, "{name}");
            }
        }
        assert_eq!(
            tree.place(&LayerPath::parse(b"a/\xff\n").unwrap()),
            top.join(OsStr::from_bytes(b"a/\xff\n"))
        );
        assert_eq!(tree.place(&LayerPath::ROOT).as_os_str(), top);
        assert!(tree.stat(&path("a/out/passwd")).unwrap().is_none());
        assert!(kind(&tree.stat(&path("a/out")).unwrap().unwrap()).is_symlink());
        let held = tree.hold(&path("a/out")).unwrap();
        assert_eq!(xattrs(&held), Ok(Xattrs::new()));
    }

    #[test]
    fn removes_without_following() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path();
        std::fs::create_dir_all(top.join("a/b/c")).unwrap();
        std::fs::create_dir(top.join("kept")).unwrap();
        std::fs::File::create(top.join("kept/file")).unwrap();
        symlink("../kept", top.join("a/link")).unwrap();
        let tree = Tree::open(top).unwrap();
        remove(tree.hold(&LayerPath::ROOT).unwrap().as_fd(), b"a").unwrap();
        assert!(!top.join("a").exists() && top.join("kept/file").exists());
    }
}
