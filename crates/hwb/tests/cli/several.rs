//! Several builds in one command: the failure of one hides nothing that another yielded.

use fs_err as fs;
use hwb_testkit::{CommandContext, Project, Tree};
use insta::assert_snapshot;
use serde_json::Value;

use crate::build_outputs::interpreters;
use crate::{context, context_with, dist, greeter, index, indexed_greeter};

/// The files of the artifacts in a document.
fn files(artifacts: &Value) -> Vec<&str> {
    artifacts.as_array().unwrap().iter().map(|artifact| artifact["file"].as_str().unwrap()).collect()
}

/// The result in the newest record.
fn recorded(context: &CommandContext) -> Value {
    context.run(["history", "--json", "-n", "1"]).success().json()[0]["result"].clone()
}

/// A workspace of `first` to `third`, of which those that are named fail.
fn workspace(failing: &[&str]) -> CommandContext {
    let context = context();
    let root = context.work().join("space");
    for name in ["first", "second", "third"] {
        let project = Project::new(name, "1.0").backend_in_tree();
        let project = project.pyproject(&format!("[project]\nname = \"{name}\"\nversion = \"1.0\"\n"));
        let project = if failing.contains(&name) { project.option("fail", "build_wheel") } else { project };
        project.write_to(&root.join(name));
    }
    let text = "[tool.uv.workspace]\nmembers = [\"*\"]\n";
    Tree::new().file("pyproject.toml", text).write_to(&root);
    context
}

#[test]
fn a_member_fails_and_the_others_are_built() {
    let context = workspace(&["first"]);
    let outcome = context.run(["build", "space", "--all-packages", "--json", "-q"]).exit(1);
    let document = outcome.json();
    assert_eq!(files(&document["artifacts"]), ["second-1.0-py3-none-any.whl", "third-1.0-py3-none-any.whl"]);
    assert_eq!(document["error"]["message"], "the build of `first` failed");
    assert_eq!(dist(&context), files(&document["artifacts"]));
    let record = recorded(&context);
    assert_eq!(record["outcome"], "failed");
    assert_eq!(record["artifacts"], document["artifacts"]);
    assert_eq!(record["causes"], document["error"]["causes"]);
    let context = context.filter(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "[DATE]");
    assert_snapshot!(context.run(["history"]), @r"
    exit: 0
    --- stdout
    [DATE]  [TIME]  failed  space  the build of `first` failed; built second-1.0-py3-none-any.whl, third-1.0-py3-none-any.whl
    ");
}

#[test]
fn each_member_that_fails_is_named() {
    let context = workspace(&["first", "third"]);
    assert_snapshot!(context.run(["build", "space", "--package", "third", "--package", "second", "--package", "first"]), @r"
    exit: 1
    --- stdout
    Built dist/second-1.0-py3-none-any.whl ([SIZE], sha256:[DIGEST])
    --- stderr
    space
      preparing source [TIME]
      preparing source [TIME]
      finding interpreter [TIME]
      resolving build requirements [TIME]
      making environment [TIME]
      asking backend [TIME]
      building wheel [TIME]
    second
      second: preparing source [TIME]
      second: finding interpreter [TIME]
      second: resolving build requirements [TIME]
      second: making environment [TIME]
      second: asking backend [TIME]
      second: building wheel [TIME]
      second: checking and writing [TIME]
    first
      first: preparing source [TIME]
      first: finding interpreter [TIME]
      first: resolving build requirements [TIME]
      first: making environment [TIME]
      first: asking backend [TIME]
      first: building wheel [TIME]
    warning: the build of `first` failed: `build_wheel` of the backend `tiny_backend` failed: RuntimeError: tiny_backend was told to fail (the whole log: [CACHE]/v1/logs/[LOG])
      │ Traceback […]
      │ RuntimeError: tiny_backend was told to fail
      the whole log: [CACHE]/v1/logs/[LOG]
    error: the build of `third` failed; also failed: of `first`
      caused by: `build_wheel` of the backend `tiny_backend` failed: RuntimeError: tiny_backend was told to fail
    ");
    assert_eq!(dist(&context), ["second-1.0-py3-none-any.whl"]);
}

#[test]
fn the_sdist_stays_where_its_wheel_fails() {
    let index = index();
    let context = context_with(&indexed_greeter().option("fail", "build_wheel")).index(&index);
    assert_snapshot!(context.run(["build", "greeter", "-sw"]), @r"
    exit: 1
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
      preparing source [TIME]
      finding interpreter [TIME]
      resolving build requirements [TIME]
      making environment [TIME]
      asking backend [TIME]
      building wheel [TIME]
      │ Traceback […]
      │ RuntimeError: tiny_backend was told to fail
      the whole log: [CACHE]/v1/logs/[LOG]
    error: `build_wheel` of the backend `tiny_backend` failed: RuntimeError: tiny_backend was told to fail
    ");
    assert_eq!(dist(&context), ["greeter-1.0.tar.gz"]);
    assert_eq!(files(&recorded(&context)["artifacts"]), ["greeter-1.0.tar.gz"]);
}

/// The oldest goes first, and the others are built if it fails.
#[test]
fn an_interpreter_fails_and_the_others_are_built_for() {
    // It fails for the version that stands in a file.
    let backend = "import sys\nimport tiny_backend\nfrom tiny_backend import *\n\n\
                   def build_wheel(*arguments):\n    \
                       if open('failing').read() == '%d%d' % sys.version_info[:2]:\n        \
                           raise RuntimeError('not this one')\n    \
                       return tiny_backend.build_wheel(*arguments)\n";
    let context = context_with(&greeter().extension("int x;\n").file("_backend/picky.py", backend));
    let project = context.work().join("greeter");
    let pyproject = fs::read_to_string(project.join("pyproject.toml")).unwrap();
    let pyproject = pyproject.replace("build-backend = \"tiny_backend\"", "build-backend = \"picky\"");
    fs::write(project.join("pyproject.toml"), pyproject).unwrap();
    let interpreters = interpreters(&context);
    // Where the machine has one only, it is named twice, and both builds fail.
    let named: Vec<_> = interpreters.iter().rev().chain(interpreters.iter().take(1)).collect();
    for failing in interpreters.keys() {
        fs::write(project.join("failing"), failing).unwrap();
        let command = context.command(["build", "greeter", "--json", "-q", "-o", failing]);
        let command = named.iter().fold(command, |command, (_, path)| command.arg("-p").arg(path));
        let document = command.run().exit(1).json();
        let error = &document["error"];
        let (major, minor) = failing.split_at(1);
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("the build for cpython {major}.{minor}.")), "{document}");
        assert!(error["causes"][0].as_str().unwrap().contains("not this one"), "{document}");
        let folder = CommandContext::files_below(&context.work().join(failing));
        let mut built = document.get("artifacts").map(files).unwrap_or_default();
        built.sort_unstable();
        assert_eq!(built, folder);
        assert_eq!(built.len(), interpreters.len() - 1);
    }
}
