//! `hwb cache` and `hwb history`.

use fs_err as fs;
use hwb_testkit::CommandContext;
use insta::assert_snapshot;
use serde_json::json;

use crate::{context, context_with, greeter, index, indexed_greeter};

#[test]
fn the_cache_of_nobody() {
    let context = context();
    let directory = context.run(["cache", "dir"]).success();
    assert_eq!(directory.stdout.trim(), context.cache().to_str().unwrap());
    assert!(!context.cache().exists(), "to say where it is makes nothing");
    assert_snapshot!(context.run(["cache", "du"]), @r"
    exit: 0
    --- stdout
    [CACHE]
    store  [SIZE]  4 files
    total  [SIZE]  4 files
    ");
    assert_snapshot!(context.run(["cache", "prune"]), @r"
    exit: 0
    --- stdout
    Removed 0 files ([SIZE])
    ");
    assert_snapshot!(context.run(["cache", "clean"]), @r"
    exit: 0
    --- stdout
    Removed 0 files ([SIZE])
    ");
    assert_snapshot!(context.run(["history"]), @"exit: 0");
    assert_eq!(context.run(["history", "--json"]).success().json(), json!([]));
}

#[test]
fn the_cache_is_measured_and_cleared() {
    let index = index();
    let context = context_with(&indexed_greeter()).index(&index);
    context.run(["build", "greeter", "-q"]).success();
    let usage = context.run(["cache", "du", "--json"]).success().json();
    let kinds = usage["kinds"].as_array().unwrap();
    let of =
        |kind: &str| kinds.iter().find(|usage| usage["kind"] == kind).unwrap()["files"].as_u64().unwrap();
    assert!(of("history") == 1 && of("uv") > 1 && of("tmp") == 0, "{usage}");
    assert_snapshot!(context.run(["cache", "prune", "--kind", "nothing"]), @r"
    exit: 2
    --- stderr
    error: the cache has no kind `nothing`
    hint: there are blobs, cargo, environments, git, history, logs, mirrors, records, runs, snapshots, uv
    ");
    context.run(["cache", "prune", "--kind", "runs"]).success();
    context.run(["cache", "prune", "--kind", "history", "--older-than", "1d"]).success();
    assert_eq!(context.run(["history", "--json"]).success().json().as_array().unwrap().len(), 1);
    context.run(["cache", "prune", "--kind", "history"]).success();
    assert_eq!(context.run(["history", "--json"]).success().json(), json!([]));
    context.run(["build", "greeter", "-q", "--offline"]).success();
    context.run(["cache", "clean"]).success();
    let left = context.run(["cache", "du", "--json"]).success().json();
    assert!(
        left["kinds"].as_array().unwrap().iter().all(|usage| usage["files"] == 0 || usage["kind"] == "store"),
        "{left}"
    );
    context.run(["build", "greeter", "-q", "--offline"]).exit(5);
    context.run(["build", "greeter", "-q"]).success();
}

/// A cache of another version is left alone.
#[test]
fn other_versions_of_the_cache_are_left_alone() {
    let context = context_with(&greeter());
    let other = context.cache().join("v9");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("VERSION"), "9\n").unwrap();
    context.run(["build", "greeter", "-q"]).success();
    context.run(["cache", "clean"]).success();
    assert_eq!(CommandContext::files_below(&other), ["VERSION"]);
    assert!(context.cache().join("CACHEDIR.TAG").is_file());
}

#[test]
fn history_lists_the_newest_first() {
    let context = context_with(&greeter());
    let context = context.filter(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "[DATE]");
    context.run(["build", "greeter", "-q"]).success();
    greeter().option("fail", "build_wheel").write_to(&context.work().join("greeter"));
    context.run(["build", "greeter", "-q"]).exit(1);
    context.run(["build", "greeter", "-q", "-p", "3.99"]).exit(7);
    let outcomes = |limit: &str| {
        let records = context.run(["history", "--json", "-n", limit]).success().json();
        let of = |record: &serde_json::Value| record["result"]["outcome"].as_str().unwrap().to_owned();
        records.as_array().unwrap().iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(outcomes("2").len(), 2);
    let mut all = outcomes("20");
    // Within one second they have no order.
    all.sort();
    assert_eq!(all, ["built", "failed", "failed"]);
    let records = context.run(["history"]).success();
    let mut lines: Vec<_> = context.filtered(&records.stdout).lines().map(str::to_owned).collect();
    lines.sort();
    assert_snapshot!(lines.join("\n"), @r"
    [DATE]  [TIME]  built   greeter  greeter-1.0-py3-none-any.whl
    [DATE]  [TIME]  failed  greeter  `build_wheel` of the backend `tiny_backend` failed: RuntimeError: tiny_backend was told to fail
    [DATE]  [TIME]  failed  greeter  no Python interpreter for `3.99`
    ");
    let documents = context.run(["history", "--json"]).success().json();
    let built = documents.as_array().unwrap().iter().find(|record| record["result"]["outcome"] == "built");
    let artifact = &built.unwrap()["result"]["artifacts"][0];
    assert_eq!(artifact["file"], crate::GREETER);
}
