//! Limits of a container: a control group for it, in whichever hierarchies the machine has.
//!
//! Version 1 has a hierarchy for each controller, version 2 one for all; hybrid machines have both, and a controller is in
//! one of them. The group is made below hwb's own where that is possible, so that what limits hwb limits the container.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::fs::Access;
use rustix::io::Errno;
use rustix::process::Pid;

use super::spec::Limits;

/// The period of processor time that a share is of, in microseconds.
const PERIOD: u64 = 100_000;

/// How the names of groups begin; the number of the process that made them follows, then a count.
const PREFIX: &str = "hwb-";

/// The file of version 2 that says which controllers work in the groups of a group.
const ENABLED: &str = "cgroup.subtree_control";

/// One controller, with what to write for a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Demand {
    controller: &'static str,
    /// What is set in version 1.
    first: Vec<Setting>,
    /// The same in version 2.
    second: Vec<Setting>,
}

/// A file of a group, and what is written to it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    file: &'static str,
    value: String,
    missing: Missing,
}

/// What it means that a kernel has no such file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// There is no such limit.
    Refused,
    /// Nothing, where there is no swap: the file limits that.
    NeedsNoSwap,
}

impl Setting {
    fn new(file: &'static str, value: impl ToString) -> Self {
        Self { file, value: value.to_string(), missing: Missing::Refused }
    }

    fn of_swap(file: &'static str, value: impl ToString) -> Self {
        Self { missing: Missing::NeedsNoSwap, ..Self::new(file, value) }
    }

    /// Writes it to the group in `directory`; `swaps` is the text of `/proc/swaps`.
    fn apply(&self, directory: &Path, swaps: &str) -> io::Result<()> {
        let Self { file, value, missing } = self;
        match write(&directory.join(file), value) {
            Err(error) if *missing == Missing::NeedsNoSwap && error.kind() == io::ErrorKind::NotFound => {
                // Below one line of headings.
                match swaps.lines().nth(1) {
                    None => Ok(()),
                    Some(_) => Err(io::Error::other(format!(
                        "the kernel has no `{file}`, and without it swap is a way around the limit of memory"
                    ))),
                }
            }
            result => result,
        }
    }
}

impl Demand {
    fn settings(&self, version: Version) -> &[Setting] {
        match version {
            Version::First => &self.first,
            Version::Second => &self.second,
        }
    }
}

fn demands(limits: &Limits) -> Vec<Demand> {
    let Limits { memory, cpu_thousandths, pids } = *limits;
    let memory = memory.map(|bytes| Demand {
        controller: "memory",
        first: vec![
            Setting::new("memory.limit_in_bytes", bytes),
            // Memory and swap together.
            Setting::of_swap("memory.memsw.limit_in_bytes", bytes),
        ],
        second: vec![Setting::new("memory.max", bytes), Setting::of_swap("memory.swap.max", 0)],
    });
    let cpu = cpu_thousandths.map(|thousandths| {
        let quota = (thousandths.saturating_mul(PERIOD) / 1000).max(1000);
        Demand {
            controller: "cpu",
            first: vec![Setting::new("cpu.cfs_period_us", PERIOD), Setting::new("cpu.cfs_quota_us", quota)],
            second: vec![Setting::new("cpu.max", format!("{quota} {PERIOD}"))],
        }
    });
    let pids = pids.map(|pids| Demand {
        controller: "pids",
        first: vec![Setting::new("pids.max", pids)],
        second: vec![Setting::new("pids.max", pids)],
    });
    [memory, cpu, pids].into_iter().flatten().collect()
}

/// Where hwb stands in a hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Position {
    version: Version,
    /// Where the hierarchy is mounted.
    top: PathBuf,
    /// hwb's own group.
    own: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    First,
    Second,
}

