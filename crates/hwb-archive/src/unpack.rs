//! Every member of a source archive, handed to a sink under the rules of PEP 721.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use hwb_ident::path::ParseArchivePathError;
use hwb_ident::{ArchivePath, Timestamp};

use crate::decompress;
use crate::format::{Compression, Format};
use crate::layout::{Kind, Layout, LayoutError};
use crate::limits::Limits;
use crate::member::{Executable, LinkError, LinkTarget, decode_latin1};
use crate::tar::{Entry, EntryKind, Reader, TarError};
use crate::zip::{self, MemberKind, ZipError};

/// The longest target of a symbolic link in a zip archive.
const MAX_TARGET: u64 = 4096;

/// Where unpacked members go.
///
/// What a sink is given has been checked already: each path comes once (a directory may come again), never below a
/// file or a link, and no link leads out. Directories that hold members need not come by themselves, nor first.
pub trait Sink {
    /// Why a member is not taken.
    type Error: Error + Send + Sync + 'static;

    /// Takes a directory.
    ///
    /// # Errors
    ///
    /// Whatever ends the unpacking.
    fn directory(&mut self, path: &ArchivePath) -> Result<(), Self::Error>;

    /// Takes a file. `contents` fail if the archive is damaged; what is not read of them is checked all the same.
    ///
    /// # Errors
    ///
    /// Whatever ends the unpacking.
    fn file(
        &mut self,
        path: &ArchivePath,
        executable: Executable,
        contents: &mut dyn Read,
    ) -> Result<(), Self::Error>;

    /// Takes a symbolic link. Its target may be missing.
    ///
    /// # Errors
    ///
    /// Whatever ends the unpacking.
    fn symlink(&mut self, path: &ArchivePath, target: &LinkTarget) -> Result<(), Self::Error>;
}

/// What was unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// What kind of archive it was.
    pub format: Format,
    /// Members handed over.
    pub entries: u64,
    /// Bytes of all files together.
    pub bytes: u64,
    /// The newest time of a member, where any has one.
    pub newest: Option<Timestamp>,
}

