//! Owners that cannot be had, recorded.
//!
//! Where there is one id, a call that gives a file away is not made. The kernel asks here instead (seccomp user
//! notification), the owner is written beside the file as an extended attribute, and the caller is told that it worked.
//! The attribute goes where the file goes, through renames and to every name of it, and ends with it; whoever makes a
//! layer of the files makes owners of the attributes. Files of a mount over the root are in no layer, and may be the
//! host's own: nothing is written to them.
//!
//! The caller is not trusted: it may change what it pointed to while this looks. It gains nothing by that, as this process
//! sees the same files and has no right that the command does not have.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags, XattrFlags};
use rustix::io::Errno;

use crate::container::OWNER_ATTRIBUTE;
use crate::os::{self, Question};
use crate::seccomp::Architecture;

/// A path of the kernel's is no longer.
const LONGEST_PATH: usize = 4096;

/// How often a path is looked up whose directories are moved all the time.
const MOST_ATTEMPTS: u32 = 100;

/// Answers one question of the kernel.
pub(super) fn answer(listener: &OwnedFd) {
    // Whoever asked may be gone by now; then there is nothing to answer.
    let Ok(question) = os::next_question(listener) else { return };
    let result = record(&question).err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
    let _gone = os::answer_question(listener, &question, result);
}

