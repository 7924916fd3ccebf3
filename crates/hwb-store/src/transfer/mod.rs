//! One walk over a tree, and several threads that copy and measure what it finds.
//!
//! The walk makes directories and links itself and sends files in small batches to the workers, each batch with the
//! opened directories that its names are relative to: no path is looked up twice, and nothing is reached through a
//! link that somebody puts in the way meanwhile. What comes out is sorted at the end, so that threads leave no trace.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::num::NonZero;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use hwb_archive::Executable;
use hwb_ident::Timestamp;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use crate::fs;
use crate::os::{self, Name, Reflink};
use crate::tree::{Record, Records, TreeError};

mod file;
mod stamp;

pub(crate) use self::stamp::{Moment, Stamp};

/// Bytes that a worker holds at once: they stay in the processor's cache between reading, hashing and writing.
const BUFFER: usize = 128 << 10;
/// Files of one batch: few enough to share out a directory of large ones.
const BATCH: usize = 16;
/// Files of one batch where each is only looked at: then the handing over is what costs.
const LARGE_BATCH: usize = 256;
/// Batches that wait: each holds directories open, of which a process may have about a thousand.
const WAITING: usize = 32;

/// What is to be done with a tree.
#[derive(Debug)]
pub(crate) struct Transfer<'a> {
    source: &'a Path,
    manner: Manner<'a>,
}

/// What becomes of each thing that is found.
#[derive(Debug, Clone, Copy)]
enum Manner<'a> {
    /// Files are only looked at from outside; their content is not read.
    Survey,
    /// It is measured where it is.
    Measure,
    /// It is measured and copied, with modes and times that tell nothing about their origin.
    Canonical(&'a Path),
    /// As `Canonical`, but directories of the copy may be there already.
    Update(&'a Path),
    /// It is copied with its mode and its time; its content is not looked at.
    Verbatim(&'a Path),
}

impl<'a> Transfer<'a> {
    /// Looks at what is below `source` without reading any file.
    pub(crate) const fn survey(source: &'a Path) -> Self {
        Self { source, manner: Manner::Survey }
    }

    /// Measures what is below `source`.
    pub(crate) const fn measure(source: &'a Path) -> Self {
        Self { source, manner: Manner::Measure }
    }

    /// Copies and measures, with fixed modes and times.
    pub(crate) const fn canonical(source: &'a Path, destination: &'a Path) -> Self {
        Self { source, manner: Manner::Canonical(destination) }
    }

    /// Copies and measures, with fixed modes and times, into a tree whose directories are there already in part.
    pub(crate) const fn update(source: &'a Path, destination: &'a Path) -> Self {
        Self { source, manner: Manner::Update(destination) }
    }

    /// Copies with modes and times kept.
    pub(crate) const fn verbatim(source: &'a Path, destination: &'a Path) -> Self {
        Self { source, manner: Manner::Verbatim(destination) }
    }

    const fn destination(&self) -> Option<&'a Path> {
        match self.manner {
            Manner::Survey | Manner::Measure => None,
            Manner::Canonical(path) | Manner::Update(path) | Manner::Verbatim(path) => Some(path),
        }
    }

    /// How many files are handed to a worker at once.
    const fn batch(&self) -> usize {
        match self.manner {
            Manner::Survey => LARGE_BATCH,
            Manner::Measure | Manner::Canonical(_) | Manner::Update(_) | Manner::Verbatim(_) => BATCH,
        }
    }
}

/// What comes along. Asked in the walking thread only, in the order of the bytes of the names of each directory.
pub(crate) trait Choice {
    /// Whether `name` in `directory` (relative to the source) is taken.
    fn takes(&mut self, directory: &Path, name: &Name) -> bool;

    /// What the link at `path` (relative to the source) is to hold.
    fn link(&mut self, path: &Path, target: PathBuf) -> Result<PathBuf, TreeError>;

    /// Whether the walk may end here, with a part of the tree.
    fn has_enough(&self) -> bool {
        false
    }
}

/// All there is, as it is.
#[derive(Debug)]
pub(crate) struct Everything;

impl Choice for Everything {
    fn takes(&mut self, _: &Path, _: &Name) -> bool {
        true
    }

    fn link(&mut self, _: &Path, target: PathBuf) -> Result<PathBuf, TreeError> {
        Ok(target)
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Everything taken, sorted; of a survey and of a verbatim copy the directories and links alone.
    pub(crate) records: Records,
    /// The files of a survey, in no promised order.
    pub(crate) stamps: Vec<(PathBuf, Stamp)>,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Sockets, pipes and devices, which have no content to take.
    pub(crate) passed_over: u64,
}

impl Done {
    fn add(&mut self, other: Self) {
        self.records.append(other.records);
        self.stamps.extend(other.stamps);
        self.files += other.files;
        self.bytes += other.bytes;
        self.passed_over += other.passed_over;
    }
}

/// An opened directory of the source, and of the copy if one is made.
#[derive(Debug)]
struct Directory {
    source: OwnedFd,
    destination: Option<OwnedFd>,
    path: PathBuf,
}

/// Some files of one directory.
#[derive(Debug)]
struct Batch {
    directory: Arc<Directory>,
    names: Vec<Name>,
}

/// What all threads share.
#[derive(Debug)]
struct Shared<'a> {
    transfer: &'a Transfer<'a>,
    reflink: Reflink,
    creation: Creation,
    /// Set by the first failure, so that the others end soon.
    stop: AtomicBool,
}

/// What the system makes of the mode a file is created with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Creation {
    /// It is kept.
    AsAsked,
    /// The umask (or an access list) takes bits away: they are set again.
    Masked,
}

