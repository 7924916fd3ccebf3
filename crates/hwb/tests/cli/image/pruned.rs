//! `hwb cache prune` and images: what nothing needs goes, what something needs stays.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use fs_err as fs;
use hwb_testkit::registry::Registry;
use hwb_testkit::{CommandContext, Image, Tree};
use insta::assert_snapshot;

use super::{context, name};

/// Two images that share a layer.
fn push(registry: &Registry) {
    let below = Tree::new().file("etc/shared", "shared");
    for image in ["one", "other"] {
        let own = Tree::new().file("etc/own", image);
        Image::new().layer(&below).layer(&own).push(registry, image, "1");
    }
}

fn blobs(context: &CommandContext) -> usize {
    CommandContext::files_below(&context.cache().join("v1/blobs")).len()
}

fn images(context: &CommandContext) -> Vec<String> {
    let images = context.run(["image", "ls", "--json"]).success().json();
    let names = images.as_array().unwrap().iter().map(|image| image["name"].as_str().unwrap().to_owned());
    names.map(|name| name.split_once('/').unwrap().1.to_owned()).collect()
}

#[test]
fn what_no_image_needs_goes() {
    let registry = Registry::open();
    push(&registry);
    let context = context(&registry);
    let (one, other) = (name(&registry, "one:1"), name(&registry, "other:1"));
    context.run(["image", "pull", "-q", &one, &other]).success();
    assert_eq!(blobs(&context), 7);
    assert_snapshot!(context.run(["cache", "prune"]), @r"
    exit: 0
    --- stdout
    Removed 0 files ([SIZE])
    ");
    context.run(["image", "rm", &one]).success();
    context.run(["cache", "prune", "--older-than", "1h"]).success();
    assert_eq!(blobs(&context), 7, "it was used just now");
    assert_snapshot!(context.run(["cache", "prune"]), @r"
    exit: 0
    --- stdout
    Removed 3 files ([SIZE])
    ");
    assert_eq!(blobs(&context), 4);
    context.run(["image", "export", "-o", "whole.tar", &other]).success();
    assert_snapshot!(context.run(["cache", "prune", "--keep-size", "1"]), @r"
    exit: 0
    --- stdout
    Removed 0 files ([SIZE])
    The cache still has [SIZE]; --all removes what images need too
    ");
}

/// A name with a digest says that exactly this is wanted.
#[test]
fn a_name_with_a_digest_stays() {
    let registry = Registry::open();
    push(&registry);
    let context = context(&registry);
    let pulled = context.run(["image", "pull", "-q", "--json", &name(&registry, "one:1")]).success().json();
    let digest = pulled[0]["digest"].as_str().unwrap();
    let pinned = name(&registry, &format!("one@{digest}"));
    context.run(["image", "pull", "-q", &pinned, &name(&registry, "other:1")]).success();
    for size in ["1t", "0"] {
        context.run(["cache", "prune", "--all", "--older-than", "1h", "--keep-size", size]).success();
        assert_eq!(images(&context).len(), 3);
    }
    assert_snapshot!(context.run(["cache", "prune", "--all"]), @r"
    exit: 0
    --- stdout
    Removed 5 files ([SIZE])
    Removed the name [REGISTRY]/one:1
    Removed the name [REGISTRY]/other:1
    ");
    assert_eq!(images(&context), [format!("one@{digest}")]);
    context.run(["image", "export", "-o", "whole.tar", &pinned]).success();
    context.run(["cache", "prune", "--all", "--kind", "blobs", "--kind", "records"]).success();
    assert_eq!((images(&context).len(), blobs(&context)), (1, 4));
    context.run(["cache", "clean"]).success();
    assert_eq!((images(&context).len(), blobs(&context)), (0, 0));
}

/// Bytes of a folder and of everything below it.
fn on_disk(path: &Path) -> u64 {
    let metadata = fs::symlink_metadata(path).unwrap();
    let below = if metadata.is_dir() {
        fs::read_dir(path).unwrap().map(|entry| on_disk(&entry.unwrap().path())).sum()
    } else {
        0
    };
    metadata.blocks() * 512 + below
}

#[test]
fn what_is_measured_adds_up() {
    let registry = Registry::open();
    push(&registry);
    let context = context(&registry);
    context.run(["image", "pull", "-q", &name(&registry, "one:1")]).success();
    let usage = context.run(["cache", "du", "--json"]).success().json();
    let sum = |key: &str| {
        usage["kinds"].as_array().unwrap().iter().map(|kind| kind[key].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(sum("bytes"), on_disk(&context.cache()));
    assert_eq!(sum("files"), u64::try_from(CommandContext::files_below(&context.cache()).len()).unwrap());
}
