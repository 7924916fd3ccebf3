//! How much an archive may make of itself.

/// The most that is read out of one archive; beyond it the archive is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Members, directories and links included.
    pub entries: u64,
    /// Bytes of one member, unpacked.
    pub entry_bytes: u64,
    /// Bytes of all members together, unpacked.
    pub total_bytes: u64,
    /// Unpacked bytes for each byte of the archive, once [`Limits::RATIO_FLOOR`] is passed.
    pub ratio: u64,
}

impl Limits {
    /// Below this many unpacked bytes no ratio is suspicious: a small archive of zeros is harmless.
    pub const RATIO_FLOOR: u64 = 64 << 20;

    /// The most bytes that an archive of `packed` bytes may unpack to before its ratio is suspicious.
    pub(crate) fn by_ratio(&self, packed: u64) -> u64 {
        packed.saturating_mul(self.ratio).max(Self::RATIO_FLOOR)
    }
}

impl Default for Limits {
    /// Room for every real source distribution and wheel, and for no bomb.
    fn default() -> Self {
        Self { entries: 200_000, entry_bytes: 4 << 30, total_bytes: 4 << 30, ratio: 200 }
    }
}