/// Carries out `transfer`; `choice` says what comes along.
pub(crate) fn run(transfer: &Transfer<'_>, choice: &mut dyn Choice) -> Result<Done, TreeError> {
    let root = open_root(transfer)?;
    let shared = Shared {
        transfer,
        reflink: Reflink::untried(),
        creation: creation(transfer, &root)?,
        stop: AtomicBool::new(false),
    };
    let workers = std::thread::available_parallelism().map_or(2, NonZero::get).clamp(2, 8);
    let (sender, receiver) = sync_channel(WAITING);
    let receiver = Mutex::new(receiver);
    let mut done = Done::default();
    let mut errors = Vec::new();
    let finishing = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(|| work(&shared, &receiver))).collect();
        let mut walk = Walk { shared: &shared, choice, sender, done: Done::default(), finishing: Vec::new() };
        if let Err(error) = walk.tree(root) {
            shared.stop.store(true, Ordering::Relaxed);
            errors.push(error);
        }
        let Walk { sender, done: walked, finishing, .. } = walk;
        // The workers end when nobody can send any more.
        drop(sender);
        done.add(walked);
        for worker in workers {
            match worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                Ok(worked) => done.add(worked),
                Err(error) => errors.push(error),
            }
        }
        finishing
    });
    if let Some(error) = errors.into_iter().min_by(|a, b| a.path().cmp(b.path())) {
        return Err(error);
    }
    finish_directories(transfer, finishing)?;
    done.records.sort();
    Ok(done)
}

/// Opens both ends, and makes the far one.
fn open_root(transfer: &Transfer<'_>) -> Result<Directory, TreeError> {
    // The root itself may be reached through a link: it is what the user named.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let source = rustix::fs::openat(CWD, transfer.source, flags, Mode::empty())
        .map_err(TreeError::read(transfer.source.to_owned()))?;
    let destination = match transfer.destination() {
        None => None,
        Some(path) => {
            fs::create_directory(path)?;
            let opened = rustix::fs::openat(CWD, path, flags | OFlags::NOFOLLOW, Mode::empty());
            Some(opened.map_err(TreeError::write(path.to_owned()))?)
        }
    };
    Ok(Directory { source, destination, path: PathBuf::new() })
}

/// Finds out what the system does with modes at the far end.
fn creation(transfer: &Transfer<'_>, root: &Directory) -> Result<Creation, TreeError> {
    match (&root.destination, transfer.manner) {
        (None, _) => Ok(Creation::AsAsked),
        // Whatever name a probe had, something in the tree may have it.
        (Some(_), Manner::Update(_)) => Ok(Creation::Masked),
        (Some(destination), _) => Creation::probe(destination.as_fd())
            .map_err(TreeError::write(shown(transfer.destination(), &root.path))),
    }
}

impl Creation {
    /// Tries it out with a file that is gone at once.
    pub(crate) fn probe(directory: BorrowedFd<'_>) -> Result<Self, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let probe = rustix::fs::openat(directory, c".hwb-probe", flags, Mode::from_raw_mode(0o755))?;
        let mode = rustix::fs::fstat(&probe)?.st_mode & 0o777;
        rustix::fs::unlinkat(directory, c".hwb-probe", AtFlags::empty())?;
        Ok(if mode == 0o755 { Self::AsAsked } else { Self::Masked })
    }
}

