//! Wheels, and the zip files they are.

use std::io::{Read as _, Write as _};

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

use crate::tree::Artifact;

/// A wheel in the making; what is not said is right.
#[derive(Debug, Clone)]
pub struct Wheel {
    name: String,
    version: String,
    tag: String,
    metadata: Option<String>,
    requires: Vec<String>,
    files: Vec<(String, Vec<u8>)>,
    unlisted: Vec<(String, Vec<u8>)>,
    record: Option<String>,
    without: Vec<String>,
}

impl Wheel {
    /// A pure wheel without files.
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            tag: "py3-none-any".to_owned(),
            metadata: None,
            requires: Vec::new(),
            files: Vec::new(),
            unlisted: Vec::new(),
            record: None,
            without: Vec::new(),
        }
    }

    /// Sets the tag, compressed sets of tags included.
    #[must_use]
    pub fn tag(mut self, tag: &str) -> Self {
        tag.clone_into(&mut self.tag);
        self
    }

    /// Adds a Requires-Dist line.
    #[must_use]
    pub fn requires(mut self, requirement: &str) -> Self {
        self.requires.push(requirement.to_owned());
        self
    }

    /// Adds a member.
    #[must_use]
    pub fn file(mut self, path: &str, contents: impl AsRef<[u8]>) -> Self {
        self.files.push((path.to_owned(), contents.as_ref().to_vec()));
        self
    }

    /// Adds a member of the `.dist-info` folder, which [`dist_info`](Self::dist_info) names.
    #[must_use]
    pub fn dist_info_file(self, name: &str, contents: impl AsRef<[u8]>) -> Self {
        let path = format!("{}/{name}", self.dist_info());
        self.file(&path, contents)
    }

    /// Adds a member that RECORD does not list.
    #[must_use]
    pub fn unlisted(mut self, path: &str, contents: impl AsRef<[u8]>) -> Self {
        self.unlisted.push((path.to_owned(), contents.as_ref().to_vec()));
        self
    }

    /// Sets the text of METADATA.
    #[must_use]
    pub fn metadata(mut self, text: &str) -> Self {
        self.metadata = Some(text.to_owned());
        self
    }

    /// Sets the text of RECORD.
    #[must_use]
    pub fn record(mut self, text: &str) -> Self {
        self.record = Some(text.to_owned());
        self
    }

    /// Leaves a member of the `.dist-info` folder out, with its line in RECORD.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.without.push(format!("{}/{name}", self.dist_info()));
        self
    }

    /// The name of the `.dist-info` folder.
    pub fn dist_info(&self) -> String {
        format!("{}-{}.dist-info", self.stem(), self.version)
    }

    fn stem(&self) -> String {
        self.name.replace(['-', '.'], "_")
    }

    /// The members in the order in which they are written, RECORD last.
    pub fn members(&self) -> Vec<(String, Vec<u8>)> {
        let dist_info = self.dist_info();
        let mut members = self.files.clone();
        members.push((format!("{dist_info}/METADATA"), self.metadata_text().into_bytes()));
        members.push((format!("{dist_info}/WHEEL"), self.wheel_text().into_bytes()));
        members.retain(|(path, _)| !self.without.contains(path));
        let record = format!("{dist_info}/RECORD");
        let mut lines: String = members
            .iter()
            .map(|(path, data)| format!("{path},sha256={},{}\n", urlsafe_sha256(data), data.len()))
            .collect();
        lines.push_str(&format!("{record},,\n"));
        members.extend(self.unlisted.iter().cloned());
        if !self.without.contains(&record) {
            members.push((record, self.record.clone().unwrap_or(lines).into_bytes()));
        }
        members
    }

    /// The METADATA file, for an index that serves it by itself.
    pub fn metadata_text(&self) -> String {
        if let Some(text) = &self.metadata {
            return text.clone();
        }
        let requires: String = self.requires.iter().map(|line| format!("Requires-Dist: {line}\n")).collect();
        format!("Metadata-Version: 2.1\nName: {}\nVersion: {}\n{requires}", self.name, self.version)
    }

    fn wheel_text(&self) -> String {
        let pure = self.tag.ends_with("-any");
        let mut text = format!("Wheel-Version: 1.0\nGenerator: hwb-testkit\nRoot-Is-Purelib: {pure}\n");
        let parts: Vec<Vec<&str>> = self.tag.split('-').map(|set| set.split('.').collect()).collect();
        let [pythons, abis, platforms] = parts.as_slice() else { panic!("{} is not a tag", self.tag) };
        for python in pythons {
            for abi in abis {
                for platform in platforms {
                    text.push_str(&format!("Tag: {python}-{abi}-{platform}\n"));
                }
            }
        }
        text
    }

    /// The wheel's file name.
    pub fn file_name(&self) -> String {
        format!("{}-{}-{}.whl", self.stem(), self.version, self.tag)
    }

    /// Writes the wheel.
    pub fn build(&self) -> Artifact {
        Artifact::new(self.file_name(), zip_members(&self.members()))
    }
}

