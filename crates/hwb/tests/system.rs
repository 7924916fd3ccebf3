//! The built binary with real backends from the package index of this machine, and with the rights of root.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not tests to clippy")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fs_err as fs;
use hwb_testkit::command::python;
use hwb_testkit::wheel::read_member;
use hwb_testkit::{CommandContext, Index, Project, Tree};
use serde_json::Value;

/// How this machine reaches its index.
const TAKEN_OVER: [&str; 12] = [
    "PIP_CONFIG_FILE",
    "PIP_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "https_proxy",
    "no_proxy",
];

#[expect(clippy::disallowed_methods, reason = "tests of this tier use the machine's own index")]
fn context() -> CommandContext {
    let context = CommandContext::new(env!("CARGO_BIN_EXE_hwb")).env_remove("UV_DEFAULT_INDEX");
    let there = TAKEN_OVER.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    there.fold(context, |context, (name, value)| context.env(name, value))
}

/// The examples of this repository.
fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

/// Builds with these arguments; the artifacts by their file names.
fn build(context: &CommandContext, source: &Path, arguments: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let command = context.command(["build", "--json", "-q"].iter().chain(arguments)).arg(source);
    let report = command.run().success().json();
    let artifacts = report["artifacts"].as_array().unwrap().iter();
    let named = |artifact: &Value| artifact["file"].as_str().unwrap().to_owned();
    let read = |artifact: &Value| fs::read(artifact["path"].as_str().unwrap()).unwrap();
    artifacts.map(|artifact| (named(artifact), read(artifact))).collect()
}

/// Builds twice, in two places that share nothing, and once more from the sdist: always the same bytes.
#[track_caller]
fn check(tree: &Tree, expect: &[&str]) {
    let mut built = Vec::new();
    for folder in ["here", "there/and/elsewhere"] {
        let context = context();
        let source = context.work().join(folder);
        tree.write_to(&source);
        built.push(build(&context, &source, &["-s", "-w"]));
    }
    assert_eq!(built[0].keys().collect::<Vec<_>>(), expect);
    assert!(built[0] == built[1], "{expect:?}: two builds differ");
}

fn project(build_system: &str, more: &str) -> Tree {
    let text = format!(
        "[build-system]\n{build_system}\n[project]\nname = \"small\"\nversion = \"1.0\"\nrequires-python = \">=3.9\"\n{more}"
    );
    let tree = Tree::new().file("pyproject.toml", text).file("README.md", "Small.\n");
    tree.file("src/small/__init__.py", "\"\"\"Small.\"\"\"\n").file("src/small/data.txt", "data\n")
}

const WHEEL: &str = "small-1.0-py3-none-any.whl";
const SDIST: &str = "small-1.0.tar.gz";

#[test]
fn setuptools() {
    check(
        &project("requires = [\"setuptools>=77\"]\nbuild-backend = \"setuptools.build_meta\"", ""),
        &[WHEEL, SDIST],
    );
}

#[test]
fn setuptools_without_pyproject() {
    let setup = "from setuptools import setup\nsetup(name='small', version='1.0', py_modules=['small'])\n";
    check(&Tree::new().file("setup.py", setup).file("small.py", ""), &[WHEEL, SDIST]);
}

#[test]
fn hatchling() {
    check(&project("requires = [\"hatchling\"]\nbuild-backend = \"hatchling.build\"", ""), &[WHEEL, SDIST]);
}

#[test]
fn flit() {
    let more = "description = \"Small\"\n";
    check(
        &project("requires = [\"flit_core>=3.2\"]\nbuild-backend = \"flit_core.buildapi\"", more),
        &[WHEEL, SDIST],
    );
}

#[test]
fn poetry() {
    let more =
        "description = \"Small\"\n[tool.poetry]\npackages = [{ include = \"small\", from = \"src\" }]\n";
    let system = "requires = [\"poetry-core>=2\"]\nbuild-backend = \"poetry.core.masonry.api\"";
    check(&project(system, more), &[WHEEL, SDIST]);
}