/// A path for an error message.
fn shown(base: Option<&Path>, relative: &Path) -> PathBuf {
    match base {
        Some(base) if !relative.as_os_str().is_empty() => base.join(relative),
        Some(base) => base.to_owned(),
        None => relative.to_owned(),
    }
}

/// The times of everything in a canonical copy.
pub(crate) fn fixed_times() -> Timestamps {
    let seconds = i64::try_from(Timestamp::ZIP_EPOCH.seconds()).unwrap_or_default();
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

/// The times of something, to be given to its copy.
fn times_of(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    Timestamps {
        last_access: time(stat.st_atime, i64::try_from(stat.st_atime_nsec).unwrap_or_default()),
        last_modification: time(stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or_default()),
    }
}

/// What a directory of the copy gets when everything in it is there.
#[derive(Debug)]
struct Finish {
    path: PathBuf,
    mode: Option<Mode>,
    times: Timestamps,
}

/// Gives the directories of the copy their times, and a verbatim copy its modes: the innermost first, as a directory
/// may be one that nobody may write to.
fn finish_directories(transfer: &Transfer<'_>, finishing: Vec<Finish>) -> Result<(), TreeError> {
    let Some(destination) = transfer.destination() else { return Ok(()) };
    for Finish { path, mode, times } in finishing.into_iter().rev() {
        let path = shown(Some(destination), &path);
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW)
            .and_then(|()| mode.map_or(Ok(()), |mode| rustix::fs::chmod(&path, mode)))
            .map_err(TreeError::write(path))?;
    }
    Ok(())
}

/// The one thread that lists.
struct Walk<'a> {
    shared: &'a Shared<'a>,
    choice: &'a mut dyn Choice,
    sender: SyncSender<Batch>,
    done: Done,
    finishing: Vec<Finish>,
}