/// One member of a zip file, with every word that its headers say about it.
#[derive(Debug, Clone)]
pub struct Member {
    /// The name in the central directory.
    pub name: Vec<u8>,
    /// The name in the local header.
    pub local_name: Vec<u8>,
    /// 0: stored, 8: deflated.
    pub method: u16,
    /// The general purpose flags.
    pub flags: u16,
    /// The checksum that the headers claim.
    pub crc32: u32,
    /// The uncompressed size that the headers claim.
    pub size: u32,
    /// The high half is the Unix mode.
    pub attributes: u32,
    /// The bytes as they stand in the file.
    pub packed: Vec<u8>,
}

impl Member {
    /// A regular file, deflated.
    pub fn deflated(name: &str, contents: &[u8]) -> Self {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(contents).expect("writing to memory succeeds");
        let packed = encoder.finish().expect("writing to memory succeeds");
        Self { method: 8, packed, ..Self::stored(name, contents) }
    }

    /// A regular file, stored.
    pub fn stored(name: &str, contents: &[u8]) -> Self {
        let mut crc = Crc::new();
        crc.update(contents);
        Self {
            name: name.as_bytes().to_vec(),
            local_name: name.as_bytes().to_vec(),
            method: 0,
            flags: 0x0800,
            crc32: crc.sum(),
            size: u32::try_from(contents.len()).expect("a member of a test is small"),
            attributes: 0o100_644 << 16,
            packed: contents.to_vec(),
        }
    }

    /// A symbolic link.
    pub fn link(name: &str, target: &str) -> Self {
        Self { attributes: 0o120_777 << 16, ..Self::stored(name, target.as_bytes()) }
    }
}

/// Writes a zip file of regular files, each deflated.
pub fn zip_members(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    zip(&members.iter().map(|(name, data)| Member::deflated(name, data)).collect::<Vec<_>>())
}

/// Writes a zip file of exactly these members, in this order, whatever their headers claim.
pub fn zip(members: &[Member]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut central = Vec::new();
    for member in members {
        let offset = length(out.len());
        out.extend_from_slice(b"PK\x03\x04");
        out.extend_from_slice(&20_u16.to_le_bytes());
        out.extend(common_header(member));
        out.extend_from_slice(&half(member.local_name.len()).to_le_bytes());
        out.extend_from_slice(&0_u16.to_le_bytes());
        out.extend_from_slice(&member.local_name);
        out.extend_from_slice(&member.packed);
        central.extend(central_header(member, offset));
    }
    let start = length(out.len());
    let entries = half(members.len());
    let size = length(central.len());
    out.extend(central);
    out.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    out.extend_from_slice(&entries.to_le_bytes());
    out.extend_from_slice(&entries.to_le_bytes());
    out.extend_from_slice(&size.to_le_bytes());
    out.extend_from_slice(&start.to_le_bytes());
    out.extend_from_slice(&0_u16.to_le_bytes());
    out
}

/// The header of `member` in the central directory; its local header begins at `offset`.
pub fn central_header(member: &Member, offset: u32) -> Vec<u8> {
    let mut out = b"PK\x01\x02".to_vec();
    out.extend_from_slice(&[20, 3]);
    out.extend_from_slice(&20_u16.to_le_bytes());
    out.extend(common_header(member));
    out.extend_from_slice(&half(member.name.len()).to_le_bytes());
    // No extra field, no comment, disk 0, no internal attributes.
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&member.attributes.to_le_bytes());
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&member.name);
    out
}

