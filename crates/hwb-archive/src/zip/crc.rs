//! CRC-32 as zip archives have it.

/// Takes the CRC-32 of `bytes`.
pub(super) fn of(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}
