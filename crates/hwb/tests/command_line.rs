//! The commands that build nothing, and how failures are shown.

use fs_err as fs;
use hwb_testkit::{CommandContext, Project, Wheel};

fn context() -> CommandContext {
    CommandContext::new(env!("CARGO_BIN_EXE_hwb"))
}

#[test]
fn the_version_has_two_forms() {
    assert_eq!(context().run(["--version"]).to_string(), "exit: 0\n--- stdout\nhwb [VERSION]\n");
    let version = context().run(["--version", "--json"]).success().json();
    assert_eq!((version["name"].as_str(), version["os"].as_str()), (Some("hwb"), Some("linux")));
}

#[test]
fn usage_errors_are_2() {
    for arguments in [
        &[][..],
        &["bild"],
        &["build", "--isolation", "docker"],
        &["build", "--platform", "manylinux"],
        &["build", "--timeout", "soon"],
        &["build", "-q", "-v"],
        &["schema", "nothing"],
        &["cache", "prune", "--kind", "nothing"],
    ] {
        let outcome = context().run(arguments).exit(2);
        assert!(outcome.stdout.is_empty(), "{arguments:?}: {outcome}");
        assert!(!outcome.stderr.is_empty(), "{arguments:?}: {outcome}");
    }
}

#[test]
fn a_source_that_is_not_there_is_4() {
    let outcome = context().run(["build", "./gone"]);
    assert_eq!(
        outcome.to_string(),
        "exit: 4\n--- stderr\nerror: `./gone` is neither a file or directory here, nor a URL, nor a requirement \
         such as `name==1.0`\n"
    );
    let document = context().run(["build", "./gone", "--json"]).exit(4).json();
    assert_eq!(document["error"]["kind"], "source");
}

#[test]
fn a_failure_is_in_the_report_too() {
    let context = context();
    fs::write(context.work().join("a.zip"), "no archive").unwrap();
    let outcome = context.run(["build", "a.zip", "--report", "report.json", "-q"]).exit(4);
    assert!(outcome.stdout.is_empty(), "{outcome}");
    let report = fs::read_to_string(context.work().join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["error"]["kind"], "source");
}

#[test]
fn settings_are_shown_with_their_origin() {
    let context = context();
    fs::write(context.work().join("hwb.toml"), "exclude-newer = '2024-01-01'\n[build]\nnetwork = 'none'\n")
        .unwrap();
    let outcome = context.run(["config", "show", "--offline"]).success();
    let lines =
        outcome.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect::<Vec<_>>();
    let file = context.work().join("hwb.toml").canonicalize().unwrap();
    let file = file.to_str().unwrap();
    for expect in [
        ["index-url", "\"http://127.0.0.1:9/simple\"", "UV_DEFAULT_INDEX"],
        ["offline", "true", "--offline"],
        ["exclude-newer", "\"2024-01-01\"", file],
        ["build.network", "\"none\"", file],
    ] {
        assert!(lines.iter().any(|line| line == &expect), "{expect:?}\n{outcome}");
    }
}

#[test]
fn a_wrong_settings_file_is_3() {
    let context = context();
    fs::write(context.work().join("hwb.toml"), "ofline = true\n").unwrap();
    for arguments in [&["config", "show"][..], &["build"]] {
        assert_eq!(
            context.run(arguments).to_string(),
            "exit: 3\n--- stderr\nerror: unknown key `ofline` in [WORK]/hwb.toml\nhint: did you mean `offline`?\n"
        );
    }
}

#[test]
fn artifacts_are_inspected() {
    let context = context();
    let wheel = Wheel::new("greeter", "1.0").file("greeter/__init__.py", "x = 1\n").build();
    wheel.write_to(&context.work());
    let outcome = context.run(["inspect", &wheel.name]).success();
    for part in ["greeter-1.0-py3-none-any.whl", "version ", "py3-none-any", "greeter/__init__.py"] {
        assert!(outcome.stdout.contains(part), "{part}: {outcome}");
    }
    let sdist = Project::new("greeter", "1.0").sdist();
    sdist.write_to(&context.work());
    let document = context.run(["inspect", &sdist.name, "--json"]).success().json();
    assert_eq!(document["kind"], "sdist");
    assert_eq!(document["metadata"]["version"], "1.0");
    fs::write(context.work().join("a-1-py3-none-any.whl"), "no").unwrap();
    context.run(["inspect", "a-1-py3-none-any.whl"]).exit(6);
    fs::write(context.work().join("a-1.tar.gz"), "no").unwrap();
    context.run(["inspect", "a-1.tar.gz"]).exit(4);
}

#[test]
fn the_cache_is_shown_and_cleared() {
    let context = context();
    let directory = context.run(["cache", "dir"]).success();
    assert_eq!(directory.stdout.trim(), context.cache().to_str().unwrap());
    assert!(!context.cache().exists());
    let usage = context.run(["cache", "du", "--json"]).success().json();
    assert!(usage["kinds"].is_array());
    context.run(["cache", "prune"]).success();
    context.run(["cache", "clean"]).success();
    assert_eq!(context.run(["history", "--json"]).success().json(), serde_json::json!([]));
}

#[test]
fn completions_and_schemas_are_printed() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(context().run(["completions", shell]).success().stdout.contains("hwb"), "{shell}");
    }
    let schema = context().run(["schema", "build"]).success().json();
    assert_eq!(schema["title"], "BuildReport");
}
