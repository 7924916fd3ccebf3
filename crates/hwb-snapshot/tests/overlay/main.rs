//! Layers under the kernel's own overlayfs: as root, and as a user in a namespace where he is root.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use hwb_ident::Timestamp;
use hwb_snapshot::{Diff, Marks, Snapshot, Unpack, Upper, diff, unpack};

#[path = "../layers/layer.rs"]
#[expect(dead_code, reason = "the other tests need more of it")]
mod layer;

use self::layer::{Layer, Stack, form, is_root};

const TIME: u64 = 1_000_000_000;

fn base() -> Layer {
    Layer::new()
        .time(TIME)
        .dir("", 0o755)
        .dir("etc", 0o755)
        .file("etc/passwd", "root")
        .file("etc/touched", "same")
        .file("etc/opened", "same")
        .file("etc/moded", "same")
        .link("etc/link", "passwd")
        .dir("tmp", 0o1777)
        .dir("usr", 0o755)
        .dir("usr/lib", 0o755)
        .file("usr/lib/a", "a")
        .file("usr/lib/b", "b")
        .dir("opt", 0o755)
        .dir("opt/old", 0o755)
        .file("opt/old/x", "x")
        .file("three", "")
}

/// Runs a script in the root of an overlay, in namespaces of its own; what it prints.
fn run(stack: &Stack, upper: &Path, script: &str) -> String {
    let work = stack.folder.path().join("work");
    let merged = stack.folder.path().join("merged");
    for directory in [upper, &work, &merged] {
        std::fs::create_dir_all(directory).unwrap();
    }
    let lowers: Vec<String> =
        stack.snapshots.iter().map(|snapshot| snapshot.tree().display().to_string()).collect();
    let userxattr = if form().1 == Marks::Trusted { "" } else { ",userxattr" };
    let text = format!(
        "set -e; mount -t overlay overlay -o lowerdir={},upperdir={},workdir={}{userxattr} {merged}; cd {merged}; {script}",
        lowers.join(":"),
        upper.display(),
        work.display(),
        merged = merged.display(),
    );
    let flags = if is_root() { "-m" } else { "-Urm" };
    #[expect(clippy::disallowed_methods, reason = "a test of the system starts programs of it")]
    let output = Command::new("unshare").args([flags, "sh", "-c", &text]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    hwb_store::fs::remove_tree(&work).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Everything that is to be seen, but for times.
const LIST: &str = "find . -printf '%p %y %m %U:%G %n %s %l\\n' | sed -E 's/^(\\S+ d \\S+ \\S+) .*/\\1/' | sort; \
    find . -type f | sort | xargs cat";

fn take(stack: &Stack, upper: PathBuf) -> Vec<u8> {
    let (owners, marks) = form();
    let newest = Some(Timestamp::from_seconds(TIME));
    let lowers = stack.snapshots.clone();
    let upper = Upper::Changes(upper);
    let mounts = Vec::new();
    let request = Diff { upper, lowers, owners, marks, owner_attribute: None, mounts, newest };
    diff(&request, Vec::new()).unwrap().0
}

fn put(stack: &mut Stack, bytes: &[u8]) {
    let path = stack.folder.path().join(format!("layer-{}", stack.snapshots.len()));
    std::fs::create_dir(&path).unwrap();
    let (owners, marks) = form();
    let snapshot = Snapshot::new(path);
    let lowers = stack.snapshots.clone();
    let limits = hwb_snapshot::unpack::Limits::default();
    let request = Unpack { snapshot: snapshot.clone(), lowers, owners, marks, limits };
    unpack(&mut &*bytes, &request).unwrap();
    stack.snapshots.insert(0, snapshot);
}

/// The same is to be seen of a run as of the layer that was taken of it.
#[test]
fn a_run_looks_like_its_layer() {
    for script in [
        "true",
        "echo more >> etc/passwd; rm etc/link; ln -s shadow etc/link; touch -d @1000000000 etc/touched",
        "rm -r usr/lib; mkdir usr/lib; echo new > usr/lib/c; rm three; mkdir three",
        "rm -r usr opt; echo flat > usr; mkdir -p opt/old/deep; chmod 700 opt; mkfifo pipe",
        "ln etc/passwd p1; ln p1 usr/p2; rm etc/passwd; ln -s x l; ln l l2",
        "mv usr/lib/a usr/lib/b; mv three usr/lib/three; rmdir tmp; mkdir -m 1777 tmp; echo x > tmp/x",
        "chmod 4755 usr/lib/a; chmod 600 etc/moded; chmod 644 etc/moded; : >> etc/opened; dd if=/dev/zero of=hole bs=1 count=1 seek=1M 2>&1",
        "mkdir -p a/b/c; echo 1 > a/b/c/d; rm -r a; rm -r opt/old; mkdir opt/old; rm -r opt/old",
        "cp -r etc etc2; rm -r etc; mv etc2 etc; rm -r etc/touched",
    ] {
        let mut stack = Stack::new();
        stack.push(&base()).unwrap();
        stack
            .push(
                &Layer::new()
                    .time(TIME)
                    .file("usr/lib/.wh.b", "")
                    .file("usr/lib/c", "c")
                    .file("etc/.wh.none", ""),
            )
            .unwrap();
        let upper = stack.folder.path().join("upper");
        let seen = run(&stack, &upper, &format!("{{ {script}; }} > /dev/null; {LIST}"));
        let bytes = take(&stack, upper);
        put(&mut stack, &bytes);
        let fresh = stack.folder.path().join("fresh");
        assert_eq!(run(&stack, &fresh, LIST), seen, "{script}");
        // And nothing is left to take.
        assert_eq!(take(&stack, fresh).len(), 1024, "{script}");
    }
}

/// What was changed and changed back is no change; owners are root's own for him who is root there.
#[test]
fn only_what_differs_is_taken() {
    let mut stack = Stack::new();
    stack.push(&base()).unwrap();
    let upper = stack.folder.path().join("upper");
    let script = ": >> etc/opened; chmod 600 etc/moded; chmod 644 etc/moded; mkdir new; printf 1 > new/file; rm usr/lib/a; \
        touch -d @1000000000 usr/lib etc new/file new";
    run(&stack, &upper, script);
    let bytes = take(&stack, upper);
    let path = stack.folder.path().join("taken");
    std::fs::create_dir(&path).unwrap();
    let (owners, marks) = form();
    let request = Unpack {
        snapshot: Snapshot::new(path),
        lowers: stack.snapshots.clone(),
        owners,
        marks,
        limits: hwb_snapshot::unpack::Limits::default(),
    };
    unpack(&mut &*bytes, &request).unwrap();
    assert_eq!(
        layer::list(&request.snapshot),
        "/ dir 755 @1000000000\nnew dir 755 @1000000000\nnew/file file \"1\" 644 @1000000000\n\
         usr dir 755 @1000000000\nusr/lib dir 755 @1000000000\nusr/lib/a whiteout\n"
    );
    assert!(!request.snapshot.ledger().exists());
}

/// overlayfs shows a directory under a whiteout that hides nothing, and so on: none of these must be listed.
#[test]
fn nothing_shows_that_is_not_there() {
    let mut stack = Stack::new();
    stack.push(&base()).unwrap();
    let layer = Layer::new()
        .file("usr/.wh.none", "")
        .file("alone/.wh.x", "")
        .dir("opt", 0o755)
        .file("opt/.wh.old", "")
        .file("opt/.wh..wh..opq", "")
        .file(".wh.etc", "")
        .dir("etc/sub", 0o755)
        .file("etc/sub/.wh.passwd", "");
    stack.push(&layer).unwrap();
    let upper = stack.folder.path().join("upper");
    assert_eq!(
        run(&stack, &upper, "find . | sort"),
        ".\n./etc\n./etc/sub\n./opt\n./three\n./tmp\n./usr\n./usr/lib\n./usr/lib/a\n./usr/lib/b\n"
    );
}
