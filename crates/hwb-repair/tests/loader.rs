//! Changed files under the loader of this machine: what `cc` links, and libraries that this machine has.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test calls is no test to clippy")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use hwb_repair::elf::Elf;
use hwb_repair::elf::edit::{Edits, RunPathEdit, edit};

/// So long that it fits in no place where a name was.
const LONG: &str = "libb-0123456789abcdef0123456789abcdef.so.1";

/// A folder with what is compiled.
struct Workshop(tempfile::TempDir);

impl Workshop {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Compiles a text in this folder.
    fn compile(&self, name: &str, source: &str, arguments: &[&str]) {
        let file = self.path(name).with_extension("c");
        fs_err::write(&file, source).unwrap();
        let mut command = program("cc");
        command.current_dir(self.0.path()).arg(&file).args(["-O1", "-L.", "-o", name]).args(arguments);
        said(&mut command);
    }

    /// Changes a file, twice; the second time nothing may be left to do.
    fn edit(&self, name: &str, to: &str, edits: &Edits) {
        let old = fs_err::read(self.path(name)).unwrap();
        let new = edit(old, edits).unwrap_or_else(|error| panic!("{name}: {error}: {error:?}"));
        assert_eq!(edit(new.clone(), edits).as_ref(), Ok(&new), "{name} changes twice");
        let permissions = fs_err::metadata(self.path(name)).unwrap().permissions();
        fs_err::create_dir_all(self.path(to).parent().unwrap()).unwrap();
        fs_err::write(self.path(to), &new).unwrap();
        fs_err::set_permissions(self.path(to), permissions).unwrap();
    }

    /// What a program says, with all symbols looked up at the start and without.
    fn run(&self, name: &str) -> String {
        let lazy = said(program(self.path(name)).env_clear());
        let eager = said(program(self.path(name)).env_clear().env("LD_BIND_NOW", "1"));
        assert_eq!(lazy, eager);
        lazy
    }
}

#[expect(clippy::disallowed_methods, reason = "the test runs the compiler and what it made")]
fn program(name: impl AsRef<std::ffi::OsStr>) -> Command {
    Command::new(name)
}

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}: {}", output.status, text(&output.stderr));
    text(&output.stdout)
}

