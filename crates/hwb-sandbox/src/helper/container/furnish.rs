//! What stands in every container over its root: `/dev`, `/proc`, `/sys`, and the places that were asked for.

use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hwb_ident::GuestPath;
use rustix::fs::{FileType, Gid, Mode, Uid};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::super::request::{Guarantee, Report};
use super::super::root::{Source, clone_mount, clone_source, lay};
use super::target::Targets;
use crate::container::wire::{CommandOrder, Owners, StreamOrder};
use crate::container::{ContainerSpec, Place, RootAccess, User};
use crate::os::{self, Extent};
use crate::spec::{Mount, Network};

/// The devices that every program expects, and that give nothing away.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// What of `/proc` tells of the whole machine, or has it do something: covered. Docker's list.
const COVERED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// What of it may be looked at only. Docker's list.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Where apt is told to stay root: its downloads cannot become anybody else where there is one id.
pub(super) const APT_CONFIGURATION: &str = "/dev/apt.conf";

/// How much fits into `/dev`, the contents of files with it.
const DEV_SIZE: &str = "16m";

/// No set-user-id, no devices, no programs.
fn harmless() -> MountAttrFlags {
    foreign() | MountAttrFlags::MOUNT_ATTR_NOEXEC
}

/// No set-user-id, no devices.
fn foreign() -> MountAttrFlags {
    MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV
}

