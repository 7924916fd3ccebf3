//! What becomes of layers that are well made.

use hwb_snapshot::unpack::Below;

use crate::layer::{Layer, Stack};

/// Unpacks layers on each other, the lowest first, and compares the topmost one.
fn check(layers: &[Layer], expect: &str) {
    let mut stack = Stack::new();
    for layer in layers {
        stack.push(layer).unwrap();
    }
    let expect: Vec<&str> = expect.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let list = stack.list();
    assert_eq!(list.lines().collect::<Vec<_>>(), expect);
}

fn new() -> Layer {
    Layer::new()
}

#[test]
fn keeps_all_that_a_layer_says() {
    let layer = new()
        .time(1_000_000_000)
        .dir("./", 0o755)
        .dir("bin/", 0o755)
        .mode("bin/su", 0o4755)
        .owner(0, 42)
        .mode("bin/chage", 0o2755)
        .owner(1000, 1000)
        .dir("home", 0o700)
        .pax("mtime", b"1234567890.123456789")
        .pax("SCHILY.xattr.user.note", b"a\0b")
        .file("home/note", "hello")
        .owner(60_000, 5)
        .link("home/out", "../../../etc/shadow")
        .owner(0, 0)
        .raw(b'6', "pipe", 0o620, "", b"")
        .dir("shut", 0o000)
        .file("shut/inside", "x")
        .dir("tmp", 0o1777);
    check(
        &[layer],
        "/ dir 755 @1000000000
         bin dir 755 @1000000000
         bin/chage file \"x\" 2755 0:42 @1000000000
         bin/su file \"x\" 4755 @1000000000
         home dir 700 1000:1000 @1000000000
         home/note file \"hello\" 644 1000:1000 @1234567890.123456789 user.note=a\\x00b
         home/out -> ../../../etc/shadow 60000:5 @1000000000
         pipe fifo 620 @1000000000
         shut dir 0 @1000000000
         shut/inside file \"x\" 644 @1000000000
         tmp dir 1777 @1000000000",
    );
}

#[test]
fn devices_and_capabilities_stand_in_the_tree_or_the_ledger() {
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let layer = new()
        .device(b'3', "dev/null", 1, 3)
        .device(b'4', "dev/sda", 8, 0)
        .pax("SCHILY.xattr.security.capability", capability)
        .mode("ping", 0o755);
    check(
        &[layer],
        "/ dir 755
         dev dir 755
         dev/null c1:3 666
         dev/sda b8:0 666
         ping file \"x\" 755 security.capability=\\x01\\x00\\x00\\x02\\x00\\x04\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00",
    );
}

#[test]
fn the_last_of_several_entries_counts() {
    check(
        &[new().file("a", "1").file("./a", "2").dir("d", 0o700).file("d/x", "x").owner(5, 5).dir("d", 0o750)],
        "/ dir 755
         a file \"2\" 644
         d dir 750 5:5
         d/x file \"x\" 644",
    );
    // A file takes the place of a directory, and the other way round; what was recorded of it goes.
    check(
        &[new()
            .owner(7, 7)
            .dir("d/e", 0o700)
            .file("d/e/x", "x")
            .owner(0, 0)
            .file("d", "file")
            .link("l", "d")
            .dir("l", 0o711)],
        "/ dir 755
         d file \"file\" 644
         l dir 711",
    );
    let deep = (0..300).fold(new(), |layer, depth| layer.dir(&"d/".repeat(depth + 1), 0o755));
    check(&[deep.file("d", "flat")], "/ dir 755\nd file \"flat\" 644");
}

#[test]
fn hides_what_is_below() {
    let below = new().file("a/gone", "").file("a/kept", "").file("b/gone", "").file("c", "").file("file", "");
    let check = |layer: Layer, expect: &str| check(&[below.clone(), layer], expect);
    check(
        new().file("a/.wh.gone", "").file(".wh.c", ""),
        "/ dir 755
         a dir 755
         a/gone whiteout
         c whiteout",
    );
    // What is not there needs no hiding; overlayfs could not always hide the mark itself.
    check(new().file("a/.wh.none", "").file("none/.wh.x", "").file("c/.wh.x", ""), "/ dir 755");
    // A layer does not hide what it brings itself, before or after.
    check(
        new().file("a/gone", "1").file("a/.wh.gone", "").file(".wh.c", "").file("c", "2"),
        "/ dir 755
         a dir 755
         a/gone file \"1\" 644
         c file \"2\" 644",
    );
    for layer in [
        new().dir("a", 0o700).file("a/x", "").file(".wh.a", ""),
        new().file(".wh.a", "").dir("a", 0o700).file("a/x", ""),
        new().dir("a", 0o700).file("a/x", "").file("a/.wh..wh..opq", ""),
        new().dir("a", 0o700).file("a/.wh..wh..opq", "").file("a/x", "").file("a/.wh.gone", ""),
        new().dir("a", 0o700).file("a/.wh.gone", "").file("a/x", "").file("a/.wh..wh..opq", ""),
    ] {
        check(
            layer,
            "/ dir 755
             a dir 700 opaque=y
             a/x file \"\" 644",
        );
    }
    // What hides a directory goes when a file takes its place.
    check(new().file(".wh.a", "").file("a/x", "").file("a", "flat"), "/ dir 755\na file \"flat\" 644");
    // What aufs wrote for itself is not of the image.
    check(
        new().dir(".wh..wh.plnk", 0o700).file(".wh..wh.plnk/1.2", "x").file(".wh..wh.aufs", ""),
        "/ dir 755",
    );
}