/// The way in process and the way by hooks give the same bytes; both are `uv_build`.
#[test]
fn the_backend_of_uv_by_both_ways() {
    let tree = project("requires = [\"uv_build>=0.9,<1\"]\nbuild-backend = \"uv_build\"", "");
    check(&tree, &[WHEEL, SDIST]);
    let context = context();
    let source = context.work().join("small");
    tree.write_to(&source);
    let direct = build(&context, &source, &["-s", "-w"]);
    let version = context.run(["build", "small", "--json", "-q"]).success().json();
    let pin =
        version["artifacts"][0]["requirements"][0].as_str().unwrap().split(' ').next().unwrap().to_owned();
    fs::write(context.work().join("constraints.txt"), format!("{pin}\n")).unwrap();
    let hooks = build(&context, &source, &["-s", "-w", "--force-pep517", "-b", "constraints.txt"]);
    assert_eq!(direct.keys().collect::<Vec<_>>(), hooks.keys().collect::<Vec<_>>());
    for (name, bytes) in &direct {
        assert!(bytes == &hooks[name], "{name} differs between the two ways ({pin})");
    }
}

/// A C extension: compiled twice under other paths to the same bytes, and it can be imported.
#[test]
fn an_extension_of_setuptools() {
    let mut built = Vec::new();
    for _ in 0..2 {
        let context = context();
        built.push(build(&context, &example("fastgreeter"), &[]));
    }
    assert!(built[0] == built[1], "two builds differ");
    let (name, bytes) = built[0].first_key_value().unwrap();
    assert!(read_member(bytes, ".so").unwrap().starts_with(b"\x7fELF"), "{name}");
    let context = CommandContext::new(python());
    fs::write(context.work().join(name), bytes).unwrap();
    let code = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall('site'); sys.path.insert(0, 'site')\n\
                import fastgreeter, fastgreeter._greeting as native; print(native.__name__)";
    let outcome = context.command(["-I", "-c", code]).arg(name).run().success();
    assert_eq!(outcome.stdout, "fastgreeter._greeting\n");
}

/// A tool that takes the version from git finds its tags, though it runs in a copy.
#[test]
fn a_version_from_git() {
    let context = context();
    let source = context.work().join("small");
    let system =
        "requires = [\"setuptools>=77\", \"setuptools-scm>=8\"]\nbuild-backend = \"setuptools.build_meta\"";
    let text = format!(
        "[build-system]\n{system}\n[project]\nname = \"small\"\ndynamic = [\"version\"]\n[tool.setuptools_scm]\n"
    );
    project("", "").file("pyproject.toml", text).write_to(&source);
    let git = CommandContext::new("/bin/sh").env("GIT_CONFIG_NOSYSTEM", "1");
    let script = "git init -q && git add . && git -c user.name=A -c user.email=a@example.org commit -q -m 1 && git tag v1.2.3";
    git.command(["-c", script]).folder(&source).run().success();
    let wheel = ["small-1.2.3-py3-none-any.whl"];
    assert_eq!(build(&context, &source, &[]).keys().collect::<Vec<_>>(), wheel);
    let url = format!("git+file://{}@v1.2.3", source.display());
    assert_eq!(build(&context, Path::new(&url), &[]).keys().collect::<Vec<_>>(), wheel);
}

/// Root can always be cut off, so root always is.
#[test]
fn no_network_means_none_for_root() {
    let user = CommandContext::new("/bin/sh").run(["-c", "id -u"]).success();
    assert_eq!(user.stdout.trim(), "0", "this tier runs as root");
    let index = Index::of([]);
    let context = context();
    let project =
        Project::new("small", "1.0").backend_in_tree().option("connect", index.address().to_string());
    let source = context.work().join("small");
    project.write_to(&source);
    let reached = |arguments: &[&str]| {
        let built = build(&context, &source, arguments);
        String::from_utf8(read_member(&built[WHEEL], "tiny_network.txt").unwrap()).unwrap()
    };
    assert_eq!(reached(&[]), "reached");
    assert_eq!(reached(&["--network", "none"]).split(':').next(), Some("refused"));
    assert_eq!(reached(&["--network", "none", "-n"]).split(':').next(), Some("refused"));
}
