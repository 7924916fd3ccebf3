//! Reading a tar archive member by member, from a stream that cannot go back.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::num::ParseIntError;
use std::ops::ControlFlow;

use crate::decompress::Overflow;
use crate::member::decode_latin1;
use crate::tar::header::{self, BLOCK, Header};
use crate::tar::sparse::{self, ContentsMap, Map, Progress, Sparse};

/// The most that the long names and extended headers of one member may take together.
const MAX_EXTENSION: u64 = 1 << 20;

/// What is wrong with a tar archive.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream does not unpack.
    #[error("cannot read on after {position} unpacked bytes")]
    Read {
        /// How many bytes had been read.
        position: u64,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It ends inside of a member.
    #[error("the archive ends in the middle of {within}")]
    Truncated {
        /// The member, or what else was being read.
        within: String,
    },
    /// It grows beyond what is allowed.
    #[error("the archive unpacks to more than {0} bytes")]
    TooLarge(u64),
    /// What should be a header is none.
    #[error("no member starts after {position} unpacked bytes, where one must")]
    Header {
        /// Where the header should be.
        position: u64,
    },
    /// A number in the header is none, or does not fit.
    #[error("member `{member}` has no readable {field}")]
    Number {
        /// The member.
        member: String,
        /// Which number.
        field: &'static str,
    },
    /// The long names and extended headers of a member are too long to be that.
    #[error("the extended headers up to `{member}` have {size} bytes")]
    Extension {
        /// The name of the last of them.
        member: String,
        /// How long they say they are, all together.
        size: u64,
    },
    /// An extended header is not a list of records (POSIX.1-2001 pax).
    #[error("the extended header at {position} is malformed")]
    Pax {
        /// Where it is.
        position: u64,
    },
    /// A global extended header would rename or resize every member.
    #[error("the archive sets `{0}` for all of its members at once")]
    Global(String),
    /// The map of a sparse file is missing, out of order, or not of its size.
    #[error("the sparse file `{0}` has no readable map")]
    Sparse(String),
    /// A kind of member that is not known, or that archives of this sort do not have.
    #[error("member `{member}` is {kind}")]
    Kind {
        /// The member.
        member: String,
        /// What it is.
        kind: String,
    },
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A file; its contents follow.
    File,
    /// A file with holes; the contents of its pieces follow.
    Sparse(Sparse),
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Another name of a member that came before it.
    HardLink,
    /// A character device.
    Character(Device),
    /// A block device.
    Block(Device),
    /// A named pipe.
    Fifo,
}

impl EntryKind {
    /// The kind in words, for messages: `member x is …`.
    pub const fn describe(&self) -> &'static str {
        match self {
            Self::File => "a file",
            Self::Sparse(_) => "a sparse file",
            Self::Directory => "a directory",
            Self::Symlink => "a symbolic link",
            Self::HardLink => "a hard link",
            Self::Character(_) => "a character device",
            Self::Block(_) => "a block device",
            Self::Fifo => "a named pipe",
        }
    }
}

/// The number of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

/// A time, with its fraction of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Whole seconds since 1970-01-01T00:00:00Z, rounded down.
    pub seconds: i64,
    /// What was rounded off.
    pub nanoseconds: u32,
}

/// One member, long names and extended headers taken in. Nothing here is checked but that numbers are numbers.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name, byte for byte.
    pub name: Vec<u8>,
    /// What a link holds.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Its permissions; old writers put the kind in as well.
    pub mode: Option<u32>,
    /// The number of its owner.
    pub uid: Option<u64>,
    /// The number of its group.
    pub gid: Option<u64>,
    /// When it was last written to.
    pub mtime: Option<Time>,
    /// Bytes that follow in the archive; only files have any.
    pub size: u64,
    /// Extended attributes (`SCHILY.xattr.*`), sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// The name for people.
    pub fn display(&self) -> String {
        decode_latin1(&self.name)
    }
}

/// A tar archive being read.
pub struct Reader<R> {
    input: R,
    position: u64,
    /// Contents of the current member not read yet, then the zeros that fill its last block.
    left: u64,
    padding: u64,
    within: String,
}

impl<R> fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("position", &self.position).field("within", &self.within).finish()
    }
}

