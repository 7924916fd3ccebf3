//! The synthesised backend, wheels and archives, as Python itself sees them.

use std::path::Path;

use hwb_testkit::command::python;
use hwb_testkit::hostile::{Offer, hostile};
use hwb_testkit::wheel::read_member;
use hwb_testkit::{CommandContext, Outcome, Project, Wheel, tiny_backend_wheel};

/// Calls hooks of the backend, unpacked from its wheel, in the project at the working folder.
fn call(context: &CommandContext, expression: &str) -> Outcome {
    let wheel = tiny_backend_wheel().write_to(&context.home());
    let site = context.home().join("site");
    let code = format!(
        "import sys, zipfile; zipfile.ZipFile({wheel:?}).extractall({site:?}); sys.path.insert(0, {site:?}); \
         import tiny_backend as b; print({expression})"
    );
    context.run(["-I", "-c", &code])
}

fn context(project: &Project) -> CommandContext {
    let context = CommandContext::new(python());
    project.write_to(&context.work());
    context
}

fn member(context: &CommandContext, wheel: &str, ending: &str) -> Option<String> {
    let bytes = fs_err::read(context.work().join(wheel)).expect("the wheel is there");
    read_member(&bytes, ending).map(|bytes| String::from_utf8(bytes).expect("the member is text"))
}

#[test]
fn every_hook_answers() {
    let project = Project::new("Tiny.Thing", "1.0")
        .option("requires", vec!["x>1"])
        .option("requires-for-wheel", vec!["more"])
        .option("scripts", vec!["run = tiny_thing:main"]);
    let context = context(&project);
    let said = |expression: &str| call(&context, expression).success().stdout;
    assert_eq!(said("b.get_requires_for_build_wheel(), b.get_requires_for_build_sdist()"), "['more'] []\n");
    assert_eq!(said("b.build_wheel('.')"), "tiny_thing-1.0-py3-none-any.whl\n");
    assert_eq!(said("b.build_sdist('.')"), "tiny_thing-1.0.tar.gz\n");
    assert_eq!(said("b.prepare_metadata_for_build_wheel('.')"), "tiny_thing-1.0.dist-info\n");
    let wheel = "tiny_thing-1.0-py3-none-any.whl";
    let metadata = member(&context, wheel, "METADATA").expect("a wheel has METADATA");
    let prepared = fs_err::read_to_string(context.work().join("tiny_thing-1.0.dist-info/METADATA")).unwrap();
    assert!(metadata == prepared && metadata.contains("Requires-Dist: x>1\n"), "{metadata}");
    assert!(
        member(&context, wheel, "entry_points.txt")
            .is_some_and(|text| text.contains("run = tiny_thing:main"))
    );
    assert_eq!(said("b.build_editable('.')"), "tiny_thing-1.0-py3-none-any.whl\n");
    assert!(member(&context, wheel, ".pth").is_some_and(|path| Path::new(path.trim()).is_dir()));
}

#[test]
fn a_hook_fails_as_it_is_told() {
    let check = |how: &str, code: Option<i32>| {
        let project = Project::new("sad", "1").option("fail", "build_wheel").option("fail-how", how);
        let outcome = call(&context(&project), "b.build_wheel('.')");
        assert_eq!(outcome.code, code, "{how}: {}", outcome.stderr);
    };
    check("exception", Some(1));
    check("exit", Some(3));
    check("kill", None);
    check("garbage", Some(0));
}