/// A program that needs libraries, one of which has a versioned symbol that the other needs.
fn workshop(arguments: &[&str], of_program: &[&str]) -> Workshop {
    let workshop = Workshop::new();
    fs_err::write(workshop.path("versions"), "B_1 { global: b; local: *; };\n").unwrap();
    let with = |more: &[&'static str]| [more, arguments].concat();
    workshop.compile(
        "libb.so",
        "int b(void) { return 42; }",
        &with(&["-shared", "-fPIC", "-Wl,-soname,libb.so,--version-script,versions"]),
    );
    workshop.compile(
        "libe.so",
        "int e(void) { return 7; }",
        &with(&["-shared", "-fPIC", "-Wl,-soname,libe.so"]),
    );
    workshop.compile(
        "liba.so",
        "#include <stdlib.h>\n#include <stdio.h>\nint b(void);\nextern int e(void) __attribute__((weak));\n\
         int a(void) { char text[9]; snprintf(text, 9, \"%d\", b()); return atoi(text) + (e ? e() : 0); }",
        &with(&["-shared", "-fPIC", "-Wl,-soname,liba.so,-rpath,/secret/build/place:$ORIGIN", "-lb"]),
    );
    workshop.compile(
        "main",
        "#include <stdio.h>\nint a(void);\nint main(void) { printf(\"%d\\n\", a()); return 0; }",
        &[&with(&["-Wl,-rpath,$ORIGIN,-rpath-link,.,--allow-shlib-undefined", "-la"]), of_program].concat(),
    );
    workshop
}

fn rename(from: &str, to: Option<&str>) -> BTreeMap<String, Option<String>> {
    [(from.to_owned(), to.map(str::to_owned))].into()
}

/// Renames library b, moves it, and lets a know of both.
fn graft(workshop: &Workshop) {
    let soname = Edits { soname: Some(LONG.to_owned()), ..Edits::default() };
    workshop.edit("libb.so", &format!("x/{LONG}"), &soname);
    fs_err::remove_file(workshop.path("libb.so")).unwrap();
    let edits = Edits {
        needed: rename("libb.so", Some(LONG)),
        run_path: RunPathEdit::Rpath("$ORIGIN/x".to_owned()),
        ..Edits::default()
    };
    workshop.edit("liba.so", "liba.so", &edits);
}

#[test]
fn a_renamed_library_is_found() {
    for arguments in [
        &["-Wl,--build-id"][..],
        &["-Wl,--build-id=none"],
        &["-Wl,-z,noseparate-code", "-s"],
        &["-Wl,-z,max-page-size=0x10000"],
        &["-Wl,--hash-style=sysv,-z,now"],
    ] {
        let workshop = workshop(arguments, &[]);
        assert_eq!(workshop.run("main"), "42\n");
        graft(&workshop);
        assert_eq!(workshop.run("main"), "42\n", "{arguments:?}");
        let file = fs_err::read(workshop.path("liba.so")).unwrap();
        let elf = Elf::parse(&file).unwrap();
        assert_eq!((elf.rpath, elf.runpath), (Some("$ORIGIN/x"), None));
        assert!(elf.versions.iter().any(|need| need.library == LONG), "{:?}", elf.versions);
        assert!(!file.windows(7).any(|bytes| bytes == b"/secret"), "the old run path is still in the file");
    }
}

#[test]
fn libraries_come_and_go() {
    let workshop = workshop(&[], &[]);
    graft(&workshop);
    let add = |needed: &[&str]| Edits {
        add_needed: needed.iter().map(|name| (*name).to_owned()).collect(),
        ..Edits::default()
    };
    // Again and again, until the dynamic section is full and must move.
    for number in 0..12 {
        let name = format!("libe{number}.so");
        fs_err::copy(workshop.path("libe.so"), workshop.path(&format!("x/{name}"))).unwrap();
        let length = || fs_err::metadata(workshop.path("liba.so")).unwrap().len();
        let before = length();
        workshop.edit("liba.so", "liba.so", &add(&[&name]));
        assert!(length() < before + 1024, "what an edit added grows with the next one");
        assert_eq!(workshop.run("main"), "49\n");
    }
    for number in 0..12 {
        let gone = Edits { needed: rename(&format!("libe{number}.so"), None), ..Edits::default() };
        workshop.edit("liba.so", "liba.so", &gone);
    }
    assert_eq!(workshop.run("main"), "42\n");
    // Without the library, and its versions, another one has its symbol.
    let other =
        Edits { needed: rename(LONG, None), add_needed: vec!["libother.so".to_owned()], ..Edits::default() };
    workshop.compile("x/libother.so", "int b(void) { return 1; }", &["-shared", "-fPIC"]);
    workshop.edit("liba.so", "liba.so", &other);
    assert_eq!(workshop.run("main"), "1\n");
}

#[test]
fn a_program_gets_another_loader() {
    for of_program in ["-pie", "-no-pie"] {
        let workshop = workshop(&[], &[of_program]);
        let file = fs_err::read(workshop.path("main")).unwrap();
        let old = Elf::parse(&file).unwrap().interpreter.unwrap();
        for path in [format!("/.{old}"), format!("{}{old}", "/.".repeat(40)), old.to_owned()] {
            let edits = Edits { interpreter: Some(path.clone()), ..Edits::default() };
            workshop.edit("main", "main", &edits);
            assert_eq!(workshop.run("main"), "42\n", "{path}");
            let file = fs_err::read(workshop.path("main")).unwrap();
            assert_eq!(Elf::parse(&file).unwrap().interpreter, Some(path.as_str()));
        }
    }
}

#[test]
fn libraries_of_this_machine_stay_loadable() {
    // Whatever an interpreter has loaded, but for the C library itself, which there can be only one of.
    let list = "import ctypes, ssl, sqlite3, decimal, zlib, lzma\n\
        found = {line.split(None, 5)[5].strip() for line in open('/proc/self/maps') if '.so' in line}\n\
        print(*sorted(path for path in found if not any(c in path for c in ('/ld-', '/libc.', '/libc-'))), sep='\\n')";
    let load = "import ctypes, sys; ctypes.CDLL(sys.argv[1])";
    let libraries = said(program("python3").args(["-c", list]));
    assert!(libraries.lines().count() > 1, "an interpreter has libraries: {libraries}");
    let workshop = Workshop::new();
    for library in libraries.lines() {
        let file = fs_err::read(library).unwrap();
        let elf = Elf::parse(&file).unwrap();
        let name = Path::new(library).file_name().unwrap().to_string_lossy().into_owned();
        let edits = Edits {
            soname: Some(format!("a-new-name-of-{name}")),
            run_path: RunPathEdit::Rpath("$ORIGIN/../some.libs".to_owned()),
            add_needed: elf
                .needed
                .iter()
                .map(|name| (*name).to_owned())
                .chain(["libm.so.6".to_owned()])
                .collect(),
            ..Edits::default()
        };
        fs_err::copy(library, workshop.path(&name)).unwrap();
        workshop.edit(&name, &name, &edits);
        said(program("python3").args(["-c", load]).arg(workshop.path(&name)));
    }
}