/// Finds hwb's place in the hierarchy of `controller`, in the texts of `/proc/self/cgroup` and `/proc/self/mountinfo`.
fn position(controller: &str, groups: &str, mounts: &str) -> Option<Position> {
    let group = |is_wanted: &dyn Fn(&str) -> bool| {
        groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            is_wanted(controllers).then_some(path)
        })
    };
    let first = group(&|controllers| controllers.split(',').any(|one| one == controller));
    let (version, kind, path) = match first {
        Some(path) => (Version::First, "cgroup", path),
        None => (Version::Second, "cgroup2", group(&str::is_empty)?),
    };
    let (root, top) = mounts.lines().find_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let (mut mount, mut source) = (mount.split(' ').skip(3), source.split(' '));
        let (root, top) = (mount.next()?, mount.next()?);
        let has = source.next()? == kind
            && (version == Version::Second || source.nth(1)?.split(',').any(|option| option == controller));
        has.then_some((root, top))
    })?;
    let below = Path::new(path).strip_prefix(root).ok()?;
    Some(Position { version, top: top.into(), own: Path::new(top).join(below) })
}

/// Why there is no control group for limits.
#[derive(Debug, thiserror::Error)]
pub enum LimitsError {
    /// No hierarchy has the controller.
    #[error("there is no control group with `{0}` here")]
    Missing(&'static str),
    /// Whoever administers the groups keeps the controllers.
    #[error("hwb stands below no control group in which it may limit {0}")]
    Kept(String),
    /// A group cannot be made, or not be set.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl LimitsError {
    /// What would help.
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Kept(_) => Some("`systemd-run --user --scope -p Delegate=yes` starts a shell that does"),
            Self::Missing(_) | Self::Io(_) => None,
        }
    }
}

/// Finds out whether limits can be set here: makes a control group with all of them, and removes it.
///
/// # Errors
///
/// Why they cannot.
pub fn can_limit() -> Result<(), LimitsError> {
    let limits = Limits { memory: Some(1 << 30), cpu_thousandths: Some(1000), pids: Some(1000) };
    let group = Group::make(&limits)?;
    // Whoever starts a container needs to enter them too.
    group.entrances()?;
    Ok(())
}

/// The control groups of a container, one in each hierarchy that limits it; removed when this is dropped.
#[derive(Debug)]
pub(super) struct Group {
    directories: Vec<PathBuf>,
}

impl Group {
    /// Makes them; nothing is made where there is nothing to limit.
    pub(super) fn make(limits: &Limits) -> Result<Self, LimitsError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mut group = Self { directories: Vec::new() };
        let demands = demands(limits);
        if demands.is_empty() {
            return Ok(group);
        }
        let groups = fs_err::read_to_string("/proc/self/cgroup")?;
        let mounts = fs_err::read_to_string("/proc/self/mountinfo")?;
        // A kernel without swap is without the file.
        let swaps = fs_err::read_to_string("/proc/swaps").unwrap_or_default();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", rustix::process::getpid());
        for (position, demands) in by_position(&demands, &groups, &mounts)? {
            let directory = parent(&position, &demands)?.join(&name);
            group.add(&directory)?;
            for setting in demands.iter().flat_map(|demand| demand.settings(position.version)) {
                setting.apply(&directory, &swaps)?;
            }
        }
        Ok(group)
    }

    fn add(&mut self, directory: &Path) -> io::Result<()> {
        directory.parent().into_iter().for_each(sweep);
        make(directory)?;
        self.directories.push(directory.to_owned());
        Ok(())
    }

    /// Where a process writes `0` to enter them.
    pub(super) fn entrances(&self) -> io::Result<Vec<OwnedFd>> {
        let open = |directory: &PathBuf| {
            let file = fs_err::File::options().write(true).open(directory.join("cgroup.procs"))?;
            Ok(file.into_parts().0.into())
        };
        self.directories.iter().map(open).collect()
    }
}

/// Makes `directory`, of a name that is this process's own: what is there already another left that had its number.
fn make(directory: &Path) -> io::Result<()> {
    match fs_err::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs_err::remove_dir(directory)?;
            fs_err::create_dir(directory)
        }
        result => result,
    }
}

/// Removes the groups below `parent` whose processes were killed before they did it.
fn sweep(parent: &Path) {
    let Ok(entries) = fs_err::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if maker(&entry.file_name()).is_some_and(is_gone) {
            // It stays if something runs in it: that is of a process which has its number elsewhere.
            let _stays = std::fs::remove_dir(entry.path());
        }
    }
}