#[test]
fn an_opaque_root_hides_every_layer_below() {
    let mut stack = Stack::new();
    assert_eq!(stack.push(&new().file("a", "")).unwrap().below, Below::Shows);
    assert_eq!(
        stack.push(&new().file("b", "").file(".wh.a", "").file(".wh..wh..opq", "")).unwrap().below,
        Below::Hidden
    );
    assert_eq!(stack.list(), "/ dir 755\nb file \"\" 644\n");
}

#[test]
fn ways_are_as_the_layers_below_have_them() {
    let below = [
        new()
            .time(9)
            .owner(3, 4)
            .pax("SCHILY.xattr.user.a", b"b")
            .dir("a", 0o1777)
            .dir("a/b", 0o700)
            .dir("c", 0o711)
            .dir("", 0o555),
        new().file(".wh.c", ""),
    ];
    check(
        &[&below[..], &[new().file("a/b/x", "").file("c/d/x", "")]].concat(),
        "/ dir 555 3:4 @9
         a dir 1777 3:4 @9 user.a=b
         a/b dir 700 3:4 @9
         a/b/x file \"\" 644
         c dir 755
         c/d dir 755
         c/d/x file \"\" 644",
    );
}

#[test]
fn hard_links_bring_up_what_is_below() {
    let below = new()
        .time(9)
        .owner(3, 4)
        .pax("SCHILY.xattr.user.a", b"b")
        .dir("a", 0o700)
        .raw(b'0', "a/file", 0o6755, "", b"content")
        .link("a/link", "/etc")
        .raw(b'6', "a/pipe", 0o600, "", b"")
        .device(b'3', "a/zero", 1, 5);
    check(
        &[
            below,
            new(),
            new()
                .hard("b", "./a/file")
                .hard("c", "/b")
                .hard("c", "c")
                .hard("l", "a/link")
                .hard("p", "a/pipe")
                .hard("z", "a/zero"),
        ],
        "/ dir 755
         a dir 700 3:4 @9 user.a=b
         a/file file \"content\" 6755 3:4 @9 x3
         a/link -> /etc 3:4 @9 x2
         a/pipe fifo 600 3:4 @9 x2
         a/zero c1:5 666 3:4 @9 x2
         b file \"content\" 6755 3:4 @9 x3
         c file \"content\" 6755 3:4 @9 x3
         l -> /etc 3:4 @9 x2
         p fifo 600 3:4 @9 x2
         z c1:5 666 3:4 @9 x2",
    );
}

#[test]
fn holes_stay_holes() {
    let layers = [
        new().pax("GNU.sparse.size", b"10").pax("GNU.sparse.map", b"3,2,7,1,10,0").file("f", "abc"),
        new()
            .pax("GNU.sparse.size", b"10")
            .pax("GNU.sparse.numblocks", b"2")
            .pax("GNU.sparse.offset", b"3")
            .pax("GNU.sparse.numbytes", b"2")
            .pax("GNU.sparse.offset", b"7")
            .pax("GNU.sparse.numbytes", b"1")
            .file("f", "abc"),
        new()
            .pax("GNU.sparse.major", b"1")
            .pax("GNU.sparse.minor", b"0")
            .pax("GNU.sparse.name", b"f")
            .pax("GNU.sparse.realsize", b"10")
            .file("GNUSparseFile.1/f", &format!("{:\0<512}abc", "2\n3\n2\n7\n1\n")),
        new().old_sparse("f", 10, &[(3, 2), (7, 1)], "abc"),
    ];
    for layer in layers {
        let mut stack = Stack::new();
        stack.push(&layer).unwrap();
        let content = std::fs::File::open(stack.snapshots[0].tree().join("f")).unwrap();
        let content: Vec<u8> = std::io::Read::bytes(content).map(Result::unwrap).collect();
        assert_eq!(content, b"\0\0\0ab\0\0c\0\0");
    }
    let huge = new().pax("GNU.sparse.size", b"1099511627776").pax("GNU.sparse.map", b"0,1").file("f", "x");
    let mut stack = Stack::new();
    assert_eq!(stack.push(&huge).unwrap().bytes, 1);
    let file = stack.snapshots[0].tree().join("f").metadata().unwrap();
    assert_eq!((file.len(), std::os::unix::fs::MetadataExt::blocks(&file) < 100), (1 << 40, true));
    // A copy of it in a further layer has no more.
    assert!(stack.push(&new().hard("g", "f")).unwrap().bytes < 1 << 20);
    let copy = stack.snapshots[0].tree().join("g").metadata().unwrap();
    assert_eq!((copy.len(), std::os::unix::fs::MetadataExt::blocks(&copy) < 1 << 11), (1 << 40, true));
    let edges =
        new().pax("GNU.sparse.size", b"300000").pax("GNU.sparse.map", b"100000,1,200000,2").file("f", "abc");
    stack.push(&edges).unwrap();
    stack.push(&new().hard("g", "f")).unwrap();
    let mut copy = std::fs::File::open(stack.snapshots[0].tree().join("g")).unwrap();
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut copy, &mut content).unwrap();
    let data: Vec<_> = content.iter().enumerate().filter(|(_, byte)| **byte != 0).collect();
    assert_eq!((content.len(), data), (300_000, vec![(100_000, &b'a'), (200_000, &b'b'), (200_001, &b'c')]));
}