impl Walk<'_> {
    /// Lists everything below `root`, outer directories before inner ones.
    fn tree(&mut self, root: Directory) -> Result<(), TreeError> {
        let mut pending = Vec::new();
        self.opened(Arc::new(root), &mut pending)?;
        while let Some((parent, name)) = pending.pop() {
            if self.shared.stop.load(Ordering::Relaxed) || self.choice.has_enough() {
                break;
            }
            if let Some(directory) = self.open(&parent, &name)? {
                self.opened(Arc::new(directory), &mut pending)?;
            }
        }
        Ok(())
    }

    /// Opens one directory and makes its copy; `None` if it is gone since it was listed.
    fn open(&mut self, parent: &Directory, name: &Name) -> Result<Option<Directory>, TreeError> {
        let path = below(&parent.path, &name.name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let source = match rustix::fs::openat(&parent.source, &*name.name, flags, Mode::empty()) {
            Ok(source) => source,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(TreeError::read(self.shared.source(&path))(error)),
        };
        let destination = match &parent.destination {
            None => None,
            Some(parent) => {
                let made = self
                    .shared
                    .make_directory(parent.as_fd(), name)
                    .and_then(|()| rustix::fs::openat(parent, &*name.name, flags, Mode::empty()))
                    .and_then(|made| {
                        if self.shared.creation == Creation::Masked {
                            rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755))?;
                        }
                        Ok(made)
                    });
                Some(made.map_err(TreeError::write(self.shared.destination(&path)))?)
            }
        };
        self.done.records.push(path.clone(), Record::Directory);
        Ok(Some(Directory { source, destination, path }))
    }

    /// Lists an opened directory: links are made, files are sent off, directories are kept for later.
    fn opened(
        &mut self,
        directory: Arc<Directory>,
        pending: &mut Vec<(Arc<Directory>, Name)>,
    ) -> Result<(), TreeError> {
        let at = self.shared.source(&directory.path);
        self.note_finish(&directory).map_err(TreeError::read(at.clone()))?;
        let names = os::list(directory.source.as_fd()).map_err(TreeError::read(at))?;
        let mut names_of_files = Vec::new();
        let first = pending.len();
        for name in names {
            if !self.choice.takes(&directory.path, &name) {
                continue;
            }
            match name.kind {
                FileType::Directory => pending.push((Arc::clone(&directory), name)),
                FileType::RegularFile => names_of_files.push(name),
                FileType::Symlink => self.link(&directory, &name)?,
                _ => self.done.passed_over += 1,
            }
        }
        // The last is taken first.
        pending[first..].reverse();
        let mut rest = names_of_files.into_iter();
        loop {
            let names: Vec<_> = rest.by_ref().take(self.shared.transfer.batch()).collect();
            if names.is_empty() {
                return Ok(());
            }
            let batch = Batch { directory: Arc::clone(&directory), names };
            self.sender.send(batch).expect("the receiver outlives the walk");
        }
    }

    /// Remembers what the copy of `directory` gets at the end.
    fn note_finish(&mut self, directory: &Directory) -> Result<(), Errno> {
        let path = directory.path.clone();
        match self.shared.transfer.manner {
            Manner::Survey | Manner::Measure => {}
            Manner::Canonical(_) | Manner::Update(_) => {
                // The others were made with their mode; the top may have been there before.
                let mode = path.as_os_str().is_empty().then(|| Mode::from_raw_mode(0o755));
                self.finishing.push(Finish { path, mode, times: fixed_times() });
            }
            Manner::Verbatim(_) => {
                let stat = rustix::fs::fstat(&directory.source)?;
                let mode = Some(Mode::from_raw_mode(stat.st_mode & 0o777));
                self.finishing.push(Finish { path, mode, times: times_of(&stat) });
            }
        }
        Ok(())
    }

    /// Takes a link.
    fn link(&mut self, directory: &Directory, name: &Name) -> Result<(), TreeError> {
        let path = below(&directory.path, &name.name);
        let target = match rustix::fs::readlinkat(&directory.source, &*name.name, Vec::new()) {
            Ok(target) => PathBuf::from(std::ffi::OsString::from_vec(target.into_bytes())),
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(TreeError::read(self.shared.source(&path))(error)),
        };
        let target = self.choice.link(&path, target)?;
        if let Some(destination) = &directory.destination {
            rustix::fs::symlinkat(&target, destination, &*name.name)
                .and_then(|()| match self.shared.transfer.manner {
                    Manner::Survey | Manner::Measure | Manner::Verbatim(_) => Ok(()),
                    Manner::Canonical(_) | Manner::Update(_) => rustix::fs::utimensat(
                        destination,
                        &*name.name,
                        &fixed_times(),
                        AtFlags::SYMLINK_NOFOLLOW,
                    ),
                })
                .map_err(TreeError::write(self.shared.destination(&path)))?;
        }
        self.done.records.push(path, Record::Link { target });
        Ok(())
    }
}

/// The path of `name` in `directory`.
fn below(directory: &Path, name: &CStr) -> PathBuf {
    let name = OsStr::from_bytes(name.to_bytes());
    // There are many of them: each is made with its final length.
    let mut path = PathBuf::with_capacity(directory.as_os_str().len() + 1 + name.len());
    path.push(directory);
    path.push(name);
    path
}

/// Takes batches until no more can come. After a failure they are only thrown away, so that the walk is never stuck.
fn work(shared: &Shared<'_>, batches: &Mutex<Receiver<Batch>>) -> Result<Done, TreeError> {
    let mut buffer = vec![0; BUFFER];
    let mut done = Done::default();
    let mut outcome = Ok(());
    loop {
        let received = batches.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(batch) = received else { break };
        for name in &batch.names {
            if shared.stop.load(Ordering::Relaxed) {
                break;
            }
            let taken = match shared.transfer.manner {
                Manner::Survey => shared.look(&batch.directory, name, &mut done),
                Manner::Measure | Manner::Canonical(_) | Manner::Update(_) | Manner::Verbatim(_) => {
                    shared.file(&batch.directory, name, &mut buffer, &mut done)
                }
            };
            if let Err(error) = taken {
                shared.stop.store(true, Ordering::Relaxed);
                outcome = Err(error);
            }
        }
    }
    outcome.map(|()| done)
}

