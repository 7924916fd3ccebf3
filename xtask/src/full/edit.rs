//! Changed ELF files of other machines and linkers, under their loaders, and in the hands of other tools.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use crate::evidence::Section;
use crate::programs::{capture, program, succeeds};
use crate::workspace::Workspace;

/// A machine that code is compiled for.
#[derive(Debug, Clone, Copy)]
struct Machine {
    name: &'static str,
    /// How the names of its tools begin.
    prefix: &'static str,
    /// What runs its programs, unless this machine does.
    emulator: Option<&'static str>,
    /// How its files are linked, each in another way.
    links: &'static [&'static str],
}

const FOREIGN: &[&str] = &["", "-Wl,--build-id", "-no-pie", "-Wl,--hash-style=sysv,-z,now"];
const MACHINES: [Machine; 7] = [
    Machine {
        name: "x86_64",
        prefix: "",
        emulator: None,
        links: &[
            "-fuse-ld=bfd",
            "-fuse-ld=bfd -Wl,--build-id=none -no-pie",
            "-fuse-ld=bfd -Wl,-z,noseparate-code",
            "-fuse-ld=bfd -Wl,-z,max-page-size=0x200000",
            "-fuse-ld=gold",
            "-fuse-ld=gold -Wl,--build-id=none -no-pie",
            "-fuse-ld=lld",
            "-fuse-ld=lld -Wl,--build-id=none -no-pie",
            "-fuse-ld=mold",
            "-fuse-ld=mold -Wl,--build-id=none -no-pie",
        ],
    },
    Machine { name: "i686", prefix: "i686-linux-gnu-", emulator: Some("qemu-i386-static"), links: FOREIGN },
    Machine {
        name: "aarch64",
        prefix: "aarch64-linux-gnu-",
        emulator: Some("qemu-aarch64-static"),
        links: FOREIGN,
    },
    Machine {
        name: "armv7l",
        prefix: "arm-linux-gnueabihf-",
        emulator: Some("qemu-arm-static"),
        links: FOREIGN,
    },
    Machine {
        name: "ppc64le",
        prefix: "powerpc64le-linux-gnu-",
        emulator: Some("qemu-ppc64le-static"),
        links: FOREIGN,
    },
    Machine {
        name: "s390x",
        prefix: "s390x-linux-gnu-",
        emulator: Some("qemu-s390x-static"),
        links: FOREIGN,
    },
    Machine {
        name: "riscv64",
        prefix: "riscv64-linux-gnu-",
        emulator: Some("qemu-riscv64-static"),
        links: FOREIGN,
    },
];

/// What the tools come in on Debian.
const PACKAGES: &str = "gcc, gcc-<machine> and libc6-dev-<machine>-cross of each machine, qemu-user-static, binutils, \
                        llvm, lld, mold, patchelf";
/// A name that is longer than any place where one was.
const LONG: &str = "libb-0123456789abcdef0123456789abcdef.so.1";
const LIBRARY_A: &str = "#include <stdio.h>\n#include <stdlib.h>\nint b(void);\n\
    extern int e(void) __attribute__((weak));\nstatic __thread int t = 5;\n\
    __attribute__((constructor)) static void start(void) { t++; }\n\
    int a(void) { char text[9]; snprintf(text, 9, \"%d\", b()); return atoi(text) + (e ? e() : 0) + t - 6; }\n";
const MAIN: &str = "#include <stdio.h>\nint a(void);\nint main(void) { printf(\"%d\\n\", a()); return 0; }\n";

/// Compiles, changes and runs all of them.
pub(super) fn run(workspace: &Workspace) -> anyhow::Result<Section> {
    need_tools()?;
    let arguments = ["build", "--release", "--locked", "--package", "hwb-repair", "--example", "edit"];
    crate::programs::run(&mut workspace.cargo(arguments))?;
    let editor = workspace.target.join("release/examples/edit");
    let (mut rows, mut failed, mut good) = (String::new(), Vec::new(), 0);
    for machine in MACHINES {
        for link in machine.links {
            let name = format!("{} {link}", machine.name).trim_end().to_owned();
            let verdict = Trial::new(&editor, machine, link).and_then(|trial| trial.run());
            match verdict {
                Ok(()) => {
                    good += 1;
                    println!("{name:50} good");
                }
                Err(error) => {
                    println!("{name:50} FAILED: {error:#}");
                    writeln!(rows, "- {name}: FAILED: {error:#}").expect("writing to a string succeeds");
                    failed.push(name);
                }
            }
        }
    }
    let body = format!(
        "**{good} of {} ways to link** give files that, changed in every way, stripped by `strip`, `llvm-strip` and hwb \
         and changed again, load and run as they must, are read by `readelf` without a warning and by `patchelf` as \
         they were written; what hwb strips has the sections that `strip -s` leaves.\n\n{rows}",
        good + failed.len()
    );
    Ok(Section { part: "edit", command: "cargo xtask full edit".to_owned(), body, failed })
}

