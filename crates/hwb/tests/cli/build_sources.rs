//! Everything that a source can be.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;

use fs_err as fs;
use hwb_testkit::{Artifact, CommandContext, Index, Project, Tree, Wheel, tiny_backend, tiny_backend_wheel};
use insta::assert_snapshot;

use crate::{GREETER, context, context_with, dist, greeter, indexed_greeter, member, only_wheel, remains};

#[test]
fn a_directory() {
    let context = context_with(&greeter());
    assert_snapshot!(context.run(["build", "greeter"]), @r"
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
    assert_eq!(dist(&context), [GREETER]);
    assert_eq!(remains(&context), [""; 0]);
    let in_it = context.work().join("greeter");
    let before = CommandContext::files_below(&in_it);
    assert_snapshot!(context.command(["build", "-q"]).folder(&in_it).run(), @"exit: 0");
    let mut after = CommandContext::files_below(&in_it);
    after.retain(|file| file != &format!("dist/{GREETER}"));
    assert_eq!(after, before);
}

/// A backend that changes its source at every hook, and finds what its own hooks did there, and nothing else.
const CHANGES_ITS_SOURCE: &str = "
import os
make = build_wheel
def get_requires_for_build_wheel(settings=None):
    open('asked', 'x').close()
    return []
def build_wheel(directory, settings=None, metadata=None):
    os.remove('asked')
    os.rename('data/0', 'data/moved')
    with open('greeter.py', 'a') as module:
        module.write('# built\\n')
    return make(directory, settings, metadata)
";

#[test]
fn a_large_directory() {
    let context = context();
    let folder = context.work().join("greeter");
    let backend = format!("{}{CHANGES_ITS_SOURCE}", tiny_backend());
    let project = greeter().file("_backend/tiny_backend.py", backend);
    (0..=2000).fold(project, |project, number| project.file(&format!("data/{number}"), [])).write_to(&folder);
    let before = CommandContext::files_below(&folder);
    let build = || {
        let report = context.run(["build", "greeter", "--json", "-q"]).success().json();
        let artifact = &report["artifacts"][0];
        (artifact["source"].to_string(), artifact["sha256"].to_string())
    };
    let first = build();
    assert_eq!(build(), first, "what the first build changed reached the second");
    assert_eq!(member(&only_wheel(&context), "greeter.py"), "VERSION = \"1.0\"\n# built\n");
    assert_eq!(CommandContext::files_below(&folder), before);
    fs::write(folder.join("greeter.py"), "VERSION = \"1.0\"  # edited\n").unwrap();
    let second = build();
    assert!(second.0 != first.0 && second.1 != first.1);
    assert_eq!(member(&only_wheel(&context), "greeter.py"), "VERSION = \"1.0\"  # edited\n# built\n");
    assert_eq!(remains(&context), [""; 0]);
}

/// The same files in every kind of archive: the same source, and so the same wheel.
#[test]
fn archives_of_every_kind() {
    let context = context();
    let tar = sdist_tree(&greeter()).tar("greeter-1.0");
    let packed = [
        ("greeter-1.0.tar.gz", greeter().sdist().bytes),
        ("greeter-1.0.zip", greeter().sdist_zip().bytes),
        ("greeter-1.0.tar.bz2", bzip2(&tar)),
        ("greeter-1.0.tar.xz", xz(&tar)),
        ("greeter-1.0.tar.zst", zstd::encode_all(tar.as_slice(), 0).unwrap()),
        ("greeter-1.0.tar", tar),
    ];
    let mut digests = BTreeSet::new();
    for (name, bytes) in packed {
        Artifact::new(name, bytes).write_to(&context.work());
        let report = context.run(["build", name, "--json", "-q"]).success().json();
        let artifact = &report["artifacts"][0];
        assert_eq!(artifact["source_date_epoch"], 1_700_000_000, "{name}");
        digests.insert((artifact["source"].to_string(), artifact["sha256"].to_string()));
    }
    assert_eq!(digests.len(), 1, "{digests:?}");
    assert_eq!(remains(&context), [""; 0]);
}

#[test]
fn a_url_with_and_without_its_digest() {
    let sdist = greeter().sdist();
    let index = Index::of([sdist.clone()]);
    let context = context().index(&index);
    let url = index.file_url(&sdist.name);
    assert_snapshot!(context.run(["build", &url, "-q"]), @"exit: 0");
    let pinned = format!("{url}#sha256={}", sdist.sha256());
    assert_snapshot!(context.run(["build", &pinned, "-q"]), @"exit: 0");
    let asked = index.requests().len();
    assert_snapshot!(context.run(["build", &pinned, "-q"]), @"exit: 0");
    assert_eq!(index.requests().len(), asked, "what has a digest is fetched once: {:?}", index.paths());
    assert_eq!(dist(&context), [GREETER]);

    let wrong = format!("{url}#sha256={}", "0".repeat(64));
    assert_snapshot!(context.run(["build", &wrong, "-q"]), @r"
    exit: 5
    --- stderr
    error: `http://[INDEX]/files/greeter-1.0.tar.gz` has the digest sha256:[DIGEST], but sha256:[DIGEST] was expected
    hint: the digest is of another file: it is wrong, or the file was changed on the server or on the way
    ");
    let gone = index.file_url("gone-1.0.tar.gz");
    assert_snapshot!(context.run(["build", &gone, "-q"]), @r"
    exit: 5
    --- stderr
    error: failed to fetch `http://[INDEX]/files/gone-1.0.tar.gz`
      caused by: HTTP status client error (404 Not Found)
    ");
    assert_snapshot!(context.run(["build", &format!("{url}#md5=0"), "-q"]), @r"
    exit: 4
    --- stderr
    error: `#md5=0` is not understood here: archives take `#sha256=` and `#subdirectory=`, git only the latter
    ");
    assert_snapshot!(context.run(["build", "ftp://example.org/a-1.0.tar.gz", "-q"]), @r"
    exit: 4
    --- stderr
    error: sources are not fetched over `ftp:`; http, https, file and git+https, git+ssh, git+file are
    ");
}

#[test]
fn a_requirement() {
    let sdist = |version| Project::new("greeter", version).backend_in_tree().sdist();
    let wheel_only = Wheel::new("wheel-only", "1.0").build();
    let index = Index::of([sdist("1.0"), sdist("1.5"), sdist("2.0a1"), wheel_only]);
    let context = context().index(&index);
    assert_snapshot!(context.run(["build", "greeter==1.0", "-q"]), @"exit: 0");
    assert_snapshot!(context.run(["build", "Greeter", "-q"]), @"exit: 0");
    let said = context.run(["build", "Greeter"]).success().stderr;
    assert!(said.contains("there is no directory `greeter` here: taking its sdist from the index"), "{said}");
    assert_snapshot!(context.run(["build", "greeter==2.0a1", "-q"]), @"exit: 0");
    assert_eq!(dist(&context).len(), 3);
    assert!(dist(&context).contains(&"greeter-1.5-py3-none-any.whl".to_owned()), "{:?}", dist(&context));

    assert_snapshot!(context.run(["build", "greeter==3.0", "-q"]), @r"
    exit: 5
    --- stderr
    error: the index has no sdist for `greeter==3.0`
    ");
    assert_snapshot!(context.run(["build", "absent", "-q"]), @r"
    exit: 5
    --- stderr
    error: failed to resolve `absent`
      caused by: Package `absent` was not found in the registry
    ");
    assert_snapshot!(context.run(["build", "wheel-only==1.0", "-q"]), @r"
    exit: 5
    --- stderr
    error: the index has no sdist for `wheel-only==1.0`: it has wheels only
    ");
    assert_snapshot!(context.run(["build", "greeter[extra]==", "-q"]), @r"
    exit: 4
    --- stderr
    error: `greeter[extra]==` is neither a file or directory here, nor a URL, nor a requirement such as `name==1.0`
    ");
    assert_snapshot!(context.run(["build", "greeter==1.0", "--offline", "--cache-dir", "other", "-q"]), @r"
    exit: 5
    --- stderr
    error: failed to resolve `greeter==1.0`
      caused by: Network connectivity is disabled, but the requested data wasn't found in the cache for: `greeter`
    ");
}

#[test]
fn a_project_below_the_source() {
    let context = context();
    greeter().write_to(&context.work().join("mono/python/greeter"));
    Tree::new().file("README", "").write_to(&context.work().join("mono"));
    let typed = context.run(["build", "mono", "--subdirectory", "python/greeter", "-q"]);
    assert_snapshot!(typed, @"exit: 0");
    assert_snapshot!(context.run(["build", "mono#subdirectory=python/greeter", "-q"]), @"exit: 0");
    let below = |path: &str| format!("python/{path}");
    let tree = greeter().tree();
    let tree = tree.entries().fold(Tree::new(), |all, (path, entry)| all.entry(&below(path), entry.clone()));
    tree.tar_gz("mono-1").write_to(&context.work());
    assert_snapshot!(context.run(["build", "mono-1.tar.gz#subdirectory=python", "-q"]), @"exit: 0");
    assert_snapshot!(context.run(["build", "mono", "-q"]), @r"
    exit: 4
    --- stderr
    error: `[WORK]/mono` holds no Python project: neither `pyproject.toml` nor `setup.py` is there
    ");
    assert_snapshot!(context.run(["build", "mono", "--subdirectory", "absent", "-q"]), @r"
    exit: 4
    --- stderr
    error: the source has no directory `absent`
    ");
    assert_snapshot!(context.run(["build", "mono", "--subdirectory", "../mono", "-q"]), @r"
    exit: 2
    --- stderr
    error: invalid value '../mono' for '--subdirectory <PATH>': member `../mono` leads out of the archive

    For more information, try '--help'.
    ");
}

/// What is asked for, and what an sdist says of itself since PEP 643, is what must come out.
#[test]
fn an_sdist_of_another_project() {
    let index = Index::of([Artifact::new("asked-2.0.tar.gz", greeter().sdist().bytes)]);
    let context = context().index(&index);
    let mut said = context.run(["build", "asked==2.0", "-q"]).exit(6).stderr;
    for (field, value) in [("Name", "other"), ("Version", "1.1")] {
        let info = greeter().pkg_info();
        let line = info.lines().find(|line| line.starts_with(field)).unwrap();
        let tree = greeter().tree().file("PKG-INFO", info.replace(line, &format!("{field}: {value}")));
        tree.tar_gz("greeter-1.0").write_to(&context.work());
        said.push_str(&context.run(["build", "greeter-1.0.tar.gz", "-q"]).exit(6).stderr);
    }
    assert_snapshot!(said, @r"
    error: `greeter-1.0-py3-none-any.whl` fails its check and was not written to the output folder
      caused by: the file name is of `greeter`, but the source of `asked`
    error: `greeter-1.0-py3-none-any.whl` fails its check and was not written to the output folder
      caused by: the file name is of `greeter`, but the source of `other`
    error: `greeter-1.0-py3-none-any.whl` fails its check and was not written to the output folder
      caused by: the file name is of version 1.0, but the source of version 1.1
    ");
    assert_eq!(dist(&context), [""; 0]);
}

/// The source is at one place, whatever the one directory of an archive is called.
#[test]
fn the_top_of_an_archive_leaves_no_trace() {
    let context = context();
    let tree = sdist_tree(&greeter().option("record-environment", true));
    for top in ["greeter-1.0", "repository-0123abc"] {
        tree.tar_gz(top).write_to(&context.work());
        context.run(["build", &format!("{top}.tar.gz"), "-q"]).success();
        let seen = member(&only_wheel(&context), "tiny_environment.json");
        assert!(!seen.contains(top), "{seen}");
    }
}

#[test]
fn a_git_repository() {
    let context = context().filter(r"\b[0-9a-f]{40}\b", "[COMMIT]");
    let repository = context.work().join("repository");
    let commit = |version: &str| {
        Project::new("greeter", version).backend_in_tree().write_to(&repository.join("python"));
        git(&repository, &["add", "."]);
        git(&repository, &["commit", "--quiet", "-m", version]);
        git(&repository, &["rev-parse", "HEAD"])
    };
    fs::create_dir(&repository).unwrap();
    git(&repository, &["init", "--quiet", "--initial-branch=main"]);
    let first = commit("1.0");
    git(&repository, &["tag", "v1.0"]);
    git(&repository, &["branch", "stable"]);
    commit("2.0");
    let url = format!("git+file://{}", repository.display());
    for (reference, version) in [("", "2.0"), ("@v1.0", "1.0"), ("@stable", "1.0"), ("@main", "2.0")] {
        let source = format!("{url}{reference}#subdirectory=python");
        let report = context.run(["build", &source, "--json", "-q"]).success().json();
        assert_eq!(report["artifacts"][0]["version"], version, "{reference}");
        assert_eq!(report["artifacts"][0]["source_date_epoch"], 1_600_000_000, "{reference}");
        let commit =
            git(&repository, &["rev-parse", if reference.is_empty() { "HEAD" } else { &reference[1..] }]);
        assert_eq!(report["artifacts"][0]["commit"], commit, "{reference}");
    }
    let source = format!("{url}@{first}#subdirectory=python");
    assert_snapshot!(context.run(["build", &source]), @r"
    exit: 0
    --- stdout
    Built dist/greeter-1.0-py3-none-any.whl ([SIZE], sha256:[DIGEST])
    --- stderr
    git+file://[WORK]/repository@[COMMIT]#subdirectory=python
      preparing source [TIME]
      finding interpreter [TIME]
      resolving build requirements [TIME]
      making environment [TIME]
      asking backend [TIME]
      building wheel [TIME]
      checking and writing [TIME]
    ");
    assert_snapshot!(context.run(["build", &format!("{url}@v9"), "-q"]), @r"
    exit: 4
    --- stderr
    error: `file://[WORK]/repository` has no tag, branch or commit `v9`
    hint: `git ls-remote <url>` lists the tags and branches of a repository
    ");
    assert_snapshot!(context.run(["build", &format!("{url}@v1.0"), "-q"]), @r"
    exit: 4
    --- stderr
    error: `git+file://[WORK]/repository@v1.0@[COMMIT]` holds no Python project: neither `pyproject.toml` nor `setup.py` is there
    ");
    assert_snapshot!(context.run(["build", &format!("{url}-gone"), "-q"]), @r"
    exit: 4
    --- stderr
    error: there is no git repository at `file://[WORK]/repository-gone`
      caused by: git: fatal: '[WORK]/repository-gone' does not appear to be a git repository; fatal: Could not read from remote repository.; Please make sure you have the correct access rights; and the repository exists.
    hint: check the URL; private repositories may look missing without credentials
    ");
    assert_eq!(remains(&context), [""; 0]);
}

/// Without `[build-system]` the backend is setuptools, whatever else pyproject.toml says (PEP 517, 518).
#[test]
fn a_project_that_names_no_backend() {
    let backend = format!("{}\nimport sys\n__legacy__ = sys.modules[__name__]\n", tiny_backend());
    let setuptools = Wheel::new("setuptools", "75.0").file("setuptools/build_meta.py", backend).build();
    let index = Index::of([setuptools]);
    let context = context().index(&index);
    let tiny = "[tool.tiny]\nname = \"greeter\"\nversion = \"1.0\"\nmodules = [\"setup.py\"]\n";
    let project = Tree::new().file("setup.py", "").file("pyproject.toml", tiny);
    project.write_to(&context.work().join("greeter"));
    let report = context.run(["build", "greeter", "--json", "-q"]).success().json();
    assert_eq!(report["artifacts"][0]["requirements"], serde_json::json!(["setuptools==75.0"]));
    assert!(member(&only_wheel(&context), "METADATA").contains("Name: greeter"));
}

/// A build requirement that is there as an sdist only is built first.
#[test]
fn a_build_requirement_without_a_wheel() {
    let helper = Project::new("helper", "2.0").sdist();
    let index = Index::of([tiny_backend_wheel(), helper]);
    let context = context_with(&indexed_greeter().build_requires("helper>=1")).index(&index);
    assert_snapshot!(context.run(["build", "greeter"]), @r"
    exit: 0
    --- stdout
    Built dist/greeter-1.0-py3-none-any.whl ([SIZE], sha256:[DIGEST])
    --- stderr
    greeter
      preparing source [TIME]
      finding interpreter [TIME]
      resolving build requirements [TIME]
    note: building `helper` from source: a build needs it
      making environment [TIME]
      asking backend [TIME]
      building wheel [TIME]
      checking and writing [TIME]
    ");
}

/// Requirements that exist only as sdists, each of which needs the other to be built.
#[test]
fn a_build_requirement_that_needs_itself() {
    let circle = |name, other| Project::new(name, "1.0").build_requires(other).sdist();
    let index = Index::of([tiny_backend_wheel(), circle("hen", "egg"), circle("egg", "hen")]);
    let context = context_with(&indexed_greeter().build_requires("hen")).index(&index);
    assert_snapshot!(context.run(["build", "greeter", "-q"]), @r"
    exit: 5
    --- stderr
    error: failed to fetch the build requirements
      caused by: Failed to build `hen==1.0`
      caused by: failed to fetch the build requirements: Failed to build `egg==1.0`: while `hen → egg` is being built, none of which can be built once more for itself: failed to resolve `tiny-backend`, `hen`: Because hen==1.0 has no usable wheels and only hen==1.0 is available, we can conclude that all versions of hen cannot be used.
        And because you require hen, we can conclude that your requirements are unsatisfiable.
    ");
}

fn sdist_tree(project: &Project) -> Tree {
    project.tree().file("PKG-INFO", project.pkg_info())
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let options = lzma_rust2::XzOptions::with_preset(0);
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Runs git where no settings of this machine are seen; what it prints.
fn git(folder: &Path, arguments: &[&str]) -> String {
    let place = CommandContext::new("git")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_NAME", "A")
        .env("GIT_AUTHOR_EMAIL", "a@example.org")
        .env("GIT_COMMITTER_NAME", "A")
        .env("GIT_COMMITTER_EMAIL", "a@example.org")
        .env("GIT_AUTHOR_DATE", "1500000000 +0000")
        .env("GIT_COMMITTER_DATE", "1600000000 +0200");
    place.command(arguments).folder(folder).run().success().stdout.trim().to_owned()
}
