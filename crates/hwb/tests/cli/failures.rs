//! What is said when something fails, with which exit code, and what is left: no artifact, and nothing half done.

use fs_err as fs;
use hwb_testkit::hostile::elf;
use hwb_testkit::index::Fault;
use hwb_testkit::{CommandContext, Index, Outcome, Project, Tree, tiny_backend_wheel};
use insta::assert_snapshot;

use crate::{GREETER, context, context_with, dist, greeter, index, indexed_greeter, remains};

/// Builds the project with these arguments; whatever happens, nothing is left of it.
fn fail(project: &Project, arguments: &[&str]) -> Outcome {
    let context = context_with(project);
    let outcome = context.run(["build", "greeter", "-q"].iter().chain(arguments));
    assert_ne!(outcome.code, Some(0), "{outcome}");
    assert_eq!(dist(&context), [""; 0]);
    assert_eq!(remains(&context), [""; 0]);
    outcome
}

#[test]
fn a_hook_raises() {
    let raising = |hook: &str| greeter().option("fail", hook);
    assert_snapshot!(fail(&raising("get_requires_for_build_wheel"), &[]), @r"
    exit: 1
    --- stderr
      │ Traceback […]
      │ RuntimeError: tiny_backend was told to fail
      the whole log: [CACHE]/v1/logs/[LOG]
    error: `get_requires_for_build_wheel` of the backend `tiny_backend` failed: RuntimeError: tiny_backend was told to fail
    ");
    assert_snapshot!(fail(&raising("build_wheel"), &[]), @r"
    exit: 1
    --- stderr
      │ Traceback […]
      │ RuntimeError: tiny_backend was told to fail
      the whole log: [CACHE]/v1/logs/[LOG]
    error: `build_wheel` of the backend `tiny_backend` failed: RuntimeError: tiny_backend was told to fail
    ");
    assert_snapshot!(fail(&raising("get_requires_for_build_sdist"), &["-s"]), @r"
    exit: 1
    --- stderr
      │ Traceback […]
      │ RuntimeError: tiny_backend was told to fail
      the whole log: [CACHE]/v1/logs/[LOG]
    error: `get_requires_for_build_sdist` of the backend `tiny_backend` failed: RuntimeError: tiny_backend was told to fail
    ");
    assert_snapshot!(fail(&raising("build_sdist"), &["-s"]), @r"
    exit: 1
    --- stderr
      │ Traceback […]
      │ RuntimeError: tiny_backend was told to fail
      the whole log: [CACHE]/v1/logs/[LOG]
    error: `build_sdist` of the backend `tiny_backend` failed: RuntimeError: tiny_backend was told to fail
    ");
    assert_snapshot!(fail(&raising("get_requires_for_build_editable"), &["--editable"]), @r"
    exit: 1
    --- stderr
      │ Traceback […]
      │ RuntimeError: tiny_backend was told to fail
      the whole log: [CACHE]/v1/logs/[LOG]
    error: `get_requires_for_build_editable` of the backend `tiny_backend` failed: RuntimeError: tiny_backend was told to fail
    ");
    assert_snapshot!(fail(&raising("build_editable"), &["--editable"]), @r"
    exit: 1
    --- stderr
      │ Traceback […]
      │ RuntimeError: tiny_backend was told to fail
      the whole log: [CACHE]/v1/logs/[LOG]
    error: `build_editable` of the backend `tiny_backend` failed: RuntimeError: tiny_backend was told to fail
    ");
}

#[test]
fn a_hook_ends_otherwise() {
    let failing = |hook: &str, how: &str| greeter().option("fail", hook).option("fail-how", how);
    assert_snapshot!(fail(&failing("build_wheel", "exit"), &[]), @r"
    exit: 1
    --- stderr
      │ Traceback […]
      │ SystemExit: 3
      the whole log: [CACHE]/v1/logs/[LOG]
    error: `build_wheel` of the backend `tiny_backend` failed: SystemExit: 3
    ");
    assert_snapshot!(fail(&failing("build_wheel", "kill"), &[]), @r"
    exit: 1
    --- stderr
      the whole log: [CACHE]/v1/logs/[LOG]
    error: the process of `build_wheel` was killed by signal 9
    ");
    assert_snapshot!(fail(&failing("build_wheel", "garbage"), &[]), @r#"
    exit: 1
    --- stderr
      the whole log: [CACHE]/v1/logs/[LOG]
    error: `build_wheel` of the backend `tiny_backend` returned `{"not":"what a hook answers"}`, not the name of a file
    "#);
    assert_snapshot!(fail(&failing("get_requires_for_build_wheel", "garbage"), &[]), @r#"
    exit: 1
    --- stderr
      the whole log: [CACHE]/v1/logs/[LOG]
    error: `get_requires_for_build_wheel` of the backend `tiny_backend` returned `{"not":"what a hook answers"}`, not a list of requirements
    "#);
    assert_snapshot!(fail(&failing("get_requires_for_build_wheel", "kill"), &[]), @r"
    exit: 1
    --- stderr
      the whole log: [CACHE]/v1/logs/[LOG]
    error: the process of `get_requires_for_build_wheel` was killed by signal 9
    ");
    // The same where hooks are forked.
    let index = index();
    let context = context_with(&indexed_greeter().option("fail", "build_wheel").option("fail-how", "kill"));
    assert_snapshot!(context.index(&index).run(["build", "greeter", "-q"]), @r"
    exit: 1
    --- stderr
      the whole log: [CACHE]/v1/logs/[LOG]
    error: the process of `build_wheel` was killed by signal 9
    ");
}

/// The end of the log is shown, and the whole of it is kept.
#[test]
fn the_log_is_shown_and_kept() {
    let context = context_with(&greeter().option("fail", "build_wheel").option("print", 40));
    let outcome = context.run(["build", "greeter", "-q"]);
    assert_snapshot!(outcome, @r"
    exit: 1
    --- stderr
      │ build_wheel: line 32
      │ build_wheel: line 33
      │ build_wheel: line 34
      │ build_wheel: line 35
      │ build_wheel: line 36
      │ build_wheel: line 37
      │ build_wheel: line 38
      │ build_wheel: line 39
      │ build_wheel: line 40
      │ Traceback […]
      │ RuntimeError: tiny_backend was told to fail
      the whole log: [CACHE]/v1/logs/[LOG]
    error: `build_wheel` of the backend `tiny_backend` failed: RuntimeError: tiny_backend was told to fail
    ");
    let place = outcome.stderr.lines().find_map(|line| line.split_once("the whole log: ")).unwrap().1;
    let log = fs::read_to_string(place).unwrap();
    assert!(log.starts_with("get_requires_for_build_wheel: line 1\n") && log.contains("Traceback"), "{log}");
    let document = context.run(["build", "greeter", "--json", "-q"]).exit(1).json();
    let error = &document["error"];
    assert_eq!(error["kind"], "build");
    assert_snapshot!(context.filtered(&serde_json::to_string_pretty(&error["causes"]).unwrap()), @"[]");
    assert!(error["log"]["tail"].as_array().is_some_and(|tail| tail.len() > 40), "{document}");
}

#[test]
fn the_backend_is_not_there() {
    let backend = |name: &str| {
        let text = format!("[build-system]\nrequires = []\nbuild-backend = \"{name}\"\n");
        Tree::new()
            .file("pyproject.toml", text)
            .file("half.py", "import absent_helper\n")
            .file("hookless.py", "def build_sdist(directory, settings=None): pass\n")
    };
    let fail = |tree: Tree| {
        let context = context();
        tree.write_to(&context.work().join("greeter"));
        context.run(["build", "greeter", "-q"])
    };
    assert_snapshot!(fail(backend("gone.away")), @r"
    exit: 1
    --- stderr
      │ Traceback […]
      │ ModuleNotFoundError: No module named 'gone'
      the whole log: [CACHE]/v1/logs/[LOG]
    error: the backend `gone.away` cannot be imported: ModuleNotFoundError: No module named 'gone'
    hint: the project does not say that its build needs `gone`: add it with `--with gone`
    ");
    let in_tree = |name: &str| backend(&format!("{name}\"\nbackend-path = [\".\"]\n#"));
    assert_snapshot!(fail(in_tree("half")), @r"
    exit: 1
    --- stderr
      │ Traceback […]
      │ ModuleNotFoundError: No module named 'absent_helper'
      the whole log: [CACHE]/v1/logs/[LOG]
    error: the backend `half` cannot be imported: ModuleNotFoundError: No module named 'absent_helper'
    hint: the project does not say that its build needs `absent_helper`: add it with `--with absent_helper`
    ");
    assert_snapshot!(fail(in_tree("hookless")), @r"
    exit: 1
    --- stderr
      the whole log: [CACHE]/v1/logs/[LOG]
    error: the backend `hookless` has no `build_wheel`
    ");
    assert_snapshot!(fail(in_tree("hookless:absent")), @r"
    exit: 1
    --- stderr
      │ Traceback […]
      │ AttributeError: module 'hookless' has no attribute 'absent'
      the whole log: [CACHE]/v1/logs/[LOG]
    error: the backend `hookless:absent` cannot be imported: AttributeError: module 'hookless' has no attribute 'absent'
    ");
}

#[test]
fn pyproject_toml_is_wrong() {
    let fail = |text: &str| {
        let context = context();
        Tree::new().file("pyproject.toml", text).write_to(&context.work().join("greeter"));
        context.run(["build", "greeter", "-q"])
    };
    assert_snapshot!(fail("[build-system\n"), @r"
    exit: 4
    --- stderr
    error: `[WORK]/greeter/pyproject.toml` is not a valid `pyproject.toml`
      caused by: TOML parse error at line 1, column 14
          |
        1 | [build-system
          |              ^
        unclosed table, expected `]`
    ");
    assert_snapshot!(fail("[build-system]\nbuild-backend = 'a'\n"), @r"
    exit: 4
    --- stderr
    error: `[build-system]` in `[WORK]/greeter/pyproject.toml` has no `requires`, which PEP 518 demands
    ");
    assert_snapshot!(fail("[build-system]\nrequires = ['a b']\nbuild-backend = 'a'\n"), @r"
    exit: 4
    --- stderr
    error: `build-system.requires` in `[WORK]/greeter/pyproject.toml` has `a b`, which is not valid
      caused by: Expected one of `@`, `(`, `<`, `=`, `>`, `~`, `!`, `;`, found `b`
        a b
          ^
    ");
    assert_snapshot!(fail("[build-system]\nrequires = []\nbuild-backend = 'a'\nbackend-path = ['..']\n"), @r"
    exit: 4
    --- stderr
    error: `backend-path` in `[WORK]/greeter/pyproject.toml` has `..`, which is not a directory inside the project
    ");
    assert_snapshot!(fail("[build-system]\nrequires = 3\n"), @r"
    exit: 4
    --- stderr
    error: `[WORK]/greeter/pyproject.toml` is not a valid `pyproject.toml`
      caused by: TOML parse error at line 2, column 12
          |
        2 | requires = 3
          |            ^
        invalid type: integer `3`, expected a sequence
    ");
    assert_snapshot!(fail("[project]\nname = '-'\nversion = '1'\n"), @r#"
    exit: 4
    --- stderr
    error: `project.name` in `[WORK]/greeter/pyproject.toml` has `-`, which is not valid
      caused by: Not a valid package or extra name: "-". Names must start and end with a letter or digit and may only contain -, _, ., and alphanumeric characters.
    "#);
}

#[test]
fn there_is_no_project() {
    let context = context();
    fs::create_dir(context.work().join("empty")).unwrap();
    assert_snapshot!(context.run(["build", "empty", "-q"]), @r"
    exit: 4
    --- stderr
    error: `[WORK]/empty` holds no Python project: neither `pyproject.toml` nor `setup.py` is there
    ");
    assert_snapshot!(context.run(["build", "-q"]), @r"
    exit: 4
    --- stderr
    error: `[WORK]` holds no Python project: neither `pyproject.toml` nor `setup.py` is there
    ");
    assert_snapshot!(context.run(["build", "/nonexistent/project", "-q"]), @r"
    exit: 4
    --- stderr
    error: `/nonexistent/project` is neither a file or directory here, nor a URL, nor a requirement such as `name==1.0`
    ");
    // Of a `pyproject.toml` alone, setuptools would make a wheel named `unknown`.
    Tree::new().file("pyproject.toml", "[tool.black]\n").write_to(&context.work().join("tools"));
    let refused = context.run(["build", "tools", "-q"]);
    assert_snapshot!(refused, @r"
    exit: 4
    --- stderr
    error: `[WORK]/tools` says nothing of a project: its `pyproject.toml` has neither `[project]` nor `build-backend`, and there is no `setup.py` or `setup.cfg`
    ");
    let plan = context.run(["build", "tools", "-q", "--dry-run"]);
    assert_eq!(plan.to_string(), refused.to_string());
    Tree::new().file("tools/pyproject.toml", "[tool.uv.workspace]\n").write_to(&context.work().join("space"));
    assert_snapshot!(context.run(["build", "space", "--subdirectory", "tools", "-q"]), @r"
    exit: 4
    --- stderr
    error: `[WORK]/space/tools` says nothing of a project: its `pyproject.toml` has neither `[project]` nor `build-backend`, and there is no `setup.py` or `setup.cfg`
    hint: it is the root of a workspace: `--all-packages` builds the members
    ");
    fs::write(context.work().join("data.bin"), [0; 100]).unwrap();
    assert_snapshot!(context.run(["build", "data.bin", "-q"]), @r"
    exit: 4
    --- stderr
    error: failed to unpack `data.bin`
      caused by: the file is not an archive: neither zip nor tar, plain or compressed with gzip, xz, zstd or bzip2
    ");
}

#[test]
fn the_interpreter_is_not_there() {
    assert_snapshot!(fail(&greeter(), &["-p", "3.99"]), @r"
    exit: 7
    --- stderr
    error: no Python interpreter for `3.99`
      caused by: No interpreter found for Python [X.Y] in search path or managed installations
    hint: `hwb python list` shows the interpreters that can be found
    ");
    assert_snapshot!(fail(&greeter(), &["-p", "/nonexistent/python"]), @r"
    exit: 7
    --- stderr
    error: no Python interpreter for `/nonexistent/python`
      caused by: No interpreter found at path `/nonexistent/python`
    hint: `hwb python list` shows the interpreters that can be found
    ");
    assert_snapshot!(fail(&greeter(), &["-p", "not a python"]), @r"
    exit: 7
    --- stderr
    error: no Python interpreter for `not a python`
      caused by: No interpreter found for executable name `not a python` in search path or managed installations
    hint: `hwb python list` shows the interpreters that can be found
    ");
    let demanding = greeter()
        .pyproject("[project]\nname = \"greeter\"\nversion = \"1.0\"\nrequires-python = \">=3.99\"\n");
    assert_snapshot!(fail(&demanding, &[]), @r"
    exit: 7
    --- stderr
    error: no Python interpreter for `>=3.99`, which the project's `requires-python` asks for
      caused by: No interpreter found for Python >=3.99 in search path or managed installations
    hint: `hwb python list` shows the interpreters that can be found
    ");
}

#[test]
fn the_index_does_not_help() {
    assert_snapshot!(fail(&indexed_greeter(), &[]), @r"
    exit: 5
    --- stderr
    error: failed to resolve `tiny-backend`
      caused by: Request failed after 3 retries in [TIME]
      caused by: Failed to fetch: `http://127.0.0.1:9/simple/tiny-backend/`
      caused by: error sending request for url (http://127.0.0.1:9/simple/tiny-backend/)
      caused by: client error (Connect)
      caused by: tcp connect error
      caused by: Connection refused (os error 111)
    hint: nothing answers there: is the URL right?
    hint: the server does not answer: `--offline` uses what is cached
    ");
    let index = Index::of([]);
    assert_snapshot!(fail_on(&index, &[]), @r"
    exit: 5
    --- stderr
    error: failed to resolve `tiny-backend`
      caused by: Because tiny-backend was not found in the package registry and you require tiny-backend, we can conclude that your requirements are unsatisfiable.
    ");
    let index = Index::builder().file(tiny_backend_wheel()).credentials("me", "secret").serve();
    assert_snapshot!(fail_on(&index, &[]), @r"
    exit: 5
    --- stderr
    error: failed to resolve `tiny-backend`
      caused by: Because tiny-backend was not found in the package registry and you require tiny-backend, we can conclude that your requirements are unsatisfiable.
    hint: An index URL (http://[INDEX]/simple) could not be queried due to a lack of valid authentication credentials (401 Unauthorized)
    ");
    let index = Index::builder().fault("tiny-backend", Fault::Status(403)).file(tiny_backend_wheel()).serve();
    assert_snapshot!(fail_on(&index, &[]), @r"
    exit: 5
    --- stderr
    error: failed to resolve `tiny-backend`
      caused by: Because tiny-backend was not found in the package registry and you require tiny-backend, we can conclude that your requirements are unsatisfiable.
    hint: An index (http://[INDEX]/simple) returned a 403 Forbidden error. Check that the index URL is correct and the credentials are valid.
    ");
}

#[test]
fn a_file_of_the_index_is_wrong() {
    let wheel = tiny_backend_wheel();
    let fail = |fault: Fault| {
        let index = Index::builder().file(wheel.clone()).fault(&wheel.name, fault).serve();
        fail_on(&index, &[])
    };
    assert_snapshot!(fail(Fault::WrongHash), @r"
    exit: 5
    --- stderr
    error: failed to fetch the build requirements
      caused by: Failed to download `tiny-backend==1.0`
      caused by: Hash mismatch for `tiny-backend==1.0`

        Expected:
          sha256:[DIGEST]

        Computed:
          sha256:[DIGEST]
    ");
    assert_snapshot!(fail(Fault::Status(404)), @r"
    exit: 5
    --- stderr
    error: failed to resolve `tiny-backend`
      caused by: Failed to fetch: `http://[INDEX]/files/tiny_backend-1.0-py3-none-any.whl`
      caused by: HTTP status client error (404 Not Found) for url (http://[INDEX]/files/tiny_backend-1.0-py3-none-any.whl)
    ");
    assert_snapshot!(fail(Fault::Status(407)), @r"
    exit: 5
    --- stderr
    error: failed to resolve `tiny-backend`
      caused by: Failed to fetch: `http://[INDEX]/files/tiny_backend-1.0-py3-none-any.whl`
      caused by: HTTP status client error (407 Answer) for url (http://[INDEX]/files/tiny_backend-1.0-py3-none-any.whl)
    hint: the proxy asks for a password: put it into `HTTPS_PROXY`
    ");
    let sdist = greeter().sdist();
    let fail = |fault: Fault| {
        let index = Index::builder().file(sdist.clone()).fault(&sdist.name, fault).serve();
        let context = context().index(&index).env("UV_HTTP_RETRIES", "0");
        let outcome = context.run(["build", "greeter==1.0", "-q"]);
        assert_eq!(dist(&context), [""; 0]);
        outcome
    };
    assert_snapshot!(fail(Fault::WrongHash), @r"
    exit: 5
    --- stderr
    error: `http://[INDEX]/files/greeter-1.0.tar.gz` has the digest sha256:[DIGEST], but sha256:[DIGEST] was expected
    hint: the digest is of another file: it is wrong, or the file was changed on the server or on the way
    ");
    assert_snapshot!(fail(Fault::Truncated), @r"
    exit: 5
    --- stderr
    error: failed to fetch `http://[INDEX]/files/greeter-1.0.tar.gz`
      caused by: error decoding response body
      caused by: request or response body error
      caused by: error reading a body from connection
      caused by: end of file before message length reached
    ");
    assert_snapshot!(fail(Fault::Status(404)), @r"
    exit: 5
    --- stderr
    error: failed to fetch `http://[INDEX]/files/greeter-1.0.tar.gz`
      caused by: HTTP status client error (404 Not Found)
    ");
}

/// Builds a project whose backend should be on this index.
fn fail_on(index: &Index, arguments: &[&str]) -> Outcome {
    let context = context_with(&indexed_greeter()).index(index).env("UV_HTTP_RETRIES", "0");
    let outcome = context.run(["build", "greeter", "-q"].iter().chain(arguments));
    assert_eq!(dist(&context), [""; 0]);
    outcome
}

#[test]
fn requirements_that_cannot_be_met() {
    let index = index();
    let fail = |project: Project| context_with(&project).index(&index).run(["build", "greeter", "-q"]);
    assert_snapshot!(fail(indexed_greeter().build_requires("tiny_backend>2")), @r"
    exit: 5
    --- stderr
    error: failed to resolve `tiny-backend`, `tiny-backend>2`
      caused by: Because only tiny-backend==1.0 is available and you require tiny-backend>2, we can conclude that your requirements are unsatisfiable.
    ");
    assert_snapshot!(fail(indexed_greeter().option("requires-for-wheel", vec!["absent"])), @r"
    exit: 5
    --- stderr
    error: failed to resolve `tiny-backend`, `absent`
      caused by: Because absent was not found in the package registry and you require absent, we can conclude that your requirements are unsatisfiable.
    ");
    assert_snapshot!(fail(indexed_greeter().option("requires-for-wheel", vec!["not a requirement"])), @r#"
    exit: 1
    --- stderr
      the whole log: [CACHE]/v1/logs/[LOG]
    error: `get_requires_for_build_wheel` of the backend `tiny_backend` returned `"not a requirement"`, not a list of requirements
    "#);
}

#[test]
fn a_hook_takes_too_long() {
    assert_snapshot!(fail(&greeter().option("sleep", 600), &["--timeout", "2"]), @r"
    exit: 1
    --- stderr
      the whole log: [CACHE]/v1/logs/[LOG]
    error: failed to run `build_wheel`
      caused by: `[ENVIRONMENT]/bin/python` was stopped after [TIME]
    hint: a hook has the time that `--timeout` gives it: raise it
    ");
}

/// A wheel that fails its check is not in `dist`.
#[test]
fn a_wheel_that_fails_its_check() {
    let spoilt = |fault: &str| fail(&greeter().option("faults", vec![fault]), &[]);
    assert_snapshot!(fail(&greeter().module("native.so", elf()), &[]), @r"
    exit: 6
    --- stderr
    error: `greeter-1.0-py3-none-any.whl` fails its check and was not written to the output folder
      caused by: `native.so` is native code (ELF), but the wheel is tagged `any`; its platform tag should be `[LINUX]`
    ");
    assert_snapshot!(spoilt("missing-record"), @r"
    exit: 6
    --- stderr
    error: `greeter-1.0-py3-none-any.whl` is not a valid wheel
      caused by: the wheel has no `greeter-1.0.dist-info/RECORD`
    ");
    assert_snapshot!(spoilt("missing-metadata"), @r"
    exit: 6
    --- stderr
    error: `greeter-1.0-py3-none-any.whl` is not a valid wheel
      caused by: the wheel has no `greeter-1.0.dist-info/METADATA`
    ");
    assert_snapshot!(spoilt("wrong-hash"), @r"
    exit: 6
    --- stderr
    error: `greeter-1.0-py3-none-any.whl` fails its check and was not written to the output folder
      caused by: `greeter-1.0.dist-info/METADATA` is not what RECORD says: it has [SIZE], not 49
    ");
    assert_snapshot!(spoilt("wrong-name"), @r"
    exit: 6
    --- stderr
    error: `greeter-1.0-py3-none-any.whl` fails its check and was not written to the output folder
      caused by: METADATA is of `other`, but the file name of `greeter`
    ");
    assert_snapshot!(spoilt("not-metadata"), @r"
    exit: 6
    --- stderr
    error: `greeter-1.0-py3-none-any.whl` is not a valid wheel
      caused by: the wheel has an unusable METADATA
      caused by: the metadata has no `Metadata-Version`
    ");
    assert_snapshot!(spoilt("unlisted"), @r"
    exit: 6
    --- stderr
    error: `greeter-1.0-py3-none-any.whl` fails its check and was not written to the output folder
      caused by: RECORD does not list `unlisted.py`
    ");
    assert_snapshot!(spoilt("escape"), @r"
    exit: 6
    --- stderr
    error: `greeter-1.0-py3-none-any.whl` is not a valid wheel
      caused by: the wheel is not a sound zip archive
      caused by: member `../escaped.py` leads out of the archive
    ");
    assert_snapshot!(spoilt("file-name"), @r"
    exit: 6
    --- stderr
    error: `other-9.9-py3-none-any.whl` fails its check and was not written to the output folder
      caused by: METADATA is of `greeter`, but the file name of `other`
    ");
    assert_snapshot!(spoilt("truncated"), @r"
    exit: 6
    --- stderr
    error: `greeter-1.0-py3-none-any.whl` is not a valid wheel
      caused by: the wheel is not a sound zip archive
      caused by: the zip archive has no end: it is cut off, or something follows it
    ");
}

/// The project says what it is; the wheel says otherwise.
#[test]
fn a_wheel_that_is_not_what_was_planned() {
    let planned = |lines: &str| fail(&greeter().pyproject(&format!("[project]\n{lines}")), &[]);
    assert_snapshot!(planned("name = \"other\"\nversion = \"1.0\"\n"), @r"
    exit: 6
    --- stderr
    error: `greeter-1.0-py3-none-any.whl` fails its check and was not written to the output folder
      caused by: the file name is of `greeter`, but the source of `other`
    ");
    assert_snapshot!(planned("name = \"greeter\"\nversion = \"1.1\"\n"), @r"
    exit: 6
    --- stderr
    error: `greeter-1.0-py3-none-any.whl` fails its check and was not written to the output folder
      caused by: the file name is of version 1.0, but the source of version 1.1
    ");
}

#[test]
fn a_header_or_a_compiler_is_missing() {
    let project = greeter().extension("#include <ffi.h>\n#include <odd/thing.h>\n");
    let context =
        context_with(&project).filter(r"(?m)^  │ .*\n", "").filter(r"Command '\['cc', .*", "Command […]");
    assert_snapshot!(context.run(["build", "greeter", "-q", "--env", "CFLAGS=-nostdinc"]), @r"
    exit: 1
    --- stderr
      the whole log: [CACHE]/v1/logs/[LOG]
    error: `build_wheel` of the backend `tiny_backend` failed: CalledProcessError: Command […]
    hint: install the header `ffi.h` (Debian: `libffi-dev`; Fedora: `libffi-devel`; Alpine: `libffi-dev`)
    ");
    assert_snapshot!(context.run(["build", "greeter", "-q", "--env", "CC=/nonexistent/gcc"]), @r"
    exit: 1
    --- stderr
      the whole log: [CACHE]/v1/logs/[LOG]
    error: `build_wheel` of the backend `tiny_backend` failed: FileNotFoundError: [Errno 2] No such file or directory: '/nonexistent/gcc'
    hint: the compiler `/nonexistent/gcc` is not there: if `CC` or `CXX` names it, name another one or leave it out
    ");
}

#[test]
fn the_cache_cannot_be_used() {
    let context = context_with(&greeter());
    fs::write(context.work().join("file"), "").unwrap();
    assert_snapshot!(context.run(["build", "greeter", "-q", "--cache-dir", "file"]), @r"
    exit: 7
    --- stderr
    error: cannot create `[WORK]/file`
      caused by: File exists (os error 17)
    ");
    assert_snapshot!(context.run(["build", "greeter", "-q", "--cache-dir", "file/below"]), @r"
    exit: 7
    --- stderr
    error: cannot create `[WORK]/file/below`
      caused by: Not a directory (os error 20)
    ");
}

#[test]
fn a_report_is_written_of_failures_too() {
    let context = context_with(&greeter().option("fail", "build_wheel"));
    let outcome = context.run(["build", "greeter", "--report", "report.json", "--json", "-q"]).exit(1);
    let report = fs::read_to_string(context.work().join("report.json")).unwrap();
    assert_eq!(report, outcome.stdout);
    let files = CommandContext::files_below(&context.work());
    assert!(!files.iter().any(|file| file.ends_with(".part") || file.ends_with(GREETER)), "{files:?}");
    let report = |arguments: [&str; 3], code| {
        let place = context.work().join("early.json");
        let command =
            context.command(["build", "-q", "--json", "--report", "early.json"].iter().chain(&arguments));
        let outcome = command.run().exit(code);
        assert_eq!(fs::read_to_string(&place).unwrap(), outcome.stdout);
        fs::remove_file(place).unwrap();
    };
    report(["./nothing", "-w", "-s"], 4);
    report(["greeter", "-p", "3.99"], 7);
    report(["greeter", "--dry-run", "--all-packages"], 2);
    fs::write(context.work().join("greeter/hwb.toml"), "ofline = true\n").unwrap();
    report(["greeter", "-w", "-s"], 3);
}

/// A failure of the build counts for more; an artifact is reported all the same.
#[test]
fn a_report_cannot_be_written() {
    let context = context_with(&greeter());
    let outcome = context.run(["build", "greeter", "--report", "absent/report.json", "-q", "--json"]);
    let document = outcome.exit(7).json();
    assert_eq!(document["artifacts"][0]["file"], GREETER);
    let context = context_with(&greeter().option("fail", "build_wheel"));
    assert_snapshot!(context.run(["build", "greeter", "-q", "--report", "absent/report.json"]), @r"
    exit: 1
    --- stderr
      │ Traceback […]
      │ RuntimeError: tiny_backend was told to fail
      the whole log: [CACHE]/v1/logs/[LOG]
    error: `build_wheel` of the backend `tiny_backend` failed: RuntimeError: tiny_backend was told to fail
    hint: failed to write the report [WORK]/absent/report.json: failed to create file `[WORK]/absent/report.json.part`: No such file or directory (os error 2)
    ");
}