impl Shared<'_> {
    /// Where something is in the source.
    fn source(&self, relative: &Path) -> PathBuf {
        shown(Some(self.transfer.source), relative)
    }

    /// Where something is in the copy.
    fn destination(&self, relative: &Path) -> PathBuf {
        shown(self.transfer.destination(), relative)
    }

    /// Makes a directory of the copy.
    fn make_directory(&self, parent: BorrowedFd<'_>, name: &Name) -> Result<(), Errno> {
        match rustix::fs::mkdirat(parent, &*name.name, Mode::from_raw_mode(0o755)) {
            // Anything but a directory fails to be opened as one.
            Err(Errno::EXIST) if matches!(self.transfer.manner, Manner::Update(_)) => Ok(()),
            made => made,
        }
    }

    /// Looks at one file from outside. One that is gone since it was listed is passed over.
    fn look(&self, directory: &Directory, name: &Name, done: &mut Done) -> Result<(), TreeError> {
        let path = below(&directory.path, &name.name);
        match rustix::fs::statat(&directory.source, &*name.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                let stamp = Stamp::of(&stat);
                done.files += 1;
                done.bytes += stamp.bytes;
                done.stamps.push((path, stamp));
            }
            Ok(_) => done.passed_over += 1,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(TreeError::read(self.source(&path))(error)),
        }
        Ok(())
    }

    /// Takes one file. One that is gone, or no file any more, since it was listed is passed over.
    fn file(
        &self,
        directory: &Directory,
        name: &Name,
        buffer: &mut [u8],
        done: &mut Done,
    ) -> Result<(), TreeError> {
        let path = below(&directory.path, &name.name);
        // Without NONBLOCK, a pipe that took the file's place would hold us up for ever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let read = |error: Errno| TreeError::read(self.source(&path))(error);
        let source = match rustix::fs::openat(&directory.source, &*name.name, flags, Mode::empty()) {
            Ok(source) => source,
            Err(Errno::NOENT | Errno::LOOP) => return Ok(()),
            Err(error) => return Err(read(error)),
        };
        let stat = rustix::fs::fstat(&source).map_err(read)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            done.passed_over += 1;
            return Ok(());
        }
        let source = File::from(source);
        let (bytes, digest) = match &directory.destination {
            None => {
                let content = file::measure(&source, buffer).map_err(|fault| self.fault(&path, fault))?;
                (content.bytes, Some(content.digest))
            }
            Some(destination) => {
                let made = self
                    .create(destination.as_fd(), name, &stat)
                    .map_err(|error| TreeError::write(self.destination(&path))(error))?;
                self.copy(&source, &made, &stat, buffer).map_err(|fault| self.fault(&path, fault))?
            }
        };
        done.files += 1;
        done.bytes += bytes;
        if let Some(content) = digest {
            let executable = Executable::of_mode(stat.st_mode);
            done.records.push(path, Record::File { executable, content, bytes });
        }
        Ok(())
    }

    /// Makes the empty file that `stat`'s content goes to.
    fn create(&self, directory: BorrowedFd<'_>, name: &Name, stat: &Stat) -> Result<File, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let verbatim = matches!(self.transfer.manner, Manner::Verbatim(_));
        let mode =
            if verbatim { stat.st_mode & 0o777 } else { Executable::of_mode(stat.st_mode).permissions() };
        let mode = Mode::from_raw_mode(mode);
        let made = rustix::fs::openat(directory, &*name.name, flags, mode)?;
        if verbatim || self.creation == Creation::Masked {
            rustix::fs::fchmod(&made, mode)?;
        }
        Ok(File::from(made))
    }

    /// Fills a new file and gives it its time.
    fn copy(
        &self,
        from: &File,
        to: &File,
        stat: &Stat,
        buffer: &mut [u8],
    ) -> Result<(u64, Option<hwb_ident::Digest>), file::Fault> {
        let (taken, times) = match self.transfer.manner {
            Manner::Verbatim(_) => ((file::copy(from, to, &self.reflink)?, None), times_of(stat)),
            Manner::Survey | Manner::Measure | Manner::Canonical(_) | Manner::Update(_) => {
                let content = file::copy_measured(from, to, &self.reflink, buffer)?;
                ((content.bytes, Some(content.digest)), fixed_times())
            }
        };
        rustix::fs::futimens(to, &times).map_err(|error| file::Fault::Write(error.into()))?;
        Ok(taken)
    }

    /// Says where a fault happened.
    fn fault(&self, path: &Path, fault: file::Fault) -> TreeError {
        match fault {
            file::Fault::Read(error) => TreeError::read(self.source(path))(error),
            file::Fault::Write(error) => TreeError::write(self.destination(path))(error),
        }
    }
}
