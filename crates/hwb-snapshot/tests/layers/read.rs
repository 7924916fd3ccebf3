//! Files of an image as a container would see them.

use std::error::Error as _;
use std::path::Path;

use hwb_snapshot::{Chain, ReadFileError, read_file};

use crate::layer::{Layer, Stack, form};

/// Two layers; the upper one hides some of the lower one, and has links of all sorts.
fn layers() -> Stack {
    let below = Layer::new()
        .file("etc/passwd", "old")
        .file("etc/group", "group")
        .file("opaque/file", "hidden")
        .file("flat/file", "hidden")
        .file("gone/file", "hidden")
        .file("shown/file", "below");
    let above = Layer::new()
        .file("etc/passwd", "new")
        .file("etc/.wh.group", "")
        .dir("opaque", 0o755)
        .file("opaque/.wh..wh..opq", "")
        .file("flat", "flat")
        .file(".wh.gone", "")
        .file("shown/other", "above")
        .dir("etc/deep", 0o755)
        .link("etc/deep/up", "../../../../etc/passwd")
        .link("absolute", "/etc/passwd")
        .link("directory", "./etc//deep/..")
        .link("host", "/proc/self/environ")
        .link("hidden", "opaque/file")
        .link("loop", "loop")
        .device(b'3', "null", 1, 3)
        .raw(b'6', "pipe", 0o600, "", b"");
    let mut stack = Stack::new();
    stack.push(&below).unwrap();
    stack.push(&above).unwrap();
    stack
}

fn read(stack: &Stack, path: &str, limit: u64) -> Result<Option<String>, ReadFileError> {
    let chain = Chain { layers: stack.snapshots.clone() };
    let found = read_file(&chain, form().1, Path::new(path), limit)?;
    Ok(found.map(|bytes| String::from_utf8(bytes).unwrap()))
}

#[test]
fn a_file_is_what_the_layers_together_show() {
    let stack = layers();
    for (path, expect) in [
        ("etc/passwd", Some("new")),
        ("/etc/passwd", Some("new")),
        ("../etc/./passwd", Some("new")),
        ("etc/deep/up", Some("new")),
        ("absolute", Some("new")),
        ("directory/deep/up", Some("new")),
        ("directory/../flat", Some("flat")),
        ("shown/file", Some("below")),
        ("shown/other", Some("above")),
        ("etc/group", None),
        ("opaque/file", None),
        ("hidden", None),
        ("flat/file", None),
        ("gone/file", None),
        ("host", None),
        ("absolute/x", None),
        ("etc", None),
        ("/", None),
        ("null", None),
        ("pipe", None),
    ] {
        assert_eq!(read(&stack, path, 4 << 10).unwrap().as_deref(), expect, "{path}");
    }
}

#[test]
fn what_cannot_be_read_is_not_taken_for_absent() {
    let stack = layers();
    let top = stack.snapshots[0].tree();
    let long = "n".repeat(256);
    let cannot = |path: &str| format!("cannot read `{}` of a layer below", top.join(path).display());
    for (path, limit, expect, why) in [
        ("flat", 4, None, None),
        ("flat", 3, Some("`flat` of the image has more than 3 bytes".to_owned()), None),
        ("loop", 9, Some(cannot("loop")), Some("Too many levels of symbolic links (os error 40)")),
        (&long, 9, Some(cannot(&long)), Some("File name too long (os error 36)")),
    ] {
        let error = read(&stack, path, limit).err();
        let source = error.as_ref().and_then(|error| error.source()).map(ToString::to_string);
        assert_eq!((error.map(|error| error.to_string()), source.as_deref()), (expect, why), "{path}");
    }
}
