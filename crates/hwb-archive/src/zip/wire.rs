//! The records of a zip archive, field by field, as they lie in the file.

/// Reads little-endian fields from the front of some bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Takes `signature`, or nothing.
    pub(super) fn signature(&mut self, signature: u32) -> Option<()> {
        (self.u32()? == signature).then_some(())
    }
}

pub(super) const LOCAL: u32 = 0x0403_4b50;
pub(super) const CENTRAL: u32 = 0x0201_4b50;
pub(super) const DESCRIPTOR: u32 = 0x0807_4b50;
pub(super) const END: u32 = 0x0605_4b50;
pub(super) const END64: u32 = 0x0606_4b50;
pub(super) const LOCATOR64: u32 = 0x0706_4b50;

/// Length of an end record without its comment.
pub(super) const END_LENGTH: u64 = 22;
pub(super) const END64_LENGTH: u64 = 56;
pub(super) const LOCATOR64_LENGTH: u64 = 20;

/// General purpose flags.
pub(super) const FLAG_ENCRYPTED: u16 = 1;
pub(super) const FLAG_DESCRIPTOR: u16 = 1 << 3;
pub(super) const FLAG_PATCH: u16 = 1 << 5;
pub(super) const FLAG_STRONG: u16 = 1 << 6;
pub(super) const FLAG_UTF8: u16 = 1 << 11;
pub(super) const FLAG_MASKED: u16 = 1 << 13;

/// A central directory header; its sizes and offset may stand for "see the zip64 field".
#[derive(Debug)]
pub(super) struct Central<'a> {
    pub(super) host: u8,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) time: u16,
    pub(super) date: u16,
    pub(super) crc32: u32,
    pub(super) compressed_size: u32,
    pub(super) size: u32,
    pub(super) name: &'a [u8],
    pub(super) extra: &'a [u8],
    pub(super) disk: u16,
    pub(super) external: u32,
    pub(super) offset: u32,
}

impl<'a> Central<'a> {
    /// Takes one header off the front; `None` if there is none, or not all of it.
    pub(super) fn take(fields: &mut Fields<'a>) -> Option<Self> {
        fields.signature(CENTRAL)?;
        let _made_by_version = fields.u8()?;
        let host = fields.u8()?;
        let _needed_version = fields.u16()?;
        let (flags, method) = (fields.u16()?, fields.u16()?);
        let (time, date, crc32) = (fields.u16()?, fields.u16()?, fields.u32()?);
        let (compressed_size, size) = (fields.u32()?, fields.u32()?);
        let lengths = [fields.u16()?, fields.u16()?, fields.u16()?].map(usize::from);
        let disk = fields.u16()?;
        let _internal_attributes = fields.u16()?;
        let (external, offset) = (fields.u32()?, fields.u32()?);
        let (name, extra) = (fields.bytes(lengths[0])?, fields.bytes(lengths[1])?);
        let _comment = fields.bytes(lengths[2])?;
        Some(Self {
            host,
            flags,
            method,
            time,
            date,
            crc32,
            compressed_size,
            size,
            name,
            extra,
            disk,
            external,
            offset,
        })
    }
}

/// The length of a local header without its name and its extra fields.
pub(super) const LOCAL_LENGTH: u64 = 30;

/// A local header.
#[derive(Debug)]
pub(super) struct Local<'a> {
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) crc32: u32,
    pub(super) compressed_size: u32,
    pub(super) size: u32,
    pub(super) name: &'a [u8],
    pub(super) extra: &'a [u8],
}

impl<'a> Local<'a> {
    /// How long the header at the front is; `None` if that cannot be seen.
    pub(super) fn length(mut fields: Fields<'_>) -> Option<u64> {
        let _before = fields.bytes(26)?;
        Some(LOCAL_LENGTH + u64::from(fields.u16()?) + u64::from(fields.u16()?))
    }

    /// Takes one header off the front; `None` if there is none, or not all of it.
    pub(super) fn take(fields: &mut Fields<'a>) -> Option<Self> {
        fields.signature(LOCAL)?;
        let _needed_version = fields.u16()?;
        let (flags, method) = (fields.u16()?, fields.u16()?);
        let _time_and_date = fields.u32()?;
        let (crc32, compressed_size, size) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let lengths = [fields.u16()?, fields.u16()?].map(usize::from);
        let (name, extra) = (fields.bytes(lengths[0])?, fields.bytes(lengths[1])?);
        Some(Self { flags, method, crc32, compressed_size, size, name, extra })
    }
}

/// The extra field with this number, of which there must be at most one; `Err` if the fields do not parse.
///
/// What is too short to be a field is padding, which some writers leave behind.
pub(super) fn extra_field(extra: &[u8], wanted: u16) -> Result<Option<&[u8]>, ()> {
    let mut fields = Fields(extra);
    let mut found = None;
    while fields.0.len() >= 4 {
        let (Some(number), Some(length)) = (fields.u16(), fields.u16()) else {
            return Err(());
        };
        let value = fields.bytes(usize::from(length)).ok_or(())?;
        if number == wanted && found.replace(value).is_some() {
            return Err(());
        }
    }
    Ok(found)
}
