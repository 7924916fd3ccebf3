//! Ways out of a container, each tried from inside: by system calls that no library dresses up.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use hwb_ident::{GuestPath, HostPath};
use hwb_sandbox::container::{Capabilities, Ids, Place};
use hwb_sandbox::{Access, Mount, Network};

use crate::fixture::{Fixture, command, word};

/// Who tries.
#[derive(Clone, Copy)]
enum Outcome {
    /// Refused with this number, whoever tries.
    Refused(i32),
    /// Refused with one of two numbers: which depends on who root of the container is on the host.
    Either(i32, i32),
    /// It succeeds, and gains nothing.
    Harmless,
}

use Outcome::{Either, Harmless, Refused};

type Attempt = (&'static str, fn() -> i64, Outcome);

/// A null pointer, or none of what is wanted.
const NONE: i64 = 0;

/// Makes a system call, whose result is negative with the number of an error.
#[expect(unsafe_code, reason = "what a hostile program does")]
fn call(number: i64, arguments: [i64; 6]) -> i64 {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: pointers among the arguments are null or to memory that lives until the process ends; no call that is
    // made here writes to it, and this process has one thread.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result < 0 {
        -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap_or_default())
    } else {
        result
    }
}

/// Zeroes that stay.
fn zeroes() -> i64 {
    let bytes: &'static mut [u64; 64] = Box::leak(Box::new([0; 64]));
    (&raw mut *bytes).addr().try_into().unwrap()
}

fn text(text: &'static std::ffi::CStr) -> i64 {
    text.as_ptr().addr().try_into().unwrap()
}

fn of<T>(result: std::io::Result<T>) -> i64 {
    match result {
        Ok(_) => 0,
        Err(error) => -i64::from(error.raw_os_error().unwrap_or(libc::EIO)),
    }
}

fn write_to(path: &str, bytes: &[u8]) -> i64 {
    of(std::fs::File::options().write(true).open(path).and_then(|mut file| file.write_all(bytes)))
}

fn read_from(path: &str) -> i64 {
    let mut bytes = Vec::new();
    of(std::fs::File::open(path).and_then(|file| file.take(64).read_to_end(&mut bytes)))
}

fn make_device(path: &'static std::ffi::CStr, mode: u32, device: i64) -> i64 {
    let made = call(libc::SYS_mknodat, [libc::AT_FDCWD.into(), text(path), mode.into(), device, 0, 0]);
    if made < 0 { made } else { of(std::fs::File::open(path.to_str().unwrap())) }
}

fn socket(family: i32, kind: i32, protocol: i32) -> i64 {
    call(libc::SYS_socket, [family.into(), kind.into(), protocol.into(), 0, 0, 0])
}

fn pidfd_of_init() -> i64 {
    call(libc::SYS_pidfd_open, [1, 0, 0, 0, 0, 0])
}