fn need_tools() -> anyhow::Result<()> {
    let others =
        ["readelf", "llvm-strip", "patchelf", "ld.bfd", "ld.gold", "ld.lld", "mold"].map(str::to_owned);
    let tools = MACHINES.iter().flat_map(|machine| {
        let tools = ["gcc", "strip"].map(|tool| format!("{}{tool}", machine.prefix));
        tools.into_iter().chain(machine.emulator.map(str::to_owned))
    });
    let missing =
        tools.chain(others).filter(|tool| !succeeds(program(tool).arg("--version"))).collect::<Vec<_>>();
    if !missing.is_empty() {
        bail!("missing: {} (Debian has them in {PACKAGES})", missing.join(", "));
    }
    Ok(())
}

/// A program and its libraries, compiled in one way.
struct Trial<'a> {
    editor: &'a Path,
    machine: Machine,
    link: &'a str,
    folder: tempfile::TempDir,
}

impl<'a> Trial<'a> {
    fn new(editor: &'a Path, machine: Machine, link: &'a str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        Ok(Self { editor, machine, link, folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self) -> anyhow::Result<()> {
        self.compile().context("while it was compiled")?;
        self.prints("42")?;
        fs_err::create_dir(self.path("x"))?;
        self.edit("libb.so", &format!("x/{LONG}"), &["soname", LONG])?;
        fs_err::rename(self.path("libe.so"), self.path("x/libe.so"))?;
        fs_err::rename(self.path("libo.so"), self.path("x/libo.so"))?;
        fs_err::remove_file(self.path("libb.so"))?;
        self.edit("liba.so", "liba.so", &["rename", "libb.so", LONG, "rpath", "$ORIGIN/x"])?;
        self.prints("42").context("with a renamed library")?;
        self.edit("liba.so", "libnew.so", &["add", "libe.so", "soname", "libnew.so"])?;
        fs_err::remove_file(self.path("liba.so"))?;
        self.edit(
            "main",
            "main",
            &["rename", "liba.so", "libnew.so", "runpath", "$ORIGIN/.:/a/longer/path"],
        )?;
        self.prints("49").context("with an added library")?;
        self.others_read_it()?;
        self.loader_moves()?;
        let files =
            ["main", "libnew.so", &format!("x/{LONG}")].map(|name| (name.to_owned(), self.path(name)));
        let edited = files.map(|(name, path)| fs_err::read(path).map(|bytes| (name, bytes)));
        for stripper in [format!("{}strip", self.machine.prefix), "llvm-strip".to_owned(), String::new()] {
            for file in &edited {
                let (name, bytes) = file.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
                fs_err::write(self.path(name), bytes)?;
                if stripper.is_empty() {
                    self.edit(name, name, &["strip"])?;
                } else {
                    capture(program(&stripper).arg("-s").arg(self.path(name)))?;
                }
            }
            self.prints("49").with_context(|| format!("after {stripper} -s"))?;
            let gone = [
                "remove",
                LONG,
                "remove",
                "libe.so",
                "add",
                "libo.so",
                "add",
                "libc.so.6",
                "rpath",
                "$ORIGIN",
            ];
            self.edit("libnew.so", "x/libnew.so", &gone)?;
            self.edit("main", "main", &["runpath", "$ORIGIN/./././x"])?;
            self.prints("1").with_context(|| format!("without a library, after {stripper} -s"))?;
            self.reads_clean("x/libnew.so")?;
        }
        Ok(())
    }

    fn compile(&self) -> anyhow::Result<()> {
        fs_err::write(self.path("versions"), "B_1 { global: b; local: *; };\n")?;
        let shared = ["-shared", "-fPIC"];
        let with = |more: &[&'static str]| [&shared[..], more].concat();
        let versioned = ["-Wl,-soname,libb.so,--version-script,versions"];
        self.cc("libb.so", "int b(void) { return 42; }", &with(&versioned))?;
        self.cc("libe.so", "int e(void) { return 7; }", &with(&["-Wl,-soname,libe.so"]))?;
        self.cc("libo.so", "int b(void) { return 1; }", &with(&["-Wl,-soname,libo.so"]))?;
        let path = "-Wl,-rpath,/secret/place:$ORIGIN";
        self.cc("liba.so", LIBRARY_A, &with(&["-g", "-Wl,-soname,liba.so", path, "-lb"]))?;
        let path = "-Wl,-rpath,$ORIGIN,-rpath-link,.,--allow-shlib-undefined";
        self.cc("main", MAIN, &["-g", path, "-la"])?;
        self.strips_like_strip("liba.so")?;
        self.strips_like_strip("main")
    }

    fn cc(&self, name: &str, source: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let file = self.path(name).with_extension("c");
        fs_err::write(&file, source)?;
        let mut command = program(format!("{}gcc", self.machine.prefix));
        command.current_dir(self.folder.path()).arg(&file).args(["-O1", "-L.", "-o", name]);
        // A library is no program at a fixed place.
        let is_shared = arguments.contains(&"-shared");
        let link = self.link.split_whitespace().filter(|word| !is_shared || *word != "-no-pie");
        capture(command.args(link).args(arguments)).map(drop)
    }

    /// Changes a file twice, the second time without effect.
    fn edit(&self, from: &str, to: &str, arguments: &[&str]) -> anyhow::Result<()> {
        capture(program(self.editor).arg(self.path(from)).arg(self.path(to)).args(arguments))?;
        Ok(())
    }

    /// Runs the program, with all symbols looked up at the start and without.
    fn prints(&self, expect: &str) -> anyhow::Result<()> {
        for bind in ["", "1"] {
            let mut command = match self.machine.emulator {
                None => program(self.path("main")),
                Some(emulator) => {
                    let mut command = program(emulator);
                    let root = format!("/usr/{}", self.machine.prefix.trim_end_matches('-'));
                    command.args(["-L", &root]).arg(self.path("main"));
                    command
                }
            };
            let said = capture(command.env("LD_BIND_NOW", bind))?;
            ensure!(said.trim() == expect, "it says {} and not {expect}", said.trim());
        }
        Ok(())
    }

    fn loader_moves(&self) -> anyhow::Result<()> {
        let old = capture(program("patchelf").arg("--print-interpreter").arg(self.path("main")))?;
        let new = format!("{}{}", "/.".repeat(30), old.trim());
        self.edit("main", "main", &["interpreter", &new])?;
        self.prints("49").context("with another loader")?;
        let said = capture(program("patchelf").arg("--print-interpreter").arg(self.path("main")))?;
        ensure!(said.trim() == new, "patchelf reads the loader as {said}");
        self.reads_clean("main")
    }

    /// What other tools say of the changed library.
    fn others_read_it(&self) -> anyhow::Result<()> {
        let options = ["--print-soname", "--print-rpath", "--print-needed"];
        let said = options.map(|option| capture(program("patchelf").arg(option).arg(self.path("libnew.so"))));
        let said = said.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
        let expect = format!("libnew.so\n$ORIGIN/x\n{LONG}\nlibc.so.6\nlibe.so\n");
        ensure!(
            said.lines().filter(|line| !line.starts_with("ld")).eq(expect.lines()),
            "patchelf reads it as {said}"
        );
        let file = fs_err::read(self.path("libnew.so"))?;
        ensure!(!file.windows(7).any(|bytes| bytes == b"/secret"), "the old run path is still in it");
        ["main", "libnew.so", &format!("x/{LONG}")].into_iter().try_for_each(|name| self.reads_clean(name))
    }

    fn reads_clean(&self, name: &str) -> anyhow::Result<()> {
        let output = program("readelf").arg("-aW").arg(self.path(name)).output().context("no readelf")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && said.is_empty(), "readelf says of {name}: {}", said.trim());
        Ok(())
    }

    fn strips_like_strip(&self, name: &str) -> anyhow::Result<()> {
        let strip = format!("{}strip", self.machine.prefix);
        capture(program(strip).args(["-s", "-o"]).arg(self.path("theirs")).arg(self.path(name)))?;
        self.edit(name, "ours", &["strip"])?;
        let [ours, theirs] = ["ours", "theirs"].map(|name| self.sections(name));
        let (ours, theirs) = (ours?, theirs?);
        ensure!(ours == theirs, "strip -s leaves {theirs}\nand hwb {ours}");
        self.reads_clean("ours")
    }

    /// Name, kind, address and size of each section but the names, which may be in another order.
    fn sections(&self, name: &str) -> anyhow::Result<String> {
        let said = capture(program("readelf").arg("-SW").arg(self.path(name)))?;
        let lines =
            said.lines().filter_map(|line| line.split_once(']').filter(|(number, _)| number.contains('[')));
        let words = lines.map(|(_, line)| line.split_whitespace().collect::<Vec<_>>());
        let words = words.filter(|words| words.len() > 4 && words[0] != ".shstrtab");
        Ok(words
            .map(|words| [words[0], words[1], words[2], words[4]].join(" "))
            .collect::<Vec<_>>()
            .join(", "))
    }
}
