//! Writing a tar archive of which every byte follows from its members.

use std::io::{self, Read, Write};
use std::ops::Range;

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use hwb_ident::{ArchivePath, Timestamp};

use crate::member::{Executable, LinkTarget};
use crate::tar::header::{self, BLOCK};
use crate::tar::node::{Node, NodeKind};
use crate::tar::read::Device;

/// RFC 1952: the system that wrote the member is not known.
const UNKNOWN_SYSTEM: u8 = 255;

/// What eleven octal digits hold: sizes and times.
const MAX_OCTAL: u64 = (1 << 33) - 1;

/// What seven octal digits hold: owners and devices.
const MAX_ID: u32 = (1 << 21) - 1;

/// Writes a tar archive member by member, exactly as they are said to be: no names of owners, no fractions of seconds.
///
/// Plain ustar, with pax headers (POSIX.1-2001) only for what ustar cannot say. Members are written in the order in
/// which they come: sort them.
#[derive(Debug)]
pub struct NodeWriter<W: Write> {
    out: W,
}

/// Writes a canonical tar.gz: owner 0 without names, modes 0644 and 0755, one time, nothing in the gzip header.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: NodeWriter<GzEncoder<W>>,
    time: i64,
}

/// Why a member was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The output does not take it.
    #[error("cannot write member `{0}`")]
    Write(String, #[source] io::Error),
    /// Its contents cannot be read.
    #[error("cannot read the contents of member `{0}`")]
    Read(String, #[source] io::Error),
    /// Its contents are not as long as was said.
    #[error(
        "member `{path}` should have {expected} bytes, but its contents end after or go on beyond {found}"
    )]
    Size {
        /// The member.
        path: String,
        /// What was said.
        expected: u64,
        /// What was read.
        found: u64,
    },
    /// No archive can name such a thing.
    #[error("member `{member}` has a {what} that a tar archive cannot hold")]
    Unnameable {
        /// The member.
        member: String,
        /// What of it.
        what: &'static str,
    },
    /// The end of the archive cannot be written.
    #[error("cannot finish the archive")]
    Finish(#[source] io::Error),
}

impl<W: Write> NodeWriter<W> {
    /// Starts an archive.
    pub const fn new(out: W) -> Self {
        Self { out }
    }

    /// Writes a member; only a file has `contents`, exactly as many as its size says.
    ///
    /// # Errors
    ///
    /// If the output fails, or `contents` do or have another length; the archive is of no use then.
    pub fn node(&mut self, node: &Node, contents: &mut dyn Read) -> Result<(), WriteError> {
        let write = |error| WriteError::Write(node.display(), error);
        check_fields(node)?;
        self.header(node).map_err(write)?;
        let NodeKind::File { size } = node.kind else { return Ok(()) };
        let mut buffer = vec![0; usize::try_from(size).unwrap_or(usize::MAX).clamp(1, 1 << 16)];
        let mut found = 0;
        loop {
            let count = match contents.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(WriteError::Read(node.display(), error)),
            };
            found += count as u64;
            if found > size {
                break;
            }
            self.out.write_all(&buffer[..count]).map_err(write)?;
        }
        if found != size {
            return Err(WriteError::Size { path: node.display(), expected: size, found });
        }
        self.pad(size).map_err(write)
    }

    /// Ends the archive.
    ///
    /// # Errors
    ///
    /// If the output fails.
    pub fn finish(mut self) -> Result<W, WriteError> {
        self.out.write_all(&[0; 2 * BLOCK]).map_err(WriteError::Finish)?;
        Ok(self.out)
    }

    fn header(&mut self, node: &Node) -> io::Result<()> {
        let directory = [node.path.as_slice(), b"/"].concat();
        let name = if node.kind == NodeKind::Directory { &directory } else { &node.path };
        let link = node.kind.target();
        let split = split_name(name);
        let fits_link = link.is_ascii() && link.len() <= header::LINK.len();
        let mut records = Vec::new();
        if split.is_none() {
            pax_record(&mut records, b"path", name);
        }
        if !fits_link {
            pax_record(&mut records, b"linkpath", link);
        }
        pax_numbers(&mut records, node);
        for (key, value) in &node.xattrs {
            let key = [b"SCHILY.xattr.", key.as_slice()].concat();
            pax_record(&mut records, &key, value);
        }
        if !records.is_empty() {
            let length = records.len() as u64;
            let extended = Node { mode: 0o644, mtime: node.mtime, ..Node::file("././@PaxHeader", length) };
            let fields = Fields { prefix: b"", name: &extended.path, link: b"", kind: b'x' };
            self.out.write_all(&fields.block(&extended))?;
            self.out.write_all(&records)?;
            self.pad(length)?;
        }
        // A reader that does not know pax sees the end of a name that does not fit.
        let short = node.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let short = &short[..short.len().min(header::NAME.len())];
        let (prefix, name) = split.unwrap_or((b"", short));
        let link = if fits_link { link } else { b"" };
        self.out.write_all(&Fields { prefix, name, link, kind: node.kind.letter() }.block(node))
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
        if over == 0 { Ok(()) } else { self.out.write_all(&[0; BLOCK][over..]) }
    }
}