/// Those that other calls have made of nothing: they must not exist.
const ATTEMPTS: &[Attempt] = &[
    // Mounts.
    (
        "mount",
        || call(libc::SYS_mount, [text(c"none"), text(c"/tmp"), text(c"tmpfs"), 0, 0, 0]),
        Refused(libc::EPERM),
    ),
    ("bind", || call(libc::SYS_mount, [text(c"/"), text(c"/tmp"), NONE, 4096, 0, 0]), Refused(libc::EPERM)),
    (
        "remount",
        || call(libc::SYS_mount, [NONE, text(c"/proc/sys"), NONE, 4096 | 32, 0, 0]),
        Refused(libc::EPERM),
    ),
    ("unmount", || call(libc::SYS_umount2, [text(c"/proc/keys"), 2, 0, 0, 0, 0]), Refused(libc::EPERM)),
    ("fsopen", || call(libc::SYS_fsopen, [text(c"tmpfs"), 0, 0, 0, 0, 0]), Refused(libc::EPERM)),
    ("open_tree", || call(libc::SYS_open_tree, [-100, text(c"/"), 1, 0, 0, 0]), Refused(libc::EPERM)),
    (
        "move_mount",
        || call(libc::SYS_move_mount, [-100, text(c"/dev"), -100, text(c"/tmp"), 0, 0]),
        Refused(libc::EPERM),
    ),
    (
        "mount_setattr",
        || call(libc::SYS_mount_setattr, [-100, text(c"/"), 0, zeroes(), 32, 0]),
        Refused(libc::EPERM),
    ),
    ("pivot_root", || call(libc::SYS_pivot_root, [text(c"/"), text(c"/"), 0, 0, 0, 0]), Refused(libc::EPERM)),
    // Namespaces.
    (
        "unshare user",
        || call(libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0, 0, 0, 0]),
        Refused(libc::EPERM),
    ),
    (
        "unshare mounts",
        || call(libc::SYS_unshare, [libc::CLONE_NEWNS.into(), 0, 0, 0, 0, 0]),
        Refused(libc::EPERM),
    ),
    (
        "clone user",
        || call(libc::SYS_clone, [i64::from(libc::CLONE_NEWUSER | libc::SIGCHLD), 0, 0, 0, 0, 0]),
        Refused(libc::EPERM),
    ),
    ("clone3", || call(libc::SYS_clone3, [zeroes(), 88, 0, 0, 0, 0]), Refused(libc::ENOSYS)),
    ("enter a namespace", || read_from("/proc/1/ns/mnt"), Refused(libc::EACCES)),
    (
        "setns",
        || call(libc::SYS_setns, [pidfd_of_init(), libc::CLONE_NEWNS.into(), 0, 0, 0, 0]),
        Refused(libc::EPERM),
    ),
    // Process 1, which is a copy of what runs outside.
    ("ptrace", || call(libc::SYS_ptrace, [16, 1, 0, 0, 0, 0]), Refused(libc::EPERM)),
    (
        "read memory of 1",
        || {
            let vector: &'static [i64; 2] = Box::leak(Box::new([zeroes(), 8]));
            let vector = (&raw const *vector).addr().try_into().unwrap();
            call(libc::SYS_process_vm_readv, [1, vector, 1, vector, 1, 0])
        },
        Refused(libc::EPERM),
    ),
    (
        "descriptors of 1",
        || call(libc::SYS_pidfd_getfd, [pidfd_of_init(), 0, 0, 0, 0, 0]),
        Refused(libc::EPERM),
    ),
    ("kcmp", || call(libc::SYS_kcmp, [1, 1, 0, 0, 0, 0]), Refused(libc::EPERM)),
    ("environment of 1", || read_from("/proc/1/environ"), Refused(libc::EACCES)),
    ("maps of 1", || read_from("/proc/1/maps"), Refused(libc::EACCES)),
    ("memory of 1", || write_to("/proc/1/mem", b"x"), Refused(libc::EACCES)),
    ("binary of 1, to read", || read_from("/proc/1/exe"), Refused(libc::EACCES)),
    ("binary of 1, to write", || write_to("/proc/1/exe", b"x"), Refused(libc::EACCES)),
    ("root of 1", || read_from("/proc/1/root"), Refused(libc::EACCES)),
    ("a descriptor of 1", || read_from("/proc/1/fd/0"), Refused(libc::EACCES)),
    ("kill 1", || call(libc::SYS_kill, [1, 9, 0, 0, 0, 0]), Harmless),
    // The kernel's files.
    (
        "open by handle",
        || call(libc::SYS_open_by_handle_at, [-100, zeroes(), 0, 0, 0, 0]),
        Refused(libc::EPERM),
    ),
    ("core_pattern", || write_to("/proc/sys/kernel/core_pattern", b"|/x"), Either(libc::EROFS, libc::EACCES)),
    ("drop_caches", || write_to("/proc/sys/vm/drop_caches", b"1"), Either(libc::EROFS, libc::EACCES)),
    ("uevent_helper", || write_to("/sys/kernel/uevent_helper", b"/x"), Refused(libc::ENOENT)),
    ("release_agent", || write_to("/sys/fs/cgroup/release_agent", b"/x"), Refused(libc::ENOENT)),
    ("uid_map", || write_to("/proc/self/uid_map", b"0 0 1"), Refused(libc::EPERM)),
    ("oom_score_adj", || write_to("/proc/self/oom_score_adj", b"-1000"), Refused(libc::EACCES)),
    ("memory of the machine", || read_from("/dev/mem"), Refused(libc::ENOENT)),
    ("log of the machine", || read_from("/dev/kmsg"), Refused(libc::ENOENT)),
    // Devices and attributes.
    (
        "a device on the root",
        || make_device(c"/etc/device", libc::S_IFCHR | 0o666, 0x103),
        Either(libc::EACCES, libc::EPERM),
    ),
    (
        "a disk on the root",
        || make_device(c"/etc/disk", libc::S_IFBLK | 0o666, 0x800),
        Either(libc::EACCES, libc::EPERM),
    ),
    (
        "a device in /dev",
        || make_device(c"/dev/device", libc::S_IFCHR | 0o666, 0x103),
        Either(libc::EACCES, libc::EPERM),
    ),
    (
        "a device in /dev/shm",
        || make_device(c"/dev/shm/device", libc::S_IFCHR | 0o666, 0x103),
        Either(libc::EACCES, libc::EPERM),
    ),
    ("a forged whiteout", || make_device(c"/etc/whiteout", libc::S_IFCHR, 0), Refused(libc::EPERM)),
    (
        "a trusted attribute",
        || call(libc::SYS_setxattr, [text(c"/etc"), text(c"trusted.overlay.opaque"), text(c"y"), 1, 0, 0]),
        Refused(libc::EPERM),
    ),
    // Calls that concern the machine.
    ("bpf", || call(libc::SYS_bpf, [0, zeroes(), 48, 0, 0, 0]), Refused(libc::EPERM)),
    ("perf", || call(libc::SYS_perf_event_open, [zeroes(), 0, -1, -1, 0, 0]), Refused(libc::EPERM)),
    ("userfaultfd", || call(libc::SYS_userfaultfd, [0; 6]), Refused(libc::EPERM)),
    ("io_uring", || call(libc::SYS_io_uring_setup, [8, zeroes(), 0, 0, 0, 0]), Refused(libc::EPERM)),
    ("session keyring", || call(libc::SYS_keyctl, [1, 0, 0, 0, 0, 0]), Refused(libc::EPERM)),
    (
        "add_key",
        || call(libc::SYS_add_key, [text(c"user"), text(c"x"), text(c"y"), 1, -3, 0]),
        Refused(libc::EPERM),
    ),
    ("init_module", || call(libc::SYS_init_module, [zeroes(), 1, text(c""), 0, 0, 0]), Refused(libc::EPERM)),
    ("kexec", || call(libc::SYS_kexec_load, [0; 6]), Refused(libc::EPERM)),
    ("reboot", || call(libc::SYS_reboot, [0; 6]), Refused(libc::EPERM)),
    ("set the clock", || call(libc::SYS_clock_settime, [0, zeroes(), 0, 0, 0, 0]), Refused(libc::EPERM)),
    ("syslog", || call(libc::SYS_syslog, [3, zeroes(), 8, 0, 0, 0]), Refused(libc::EPERM)),
    ("sethostname", || call(libc::SYS_sethostname, [text(c"x"), 1, 0, 0, 0, 0]), Refused(libc::EPERM)),
    ("acct", || call(libc::SYS_acct, [NONE, 0, 0, 0, 0, 0]), Refused(libc::EPERM)),
    ("swapon", || call(libc::SYS_swapon, [text(c"/etc/kept"), 0, 0, 0, 0, 0]), Refused(libc::EPERM)),
    ("quotactl", || call(libc::SYS_quotactl, [0; 6]), Refused(libc::EPERM)),
    ("fanotify", || call(libc::SYS_fanotify_init, [0; 6]), Refused(libc::EPERM)),
    ("no random addresses", || call(libc::SYS_personality, [0x4_0000, 0, 0, 0, 0, 0]), Refused(libc::EPERM)),
    (
        "real time",
        || {
            call(
                libc::SYS_sched_setscheduler,
                [
                    0,
                    1,
                    {
                        let value: &'static i32 = Box::leak(Box::new(5));
                        (&raw const *value).addr().try_into().unwrap()
                    },
                    0,
                    0,
                    0,
                ],
            )
        },
        Refused(libc::EPERM),
    ),
    ("a better niceness", || call(libc::SYS_setpriority, [0, 0, -20, 0, 0, 0]), Refused(libc::EACCES)),
    // Sockets.
    ("AF_PACKET", || socket(libc::AF_PACKET, libc::SOCK_RAW, 0), Refused(libc::EPERM)),
    ("AF_VSOCK", || socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0), Refused(libc::EPERM)),
    ("AF_ALG", || socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0), Refused(libc::EPERM)),
    ("AF_ALG in disguise", || call(libc::SYS_socket, [1 << 32 | 38, 5, 0, 0, 0, 0]), Refused(libc::EPERM)),
    ("raw ICMP", || socket(libc::AF_INET, libc::SOCK_RAW, 1), Refused(libc::EPERM)),
    ("a stolen terminal", || of(std::fs::File::open("/dev/tty")), Refused(libc::ENXIO)),
    // Out of the root by way of a directory that was left open.
    (
        "chroot and climb",
        || {
            let made = of(std::fs::create_dir("/tmp/cell"));
            let rooted = call(libc::SYS_chroot, [text(c"/tmp/cell"), 0, 0, 0, 0, 0]);
            let climbed = of(rustix::process::chdir("../../../../../../../..").map_err(Into::into));
            let found = of(std::fs::metadata("etc/kept"));
            // The root of the container is as far as it goes.
            if made < 0 || rooted < 0 || climbed < 0 { -1 } else { found }
        },
        Harmless,
    ),
];

