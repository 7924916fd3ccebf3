//! What is taken out of an upper directory that was made as overlayfs makes it.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use hwb_archive::tar::{EntryKind, Reader};
use hwb_ident::Timestamp;
use hwb_snapshot::{Diff, LayerPath, Marks, Owner, Owners, Snapshot, Unpack, Upper, diff};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use crate::layer::{Layer, Stack, form};

/// A stack, and an upper directory on it.
struct Run {
    stack: Stack,
    upper: PathBuf,
    mounts: Vec<LayerPath>,
    newest: Option<Timestamp>,
}

const TIME: u64 = 1_000_000_000;
/// Where a run notes owners.
const NOTED: &str = "user.test.owner";

impl Run {
    fn new(layers: &[Layer]) -> Self {
        let mut stack = Stack::new();
        for layer in layers {
            stack.push(layer).unwrap();
        }
        let upper = stack.folder.path().join("upper");
        std::fs::create_dir(&upper).unwrap();
        Self { stack, upper, mounts: Vec::new(), newest: None }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.upper.join(path)
    }

    /// Everything below gets this time, the way there included.
    fn touch(&self, path: &str, seconds: u64) -> &Self {
        let time = Timespec { tv_sec: seconds.cast_signed(), tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, self.at(path), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        self
    }

    fn dir(&self, path: &str, mode: u32) -> &Self {
        std::fs::create_dir(self.at(path)).unwrap();
        std::fs::set_permissions(self.at(path), std::fs::Permissions::from_mode(mode)).unwrap();
        self.touch(path, TIME)
    }

    #[expect(clippy::disallowed_methods, reason = "a test makes a file")]
    fn file(&self, path: &str, content: &str) -> &Self {
        std::fs::write(self.at(path), content).unwrap();
        std::fs::set_permissions(self.at(path), std::fs::Permissions::from_mode(0o644)).unwrap();
        self.touch(path, TIME)
    }

    fn gone(&self, path: &str) -> &Self {
        rustix::fs::mknodat(CWD, self.at(path), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
        self
    }

    fn xattr(&self, path: &str, name: &str, value: &str) -> &Self {
        rustix::fs::setxattr(self.at(path), name, value.as_bytes(), XattrFlags::empty()).unwrap();
        self
    }

    fn mark(&self, path: &str, mark: &str) -> &Self {
        self.xattr(path, &format!("{}.overlay.{mark}", self.prefix()), "y")
    }

    fn prefix(&self) -> &'static str {
        if form().1 == Marks::Trusted { "trusted" } else { "user" }
    }

    /// Something gets an owner, or it is noted beside it.
    fn own(&self, path: &str, owner: Owner) -> &Self {
        match form().0 {
            Owners::Kept => {
                let (user, group) = (owner.uid, owner.gid);
                std::os::unix::fs::lchown(self.at(path), Some(user), Some(group)).unwrap();
            }
            Owners::Recorded => {
                self.xattr(path, NOTED, &format!("{}:{}", owner.uid, owner.gid));
            }
        }
        self
    }

    fn bytes(&self) -> Result<Vec<u8>, hwb_snapshot::DiffError> {
        let (owners, marks) = form();
        let request = Diff {
            upper: Upper::Changes(self.upper.clone()),
            lowers: self.stack.snapshots.clone(),
            owners,
            marks,
            owner_attribute: Some(NOTED.to_owned()),
            mounts: self.mounts.clone(),
            newest: self.newest,
        };
        diff(&request, Vec::new()).map(|(bytes, _)| bytes)
    }

    /// The layer: path, kind, mode, owner and time where they are not the usual, attributes.
    fn check(&self, expect: &[&str]) {
        assert_eq!(list(&self.bytes().unwrap()), expect);
    }
}

fn list(bytes: &[u8]) -> Vec<String> {
    let mut reader = Reader::new(bytes);
    let mut lines = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut content = vec![0; usize::try_from(entry.size).unwrap()];
        let mut filled = 0;
        while filled < content.len() {
            filled += reader.contents(&mut content[filled..]).unwrap();
        }
        let link = String::from_utf8_lossy(&entry.link);
        let mut line = entry.display();
        line += &match &entry.kind {
            EntryKind::File => format!(" {:?}", content.escape_ascii().to_string()),
            EntryKind::Directory => String::new(),
            EntryKind::Symlink => format!(" -> {link}"),
            EntryKind::HardLink => format!(" = {link}"),
            EntryKind::Character(device) => format!(" c{}:{}", device.major, device.minor),
            other => format!(" {}", other.describe()),
        };
        if entry.kind != EntryKind::Symlink {
            line += &format!(" {:o}", entry.mode.unwrap());
        }
        if (entry.uid, entry.gid) != (Some(0), Some(0)) {
            line += &format!(" {}:{}", entry.uid.unwrap(), entry.gid.unwrap());
        }
        match entry.mtime.unwrap().seconds.cast_unsigned() {
            TIME => {}
            time => line += &format!(" @{time}"),
        }
        for (name, value) in &entry.xattrs {
            line += &format!(" {}={}", String::from_utf8_lossy(name), value.escape_ascii());
        }
        lines.push(line);
    }
    lines
}

