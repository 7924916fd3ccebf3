//! `hwb image push`, `login` and `logout`, with a registry of the test.

use hwb_testkit::image::push_index;
use hwb_testkit::registry::{Access, Fault, Registry};
use hwb_testkit::{CommandContext, Tree};
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::image::{base, context, name};

/// A place with an image of two layers in its store, which the registry does not have. Gives the digest too.
fn with_image(registry: &Registry) -> (CommandContext, String) {
    let (context, elsewhere) = (context(registry), Registry::open());
    let image = base().layer(&Tree::new().file("usr/greeting", "hello"));
    let digest = image.push(&elsewhere, "base", "1");
    let pulled = name(&elsewhere, "base:1");
    context.run(["image", "pull", "-q", &pulled]).success();
    context.run(["image", "tag", &pulled, "app"]).success();
    context.run(["image", "rm", &pulled]).success();
    (context, digest)
}

/// How each blob got there.
fn results(report: &Value) -> Vec<&str> {
    report["blobs"].as_array().unwrap().iter().map(|blob| blob["result"].as_str().unwrap()).collect()
}

#[test]
fn an_image_is_pushed_and_pulled_again() {
    let registry = Registry::open();
    let (context, digest) = with_image(&registry);
    let [first, second, other] =
        ["team/app:1", "team/app:latest", "other:1"].map(|rest| name(&registry, rest));
    let sent = context.run(["image", "push", "app", &first]).success();
    assert_eq!(sent.stdout, format!("{first}@{digest}\n"));
    let lines = |start: &str| sent.stderr.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!((lines("  layer "), lines("  config ")), (2, 1), "in whichever order: {sent}");
    assert!(registry.manifest("team/app", &digest).is_some(), "the bytes of the manifest are the same");
    let push = |arguments: &[&str]| {
        context.run(["image", "push", "-q", "--json"].iter().chain(arguments)).success().json()
    };
    let again = push(&["app", &first, &second, &other]);
    let pushed: Vec<_> = again
        .as_array()
        .unwrap()
        .iter()
        .map(|report| (report["name"].as_str().unwrap(), results(report)))
        .collect();
    let expect = [(&first, "present"), (&second, "present"), (&other, "mounted")];
    assert_eq!(pushed, expect.map(|(name, result)| (name.as_str(), vec![result; 3])));
    assert!(again.as_array().unwrap().iter().all(|report| report["digest"] == digest.as_str()));

    // Another store, which knows the layers from the one repository.
    let elsewhere = crate::context();
    elsewhere.run(["image", "pull", "-q", &first]).success();
    let third = name(&registry, "third:1");
    let mounted = elsewhere.run(["image", "push", "-q", "--json", &first, &third]).success().json();
    assert_eq!(results(&mounted[0]), ["mounted"; 3]);
    elsewhere.run(["image", "pull", "-q", &third]).success();
    let uploads = registry
        .requests()
        .iter()
        .filter(|request| request.method == "PUT" && request.path.contains("/blobs/"))
        .count();
    assert_eq!(uploads, 3, "nothing was sent twice");
}

#[test]
fn what_a_registry_lost_is_sent() {
    let registry = Registry::open();
    let (context, _) = with_image(&registry);
    let (first, second) = (name(&registry, "a:1"), name(&registry, "b:1"));
    context.run(["image", "push", "-q", "app", &first]).success();
    context.run(["image", "tag", "app", &name(&registry, "never-pushed:1")]).success();
    let fresh = Registry::open();
    let pushed = context.run(["image", "push", "-q", "--json", "app", &name(&fresh, "a:1")]).success().json();
    assert_eq!(results(&pushed[0]), ["uploaded"; 3], "another registry mounts nothing");
    // The name of an image is no promise that the registry has it there.
    let pushed = context.run(["image", "push", "-q", "--json", "app", &second]).success().json();
    assert_eq!(results(&pushed[0]), ["uploaded"; 3]);
}

