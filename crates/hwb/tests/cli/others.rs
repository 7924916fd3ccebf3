//! `--version`, `completions`, `schema`, `inspect`, `python list`, and arguments that make no sense.

use fs_err as fs;
use hwb_testkit::wheel::Wheel;
use insta::assert_snapshot;

use crate::{context, greeter};

#[test]
fn the_version_has_two_forms() {
    assert_snapshot!(context().run(["--version"]), @r"
    exit: 0
    --- stdout
    hwb [VERSION]
    ");
    assert_snapshot!(context().run(["-V"]), @r"
    exit: 0
    --- stdout
    hwb [VERSION]
    ");
    let version = context().run(["--version", "--json"]).success().json();
    let keys: Vec<_> = version.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["name", "version", "os", "arch"]);
    assert_eq!((version["name"].as_str(), version["os"].as_str()), (Some("hwb"), Some("linux")));
}

/// A file of a disk without room.
fn full() -> std::fs::File {
    std::fs::File::options().write(true).open("/dev/full").unwrap()
}

/// What cannot be written is no success; a reader that went away has seen enough.
#[test]
fn a_lost_output_is_a_failure() {
    let context = context();
    greeter().write_to(&context.work().join("greeter"));
    let wheel = Wheel::new("greeter", "1.0").build();
    fs::write(context.work().join(&wheel.name), &wheel.bytes).unwrap();
    let check = |arguments: &[&str]| {
        let mut command = context.command(arguments).prepare();
        command.stdout(full());
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(7), "{arguments:?}: {stderr}");
        let lost = "error: failed to write to standard output\n  caused by: No space left on device (os error 28)\nhint: the disk is full: ";
        assert!(stderr.starts_with(lost), "{arguments:?}: {stderr}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command.stdout(writer);
        assert_eq!(command.output().unwrap().status.code(), Some(0), "{arguments:?}");
    };
    check(&["schema", "build"]);
    check(&["inspect", &wheel.name]);
    check(&["inspect", "--json", &wheel.name]);
    check(&["completions", "bash"]);
    check(&["build", "greeter", "-q", "--json"]);
    check(&["build", "greeter", "--dry-run", "-q"]);

    // The document of another failure is said in words, and the failure stays what it is.
    let mut command = context.command(["inspect", "absent.whl", "--json"]).prepare();
    command.stdout(full());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("error: "));
}

