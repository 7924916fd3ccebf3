//! Reading a tar archive member by member, from a stream that cannot go back.

use std::io::{self, Read};
use std::ops::ControlFlow;

use crate::decompress::Overflow;
use crate::member::decode_latin1;
use crate::tar::header::{self, BLOCK, Header};

/// The most that a long name or a set of extended headers may take.
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
    /// A long name or extended header is too long to be one.
    #[error("the extended header before `{member}` has {size} bytes")]
    Extension {
        /// The name in its own header.
        member: String,
        /// How long it says it is.
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
    /// A device, a pipe, a sparse file or a kind that no source distribution has.
    #[error("member `{member}` is {kind}")]
    Kind {
        /// The member.
        member: String,
        /// What it is.
        kind: String,
    },
}

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Directory,
    Symlink,
    HardLink,
}

/// One member, long names and extended headers taken in.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) link: String,
    pub(crate) kind: EntryKind,
    pub(crate) mode: u32,
    pub(crate) mtime: Option<u64>,
    /// Bytes of contents; only files have any.
    pub(crate) size: u64,
}

/// A tar archive being read.
pub(crate) struct Reader<R> {
    input: R,
    position: u64,
    /// Contents of the current member not read yet, then the zeros that fill its last block.
    left: u64,
    padding: u64,
    within: String,
}

/// What extended headers say about the member that follows.
#[derive(Debug, Default)]
struct Extensions {
    name: Option<String>,
    link: Option<String>,
    size: Option<u64>,
    mtime: Option<u64>,
    sparse: bool,
}

impl<R: Read> Reader<R> {
    pub(crate) const fn new(input: R) -> Self {
        Self { input, position: 0, left: 0, padding: 0, within: String::new() }
    }

    /// The next member; its contents can be read until this is called again. `None` at the end.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
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

    /// Reads what is left of the stream behind the last member, so that its checksums are checked.
    pub(crate) fn drain(&mut self) -> Result<(), TarError> {
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
        let own_name = decode_latin1(&header.name());
        match header.kind() {
            b'L' => extensions.name = Some(self.long_name(header, &own_name)?),
            b'K' => extensions.link = Some(self.long_name(header, &own_name)?),
            b'x' | b'X' => {
                let position = self.position;
                let records = self.extension(header, &own_name)?;
                for (key, value) in pax_records(&records).ok_or(TarError::Pax { position })? {
                    extensions.set(&key, value).ok_or(TarError::Pax { position })?;
                }
            }
            b'g' => {
                let position = self.position;
                let records = self.extension(header, &own_name)?;
                for (key, _) in pax_records(&records).ok_or(TarError::Pax { position })? {
                    if matches!(key.as_str(), "path" | "linkpath" | "size") || key.starts_with("GNU.sparse") {
                        return Err(TarError::Global(key));
                    }
                }
            }
            _ => return self.entry(header, own_name, std::mem::take(extensions)).map(ControlFlow::Break),
        }
        Ok(ControlFlow::Continue(()))
    }

    fn entry(&mut self, header: &Header, own_name: String, own: Extensions) -> Result<Entry, TarError> {
        let name = own.name.unwrap_or(own_name);
        let refuse = |kind: &str| Err(TarError::Kind { member: name.clone(), kind: kind.to_owned() });
        let kind = match header.kind() {
            _ if own.sparse => return refuse("a sparse file"),
            // Before ustar a directory was told by its name alone.
            0 | b'0' if name.ends_with('/') => EntryKind::Directory,
            0 | b'0' | b'7' => EntryKind::File,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' => return refuse("a character device"),
            b'4' => return refuse("a block device"),
            b'5' => EntryKind::Directory,
            b'6' => return refuse("a named pipe"),
            b'S' => return refuse("a sparse file"),
            other => return refuse(&format!("of the unknown kind {:?}", char::from(other))),
        };
        let size = own.size.or_else(|| header.number(header::SIZE));
        let size = match kind {
            EntryKind::File => {
                size.ok_or_else(|| TarError::Number { member: name.clone(), field: "size" })?
            }
            // As in Python's `tarfile`, no contents follow, whatever the size says.
            EntryKind::Directory | EntryKind::Symlink | EntryKind::HardLink => 0,
        };
        let link = own.link.unwrap_or_else(|| decode_latin1(header.link()));
        // Old archives have odd modes and times; none is a reason to refuse a source.
        let mode = header.number(header::MODE).and_then(|mode| u32::try_from(mode).ok()).unwrap_or(0o644);
        let mtime = own.mtime.or_else(|| header.number(header::MTIME));
        self.start(size, &name);
        Ok(Entry { name, link, kind, mode, mtime, size })
    }

    fn start(&mut self, size: u64, member: &str) {
        self.left = size;
        let over = size % BLOCK as u64;
        self.padding = if over == 0 { 0 } else { BLOCK as u64 - over };
        self.within = format!("`{member}`");
    }

    fn long_name(&mut self, header: &Header, own_name: &str) -> Result<String, TarError> {
        let mut name = self.extension(header, own_name)?;
        if let Some(end) = name.iter().position(|&byte| byte == 0) {
            name.truncate(end);
        }
        Ok(decode_latin1(&name))
    }

    fn extension(&mut self, header: &Header, own_name: &str) -> Result<Vec<u8>, TarError> {
        let size = header
            .number(header::SIZE)
            .ok_or_else(|| TarError::Number { member: own_name.to_owned(), field: "size" })?;
        let length = usize::try_from(size).ok().filter(|_| size <= MAX_EXTENSION);
        let length = length.ok_or_else(|| TarError::Extension { member: own_name.to_owned(), size })?;
        self.start(size, own_name);
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
    pub(crate) fn contents(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
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
    /// `None` if the value makes no sense.
    fn set(&mut self, key: &str, value: &[u8]) -> Option<()> {
        match key {
            "path" => self.name = Some(decode_latin1(value)),
            "linkpath" => self.link = Some(decode_latin1(value)),
            "size" => self.size = Some(std::str::from_utf8(value).ok()?.parse().ok()?),
            "mtime" => {
                let whole = std::str::from_utf8(value).ok()?.split('.').next()?;
                self.mtime = whole.parse().ok();
            }
            key if key.starts_with("GNU.sparse") => self.sparse = true,
            _ => {}
        }
        Some(())
    }
}

/// Splits `length key=value\n` records; `None` if they are not that.
fn pax_records(mut rest: &[u8]) -> Option<Vec<(String, &[u8])>> {
    let mut records = Vec::new();
    // Some writers count the zeros that fill the block.
    while !rest.is_empty() && rest[0] != 0 {
        let space = rest.iter().take(8).position(|&byte| byte == b' ')?;
        let length: usize = std::str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
        let (record, tail) = rest.split_at_checked(length)?;
        let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|&byte| byte == b'=')?;
        records.push((decode_latin1(&record[..equals]), &record[equals + 1..]));
        rest = tail;
    }
    Some(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_records() {
        let check = |records: &[u8], expect: Option<&[(&str, &str)]>| {
            let found = pax_records(records);
            let found = found.as_ref().map(|records| {
                records
                    .iter()
                    .map(|(key, value)| (key.as_str(), std::str::from_utf8(value).unwrap()))
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
