//! What is in a kept copy, as a file.
//!
//! A name and version, the digest of all the rest, and then in little-endian numbers and byte strings with their
//! length before them: for whom and since when it holds, the digest of the tree, and every thing in it. A file that
//! is torn, of another version or for something else is none.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use hwb_archive::Executable;
use hwb_ident::Digest;

use crate::fs::{self, FsError};
use crate::transfer::{Moment, Stamp};
use crate::tree::{Record, digest_sorted};

/// What the file begins with.
const MAGIC: &[u8] = b"hwb mirror index 1\n";

/// What is in a kept copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) contents: Contents,
    /// In the order of the bytes of their paths.
    pub(super) entries: Vec<Entry>,
}

/// All of it in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) digest: Digest,
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// One thing of the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) record: Record,
    /// What the source's file looked like before it was read. `None` if that would not show a change.
    pub(super) stamp: Option<Stamp>,
}

impl Index {
    /// An index of these things, given in any order; the first of several of one path counts.
    pub(super) fn of(mut entries: Vec<Entry>) -> Self {
        entries.sort_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
        entries.dedup_by(|a, b| a.path.as_os_str() == b.path.as_os_str());
        let digest = digest_sorted(entries.iter().map(|entry| (entry.path.as_path(), &entry.record)));
        let sizes = entries.iter().filter_map(|entry| match entry.record {
            Record::File { bytes, .. } => Some(bytes),
            Record::Directory | Record::Link { .. } => None,
        });
        let (files, bytes) = sizes.fold((0, 0), |(files, sum), bytes| (files + 1, sum + bytes));
        Self { contents: Contents { digest, files, bytes }, entries }
    }

    /// Reads the index of the copy `key`, written since the system was started. `None` if there is none.
    ///
    /// Nothing is forced to the disk: after a loss of power an index may be whole while files that it tells of are not.
    pub(super) fn read(path: &Path, key: &Digest) -> Option<Self> {
        let boot = boot()?;
        // It is replaced as a whole, never changed.
        decode(&crate::map_file(path).ok()?, key, &boot)
    }

    /// Writes it for the copy `key`.
    pub(super) fn write(&self, path: &Path, key: &Digest) -> Result<(), FsError> {
        // Without knowing when the system was started, nothing that we write could be trusted later.
        boot().map_or(Ok(()), |boot| fs::write_atomic(path, &encode(self, key, &boot)))
    }
}

/// What the kernel calls the time since it was started.
fn boot() -> Option<Vec<u8>> {
    fs::read(Path::new("/proc/sys/kernel/random/boot_id")).ok().filter(|boot| !boot.is_empty())
}

pub(super) fn encode(index: &Index, key: &Digest, boot: &[u8]) -> Vec<u8> {
    let mut writer = Writer(Vec::with_capacity(index.entries.len() * 200));
    writer.0.extend_from_slice(MAGIC);
    writer.digest(&Digest::from_bytes([0; 32]));
    writer.digest(key);
    writer.text(boot);
    writer.digest(&index.contents.digest);
    writer.number(index.contents.files);
    writer.number(index.contents.bytes);
    index.entries.iter().for_each(|entry| writer.entry(entry));
    let Writer(mut bytes) = writer;
    let body = MAGIC.len() + 32;
    let digest = Digest::of(&bytes[body..]);
    bytes[MAGIC.len()..body].copy_from_slice(digest.as_bytes());
    bytes
}

fn decode(bytes: &[u8], key: &Digest, boot: &[u8]) -> Option<Index> {
    let mut reader = Reader(bytes.strip_prefix(MAGIC)?);
    let digest = reader.digest()?;
    (Digest::of(reader.0) == digest).then_some(())?;
    (reader.digest()? == *key && reader.text()? == boot).then_some(())?;
    let contents = Contents { digest: reader.digest()?, files: reader.number()?, bytes: reader.number()? };
    let mut entries = Vec::new();
    while !reader.0.is_empty() {
        entries.push(reader.entry()?);
    }
    Some(Index { contents, entries })
}

/// What an entry is, and whether it has a stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Tag {
    Directory,
    Link,
    File,
    StampedFile,
}

/// The file while it is made.
#[derive(Debug)]
struct Writer(Vec<u8>);