#[test]
fn several_platforms_go_under_an_index() {
    let registry = Registry::open();
    let arm = base().architecture("arm64");
    push_index(&registry, "base", "1", &[base(), arm]);
    let context = context(&registry);
    let [image, target] = ["base:1", "all:1"].map(|rest| name(&registry, rest));
    for platform in ["linux/arm64", "linux/amd64"] {
        context.run(["image", "pull", "-q", &image, "--platform", platform]).success();
    }
    let pushed =
        context.run(["image", "push", "-q", "--json", "--all-platforms", &image, &target]).success().json();
    let (media_type, bytes) = registry.manifest("all", "1").unwrap();
    assert_eq!(media_type, "application/vnd.oci.image.index.v1+json");
    let index: Value = serde_json::from_slice(&bytes).unwrap();
    let platforms = index["manifests"].as_array().unwrap().iter().map(|image| &image["platform"]);
    let expect =
        ["amd64", "arm64"].map(|architecture| json!({ "architecture": architecture, "os": "linux" }));
    assert!(platforms.eq(expect.iter()), "{index}");
    assert_eq!(pushed[0]["digest"], format!("sha256:{}", hwb_testkit::sha256_hex(&bytes)));
    let elsewhere = crate::context();
    let pulled = elsewhere.run(["image", "pull", "-q", "--json", &target, "--platform", "linux/arm64"]);
    assert_eq!(pulled.success().json()[0]["platform"], "linux/arm64");

    // One of them alone is an image.
    context
        .run(["image", "push", "-q", "--platform", "linux/arm64", &image, &name(&registry, "one:1")])
        .success();
    assert_eq!(registry.manifest("one", "1").unwrap().0, "application/vnd.oci.image.manifest.v1+json");
}

