//! The same wheel, with every byte of its archive determined by its contents.

use hwb_archive::zip::{self, Member, Method, Packed, Writer, ZipError};
use hwb_ident::path::ParseArchivePathError;
use hwb_ident::{ArchivePath, Timestamp};

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

/// Writes a wheel anew: members by path, `.dist-info` after all others and `RECORD` last (PEP 427), one time, modes
/// 0644 and 0755, no directories, `RECORD` written afresh with SHA-256 and LF.
///
/// Contents are not touched, packed bytes neither where every installer reads them (stored, deflate); others are
/// packed anew. Signatures of the old `RECORD` are left out (PEP 815). Of a wheel that
/// [`check`](crate::check::check()) refuses nothing good comes.
///
/// # Errors
///
/// If a member cannot be read or written.
pub fn canonical(wheel: &Wheel<'_>, time: Timestamp) -> Result<Vec<u8>, WriteError> {
    let facts = wheel.facts()?;
    let dist_info = wheel.dist_info();
    let mut members: Vec<&Member> =
        wheel.files().filter(|member| !wheel.is_record_or_signature(&member.path)).collect();
    members.sort_by_key(|member| (member.path.strip_prefix(&dist_info).is_some(), &member.path));

    let mut record = Record::default();
    let mut writer = Writer::new(Vec::new(), time);
    for member in members {
        write_member(&mut writer, wheel, member)?;
        let hash = facts.get(&member.path).map(|facts| Hash::sha256(&facts.digest));
        record.rows.push(Row { path: member.path.clone(), hash, size: Some(member.size) });
    }
    let path: ArchivePath = wheel.dist_info_parts().path("RECORD").parse().map_err(WriteError::Record)?;
    record.rows.push(Row { path: path.clone(), hash: None, size: None });
    writer.deflate(&path, hwb_archive::Executable::No, record.to_string().as_bytes())?;
    Ok(writer.finish()?)
}

fn write_member(writer: &mut Writer<Vec<u8>>, wheel: &Wheel<'_>, member: &Member) -> Result<(), WriteError> {
    let Member { path, method, crc32, size, .. } = member;
    let executable = executable(member);
    match method {
        Method::Stored | Method::Deflate => {
            let raw = wheel.archive().raw(member);
            writer.raw(path, executable, Packed { method: *method, crc32: *crc32, size: *size, raw })?;
        }
        Method::Bzip2 | Method::Zstd => {
            writer.deflate(path, executable, &wheel.archive().read(member)?)?;
        }
    }
    Ok(())
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
            wheel.archive().raw(member).to_vec()
        };
        assert_eq!(raw(&before), raw(&after));
    }
}