/// What is to be given away.
#[derive(Debug)]
enum Target {
    Descriptor(u64),
    Path { directory: Option<u64>, pointer: u64, follow: Follow },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Follow {
    Links,
    Nothing,
}

/// A call as it was meant. `None` for an id that is to stay.
#[derive(Debug)]
struct Gift {
    target: Target,
    user: Option<u32>,
    group: Option<u32>,
}

impl Gift {
    fn read(question: &Question) -> io::Result<Self> {
        let (architecture, name) =
            Architecture::name_of(question.architecture, question.number).ok_or(Errno::NOSYS)?;
        let [first, second, third, fourth, fifth] = question.arguments;
        let at = |pointer, follow| Target::Path { directory: None, pointer, follow };
        let short = architecture.has_short_ids() && !name.ends_with("32") && name != "fchownat";
        let id = |value: u64| owner(value, short);
        Ok(match name.trim_end_matches("32") {
            "chown" => Self { target: at(first, Follow::Links), user: id(second), group: id(third) },
            "lchown" => Self { target: at(first, Follow::Nothing), user: id(second), group: id(third) },
            "fchown" => Self { target: Target::Descriptor(first), user: id(second), group: id(third) },
            "fchownat" => {
                let flags = lower_half(fifth);
                let target = if flags & libc::AT_EMPTY_PATH.unsigned_abs() != 0 && is_empty(question, second)
                {
                    Target::Descriptor(first)
                } else {
                    let nothing = flags & libc::AT_SYMLINK_NOFOLLOW.unsigned_abs() != 0;
                    let follow = if nothing { Follow::Nothing } else { Follow::Links };
                    Target::Path { directory: Some(first), pointer: second, follow }
                };
                Self { target, user: id(third), group: id(fourth) }
            }
            _ => return Err(Errno::NOSYS.into()),
        })
    }
}

/// What the kernel takes of an argument that is no pointer.
fn lower_half(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// An id; the highest stands for none.
fn owner(value: u64, short: bool) -> Option<u32> {
    let value = lower_half(value);
    let (value, none) = if short { (value & 0xffff, 0xffff) } else { (value, u32::MAX) };
    (value != none).then_some(value)
}

fn is_empty(question: &Question, pointer: u64) -> bool {
    read_path(question.process, pointer).is_ok_and(|path| path.as_os_str().is_empty())
}

fn record(question: &Question) -> io::Result<()> {
    let gift = Gift::read(question)?;
    let Some(target) = open(question.process, &gift.target)? else { return Ok(()) };
    if !is_on_root(&target)? {
        return Ok(());
    }
    let view = format!("/proc/self/fd/{}", target.as_raw_fd());
    let before = owner_of(&view);
    let (user, group) = (gift.user.unwrap_or(before.0), gift.group.unwrap_or(before.1));
    let value = format!("{user}:{group}");
    match rustix::fs::setxattr(&view, OWNER_ATTRIBUTE, value.as_bytes(), XattrFlags::empty()) {
        // Links, devices and some file systems have no attributes; their owner stays root.
        Ok(()) | Err(Errno::PERM | Errno::NOTSUP) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether it is a file of the root: what else there is was lent by the host, or ends with the command.
fn is_on_root(target: &OwnedFd) -> io::Result<bool> {
    let root = rustix::fs::statx(CWD, "/", AtFlags::empty(), StatxFlags::MNT_ID)?;
    let own = rustix::fs::statx(target, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    Ok(own.stx_mnt_id == root.stx_mnt_id)
}

/// The owner that was recorded before; else root.
fn owner_of(view: &str) -> (u32, u32) {
    let mut value = [0; 32];
    let mut read = || {
        let length = rustix::fs::getxattr(view, OWNER_ATTRIBUTE, &mut value[..]).ok()?;
        let (user, group) = std::str::from_utf8(value.get(..length)?).ok()?.split_once(':')?;
        Some((user.parse().ok()?, group.parse().ok()?))
    };
    read().unwrap_or_default()
}

/// Opens what `process` means, as itself only; `None` for what has no place in the root, as a descriptor of the process.
fn open(process: u32, target: &Target) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let place = |name: &str| -> io::Result<OwnedFd> {
        Ok(rustix::fs::openat(CWD, format!("/proc/{process}/{name}"), flags, Mode::empty())?)
    };
    let descriptor =
        |number: u64| place(&format!("fd/{}", lower_half(number))).map_err(|_| Errno::BADF.into());
    match target {
        Target::Descriptor(number) => descriptor(*number).map(Some),
        Target::Path { directory, pointer, follow } => {
            let path = read_path(process, *pointer)?;
            let flags = match follow {
                Follow::Links => flags,
                Follow::Nothing => flags | OFlags::NOFOLLOW,
            };
            if path.is_absolute() {
                return open_in(&place("root")?, &path, flags);
            }
            let here = libc::AT_FDCWD.cast_unsigned();
            let base = match directory.filter(|number| lower_half(*number) != here) {
                Some(number) => descriptor(number)?,
                None => place("cwd")?,
            };
            Ok(Some(rustix::fs::openat(base, &path, flags, Mode::empty())?))
        }
    }
}

/// Opens `path` as one who has `root` for a root.
fn open_in(root: &OwnedFd, path: &Path, flags: OFlags) -> io::Result<Option<OwnedFd>> {
    for _ in 0..MOST_ATTEMPTS {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
            // Somebody moved directories meanwhile: the kernel does not know whether it left the root.
            Err(Errno::AGAIN) => {}
            // A link of `/proc` to what is open, as `/dev/stdout` is.
            Err(Errno::XDEV) => return Ok(None),
            opened => return Ok(Some(opened?)),
        }
    }
    Err(Errno::AGAIN.into())
}

/// Reads a path out of the memory of `process`.
fn read_path(process: u32, pointer: u64) -> io::Result<PathBuf> {
    let memory = std::fs::File::open(Path::new("/proc").join(process.to_string()).join("mem"))?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 256];
    while bytes.len() < LONGEST_PATH {
        let at = pointer.checked_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX)).ok_or(Errno::FAULT)?;
        // Up to the end of a page: behind it there may be nothing.
        let left = usize::try_from(4096 - at % 4096).unwrap_or(chunk.len()).min(chunk.len());
        let length = rustix::io::pread(&memory, &mut chunk[..left], at).map_err(|_| Errno::FAULT)?;
        if length == 0 {
            return Err(Errno::FAULT.into());
        }
        if let Some(end) = chunk[..length].iter().position(|&byte| byte == 0) {
            bytes.extend_from_slice(&chunk[..end]);
            return Ok(OsString::from_vec(bytes).into());
        }
        bytes.extend_from_slice(&chunk[..length]);
    }
    Err(Errno::NAMETOOLONG.into())
}