impl<W: Write> Writer<W> {
    /// Starts an archive in which every member has this time.
    pub fn new(out: W, time: Timestamp) -> Self {
        // Level 6 is fixed: another level would be other bytes.
        let out = GzBuilder::new().mtime(0).operating_system(UNKNOWN_SYSTEM).write(out, Compression::new(6));
        Self { out: NodeWriter::new(out), time: i64::try_from(time.seconds()).unwrap_or(i64::MAX) }
    }

    /// Writes a directory.
    ///
    /// # Errors
    ///
    /// If the output fails.
    pub fn directory(&mut self, path: &ArchivePath) -> Result<(), WriteError> {
        self.node(path, NodeKind::Directory, 0o755, &mut io::empty())
    }

    /// Writes a symbolic link.
    ///
    /// # Errors
    ///
    /// If the output fails.
    pub fn symlink(&mut self, path: &ArchivePath, target: &LinkTarget) -> Result<(), WriteError> {
        let target = target.as_str().as_bytes().to_vec();
        self.node(path, NodeKind::Symlink { target }, 0o777, &mut io::empty())
    }

    /// Writes a file of exactly `size` bytes.
    ///
    /// # Errors
    ///
    /// If the output fails, or `contents` do or have another length; the archive is of no use then.
    pub fn file(
        &mut self,
        path: &ArchivePath,
        executable: Executable,
        size: u64,
        contents: &mut dyn Read,
    ) -> Result<(), WriteError> {
        self.node(path, NodeKind::File { size }, executable.permissions(), contents)
    }

    /// Ends the archive.
    ///
    /// # Errors
    ///
    /// If the output fails.
    pub fn finish(self) -> Result<W, WriteError> {
        self.out.finish()?.finish().map_err(WriteError::Finish)
    }

    fn node(
        &mut self,
        path: &ArchivePath,
        kind: NodeKind,
        mode: u32,
        contents: &mut dyn Read,
    ) -> Result<(), WriteError> {
        let node = Node { kind, mode, mtime: self.time, ..Node::file(path.as_str(), 0) };
        self.out.node(&node, contents)
    }
}

/// Refuses what would end or divide a field, or not fit; nothing on a disk has such.
fn check_fields(node: &Node) -> Result<(), WriteError> {
    let holds_nul = |bytes: &[u8]| bytes.contains(&0);
    let bad_xattr = |name: &Vec<u8>| name.is_empty() || name.contains(&b'=') || holds_nul(name);
    let what = if node.path.is_empty() || holds_nul(&node.path) {
        "name"
    } else if holds_nul(node.kind.target()) {
        "target"
    } else if node.kind.device().is_some_and(|Device { major, minor }| major.max(minor) > MAX_ID) {
        "device number"
    } else if node.xattrs.keys().any(bad_xattr) {
        "name of an extended attribute"
    } else {
        return Ok(());
    };
    Err(WriteError::Unnameable { member: node.display(), what })
}

/// The numbers that do not fit into their fields.
fn pax_numbers(records: &mut Vec<u8>, node: &Node) {
    if let NodeKind::File { size } = node.kind
        && size > MAX_OCTAL
    {
        pax_record(records, b"size", size.to_string().as_bytes());
    }
    if u64::try_from(node.mtime).map_or(true, |time| time > MAX_OCTAL) {
        pax_record(records, b"mtime", node.mtime.to_string().as_bytes());
    }
    for (key, id) in [(b"uid", node.uid), (b"gid", node.gid)] {
        if id > MAX_ID {
            pax_record(records, key, id.to_string().as_bytes());
        }
    }
}

