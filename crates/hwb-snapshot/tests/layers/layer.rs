//! Layers made in code, however bad, and what became of them on disk.

use std::fmt::Write as _;
use std::fs::Permissions;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use hwb_snapshot::unpack::Limits;
use hwb_snapshot::{LayerPath, Ledger, Marks, Owners, Snapshot, Unpack, UnpackError, Unpacked, unpack};

/// A tar archive being written: every entry as it is said, checked by nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layer {
    bytes: Vec<u8>,
    records: Vec<u8>,
    owner: (u64, u64),
    time: u64,
}

impl Layer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The owner of the entries that follow.
    #[must_use]
    pub(crate) fn owner(mut self, uid: u64, gid: u64) -> Self {
        self.owner = (uid, gid);
        self
    }

    /// The time of the entries that follow.
    #[must_use]
    pub(crate) fn time(mut self, time: u64) -> Self {
        self.time = time;
        self
    }

    /// A pax record for the next entry.
    #[must_use]
    pub(crate) fn pax(mut self, key: &str, value: &[u8]) -> Self {
        let rest = 3 + key.len() + value.len();
        let mut length = rest;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        self.records.extend(format!("{length} {key}=").bytes().chain(value.iter().copied()).chain([b'\n']));
        self
    }

    #[must_use]
    pub(crate) fn dir(self, name: &str, mode: u32) -> Self {
        self.raw(b'5', name, mode, "", b"")
    }

    #[must_use]
    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        self.raw(b'0', name, 0o644, "", content.as_bytes())
    }

    #[must_use]
    pub(crate) fn mode(self, name: &str, mode: u32) -> Self {
        self.raw(b'0', name, mode, "", b"x")
    }

    #[must_use]
    pub(crate) fn link(self, name: &str, target: &str) -> Self {
        self.raw(b'2', name, 0o777, target, b"")
    }

    #[must_use]
    pub(crate) fn hard(self, name: &str, target: &str) -> Self {
        self.raw(b'1', name, 0o644, target, b"")
    }

    /// A device; its number is in the field for it.
    #[must_use]
    pub(crate) fn device(mut self, kind: u8, name: &str, major: u32, minor: u32) -> Self {
        self = self.raw(kind, name, 0o666, "", b"");
        let start = self.bytes.len() - 512;
        self.bytes[start + 329..start + 337].copy_from_slice(format!("{major:07o}\0").as_bytes());
        self.bytes[start + 337..start + 345].copy_from_slice(format!("{minor:07o}\0").as_bytes());
        self.checksum(start);
        self
    }

    /// A file with holes as GNU tar's own format has it, of up to four pieces.
    #[must_use]
    pub(crate) fn old_sparse(mut self, name: &str, size: u64, pieces: &[(u64, u64)], content: &str) -> Self {
        self = self.raw(b'S', name, 0o644, "", content.as_bytes());
        let start = self.bytes.len() - 512 - content.len().next_multiple_of(512);
        let fields = pieces.iter().flat_map(|&(offset, length)| [offset, length]);
        let fields = (386..).step_by(12).zip(fields).chain([(483, size)]);
        for (at, number) in fields {
            self.bytes[start + at..start + at + 12].copy_from_slice(format!("{number:011o}\0").as_bytes());
        }
        self.bytes[start + 257..start + 265].copy_from_slice(b"ustar  \0");
        self.checksum(start);
        self
    }

    /// Any entry. A name that does not fit its field becomes a pax record.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "the fields of one header")]
    pub(crate) fn raw(mut self, kind: u8, name: &str, mode: u32, target: &str, content: &[u8]) -> Self {
        if name.len() > 100 {
            self = self.pax("path", name.as_bytes());
        }
        if target.len() > 100 {
            self = self.pax("linkpath", target.as_bytes());
        }
        if !self.records.is_empty() {
            let records = std::mem::take(&mut self.records);
            self.block(b'x', b"pax", 0o644, b"", &records);
        }
        self.block(kind, name.as_bytes(), mode, target.as_bytes(), content);
        self
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one header")]
    fn block(&mut self, kind: u8, name: &[u8], mode: u32, target: &[u8], content: &[u8]) {
        let start = self.bytes.len();
        let mut header = [0; 512];
        let put = |header: &mut [u8], at: usize, bytes: &[u8]| {
            let length = bytes.len().min(100);
            header[at..at + length].copy_from_slice(&bytes[..length]);
        };
        put(&mut header, 0, name);
        put(&mut header, 100, format!("{mode:07o}\0").as_bytes());
        let (uid, gid) = self.owner;
        put(&mut header, 108, &number(uid));
        put(&mut header, 116, &number(gid));
        put(&mut header, 124, format!("{:011o}\0", content.len()).as_bytes());
        put(&mut header, 136, format!("{:011o}\0", self.time).as_bytes());
        header[156] = kind;
        put(&mut header, 157, target);
        put(&mut header, 257, b"ustar\x0000");
        self.bytes.extend(header);
        self.checksum(start);
        self.bytes.extend(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
    }

    fn checksum(&mut self, start: usize) {
        let header = &mut self.bytes[start..start + 512];
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }

    /// The whole archive.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [&self.bytes[..], &[0; 1024]].concat()
    }
}