/// What extended headers say about the member that follows.
#[derive(Debug, Default)]
struct Extensions {
    /// How many bytes they have taken so far.
    bytes: u64,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<Time>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    sparse: sparse::Records,
}

impl<R: Read> Reader<R> {
    /// Starts to read an archive that is not compressed.
    pub const fn new(input: R) -> Self {
        Self { input, position: 0, left: 0, padding: 0, within: String::new() }
    }

    /// The next member; its contents can be read until this is called again. `None` at the end.
    ///
    /// # Errors
    ///
    /// If the archive cannot be read, or is none.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_contents()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            if let ControlFlow::Break(entry) = self.interpret(&header, &mut extensions)? {
                return Ok(Some(entry));
            }
        }
    }

    /// How many bytes of the archive have been read: behind an entry, where its contents start.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Reads what is left of the stream behind the last member, so that its checksums are checked.
    ///
    /// # Errors
    ///
    /// If the stream cannot be read.
    pub fn drain(&mut self) -> Result<(), TarError> {
        self.left = u64::MAX;
        self.padding = 0;
        "what follows the last member".clone_into(&mut self.within);
        let mut buffer = vec![0; 1 << 16];
        while self.fill(&mut buffer)? > 0 {}
        Ok(())
    }

    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let mut block = [0; BLOCK];
        let at = self.position;
        "a header".clone_into(&mut self.within);
        self.left = BLOCK as u64;
        match self.fill(&mut block)? {
            0 => return Ok(None),
            read => self.exact(&mut block[read..])?,
        }
        let header = Header(block);
        if header.is_zero() {
            return Ok(None);
        }
        if !header.has_checksum() {
            return Err(TarError::Header { position: at });
        }
        Ok(Some(header))
    }

    fn interpret(
        &mut self,
        header: &Header,
        extensions: &mut Extensions,
    ) -> Result<ControlFlow<Entry>, TarError> {
        match header.kind() {
            b'L' => extensions.name = Some(self.long_name(header, extensions)?),
            b'K' => extensions.link = Some(self.long_name(header, extensions)?),
            b'x' | b'X' => {
                let position = self.position;
                let records = self.extension(header, extensions)?;
                for (key, value) in pax_records(&records).ok_or(TarError::Pax { position })? {
                    extensions.set(key, value).ok_or(TarError::Pax { position })?;
                }
            }
            b'g' => {
                let position = self.position;
                let records = self.extension(header, extensions)?;
                for (key, _) in pax_records(&records).ok_or(TarError::Pax { position })? {
                    if matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse") {
                        return Err(TarError::Global(decode_latin1(key)));
                    }
                }
            }
            _ => {
                return self.entry(header, header.name(), std::mem::take(extensions)).map(ControlFlow::Break);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn entry(&mut self, header: &Header, own_name: Vec<u8>, own: Extensions) -> Result<Entry, TarError> {
        let name = own.name.unwrap_or(own_name);
        let number = |field| TarError::Number { member: decode_latin1(&name), field };
        let device = || {
            let part = |field| header.number(field).and_then(|number| u32::try_from(number).ok());
            let (major, minor) = (part(header::DEVICE_MAJOR), part(header::DEVICE_MINOR));
            major
                .zip(minor)
                .map(|(major, minor)| Device { major, minor })
                .ok_or_else(|| number("device number"))
        };
        let kind = match header.kind() {
            // Before ustar a directory was told by its name alone.
            0 | b'0' if name.ends_with(b"/") => EntryKind::Directory,
            0 | b'0' | b'7' | b'S' => EntryKind::File,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' => EntryKind::Character(device()?),
            b'4' => EntryKind::Block(device()?),
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            other => {
                let kind = format!("of the unknown kind {:?}", char::from(other));
                return Err(TarError::Kind { member: decode_latin1(&name), kind });
            }
        };
        let mut size = 0;
        // As in Python's `tarfile`, no contents follow anything else, whatever its size says.
        if kind == EntryKind::File {
            size = own.size.or_else(|| header.number(header::SIZE)).ok_or_else(|| number("size"))?;
        }
        self.start(size, &name);
        let kind = match kind {
            EntryKind::File => self.holes(header, own.sparse)?.map_or(EntryKind::File, EntryKind::Sparse),
            kind => kind,
        };
        Ok(Entry {
            link: own.link.unwrap_or_else(|| header.link().to_vec()),
            kind,
            // Old archives have odd modes and times; what none of them may mean is for the caller to say.
            mode: header.number(header::MODE).and_then(|mode| u32::try_from(mode).ok()),
            uid: own.uid.or_else(|| header.number(header::UID)),
            gid: own.gid.or_else(|| header.number(header::GID)),
            mtime: own.mtime.or_else(|| {
                let seconds = header.signed(header::MTIME)?;
                Some(Time { seconds, nanoseconds: 0 })
            }),
            size: self.left,
            xattrs: own.xattrs.into_iter().collect(),
            name,
        })
    }

    /// The holes of the file that has just been started; a map before its contents is read.
    fn holes(&mut self, header: &Header, records: sparse::Records) -> Result<Option<Sparse>, TarError> {
        let sparse = if header.kind() == b'S' {
            self.old_holes(header)?
        } else {
            match records.map() {
                Some(Map::Nowhere) => return Ok(None),
                Some(Map::Known(sparse)) => Some(sparse),
                Some(Map::InContents(size)) => self.map_in_contents(size)?,
                None => None,
            }
        };
        let checked = sparse.and_then(|sparse| sparse.checked(self.left));
        checked.map(Some).ok_or_else(|| TarError::Sparse(self.within_name()))
    }

    fn old_holes(&mut self, header: &Header) -> Result<Option<Sparse>, TarError> {
        let Some((mut sparse, mut more)) = sparse::old_header(header) else { return Ok(None) };
        let (left, padding) = (self.left, self.padding);
        let mut blocks = 0;
        while more {
            let mut block = [0; BLOCK];
            self.left = BLOCK as u64;
            self.exact(&mut block)?;
            blocks += 1;
            let continued =
                sparse::old_continuation(&block).filter(|_| blocks * (BLOCK as u64) <= MAX_EXTENSION);
            let Some((pieces, again)) = continued else { return Ok(None) };
            sparse.pieces.extend(pieces);
            more = again;
        }
        // These blocks do not count as contents.
        (self.left, self.padding) = (left, padding);
        Ok(Some(sparse))
    }

    fn map_in_contents(&mut self, size: u64) -> Result<Option<Sparse>, TarError> {
        let mut map = ContentsMap::default();
        let mut blocks = 0;
        while self.left >= BLOCK as u64 && blocks * (BLOCK as u64) < MAX_EXTENSION {
            let mut block = [0; BLOCK];
            self.exact(&mut block)?;
            blocks += 1;
            match map.push(&block) {
                Some(Progress::More) => {}
                Some(Progress::Whole(pieces)) => return Ok(Some(Sparse { size, pieces })),
                None => break,
            }
        }
        Ok(None)
    }

    fn start(&mut self, size: u64, member: &[u8]) {
        self.left = size;
        let over = size % BLOCK as u64;
        self.padding = if over == 0 { 0 } else { BLOCK as u64 - over };
        self.within.clear();
        self.within.extend(["`", &decode_latin1(member), "`"]);
    }

    fn within_name(&self) -> String {
        self.within.trim_matches('`').to_owned()
    }

    fn long_name(&mut self, header: &Header, extensions: &mut Extensions) -> Result<Vec<u8>, TarError> {
        let mut name = self.extension(header, extensions)?;
        if let Some(end) = name.iter().position(|&byte| byte == 0) {
            name.truncate(end);
        }
        Ok(name)
    }

    /// Reads an extended header. Any number of them may stand before a member, so their bytes count together.
    fn extension(&mut self, header: &Header, extensions: &mut Extensions) -> Result<Vec<u8>, TarError> {
        let own_name = header.name();
        let size = header
            .number(header::SIZE)
            .ok_or_else(|| TarError::Number { member: decode_latin1(&own_name), field: "size" })?;
        extensions.bytes = extensions.bytes.saturating_add(size);
        let length = usize::try_from(size).ok().filter(|_| extensions.bytes <= MAX_EXTENSION);
        let length = length.ok_or_else(|| TarError::Extension {
            member: decode_latin1(&own_name),
            size: extensions.bytes,
        })?;
        self.start(size, &own_name);
        let mut contents = vec![0; length];
        self.exact(&mut contents)?;
        Ok(contents)
    }

    fn skip_contents(&mut self) -> Result<(), TarError> {
        let mut buffer = [0; 4096];
        self.left = self.left.saturating_add(std::mem::take(&mut self.padding));
        while self.left > 0 {
            let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
            self.exact(&mut buffer[..wanted])?;
        }
        Ok(())
    }

    fn exact(&mut self, mut buffer: &mut [u8]) -> Result<(), TarError> {
        while !buffer.is_empty() {
            match self.fill(buffer)? {
                0 => return Err(TarError::Truncated { within: self.within.clone() }),
                count => buffer = &mut buffer[count..],
            }
        }
        Ok(())
    }

    /// Reads some of the current contents.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        // Not every decoder tells an empty buffer from the end.
        if wanted == 0 {
            return Ok(0);
        }
        let count = loop {
            match self.input.read(&mut buffer[..wanted]) {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.read_error(error)),
            }
        };
        self.left -= count as u64;
        self.position += count as u64;
        Ok(count)
    }

    /// Reads some of the contents of the current member; an early end is an error.
    ///
    /// # Errors
    ///
    /// If the archive ends within, or cannot be read.
    pub fn contents(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        match self.fill(buffer)? {
            0 if self.left > 0 && !buffer.is_empty() => {
                Err(TarError::Truncated { within: self.within.clone() })
            }
            count => Ok(count),
        }
    }

    fn read_error(&self, error: io::Error) -> TarError {
        match error.downcast::<Overflow>() {
            Ok(Overflow(most)) => TarError::TooLarge(most),
            Err(source) if source.kind() == io::ErrorKind::UnexpectedEof => {
                TarError::Truncated { within: self.within.clone() }
            }
            Err(source) => TarError::Read { position: self.position, source },
        }
    }
}