/// Who made the group of this name, if it was hwb.
fn maker(name: &OsStr) -> Option<Pid> {
    let (number, _) = name.to_str()?.strip_prefix(PREFIX)?.split_once('-')?;
    Pid::from_raw(number.parse().ok()?)
}

fn is_gone(process: Pid) -> bool {
    rustix::process::test_kill_process(process) == Err(Errno::SRCH)
}

/// The places of hwb that `demands` concern, each with those that are met there: in one group, therefore.
fn by_position<'a>(
    demands: &'a [Demand],
    groups: &str,
    mounts: &str,
) -> Result<Vec<(Position, Vec<&'a Demand>)>, LimitsError> {
    let mut places: Vec<(Position, Vec<&Demand>)> = Vec::new();
    for demand in demands {
        let controller = demand.controller;
        let position = position(controller, groups, mounts).ok_or(LimitsError::Missing(controller))?;
        match places.iter_mut().find(|(known, _)| *known == position) {
            Some((_, there)) => there.push(demand),
            None => places.push((position, vec![demand])),
        }
    }
    Ok(places)
}

/// The group in which one is made that meets `demands`; its controllers work there afterwards.
fn parent(position: &Position, demands: &[&Demand]) -> Result<PathBuf, LimitsError> {
    if position.version == Version::First {
        return Ok(position.own.clone());
    }
    let outwards = position.own.ancestors().take_while(|group| group.starts_with(&position.top));
    let levels: Vec<_> = outwards.filter_map(Level::read).collect();
    let wanted: Vec<_> = demands.iter().map(|demand| demand.controller).collect();
    let kept = || LimitsError::Kept(wanted.join(", "));
    let (level, disabled) = choose(&levels, &wanted).ok_or_else(kept)?;
    for controller in disabled {
        write(&level.directory.join(ENABLED), &format!("+{controller}"))?;
    }
    Ok(level.directory.clone())
}

/// A group of version 2 in which this user may make groups, in the words of its files; cgroup-v2.rst of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Level {
    directory: PathBuf,
    /// `cgroup.type`; the root of all has none.
    kind: Option<String>,
    /// `cgroup.procs`: the processes in it.
    processes: String,
    /// `cgroup.controllers`: those that could work in its groups.
    controllers: String,
    /// `cgroup.subtree_control`: those that do.
    enabled: String,
}

impl Level {
    /// `None` for one that is not this user's to change.
    fn read(directory: &Path) -> Option<Self> {
        for file in ["", "cgroup.procs", ENABLED] {
            rustix::fs::access(directory.join(file), Access::WRITE_OK).ok()?;
        }
        let text = |file: &str| fs_err::read_to_string(directory.join(file));
        let kind = match text("cgroup.type") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            kind => Some(kind.ok()?),
        };
        Some(Self {
            directory: directory.to_owned(),
            kind,
            processes: text("cgroup.procs").ok()?,
            controllers: text("cgroup.controllers").ok()?,
            enabled: text(ENABLED).ok()?,
        })
    }

    /// Whether groups in it may have controllers and processes: it has none itself, unless it is the root of all.
    fn takes_groups(&self) -> bool {
        self.kind.as_deref().is_none_or(|kind| kind.trim() == "domain" && self.processes.is_empty())
    }
}

/// The first of `levels` in which all of the `wanted` controllers can work, with those that do not yet.
///
/// One for all: a process is in one group of the hierarchy.
fn choose<'a>(levels: &'a [Level], wanted: &[&'a str]) -> Option<(&'a Level, Vec<&'a str>)> {
    let has = |list: &str, controller: &str| list.split_ascii_whitespace().any(|one| one == controller);
    let level = levels
        .iter()
        .filter(|level| level.takes_groups())
        .find(|level| wanted.iter().all(|controller| has(&level.controllers, controller)))?;
    let disabled = wanted.iter().copied().filter(|controller| !has(&level.enabled, controller)).collect();
    Some((level, disabled))
}

