//! What `cc` compiles, repaired, and loaded by the loader of this machine.

use std::path::PathBuf;

use fs_err as fs;
use hwb_testkit::wheel::Wheel;
use hwb_testkit::{CommandContext, command::python};

use super::{contents, put, wheelhouse};
use crate::context;

/// A library whose symbol has a version.
const LIBRARY: &str = "int greet(void) { return 42; }\n";
/// An extension module, without the headers of Python.
const MODULE: &str = r#"
extern int greet(void);
extern void *PyModule_Create2(void *, int);
extern int PyModule_AddIntConstant(void *, const char *, long);
static struct {
    long count; void *type, *init; long index; void *copy;
    const char *name, *doc; long size;
    void *methods, *slots, *traverse, *clear, *free;
} definition = { .count = 1, .name = "fast", .size = -1 };
void *PyInit_fast(void) {
    void *module = PyModule_Create2(&definition, 1013);
    PyModule_AddIntConstant(module, "answer", greet());
    return module;
}
"#;
const PROGRAM: &str = r#"
#include <stdio.h>
extern int greet(void);
int main(int count, char **arguments) { printf("%d %s\n", greet(), arguments[count - 1]); }
"#;
/// Unpacks as installers do: what the modes say of programs holds.
const UNPACK: &str = r#"
import os, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    for info in wheel.infolist():
        os.chmod(wheel.extract(info, "installed"), info.external_attr >> 16 & 0o777)
"#;
const LOAD: &str = r#"
import sys
sys.path.insert(0, "installed")
import greeter.fast
lines = open("/proc/self/maps").read().splitlines()
loaded = {line.split("/", 1)[1] for line in lines if "libgreet" in line}
print(greeter.fast.answer, *("/" + path for path in loaded))
"#;

/// Runs a program of this machine in the working folder.
fn run<S: AsRef<std::ffi::OsStr>>(
    context: &CommandContext,
    program: &str,
    arguments: impl IntoIterator<Item = S>,
) -> String {
    let place = CommandContext::new(program);
    let command = place.command(arguments).folder(context.work());
    command.env("PYTHONPATH", context.work().join("stub")).run().success().stdout
}

/// Compiles a library, a module and a program that need it, and packs the latter two.
fn compiled(context: &CommandContext) {
    for (file, text) in [("greet.c", LIBRARY), ("fast.c", MODULE), ("tool.c", PROGRAM)] {
        put(context, file, text);
    }
    put(context, "versions", "GREET_1 { global: greet; local: *; };\n");
    fs::create_dir(context.work().join("lib")).unwrap();
    let cc = |arguments: &str| run(context, "cc", arguments.split(' '));
    cc("-shared -fPIC -Wl,-soname,libgreet.so.1,--version-script,versions -o lib/libgreet.so.1 greet.c");
    cc("-shared -fPIC -o fast.so fast.c lib/libgreet.so.1");
    cc("-o tool tool.c lib/libgreet.so.1");
    let file = |name: &str| fs::read(context.work().join(name)).unwrap();
    let wheel = Wheel::new("greeter", "1.0").tag(&format!("py3-none-linux_{}", std::env::consts::ARCH));
    let wheel = wheel.file("greeter/__init__.py", "").file("greeter/fast.so", file("fast.so"));
    wheel.file("greeter-1.0.data/scripts/tool", file("tool")).build().write_to(&context.work());
}

/// Unpacks the only wheel, once the library is nowhere else.
fn installed(context: &CommandContext) -> PathBuf {
    fs::remove_dir_all(context.work().join("lib")).unwrap();
    let [wheel] = &wheelhouse(context)[..] else { panic!("not one wheel") };
    let python = python().to_string_lossy();
    run(context, &python, ["-c", UNPACK, &format!("wheelhouse/{wheel}")]);
    context.work().join("installed")
}

#[test]
fn the_loader_finds_what_came_along() {
    for more in [&[][..], &["--strip"]] {
        let context = context().filter(r"-[0-9a-f]{8}\b", "-[HASH]");
        compiled(&context);
        let name = format!("greeter-1.0-py3-none-linux_{}.whl", std::env::consts::ARCH);
        let said = context.run(["repair", "-v", "--lib-dir", "lib", &name].iter().chain(more)).success();
        assert!(said.stdout.contains("scripts/tool moves to greeter.scripts/tool\n"), "{said}");
        let installed = installed(&context);
        let python = python().to_string_lossy();
        let said = run(&context, &python, ["-c", LOAD]);
        let places: Vec<&str> = said.split_whitespace().collect();
        let [answer, loaded] = places[..] else { panic!("{said}") };
        assert_eq!(answer, "42");
        let libraries = fs::canonicalize(installed.join("greeter.libs")).unwrap();
        assert!(loaded.starts_with(&*libraries.to_string_lossy()), "{loaded}");
        let [made] = &wheelhouse(&context)[..] else { panic!("not one wheel") };
        let tools = contents(&context, made);
        let tools = tools.lines().filter(|line| line.contains("tool")).collect::<Vec<_>>();
        let of_tool = "needs libc.so.6, needs libgreet-[HASH].so.1, rpath $ORIGIN/../greeter.libs";
        let expect = ["greeter-1.0.data/scripts/tool x", &format!("greeter.scripts/tool x: {of_tool}")];
        assert_eq!(tools, expect);
        // The script in the program's place asks where packages are installed.
        let stub = format!("def get_path(name):\n    return {{'platlib': {installed:?}}}[name]\n");
        put(&context, "stub/sysconfig.py", stub);
        let script = installed.join("greeter-1.0.data/scripts/tool");
        let said = run(&context, &python, [script.as_os_str(), "one".as_ref(), "two words".as_ref()]);
        assert_eq!(said, "42 two words\n");
    }
}