/// From the flags to the uncompressed size: the same in both headers. The time is 2023-11-14 22:13:20.
fn common_header(member: &Member) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&member.flags.to_le_bytes());
    out.extend_from_slice(&member.method.to_le_bytes());
    out.extend_from_slice(&((22_u16 << 11) | (13 << 5) | 10).to_le_bytes());
    out.extend_from_slice(&((43_u16 << 9) | (11 << 5) | 14).to_le_bytes());
    out.extend_from_slice(&member.crc32.to_le_bytes());
    out.extend_from_slice(&length(member.packed.len()).to_le_bytes());
    out.extend_from_slice(&member.size.to_le_bytes());
    out
}

fn length(value: usize) -> u32 {
    u32::try_from(value).expect("a zip of a test is small")
}

fn half(value: usize) -> u16 {
    u16::try_from(value).expect("a zip of a test has few members and short names")
}

/// Reads the first member whose name ends in `ending`; `None` where there is none or the file is no zip.
pub fn read_member(zip: &[u8], ending: &str) -> Option<Vec<u8>> {
    let end = zip.windows(4).rposition(|window| window == b"PK\x05\x06")?;
    let number = |at: usize, width: usize| -> Option<usize> {
        let bytes = zip.get(at..at + width)?;
        Some(bytes.iter().rev().fold(0, |value, byte| (value << 8) | usize::from(*byte)))
    };
    let mut at = number(end + 16, 4)?;
    for _ in 0..number(end + 10, 2)? {
        let (method, packed) = (number(at + 10, 2)?, number(at + 20, 4)?);
        let (name, extra, comment) = (number(at + 28, 2)?, number(at + 30, 2)?, number(at + 32, 2)?);
        if zip.get(at + 46..at + 46 + name)?.ends_with(ending.as_bytes()) {
            let local = number(at + 42, 4)?;
            let start = local + 30 + number(local + 26, 2)? + number(local + 28, 2)?;
            let data = zip.get(start..start + packed)?;
            return if method == 0 { Some(data.to_vec()) } else { inflate(data) };
        }
        at += 46 + name + extra + comment;
    }
    None
}

fn inflate(data: &[u8]) -> Option<Vec<u8>> {
    let mut contents = Vec::new();
    flate2::read::DeflateDecoder::new(data).read_to_end(&mut contents).ok()?;
    Some(contents)
}

/// The SHA-256 as RECORD has it: base64 for URLs, without padding.
pub fn urlsafe_sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    base64(&sha2::Sha256::digest(bytes), b'-', b'_')
}

/// Base64 without padding; `plus` and `slash` are the last two digits.
pub(crate) fn base64(bytes: &[u8], plus: u8, slash: u8) -> String {
    let letters = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain([plus, slash]);
    let digits: Vec<char> = letters.map(char::from).collect();
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let group = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        for position in 0..=chunk.len() {
            let digit = (group >> (18 - 6 * position)) & 63;
            text.push(digits[usize::try_from(digit).expect("six bits fit")]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Wheel, base64, read_member, urlsafe_sha256};

    #[test]
    fn base64_is_as_python_has_it() {
        assert_eq!(base64(b"", b'+', b'/'), "");
        assert_eq!(base64(b"a", b'+', b'/'), "YQ");
        assert_eq!(base64(b"ab", b'+', b'/'), "YWI");
        assert_eq!(base64(b"\xff\xfe\xfd", b'-', b'_'), "__79");
        assert_eq!(urlsafe_sha256(b""), "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU");
    }

    #[test]
    fn a_member_is_found_again() {
        let wheel = Wheel::new("a", "1").file("m.py", "x = 1\n").build();
        assert_eq!(read_member(&wheel.bytes, "m.py").as_deref(), Some(b"x = 1\n".as_slice()));
        assert_eq!(read_member(&wheel.bytes, "absent"), None);
        assert_eq!(read_member(b"PK", "m.py"), None);
    }

    #[test]
    fn record_lists_everything_but_what_is_hidden() {
        let wheel = Wheel::new("a.b", "1").tag("py2.py3-none-any").file("m.py", "").unlisted("x", "");
        let members = wheel.members();
        let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["m.py", "a_b-1.dist-info/METADATA", "a_b-1.dist-info/WHEEL", "x", "a_b-1.dist-info/RECORD"]
        );
        assert_eq!(wheel.file_name(), "a_b-1-py2.py3-none-any.whl");
        assert!(String::from_utf8_lossy(&members[2].1).ends_with("Tag: py2-none-any\nTag: py3-none-any\n"));
        assert!(!String::from_utf8_lossy(&members[4].1).contains("\nx,"));
    }
}
