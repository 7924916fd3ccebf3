//! What a backend cannot reach, whatever it tries.

use hwb_testkit::{CommandContext, Index, tiny_backend_wheel};
use serde_json::json;

use crate::{context_with, greeter, index, indexed_greeter, member, only_wheel, remains, seen};

/// A backend that rewrites its own site-packages does not reach the next build, not even as root.
#[test]
fn a_backend_that_rewrites_itself_is_forgotten() {
    let index = index();
    let project = indexed_greeter().option("record-environment", true).option("misbehave", true);
    let context = context_with(&project).index(&index);
    let fresh = json!(["_virtualenv.pth", "_virtualenv.py", "tiny_backend-1.0.dist-info", "tiny_backend.py"]);
    for round in 0..3 {
        context.run(["build", "greeter", "-q"]).success();
        let seen = seen(&context);
        assert_eq!(seen["misbehaved"], false, "build {round}");
        let mut files = seen["site_packages"].as_array().unwrap().clone();
        // It stains the folder before it looks at it.
        files.retain(|file| !file.as_str().unwrap().starts_with("_virtualenv"));
        assert!(files.contains(&json!("tiny_stain.py")), "{files:?}");
        files.retain(|file| file != "tiny_stain.py");
        assert_eq!(files, fresh.as_array().unwrap()[2..], "build {round}");
    }
    indexed_greeter().option("record-environment", true).write_to(&context.work().join("greeter"));
    context.run(["build", "greeter", "-q"]).success();
    let seen = seen(&context);
    assert_eq!(seen["misbehaved"], false);
    assert!(!seen["site_packages"].as_array().unwrap().contains(&json!("tiny_stain.py")), "{seen}");
    let stained = |file: &String| file.ends_with("tiny_stain.py");
    assert!(!CommandContext::files_below(&context.cache()).iter().any(stained));
    assert_eq!(remains(&context), [""; 0]);
}

/// What a build of another project needed is not there.
#[test]
fn only_what_was_asked_for_is_installed() {
    let extra = hwb_testkit::Wheel::new("extra", "1.0").file("extra.py", "").build();
    let index = Index::of([tiny_backend_wheel(), extra]);
    let project = indexed_greeter().option("record-environment", true);
    let context = context_with(&project.clone().build_requires("extra")).index(&index);
    let has_extra = || seen(&context)["site_packages"].as_array().unwrap().contains(&json!("extra.py"));
    context.run(["build", "greeter", "-q"]).success();
    assert!(has_extra());
    project.write_to(&context.work().join("greeter"));
    context.run(["build", "greeter", "-q"]).success();
    assert!(!has_extra());
}

/// The backend works in a copy: what it writes beside its sources stays there.
#[test]
fn the_tree_of_the_user_is_not_written_to() {
    let context = context_with(&greeter().extension("int x;\n"));
    let tree = context.work().join("greeter");
    let before = CommandContext::files_below(&tree);
    context.run(["build", "greeter", "-q"]).success();
    assert_eq!(CommandContext::files_below(&tree), before);
}

/// A namespace without a network, or a refusal: nothing in between.
#[test]
fn no_network_means_no_network() {
    let index = index();
    let project = greeter().option("connect", index.address().to_string());
    let context = context_with(&project).index(&index);
    let reached = || member(&only_wheel(&context), "tiny_network.txt");
    context.run(["build", "greeter", "-q"]).success();
    assert_eq!(reached(), "reached");
    let outcome = context.run(["build", "greeter", "-q", "--network", "none"]);
    match outcome.code {
        Some(0) => assert_eq!(reached().split(':').next(), Some("refused")),
        Some(7) => assert!(outcome.stderr.contains("cannot enforce a build without network"), "{outcome}"),
        code => panic!("{code:?}: {outcome}"),
    }
    project.pyproject("[tool.hwb.build]\nnetwork = \"none\"\n").write_to(&context.work().join("greeter"));
    assert_eq!(context.run(["build", "greeter", "-q"]).code, outcome.code);
}
