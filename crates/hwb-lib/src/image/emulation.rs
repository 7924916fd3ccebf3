//! Images for other machines: who runs their programs here.

use std::path::{Path, PathBuf};

use hwb_ident::{HostPath, ImagePlatform};
use hwb_repair::elf::Elf;
use hwb_sandbox::container::ElfOrder::{Big, Little};
use hwb_sandbox::container::ElfWidth::{Bits32, Bits64};
use hwb_sandbox::container::{ElfMachine, ElfOrder, ElfWidth, Emulator, Ids};

use crate::ambient::Ambient;

/// What brings emulators, and registers them with the machine.
const INSTALL: &str = "Debian: apt install qemu-user-static";

/// What registers those that are there.
const REGISTER_AGAIN: &str = "as root: systemctl restart systemd-binfmt";

/// What the kernel answers to a program that it neither knows nor has somebody to hand it to: `ENOEXEC`.
pub(super) const UNKNOWN_PROGRAM: i32 = 8;

/// Where the kernel shows what it hands to whom.
const REGISTER: &str = "/proc/sys/fs/binfmt_misc";

/// A machine that there are images for and that QEMU runs programs of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Machine {
    /// In Go's words, as images have it.
    architecture: &'static str,
    /// In QEMU's words.
    pub(crate) name: &'static str,
    elf: ElfMachine,
}

const fn machine(
    architecture: &'static str,
    name: &'static str,
    (width, order, number): (ElfWidth, ElfOrder, u16),
) -> Machine {
    Machine { architecture, name, elf: ElfMachine { width, order, number } }
}

/// All of them; the numbers are those of elf(5).
const MACHINES: [Machine; 13] = [
    machine("386", "i386", (Bits32, Little, 3)),
    machine("amd64", "x86_64", (Bits64, Little, 62)),
    machine("arm", "arm", (Bits32, Little, 40)),
    machine("arm64", "aarch64", (Bits64, Little, 183)),
    machine("loong64", "loongarch64", (Bits64, Little, 258)),
    machine("mips", "mips", (Bits32, Big, 8)),
    machine("mips64", "mips64", (Bits64, Big, 8)),
    machine("mips64le", "mips64el", (Bits64, Little, 8)),
    machine("mipsle", "mipsel", (Bits32, Little, 8)),
    machine("ppc64", "ppc64", (Bits64, Big, 21)),
    machine("ppc64le", "ppc64le", (Bits64, Little, 21)),
    machine("riscv64", "riscv64", (Bits64, Little, 243)),
    machine("s390x", "s390x", (Bits64, Big, 22)),
];

/// Whether programs for `platform` run without anything else.
pub(super) fn is_native(platform: &ImagePlatform) -> bool {
    runs_natively(super::host().architecture(), platform.architecture())
}

/// A machine runs its own programs and those of its 32-bit sister.
fn runs_natively(host: &str, architecture: &str) -> bool {
    host == architecture || matches!((host, architecture), ("amd64", "386") | ("arm64", "arm"))
}

/// What is to be registered for a container of `platform`: nothing if its programs run anyway, if the machine's own register
/// is the only one there is, or if there is no emulator. The kernel then says that it does not know such programs.
pub(super) fn emulator(ambient: &Ambient, ids: &Ids, platform: &ImagePlatform) -> Option<Emulator> {
    if is_native(platform) || *ids == Ids::Same {
        return None;
    }
    let machine = MACHINES.iter().find(|machine| machine.architecture == platform.architecture())?;
    if registered().contains(machine) {
        return None;
    }
    Some(Emulator { machine: machine.elf, program: HostPath::new(machine.program(ambient.var("PATH")?)?) })
}

/// What would have the machine run programs for `platform`.
pub(super) fn mend(ambient: &Ambient, platform: &ImagePlatform) -> &'static str {
    mend_by(installed(ambient).iter().any(|machine| machine.architecture == platform.architecture()))
}

/// What would have the machine run programs of others, by whether it has emulators.
pub(crate) const fn mend_by(is_installed: bool) -> &'static str {
    if is_installed { REGISTER_AGAIN } else { INSTALL }
}

/// The machines whose programs the kernel hands to somebody who is there in a container too.
pub(crate) fn registered() -> Vec<Machine> {
    let entries = fs_err::read_dir(REGISTER).into_iter().flatten().flatten();
    let entries: Vec<String> =
        entries.filter_map(|entry| fs_err::read_to_string(entry.path()).ok()).collect();
    let is_registered = |machine: &Machine| entries.iter().any(|entry| takes(entry, machine.elf));
    MACHINES.into_iter().filter(is_registered).collect()
}

