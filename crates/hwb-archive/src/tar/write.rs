//! Writing a tar.gz of which every byte follows from its members.

use std::io::{self, Read, Write};
use std::ops::Range;

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use hwb_ident::{ArchivePath, Timestamp};

use crate::member::{Executable, LinkTarget};
use crate::tar::header::{self, BLOCK};

/// RFC 1952: the system that wrote the member is not known.
const UNKNOWN_SYSTEM: u8 = 255;

/// What eleven octal digits hold.
const MAX_OCTAL: u64 = (1 << 33) - 1;

/// Writes a canonical tar.gz: owner 0 without names, modes 0644 and 0755, one time, nothing in the gzip header.
///
/// Plain ustar, with pax headers (POSIX.1-2001) only for what ustar cannot say. Members are written in the order in
/// which they come: sort them.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: GzEncoder<W>,
    time: u64,
}

/// Why a member was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The output does not take it.
    #[error("cannot write member `{0}`")]
    Write(ArchivePath, #[source] io::Error),
    /// Its contents cannot be read.
    #[error("cannot read the contents of member `{0}`")]
    Read(ArchivePath, #[source] io::Error),
    /// Its contents are not as long as was said.
    #[error(
        "member `{path}` should have {expected} bytes, but its contents end after or go on beyond {found}"
    )]
    Size {
        /// The member.
        path: ArchivePath,
        /// What was said.
        expected: u64,
        /// What was read.
        found: u64,
    },
    /// The end of the archive cannot be written.
    #[error("cannot finish the archive")]
    Finish(#[source] io::Error),
}

impl<W: Write> Writer<W> {
    /// Starts an archive in which every member has this time.
    pub fn new(out: W, time: Timestamp) -> Self {
        // Level 6 is fixed: another level would be other bytes.
        let out = GzBuilder::new().mtime(0).operating_system(UNKNOWN_SYSTEM).write(out, Compression::new(6));
        Self { out, time: time.seconds() }
    }

    /// Writes a directory.
    ///
    /// # Errors
    ///
    /// If the output fails.
    pub fn directory(&mut self, path: &ArchivePath) -> Result<(), WriteError> {
        self.member(path, &format!("{path}/"), b'5', 0o755, 0, "")
            .map_err(|error| WriteError::Write(path.clone(), error))
    }

    /// Writes a symbolic link.
    ///
    /// # Errors
    ///
    /// If the output fails.
    pub fn symlink(&mut self, path: &ArchivePath, target: &LinkTarget) -> Result<(), WriteError> {
        self.member(path, path.as_str(), b'2', 0o777, 0, target.as_str())
            .map_err(|error| WriteError::Write(path.clone(), error))
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
        let write = |error| WriteError::Write(path.clone(), error);
        self.member(path, path.as_str(), b'0', executable.permissions(), size, "").map_err(write)?;
        let mut buffer = vec![0; 1 << 16];
        let mut found = 0;
        loop {
            let count = match contents.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(WriteError::Read(path.clone(), error)),
            };
            found += count as u64;
            if found > size {
                break;
            }
            self.out.write_all(&buffer[..count]).map_err(write)?;
        }
        if found != size {
            return Err(WriteError::Size { path: path.clone(), expected: size, found });
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
        self.out.finish().map_err(WriteError::Finish)
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one header, all of different meaning")]
    fn member(
        &mut self,
        path: &ArchivePath,
        name: &str,
        kind: u8,
        mode: u32,
        size: u64,
        link: &str,
    ) -> io::Result<()> {
        let mut records = Vec::new();
        let split = split_name(name);
        if split.is_none() {
            pax_record(&mut records, "path", name);
        }
        let fits_link = link.is_ascii() && link.len() <= header::LINK.len();
        if !fits_link {
            pax_record(&mut records, "linkpath", link);
        }
        if size > MAX_OCTAL {
            pax_record(&mut records, "size", &size.to_string());
        }
        if self.time > MAX_OCTAL {
            pax_record(&mut records, "mtime", &self.time.to_string());
        }
        if !records.is_empty() {
            let extended =
                Fields { prefix: b"", name: b"././@PaxHeader", link: b"", kind: b'x', mode: 0o644 };
            let length = records.len() as u64;
            self.out.write_all(&extended.block(length, self.time))?;
            self.out.write_all(&records)?;
            self.pad(length)?;
        }
        // A reader that does not know pax sees the end of a name that does not fit.
        let short = path.file_name().as_bytes();
        let short = &short[..short.len().min(header::NAME.len())];
        let (prefix, name) = split.unwrap_or((b"", short));
        let link = if fits_link { link.as_bytes() } else { b"" };
        self.out.write_all(&Fields { prefix, name, link, kind, mode }.block(size, self.time))
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
        if over == 0 { Ok(()) } else { self.out.write_all(&[0; BLOCK][over..]) }
    }
}

/// Divides a name between the two fields of ustar; `None` if it does not fit or is not ASCII.
fn split_name(name: &str) -> Option<(&[u8], &[u8])> {
    if !name.is_ascii() {
        return None;
    }
    let bytes = name.as_bytes();
    if bytes.len() <= header::NAME.len() {
        return Some((b"", bytes));
    }
    // The first slash that leaves few enough bytes behind it; the last byte may be a directory's own slash.
    let earliest = bytes.len() - header::NAME.len() - 1;
    let slash = earliest + bytes[earliest..bytes.len() - 1].iter().position(|&byte| byte == b'/')?;
    (0 < slash && slash <= header::PREFIX.len()).then(|| (&bytes[..slash], &bytes[slash + 1..]))
}

/// Appends `length key=value\n`, where the length counts its own digits.
fn pax_record(records: &mut Vec<u8>, key: &str, value: &str) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
}

struct Fields<'a> {
    prefix: &'a [u8],
    name: &'a [u8],
    link: &'a [u8],
    kind: u8,
    mode: u32,
}

impl Fields<'_> {
    fn block(&self, size: u64, time: u64) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut put = |field: Range<usize>, value: &[u8]| {
            block[field.start..field.start + value.len()].copy_from_slice(value);
        };
        let octal = |value: u64, width: usize| format!("{:0width$o}", value.min(MAX_OCTAL)).into_bytes();
        put(header::NAME, self.name);
        put(header::MODE, &octal(u64::from(self.mode), 7));
        put(header::UID, &octal(0, 7));
        put(header::GID, &octal(0, 7));
        put(header::SIZE, &octal(size, 11));
        put(header::MTIME, &octal(time, 11));
        put(header::CHECKSUM, &[b' '; 8]);
        put(header::TYPE..header::TYPE + 1, &[self.kind]);
        put(header::LINK, self.link);
        put(header::MAGIC, b"ustar\x0000");
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
}
