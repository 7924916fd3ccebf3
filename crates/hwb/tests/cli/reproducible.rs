//! Same source, same bytes: whatever differs around a build, the artifacts do not.

use std::path::Path;

use fs_err as fs;
use hwb_testkit::{CommandContext, Index, Project};

use crate::{index, indexed_greeter};

/// Where and how something is built.
struct Surroundings {
    /// The project's folder in the working folder.
    folder: &'static str,
    umask: &'static str,
    zone: &'static str,
    locale: &'static str,
    home: &'static str,
    /// The time of all files of the project.
    touched: &'static str,
}

const FIRST: Surroundings =
    Surroundings { folder: "a", umask: "022", zone: "UTC", locale: "C", home: "/", touched: "2001-02-03" };
const SECOND: Surroundings = Surroundings {
    folder: "some where/else/entirely",
    umask: "077",
    zone: "Asia/Kolkata",
    locale: "tr_TR.UTF-8",
    home: "/nonexistent",
    touched: "2020-10-10",
};

/// Builds in a cache of its own; the files in `dist` with their digests.
fn build(project: &Project, index: &Index, around: &Surroundings) -> Vec<(String, String)> {
    let Surroundings { folder, umask, zone, locale, home, touched } = around;
    let place = CommandContext::new("/bin/sh").index(index);
    let tree = place.work().join(folder);
    project.write_to(&tree);
    let dist = place.work().join("dist");
    let script = "find \"$1\" -exec touch -d \"$2\" {} + && umask \"$3\" && exec \"$4\" build \"$1\" -sw -q";
    let command = place.command(["-c", script, "sh"]).arg(&tree).arg(touched).arg(umask);
    let command =
        command.arg(env!("CARGO_BIN_EXE_hwb")).env("TZ", zone).env("LC_ALL", locale).env("HOME", home);
    command.env("PYTHONHASHSEED", *umask).env("USER", *zone).run().success();
    digests(&dist)
}

fn digests(folder: &Path) -> Vec<(String, String)> {
    let digest = |file: &String| hwb_testkit::sha256_hex(&fs::read(folder.join(file)).unwrap());
    CommandContext::files_below(folder).into_iter().map(|file| (file.clone(), digest(&file))).collect()
}

#[track_caller]
fn check(project: &Project) {
    let index = index();
    let first = build(project, &index, &FIRST);
    assert_eq!(first.len(), 2, "{first:?}");
    assert_eq!(first, build(project, &index, &SECOND));
}

/// The backend of the tests writes its members in random order, with the clock's time.
#[test]
fn a_pure_project() {
    let many =
        (0..20).fold(indexed_greeter(), |project, n| project.module(&format!("part{n}.py"), "x = 1\n"));
    check(&many);
}

/// Debug information names the folder in which the compiler ran.
#[test]
fn an_extension() {
    check(
        &indexed_greeter()
            .extension("int answer(int x) { return x + __LINE__; }\nconst char *here = __FILE__;\n"),
    );
}

/// What is random is not made equal: the check above can fail.
#[test]
fn a_project_with_random_bytes_differs() {
    let index = index();
    let project = indexed_greeter().option("random", true);
    let wheel = |around| {
        let found = build(&project, &index, around);
        found.into_iter().find(|(file, _)| file.ends_with(".whl"))
    };
    assert_ne!(wheel(&FIRST), wheel(&SECOND));
}
