//! From bytes to members: the central directory and every local header, until nothing is left unexplained.

use std::borrow::Cow;
use std::io;

use hwb_ident::path::ParseArchivePathError;
use hwb_ident::{ArchivePath, Timestamp};

use crate::layout::{Kind, Layout, LayoutError};
use crate::limits::Limits;
use crate::member::decode_cp437;
use crate::zip::source::Source;
use crate::zip::wire::{self, Central, Fields, Local};
use crate::zip::{Member, MemberKind, Method, crc};

/// What is wrong with a zip archive.
#[derive(Debug, thiserror::Error)]
pub enum ZipError {
    /// Its bytes are not to be had.
    #[error("the zip archive cannot be read")]
    Read(#[source] io::Error),
    /// No end record, or something after it.
    #[error("the zip archive has no end: it is cut off, or something follows it")]
    NoEnd,
    /// It says that it is one of several disks.
    #[error("the zip archive is one part of several")]
    MultiPart,
    /// The 64-bit records contradict the others, or cannot be read.
    #[error("the zip64 records of {0} do not fit the archive")]
    Zip64(String),
    /// The central directory is not where, or not what, it should be.
    #[error("the central directory of the zip archive is not where its end record says")]
    Directory,
    /// The central directory holds another number of headers than it says.
    #[error("the central directory of the zip archive has no readable header {index} of {entries}")]
    Header {
        /// Which header, from one.
        index: u64,
        /// How many there should be.
        entries: u64,
    },
    /// Too many members, the same path twice, a file as a directory.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A name that is no path inside the archive.
    #[error(transparent)]
    Path(#[from] ParseArchivePathError),
    /// A name that is not in the encoding that it claims.
    #[error("member {0:?} has a name that is not UTF-8 though it is marked so")]
    Encoding(String),
    /// Its extra fields cannot be read, or give it another name.
    #[error("member `{0}` has extra fields that are malformed or give it another name")]
    Extra(String),
    /// It is encrypted.
    #[error("member `{0}` is encrypted")]
    Encrypted(ArchivePath),
    /// It is packed in a way that is not read here.
    #[error("member `{path}` is packed with method {number}, which is not supported")]
    Method {
        /// The member.
        path: ArchivePath,
        /// The method's number in APPNOTE 4.4.5.
        number: u16,
    },
    /// It is a device, a pipe or a socket.
    #[error("member `{path}` is a special file (mode {mode:o})")]
    Special {
        /// The member.
        path: ArchivePath,
        /// Its mode.
        mode: u32,
    },
    /// A directory with contents.
    #[error("member `{0}` is a directory but has contents")]
    DirectoryContents(ArchivePath),
    /// Its own header says something else than the central directory.
    #[error("the two headers of member `{path}` differ in its {field}")]
    Mismatch {
        /// The member.
        path: ArchivePath,
        /// In what they differ.
        field: &'static str,
    },
    /// Its own header is not where the central directory says, or is cut off.
    #[error("member `{0}` has no local header where it should be")]
    Local(ArchivePath),
    /// Its bytes are those of another member too, or of the central directory.
    #[error("member `{path}` overlaps what follows it in the archive")]
    Overlap {
        /// The member.
        path: ArchivePath,
    },
    /// Bytes that belong to nothing.
    #[error("{length} bytes at {offset} of the zip archive belong to no member")]
    Gap {
        /// Where they are.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// It is larger than allowed.
    #[error("member `{path}` unpacks to {size} bytes, and at most {limit} are allowed")]
    EntryTooLarge {
        /// The member.
        path: ArchivePath,
        /// What it says it unpacks to.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// All together are larger than allowed.
    #[error("the archive unpacks to more than {0} bytes")]
    TooLarge(u64),
    /// Its packed bytes do not unpack.
    #[error("member `{path}` does not unpack as {method}")]
    Unpack {
        /// The member.
        path: ArchivePath,
        /// How it is packed.
        method: Method,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// It unpacks to another length, or its packed bytes have another.
    #[error("member `{path}` is not {size} bytes long, as its header says")]
    Size {
        /// The member.
        path: ArchivePath,
        /// What its header says.
        size: u64,
    },
    /// Its contents are not what they were.
    #[error("member `{path}` has the checksum {found:08x} in place of {expected:08x}")]
    Checksum {
        /// The member.
        path: ArchivePath,
        /// What the header says.
        expected: u32,
        /// What the contents have.
        found: u32,
    },
}

/// What the end records say.
#[derive(Debug)]
struct End {
    entries: u64,
    directory: std::ops::Range<u64>,
}

/// A member whose own header has not been looked at.
struct Draft<'a> {
    member: Member,
    central: Central<'a>,
    offset: u64,
}

/// Reads every member, in the order of the central directory.
pub(super) fn members(source: Source<'_>, limits: &Limits) -> Result<Vec<Member>, ZipError> {
    let end = find_end(source)?;
    let mut layout = Layout::new(limits.entries);
    let most = limits.total_bytes.min(limits.by_ratio(source.length()));
    let mut total = 0_u64;
    let mut drafts = Vec::new();
    let directory = source.slice(end.directory.clone()).ok_or(ZipError::Directory)?;
    let directory = directory.bytes().map_err(ZipError::Read)?;
    let mut fields = Fields(&directory);
    for index in 1..=end.entries {
        let central = Central::take(&mut fields).ok_or(ZipError::Header { index, entries: end.entries })?;
        let draft = draft(central)?;
        let Member { path, kind, size, .. } = &draft.member;
        if *size > limits.entry_bytes {
            return Err(ZipError::EntryTooLarge {
                path: path.clone(),
                size: *size,
                limit: limits.entry_bytes,
            });
        }
        total = total.saturating_add(*size);
        if total > most {
            return Err(ZipError::TooLarge(most));
        }
        layout.take(
            path,
            match kind {
                MemberKind::File => Kind::File,
                MemberKind::Directory => Kind::Directory,
                MemberKind::Symlink => Kind::Symlink,
            },
        )?;
        drafts.push(draft);
    }
    if !fields.0.is_empty() {
        return Err(ZipError::Header { index: end.entries + 1, entries: end.entries });
    }
    locate(source, &mut drafts, end.directory.start)?;
    Ok(drafts.into_iter().map(|draft| draft.member).collect())
}

/// Finds the last end record; it must end where the archive does.
fn find_end(source: Source<'_>) -> Result<End, ZipError> {
    let earliest = source.length().saturating_sub(wire::END_LENGTH + u64::from(u16::MAX));
    let last = source.slice(earliest..source.length()).ok_or(ZipError::NoEnd)?;
    let last = last.bytes().map_err(ZipError::Read)?;
    let signature = wire::END.to_le_bytes();
    let found = last.windows(4).rposition(|window| window == signature).ok_or(ZipError::NoEnd)?;
    let at = earliest + found as u64;
    let parse = || {
        let mut fields = Fields(&last[found + 4..]);
        let disks = (fields.u16()?, fields.u16()?);
        let entries = (fields.u16()?, fields.u16()?);
        let (size, offset) = (fields.u32()?, fields.u32()?);
        let comment = usize::from(fields.u16()?);
        (fields.0.len() == comment).then_some((disks, entries, size, offset))
    };
    let (disks, entries, size, offset) = parse().ok_or(ZipError::NoEnd)?;
    if let Some(end) = find_end64(source, at, (entries.1, size, offset))? {
        return Ok(end);
    }
    if disks != (0, 0) || entries.0 != entries.1 {
        return Err(ZipError::MultiPart);
    }
    let directory = directory(u64::from(offset), u64::from(size), at)?;
    Ok(End { entries: u64::from(entries.1), directory })
}

/// Reads the zip64 end record if there is one. What the short record says must agree or stand for "see there".
fn find_end64(source: Source<'_>, end: u64, short: (u16, u32, u32)) -> Result<Option<End>, ZipError> {
    let fault = || ZipError::Zip64("its end".to_owned());
    let Some(locator_at) = end.checked_sub(wire::LOCATOR64_LENGTH) else {
        return Ok(None);
    };
    let locator = source.slice(locator_at..end).ok_or_else(fault)?.bytes().map_err(ZipError::Read)?;
    let mut fields = Fields(&locator);
    if fields.signature(wire::LOCATOR64).is_none() {
        return Ok(None);
    }
    let mut place = || Some((fields.u32()?, fields.u64()?, fields.u32()?));
    let (disk, at, disks) = place().ok_or_else(fault)?;
    let record = source.slice(at..locator_at).ok_or_else(fault)?;
    let length = record.length();
    let record = record.first(wire::END64_LENGTH).bytes().map_err(ZipError::Read)?;
    let parse = || {
        let mut fields = Fields(&record);
        fields.signature(wire::END64)?;
        // What is counted starts behind the length itself.
        (fields.u64()?.checked_add(12)? == length).then_some(())?;
        let _versions = fields.u32()?;
        let own_disks = (fields.u32()?, fields.u32()?);
        let entries = (fields.u64()?, fields.u64()?);
        let (size, offset) = (fields.u64()?, fields.u64()?);
        let one_disk = disk == 0 && disks <= 1 && own_disks == (0, 0) && entries.0 == entries.1;
        one_disk.then_some((entries.1, size, offset))
    };
    let (entries, size, offset) = parse().ok_or_else(fault)?;
    let agrees = (short.0 == u16::MAX || u64::from(short.0) == entries)
        && (short.1 == u32::MAX || u64::from(short.1) == size)
        && (short.2 == u32::MAX || u64::from(short.2) == offset);
    if !agrees {
        return Err(fault());
    }
    Ok(Some(End { entries, directory: directory(offset, size, at)? }))
}

/// The central directory, which must end where the end records begin.
fn directory(offset: u64, size: u64, end: u64) -> Result<std::ops::Range<u64>, ZipError> {
    if offset.checked_add(size) == Some(end) { Ok(offset..end) } else { Err(ZipError::Directory) }
}

fn draft(central: Central<'_>) -> Result<Draft<'_>, ZipError> {
    let name = name(&central)?;
    let path: ArchivePath = name.parse()?;
    if central.disk != 0 && central.disk != u16::MAX {
        return Err(ZipError::MultiPart);
    }
    if central.flags & (wire::FLAG_ENCRYPTED | wire::FLAG_STRONG | wire::FLAG_MASKED) != 0 {
        return Err(ZipError::Encrypted(path));
    }
    let method = Method::from_number(central.method).filter(|_| central.flags & wire::FLAG_PATCH == 0);
    let method = method.ok_or_else(|| ZipError::Method { path: path.clone(), number: central.method })?;
    let (size, compressed_size, offset) = long_sizes(&central, &path)?;
    let unix_mode = Some(central.external >> 16).filter(|&mode| mode != 0);
    let kind = match unix_mode.unwrap_or(0) & 0o170_000 {
        _ if name.ends_with('/') => MemberKind::Directory,
        // A mode without a type, or the directory type on what is named as a file: as Python reads it, a file.
        0 | 0o100_000 | 0o040_000 => MemberKind::File,
        0o120_000 => MemberKind::Symlink,
        _ => return Err(ZipError::Special { path, mode: unix_mode.unwrap_or(0) }),
    };
    if kind == MemberKind::Directory && size != 0 {
        return Err(ZipError::DirectoryContents(path));
    }
    let modified = modified(&central);
    let crc32 = central.crc32;
    let member = Member { path, kind, method, crc32, compressed_size, size, unix_mode, modified, data: 0 };
    Ok(Draft { member, central, offset })
}

/// Decodes the name: UTF-8 where it is flagged, else Info-ZIP's Unicode field, else code page 437.
fn name(central: &Central<'_>) -> Result<String, ZipError> {
    let lossy = || String::from_utf8_lossy(central.name).into_owned();
    let plain = if central.flags & wire::FLAG_UTF8 != 0 {
        std::str::from_utf8(central.name).map_err(|_| ZipError::Encoding(lossy()))?.to_owned()
    } else {
        unicode_name(central.extra, central.name)
            .map_err(|()| ZipError::Extra(lossy()))?
            .unwrap_or_else(|| decode_cp437(central.name))
    };
    // MS-DOS, OS/2, NTFS, VFAT: there a backslash cannot be part of a name.
    Ok(if matches!(central.host, 0 | 6 | 10 | 14) { plain.replace('\\', "/") } else { plain })
}

/// The name of the Unicode path field (0x7075), if it is there and about this name. A plain ASCII name needs none:
/// another one in the field is a second opinion, and refused.
fn unicode_name(extra: &[u8], name: &[u8]) -> Result<Option<String>, ()> {
    let Some(field) = wire::extra_field(extra, 0x7075)? else {
        return Ok(None);
    };
    let mut fields = Fields(field);
    let (Some(1), Some(sum)) = (fields.u8(), fields.u32()) else {
        return Ok(None);
    };
    if sum != crc::of(name) {
        return Ok(None);
    }
    let unicode = std::str::from_utf8(fields.0).map_err(|_| ())?;
    if name.is_ascii() && name != unicode.as_bytes() { Err(()) } else { Ok(Some(unicode.to_owned())) }
}

/// Size, packed size and offset, with the zip64 field where the short ones stand for it.
fn long_sizes(central: &Central<'_>, path: &ArchivePath) -> Result<(u64, u64, u64), ZipError> {
    let fault = || ZipError::Zip64(format!("member `{path}`"));
    let field = wire::extra_field(central.extra, 1).map_err(|()| ZipError::Extra(path.to_string()))?;
    let mut fields = Fields(field.unwrap_or_default());
    let mut long = |short: u32| match (short, field) {
        (u32::MAX, Some(_)) => fields.u64().ok_or_else(fault),
        (short, _) => Ok(u64::from(short)),
    };
    let sizes = (long(central.size)?, long(central.compressed_size)?, long(central.offset)?);
    if central.disk == u16::MAX && fields.u32() != Some(0) {
        return Err(fault());
    }
    // A field that is not asked for is a second opinion.
    if fields.0.is_empty() { Ok(sizes) } else { Err(fault()) }
}

fn modified(central: &Central<'_>) -> Option<Timestamp> {
    // Info-ZIP's extended timestamp is in UTC.
    if let Ok(Some(field)) = wire::extra_field(central.extra, 0x5455) {
        let mut fields = Fields(field);
        if let (Some(flags), Some(time)) = (fields.u8(), fields.u32())
            && flags & 1 != 0
            && i32::try_from(time).is_ok()
        {
            return Some(Timestamp::from_seconds(u64::from(time)));
        }
    }
    let (date, time) = (u64::from(central.date), u64::from(central.time));
    let (year, month, day) = (1980 + (date >> 9), date >> 5 & 15, date & 31);
    if !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    // Days since 1970-01-01; years are taken to begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(Timestamp::from_seconds(
        days * 86_400 + (time >> 11) * 3_600 + (time >> 5 & 63) * 60 + (time & 31) * 2,
    ))
}

/// Reads every local header, and sees that members and directory cover the archive without overlap or gap.
fn locate(source: Source<'_>, drafts: &mut [Draft<'_>], directory: u64) -> Result<(), ZipError> {
    let mut order: Vec<usize> = (0..drafts.len()).collect();
    order.sort_by_key(|&index| drafts[index].offset);
    let mut position = 0;
    for (place, &index) in order.iter().enumerate() {
        let next = order.get(place + 1).map_or(directory, |&next| drafts[next].offset);
        let next = Some(next).filter(|&next| next <= directory);
        let draft = &drafts[index];
        let path = || draft.member.path.clone();
        let start = draft.offset;
        let rest = source.slice(start..directory).filter(|rest| rest.length() > 0);
        let rest = rest.ok_or_else(|| ZipError::Local(path()))?;
        if start > position {
            return Err(ZipError::Gap { offset: position, length: start - position });
        }
        let header = local_header(rest, &draft.central).map_err(ZipError::Read)?;
        let mut fields = Fields(&header);
        let local = Local::take(&mut fields).ok_or_else(|| ZipError::Local(path()))?;
        compare(draft, &local)?;
        let data = start + (header.len() - fields.0.len()) as u64;
        let end = data.checked_add(draft.member.compressed_size);
        let end = end.filter(|&end| end <= directory).ok_or_else(|| ZipError::Overlap { path: path() })?;
        // An offset beyond the directory is the next member's fault, and found there.
        position = next.unwrap_or(end);
        let between = source.slice(end..position).ok_or_else(|| ZipError::Overlap { path: path() })?;
        let described = local.flags & wire::FLAG_DESCRIPTOR != 0 && is_descriptor(between, &draft.member)?;
        if between.length() > 0 && !described {
            return Err(ZipError::Gap { offset: end, length: between.length() });
        }
        drafts[index].member.data = data;
    }
    if position < directory {
        return Err(ZipError::Gap { offset: position, length: directory - position });
    }
    Ok(())
}

/// As much of what starts with a local header as has all of it, if it is all there.
fn local_header<'a>(rest: Source<'a>, central: &Central<'_>) -> io::Result<Cow<'a, [u8]>> {
    // Some fields are longer in the local header than in the central one; most are not by more than this.
    const MORE: u64 = 32;
    let likely = wire::LOCAL_LENGTH + (central.name.len() + central.extra.len()) as u64 + MORE;
    let header = rest.first(likely).bytes()?;
    match Local::length(Fields(&header)) {
        Some(length) if length > likely => rest.first(length).bytes(),
        _ => Ok(header),
    }
}

/// Compares the two headers of a member. Sizes that were not known when the local one was written are zero there.
fn compare(draft: &Draft<'_>, local: &Local<'_>) -> Result<(), ZipError> {
    let Draft { member, central, .. } = draft;
    let mismatch = |field| Err(ZipError::Mismatch { path: member.path.clone(), field });
    let extra_fault = || ZipError::Extra(member.path.to_string());
    if local.name != central.name || (local.flags ^ central.flags) & wire::FLAG_UTF8 != 0 {
        return mismatch("name");
    }
    if central.flags & wire::FLAG_UTF8 == 0
        && let Some(local_name) = unicode_name(local.extra, local.name).map_err(|()| extra_fault())?
    {
        let central_name = unicode_name(central.extra, central.name).map_err(|()| extra_fault())?;
        if central_name.is_some_and(|central_name| central_name != local_name) {
            return mismatch("name");
        }
    }
    if local.method != central.method {
        return mismatch("method");
    }
    if (local.flags ^ central.flags) & wire::FLAG_ENCRYPTED != 0 {
        return mismatch("encryption");
    }
    let mut sizes = (u64::from(local.size), u64::from(local.compressed_size));
    if local.size == u32::MAX || local.compressed_size == u32::MAX {
        let field = wire::extra_field(local.extra, 1).map_err(|()| extra_fault())?;
        if let Some(field) = field {
            let mut fields = Fields(field);
            let (Some(size), Some(compressed_size)) = (fields.u64(), fields.u64()) else {
                return Err(ZipError::Zip64(format!("member `{}`", member.path)));
            };
            sizes = (size, compressed_size);
        }
    }
    let later = local.flags & wire::FLAG_DESCRIPTOR != 0;
    let agrees = |local: u64, central: u64| local == central || (later && local == 0);
    if !agrees(sizes.0, member.size) {
        return mismatch("size");
    }
    if !agrees(sizes.1, member.compressed_size) {
        return mismatch("packed size");
    }
    if !agrees(u64::from(local.crc32), u64::from(member.crc32)) {
        return mismatch("checksum");
    }
    Ok(())
}

/// Tells whether `bytes` are a data descriptor (APPNOTE 4.3.9) of this member, in one of its four forms.
fn is_descriptor(source: Source<'_>, member: &Member) -> Result<bool, ZipError> {
    const LONGEST: u64 = 24;
    let bytes = source.first(LONGEST + 1).bytes().map_err(ZipError::Read)?;
    let body = match bytes.len() {
        16 | 24 if bytes.starts_with(&wire::DESCRIPTOR.to_le_bytes()) => &bytes[4..],
        12 | 20 => &bytes,
        _ => return Ok(false),
    };
    let mut fields = Fields(body);
    if fields.u32() != Some(member.crc32) {
        return Ok(false);
    }
    let mut size = || if body.len() == 20 { fields.u64() } else { fields.u32().map(u64::from) };
    Ok(size() == Some(member.compressed_size) && size() == Some(member.size))
}

#[cfg(test)]
mod tests;