/// Seven octal digits, or GNU's binary form.
fn number(value: u64) -> [u8; 8] {
    if value < 1 << 21 {
        return format!("{value:07o}\0").into_bytes().try_into().unwrap();
    }
    let mut field = value.to_be_bytes();
    field[0] = 0x80;
    field
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// How layers are unpacked by whoever runs the tests: real root, root of a user namespace, with many ids or with one,
/// or a user who is nothing of that.
pub(crate) fn form() -> (Owners, Marks) {
    let maps = hwb_store::fs::read(Path::new("/proc/self/uid_map")).unwrap();
    let map = String::from_utf8(maps).unwrap();
    let ids: u64 = map.lines().filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum();
    let everything = u64::from(u32::MAX);
    match (is_root(), ids) {
        (true, ids) if ids == everything => (Owners::Kept, Marks::Trusted),
        (true, 2..) => (Owners::Kept, Marks::User),
        _ => (Owners::Recorded, Marks::User),
    }
}

/// Layers on top of each other, each in a directory of its own.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) folder: tempfile::TempDir,
    /// The topmost first.
    pub(crate) snapshots: Vec<Snapshot>,
}

impl Stack {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), snapshots: Vec::new() }
    }

    pub(crate) fn push(&mut self, layer: &Layer) -> Result<Unpacked, UnpackError> {
        self.push_limited(layer, Limits::default())
    }

    pub(crate) fn push_limited(&mut self, layer: &Layer, limits: Limits) -> Result<Unpacked, UnpackError> {
        let path = self.folder.path().join(format!("layer-{}", self.snapshots.len()));
        std::fs::create_dir(&path).unwrap();
        let snapshot = Snapshot::new(path);
        let (owners, marks) = form();
        let request =
            Unpack { snapshot: snapshot.clone(), lowers: self.snapshots.clone(), owners, marks, limits };
        let unpacked = unpack(&mut &layer.bytes()[..], &request)?;
        self.snapshots.insert(0, snapshot);
        Ok(unpacked)
    }

    /// The topmost layer, a line for each entry.
    pub(crate) fn list(&self) -> String {
        list(&self.snapshots[0])
    }
}

/// What a snapshot has, a line for each entry: path, kind, mode, owner if it is not root, content, attributes. It is
/// the same whether something stands in the tree or in the ledger.
pub(crate) fn list(snapshot: &Snapshot) -> String {
    let mut lines = Vec::new();
    let ledger = snapshot.read_ledger().unwrap();
    list_below(&snapshot.tree(), &LayerPath::ROOT, &ledger, &mut lines);
    lines.sort();
    lines.concat()
}