/// The foreign machines that this one has an emulator of, registered or not.
pub(crate) fn installed(ambient: &Ambient) -> Vec<Machine> {
    let path = ambient.var("PATH").unwrap_or_default();
    let host = super::host();
    let is_foreign = |machine: &Machine| !runs_natively(host.architecture(), machine.architecture);
    MACHINES.into_iter().filter(is_foreign).filter(|machine| machine.program(path).is_some()).collect()
}

impl Machine {
    /// An emulator that needs nothing else, in the folders of `path`.
    fn program(&self, path: &str) -> Option<PathBuf> {
        let folders = || path.split(':').map(Path::new);
        let find = |name: String| folders().map(|folder| folder.join(&name)).find(|path| path.is_file());
        let is_static = |path: &PathBuf| {
            let bytes = fs_err::read(path).unwrap_or_default();
            Elf::parse(&bytes).is_ok_and(|elf| elf.interpreter.is_none())
        };
        let by_name = find(format!("qemu-{}-static", self.name));
        by_name.or_else(|| find(format!("qemu-{}", self.name)).filter(is_static))
    }
}

/// Whether an entry of the register is for programs of `machine`, and was opened when it was made (`F`); the kernel's
/// Documentation/admin-guide/binfmt-misc.rst.
fn takes(entry: &str, machine: ElfMachine) -> bool {
    let field = |name: &str| entry.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let bytes = |name| field(name).and_then(bytes_of);
    let is_ready =
        entry.lines().next() == Some("enabled") && field("flags:").is_some_and(|f| f.contains('F'));
    let (Some(magic), Some(0)) = (bytes("magic "), field("offset ").and_then(|text| text.parse().ok()))
    else {
        return false;
    };
    let mask = bytes("mask ").unwrap_or_else(|| vec![0xff; magic.len()]);
    let beginning = machine.beginning();
    let is_like = |((own, expected), mask): ((&u8, &u8), &u8)| (own ^ expected) & mask == 0;
    is_ready && magic.len() <= beginning.len() && beginning.iter().zip(&magic).zip(&mask).all(is_like)
}

fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Machine {
        MACHINES.into_iter().find(|machine| machine.name == name).unwrap()
    }

    #[test]
    fn reads_what_the_kernel_shows() {
        const ARM64: &str = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OPF\noffset 0\n\
                             magic 7f454c460201010000000000000000000200b700\n\
                             mask ffffffffffffff00fffffffffffffffffeffffff\n";
        let check = |entry: &str, expect: &[&str]| {
            let names: Vec<_> = MACHINES
                .iter()
                .filter(|machine| takes(entry, machine.elf))
                .map(|machine| machine.name)
                .collect();
            assert_eq!(names, expect, "{entry}");
        };
        check(ARM64, &["aarch64"]);
        check(&ARM64.replace("enabled", "disabled"), &[]);
        check(&ARM64.replace("OPF", "OP"), &[]);
        check(&ARM64.replace("offset 0", "offset 1"), &[]);
        check(&ARM64.replace("magic 7f", "magic 7g"), &[]);
        check("enabled\ninterpreter /usr/bin/python3\nflags: \noffset 0\nmagic 6f0d0d0a\n", &[]);
        check("enabled\ninterpreter /x\nflags: F\nextension .exe\n", &[]);
        check("enabled\n", &[]);
        check("", &[]);
    }

    #[test]
    fn sisters_need_no_emulator() {
        for (host, architecture, expect) in [
            ("amd64", "amd64", true),
            ("amd64", "386", true),
            ("386", "amd64", false),
            ("arm64", "arm", true),
            ("arm64", "amd64", false),
            ("s390x", "386", false),
        ] {
            assert_eq!(runs_natively(host, architecture), expect, "{architecture} on {host}");
        }
    }

    #[test]
    fn takes_no_emulator_that_needs_more_than_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let program = |name: &str| named(name).program(path);
        assert_eq!(program("s390x"), None);
        fs_err::copy(std::env::current_exe().unwrap(), folder.path().join("qemu-s390x")).unwrap();
        assert_eq!(program("s390x"), None);
        let file = folder.path().join("qemu-s390x-static");
        fs_err::File::create(&file).unwrap();
        assert_eq!(program("s390x"), Some(file));
    }
}
