//! An unpacked archive on disk.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use hwb_archive::{Executable, LinkTarget, Sink};
use hwb_ident::{ArchivePath, Digest, Hasher};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::fs::{self, FsError};
use crate::transfer::{Creation, fixed_times};
use crate::tree::{Record, Records};

/// Why a member of an archive did not get to the disk.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The directory to unpack into cannot be prepared.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The archive does not yield the content of a member.
    #[error("cannot unpack member `{path}`")]
    Contents {
        /// The member.
        path: ArchivePath,
        /// What is wrong.
        source: io::Error,
    },
    /// A member cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// Where it was to be.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Unpacks an archive into a directory of its own.
///
/// Members are reached from the opened directory, part by part, never through a link: even an archive that slipped
/// by every check would only fail. Files are 0644 or 0755 whatever the umask, everything is of 1980-01-01, and what
/// is there already is never overwritten.
#[derive(Debug)]
pub struct DiskSink {
    path: PathBuf,
    root: OwnedFd,
    creation: Creation,
    directories: BTreeSet<ArchivePath>,
    /// The directory of the member before, which is most often that of the next one.
    nearest: Option<(ArchivePath, OwnedFd)>,
    records: Records,
    buffer: Vec<u8>,
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl DiskSink {
    /// Starts to unpack into `directory`, which is empty or absent.
    ///
    /// # Errors
    ///
    /// If it cannot be made or written to.
    pub fn create(directory: &Path) -> Result<Self, SinkError> {
        fs::create_directory(directory)?;
        let root = rustix::fs::openat(CWD, directory, DIRECTORY, Mode::empty());
        let root = root.map_err(FsError::open(directory))?;
        let creation = Creation::probe(root.as_fd()).map_err(FsError::write(directory))?;
        Ok(Self {
            path: directory.to_owned(),
            root,
            creation,
            directories: BTreeSet::new(),
            nearest: None,
            records: Records::default(),
            buffer: vec![0; 64 << 10],
        })
    }

    /// Completes the tree, and takes its digest: what [`crate::tree_digest`] says of the directory.
    ///
    /// # Errors
    ///
    /// If a directory cannot be given its time.
    pub fn finish(mut self) -> Result<Digest, SinkError> {
        self.nearest = None;
        for directory in self.directories.iter().map(|path| path.below(&self.path)).rev() {
            rustix::fs::utimensat(CWD, &directory, &fixed_times(), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| SinkError::Write { path: directory, source: error.into() })?;
        }
        Ok(self.records.digest())
    }

    /// Opens the directory `path`, and makes it and those above it as needed.
    fn open(&mut self, path: &ArchivePath) -> Result<OwnedFd, SinkError> {
        let mut at = self.root.try_clone().map_err(|error| self.error(path)(error))?;
        let mut here: Option<ArchivePath> = None;
        for part in path.parts() {
            let name: ArchivePath = part.parse().expect("a part of an archive path is one too");
            let below = here.as_ref().map_or_else(|| name.clone(), |here| here.join(&name));
            if !self.directories.contains(&below) {
                let made = make_directory(at.as_fd(), part, self.creation);
                made.map_err(|error| self.error(&below)(error.into()))?;
                self.records.push(below.as_str().into(), Record::Directory);
                self.directories.insert(below.clone());
            }
            let opened = rustix::fs::openat(&at, part, DIRECTORY, Mode::empty());
            at = opened.map_err(|error| self.error(&below)(error.into()))?;
            here = Some(below);
        }
        Ok(at)
    }

    /// The opened directory that `path` is in, and its name there.
    fn place(&mut self, path: &ArchivePath) -> Result<(BorrowedFd<'_>, CString), SinkError> {
        let name = CString::new(path.file_name()).map_err(|error| self.error(path)(error.into()))?;
        let Some(parent) = path.parent() else { return Ok((self.root.as_fd(), name)) };
        let nearest = match self.nearest.take() {
            Some((at, opened)) if at == parent => (at, opened),
            _ => {
                let opened = self.open(&parent)?;
                (parent, opened)
            }
        };
        Ok((self.nearest.insert(nearest).1.as_fd(), name))
    }

    fn error(&self, path: &ArchivePath) -> impl FnOnce(io::Error) -> SinkError + use<> {
        let path = path.below(&self.path);
        move |source| SinkError::Write { path, source }
    }

    /// Writes a new file through the buffer, and takes its digest and length on the way.
    fn write(
        &mut self,
        path: &ArchivePath,
        file: &mut File,
        contents: &mut dyn Read,
    ) -> Result<(Digest, u64), SinkError> {
        let (mut hasher, mut bytes) = (Hasher::new(), 0);
        loop {
            let got = match contents.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(SinkError::Contents { path: path.clone(), source }),
            };
            hasher.update(&self.buffer[..got]);
            file.write_all(&self.buffer[..got]).map_err(self.error(path))?;
            bytes += got as u64;
        }
        rustix::fs::futimens(&*file, &fixed_times()).map_err(|error| self.error(path)(error.into()))?;
        Ok((hasher.finish(), bytes))
    }
}