/// Tries everything, and says what came of it.
pub(crate) fn attempt_all() -> ExitCode {
    let mut out = std::io::stdout().lock();
    let written = ATTEMPTS.iter().try_for_each(|(name, attempt, _)| writeln!(out, "{name}\t{}", attempt()));
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

pub(crate) fn lets_nothing_out(fixture: &Fixture) {
    let mut spec = fixture.spec();
    let own = std::env::current_exe().unwrap();
    spec.places.push(Place::Host(Mount {
        host: HostPath::new(own),
        guest: GuestPath::new("/program"),
        access: Access::ReadOnly,
    }));
    let (output, status) = fixture.run_in(spec.clone(), Network::Host, &command(["/program", "escape"]));
    assert!(status.is_success(), "{status:?}: {output}");
    let results: Vec<(&str, i64)> = output
        .lines()
        .filter_map(|line| line.split_once('\t').map(|(name, result)| (name, result.parse().unwrap())))
        .collect();
    assert_eq!(results.len(), ATTEMPTS.len(), "{output}");
    for ((name, _, expected), (told, result)) in ATTEMPTS.iter().zip(results) {
        assert_eq!(*name, told);
        let is_expected = match *expected {
            Refused(errno) => result == -i64::from(errno),
            Either(one, other) => [one, other].map(|errno| -i64::from(errno)).contains(&result),
            Harmless => result >= 0,
        };
        assert!(
            is_expected,
            "{name}: {}",
            std::io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or_default())
        );
    }
    println!("{} ways out tried with {}", ATTEMPTS.len(), word(fixture.holder().ids()));
    shows_nothing(fixture);
    gives_nothing_away_to_tracers(fixture);
    // Raw sockets reach what the container's own network reaches.
    spec.capabilities = Capabilities::usual(Network::Denied);
    let (output, _) = fixture.run_in(spec, Network::Denied, &command(["/program", "escape"]));
    assert!(output.contains("\nAF_VSOCK\t-1\n"), "{output}");
}