impl Extensions {
    /// Takes in a record; one without a value takes back what was said before. `None` if it makes no sense.
    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let there = || Some(value.to_vec()).filter(|value| !value.is_empty());
        match key {
            b"path" | b"GNU.sparse.name" => self.name = there(),
            b"linkpath" => self.link = there(),
            b"size" => self.size = decimal(value).ok()?,
            b"uid" => self.uid = decimal(value).ok()?,
            b"gid" => self.gid = decimal(value).ok()?,
            b"mtime" => self.mtime = time(value),
            _ => {
                if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.set(key, value)?;
                } else if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.insert(name.to_vec(), value.to_vec());
                }
            }
        }
        Some(())
    }
}

/// A whole number; `None` if nothing is said.
fn decimal(value: &[u8]) -> Result<Option<u64>, ParseIntError> {
    match value {
        b"" => Ok(None),
        // What is not text is no number either.
        _ => std::str::from_utf8(value).unwrap_or("?").parse().map(Some),
    }
}

/// Seconds with an optional sign and fraction. What is no time counts as none.
fn time(value: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let mut digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = digits.try_fold(0, |sum, digit| Some(sum * 10 + char::from(digit).to_digit(10)?))?;
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some(Time { seconds: seconds.checked_sub(1)?, nanoseconds: 1_000_000_000 - nanoseconds });
    }
    Some(Time { seconds, nanoseconds })
}

