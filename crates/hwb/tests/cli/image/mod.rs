//! `hwb image`, with a registry of the test; [`run`] is about commands in images, [`kept`] about what they leave,
//! [`pruned`] about what is removed.

mod foreign;
mod kept;
mod pruned;
mod run;

use hwb_testkit::image::push_index;
use hwb_testkit::registry::{Access, Fault, Registry};
use hwb_testkit::{CommandContext, Image, Tree};
use insta::assert_snapshot;

/// A place in which the registry has always the same name.
pub(crate) fn context(registry: &Registry) -> CommandContext {
    crate::context().filter(&regex_of(registry), "[REGISTRY]")
}

fn regex_of(registry: &Registry) -> String {
    registry.address().to_string().replace('.', r"\.")
}

pub(crate) fn name(registry: &Registry, rest: &str) -> String {
    format!("{}/{rest}", registry.address())
}

pub(crate) fn base() -> Image {
    let layer = Tree::new().file("etc/os-release", "ID=test\n");
    Image::new().layer(&layer).config("Cmd", vec!["sh"]).config("Env", vec!["PATH=/bin", "A=b"])
}

#[test]
fn an_image_is_pulled_and_shown() {
    let registry = Registry::open();
    base().layer(&Tree::new().file("usr/greeting", "hello")).push(&registry, "base", "1");
    let context = context(&registry);
    let image = name(&registry, "base:1");
    assert_snapshot!(context.run(["image", "pull", &image]), @r"
    exit: 0
    --- stdout
    [REGISTRY]/base:1@sha256:[DIGEST]
    --- stderr
      layer [SHORT] [SIZE]
      layer [SHORT] [SIZE]
    ");
    assert_snapshot!(context.run(["image", "ls"]), @r"
    exit: 0
    --- stdout
    IMAGE                   ID            PLATFORM     CREATED               SIZE
    [REGISTRY]/base:1  [SHORT]  linux/amd64  [DATE]  [SIZE]
    ");
    assert_snapshot!(context.run(["image", "inspect", &image]), @r#"
    exit: 0
    --- stdout
    [REGISTRY]/base:1

    id        sha256:[DIGEST]
    digest    sha256:[DIGEST]
    platform  linux/amd64
    created   [DATE]
    env       PATH=/bin
              A=b
    cmd       ["sh"]
    layer     sha256:[DIGEST] [SIZE]
              sha256:[DIGEST] [SIZE]
    "#);
    assert_snapshot!(context.run(["image", "history", &image]), @r"
    exit: 0
    --- stdout
    [DATE]  [SIZE]  COPY
    [DATE]  [SIZE]  COPY
    ");

    // Layers that are there do not come again.
    let asked = registry.asked().len();
    context.run(["image", "pull", "-q", &image]).success();
    let again = registry.asked().split_off(asked);
    assert_eq!(again.iter().filter(|line| line.contains("/blobs/")).count(), 1, "the config: {again:?}");

    let details = context.run(["image", "inspect", "--json", &image]).success().json();
    let id = details["id"].as_str().unwrap();
    let short = &id["sha256:".len()..][..12];
    assert_eq!(context.run(["image", "inspect", "--json", short]).success().json(), details);
    assert_eq!(details["config"]["config"]["Cmd"], serde_json::json!(["sh"]));
}

#[test]
fn names_are_given_and_taken() {
    let registry = Registry::open();
    base().push(&registry, "base", "1");
    let context = context(&registry);
    let image = name(&registry, "base:1");
    context.run(["image", "pull", "-q", &image]).success();
    assert_snapshot!(context.run(["image", "tag", &image, "mine"]), @r"
    exit: 0
    --- stdout
    docker.io/library/mine:latest@sha256:[DIGEST]
    ");
    let names = || {
        let images = context.run(["image", "ls", "--json"]).success().json();
        let names = images.as_array().unwrap().iter().map(|image| image["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(), [image.as_str(), "docker.io/library/mine:latest"]);
    assert_snapshot!(context.run(["image", "rm", &image]), @r"
    exit: 0
    --- stdout
    [REGISTRY]/base:1
    ");
    assert_eq!(names(), ["docker.io/library/mine:latest"]);
    assert_snapshot!(context.run(["image", "rm", &image]), @r"
    exit: 4
    --- stderr
    error: no image in the store is called `[REGISTRY]/base:1`
    hint: `hwb image ls` lists what is there, and `hwb image pull` gets more
    ");
    assert_snapshot!(context.run(["image", "tag", "mine", "Mine"]), @r"
    exit: 2
    --- stderr
    error: `Mine` is not an image name: repositories are in lower case
    ");
}

/// What the store has, as `NAME PLATFORM`; the registry's name is left out.
fn listed(context: &CommandContext) -> Vec<String> {
    let images = context.run(["image", "ls", "--json"]).success().json();
    let line = |image: &serde_json::Value| {
        let text = |key: &str| image[key].as_str().unwrap().rsplit(['/']).next().unwrap().to_owned();
        format!("{} {}", text("name").replace("sha256:", ""), text("platform"))
    };
    images.as_array().unwrap().iter().map(line).collect()
}

#[test]
fn a_name_is_for_all_platforms_that_are_there() {
    let registry = Registry::open();
    push_index(&registry, "base", "1", &[base(), base().architecture("arm64")]);
    let context = context(&registry);
    let image = name(&registry, "base:1");
    let run = |words: &[&str]| context.run(["image"].iter().chain(words));
    run(&["pull", "-q", &image, "--platform", "linux/arm64"]).success();
    run(&["tag", &image, "mine:1"]).success();
    assert_snapshot!(run(&["inspect", "mine:1"]), @r"
    exit: 4
    --- stderr
    error: `mine:1` is in the store for linux/arm64 only
    hint: name one of them with `--platform`, or pull it for the one that is wanted
    ");
    run(&["pull", "-q", &image, "--platform", "linux/amd64"]).success();
    assert_eq!(run(&["tag", &image, "mine:2", "--json"]).success().json().as_array().unwrap().len(), 2);
    let arm = run(&["inspect", "--json", "mine:1", "--platform", "arm64"]).success().json();
    run(&["tag", arm["id"].as_str().unwrap(), "mine:3"]).success();
    assert_eq!(
        listed(&context),
        ["base:1 amd64", "base:1 arm64", "mine:1 arm64", "mine:2 amd64", "mine:2 arm64", "mine:3 arm64"]
    );
}

#[test]
fn no_more_is_removed_than_was_named() {
    let registry = Registry::open();
    push_index(&registry, "base", "1", &[base(), base().architecture("arm64")]);
    let context = context(&registry);
    let image = name(&registry, "base:1");
    let run = |words: &[&str]| context.run(["image"].iter().chain(words)).success();
    let pull = |image: &str, platform: &str| {
        run(&["pull", "-q", "--json", image, "--platform", platform]).json()[0].clone()
    };
    let (amd, arm) = (pull(&image, "linux/amd64"), pull(&image, "linux/arm64"));
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();

    // An identifier is one platform's.
    run(&["rm", &text(&arm["id"])]);
    assert_eq!(listed(&context), ["base:1 amd64"]);

    // A pinned name is another name.
    let pinned = format!("{image}@{}", text(&amd["digest"]));
    pull(&pinned, "linux/amd64");
    run(&["rm", &pinned]);
    assert_eq!(listed(&context), ["base:1 amd64"]);

    // If nothing is called so, the digest names an image, under the tag that is said.
    pull(&image, "linux/arm64");
    run(&["tag", &image, &name(&registry, "base:2")]);
    run(&["rm", &format!("{}@{}", name(&registry, "base:2"), text(&arm["digest"]))]);
    assert_eq!(listed(&context), ["base:1 amd64", "base:1 arm64", "base:2 amd64"]);
    context.run(["image", "rm", &format!("{}@{}", name(&registry, "base:3"), text(&arm["digest"]))]).exit(4);
    run(&["rm", &image]);
    assert_eq!(listed(&context), ["base:2 amd64"]);
}

#[test]
fn the_image_for_the_platform_is_taken() {
    let registry = Registry::open();
    let arm = base().architecture("arm64");
    push_index(&registry, "base", "1", &[base(), arm]);
    let context = context(&registry);
    let image = name(&registry, "base:1");
    let platform = |arguments: &[&str]| {
        let pulled = context.run(["image", "pull", "-q", "--json", &image].iter().chain(arguments));
        pulled.success().json()[0]["platform"].as_str().unwrap().to_owned()
    };
    assert_eq!(platform(&["--platform", "linux/arm64"]), "linux/arm64");
    assert_eq!(platform(&["--platform", "linux/amd64"]), "linux/amd64");
    let shown = context.run(["image", "inspect", "--json", "--platform", "linux/arm64", &image]);
    assert_eq!(shown.success().json()["platform"], "linux/arm64");
    assert_snapshot!(context.run(["image", "pull", &image, "--platform", "linux/s390x"]), @r"
    exit: 5
    --- stderr
    error: Failed to pull image `[REGISTRY]/base:1`
      caused by: there is no image for linux/s390x, only for linux/amd64, linux/arm64
    hint: ask for one of these with `--platform`
    ");
    assert_snapshot!(context.run(["image", "pull", &image, "--platform", "linux"]), @r"
    exit: 2
    --- stderr
    error: `linux` is a platform without a processor; say `linux/amd64` or another one
    ");
}

#[test]
fn what_cannot_be_pulled_says_why() {
    let registry = Registry::open();
    let digest = base().push(&registry, "base", "1");
    let context = context(&registry);
    let pull = |rest: &str| context.run(["image", "pull", &name(&registry, rest)]);
    assert_snapshot!(pull("base:2"), @r"
    exit: 5
    --- stderr
    error: Failed to pull image `[REGISTRY]/base:2`
      caused by: `http://[REGISTRY]/v2/base/manifests/2` does not exist (MANIFEST_UNKNOWN: as the test wants it)
    hint: check the image's name and tag; private images may look missing without `hwb image login`
    ");
    assert_snapshot!(pull("Base:1"), @r"
    exit: 2
    --- stderr
    error: `[REGISTRY]/Base:1` is not an image name: repositories are in lower case
    ");
    registry.fault("GET /v2/base/blobs", Fault::Garbled);
    let garbled = pull(&format!("base@{digest}"));
    assert!(garbled.stderr.contains("sha256:"), "{garbled}");
    garbled.exit(5);
    assert_eq!(context.run(["image", "ls", "--json"]).success().json(), serde_json::json!([]));
}

#[test]
fn a_password_is_found_and_never_shown() {
    let registry = Registry::with(Access::Password("user", "hunter2"));
    base().push(&registry, "base", "1");
    let context = context(&registry);
    let image = name(&registry, "base:1");
    assert_snapshot!(context.run(["image", "pull", &image]), @r"
    exit: 5
    --- stderr
    error: Failed to pull image `[REGISTRY]/base:1`
      caused by: `http://[REGISTRY]/v2/base/manifests/1` was refused (UNAUTHORIZED: as the test wants it); no credentials were sent
    hint: `hwb image login` keeps credentials for a registry; without them, what does not exist may look private
    ");
    let auth =
        serde_json::json!({ "auths": { registry.address().to_string(): { "auth": "dXNlcjpodW50ZXIy" } } });
    let folder = context.home().join(".docker");
    fs_err::create_dir_all(&folder).unwrap();
    fs_err::write(folder.join("config.json"), auth.to_string()).unwrap();
    let pulled = context.run(["image", "pull", &image]).success();
    assert!(!format!("{pulled}").contains("hunter2"));
}

#[test]
fn a_mirror_is_asked_first() {
    let registry = Registry::open();
    base().push(&registry, "mirrored/base", "1");
    let context = context(&registry);
    let settings =
        format!("[registries]\nmirrors = {{ \"quay.io/pypa\" = \"{}/mirrored\" }}\n", registry.address());
    fs_err::write(context.work().join("hwb.toml"), settings).unwrap();
    let folder = context.home().join(".config/hwb");
    fs_err::create_dir_all(&folder).unwrap();
    fs_err::rename(context.work().join("hwb.toml"), folder.join("hwb.toml")).unwrap();
    let pulled = context.run(["image", "pull", "-q", "--json", "quay.io/pypa/base:1"]).success().json();
    assert_eq!(pulled[0]["name"], "quay.io/pypa/base:1");
    // A mirror that has nothing is told of.
    let other = Registry::open();
    let (prefix, location) = (name(&registry, "mirrored"), name(&other, "mirrored"));
    let settings = format!("[registries]\nmirrors = {{ {prefix:?} = {location:?} }}\n");
    fs_err::write(folder.join("hwb.toml"), settings).unwrap();
    let context = context.filter(&regex_of(&other), "[MIRROR]");
    assert_snapshot!(context.run(["image", "pull", &name(&registry, "mirrored/base:1")]), @r"
    exit: 0
    --- stdout
    [REGISTRY]/mirrored/base:1@sha256:[DIGEST]
    --- stderr
    note: the mirror [MIRROR] does not serve the image: `http://[MIRROR]/v2/mirrored/base/manifests/1` does not exist (MANIFEST_UNKNOWN: as the test wants it)
    ");
}

#[test]
fn a_layer_that_stands_there_twice_comes_once() {
    let registry = Registry::open();
    let layer = Tree::new().file("etc/motd", "hello\n");
    Image::new().layer(&layer).layer(&layer).push(&registry, "base", "1");
    context(&registry).run(["image", "pull", "-q", &name(&registry, "base:1")]).success();
    let blobs = registry.asked().iter().filter(|line| line.contains("/blobs/")).count();
    assert_eq!(blobs, 2, "the layer and the config: {:?}", registry.asked());
}