#[test]
fn an_outcome_is_a_snapshot() {
    let project = Project::new("loud", "1").option("print", 2).option("print-error", 1);
    insta::assert_snapshot!(call(&context(&project), "b.build_wheel('.')"), @r"
    exit: 0
    --- stdout
    build_wheel: line 1
    build_wheel: line 2
    loud-1-py3-none-any.whl
    --- stderr
    build_wheel: complaint 1
    ");
}

#[test]
fn the_surroundings_are_recorded() {
    let project =
        Project::new("seen", "1").option("record-environment", true).option("connect", "127.0.0.1:9");
    let context = context(&project);
    call(&context, "b.build_wheel('.', {'a': ['b', 'c']})").success();
    let seen = member(&context, "seen-1-py3-none-any.whl", "tiny_environment.json").expect("it is recorded");
    let seen: serde_json::Value = serde_json::from_str(&seen).expect("it is JSON");
    assert_eq!(seen["config_settings"], serde_json::json!({ "a": ["b", "c"] }));
    assert_eq!(seen["environment"]["TZ"], "UTC");
    let network = member(&context, "seen-1-py3-none-any.whl", "tiny_network.txt");
    assert_eq!(network.as_deref(), Some("refused: ConnectionRefusedError"));
}

#[test]
fn the_machine_is_recorded() {
    let project =
        Project::new("seen", "1").option("record-machine", true).file("many/one", "").file("two", "");
    let context = context(&project);
    call(&context, "b.build_wheel('.')").success();
    let seen = member(&context, "seen-1-py3-none-any.whl", "tiny_machine.json").expect("it is recorded");
    let seen: serde_json::Value = serde_json::from_str(&seen).expect("it is JSON");
    let mut names: Vec<_> =
        seen["orders"][0].as_array().expect("names").iter().flat_map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["many", "one", "pyproject.toml", "seen.py", "two"]);
    assert!(seen["clock"].is_number() && seen["clock_of_programs"].is_number() && seen["user"].is_number());
}

#[test]
fn an_extension_is_compiled() {
    let project = Project::new("fast", "1").extension("int answer(void) { return 42; }\n");
    let context = context(&project);
    let name = call(&context, "b.build_wheel('.')").success().stdout;
    let bytes = fs_err::read(context.work().join(name.trim())).expect("the wheel is there");
    let native = read_member(&bytes, ".so").expect("the wheel has a library");
    assert!(native.starts_with(b"\x7fELF") && name.starts_with("fast-1-cp3"), "{name}");
}

#[test]
fn faults_are_only_where_they_were_asked_for() {
    let check = |fault: &str, ending: &str, there: bool| {
        let context = context(&Project::new("odd", "1").option("faults", vec![fault]));
        call(&context, "b.build_wheel('.')").success();
        let found = member(&context, "odd-1-py3-none-any.whl", ending).is_some();
        assert_eq!(found, there, "{fault}");
    };
    check("missing-record", "RECORD", false);
    check("missing-metadata", "METADATA", false);
    check("unlisted", "unlisted.py", true);
    check("escape", "../escaped.py", true);
    check("none", "RECORD", true);
}

#[test]
fn python_reads_the_wheels_and_archives() {
    let context = CommandContext::new(python());
    let wheel = Wheel::new("a", "1").file("a.py", "x = 1\n").build().write_to(&context.work());
    let sdist = Project::new("a", "1").sdist().write_to(&context.work());
    let zip = Project::new("a", "1").sdist_zip().write_to(&context.work());
    let code = "import sys, tarfile, zipfile\n\
                for path in sys.argv[1:]:\n \
                 if path.endswith('.tar.gz'): print(tarfile.open(path).getnames())\n \
                 else: z = zipfile.ZipFile(path); print(z.testzip(), z.namelist())";
    let outcome = context.command(["-I", "-c", code]).arg(wheel).arg(sdist).arg(zip).run().success();
    assert_eq!(
        outcome.stdout,
        "None ['a.py', 'a-1.dist-info/METADATA', 'a-1.dist-info/WHEEL', 'a-1.dist-info/RECORD']\n\
         ['a-1/PKG-INFO', 'a-1/a.py', 'a-1/pyproject.toml']\n\
         None ['a-1/PKG-INFO', 'a-1/a.py', 'a-1/pyproject.toml']\n"
    );
}

#[test]
fn the_overlapping_zip_has_two_members_for_python() {
    let context = CommandContext::new(python());
    let all = hostile("/nonexistent/hwb-escaped");
    let found = all.iter().find(|hostile| hostile.what == "zip: members that overlap");
    let hostile = found.expect("there is such a case");
    assert_eq!(hostile.offer, Offer::Source);
    let path = hostile.artifact.write_to(&context.work());
    let code = "import sys, zipfile; print(len(zipfile.ZipFile(sys.argv[1]).namelist()))";
    assert_eq!(context.command(["-I", "-c", code]).arg(path).run().success().stdout, "2\n");
}
