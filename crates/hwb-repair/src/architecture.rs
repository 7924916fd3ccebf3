//! The machines that wheels are made for.

use std::fmt;
use std::str::FromStr;

use hwb_wheel::elf::{Class, Order};

use crate::elf::Elf;

/// A machine, by the name that platform tags have for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Architecture {
    /// `x86_64`
    X86_64,
    /// `i686`
    I686,
    /// `aarch64`
    Aarch64,
    /// `armv7l`, with hardware floating point.
    Armv7l,
    /// `armv6l`, with hardware floating point; its files look like those of armv7l.
    Armv6l,
    /// `ppc64`
    Ppc64,
    /// `ppc64le`
    Ppc64le,
    /// `s390x`
    S390x,
    /// `riscv64`
    Riscv64,
    /// `loongarch64`
    Loongarch64,
}

/// A text that is the name of no machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no architecture that wheels are audited for")]
pub struct ParseArchitectureError(String);

impl Architecture {
    /// Every one.
    pub const ALL: [Self; 10] = [
        Self::X86_64,
        Self::I686,
        Self::Aarch64,
        Self::Armv7l,
        Self::Armv6l,
        Self::Ppc64,
        Self::Ppc64le,
        Self::S390x,
        Self::Riscv64,
        Self::Loongarch64,
    ];

    /// Its name in platform tags.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::I686 => "i686",
            Self::Aarch64 => "aarch64",
            Self::Armv7l => "armv7l",
            Self::Armv6l => "armv6l",
            Self::Ppc64 => "ppc64",
            Self::Ppc64le => "ppc64le",
            Self::S390x => "s390x",
            Self::Riscv64 => "riscv64",
            Self::Loongarch64 => "loongarch64",
        }
    }

    /// The machine that a file is for; `None` for one that has no platform tag.
    pub fn of(elf: &Elf<'_>) -> Option<Self> {
        /// `EF_ARM_EABI_VER5` with `EF_ARM_ABI_FLOAT_HARD`.
        const HARD_FLOAT: u32 = 0x0500_0400;
        Some(match (elf.head.machine, elf.head.class, elf.head.order) {
            (3, Class::Bits32, Order::Little) => Self::I686,
            (62, Class::Bits64, Order::Little) => Self::X86_64,
            (183, Class::Bits64, Order::Little) => Self::Aarch64,
            (40, Class::Bits32, Order::Little) if elf.flags & 0xff00_0400 == HARD_FLOAT => Self::Armv7l,
            (21, Class::Bits64, Order::Little) => Self::Ppc64le,
            (21, Class::Bits64, Order::Big) => Self::Ppc64,
            (22, Class::Bits64, Order::Big) => Self::S390x,
            (243, Class::Bits64, Order::Little) => Self::Riscv64,
            (258, Class::Bits64, Order::Little) => Self::Loongarch64,
            _ => return None,
        })
    }

    /// Whether a file of the machine `file` may be in a wheel for this one.
    pub fn admits(self, file: Self) -> bool {
        self == file || (self == Self::Armv6l && file == Self::Armv7l)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Architecture {
    type Err = ParseArchitectureError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|architecture| architecture.name() == text);
        found.ok_or_else(|| ParseArchitectureError(text.chars().take(100).collect()))
    }
}
