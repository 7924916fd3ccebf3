//! Layers that try to reach the host, or to be more than they may.

use std::path::Path;

use hwb_snapshot::unpack::Limits;

use crate::layer::{Layer, Stack, form};

fn new() -> Layer {
    Layer::new()
}

/// A layer below, which no other may change.
fn below() -> Layer {
    new().time(9).file("below/file", "untouched").link("below/link", "/etc").dir("etc", 0o755)
}

/// Puts a layer on the one below; nothing comes to be beside the two, and the one below is as it was.
fn attempt(layer: &Layer) -> Result<String, String> {
    attempt_limited(layer, Limits::default())
}

fn attempt_limited(layer: &Layer, limits: Limits) -> Result<String, String> {
    let mut stack = Stack::new();
    stack.push(&below()).unwrap();
    let before = stack.list();
    let outcome = stack.push_limited(layer, limits).map(|_| stack.list()).map_err(|error| chain(&error));
    assert_eq!(crate::layer::list(stack.snapshots.last().unwrap()), before, "the layer below");
    let mut beside = names(stack.folder.path());
    beside.sort();
    assert_eq!(beside, ["layer-0", "layer-1"]);
    outcome
}

#[expect(clippy::disallowed_methods, reason = "the names are sorted")]
fn names(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn refused(layer: Layer, expect: &str) {
    assert_eq!(attempt(&layer).unwrap_err(), expect);
}

#[test]
fn names_that_lead_out_are_refused() {
    let name = |text: &str| {
        format!("an entry of the layer has a name that leads nowhere in it: `{text}` has a part that is `..`")
    };
    for text in ["../x", "a/../../x", "/../x", "a/..", "below/../below/file"] {
        refused(new().file(text, "x"), &name(text));
        refused(new().dir(text, 0o777), &name(text));
        refused(new().link(text, "/"), &name(text));
        refused(new().hard("h", text), &name(text));
    }
    refused(new().pax("path", b"../x").file("x", ""), &name("../x"));
    refused(
        new()
            .pax("GNU.sparse.name", b"../x")
            .pax("GNU.sparse.size", b"0")
            .pax("GNU.sparse.map", b"")
            .file("x", ""),
        &name("../x"),
    );
    refused(
        new().pax("path", b"a\0b").file("x", ""),
        "an entry of the layer has a name that leads nowhere in it: `a\\x00b` has a NUL",
    );
    refused(
        new().file(&"n".repeat(256), ""),
        &format!("cannot write entry `{}` of the layer: File name too long (os error 36)", "n".repeat(256)),
    );
}

#[test]
fn hard_links_lead_to_files_of_the_image_only() {
    let hard = |entry, target| {
        format!("entry `{entry}` of the layer is a hard link to `{target}`, which is no file")
    };
    refused(new().hard("h", "/etc/passwd"), &hard("h", "etc/passwd"));
    refused(new().link("l", "/etc").hard("h", "l/passwd"), &hard("h", "etc/passwd"));
    refused(new().link("l", "/").hard("h", "l/proc/self/environ"), &hard("h", "proc/self/environ"));
    refused(new().hard("h", "below/link/passwd"), &hard("h", "below/link/passwd"));
    refused(new().hard("h", "/"), &hard("h", "/"));
    refused(new().hard("h", "h"), &hard("h", "h"));
    refused(new().hard("h", "below"), &hard("h", "below"));
    refused(new().dir("d", 0o755).hard("h", "d"), &hard("h", "d"));
    refused(new().file("below/.wh.file", "").hard("h", "below/file"), &hard("h", "below/file"));
}

#[test]
fn what_cannot_be_or_would_be_misunderstood_is_refused() {
    // Something that is no directory on the way.
    let way =
        |entry, above| format!("entry `{entry}` of the layer lies below `{above}`, which is no directory");
    refused(new().file("f", "").file("f/x", ""), &way("f", "f"));
    refused(new().raw(b'6', "p", 0o600, "", b"").file("p/q/x", ""), &way("p/q", "p"));
    refused(
        new().link("l", "l").file("l/x", ""),
        "the way to entry `l` of the layer goes through too many links",
    );
    refused(
        new().link("a", "b/b/b").link("b", "a/a/a").file("a/x", ""),
        "the way to entry `a` of the layer goes through too many links",
    );
    // Links and attributes that nobody could make.
    let write = |entry, why| format!("cannot write entry `{entry}` of the layer: {why}");
    refused(new().link("l", ""), &write("l", "No such file or directory (os error 2)"));
    refused(new().link("l", &"x".repeat(5000)), &write("l", "File name too long (os error 36)"));
    refused(
        new().pax("SCHILY.xattr.", b"x").file("f", ""),
        &write("f", "Numerical result out of range (os error 34)"),
    );
    // What overlayfs would misunderstand.
    refused(
        new().device(b'3', "x", 0, 0),
        "entry `x` of the layer is the device 0:0, which would hide what is below it",
    );
    for text in [".wh.", "a/.wh..", ".wh...", "a/.wh.b/c"] {
        refused(new().file(text, ""), &format!("entry `{text}` of the layer hides no name"));
    }
    refused(new().file(".", ""), "the root of the layer is a file");
    refused(new().link("/", "/etc"), "the root of the layer is a symbolic link");
    refused(new().hard("./.", "below/file"), "the root of the layer is a hard link");
    // Numbers that mean something else to the kernel.
    for (uid, gid) in [(u64::from(u32::MAX), 0), (0, u64::from(u32::MAX)), (1 << 32, 0)] {
        refused(new().owner(uid, gid).file("x", ""), "entry `x` of the layer has no usable owner");
    }
    refused(
        new().pax("uid", b"-1").file("x", ""),
        "cannot read the layer: the extended header at 512 is malformed",
    );
    // Archives that are none.
    refused(
        new().raw(b'Z', "x", 0o644, "", b""),
        "cannot read the layer: member `x` is of the unknown kind 'Z'",
    );
    refused(
        new().pax("GNU.sparse.size", b"2").pax("GNU.sparse.map", b"1,2").file("x", "ab"),
        "cannot read the layer: the sparse file `x` has no readable map",
    );
    refused(
        new().pax("size", b"4096").file("x", "short"),
        "cannot read the layer: the archive ends in the middle of `x`",
    );
}

#[test]
fn contained() {
    let contained = |layer: Layer, expect: &str| {
        let expect: Vec<&str> = expect.lines().map(str::trim).collect();
        let list = attempt(&layer).unwrap();
        assert_eq!(list.lines().collect::<Vec<_>>(), expect);
    };
    contained(new().file("/etc/passwd", "x"), "/ dir 755\netc dir 755 @9\netc/passwd file \"x\" 644");
    // Links lead on inside.
    for target in ["/", "../../..", "/../..", "./x/../.."] {
        contained(
            new().link("out", target).file("out/tmp/x", "x").file("out/.wh.below", ""),
            &format!("/ dir 755\nbelow whiteout\nout -> {target}\ntmp dir 755\ntmp/x file \"x\" 644"),
        );
    }
    contained(
        new().link("d/out", "/proc/self/cwd/etc").file("d/out/passwd", "x"),
        "/ dir 755
         d dir 755
         d/out -> /proc/self/cwd/etc
         proc dir 755
         proc/self dir 755
         proc/self/cwd dir 755
         proc/self/cwd/etc dir 755
         proc/self/cwd/etc/passwd file \"x\" 644",
    );
    // A link of the layer below is hidden, not followed.
    contained(
        new().file("below/link/passwd", "x"),
        "/ dir 755\nbelow dir 755\nbelow/link dir 755\nbelow/link/passwd file \"x\" 644",
    );
    // A link is replaced, never written through.
    contained(new().link("f", "/etc/passwd").file("f", "x"), "/ dir 755\nf file \"x\" 644");
    contained(new().link("f", "g").hard("h", "f").file("h", "x"), "/ dir 755\nf -> g\nh file \"x\" 644");
    contained(
        new().dir("d", 0o755).file("d/a", "").link("d", "/etc").file("d/passwd", "x"),
        "/ dir 755\nd -> /etc\netc dir 755 @9\netc/passwd file \"x\" 644",
    );
    contained(
        new().dir("d", 0o755).link("e", "d").dir("e", 0o700).file("e/x", ""),
        "/ dir 755\nd dir 755\ne dir 700\ne/x file \"\" 644",
    );
    // A hard link to a file below is to a copy of it.
    contained(
        new().hard("h", "below/file").file("h", "x"),
        "/ dir 755\nbelow dir 755\nbelow/file file \"untouched\" 644 @9\nh file \"x\" 644",
    );
    // No time is so far off that it could not be kept as well as the file system can.
    for time in ["9223372036854775807", "-9223372036854775808", "x"] {
        assert!(attempt(&new().pax("mtime", time.as_bytes()).file("t", "")).is_ok());
    }
    // Times of directories are their own, links have no mode.
    contained(
        new().time(5).link("l", "/etc/passwd").raw(b'5', "l", 0o777, "", b""),
        "/ dir 755\nl dir 777 @5",
    );
}

#[test]
fn marks_are_only_shown() {
    let (_, marks) = form();
    let prefix = if marks == hwb_snapshot::Marks::User { "user" } else { "trusted" };
    for mark in ["opaque", "redirect", "metacopy", "whiteout", "overlay.opaque"] {
        let layer = new().pax(&format!("SCHILY.xattr.{prefix}.overlay.{mark}"), b"y").dir("d", 0o755);
        let list = attempt(&layer).unwrap();
        assert_eq!(list, format!("/ dir 755\nd dir 755 {prefix}.overlay.overlay.{mark}=y\n"));
    }
}

#[test]
fn limited() {
    let limits = Limits { entries: 3, bytes: 10, path: 20, depth: 3 };
    let check = |layer: Layer, expect: &str| {
        assert_eq!(
            attempt_limited(&layer, limits).err().as_deref(),
            Some(expect).filter(|text| !text.is_empty())
        );
    };
    check(new().dir("a", 0o755).file("a/b", "0123456789"), "");
    check(new().file("a", "01234").file("b", "012345"), "the layer unpacks to more than 10 bytes");
    // What a link brings up is of the layer, too.
    check(new().hard("h", "below/file"), "");
    check(new().file("a", "01").hard("h", "below/file"), "the layer unpacks to more than 10 bytes");
    check(
        new().dir("a", 0o755).dir("b", 0o755).dir("c", 0o755).dir("a", 0o755),
        "the layer has more than 3 entries",
    );
    check(new().file("a/b/c/d", ""), "entry `a/b/c/d` of the layer is too deep, or its name too long");
    let long = "n".repeat(21);
    check(new().file(&long, ""), &format!("entry `{long}` of the layer is too deep, or its name too long"));
}