fn write(file: &Path, value: &str) -> io::Result<()> {
    fs_err::File::options().write(true).open(file)?.write_all(value.as_bytes())
}

impl Drop for Group {
    fn drop(&mut self) {
        for directory in &self.directories {
            // Its processes are gone, but the kernel may need a moment to forget them.
            for _ in 0..100 {
                match std::fs::remove_dir(directory) {
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    _ => break,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_hwb_in_every_kind_of_hierarchy() {
        let check = |controller, groups: &str, mounts: &str, expect: Option<(Version, &str, &str)>| {
            let expect =
                expect.map(|(version, top, own)| Position { version, top: top.into(), own: own.into() });
            assert_eq!(position(controller, groups, mounts), expect, "{controller}");
        };
        let second = "24 31 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let user = "0::/user.slice/user-1000.slice/session-1.scope\n";
        let own = "/sys/fs/cgroup/user.slice/user-1000.slice/session-1.scope";
        check("memory", user, second, Some((Version::Second, "/sys/fs/cgroup", own)));
        let first = "35 31 0:32 / /sys/fs/cgroup/memory rw shared:1 - cgroup cgroup rw,memory\n\
                     36 31 0:33 /docker/x /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n";
        let groups = "4:memory:/a/b\n3:cpu,cpuacct:/docker/x/y\n1:name=systemd:/\n0::/\n";
        check(
            "memory",
            groups,
            first,
            Some((Version::First, "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/a/b")),
        );
        let own = "/sys/fs/cgroup/cpu,cpuacct/y";
        check("cpu", groups, first, Some((Version::First, "/sys/fs/cgroup/cpu,cpuacct", own)));
        check("pids", groups, first, None);
        check(
            "pids",
            groups,
            &format!("{first}{second}"),
            Some((Version::Second, "/sys/fs/cgroup", "/sys/fs/cgroup/")),
        );
        // Of another's view of the hierarchy.
        check("memory", "4:memory:/elsewhere", "35 31 0:32 /docker /m rw - cgroup cgroup rw,memory", None);
        check("memory", "", "", None);
    }

    #[test]
    fn demands_are_met_in_one_group_of_a_hierarchy() {
        let limits = Limits { memory: Some(1), cpu_thousandths: Some(1000), pids: Some(1) };
        let check = |groups: &str, mounts: &str, expect: &[&[&str]]| {
            let demands = demands(&limits);
            let places = by_position(&demands, groups, mounts).unwrap();
            let controllers: Vec<Vec<_>> = places
                .iter()
                .map(|(_, demands)| demands.iter().map(|demand| demand.controller).collect())
                .collect();
            assert_eq!(controllers, expect);
        };
        let second = "24 31 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        check("0::/a\n", second, &[&["memory", "cpu", "pids"]]);
        let first = "35 31 0:32 / /m rw - cgroup cgroup rw,memory,pids\n";
        check("1:memory,pids:/b\n0::/a\n", &format!("{first}{second}"), &[&["memory", "pids"], &["cpu"]]);
    }

    /// What is chosen in a hierarchy of version 2, by what the files of its groups say.
    #[test]
    fn groups_are_made_where_no_processes_are() {
        let level =
            |name: &str, kind: Option<&str>, processes: &str, controllers: &str, enabled: &str| Level {
                directory: name.into(),
                kind: kind.map(|kind| format!("{kind}\n")),
                processes: processes.to_owned(),
                controllers: format!("{controllers}\n"),
                enabled: format!("{enabled}\n"),
            };
        let check = |levels: &[Level], wanted: &[&'static str], expect: Option<(&str, &[&str])>| {
            let chosen = choose(levels, wanted);
            let chosen = chosen
                .as_ref()
                .map(|(level, disabled)| (level.directory.to_str().unwrap(), disabled.as_slice()));
            assert_eq!(chosen, expect, "{levels:?} {wanted:?}");
        };
        let (domain, all) = (Some("domain"), "cpuset cpu io memory pids");
        // A shell in a scope of its user's, with hwb itself in it.
        let scope = level("scope", domain, "31\n57\n", "memory pids", "");
        let slice = level("slice", domain, "", "memory pids", "memory pids");
        let service = level("service", domain, "", all, "memory pids");
        let root = level("root", None, "1\n2\n", all, "memory pids");
        let outwards = [scope.clone(), slice, service, root.clone()];
        check(&outwards, &["memory"], Some(("slice", &[])));
        check(&outwards, &["memory", "pids"], Some(("slice", &[])));
        // One group for all, where each of them can be.
        check(&outwards, &["memory", "cpu", "pids"], Some(("service", &["cpu"])));
        check(&outwards, &["memory", "rdma"], None);
        // Processes stand in the root only.
        check(std::slice::from_ref(&scope), &["memory"], None);
        check(&[scope, root.clone()], &["memory", "cpu"], Some(("root", &["cpu"])));
        check(&[root], &["pids"], Some(("root", &[])));
        // In a group of a container's own, which looks like a root but is none.
        check(&[level("", domain, "1\n", all, "")], &["memory"], None);
        // What is made in these is of no use to a process that is a domain.
        for kind in ["threaded", "domain threaded", "domain invalid"] {
            check(&[level("", Some(kind), "", all, all)], &["pids"], None);
        }
        // A controller's name is a whole word.
        check(&[level("", domain, "", "cpuset", "cpuset")], &["cpu"], None);
        check(&[], &["cpu"], None);
    }

    #[test]
    fn swap_is_no_way_around_a_limit() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::File::create(directory.path().join("there")).unwrap();
        let none = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        let some = format!("{none}/dev/sda2                               partition\t1000\t0\t-2\n");
        let check = |setting: &Setting, swaps: &str, expect: Result<(), &str>| {
            let result = setting.apply(directory.path(), swaps).map_err(|error| error.to_string());
            match (&result, expect) {
                (Ok(()), Ok(())) => {}
                (Err(error), Err(part)) if error.contains(part) => {}
                _ => panic!("{setting:?}: {result:?}"),
            }
        };
        for swaps in ["", none, &some] {
            check(&Setting::new("there", 1), swaps, Ok(()));
            check(&Setting::of_swap("there", 1), swaps, Ok(()));
            check(&Setting::new("missing", 1), swaps, Err("missing"));
        }
        check(&Setting::of_swap("missing", 1), "", Ok(()));
        check(&Setting::of_swap("missing", 1), none, Ok(()));
        check(&Setting::of_swap("missing", 1), &some, Err("swap is a way around"));
        assert_eq!(fs_err::read(directory.path().join("there")).unwrap(), b"1");
    }

    #[test]
    fn limits_are_counted_without_going_over() {
        let quota = |thousandths| {
            let limits = Limits { cpu_thousandths: Some(thousandths), ..Limits::default() };
            demands(&limits).remove(0).second.remove(0).value
        };
        assert_eq!(quota(1500), "150000 100000");
        assert_eq!(quota(1), "1000 100000");
        assert_eq!(quota(u64::MAX), "18446744073709551 100000");
    }

    #[test]
    fn what_a_killed_process_left_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let own = rustix::process::getpid();
        // No process has so high a number.
        let (gone, busy) = ("hwb-2147483647-0", "hwb-2147483647-1");
        let (running, foreign) = (format!("hwb-{own}-7"), ["hwb-x-0", "hwb-2147483647", "hwb-0-0", "other"]);
        for name in [gone, busy, &running].into_iter().chain(foreign) {
            fs_err::create_dir(parent.path().join(name)).unwrap();
        }
        fs_err::create_dir(parent.path().join(busy).join("inside")).unwrap();
        sweep(parent.path());
        let is_there = |name: &str| parent.path().join(name).exists();
        assert!(!is_there(gone));
        for name in [busy, &running].into_iter().chain(foreign) {
            assert!(is_there(name), "{name}");
        }
        // What has the very name that is wanted.
        make(&parent.path().join(running)).unwrap();
        assert_eq!(make(&parent.path().join(busy)).unwrap_err().kind(), io::ErrorKind::DirectoryNotEmpty);
    }
}