impl Writer {
    fn tag(&mut self, tag: Tag) {
        self.0.push(tag as u8);
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn moment(&mut self, moment: Moment) {
        self.0.extend_from_slice(&moment.0.to_le_bytes());
    }

    fn digest(&mut self, digest: &Digest) {
        self.0.extend_from_slice(digest.as_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text);
    }

    fn entry(&mut self, entry: &Entry) {
        self.text(entry.path.as_os_str().as_bytes());
        match &entry.record {
            Record::Directory => self.tag(Tag::Directory),
            Record::Link { target } => {
                self.tag(Tag::Link);
                self.text(target.as_os_str().as_bytes());
            }
            Record::File { executable, content, bytes } => {
                self.tag(if entry.stamp.is_some() { Tag::StampedFile } else { Tag::File });
                self.number(executable.permissions().into());
                self.digest(content);
                self.number(*bytes);
                if let Some(stamp) = &entry.stamp {
                    self.stamp(stamp);
                }
            }
        }
    }

    fn stamp(&mut self, stamp: &Stamp) {
        let Stamp { device, inode, mode, bytes, modified, changed } = *stamp;
        [device, inode, mode.into(), bytes].into_iter().for_each(|number| self.number(number));
        self.moment(modified);
        self.moment(changed);
    }
}

/// What is left of the file to be read. Everything is `None` if it is torn.
#[derive(Debug)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn moment(&mut self) -> Option<Moment> {
        self.array().map(i128::from_le_bytes).map(Moment)
    }

    fn digest(&mut self) -> Option<Digest> {
        self.array().map(Digest::from_bytes)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(text)
    }

    fn path(&mut self) -> Option<PathBuf> {
        self.text().map(|text| PathBuf::from(OsStr::from_bytes(text)))
    }

    fn entry(&mut self) -> Option<Entry> {
        let path = self.path()?;
        let [tag] = self.array()?;
        let tags = [Tag::Directory, Tag::Link, Tag::File, Tag::StampedFile];
        let tag = tags.into_iter().find(|known| *known as u8 == tag)?;
        let record = match tag {
            Tag::Directory => Record::Directory,
            Tag::Link => Record::Link { target: self.path()? },
            Tag::File | Tag::StampedFile => Record::File {
                executable: Executable::of_mode(u32::try_from(self.number()?).ok()?),
                content: self.digest()?,
                bytes: self.number()?,
            },
        };
        let stamp = if tag == Tag::StampedFile { Some(self.stamp()?) } else { None };
        Some(Entry { path, record, stamp })
    }

    fn stamp(&mut self) -> Option<Stamp> {
        Some(Stamp {
            device: self.number()?,
            inode: self.number()?,
            mode: u32::try_from(self.number()?).ok()?,
            bytes: self.number()?,
            modified: self.moment()?,
            changed: self.moment()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let moment = |seconds: i128| Moment(seconds * 1_000_000_000 + 1);
        let stamp = Stamp {
            device: 1,
            inode: u64::MAX,
            mode: 0o100_755,
            bytes: 3,
            modified: moment(-5),
            changed: moment(1 << 40),
        };
        let file = |executable, bytes| Record::File { executable, content: Digest::of(b"x"), bytes };
        Index::of(vec![
            Entry { path: "d/run".into(), record: file(Executable::Yes, 3), stamp: Some(stamp) },
            Entry { path: "d".into(), record: Record::Directory, stamp: None },
            Entry { path: "d-1".into(), record: Record::Link { target: "d/run".into() }, stamp: None },
            Entry { path: "d/new".into(), record: file(Executable::No, 4), stamp: None },
            Entry { path: "d".into(), record: Record::Directory, stamp: None },
        ])
    }

    #[test]
    fn is_read_as_it_was_written() {
        let (index, key) = (index(), Digest::of(b"key"));
        let paths: Vec<_> = index.entries.iter().map(|entry| entry.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["d", "d-1", "d/new", "d/run"]);
        assert_eq!((index.contents.files, index.contents.bytes), (2, 7));
        assert_eq!(decode(&encode(&index, &key, b"boot"), &key, b"boot"), Some(index));
    }

    #[test]
    fn another_one_is_none() {
        let (index, key) = (index(), Digest::of(b"key"));
        let bytes = encode(&index, &key, b"boot");
        assert_eq!(decode(&bytes, &Digest::of(b"other"), b"boot"), None);
        assert_eq!(decode(&bytes, &key, b"other"), None);
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length], &key, b"boot"), None, "{length}");
        }
        for place in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[place] ^= 1;
            assert_eq!(decode(&bytes, &key, b"boot"), None, "{place}");
        }
    }
}