#[test]
fn large_blobs_go_in_chunks_if_they_must() {
    let (registry, context) = (Registry::open(), crate::context());
    let numbers = (0..700_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes());
    let root = Tree::new().file("data", numbers.collect::<Vec<_>>()).tar(".");
    fs_err::write(context.work().join("root.tar"), root).unwrap();
    context.run(["image", "import", "-q", "root.tar", "app"]).success();
    let push = |size: &str| {
        let asked = registry.asked().len();
        let target = name(&registry, &format!("of-{size}:1"));
        let outcome =
            context.command(["image", "push", "-q", "app", &target]).env("HWB_UPLOAD_CHUNK", size).run();
        let parts = registry.asked().split_off(asked);
        (outcome, parts.iter().filter(|line| line.starts_with("PATCH ")).count())
    };
    let (whole, parts) = (push("100"), push("1"));
    assert_eq!((whole.0.success().code, whole.1), (Some(0), 0));
    assert_eq!((parts.0.success().code, parts.1), (Some(0), 3), "all of it in parts");
    assert_snapshot!(push("0").0, @r"
    exit: 3
    --- stderr
    error: `registries.upload-chunk` (HWB_UPLOAD_CHUNK) has a wrong value
      caused by: `0` is not a whole number of MiB from 1 on
    ");
}

#[test]
fn what_cannot_be_pushed_says_why() {
    let registry = Registry::open();
    let (context, _) = with_image(&registry);
    let push = |rest: &str| context.run(["image", "push", "-q", "app", &name(&registry, rest)]);
    assert_snapshot!(context.run(["image", "push", "absent"]), @r"
    exit: 4
    --- stderr
    error: no image in the store is called `absent`
    hint: `hwb image ls` lists what is there, and `hwb image pull` gets more
    ");
    assert_snapshot!(push("Team/app"), @r"
    exit: 2
    --- stderr
    error: `[REGISTRY]/Team/app` is not an image name: repositories are in lower case
    ");
    assert_snapshot!(push(&format!("app@sha256:{}", "0".repeat(64))), @r"
    exit: 2
    --- stderr
    error: `[REGISTRY]/app@sha256:[DIGEST]` names another image by its digest than sha256:[DIGEST], which is to be pushed
    ");
    registry.fault("POST /v2/app/blobs", Fault::Status(403, "DENIED"));
    assert_snapshot!(push("app:1"), @r"
    exit: 5
    --- stderr
    error: Failed to push image `[REGISTRY]/app:1`
      caused by: `http://[REGISTRY]/v2/app/blobs/uploads/` was refused (DENIED: as the test wants it); no credentials were sent
    hint: `hwb image login` keeps credentials for a registry; without them, what does not exist may look private
    ");
    assert_eq!(registry.manifest("app", "1"), None, "nothing is named that is not there");

    let blobs = context.cache().join("v1/blobs");
    let smallest = CommandContext::files_below(&blobs).into_iter().map(|file| blobs.join(file));
    for blob in smallest.filter(|blob| fs_err::read(blob).unwrap().starts_with(&[0x1f, 0x8b])) {
        fs_err::remove_file(blob).unwrap();
    }
    assert_snapshot!(push("app:1"), @r"
    exit: 4
    --- stderr
    error: the image app:latest lacks sha256:[DIGEST] in the store
    hint: `hwb image pull` gets it again, if a registry has it
    ");
}

#[test]
fn a_login_is_tried_and_kept() {
    let registry = Registry::with(Access::Password("user", "hunter2"));
    let (context, _) = with_image(&registry);
    let (address, target) = (registry.address().to_string(), name(&registry, "app:1"));
    let file = context.work().join("password");
    let login = |password: &str, arguments: &[&str]| {
        fs_err::write(&file, password).unwrap();
        let command = context.command(["image", "login", &address].iter().chain(arguments)).input(&file);
        let outcome = command.run();
        assert!(!format!("{}{}", outcome.stdout, outcome.stderr).contains("hunter"), "{outcome}");
        outcome
    };
    assert_snapshot!(context.run(["image", "push", "-q", "app", &target]), @r"
    exit: 5
    --- stderr
    error: Failed to push image `[REGISTRY]/app:1`
      caused by: `http://[REGISTRY]/v2/app/blobs/sha256:[DIGEST]` was refused; no credentials were sent
    hint: `hwb image login` keeps credentials for a registry; without them, what does not exist may look private
    ");
    assert_snapshot!(login("", &["-u", "user"]), @r"
    exit: 2
    --- stderr
    error: no password was given, and hwb asks for none
    hint: send it to standard input with `--password-stdin`, from a file or a password manager
    ");
    assert_snapshot!(login("hunter3\n", &["-u", "user", "--password-stdin"]), @r"
    exit: 5
    --- stderr
    error: failed to log in to `[REGISTRY]`
      caused by: `http://[REGISTRY]/v2/` was refused (UNAUTHORIZED: as the test wants it); credentials were sent from this login
    hint: check that these credentials are still good and allow this; `hwb image login` replaces them
    ");
    assert_snapshot!(login("\n", &["-u", "user", "--password-stdin"]), @r"
    exit: 2
    --- stderr
    error: the password is empty
    ");
    assert_snapshot!(login("hunter2\n", &["-u", "us:er", "--password-stdin"]), @r"
    exit: 2
    --- stderr
    error: `us:er` is not a user name that can be sent
    ");
    assert!(!context.home().join(".docker").exists(), "what was not accepted is not kept");
    assert_snapshot!(login("hunter2\r\n", &["-u", "user", "--password-stdin"]), @r"
    exit: 0
    --- stdout
    Logged in to [REGISTRY] as user; the credentials are in `[HOME]/.docker/config.json`
    ");
    context.run(["image", "push", "-q", "app", &target]).success();

    let logout = || context.run(["image", "logout", &address]);
    assert_snapshot!(logout(), @r"
    exit: 0
    --- stdout
    Removed the credentials from `[HOME]/.docker/config.json`
    ");
    assert_snapshot!(logout(), @r"
    exit: 0
    --- stdout
    There were no credentials for [REGISTRY]
    ");
    context.run(["image", "push", "-q", "app", &target]).exit(5);
    let report = login("", &["--user", "user", "-p", "hunter2", "--json"]).success().json();
    assert_eq!(report["kept"], format!("`{}`", context.home().join(".docker/config.json").display()));
    assert_eq!(
        context.run(["image", "logout", &address, "--json"]).success().json()["removed"],
        json!([report["kept"]])
    );
    assert_snapshot!(context.run(["image", "logout", "not a host"]), @r"
    exit: 2
    --- stderr
    error: failed to log out of `not a host`
      caused by: `not a host` is not a registry with or without the beginning of a repository, such as `quay.io/pypa`
    ");
}

#[test]
fn a_token_for_pushing_is_asked_for() {
    let registry = Registry::with(Access::Token("user", "hunter2"));
    let (context, _) = with_image(&registry);
    let (address, target) = (registry.address().to_string(), name(&registry, "app:1"));
    context.run(["image", "push", "-q", "app", &target]).exit(5);
    context.run(["image", "login", &address, "-u", "user", "-p", "hunter2"]).success();
    context.run(["image", "push", "-q", "app", &target, &name(&registry, "b:1")]).success();
}