/// Splits `length key=value\n` records; `None` if they are not that.
fn pax_records(mut rest: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut records = Vec::new();
    // Some writers count the zeros that fill the block.
    while !rest.is_empty() && rest[0] != 0 {
        let space = rest.iter().take(8).position(|&byte| byte == b' ')?;
        let length: usize = std::str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
        let (record, tail) = rest.split_at_checked(length)?;
        let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|&byte| byte == b'=')?;
        records.push((&record[..equals], &record[equals + 1..]));
        rest = tail;
    }
    Some(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_all_that_an_archive_holds() {
        let mut builder = ::tar::Builder::new(Vec::new());
        let mut add = |kind, name: &str, records: &[(&str, &[u8])], content: &[u8]| {
            builder.append_pax_extensions(records.iter().copied()).unwrap();
            let mut header = ::tar::Header::new_ustar();
            header.set_entry_type(kind);
            header.set_path(name).unwrap();
            header.set_mode(0o4755);
            header.set_uid(7);
            header.set_gid(8);
            header.set_mtime(9);
            header.set_size(content.len() as u64);
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
            header.set_cksum();
            builder.append(&header, content).unwrap();
        };
        use ::tar::EntryType;
        add(
            EntryType::Regular,
            "file",
            &[("SCHILY.xattr.user.a", b"=\n\0"), ("uid", b"3000000")],
            b"content",
        );
        add(EntryType::Char, "null", &[("mtime", b"-1.25"), ("comment", b"none")], b"");
        add(EntryType::Block, "disk", &[("mtime", b"never")], b"");
        add(EntryType::Fifo, "pipe", &[("gid", b"9"), ("gid", b"")], b"");
        let sparse: &[(&str, &[u8])] = &[("GNU.sparse.size", b"9"), ("GNU.sparse.map", b"2,3")];
        add(EntryType::Regular, "holes", sparse, b"abc");
        let bytes = builder.into_inner().unwrap();
        let mut reader = Reader::new(&bytes[..]);
        let mut lines = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            let Entry { kind, mode, uid, gid, mtime, size, xattrs, .. } = &entry;
            let time = mtime.map(|time| (time.seconds, time.nanoseconds));
            let attributes = (mode.unwrap(), uid.unwrap(), gid.unwrap(), time.unwrap());
            lines.push(format!("{} {kind:?} {attributes:?} {size} {xattrs:?}", entry.display()));
        }
        assert_eq!(
            lines,
            [
                "file File (2541, 3000000, 8, (9, 0)) 7 [([117, 115, 101, 114, 46, 97], [61, 10, 0])]",
                "null Character(Device { major: 1, minor: 3 }) (2541, 7, 8, (-2, 750000000)) 0 []",
                "disk Block(Device { major: 1, minor: 3 }) (2541, 7, 8, (9, 0)) 0 []",
                "pipe Fifo (2541, 7, 8, (9, 0)) 0 []",
                "holes Sparse(Sparse { size: 9, pieces: [Piece { offset: 2, length: 3 }] }) (2541, 7, 8, (9, 0)) 3 []",
            ]
        );
    }

    #[test]
    fn extended_headers_count_together() {
        let archive = |headers: usize, each: usize| {
            let mut builder = ::tar::Builder::new(Vec::new());
            let value = vec![b'x'; each];
            for number in 0..headers {
                let name = format!("SCHILY.xattr.user.{}", number % 2);
                builder.append_pax_extensions([(name.as_str(), &value[..])]).unwrap();
            }
            let mut header = ::tar::Header::new_ustar();
            header.set_path("file").unwrap();
            header.set_size(0);
            header.set_cksum();
            builder.append(&header, &[][..]).unwrap();
            builder.into_inner().unwrap()
        };
        let found = |bytes: Vec<u8>| {
            let entry = Reader::new(&bytes[..]).next_entry();
            entry.map(|entry| entry.unwrap().xattrs.len()).map_err(|error| error.to_string())
        };
        assert_eq!(found(archive(1, 1_000_000)), Ok(1));
        assert_eq!(found(archive(10, 100_000)), Ok(2));
        let error = found(archive(11, 100_000)).unwrap_err();
        assert!(error.starts_with("the extended headers up to `"), "{error}");
        assert!(error.ends_with("` have 1100308 bytes"), "{error}");
    }

    #[test]
    fn splits_records() {
        let check = |records: &[u8], expect: Option<&[(&str, &str)]>| {
            let found = pax_records(records);
            let found = found.as_ref().map(|records| {
                records
                    .iter()
                    .map(|(key, value)| {
                        (std::str::from_utf8(key).unwrap(), std::str::from_utf8(value).unwrap())
                    })
                    .collect::<Vec<_>>()
            });
            assert_eq!(found.as_deref(), expect);
        };
        check(b"", Some(&[]));
        check(b"8 a=b=c\n9 path=x\n\0\0", Some(&[("a", "b=c"), ("path", "x")]));
        check(b"12 path=a\nb\n", Some(&[("path", "a\nb")]));
        for malformed in
            [&b"9 path=x"[..], b"9 path\n", b"999 path=x\n", b"path=x\n", b"0 =\n", b"2 a=\n", b" a"]
        {
            check(malformed, None);
        }
    }
}