/// Makes a directory that is not there yet.
fn make_directory(at: BorrowedFd<'_>, name: &str, creation: Creation) -> Result<(), Errno> {
    rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o755))?;
    if creation == Creation::Masked {
        let made = rustix::fs::openat(at, name, DIRECTORY, Mode::empty())?;
        rustix::fs::fchmod(made, Mode::from_raw_mode(0o755))?;
    }
    Ok(())
}

impl Sink for DiskSink {
    type Error = SinkError;

    fn directory(&mut self, path: &ArchivePath) -> Result<(), SinkError> {
        self.open(path).map(drop)
    }

    fn file(
        &mut self,
        path: &ArchivePath,
        executable: Executable,
        contents: &mut dyn Read,
    ) -> Result<(), SinkError> {
        let (creation, error) = (self.creation, self.error(path));
        let (directory, name) = self.place(path)?;
        let mode = Mode::from_raw_mode(executable.permissions());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(directory, &*name, flags, mode).and_then(|made| {
            if creation == Creation::Masked {
                rustix::fs::fchmod(&made, mode)?;
            }
            Ok(File::from(made))
        });
        let mut made = made.map_err(|errno| error(errno.into()))?;
        let (content, bytes) = self.write(path, &mut made, contents)?;
        self.records.push(path.as_str().into(), Record::File { executable, content, bytes });
        Ok(())
    }

    fn symlink(&mut self, path: &ArchivePath, target: &LinkTarget) -> Result<(), SinkError> {
        let error = self.error(path);
        let (directory, name) = self.place(path)?;
        rustix::fs::symlinkat(target.as_str(), directory, &*name)
            .and_then(|()| {
                rustix::fs::utimensat(directory, &*name, &fixed_times(), AtFlags::SYMLINK_NOFOLLOW)
            })
            .map_err(|errno| error(errno.into()))?;
        self.records.push(path.as_str().into(), Record::Link { target: target.as_str().into() });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn path(text: &str) -> ArchivePath {
        text.parse().unwrap()
    }

    #[test]
    fn writes_what_it_measures() {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = DiskSink::create(&folder.path().join("tree")).unwrap();
        sink.directory(&path("p/empty")).unwrap();
        sink.directory(&path("p")).unwrap();
        sink.file(&path("p/a/b.py"), Executable::No, &mut &b"one"[..]).unwrap();
        sink.file(&path("p/a/run"), Executable::Yes, &mut &vec![7; 200_000][..]).unwrap();
        sink.file(&path("top"), Executable::No, &mut io::empty()).unwrap();
        sink.symlink(&path("p/l"), &LinkTarget::new(&path("p/l"), "a/b.py").unwrap()).unwrap();
        let digest = sink.finish().unwrap();
        let tree = folder.path().join("tree");
        assert_eq!(digest, crate::tree_digest(&tree).unwrap());
        for (name, mode) in [("p", 0o755), ("p/a/b.py", 0o644), ("p/a/run", 0o755)] {
            let metadata = tree.join(name).symlink_metadata().unwrap();
            assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{name}");
            let time = metadata.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
            assert_eq!(time.as_secs(), hwb_ident::Timestamp::ZIP_EPOCH.seconds(), "{name}");
        }
    }

    #[test]
    fn writes_nothing_twice_and_through_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = DiskSink::create(&folder.path().join("tree")).unwrap();
        let mut file = |name: &str| sink.file(&path(name), Executable::No, &mut &b"x"[..]);
        file("a").unwrap();
        let error = file("a").unwrap_err();
        assert_eq!(error.to_string(), format!("cannot write `{}`", folder.path().join("tree/a").display()));
        file("a/b").unwrap_err();
        std::os::unix::fs::symlink("..", folder.path().join("tree/out")).unwrap();
        file("out").unwrap_err();
        file("out/b").unwrap_err();
        assert_eq!(crate::walk_sorted(folder.path()).unwrap().len(), 3);
    }

    #[test]
    fn unpacks_through_the_reader() {
        let folder = tempfile::tempdir().unwrap();
        struct Torn;
        impl Read for Torn {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        }
        let mut sink = DiskSink::create(folder.path()).unwrap();
        let error = sink.file(&path("a"), Executable::No, &mut Torn).unwrap_err();
        assert_eq!(error.to_string(), "cannot unpack member `a`");
    }
}
