//! The 512-byte header of a member, as POSIX.1-1988 (ustar), V7 and GNU lay it out.

use std::ops::Range;

/// The unit of a tar archive.
pub(crate) const BLOCK: usize = 512;

pub(crate) const NAME: Range<usize> = 0..100;
pub(crate) const MODE: Range<usize> = 100..108;
pub(crate) const UID: Range<usize> = 108..116;
pub(crate) const GID: Range<usize> = 116..124;
pub(crate) const SIZE: Range<usize> = 124..136;
pub(crate) const MTIME: Range<usize> = 136..148;
pub(crate) const CHECKSUM: Range<usize> = 148..156;
pub(crate) const TYPE: usize = 156;
pub(crate) const LINK: Range<usize> = 157..257;
pub(crate) const MAGIC: Range<usize> = 257..265;
pub(crate) const DEVICE_MAJOR: Range<usize> = 329..337;
pub(crate) const DEVICE_MINOR: Range<usize> = 337..345;
pub(crate) const PREFIX: Range<usize> = 345..500;

/// One header, not yet believed.
#[derive(Debug, Clone)]
pub(crate) struct Header(pub(crate) [u8; BLOCK]);

/// Tells whether the first block of `head` is a header with a right checksum.
pub(crate) fn is_header(head: &[u8]) -> bool {
    head.first_chunk::<BLOCK>().is_some_and(|block| Header(*block).has_checksum())
}

impl Header {
    /// Compares the stored checksum. Some old writers summed signed bytes; that counts too.
    pub(crate) fn has_checksum(&self) -> bool {
        let fields = self.0.iter().enumerate();
        let summed = fields.map(|(at, &byte)| if CHECKSUM.contains(&at) { b' ' } else { byte });
        let (unsigned, signed) = summed.fold((0_i64, 0_i64), |(unsigned, signed), byte| {
            (unsigned + i64::from(byte), signed + i64::from(byte.cast_signed()))
        });
        let stored = &self.0[CHECKSUM];
        // A blank field is no sum, not even of a block that adds up to nothing.
        stored.iter().any(u8::is_ascii_digit)
            && number(stored)
                .and_then(|stored| i64::try_from(stored).ok())
                .is_some_and(|stored| stored == unsigned || stored == signed)
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.0.iter().all(|&byte| byte == 0)
    }

    pub(crate) const fn kind(&self) -> u8 {
        self.0[TYPE]
    }

    /// `None` if the field is no number that fits.
    pub(crate) fn number(&self, field: Range<usize>) -> Option<u64> {
        number(&self.0[field])
    }

    /// `None` if the field is no number that fits; GNU writes times before 1970 as negative ones.
    pub(crate) fn signed(&self, field: Range<usize>) -> Option<i64> {
        let field = &self.0[field];
        let Some((0xff, rest)) = field.split_first() else { return i64::try_from(number(field)?).ok() };
        rest.iter().try_fold(-1_i64, |value, &byte| value.checked_mul(256)?.checked_add(i64::from(byte)))
    }

    /// The name, with its ustar prefix. In GNU's format the prefix holds times instead.
    pub(crate) fn name(&self) -> Vec<u8> {
        let name = text(&self.0[NAME]);
        let prefix = text(&self.0[PREFIX]);
        if prefix.is_empty() || !self.0[MAGIC].starts_with(b"ustar\0") {
            return name.to_vec();
        }
        [prefix, name].join(&b'/')
    }

    pub(crate) fn link(&self) -> &[u8] {
        text(&self.0[LINK])
    }
}

/// What stands before the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or(field)
}

/// Octal digits between blanks, or GNU's big-endian binary behind a set top bit; an empty field is zero.
pub(crate) fn number(field: &[u8]) -> Option<u64> {
    if let Some((&first, rest)) = field.split_first()
        && first & 0x80 != 0
    {
        // 0xff would start a negative number.
        let start = (first == 0x80).then_some(0_u64)?;
        return rest.iter().try_fold(start, |value, &byte| {
            value.checked_mul(256).and_then(|value| value.checked_add(u64::from(byte)))
        });
    }
    let digits = text(field).trim_ascii();
    digits.iter().try_fold(0_u64, |value, &byte| {
        let digit = char::from(byte).to_digit(8)?;
        value.checked_mul(8)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_kind_of_number() {
        for (field, expect) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"    644 ", Some(0o644)),
            (b"77777777777\0", Some(0o77_777_777_777)),
            (b"\0\0\0\0", Some(0)),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"12x\0", None),
            (b"8\0", None),
            (b"-1\0", None),
        ] {
            assert_eq!(number(field), expect, "{field:?}");
        }
    }

    #[test]
    fn reads_times_before_1970() {
        for (field, expect) in [
            (*b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (*b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0", Some(-256)),
            (*b"\xff\0\0\0\0\0\0\0\0\0\0\0", None),
            (*b"00000000012\0", Some(10)),
            (*b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            let mut header = Header([0; BLOCK]);
            header.0[MTIME].copy_from_slice(&field);
            assert_eq!(header.signed(MTIME), expect, "{field:?}");
        }
    }

    #[test]
    fn believes_either_checksum() {
        let mut header = ::tar::Header::new_gnu();
        header.set_path("caf\u{e9}").unwrap();
        header.set_size(0);
        header.set_cksum();
        assert!(is_header(header.as_bytes()));
        let mut signed = *header.as_bytes();
        let sum = signed
            .iter()
            .enumerate()
            .map(|(at, &byte)| i64::from(if CHECKSUM.contains(&at) { 32 } else { byte.cast_signed() }))
            .sum::<i64>();
        signed[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert!(is_header(&signed));
        signed[0] ^= 1;
        assert!(!is_header(&signed));
        assert!(!is_header(&[0; BLOCK]));
    }
}