#[test]
fn arguments_that_make_no_sense() {
    assert_snapshot!(context().run(["bild"]), @r"
    exit: 2
    --- stderr
    error: unrecognized subcommand 'bild'

      tip: a similar subcommand exists: 'build'

    Usage: hwb [OPTIONS] --version
           hwb [OPTIONS] <COMMAND>

    For more information, try '--help'.
    ");
    assert_snapshot!(context().run(["build", "--isolation", "docker"]), @r"
    exit: 2
    --- stderr
    error: `--isolation docker` is not available in this version
    ");
    assert_snapshot!(context().run(["build", "--timeout", "soon"]), @r"
    exit: 2
    --- stderr
    error: invalid value 'soon' for '--timeout <TIME>': `soon` is not a duration such as `90`, `[TIME]`, `10m` or `1h30m`

    For more information, try '--help'.
    ");
    assert_snapshot!(context().run(["build", "-q", "-v"]), @r"
    exit: 2
    --- stderr
    error: the argument '--quiet' cannot be used with '--verbose'

    Usage: hwb build --quiet [SOURCE]

    For more information, try '--help'.
    ");
    for arguments in [
        &[][..],
        &["build", "--platform", "manylinux"],
        &["build", "--isolation", "jail"],
        &["schema", "nothing"],
        &["cache"],
        &["cache", "prune", "--kind"],
        &["completions", "tcsh"],
        &["inspect"],
    ] {
        let outcome = context().run(arguments).exit(2);
        assert!(outcome.stdout.is_empty() && !outcome.stderr.is_empty(), "{arguments:?}: {outcome}");
    }
}

#[test]
fn help_fits_a_screen() {
    assert_snapshot!(context().run(["--help"]), @r"
    exit: 0
    --- stdout
    Builds Python wheels from any source, the same bytes every time

    Usage: hwb [OPTIONS] --version
           hwb [OPTIONS] <COMMAND>

    Commands:
      build        Build wheels and sdists
      verify       Build a wheel again and compare it with the one that is there
      inspect      Show what is in a wheel or sdist
      audit        Show how portable wheels and ELF files are, and what keeps them from an older tag
      repair       Put the libraries that wheels need into them, and give them the platform tag that
                   they deserve then
      policies     List the platform tags that wheels are audited for
      image        Fetch, show and run container images
      python       Show the Python interpreters of this machine
      doctor       Show what this machine can do, and what would mend what it cannot
      config       Show the settings that hold here
      history      Show earlier builds
      cache        Show or clear the cache
      completions  Print the completions of a shell
      schema       Print the JSON schema of a document that --json prints

    Options:
      -V, --version  Print the version
      -h, --help     Print help

    Global options:
      -v, --verbose          Show everything that the build backend prints
      -q, --quiet            Print nothing but errors
          --json             Print one JSON document to standard output and nothing else there
          --color <WHEN>     Whether to use colours; NO_COLOR and CLICOLOR_FORCE are heard too [possible
                             values: auto, always, never]
          --cache-dir <DIR>  Where the cache is

    Examples:
      hwb build                          A wheel of the project in this directory, into dist/
      hwb build -sw path/to/project      An sdist, and a wheel from it
      hwb build 'flask==3.1.0'           A wheel from the sdist on the index
      hwb verify dist/a-1.0-py3-none-any.whl --source .
      hwb inspect dist/a-1.0-py3-none-any.whl
      hwb audit dist/a-1.0-[CPYTHON]-[LINUX].whl
      hwb repair dist/a-1.0-[CPYTHON]-[LINUX].whl

    `hwb COMMAND --help` says more.
    ");
    let help = context().run(["build", "-h"]).success().stdout;
    for line in help.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn completions_and_schemas() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = context().run(["completions", shell]).success().stdout;
        assert!(script.contains("build-constraint") && !script.contains("__hwb-sandbox"), "{shell}");
    }
    let schema = context().run(["schema", "build"]).success().json();
    assert_eq!(schema["title"], "BuildReport");
}

#[test]
fn a_wheel_and_an_sdist_are_shown() {
    let context = context();
    let wheel = Wheel::new("greeter", "1.0")
        .requires("click>=8; extra == 'cli'")
        .file("greeter/__init__.py", "x = 1\n")
        .dist_info_file("entry_points.txt", "[console_scripts]\ngreet = greeter:main\n")
        .build();
    wheel.write_to(&context.work());
    assert_snapshot!(context.run(["inspect", &wheel.name]), @r"
    exit: 0
    --- stdout
    greeter-1.0-py3-none-any.whl ([SIZE], sha256:[DIGEST])

    name             greeter
    version          1.0
    requires         click>=8 ; extra == 'cli'
    metadata         2.1
    tags             py3-none-any
    generator        hwb-testkit
    installs to      purelib
    console_scripts  greet = greeter:main
    files            5, [SIZE] unpacked

     [SIZE]  greeter-1.0.dist-info/METADATA
    [SIZE]  greeter-1.0.dist-info/RECORD
     [SIZE]  greeter-1.0.dist-info/WHEEL
     [SIZE]  greeter-1.0.dist-info/entry_points.txt
      [SIZE]  greeter/__init__.py
    ");
    let document = context.run(["inspect", &wheel.name, "--json"]).success().json();
    assert_eq!(document["sha256"], format!("sha256:{}", wheel.sha256()));
    let sdist = greeter().sdist();
    sdist.write_to(&context.work());
    assert_snapshot!(context.run(["inspect", &sdist.name]), @r"
    exit: 0
    --- stdout
    greeter-1.0.tar.gz ([SIZE], sha256:[DIGEST])

    name      greeter
    version   1.0
    metadata  2.2
    files     4, [SIZE] unpacked

        [SIZE]  greeter-1.0/PKG-INFO
    [SIZE]  greeter-1.0/_backend/tiny_backend.py
        [SIZE]  greeter-1.0/greeter.py
       [SIZE]  greeter-1.0/pyproject.toml
    ");
    assert_snapshot!(context.run(["inspect", "absent.whl"]), @r"
    exit: 4
    --- stderr
    error: failed to read [WORK]/absent.whl
      caused by: failed to open file `[WORK]/absent.whl`: No such file or directory (os error 2)
    ");
    fs::write(context.work().join("notes.txt"), "").unwrap();
    assert_snapshot!(context.run(["inspect", "notes.txt"]), @r"
    exit: 2
    --- stderr
    error: [WORK]/notes.txt is neither a wheel nor an sdist, going by its name
    ");
}

#[test]
fn interpreters_are_listed() {
    let context = context();
    let listed = context.run(["python", "list", "--json"]).success().json();
    let interpreters = listed.as_array().unwrap();
    let ours = hwb_testkit::command::python();
    let is_ours = |path: &str| fs::canonicalize(path).unwrap() == ours;
    let found = interpreters.iter().any(|one| is_ours(one["executable"].as_str().unwrap()));
    assert!(found, "{listed}");
    let rows = context.run(["python", "list"]).success().stdout.lines().count();
    assert_eq!(rows, interpreters.len());
}

#[test]
fn the_doctor_looks_at_everything() {
    let findings = context().run(["doctor", "--json"]).success().json();
    let areas = findings.as_array().unwrap().iter().map(|finding| finding["area"].as_str().unwrap());
    let areas = areas.collect::<std::collections::BTreeSet<_>>();
    assert_eq!(areas.into_iter().collect::<Vec<_>>(), ["builds", "containers", "emulation", "store"]);
    // Where nothing is in the way, nothing is to be mended.
    let is_odd = |finding: &&serde_json::Value| finding["state"] == "ready" && !finding["mend"].is_null();
    assert_eq!(findings.as_array().unwrap().iter().find(is_odd), None);
    // What is said of limits is what a run with them meets.
    let limits =
        findings.as_array().unwrap().iter().find(|finding| finding["what"] == "control groups").unwrap();
    let detail = limits["detail"].as_str().unwrap();
    let (start, is_ready) = ("--memory, --cpus and --pids-limit are", limits["state"] == "ready");
    assert!(
        detail.starts_with(&format!("{start} {}", if is_ready { "enforced" } else { "refused: " })),
        "{detail}"
    );
    assert!(context().run(["doctor"]).success().stdout.starts_with("Builds\n"));
}
