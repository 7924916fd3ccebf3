//! The same wheel, with every byte of its archive determined by its contents.

use std::io::Write;

use hwb_archive::Executable;
use hwb_archive::zip::{self, Level, Member, Method, Packed, Raw, Writer, ZipError};
use hwb_ident::path::ParseArchivePathError;
use hwb_ident::{ArchivePath, Digest, Timestamp};

use crate::record::{Hash, Record, Row};
use crate::wheel::{Wheel, executable};

/// Why a wheel was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A member cannot be read.
    #[error(transparent)]
    Read(#[from] ZipError),
    /// A member cannot be written.
    #[error(transparent)]
    Write(#[from] zip::WriteError),
    /// The `.dist-info` directory has no place for its `RECORD`.
    #[error("RECORD has no path in the wheel")]
    Record(#[source] ParseArchivePathError),
}

/// A file of a wheel that is to be written.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    /// Where it goes.
    pub path: ArchivePath,
    /// Whether it may be run.
    pub executable: Executable,
    /// Of its contents.
    pub digest: Digest,
    /// Its contents, packed.
    pub packed: Packed<'a>,
}

impl<'a> Part<'a> {
    /// A file of a wheel as it is. Packed bytes are not touched where every installer reads them (stored, deflate), and
    /// stay where they are until they are written; others are packed anew.
    ///
    /// # Errors
    ///
    /// If it has to be packed anew and does not unpack.
    pub fn kept(wheel: &Wheel<'a>, member: &Member, digest: Digest) -> Result<Self, ZipError> {
        let packed = match member.method {
            Method::Stored | Method::Deflate => Packed {
                method: member.method,
                crc32: member.crc32,
                size: member.size,
                raw: Raw::Kept(wheel.archive().raw(member)),
            },
            Method::Bzip2 | Method::Zstd => Packed::deflate(&wheel.archive().read(member)?, Level::default()),
        };
        Ok(Self { path: member.path.clone(), executable: executable(member), digest, packed })
    }
}

/// Writes a wheel anew, as [`assemble`] does. Contents are not touched. Signatures of the old `RECORD` are left out
/// (PEP 815). Of a wheel that [`check`](crate::check::check()) refuses nothing good comes.
///
/// # Errors
///
/// If a member cannot be read or written.
pub fn canonical(wheel: &Wheel<'_>, time: Timestamp) -> Result<Vec<u8>, WriteError> {
    let facts = wheel.facts()?;
    let members = wheel.files().filter(|member| !wheel.is_record_or_signature(&member.path));
    let known = members.filter_map(|member| Some((member, facts.get(&member.path)?)));
    let parts = known.map(|(member, facts)| Part::kept(wheel, member, facts.digest));
    let parts: Vec<Part<'_>> = parts.collect::<Result<_, _>>()?;
    // Room for all of it at once: what grows by doubling takes twice as much at the end.
    let packed =
        parts.iter().map(|part| part.packed.raw.length() + 2 * part.path.as_str().len() as u64 + OVERHEAD);
    let room = usize::try_from(packed.sum::<u64>()).unwrap_or(0);
    assemble(&wheel.dist_info(), parts, time, Vec::with_capacity(room))
}

/// As much of an archive belongs to each member besides its bytes and its names, and a row of `RECORD`.
const OVERHEAD: u64 = 256;

/// Writes a wheel to `out`, and gives that back: members by path, the `.dist-info` directory after all others and its `RECORD` last (PEP 427), one
/// time, modes 0644 and 0755, no directories, `RECORD` with SHA-256 and LF.
///
/// # Errors
///
/// If a member cannot be read or written.
pub fn assemble<W: Write>(
    dist_info: &str,
    mut parts: Vec<Part<'_>>,
    time: Timestamp,
    out: W,
) -> Result<W, WriteError> {
    let order = |part: &Part<'_>| (part.path.strip_prefix(dist_info).is_some(), part.path.clone());
    parts.sort_by_cached_key(order);
    let mut record = Record::default();
    let mut writer = Writer::new(out, time);
    for Part { path, executable, digest, packed } in parts {
        writer.raw(&path, executable, &packed)?;
        record.rows.push(Row { path, hash: Some(Hash::sha256(&digest)), size: Some(packed.size) });
    }
    let path: ArchivePath = format!("{dist_info}/RECORD").parse().map_err(WriteError::Record)?;
    record.rows.push(Row { path: path.clone(), hash: None, size: None });
    writer.deflate(&path, Executable::No, record.to_string().as_bytes())?;
    Ok(writer.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Expect, check};
    use crate::forge::Forge;

    fn rewrite(forge: &Forge) -> Vec<u8> {
        let bytes = forge.bytes();
        let wheel = Wheel::read(&forge.filename, &bytes).unwrap();
        check(&wheel, &Expect::default()).unwrap();
        canonical(&wheel, Timestamp::from_seconds(1_600_000_000)).unwrap()
    }

    #[test]
    fn bytes_follow_from_the_contents() {
        let forge = Forge::pure().file("b.py", "b").file("a-1.0.dist-info/sboms/x.json", "{}");
        let bytes = rewrite(&forge);
        let mut turned = forge.clone().record(|text| text.replace('\n', "\r\n"));
        turned.files.reverse();
        assert_ne!(forge.bytes(), turned.bytes());
        assert_eq!(bytes, rewrite(&turned));

        let again = Wheel::read(&forge.filename, &bytes).unwrap();
        check(&again, &Expect::default()).unwrap();
        assert_eq!(canonical(&again, Timestamp::from_seconds(1_600_000_000)).unwrap(), bytes);
        let paths: Vec<_> = again.archive().members().iter().map(|member| member.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "a/__init__.py",
                "b.py",
                "a-1.0.dist-info/METADATA",
                "a-1.0.dist-info/WHEEL",
                "a-1.0.dist-info/sboms/x.json",
                "a-1.0.dist-info/RECORD",
            ]
        );
        for member in again.archive().members() {
            assert_eq!(member.unix_mode, Some(0o100_644), "{}", member.path);
            assert_eq!(member.modified, Some(Timestamp::from_seconds(1_600_000_000)));
        }
    }

    #[test]
    fn signatures_are_left_out() {
        let bytes = rewrite(&Forge::pure().file("a-1.0.dist-info/RECORD.jws", "{}"));
        let wheel = Wheel::read("a-1.0-py3-none-any.whl", &bytes).unwrap();
        assert!(wheel.files().all(|member| !member.path.as_str().ends_with(".jws")));
        assert!(wheel.record().rows.iter().all(|row| !row.path.as_str().ends_with(".jws")));
    }

    #[test]
    fn packed_bytes_are_kept() {
        let forge = Forge::pure().file("a/zeros.bin", vec![0; 50_000]);
        let before = forge.bytes();
        let after = rewrite(&forge);
        let raw = |bytes: &[u8]| {
            let wheel = Wheel::read(&forge.filename, bytes).unwrap();
            let member = wheel.files().find(|member| member.path.as_str() == "a/zeros.bin").unwrap();
            wheel.archive().raw(member).bytes().unwrap().into_owned()
        };
        assert_eq!(raw(&before), raw(&after));
    }
}