/// The layer below: `etc/shadow` belongs to 0:42, `tmp` is of 1777.
fn base() -> Layer {
    Layer::new()
        .time(TIME)
        .dir("", 0o755)
        .dir("etc", 0o755)
        .file("etc/passwd", "root")
        .owner(0, 42)
        .raw(b'0', "etc/shadow", 0o640, "", b"secret")
        .owner(0, 0)
        .link("etc/link", "passwd")
        .dir("tmp", 0o1777)
        .dir("usr", 0o755)
        .dir("usr/lib", 0o755)
        .file("usr/lib/a", "a")
}

#[test]
fn nothing_is_an_empty_layer() {
    Run::new(&[base()]).check(&[]);
}

#[test]
fn says_what_is_new_changed_and_gone() {
    let run = Run::new(&[base()]);
    run.dir("etc", 0o755)
        .file("etc/passwd", "root, me")
        .gone("etc/link")
        .file("etc/new", "")
        .touch("etc", TIME + 1);
    run.dir("usr", 0o755).gone("usr/lib");
    run.dir("srv", 0o700).dir("srv/d", 0o755).touch("srv", TIME);
    symlink("/etc/passwd", run.at("srv/link")).unwrap();
    rustix::fs::mknodat(CWD, run.at("srv/pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    std::os::unix::net::UnixListener::bind(run.at("srv/socket")).unwrap();
    run.touch("srv/link", TIME).touch("srv/pipe", TIME).touch("srv", TIME).touch("usr", TIME);
    // In a new directory nothing can be hidden.
    run.gone("srv/d/nothing").touch("srv/d", TIME).touch("srv", TIME);
    std::fs::set_permissions(run.at("srv/pipe"), std::fs::Permissions::from_mode(0o600)).unwrap();
    if form().0 == Owners::Kept {
        std::os::unix::fs::lchown(run.at("srv/link"), Some(0), Some(0)).unwrap();
    }
    run.check(&[
        "etc/ 755 @1000000001",
        "etc/.wh.link \"\" 600 @0",
        "etc/new \"\" 644",
        "etc/passwd \"root, me\" 644",
        "srv/ 700",
        "srv/d/ 755",
        "srv/link -> /etc/passwd",
        "srv/pipe a named pipe 600",
        "usr/ 755",
        "usr/.wh.lib \"\" 600 @0",
    ]);
}

#[test]
fn what_is_as_it_was_is_left_out() {
    let run = Run::new(&[base()]);
    run.dir("etc", 0o755)
        .file("etc/passwd", "root")
        .dir("usr", 0o755)
        .dir("usr/lib", 0o755)
        .file("usr/lib/a", "a");
    symlink("passwd", run.at("etc/link")).unwrap();
    run.touch("etc/link", TIME).touch("etc", TIME).touch("usr/lib", TIME).touch("usr", TIME);
    run.check(&[]);
    // One change, and the way to it stays.
    run.file("usr/lib/a", "b").touch("usr/lib", TIME).touch("usr", TIME);
    run.check(&["usr/ 755", "usr/lib/ 755", "usr/lib/a \"b\" 644"]);
    run.file("usr/lib/a", "a").touch("usr/lib/a", TIME + 5);
    run.check(&["usr/ 755", "usr/lib/ 755", "usr/lib/a \"a\" 644 @1000000005"]);
}

#[test]
fn owners_come_from_the_tree_or_the_ledgers() {
    let run = Run::new(&[base()]);
    run.dir("etc", 0o755).file("etc/shadow", "changed");
    std::fs::set_permissions(run.at("etc/shadow"), std::fs::Permissions::from_mode(0o640)).unwrap();
    if form().0 == Owners::Kept {
        run.own("etc/shadow", Owner { uid: 0, gid: 42 });
    }
    run.touch("etc/shadow", TIME).touch("etc", TIME);
    run.check(&["etc/ 755", "etc/shadow \"changed\" 640 0:42"]);
    run.own("etc/shadow", Owner { uid: 7, gid: 8 }).touch("etc", TIME);
    run.check(&["etc/ 755", "etc/shadow \"changed\" 640 7:8"]);
}

#[test]
fn owners_that_could_not_be_given_are_noted_beside_the_files() {
    let run = Run::new(&[base()]);
    run.dir("etc", 0o755).file("etc/passwd", "root").file("etc/new", "new").touch("etc", TIME);
    run.xattr("etc/passwd", NOTED, "7:8").xattr("etc/new", NOTED, "0:4294967294");
    run.xattr("etc/new", "user.other", "kept");
    run.check(&[
        "etc/ 755",
        "etc/new \"new\" 644 0:4294967294 user.other=kept",
        "etc/passwd \"root\" 644 7:8",
    ]);
    for wrong in ["", "7", "7:8:9", "-1:0", "0:4294967295", "root:root"] {
        run.xattr("etc/new", NOTED, wrong);
        let error = run.bytes().unwrap_err().to_string();
        assert_eq!(error, format!("`etc/new` is noted to belong to `{wrong}`, which is no owner"));
    }
}

#[test]
fn several_names_are_one_file() {
    let run = Run::new(&[base()]);
    run.dir("usr", 0o755).dir("usr/lib", 0o755).file("usr/lib/a", "a");
    std::fs::hard_link(run.at("usr/lib/a"), run.at("usr/b")).unwrap();
    run.touch("usr/lib", TIME).touch("usr", TIME);
    // `a` is as it was, but `b` is a link to it.
    run.check(&["usr/ 755", "usr/b \"a\" 644", "usr/lib/ 755", "usr/lib/a = usr/b 644"]);
    // Whiteouts share an inode, too, and are none the less each for itself.
    let run = Run::new(&[base()]);
    run.gone("etc");
    std::fs::hard_link(run.at("etc"), run.at("usr")).unwrap();
    run.check(&[".wh.etc \"\" 600 @0", ".wh.usr \"\" 600 @0"]);
}

#[test]
fn opaque_where_something_is_hidden() {
    let run = Run::new(&[base()]);
    run.dir("etc", 0o755).mark("etc", "opaque").file("etc/passwd", "root").touch("etc", TIME);
    run.dir("new", 0o755).mark("new", "opaque").touch("new", TIME);
    run.check(&["etc/ 755", "etc/.wh..wh..opq \"\" 755", "etc/passwd \"root\" 644", "new/ 755"]);
}

#[test]
fn marks_of_overlayfs_stay_behind() {
    let run = Run::new(&[base()]);
    run.file("f", "")
        .mark("f", "origin")
        .mark("f", "overlay.opaque")
        .xattr("f", "user.z", "n")
        .touch("f", TIME);
    let prefix = run.prefix();
    run.check(&[&format!("f \"\" 644 {prefix}.overlay.opaque=y user.z=n")]);
    for mark in ["redirect", "metacopy"] {
        let run = Run::new(&[base()]);
        run.file("f", "").mark("f", mark);
        let expect = format!("`f` has the overlay mark `{prefix}.overlay.{mark}`, which is not understood");
        assert_eq!(run.bytes().unwrap_err().to_string(), expect);
    }
}

#[test]
fn mount_points_are_left_out() {
    let mut run = Run::new(&[base()]);
    run.mounts = ["etc/resolv.conf", "proc", "mnt", "mnt/deep", "run", "tmp/x"]
        .map(|path| LayerPath::parse(path.as_bytes()).unwrap())
        .into();
    run.dir("etc", 0o755).file("etc/resolv.conf", "").touch("etc", TIME + 9);
    run.dir("proc", 0o755).dir("mnt", 0o755).dir("mnt/deep", 0o755);
    run.check(&[]);
    run.dir("tmp", 0o1777).file("tmp/x", "content").touch("tmp", TIME);
    run.dir("run", 0o755).file("run/pid", "").touch("run", TIME);
    run.check(&["run/ 755", "run/pid \"\" 644", "tmp/ 1777", "tmp/x \"content\" 644"]);
}

#[test]
fn nothing_is_newer_than_it_may_be() {
    let mut run = Run::new(&[base()]);
    run.newest = Some(Timestamp::from_seconds(TIME));
    run.file("new", "").touch("new", TIME + 7).file("old", "").touch("old", TIME - 7);
    run.check(&["new \"\" 644", "old \"\" 644 @999999993"]);
}

#[test]
fn names_that_mean_something_else_are_refused() {
    let run = Run::new(&[base()]);
    run.file(".wh.x", "");
    let expect =
        "`.wh.x` cannot be part of a layer: names that start with `.wh.` mean that a file was removed";
    assert_eq!(run.bytes().unwrap_err().to_string(), expect);
}

#[test]
fn a_tree_may_be_deeper_than_a_stack() {
    let run = Run::new(&[base()]);
    let deep = (0..1_900).map(|_| "d").collect::<Vec<_>>().join("/");
    std::fs::create_dir_all(run.at(&deep)).unwrap();
    let lines = list(&run.bytes().unwrap());
    assert_eq!(lines.len(), 1_900);
}

/// What is taken out can be put back: the second time it is the same directory, and the same layer.
#[test]
fn a_layer_survives_the_way_to_the_disk_and_back() {
    let top = Layer::new()
        .time(TIME)
        .dir("etc", 0o700)
        .file("etc/.wh.passwd", "")
        .owner(7, 8)
        .file("etc/new", "new")
        .device(b'3', "dev/null", 1, 3)
        .owner(0, 0)
        .dir("usr", 0o755)
        .file("usr/.wh..wh..opq", "")
        .hard("usr/new", "etc/new");
    let mut run = Run::new(&[base(), top]);
    let first = run.stack.snapshots.remove(0);
    run.upper = first.tree();
    // What a run cannot make it notes, and devices it does not make.
    let ledger = first.read_ledger().unwrap();
    for (path, record) in ledger.iter() {
        record.owner.map(|owner| run.own(&path.to_string(), owner));
    }
    let device = ledger.iter().find_map(|(_, record)| record.device);
    run.check(&[
        "dev/ 755 @0",
        if device.is_none() { "dev/null c1:3 666 7:8" } else { "dev/null \"\" 666 7:8" },
        "etc/ 700",
        "etc/new \"new\" 644 7:8",
        "etc/.wh.passwd \"\" 600 @0",
        "usr/ 755",
        "usr/.wh..wh..opq \"\" 755",
        "usr/new = etc/new 644 7:8",
    ]);
}

/// Where there is no overlay, a copy of everything is written to; the layer is the same.
#[test]
fn a_copy_is_compared_as_a_whole() {
    let top = Layer::new()
        .time(TIME)
        .dir("", 0o755)
        .file("etc/.wh.link", "")
        .hard("usr/b", "usr/lib/a")
        .device(b'3', "dev/zero", 1, 5)
        .dir("dev", 0o755);
    let mut run = Run::new(&[base(), top]);
    let (owners, marks) = form();
    let path = run.stack.folder.path().join("whole");
    std::fs::create_dir(&path).unwrap();
    let whole = Unpack {
        snapshot: Snapshot::new(path),
        lowers: run.stack.snapshots.clone(),
        owners,
        marks,
        limits: hwb_snapshot::unpack::Limits::default(),
    };
    hwb_snapshot::flatten(&whole).unwrap();
    assert_eq!(
        crate::layer::list(&whole.snapshot).replace(&format!(" @{TIME}"), ""),
        "/ dir 755\ndev dir 755\ndev/zero c1:5 666\netc dir 755\netc/passwd file \"root\" 644\n\
         etc/shadow file \"secret\" 640 0:42\ntmp dir 1777\nusr dir 755\nusr/b file \"a\" 644 x2\n\
         usr/lib dir 755\nusr/lib/a file \"a\" 644 x2\n"
    );
    run.upper = whole.snapshot.tree();
    let request = Diff {
        upper: Upper::Whole(whole.snapshot.tree()),
        lowers: run.stack.snapshots.clone(),
        owners,
        marks,
        owner_attribute: None,
        mounts: Vec::new(),
        newest: None,
    };
    assert_eq!(list(&diff(&request, Vec::new()).unwrap().0), [""; 0]);
    std::fs::remove_dir_all(run.at("usr/lib")).unwrap();
    run.mark("tmp", "opaque")
        .file("etc/passwd", "me")
        .touch("etc", TIME)
        .touch("usr", TIME)
        .file("usr/c", "")
        .touch("usr", TIME);
    assert_eq!(
        list(&diff(&request, Vec::new()).unwrap().0),
        ["etc/ 755", "etc/passwd \"me\" 644", "usr/ 755", "usr/c \"\" 644", "usr/.wh.lib \"\" 600 @0"]
    );
}