/// Why an archive was not unpacked to its end.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive cannot be read at all.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// It starts like no archive.
    #[error(
        "the file is not an archive: neither zip nor tar, plain or compressed with gzip, xz, zstd or bzip2"
    )]
    NotAnArchive,
    /// A compressed stream cannot be started.
    #[error("cannot unpack the {compression} stream")]
    Start {
        /// The compression.
        compression: Compression,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// The tar archive is wrong.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// The zip archive is wrong.
    #[error(transparent)]
    Zip(#[from] ZipError),
    /// Two members do not go together, or there are too many.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A member's name is no path inside the archive.
    #[error(transparent)]
    Path(#[from] ParseArchivePathError),
    /// A symbolic link leads elsewhere.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A hard link to what is no earlier file.
    #[error("member `{link}` is a hard link to `{target}`, which is no file that came before it")]
    HardLink {
        /// The link.
        link: ArchivePath,
        /// Its target as written.
        target: String,
    },
    /// The target of a link is not text.
    #[error("link `{0}` has a target that is not UTF-8, or longer than any path")]
    Target(ArchivePath),
    /// A member is larger than allowed.
    #[error("member `{path}` unpacks to {size} bytes, and at most {limit} are allowed")]
    EntryTooLarge {
        /// The member.
        path: ArchivePath,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// All together are larger than allowed.
    #[error("the archive unpacks to more than {0} bytes")]
    TooLarge(u64),
    /// The sink did not take a member.
    #[error("cannot unpack member `{path}`")]
    Sink {
        /// The member.
        path: ArchivePath,
        /// Why not.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// Hands every member of an archive to `sink`, in the archive's order; copies for hard links come last.
///
/// The format is told by the first bytes. As with the "data" filter of PEP 721, nothing leads out of the archive,
/// devices and pipes are errors, and of a mode only "executable by its owner" is kept. Stricter than it, absolute
/// names, repeated members and members below links are errors too.
///
/// # Errors
///
/// The first fault that is found. What was handed to the sink until then is of no use.
pub fn unpack<R: Read + Seek, S: Sink>(
    mut input: R,
    limits: &Limits,
    sink: &mut S,
) -> Result<Unpacked, UnpackError> {
    let packed = input.seek(SeekFrom::End(0)).map_err(UnpackError::Read)?;
    let mut head = Vec::with_capacity(Format::HEAD);
    input.rewind().map_err(UnpackError::Read)?;
    input.by_ref().take(Format::HEAD as u64).read_to_end(&mut head).map_err(UnpackError::Read)?;
    let mut delivery = Delivery { limits, sink, entries: 0, bytes: 0, newest: None };
    let format = Format::detect(&head).ok_or(UnpackError::NotAnArchive)?;
    match format {
        Format::Zip => {
            let mut bytes = Vec::with_capacity(usize::try_from(packed).unwrap_or(0));
            input.rewind().map_err(UnpackError::Read)?;
            input.read_to_end(&mut bytes).map_err(UnpackError::Read)?;
            unpack_zip(&bytes, &mut delivery)?;
        }
        Format::Tar(compression) => {
            unpack_tar(&mut Stream { input, compression, packed }, &mut delivery)?;
        }
    }
    let Delivery { entries, bytes, newest, .. } = delivery;
    Ok(Unpacked { format, entries, bytes, newest })
}

/// The way to the sink: counts, and gives each fault its place.
struct Delivery<'a, S> {
    limits: &'a Limits,
    sink: &'a mut S,
    entries: u64,
    bytes: u64,
    newest: Option<Timestamp>,
}

impl<S: Sink> Delivery<'_, S> {
    fn seen(&mut self, time: Option<Timestamp>) {
        self.newest = self.newest.max(time);
    }

    fn directory(&mut self, path: &ArchivePath) -> Result<(), UnpackError> {
        self.entries += 1;
        self.sink.directory(path).map_err(|source| sink_error(path, source))
    }

    fn symlink(&mut self, path: &ArchivePath, target: &LinkTarget) -> Result<(), UnpackError> {
        self.entries += 1;
        self.sink.symlink(path, target).map_err(|source| sink_error(path, source))
    }

    fn file<E: Into<UnpackError>>(
        &mut self,
        path: &ArchivePath,
        executable: Executable,
        size: u64,
        fill: impl FnMut(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), UnpackError> {
        let limit = self.limits.entry_bytes;
        if size > limit {
            return Err(UnpackError::EntryTooLarge { path: path.clone(), size, limit });
        }
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limits.total_bytes {
            return Err(UnpackError::TooLarge(self.limits.total_bytes));
        }
        let mut contents = Contents { fill, fault: None };
        let taken = self.sink.file(path, executable, &mut contents);
        if taken.is_ok() {
            let mut buffer = [0; 4096];
            while contents.read(&mut buffer).is_ok_and(|count| count > 0) {}
        }
        // If the archive was at fault, the sink's complaint is only its echo.
        match contents.fault {
            Some(fault) => Err(fault.into()),
            None => taken.map_err(|source| sink_error(path, source)),
        }
    }
}

fn sink_error(path: &ArchivePath, source: impl Error + Send + Sync + 'static) -> UnpackError {
    UnpackError::Sink { path: path.clone(), source: Box::new(source) }
}

/// Contents as a reader that remembers why it failed.
struct Contents<F, E> {
    fill: F,
    fault: Option<E>,
}

impl<F: FnMut(&mut [u8]) -> Result<usize, E>, E> Read for Contents<F, E> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the archive is damaged");
        if self.fault.is_some() {
            return Err(damaged());
        }
        (self.fill)(buffer).map_err(|fault| {
            self.fault = Some(fault);
            damaged()
        })
    }
}

fn unpack_zip<S: Sink>(bytes: &[u8], delivery: &mut Delivery<'_, S>) -> Result<(), UnpackError> {
    let archive = zip::Archive::parse(bytes, delivery.limits)?;
    for member in archive.members() {
        delivery.seen(member.modified);
        match member.kind {
            MemberKind::Directory => delivery.directory(&member.path)?,
            MemberKind::Symlink => {
                let fault = || UnpackError::Target(member.path.clone());
                if member.size > MAX_TARGET {
                    return Err(fault());
                }
                let target = String::from_utf8(archive.read(member)?).map_err(|_| fault())?;
                delivery.symlink(&member.path, &LinkTarget::new(&member.path, &target)?)?;
            }
            MemberKind::File => {
                let executable = Executable::of_mode(member.unix_mode.unwrap_or(0));
                let mut contents = archive.contents(member)?;
                delivery.file(&member.path, executable, member.size, |buffer| contents.fill(buffer))?;
            }
        }
    }
    Ok(())
}

/// A tar archive that can be read again from its start.
struct Stream<R> {
    input: R,
    compression: Compression,
    packed: u64,
}

impl<R: Read + Seek> Stream<R> {
    fn reader(&mut self, limits: &Limits) -> Result<Reader<Box<dyn Read + '_>>, UnpackError> {
        self.input.rewind().map_err(UnpackError::Read)?;
        // Each member has a header or two beside its contents.
        let headers = limits.entries.saturating_mul(2048);
        let most = limits.total_bytes.saturating_add(headers).min(limits.by_ratio(self.packed));
        let input = BufReader::with_capacity(1 << 17, &mut self.input);
        let compression = self.compression;
        let stream = decompress::open(input, compression, most)
            .map_err(|source| UnpackError::Start { compression, source })?;
        Ok(Reader::new(stream))
    }
}

/// For each file that hard links lead to, the links.
type HardLinks = BTreeMap<ArchivePath, Vec<ArchivePath>>;

fn unpack_tar<R: Read + Seek, S: Sink>(
    stream: &mut Stream<R>,
    delivery: &mut Delivery<'_, S>,
) -> Result<(), UnpackError> {
    let mut layout = Layout::new(delivery.limits.entries);
    let mut links = HardLinks::new();
    let mut originals = BTreeMap::new();
    let mut reader = stream.reader(delivery.limits)?;
    while let Some(entry) = reader.next_entry()? {
        let Some(path) = member_path(&entry)? else {
            continue;
        };
        delivery
            .seen(entry.mtime.and_then(|time| u64::try_from(time.seconds).ok()).map(Timestamp::from_seconds));
        let link = decode_latin1(&entry.link);
        match &entry.kind {
            EntryKind::Directory => {
                layout.take(&path, Kind::Directory)?;
                delivery.directory(&path)?;
            }
            EntryKind::Symlink => {
                layout.take(&path, Kind::Symlink)?;
                delivery.symlink(&path, &LinkTarget::new(&path, &link)?)?;
            }
            EntryKind::HardLink => {
                let original = link.parse().ok().filter(|target| layout.get(target) == Some(Kind::File));
                let original: ArchivePath = original
                    .ok_or_else(|| UnpackError::HardLink { link: path.clone(), target: link.clone() })?;
                // Some writers store a file's later appearance as a link to itself.
                if original == path {
                    continue;
                }
                layout.take(&path, Kind::File)?;
                let original = originals.get(&original).cloned().unwrap_or(original);
                originals.insert(path.clone(), original.clone());
                links.entry(original).or_default().push(path);
            }
            EntryKind::File => {
                layout.take(&path, Kind::File)?;
                delivery.file(&path, executable(&entry), entry.size, |buffer| reader.contents(buffer))?;
            }
            special => {
                let kind = special.describe().to_owned();
                return Err(TarError::Kind { member: entry.display(), kind }.into());
            }
        }
    }
    reader.drain()?;
    drop(reader);
    if links.is_empty() { Ok(()) } else { copy_hard_links(stream, &links, delivery) }
}

/// Reads the archive once more, for the contents that hard links share.
fn copy_hard_links<R: Read + Seek, S: Sink>(
    stream: &mut Stream<R>,
    links: &HardLinks,
    delivery: &mut Delivery<'_, S>,
) -> Result<(), UnpackError> {
    let mut reader = stream.reader(delivery.limits)?;
    while let Some(entry) = reader.next_entry()? {
        if entry.kind != EntryKind::File {
            continue;
        }
        let Some(copies) = member_path(&entry)?.and_then(|path| links.get(&path)) else {
            continue;
        };
        let mut contents = Vec::new();
        let mut buffer = [0; 1 << 14];
        loop {
            match reader.contents(&mut buffer)? {
                0 => break,
                count => contents.extend_from_slice(&buffer[..count]),
            }
        }
        for path in copies {
            let mut rest = &contents[..];
            let fill = |buffer: &mut [u8]| rest.read(buffer).map_err(UnpackError::Read);
            delivery.file(path, executable(&entry), entry.size, fill)?;
        }
    }
    Ok(())
}

/// A member without a readable mode is a plain file.
fn executable(entry: &Entry) -> Executable {
    Executable::of_mode(entry.mode.unwrap_or(0))
}

/// Where a member goes; `None` for the archive's own root, which `tar -C directory .` writes.
fn member_path(entry: &Entry) -> Result<Option<ArchivePath>, UnpackError> {
    match entry.display().parse() {
        Ok(path) => Ok(Some(path)),
        Err(ParseArchivePathError::Empty) if entry.kind == EntryKind::Directory && !entry.name.is_empty() => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io::{Cursor, Write as _};

    use super::*;
    use crate::zip::Writer;
    use ::tar::{Builder, EntryType, Header};

    /// Writes down what it is given.
    #[derive(Default)]
    struct Listing(Vec<String>);

    impl Sink for Listing {
        type Error = Infallible;

        fn directory(&mut self, path: &ArchivePath) -> Result<(), Infallible> {
            self.0.push(format!("{path}/"));
            Ok(())
        }

        fn file(
            &mut self,
            path: &ArchivePath,
            executable: Executable,
            contents: &mut dyn Read,
        ) -> Result<(), Infallible> {
            let mut bytes = Vec::new();
            // A fault comes back from `unpack`.
            if contents.read_to_end(&mut bytes).is_ok() {
                let mark = if executable == Executable::Yes { "*" } else { "" };
                self.0.push(format!("{path}{mark} {}", String::from_utf8_lossy(&bytes)));
            }
            Ok(())
        }

        fn symlink(&mut self, path: &ArchivePath, target: &LinkTarget) -> Result<(), Infallible> {
            self.0.push(format!("{path} -> {target}"));
            Ok(())
        }
    }

    const SMALL: Limits = Limits { entries: 20, entry_bytes: 1000, total_bytes: 3000, ratio: 10 };

    fn outcome(bytes: &[u8]) -> String {
        let mut listing = Listing::default();
        match unpack(Cursor::new(bytes), &SMALL, &mut listing) {
            Ok(unpacked) => {
                assert_eq!(unpacked.entries, listing.0.len() as u64);
                listing.0.join(", ")
            }
            Err(error) => error.to_string(),
        }
    }

    /// One member: kind, name, link target, contents. Names are taken as they are, however bad.
    type Raw<'a> = (u8, &'a [u8], &'a [u8], &'a [u8]);

    fn raw_tar(members: &[Raw<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, name, link, contents) in members {
            let mut header = Header::new_gnu();
            header.set_size(contents.len() as u64);
            header.set_mode(0o755);
            header.set_mtime(1_700_000_000);
            header.set_entry_type(EntryType::new(*kind));
            header.as_old_mut().name[..name.len()].copy_from_slice(name);
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
            header.set_cksum();
            bytes.extend_from_slice(header.as_bytes());
            bytes.extend_from_slice(contents);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }

    fn check(members: &[Raw<'_>], expect: &str) {
        assert_eq!(outcome(&raw_tar(members)), expect);
    }

    #[test]
    fn reads_what_is_found_in_the_wild() {
        check(&[(b'5', b"./", b"", b""), (b'0', b"./a/b", b"", b"x")], "a/b* x");
        check(&[(0, b"a/", b"", b""), (0, b"a/b", b"", b"x")], "a/, a/b* x");
        check(&[(b'7', b"a", b"", b"x")], "a* x");
        check(&[(b'0', b"caf\xe9", b"", b"x")], "café* x");
        check(&[(b'L', b"././@LongLink", b"", b"long/name\0"), (b'0', b"long", b"", b"x")], "long/name* x");
        check(&[(b'K', b"././@LongLink", b"", b"../long\0"), (b'2', b"a/l", b"..", b"")], "a/l -> ../long");
        check(&[(b'x', b"h", b"", b"17 path=caf\xc3\xa9.py\n"), (b'0', b"c", b"", b"x")], "café.py* x");
        check(&[(b'g', b"pax_global_header", b"", b"18 comment=abcdef\n"), (b'0', b"a", b"", b"x")], "a* x");
        check(
            &[
                (b'0', b"a", b"", b"x"),
                (b'1', b"b", b"a", b""),
                (b'1', b"c/d", b"./b", b""),
                (b'0', b"e", b"", b"y"),
            ],
            "a* x, e* y, b* x, c/d* x",
        );
        check(&[(b'2', b"d/l", b"../a//b", b""), (b'2', b"d/m", b"gone", b"")], "d/l -> ../a/b, d/m -> gone");
        check(&[(b'5', b"d", b"", b""), (b'5', b"d/", b"", b"")], "d/, d/");
        check(
            &[],
            "the file is not an archive: neither zip nor tar, plain or compressed with gzip, xz, zstd or bzip2",
        );
    }

    #[test]
    fn refuses_what_leads_elsewhere() {
        check(&[(b'0', b"../a", b"", b"")], "member `../a` leads out of the archive");
        check(&[(b'0', b"a/../../b", b"", b"")], "member `a/../../b` leads out of the archive");
        check(&[(b'0', b"/a", b"", b"")], "member `/a` has an absolute path");
        check(&[(b'0', b".", b"", b"")], "a member has an empty path");
        check(&[(b'2', b"l", b"..", b"")], "link `l` points out of the archive, to `..`");
        check(&[(b'2', b"d/l", b"../../x", b"")], "link `d/l` points out of the archive, to `../../x`");
        check(&[(b'2', b"l", b"/etc", b"")], "link `l` points to the absolute path `/etc`");
        check(&[(b'2', b"l", b"", b"")], "link `l` has no target");
        check(
            &[(b'2', b"l", b"d", b""), (b'0', b"l/a", b"", b"x")],
            "member `l/a` lies below `l`, which is a symbolic link",
        );
        check(&[(b'0', b"a", b"", b""), (b'0', b"a", b"", b"")], "member `a` is there twice");
        check(&[(b'2', b"a", b"b", b""), (b'0', b"./a", b"", b"")], "member `a` is there twice");
        for target in ["b", "../a", "/a", "l"] {
            check(
                &[(b'2', b"l", b"x", b""), (b'1', b"h", target.as_bytes(), b""), (b'0', b"b", b"", b"")],
                &format!("member `h` is a hard link to `{target}`, which is no file that came before it"),
            );
        }
    }

    #[test]
    fn refuses_what_is_no_source() {
        check(&[(b'3', b"a", b"", b"")], "member `a` is a character device");
        check(&[(b'4', b"a", b"", b"")], "member `a` is a block device");
        check(&[(b'6', b"a", b"", b"")], "member `a` is a named pipe");
        check(&[(b'S', b"a", b"", b"")], "member `a` is a sparse file");
        check(&[(b'Z', b"a", b"", b"")], "member `a` is of the unknown kind 'Z'");
        check(
            &[(b'x', b"h", b"", b"21 GNU.sparse.size=0\n"), (b'0', b"a", b"", b"")],
            "member `a` is a sparse file",
        );
        check(
            &[(b'g', b"h", b"", b"9 path=a\n"), (b'0', b"b", b"", b"")],
            "the archive sets `path` for all of its members at once",
        );
        check(
            &[(b'x', b"h", b"", b"nonsense"), (b'0', b"b", b"", b"")],
            "the extended header at 512 is malformed",
        );
        let mut bytes = raw_tar(&[(b'0', b"a", b"", b"x")]);
        bytes[600] = 1;
        bytes[1024] = 1;
        assert_eq!(outcome(&bytes), "no member starts after 1024 unpacked bytes, where one must");
        assert_eq!(outcome(b"<!doctype html>"), outcome(b""));
    }

    #[test]
    fn refuses_bombs() {
        check(
            &[(b'0', b"a", b"", &[0; 1001])],
            "member `a` unpacks to 1001 bytes, and at most 1000 are allowed",
        );
        let full = [0; 1000];
        let four: Vec<Raw<'_>> =
            [b"a", b"b", b"c", b"d"].iter().map(|name| (b'0', &name[..], &b""[..], &full[..])).collect();
        check(&four, "the archive unpacks to more than 3000 bytes");
        let linked = [four[0], (b'1', b"x", b"a", b""), (b'1', b"y", b"a", b""), (b'1', b"z", b"a", b"")];
        check(&linked, "the archive unpacks to more than 3000 bytes");
        let many: Vec<Raw<'_>> = vec![(b'0', b"a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u", b"", b"")];
        check(&many, "the archive has more than 20 members");
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::new(b'L'));
        header.set_size(1 << 40);
        header.set_cksum();
        assert_eq!(outcome(header.as_bytes()), "the extended headers up to `` have 1099511627776 bytes");
        let headers = raw_tar(&vec![(b'g', &b"g"[..], &b""[..], &b""[..]); 200]);
        assert_eq!(outcome(&headers), "the archive unpacks to more than 43960 bytes");
        let long = "a/".repeat(3000);
        check(
            &[(b'L', b"L", b"", long.as_bytes()), (b'0', b"a", b"", b"")],
            "a member has a path of 5999 bytes, which starts with `a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/`",
        );
    }

    fn packed(tar: &[u8], compression: Compression) -> Vec<u8> {
        match compression {
            Compression::None => tar.to_vec(),
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(tar).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Zstd => zstd::encode_all(tar, 1).unwrap(),
            Compression::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                encoder.write_all(tar).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Xz => {
                let options = lzma_rust2::XzOptions::with_preset(1);
                let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
                encoder.write_all(tar).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    #[test]
    fn unpacks_every_compression() {
        let tar = raw_tar(&[(b'0', b"a/b", b"", b"contents")]);
        for compression in
            [Compression::None, Compression::Gzip, Compression::Xz, Compression::Zstd, Compression::Bzip2]
        {
            let bytes = packed(&tar, compression);
            let unpacked = unpack(Cursor::new(&bytes), &SMALL, &mut Listing::default()).unwrap();
            assert_eq!(
                unpacked,
                Unpacked {
                    format: Format::Tar(compression),
                    entries: 1,
                    bytes: 8,
                    newest: Some(Timestamp::from_seconds(1_700_000_000)),
                }
            );
            assert_eq!(outcome(&bytes), "a/b* contents");
            if compression != Compression::None {
                for length in [bytes.len() / 2, bytes.len() - 1] {
                    let error = outcome(&bytes[..length]);
                    assert!(
                        error.starts_with("the archive ends in the middle of")
                            || error.starts_with("cannot read on"),
                        "{compression} {error}"
                    );
                }
            }
        }
        assert_eq!(outcome(&tar[..515]), "the archive ends in the middle of `a/b`");
        assert_eq!(outcome(&tar[..1024]), "a/b* contents");
    }

    #[test]
    fn gzip_may_be_padded_or_in_pieces() {
        let tar = raw_tar(&[(b'0', b"a", b"", b"x")]);
        let bytes = packed(&tar, Compression::Gzip);
        assert_eq!(outcome(&[&bytes[..], &[0; 100]].concat()), "a* x");
        let pieces =
            [packed(&tar[..700], Compression::Gzip), packed(&tar[700..], Compression::Gzip)].concat();
        assert_eq!(outcome(&pieces), "a* x");
        let mut damaged = bytes;
        let sum = damaged.len() - 8;
        damaged[sum] ^= 1;
        assert!(outcome(&damaged).starts_with("cannot read on after"));
    }

    #[test]
    fn unpacks_zip() {
        let mut writer = Writer::new(Vec::new(), Timestamp::from_seconds(1_700_000_000));
        writer.deflate(&"a/b".parse().unwrap(), Executable::Yes, b"contents").unwrap();
        writer.store(&"c".parse().unwrap(), Executable::No, b"x").unwrap();
        let bytes = writer.finish().unwrap();
        assert_eq!(outcome(&bytes), "a/b* contents, c x");
        let mut damaged = bytes;
        let at = damaged.windows(8).position(|window| window == b"contents").unwrap();
        damaged[at] ^= 1;
        assert!(outcome(&damaged).starts_with("member `a/b` has the checksum"));
    }

    #[test]
    fn reads_what_another_writer_writes() {
        let mut builder = Builder::new(Vec::new());
        let long = "d/".repeat(80) + "end";
        let mut header = Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o600);
        header.set_cksum();
        builder.append_data(&mut header, &long, &b"x"[..]).unwrap();
        let mut link = Header::new_gnu();
        link.set_entry_type(EntryType::Symlink);
        link.set_size(0);
        builder.append_link(&mut link, "l", &long).unwrap();
        let limits = Limits { entries: 100, ..SMALL };
        let mut listing = Listing::default();
        unpack(Cursor::new(builder.into_inner().unwrap()), &limits, &mut listing).unwrap();
        assert_eq!(listing.0, [format!("{long} x"), format!("l -> {long}")]);
    }
}