fn list_below(tree: &Path, path: &LayerPath, ledger: &Ledger, lines: &mut Vec<String>) {
    let place = tree.join(std::ffi::OsStr::from_bytes(path.as_bytes()));
    let metadata = place.symlink_metadata().unwrap();
    lines.push(line(path, &place, ledger));
    if metadata.is_dir() {
        // Some are shut to users.
        std::fs::set_permissions(&place, Permissions::from_mode(0o700)).unwrap();
        for entry in names(&place) {
            list_below(tree, &path.child(entry.as_bytes()), ledger, lines);
        }
        std::fs::set_permissions(&place, metadata.permissions()).unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "the order does not matter here")]
fn names(place: &Path) -> Vec<std::ffi::OsString> {
    std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

#[expect(clippy::disallowed_methods, reason = "a test reads a small file")]
fn line(path: &LayerPath, place: &Path, ledger: &Ledger) -> String {
    let metadata = place.symlink_metadata().unwrap();
    let kind = metadata.file_type();
    let record = ledger.get(path);
    let number = |number: u64| format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
    let mut line = format!("{path} ");
    if kind.is_char_device() && metadata.rdev() == 0 {
        return line + "whiteout\n";
    }
    if let Some(device) = record.and_then(|record| record.device) {
        use hwb_snapshot::ledger::Special::{Block, Character};
        let (letter, device) = match device {
            Character(device) => ("c", device),
            Block(device) => ("b", device),
        };
        write!(line, "{letter}{}:{}", device.major, device.minor).unwrap();
    } else if kind.is_char_device() {
        line += &format!("c{}", number(metadata.rdev()));
    } else if kind.is_block_device() {
        line += &format!("b{}", number(metadata.rdev()));
    } else if kind.is_dir() {
        line += "dir";
    } else if kind.is_fifo() {
        line += "fifo";
    } else if kind.is_symlink() {
        line += &format!("-> {}", std::fs::read_link(place).unwrap().display());
    } else {
        let content = std::fs::read(place).unwrap();
        line += &format!("file {:?}", content.escape_ascii().to_string());
    }
    if !kind.is_symlink() {
        write!(line, " {:o}", metadata.mode() & 0o7777).unwrap();
    }
    let (owners, _) = form();
    let (uid, gid) = match record.and_then(|record| record.owner) {
        Some(owner) => (owner.uid, owner.gid),
        None if owners == Owners::Recorded => (0, 0),
        None => (metadata.uid(), metadata.gid()),
    };
    if (uid, gid) != (0, 0) {
        write!(line, " {uid}:{gid}").unwrap();
    }
    if metadata.mtime() != 0 {
        write!(line, " @{}", metadata.mtime()).unwrap();
        if metadata.mtime_nsec() != 0 {
            write!(line, ".{:09}", metadata.mtime_nsec()).unwrap();
        }
    }
    if !kind.is_dir() && metadata.nlink() > 1 {
        write!(line, " x{}", metadata.nlink()).unwrap();
    }
    for (name, value) in xattrs(place, record) {
        write!(line, " {name}={}", value.escape_ascii()).unwrap();
    }
    line + "\n"
}

fn xattrs(place: &Path, record: Option<&hwb_snapshot::ledger::Record>) -> Vec<(String, Vec<u8>)> {
    let mut names = Vec::with_capacity(4096);
    rustix::fs::llistxattr(place, rustix::buffer::spare_capacity(&mut names)).unwrap();
    let mut found = Vec::new();
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let mut value = Vec::with_capacity(4096);
        rustix::fs::lgetxattr(place, name, rustix::buffer::spare_capacity(&mut value)).unwrap();
        found.push((String::from_utf8_lossy(name).into_owned(), value));
    }
    for (name, value) in record.into_iter().flat_map(|record| &record.xattrs) {
        found.push((String::from_utf8_lossy(name).into_owned(), value.clone()));
    }
    // The mark has two names, for the same thing.
    for (name, _) in &mut found {
        if matches!(name.as_str(), "trusted.overlay.opaque" | "user.overlay.opaque") {
            "opaque".clone_into(name);
        }
    }
    found.sort();
    found
}
