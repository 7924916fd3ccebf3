//! What comes out of `hwb build`, and where it goes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fs_err as fs;
use hwb_testkit::command::python;
use hwb_testkit::{CommandContext, Elf, Project, Tree};
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::{GREETER, context, context_with, dist, greeter, index, indexed_greeter, member, seen};

const SDIST: &str = "greeter-1.0.tar.gz";

#[test]
fn a_wheel_an_sdist_or_both() {
    let index = index();
    let context = context_with(&indexed_greeter()).index(&index);
    assert_snapshot!(context.run(["build", "greeter", "-s"]), @r"
    exit: 0
    --- stdout
    Built dist/greeter-1.0.tar.gz ([SIZE], sha256:[DIGEST])
    --- stderr
    greeter
      preparing source [TIME]
      finding interpreter [TIME]
      resolving build requirements [TIME]
      making environment [TIME]
      asking backend [TIME]
      building sdist [TIME]
      checking and writing [TIME]
    ");
    assert_eq!(dist(&context), [SDIST]);
    assert_snapshot!(context.run(["build", "greeter", "-w", "-q"]), @"exit: 0");
    assert_eq!(dist(&context), [GREETER, SDIST]);
    assert_snapshot!(context.run(["build", "greeter", "-s", "-w", "-o", "both"]), @r"
    exit: 0
    --- stdout
    Built both/greeter-1.0.tar.gz ([SIZE], sha256:[DIGEST])
    Built both/greeter-1.0-py3-none-any.whl ([SIZE], sha256:[DIGEST])
    --- stderr
    greeter
      preparing source [TIME]
      finding interpreter [TIME]
      resolving build requirements [TIME]
      making environment [TIME]
      asking backend [TIME]
      building sdist [TIME]
      checking and writing [TIME]
      preparing source [TIME]
      finding interpreter [TIME]
      resolving build requirements [TIME]
      making environment [TIME]
      asking backend [TIME]
      building wheel [TIME]
      checking and writing [TIME]
    ");
    assert_eq!(CommandContext::files_below(&context.work().join("both")), [GREETER, SDIST]);
    let same = |name: &str| {
        let read = |folder: &str| fs::read(context.work().join(folder).join(name)).unwrap();
        assert!(read("dist") == read("both"), "{name}");
    };
    same(GREETER);
    same(SDIST);
}

/// With both, the wheel is built from what the sdist has in it, and from nothing else.
#[test]
fn the_wheel_comes_from_the_sdist() {
    let index = index();
    let project = indexed_greeter().option("record-environment", true).file("not-in-the-sdist", "");
    let context = context_with(&project).index(&index);
    context.run(["build", "greeter", "-q"]).success();
    assert_eq!(seen(&context)["files"], json!(["greeter.py", "not-in-the-sdist", "pyproject.toml"]));
    let report = context.run(["build", "greeter", "-sw", "--json", "-q"]).success().json();
    fs::remove_file(context.work().join("dist").join(SDIST)).unwrap();
    assert_eq!(seen(&context)["files"], json!(["PKG-INFO", "greeter.py", "pyproject.toml"]));
    let [sdist, wheel] = report["artifacts"].as_array().unwrap().as_slice() else { panic!("{report}") };
    assert_eq!((sdist["kind"].as_str(), wheel["kind"].as_str()), (Some("sdist"), Some("wheel")));
    assert_ne!(sdist["source"], wheel["source"]);
}

#[test]
fn the_report_is_complete() {
    let index = index();
    let context = context_with(&indexed_greeter()).index(&index);
    let outcome = context.run(["build", "greeter", "--json", "--report", "report.json"]).success();
    let report = outcome.json();
    let written = fs::read_to_string(context.work().join("report.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), report);
    let artifact = &report["artifacts"][0];
    let wheel = fs::read(context.work().join("dist").join(GREETER)).unwrap();
    assert_eq!(artifact["sha256"], format!("sha256:{}", hwb_testkit::sha256_hex(&wheel)));
    assert_eq!(artifact["size"], wheel.len());
    let phases: Vec<_> = artifact["phases"].as_object().unwrap().keys().collect();
    assert_eq!(phases, ["check", "environment", "interpreter", "requirements", "resolve", "source", "wheel"]);
    let mut shown = artifact.clone();
    for key in ["size", "phases"] {
        shown[key] = Value::Null;
    }
    assert_snapshot!(context.filtered(&serde_json::to_string_pretty(&shown).unwrap()), @r#"
    {
      "kind": "wheel",
      "file": "greeter-1.0-py3-none-any.whl",
      "path": "[WORK]/dist/greeter-1.0-py3-none-any.whl",
      "sha256": "sha256:[DIGEST]",
      "size": null,
      "name": "greeter",
      "version": "1.0",
      "python": "cpython [X.Y.Z]",
      "serves": [],
      "source": "sha256:[DIGEST]",
      "origin": "[WORK]/greeter",
      "commit": null,
      "archive": null,
      "source_date_epoch": 315532800,
      "requirements": [
        "tiny-backend==1.0"
      ],
      "audit": null,
      "influences": [],
      "phases": null
    }
    "#);
    assert_snapshot!(outcome.stderr.lines().next().unwrap_or_default(), @"greeter");
}

/// Its name stays what the backend made of it.
#[test]
fn a_wheel_with_native_code_is_audited() {
    let context = context_with(&greeter().extension("int x;\n"));
    assert_snapshot!(context.run(["build", "greeter"]), @r"
    exit: 0
    --- stdout
    Built dist/greeter-1.0-[CPYTHON]-[LINUX].whl ([SIZE], sha256:[DIGEST])
      deserves [LINUX]
    --- stderr
    greeter
      preparing source [TIME]
      finding interpreter [TIME]
      resolving build requirements [TIME]
      making environment [TIME]
      asking backend [TIME]
      building wheel [TIME]
      checking and writing [TIME]
    ");
    let report = context.run(["build", "greeter", "--json", "-q"]).success().json();
    let artifact = &report["artifacts"][0];
    let file = format!("dist/{}", artifact["file"].as_str().unwrap());
    let audited = context.run(["audit", "--json", &file]).success().json();
    let [said, expected] = [&artifact["audit"], &audited[0]];
    for key in ["tag", "external_libraries", "floor"] {
        assert_eq!(said[key], expected[key], "{key}");
    }
    assert!(said["tag"].as_str().unwrap().starts_with("manylinux_"), "{said}");
}

#[test]
fn a_wheel_is_repaired_as_it_is_built() {
    let context = context_with(&greeter().extension("int x;\n"));
    let report = context.run(["build", "greeter", "--repair", "require", "--json", "-q"]).success().json();
    let artifact = &report["artifacts"][0];
    let (file, tag) = (artifact["file"].as_str().unwrap(), artifact["audit"]["tag"].as_str().unwrap());
    assert!(tag.starts_with("manylinux_") && file.ends_with(&format!("{tag}.whl")), "{file} {tag}");
    let file = format!("dist/{file}");
    context.run(["verify", &file, "--source", "greeter", "--repair", "require"]).success();
    let repaired = fs::read(context.work().join(&file)).unwrap();
    context.run(["repair", "-o", "dist", &file]).success();
    assert_eq!(fs::read(context.work().join(&file)).unwrap(), repaired, "a second time");

    let code = Elf::i686().needs("libc.so.6").needs("libabsent.so.1").build();
    let context = context_with(&prebuilt(code));
    let failed = context.run(["build", "greeter", "--repair", "require", "-q"]);
    assert_snapshot!(failed, @r"
    exit: 6
    --- stderr
    error: failed to repair greeter-1.0-py3-none-linux_i686.whl
      caused by: the wheel cannot be repaired for manylinux_2_42_i686: `fast.so` needs `libabsent.so.1`, of which no file was found that can be loaded
    hint: `--repair never` builds it as it is, and `hwb audit -v` says what is in the way then
    ");
    assert!(!context.work().join("dist").exists());
}

#[test]
fn a_repair_keeps_the_time_of_the_build() {
    let context = context_with(&prebuilt(Elf::i686().needs("libc.so.6").build()));
    let time = |arguments: &[&str]| {
        let report =
            context.run(["build", "greeter", "--json", "-q"].iter().chain(arguments)).success().json();
        let file = report["artifacts"][0]["file"].as_str().unwrap().to_owned();
        // Of the first member, as MS-DOS has it.
        fs::read(context.work().join("dist").join(file)).unwrap()[10..14].to_vec()
    };
    let chosen = ["--env", "SOURCE_DATE_EPOCH=1234567890"];
    let built = time(&chosen);
    assert_eq!(time(&[&chosen[..], &["--repair", "require"]].concat()), built);
    assert_ne!(time(&["--repair", "require"]), built);
}

/// The project `greeter` with this code, which a compiler elsewhere made for i686.
fn prebuilt(code: Vec<u8>) -> Project {
    greeter().module("fast.so", code).option("tag", "py3-none-linux_i686")
}

#[test]
fn libraries_that_a_wheel_lacks_are_named() {
    let libraries = ["libxml2.so.2", "libxslt.so.1", "liba.so", "libb.so", "libc.so", "libd.so"];
    let line = |count: usize| {
        let code =
            libraries[..count].iter().fold(Elf::i686().needs("libc.so.6"), |elf, name| elf.needs(name));
        let context = context_with(&prebuilt(code.build()));
        let shown = context.run(["build", "greeter"]).success().stdout;
        shown.lines().nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(line(0), "  deserves manylinux_2_5_i686");
    assert_eq!(line(2), "  deserves linux_i686: needs libxml2.so.2, libxslt.so.1");
    assert_eq!(line(6), "  deserves linux_i686: needs liba.so, libb.so, libc.so, libd.so, 2 more");
}

#[test]
fn a_wheel_that_cannot_be_audited_is_built_all_the_same() {
    let mut code = Elf::i686().needs("libc.so.6").build();
    code.truncate(200);
    let context = context_with(&prebuilt(code));
    assert_snapshot!(context.run(["build", "greeter"]), @r"
    exit: 0
    --- stdout
    Built dist/greeter-1.0-py3-none-linux_i686.whl ([SIZE], sha256:[DIGEST])
    --- stderr
    greeter
      preparing source [TIME]
      finding interpreter [TIME]
      resolving build requirements [TIME]
      making environment [TIME]
      asking backend [TIME]
      building wheel [TIME]
      checking and writing [TIME]
    warning: `greeter-1.0-py3-none-linux_i686.whl` cannot be audited: `fast.so` is a malformed ELF file: its dynamic section lies outside the file
    ");
    let report = context.run(["build", "greeter", "--json", "-q"]).success().json();
    assert_eq!(report["artifacts"][0]["audit"], Value::Null);
}

/// PEP 660: the wheel points at the tree itself.
#[test]
fn an_editable_wheel() {
    let context = context_with(&greeter().file("src/later.py", ""));
    assert_snapshot!(context.run(["build", "greeter", "--editable"]), @r"
    exit: 0
    --- stdout
    Built dist/greeter-1.0-py3-none-any.whl ([SIZE], sha256:[DIGEST])
    --- stderr
    greeter
      preparing source [TIME]
      finding interpreter [TIME]
      resolving build requirements [TIME]
      making environment [TIME]
      asking backend [TIME]
      building wheel [TIME]
      checking and writing [TIME]
    ");
    let path = member(&context.work().join("dist").join(GREETER), ".pth");
    assert_eq!(path.trim(), fs::canonicalize(context.work().join("greeter/src")).unwrap().to_str().unwrap());
    greeter().sdist().write_to(&context.work());
    assert_snapshot!(context.run(["build", SDIST, "--editable", "-q"]), @r"
    exit: 2
    --- stderr
    error: `--in-place` and `--editable` need a directory, and `[WORK]/greeter-1.0.tar.gz` is none
    ");
    assert_snapshot!(context.run(["build", "greeter", "--editable", "-s", "-q"]), @r"
    exit: 2
    --- stderr
    error: the argument '--editable' cannot be used with '--sdist'

    Usage: hwb build --editable --quiet <SOURCE>

    For more information, try '--help'.
    ");
}

#[test]
fn earlier_artifacts_go_only_when_that_is_asked_for() {
    let context = context_with(&greeter());
    let folder = context.work().join("dist");
    fs::create_dir(&folder).unwrap();
    let others = ["greeter-0.9-py3-none-any.whl", "greeter_more-1.0-py3-none-any.whl", "notes.txt"];
    for name in others.iter().chain(&["greeter-0.9.tar.gz"]) {
        fs::write(folder.join(name), "old").unwrap();
    }
    context.run(["build", "greeter", "-q"]).success();
    assert_eq!(dist(&context).len(), 5);
    context.run(["build", "greeter", "-q", "--clean"]).success();
    assert_eq!(dist(&context), [GREETER, "greeter_more-1.0-py3-none-any.whl", "notes.txt"]);
}

/// A build that fails leaves what was there, `--clean` or not.
#[test]
fn a_failed_build_leaves_the_old_output() {
    let context = context_with(&greeter().option("faults", vec!["missing-record"]));
    let folder = context.work().join("dist");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join(GREETER), "old").unwrap();
    context.run(["build", "greeter", "-q", "--clean"]).exit(6);
    assert_eq!(fs::read(folder.join(GREETER)).unwrap(), b"old");
    assert_eq!(dist(&context), [GREETER]);
}

/// What is built elsewhere than in a snapshot sees the tree and what was left there.
#[test]
fn in_place() {
    let project = greeter().option("record-environment", true).file("build/left.o", "").file("more/a", "");
    let context = context_with(&project);
    context.run(["build", "greeter", "-q"]).success();
    let files = seen(&context)["files"].clone();
    assert_eq!(files, json!(["_backend", "greeter.py", "more", "pyproject.toml"]));
    context.run(["build", "greeter", "-q", "--in-place"]).success();
    let seen = seen(&context);
    assert_eq!(seen["files"], json!(["_backend", "build", "greeter.py", "more", "pyproject.toml"]));
    assert_eq!(seen["folder"], fs::canonicalize(context.work().join("greeter")).unwrap().to_str().unwrap());
}

/// A wheel that serves several interpreters is built once; others are built for each.
#[test]
fn several_interpreters() {
    let context = context_with(&greeter());
    let interpreters = interpreters(&context);
    let chosen = interpreters.values().flat_map(|path| ["-p".into(), path.clone().into_os_string()]);
    let build = |more: &[&str]| {
        let command = context.command(["build", "greeter", "--json", "-q"].iter().chain(more));
        chosen.clone().fold(command, hwb_testkit::Invocation::arg).run().success().json()
    };
    let report = build(&[]);
    let [artifact] = report["artifacts"].as_array().unwrap().as_slice() else { panic!("{report}") };
    assert_eq!(artifact["serves"].as_array().unwrap().len(), interpreters.len() - 1);
    assert_eq!(dist(&context), [GREETER]);

    greeter().extension("int x;\n").write_to(&context.work().join("greeter"));
    let report = build(&["-o", "native"]);
    let artifacts = report["artifacts"].as_array().unwrap();
    let tags: Vec<_> = artifacts.iter().map(|artifact| artifact["file"].as_str().unwrap()).collect();
    assert_eq!(tags.len(), interpreters.len(), "{tags:?}");
    for version in interpreters.keys() {
        assert!(tags.iter().any(|file| file.contains(&format!("-cp{version}-"))), "{version}: {tags:?}");
    }
    assert_eq!(CommandContext::files_below(&context.work().join("native")).len(), tags.len());
}

/// One interpreter of each version that this machine has, by the digits of its tag.
pub(crate) fn interpreters(context: &CommandContext) -> BTreeMap<String, PathBuf> {
    let listed = context.run(["python", "list", "--json"]).success().json();
    let listed =
        listed.as_array().unwrap().iter().map(|one| PathBuf::from(one["executable"].as_str().unwrap()));
    // Version managers keep each interpreter in a folder that is named after it, and only one of them on PATH.
    let home = python().ancestors().nth(2).and_then(Path::parent).filter(|home| home.ends_with("versions"));
    let beside = home.into_iter().flat_map(|home| fs::read_dir(home).unwrap());
    let beside = beside.map(|entry| entry.unwrap().path().join("bin/python3"));
    let mut found = BTreeMap::new();
    for path in listed.chain(beside).filter(|path| path.exists()) {
        let ask = "import sys; print('%d%d' % sys.version_info[:2])";
        let outcome = CommandContext::new(&path).run(["-I", "-c", ask]);
        let version = outcome.stdout.trim().to_owned();
        let is_tested =
            version.parse::<u32>().is_ok_and(|version| (38..40).contains(&version) || version >= 310);
        if outcome.code == Some(0) && is_tested {
            found.entry(version).or_insert(path);
        }
    }
    assert!(!found.is_empty(), "no interpreter was found");
    // More of them would prove no more.
    found.into_iter().take(3).collect()
}

#[test]
fn what_happens_is_told() {
    let project = greeter().option("print", 2).option("print-error", 1);
    let context = context_with(&project);
    assert_snapshot!(context.run(["build", "greeter", "-v"]), @r"
    exit: 0
    --- stdout
    Built dist/greeter-1.0-py3-none-any.whl ([SIZE], sha256:[DIGEST])
    --- stderr
    greeter
      preparing source [TIME]
      finding interpreter [TIME]
      resolving build requirements [TIME]
      making environment [TIME]
        get_requires_for_build_wheel: line 1
        get_requires_for_build_wheel: line 2
        get_requires_for_build_wheel: complaint 1
      asking backend [TIME]
        build_wheel: line 1
        build_wheel: line 2
        build_wheel: complaint 1
      building wheel [TIME]
      checking and writing [TIME]
    ");
    assert_snapshot!(context.run(["build", "greeter", "-q"]), @"exit: 0");
}

#[test]
fn a_plan_is_shown_and_nothing_is_built() {
    let context = context_with(&greeter());
    assert_snapshot!(context.run(["build", "greeter", "--dry-run"]), @r"
    exit: 0
    --- stdout
    source          [WORK]/greeter
    digest          sha256:[DIGEST]
    built           in a snapshot of it
    output          a wheel, straight from the source, to [WORK]/dist
    isolation       venv: an environment of its own
    network         as the host has it
    time            [DATE] (315532800): a directory has no time of its own
    variables       none that can change what is built
    project         (the backend says the name) (the backend says the version)
      backend       tiny_backend: `build-backend` says so
      from          _backend
      requires      nothing
      python        cpython [X.Y.Z] at [PYTHON]: the first that was found
        route       the hooks of the backend (PEP 517)
        installs    nothing
        then        what the backend asks for besides
    --- stderr
    greeter
      preparing source [TIME]
      finding interpreter [TIME]
      resolving build requirements [TIME]
    ");
    assert_eq!(dist(&context), [""; 0]);
}

#[test]
fn the_output_folder_may_be_anywhere() {
    let context = context_with(&greeter());
    let target = context.home().join("deep/er");
    let outcome = context.command(["build", "greeter", "-o"]).arg(&target).run();
    assert_snapshot!(outcome.to_string().lines().nth(2).unwrap_or_default(), @"Built [HOME]/deep/er/greeter-1.0-py3-none-any.whl ([SIZE], sha256:[DIGEST])");
    assert_eq!(CommandContext::files_below(&target), [GREETER]);
    fs::write(context.work().join("file"), "").unwrap();
    let refused = context.run(["build", "greeter", "-o", "file"]);
    assert_snapshot!(refused, @r"
    exit: 7
    --- stderr
    error: failed to write to the output folder `[WORK]/file`
      caused by: `[WORK]/file` is not a directory
    ");
    assert_eq!(context.run(["build", "greeter", "-o", "file", "--dry-run"]).to_string(), refused.to_string());
    assert_snapshot!(context.run(["build", "greeter", "-o", "file/below"]), @r"
    exit: 7
    --- stderr
    error: failed to write to the output folder `[WORK]/file/below`
      caused by: `[WORK]/file` is not a directory
    ");
}

/// The backend of uv runs in process: no interpreter, no index. The long way needs both.
#[test]
fn a_project_of_the_backend_of_uv() {
    let context = context();
    let text = "[build-system]\nrequires = [\"uv_build>=0.9,<1\"]\nbuild-backend = \"uv_build\"\n\
                [project]\nname = \"greeter\"\nversion = \"1.0\"\n";
    let files = Tree::new().file("pyproject.toml", text).file("src/greeter/__init__.py", "x = 1\n");
    files.write_to(&context.work().join("greeter"));
    assert_snapshot!(context.run(["build", "greeter", "-sw"]), @r"
    exit: 0
    --- stdout
    Built dist/greeter-1.0.tar.gz ([SIZE], sha256:[DIGEST])
    Built dist/greeter-1.0-py3-none-any.whl ([SIZE], sha256:[DIGEST])
    --- stderr
    greeter
      preparing source [TIME]
      building sdist [TIME]
      checking and writing [TIME]
      preparing source [TIME]
      building wheel [TIME]
      checking and writing [TIME]
    ");
    assert_eq!(dist(&context), [GREETER, SDIST]);
    let report = context.run(["build", "greeter", "--json", "-q"]).success().json();
    assert_eq!(report["artifacts"][0]["python"], Value::Null);
    let outcome =
        context.env("UV_HTTP_RETRIES", "0").run(["build", "greeter", "-q", "--force-pep517"]).exit(5);
    assert_snapshot!(outcome.stderr.lines().next().unwrap_or_default(), @"error: failed to resolve `uv-build>=0.9,<1`");
}

/// Members of a uv workspace.
#[test]
fn members_of_a_workspace() {
    let context = context();
    let root = context.work().join("space");
    for (name, version) in [("first", "1.0"), ("second", "2.0")] {
        let lines = format!("[project]\nname = \"{name}\"\nversion = \"{version}\"\n");
        let member = Project::new(name, version).backend_in_tree().pyproject(&lines);
        member.write_to(&root.join("packages").join(name));
    }
    let text = "[tool.uv.workspace]\nmembers = [\"packages/*\"]\n";
    Tree::new().file("pyproject.toml", text).write_to(&root);
    assert_snapshot!(context.run(["build", "space", "--package", "second", "-q"]), @"exit: 0");
    assert_eq!(dist(&context), ["second-2.0-py3-none-any.whl"]);
    assert_snapshot!(context.run(["build", "space", "--all-packages"]), @r"
    exit: 0
    --- stdout
    Built dist/first-1.0-py3-none-any.whl ([SIZE], sha256:[DIGEST])
    Built dist/second-2.0-py3-none-any.whl ([SIZE], sha256:[DIGEST])
    --- stderr
    space
      preparing source [TIME]
      preparing source [TIME]
      finding interpreter [TIME]
      resolving build requirements [TIME]
      making environment [TIME]
      asking backend [TIME]
      building wheel [TIME]
      checking and writing [TIME]
    packages/second
      packages/second: preparing source [TIME]
      packages/second: finding interpreter [TIME]
      packages/second: resolving build requirements [TIME]
      packages/second: making environment [TIME]
      packages/second: asking backend [TIME]
      packages/second: building wheel [TIME]
      packages/second: checking and writing [TIME]
    ");
    assert_eq!(dist(&context), ["first-1.0-py3-none-any.whl", "second-2.0-py3-none-any.whl"]);
    assert_snapshot!(context.run(["build", "space", "--package", "third", "-q"]), @r"
    exit: 2
    --- stderr
    error: the workspace has no member `third`; its members are `first`, `second`
    ");
    Tree::new().file("pyproject.toml", text).write_to(&context.work().join("empty"));
    assert_snapshot!(context.run(["build", "empty", "--all-packages", "-q"]), @r"
    exit: 2
    --- stderr
    error: the workspace has no members: its root has no `[project]`, and no project with a name fits `members` in `[tool.uv.workspace]`
    ");
    greeter().write_to(&context.work().join("alone"));
    assert_snapshot!(context.run(["build", "alone", "--all-packages", "-q"]), @r"
    exit: 2
    --- stderr
    error: the source is no uv workspace: its `pyproject.toml` has no `[tool.uv.workspace]`
    ");
}

/// The interpreter as it is: what it lacks is said at once.
#[test]
fn without_isolation() {
    let context = context_with(&greeter());
    assert_snapshot!(context.run(["build", "greeter", "-n"]), @r"
    exit: 0
    --- stdout
    Built dist/greeter-1.0-py3-none-any.whl ([SIZE], sha256:[DIGEST])
    --- stderr
    greeter
      preparing source [TIME]
      finding interpreter [TIME]
      making environment [TIME]
      asking backend [TIME]
      building wheel [TIME]
      checking and writing [TIME]
    ");
    indexed_greeter().build_requires("absent>=2").write_to(&context.work().join("greeter"));
    let outcome = context.run(["build", "greeter", "--isolation", "none", "-q"]).exit(7);
    let said = context.filtered(&outcome.stderr);
    // What to do about it depends on who manages the interpreter.
    assert_snapshot!(said.lines().next().unwrap_or_default(), @"error: cpython [X.Y.Z] is used as it is (isolation `none`) and lacks `tiny-backend`, `absent>=2`");
}

#[test]
fn a_wheel_is_verified() {
    let context = context_with(&greeter());
    context.run(["build", "greeter", "-q"]).success();
    let wheel = format!("dist/{GREETER}");
    let verify =
        |more: &[&str]| context.run(["verify", &wheel, "--source", "greeter", "-q"].iter().chain(more));
    assert_snapshot!(context.run(["verify", &wheel, "--source", "greeter"]), @r"
    exit: 0
    --- stdout
    Identical dist/greeter-1.0-py3-none-any.whl
    --- stderr
    greeter
      preparing source [TIME]
      preparing source [TIME]
      finding interpreter [TIME]
      resolving build requirements [TIME]
      making environment [TIME]
      asking backend [TIME]
      building wheel [TIME]
      checking and writing [TIME]
    ");
    assert_snapshot!(verify(&[]), @"exit: 0");
    fs::write(context.work().join("greeter/greeter.py"), "VERSION = 'another'\n").unwrap();
    assert_snapshot!(context.run(["verify", &wheel, "--source", "greeter", "-q"]), @r"
    exit: 6
    --- stderr
    Different dist/greeter-1.0-py3-none-any.whl
    ");
    assert_snapshot!(context.run(["verify", &wheel, "--source", "greeter"]), @r#"
    exit: 6
    --- stdout
    Different dist/greeter-1.0-py3-none-any.whl
      greeter-1.0.dist-info/RECORD: its contents differ, first in `greeter.py,sha256=kfSPccpbQGPCgsnC4YS-Yq3LyvPDEWioO7RxwVPtmbA,16`, which was built as `greeter.py,sha256=Y3UHfHDg6H55ogCZWj9gIwyrWSZ9urug6bnGtIej924,20`
        likely cause: it follows from the others
      greeter.py: its contents differ, first in `VERSION = "1.0"`, which was built as `VERSION = 'another'`
    --- stderr
    greeter
      preparing source [TIME]
      preparing source [TIME]
      finding interpreter [TIME]
      resolving build requirements [TIME]
      making environment [TIME]
      asking backend [TIME]
      building wheel [TIME]
      checking and writing [TIME]
    "#);
    assert_eq!(verify(&["--json"]).exit(6).json()["verdict"], "different");
    greeter().option("random", true).write_to(&context.work().join("greeter"));
    context.run(["build", "greeter", "-q"]).success();
    let outcome = context.run(["verify", &wheel, "--source", "greeter"]).exit(6);
    assert!(outcome.stdout.contains("\n  tiny_random.bin: "), "{outcome}");
    assert_eq!(dist(&context), [GREETER], "to verify writes nothing");
    assert_snapshot!(context.run(["verify", "dist/absent-1-py3-none-any.whl", "--source", "greeter", "-q"]), @r"
    exit: 4
    --- stderr
    error: failed to read the wheel
      caused by: failed to open file `[WORK]/dist/absent-1-py3-none-any.whl`: No such file or directory (os error 2)
    ");
}