/// Divides a name between the two fields of ustar; `None` if it does not fit or is not ASCII.
fn split_name(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    if !bytes.is_ascii() {
        return None;
    }
    if bytes.len() <= header::NAME.len() {
        return Some((b"", bytes));
    }
    // The first slash that leaves few enough bytes behind it; the last byte may be a directory's own slash.
    let earliest = bytes.len() - header::NAME.len() - 1;
    let slash = earliest + bytes[earliest..bytes.len() - 1].iter().position(|&byte| byte == b'/')?;
    (0 < slash && slash <= header::PREFIX.len()).then(|| (&bytes[..slash], &bytes[slash + 1..]))
}

/// Appends `length key=value\n`, where the length counts its own digits.
fn pax_record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// The fields of a header that are text.
struct Fields<'a> {
    prefix: &'a [u8],
    name: &'a [u8],
    link: &'a [u8],
    kind: u8,
}

impl Fields<'_> {
    fn block(&self, node: &Node) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut put = |field: Range<usize>, value: &[u8]| {
            block[field.start..field.start + value.len()].copy_from_slice(value);
        };
        let octal = |value: u64, width: usize| format!("{:0width$o}", value.min(MAX_OCTAL)).into_bytes();
        let id = |value: u32| octal(u64::from(value.min(MAX_ID)), 7);
        put(header::NAME, self.name);
        put(header::MODE, &id(node.mode));
        put(header::UID, &id(node.uid));
        put(header::GID, &id(node.gid));
        put(header::SIZE, &octal(node.kind.size(), 11));
        put(header::MTIME, &octal(u64::try_from(node.mtime).unwrap_or(0), 11));
        put(header::CHECKSUM, &[b' '; 8]);
        put(header::TYPE..header::TYPE + 1, &[self.kind]);
        put(header::LINK, self.link);
        put(header::MAGIC, b"ustar\x0000");
        if let Some(Device { major, minor }) = node.kind.device() {
            put(header::DEVICE_MAJOR, &id(major));
            put(header::DEVICE_MINOR, &id(minor));
        }
        put(header::PREFIX, self.prefix);
        let sum = block.iter().map(|&byte| u64::from(byte)).sum();
        let mut checksum = octal(sum, 6);
        checksum.push(0);
        block[header::CHECKSUM.start..header::CHECKSUM.start + 7].copy_from_slice(&checksum);
        block
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn write(paths: &[&str], time: u64) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), Timestamp::from_seconds(time));
        for path in paths {
            let contents = path.as_bytes();
            writer
                .file(
                    &path.parse().unwrap(),
                    Executable::Yes,
                    contents.len() as u64,
                    &mut Cursor::new(contents),
                )
                .unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn another_reader_agrees() {
        let long = format!("{}/{}/end.py", "d".repeat(90), "e".repeat(90));
        let longest = format!("{}/end.py", "f".repeat(200));
        let deep = format!("{}x", "ab/".repeat(80));
        let paths =
            ["PKG-INFO", "src/ünïcode.py", &long, &longest, &deep, &"n".repeat(100), &"n".repeat(101)];
        let bytes = write(&paths, 1_700_000_000);
        let mut archive = ::tar::Archive::new(flate2::read::GzDecoder::new(&bytes[..]));
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut contents = String::new();
            entry.read_to_string(&mut contents).unwrap();
            assert_eq!(contents, path);
            assert_eq!(entry.header().mode().unwrap(), 0o755);
            assert_eq!(entry.header().mtime().unwrap(), 1_700_000_000);
            assert_eq!((entry.header().uid().unwrap(), entry.header().gid().unwrap()), (0, 0));
            found.push(path);
        }
        assert_eq!(found, paths);
    }

    #[test]
    fn the_gzip_header_says_nothing() {
        let bytes = write(&["a"], 1 << 40);
        assert_eq!(bytes[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
        assert_eq!(bytes, write(&["a"], 1 << 40));
    }

    #[test]
    fn wrong_lengths_are_noticed() {
        for said in [0, 2, 4] {
            let mut writer = Writer::new(Vec::new(), Timestamp::ZIP_EPOCH);
            let error =
                writer.file(&"a".parse().unwrap(), Executable::No, said, &mut &b"abc"[..]).unwrap_err();
            assert!(matches!(error, WriteError::Size { expected, .. } if expected == said));
        }
    }

    /// What another reader makes of a member: its header, its pax records in order, and its contents.
    fn reread(node: &Node, contents: &[u8]) -> String {
        use std::fmt::Write as _;
        let mut writer = NodeWriter::new(Vec::new());
        writer.node(node, &mut &contents[..]).unwrap();
        let bytes = writer.finish().unwrap();
        assert_eq!(bytes.len() % BLOCK, 0);
        let mut archive = ::tar::Archive::new(&bytes[..]);
        let mut entries = archive.entries().unwrap();
        let mut entry = entries.next().unwrap().unwrap();
        let header = entry.header();
        let mut text = format!(
            "{:?} {} {:o} {}:{} @{}",
            header.entry_type(),
            String::from_utf8_lossy(&entry.path_bytes()),
            header.mode().unwrap(),
            header.uid().unwrap(),
            header.gid().unwrap(),
            header.mtime().unwrap()
        );
        if let Some(target) = entry.link_name_bytes() {
            write!(text, " -> {}", String::from_utf8_lossy(&target)).unwrap();
        }
        if node.kind.device().is_some() {
            let number = |number: io::Result<Option<u32>>| number.unwrap().unwrap();
            write!(text, " {},{}", number(header.device_major()), number(header.device_minor())).unwrap();
        }
        for record in entry.pax_extensions().unwrap().into_iter().flatten() {
            let record = record.unwrap();
            write!(text, " {}={}", record.key().unwrap(), record.value_bytes().escape_ascii()).unwrap();
        }
        let mut found = Vec::new();
        entry.read_to_end(&mut found).unwrap();
        assert_eq!(found, contents);
        assert!(entries.next().is_none());
        text
    }

    #[test]
    fn says_everything_of_a_node() {
        let file = |path: &str| Node::file(path, 0);
        let kind = |kind: NodeKind| Node { kind, mode: 0o755, ..file("d/n") };
        for (node, expect) in [
            (Node { mode: 0o4755, uid: 7, gid: 8, mtime: 9, ..file("a") }, "Regular a 4755 7:8 @9"),
            (kind(NodeKind::Directory), "Directory d/n/ 755 0:0 @0"),
            (kind(NodeKind::Fifo), "Fifo d/n 755 0:0 @0"),
            (kind(NodeKind::Symlink { target: b"../x".to_vec() }), "Symlink d/n 755 0:0 @0 -> ../x"),
            (kind(NodeKind::HardLink { target: b"a".to_vec() }), "Link d/n 755 0:0 @0 -> a"),
            (kind(NodeKind::Character(Device { major: 1, minor: 3 })), "Char d/n 755 0:0 @0 1,3"),
            (
                kind(NodeKind::Block(Device { major: 259, minor: 1 << 20 })),
                "Block d/n 755 0:0 @0 259,1048576",
            ),
            (
                Node { uid: 1 << 21, gid: u32::MAX, mtime: -1, ..file("a") },
                "Regular a 644 2097152:4294967295 @0 mtime=-1 uid=2097152 gid=4294967295",
            ),
            (Node { mtime: 1 << 33, ..file("a") }, "Regular a 644 0:0 @8589934591 mtime=8589934592"),
            (
                Node {
                    xattrs: [
                        (b"user.b".to_vec(), b"=\0".to_vec()),
                        (b"security.capability".to_vec(), b"\x01".to_vec()),
                    ]
                    .into(),
                    ..file("a")
                },
                "Regular a 644 0:0 @0 SCHILY.xattr.security.capability=\\x01 SCHILY.xattr.user.b==\\x00",
            ),
        ] {
            assert_eq!(reread(&node, b""), expect);
        }
        assert_eq!(reread(&Node::file("a", 600), &[1; 600]), "Regular a 644 0:0 @0");
        let latin = Node { path: b"caf\xe9".to_vec(), ..file("a") };
        assert_eq!(reread(&latin, b""), "Regular caf\u{fffd} 644 0:0 @0 path=caf\\xe9");
    }

    #[test]
    fn refuses_what_no_archive_can_name() {
        let attributes = |name: &str| [(name.as_bytes().to_vec(), Vec::new())].into();
        let link = NodeKind::Symlink { target: b"a\0".to_vec() };
        let huge = NodeKind::Block(Device { major: 1 << 21, minor: 0 });
        for (node, expect) in [
            (Node::file("", 0), "name"),
            (Node::file("a\0b", 0), "name"),
            (Node { kind: link, ..Node::file("a", 0) }, "target"),
            (Node { kind: huge, ..Node::file("a", 0) }, "device number"),
            (Node { xattrs: attributes("user.a=b"), ..Node::file("a", 0) }, "name of an extended attribute"),
            (Node { xattrs: attributes(""), ..Node::file("a", 0) }, "name of an extended attribute"),
        ] {
            let error = NodeWriter::new(Vec::new()).node(&node, &mut io::empty()).unwrap_err();
            assert!(matches!(error, WriteError::Unnameable { what, .. } if what == expect), "{error}");
        }
    }
}