/// A file system of the kernel's, not yet attached.
pub(in crate::helper) fn file_system(
    kind: &str,
    options: &[(&str, Option<&str>)],
    attributes: MountAttrFlags,
) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in options {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(&context, *name, *value)?,
            None => rustix::mount::fsconfig_set_flag(&context, *name)?,
        }
    }
    rustix::mount::fsconfig_create(&context)?;
    Ok(rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// What is taken from the host, or may be made only while its `/proc` is there; none of it is attached yet.
#[derive(Debug)]
pub(super) struct Furniture {
    devices: Vec<(&'static str, OwnedFd)>,
    proc: OwnedFd,
    sys: Option<OwnedFd>,
    /// One for each place, then one for each mount of the session; `None` for what is made without the host.
    sources: Vec<Option<OwnedFd>>,
}

impl Furniture {
    /// Takes it. May cover `staging`, a directory of the host.
    pub(super) fn gather(order: &CommandOrder, staging: &Path) -> Result<Self, Report> {
        let devices = DEVICES
            .iter()
            .map(|&name| {
                let path = Path::new("/dev").join(name);
                clone_mount(&path, Extent::Mount).map(|device| (name, device)).map_err(|error| {
                    Report::setup(format!("take `{}` from the host", path.display()), &error)
                })
            })
            .collect::<Result<_, _>>()?;
        let proc = file_system("proc", &[], harmless())
            .map_err(|error| Report::unsupported(Guarantee::SystemFiles, &error))?;
        // With the host's network it would show the host's devices; where the kernel refuses it, less is shown.
        let sys = match order.network {
            Network::Host => None,
            Network::Denied | Network::Isolated => {
                file_system("sysfs", &[], harmless() | MountAttrFlags::MOUNT_ATTR_RDONLY).ok()
            }
        };
        Ok(Self { devices, proc, sys, sources: sources(order, staging)? })
    }

    /// Puts everything in its place; the working directory is the root of the container. What stands over a terminal is
    /// given back.
    pub(super) fn place(
        self,
        order: &CommandOrder,
        targets: &mut Targets,
    ) -> Result<Option<Terminal>, Report> {
        let step = |step: &'static str| move |error: io::Error| Report::setup(step.to_owned(), &error);
        make_dev(&order.container, self.devices, targets).map_err(step("make `/dev`"))?;
        if order.owners == Owners::One {
            write_file(Path::new(APT_CONFIGURATION), b"APT::Sandbox::User \"root\";\n")
                .map_err(step("write the configuration of apt"))?;
        }
        let terminal = match order.streams {
            StreamOrder::Terminal { rows, columns } => {
                let terminal = Terminal::open(rows, columns, order).map_err(step("open a terminal"))?;
                terminal.become_console(targets).map_err(step("make `/dev/console`"))?;
                Some(terminal)
            }
            StreamOrder::Three | StreamOrder::ThreeAndControl => None,
        };
        if let Some(sys) = self.sys {
            targets.attach(&sys, Path::new("/sys")).map_err(step("mount `/sys`"))?;
        }
        for (place, source) in all_places(order).zip(self.sources) {
            let guest = place.guest();
            set(&place, source, targets)
                .map_err(|error| Report::setup(format!("make `{guest}` in the container"), &error))?;
        }
        targets.attach(&self.proc, Path::new("/proc")).map_err(step("mount `/proc`"))?;
        cover().map_err(step("cover parts of `/proc`"))?;
        Ok(terminal)
    }
}

/// Something to put over the root.
#[derive(Debug)]
enum Wanted<'a> {
    Host(&'a Mount),
    Memory { guest: &'a GuestPath, size: Option<u64>, mode: u32 },
    File { guest: &'a GuestPath, contents: &'a [u8] },
}

impl<'a> Wanted<'a> {
    fn of(place: &'a Place) -> Self {
        match place {
            Place::Host(mount) => Self::Host(mount),
            Place::Memory { guest, size, mode } => Self::Memory { guest, size: *size, mode: *mode },
            Place::File { guest, contents } => Self::File { guest, contents },
        }
    }

    fn guest(&self) -> &GuestPath {
        match self {
            Self::Host(mount) => &mount.guest,
            Self::Memory { guest, .. } | Self::File { guest, .. } => guest,
        }
    }
}

fn all_places(order: &CommandOrder) -> impl Iterator<Item = Wanted<'_>> {
    order.container.places.iter().map(Wanted::of).chain(order.mounts.iter().map(Wanted::Host))
}

/// What of the places comes from the host.
fn sources(order: &CommandOrder, staging: &Path) -> Result<Vec<Option<OwnedFd>>, Report> {
    let mounts: Vec<Option<Mount>> = all_places(order)
        .map(|place| match place {
            Wanted::Host(mount) => Some(mount.clone()),
            Wanted::Memory { .. } | Wanted::File { .. } => None,
        })
        .collect();
    let present: Vec<Mount> = mounts.iter().flatten().cloned().collect();
    let sources = present.iter().map(clone_source).collect::<Result<Vec<Source>, _>>()?;
    let mut sources = lay(&present, sources, staging)?.into_iter();
    Ok(mounts.iter().map(|mount| mount.as_ref().and_then(|_| sources.next())).collect())
}

/// Puts one place where it belongs.
fn set(place: &Wanted<'_>, source: Option<OwnedFd>, targets: &mut Targets) -> io::Result<()> {
    let guest = place.guest().as_path();
    // It is mounted last, over everything.
    if !guest.is_absolute() || guest.starts_with("/proc") {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    match (place, source) {
        (Wanted::Memory { size, mode, .. }, _) => {
            let size = size.map(|size| size.to_string());
            let mode = format!("{mode:o}");
            let mut options = vec![("mode", Some(mode.as_str()))];
            options.extend(size.as_deref().map(|size| ("size", Some(size))));
            targets.attach_own(&file_system("tmpfs", &options, harmless())?, guest)
        }
        (Wanted::File { contents, .. }, _) => {
            // Once it stands where it is wanted, it has no other name.
            let draft = Path::new("/dev/.draft");
            write_file(draft, contents)?;
            let file = clone_mount(draft, Extent::Mount)?;
            os::restrict(&file, harmless(), Extent::Mount)?;
            targets.attach(&file, guest)?;
            fs_err::remove_file(draft)
        }
        (Wanted::Host(_), Some(source)) => {
            os::restrict(&source, foreign(), Extent::Tree)?;
            targets.attach(&source, guest)
        }
        (Wanted::Host(_), None) => Err(io::ErrorKind::NotFound.into()),
    }
}

fn write_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = fs_err::File::create_new(path)?;
    file.write_all(contents)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

fn make_dev(
    container: &ContainerSpec,
    devices: Vec<(&'static str, OwnedFd)>,
    targets: &mut Targets,
) -> io::Result<()> {
    let options = [("mode", Some("0755")), ("size", Some(DEV_SIZE))];
    let dev = file_system("tmpfs", &options, foreign())?;
    targets.attach_own(&dev, Path::new("/dev"))?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    for (name, device) in devices {
        os::restrict(&device, attributes, Extent::Mount)?;
        rustix::fs::mknodat(&dev, name, FileType::RegularFile, Mode::from_raw_mode(0o644), 0)?;
        attach_in(&dev, name, &device)?;
    }
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    for (name, target) in links {
        rustix::fs::symlinkat(target, &dev, name)?;
    }
    let options = [("newinstance", None), ("ptmxmode", Some("0666")), ("mode", Some("0620"))];
    let terminals = file_system("devpts", &options, attributes)?;
    let size = container.shared_memory.to_string();
    let options = [("mode", Some("1777")), ("size", Some(size.as_str()))];
    let memory = file_system("tmpfs", &options, harmless())?;
    let queues = file_system("mqueue", &[], harmless())?;
    for (name, mount) in [("pts", &terminals), ("shm", &memory), ("mqueue", &queues)] {
        rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755))?;
        attach_in(&dev, name, mount)?;
    }
    targets.own(&memory)
}

/// Attaches `mount` at a name in a file system that was just made: nothing can be in the way, and nothing needs to be
/// looked up.
fn attach_in(directory: &OwnedFd, name: &str, mount: &OwnedFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", directory, name, flags)?)
}

/// Hides or protects what of `/proc` and `/sys` is not divided by namespaces.
fn cover() -> io::Result<()> {
    for path in COVERED.map(Path::new) {
        let cover = match std::fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                let options = [("mode", Some("0555")), ("size", Some("4k"))];
                file_system("tmpfs", &options, harmless() | MountAttrFlags::MOUNT_ATTR_RDONLY)?
            }
            Ok(_) => clone_mount(Path::new("/dev/null"), Extent::Mount)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        super::super::root::attach(&cover, path)?;
    }
    for path in READ_ONLY.map(Path::new) {
        match clone_mount(path, Extent::Tree) {
            Ok(view) => {
                os::restrict(&view, harmless() | MountAttrFlags::MOUNT_ATTR_RDONLY, Extent::Tree)?;
                super::super::root::attach(&view, path)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes the root itself read-only, if that was asked for.
pub(super) fn close(root: &OwnedFd, access: RootAccess) -> io::Result<()> {
    match access {
        RootAccess::ReadOnly => os::restrict(root, MountAttrFlags::MOUNT_ATTR_RDONLY, Extent::Mount),
        RootAccess::ReadWrite => Ok(()),
    }
}

/// A terminal of the container.
#[derive(Debug)]
pub(super) struct Terminal {
    /// hwb's end.
    pub(super) outer: OwnedFd,
    /// The command's end.
    pub(super) inner: OwnedFd,
}

impl Terminal {
    fn open(rows: u16, columns: u16, order: &CommandOrder) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let outer = rustix::pty::openpt(flags)?;
        rustix::pty::grantpt(&outer)?;
        rustix::pty::unlockpt(&outer)?;
        let inner = rustix::pty::ioctl_tiocgptpeer(&outer, flags)?;
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&outer, size)?;
        let User { uid, .. } = order.user;
        if uid != 0 {
            rustix::fs::fchown(&inner, Some(Uid::from_raw(uid)), None::<Gid>)?;
        }
        Ok(Self { outer, inner })
    }

    /// Lets it be found under the name that a system's own messages go to.
    fn become_console(&self, targets: &mut Targets) -> io::Result<()> {
        let name = rustix::pty::ptsname(&self.outer, Vec::new())?;
        let name = name.into_string().map_err(|_| io::ErrorKind::InvalidData)?;
        let view = clone_mount(Path::new(&name), Extent::Mount)?;
        targets.attach(&view, Path::new("/dev/console"))
    }
}