/// With the right to trace, process 1 can be looked into; there is nothing in it.
fn gives_nothing_away_to_tracers(fixture: &Fixture) {
    let mut spec = fixture.spec();
    spec.capabilities = spec.capabilities.with("SYS_PTRACE".parse().unwrap());
    let script = "ls /proc/1/fd >/dev/null 2>&1 && readlink /proc/1/fd/* | sed 's/[0-9]//g' | sort -u; \
                  grep Seccomp: /proc/1/status | tr -d '\\t'; (: >> /proc/1/exe) 2>/dev/null || echo refused; \
                  (tr '\\0' ' ' < /proc/1/environ) 2>/dev/null";
    let (output, _) = fixture.run_in(spec, Network::Host, &fixture.shell(script));
    let rest = output.strip_prefix("/dev/null\nanon_inode:[eventfd]\nsocket:[]\n");
    // Under ids of its own the right does not reach that far.
    let rest = if *fixture.holder().ids() == Ids::Same { rest } else { Some(output.as_str()) };
    assert_eq!(rest, Some("Seccomp:2\nrefused\n"), "{output}");
}

/// What a command finds out about its surroundings.
fn shows_nothing(fixture: &Fixture) {
    let zero = "0000000000000000";
    fixture.check("ls /proc/self/fd | tr '\\n' ' '", "0 1 2 3 ");
    fixture.check("tr '\\0' '\\n' < /proc/self/environ | grep -v -e ^PATH= -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD= -e ^APT_CONFIG=; true", "");
    fixture.check(
        "grep -e NoNewPrivs -e Seccomp: -e CapInh -e CapAmb /proc/self/status | tr '\\t' ' '",
        &format!("CapInh: {zero}\nCapAmb: {zero}\nNoNewPrivs: 1\nSeccomp: 2\n"),
    );
    fixture.check("grep -e CapBnd /proc/self/status", "CapBnd:\t00000000a80401fb\n");
    // Process 1 has no right that the command does not have; few, where nobody asks it about owners.
    let kept = if fixture.is_single() { "00000000a80401fb" } else { "0000000000000020" };
    fixture.check(
        "grep -e NoNewPrivs -e CapPrm /proc/1/status | tr '\\t' ' '",
        &format!("CapPrm: {kept}\nNoNewPrivs: 1\n"),
    );
    fixture.check("cat /proc/keys /proc/timer_list /proc/interrupts | wc -c; ls /proc/scsi /sys/firmware 2>/dev/null; true", "0\n/proc/scsi:\n".trim_end_matches("/proc/scsi:\n"));
}
