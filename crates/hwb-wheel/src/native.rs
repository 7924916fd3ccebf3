//! Native code, told by its first bytes.

use std::fmt;

use crate::elf::{self, Elf};

/// Native code in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Native {
    /// In which format.
    pub format: NativeFormat,
    /// Whether the wheel that carries it can run on more than one platform.
    pub tie: Tie,
    /// The platform tag that such a wheel deserves, where one is known.
    pub platform_tag: Option<&'static str>,
}

/// A format of native code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NativeFormat {
    /// Linux and most other systems.
    Elf,
    /// macOS.
    MachO,
    /// Windows.
    Pe,
}

/// What a file of native code means for the wheel that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// A program or library of one platform: the wheel is of that platform.
    Platform,
    /// Data as far as Python goes: an object file, a program for a machine without Python (BPF), a Windows launcher,
    /// a .NET assembly. Real `any` wheels carry these.
    Data,
}

impl fmt::Display for NativeFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Elf => "ELF",
            Self::MachO => "Mach-O",
            Self::Pe => "PE",
        })
    }
}

impl Native {
    /// Looks at a file; `None` if it holds no native code.
    pub fn of(contents: &[u8]) -> Option<Self> {
        elf(contents).or_else(|| mach_o(contents)).or_else(|| pe(contents))
    }
}

fn elf(contents: &[u8]) -> Option<Native> {
    let elf = Elf::parse(contents)?;
    let platform_tag = elf.platform_tag();
    let is_tied = elf.kind == elf::Kind::Loadable && platform_tag.is_some();
    let tie = if is_tied { Tie::Platform } else { Tie::Data };
    Some(Native { format: NativeFormat::Elf, tie, platform_tag })
}

fn mach_o(contents: &[u8]) -> Option<Native> {
    let (magic, rest) = contents.split_first_chunk::<4>()?;
    let word = |bytes: &[u8; 4], big: bool| {
        if big { u32::from_be_bytes(*bytes) } else { u32::from_le_bytes(*bytes) }
    };
    let (processor, rest) = rest.split_first_chunk::<4>()?;
    let tagged = |processor: u32| match processor {
        0x0100_0007 => Some("macosx_10_9_x86_64"),
        0x0100_000c => Some("macosx_11_0_arm64"),
        _ => None,
    };
    let (platform_tag, kind) = match u32::from_be_bytes(*magic) {
        0xfeed_face | 0xfeed_facf => {
            (tagged(word(processor, true)), word(rest.get(4..)?.first_chunk()?, true))
        }
        0xcefa_edfe | 0xcffa_edfe => {
            (tagged(word(processor, false)), word(rest.get(4..)?.first_chunk()?, false))
        }
        // Java classes begin alike; what counts architectures here is their version there, and never this small.
        0xcafe_babe | 0xcafe_babf if (1..20).contains(&word(processor, true)) => {
            (Some("macosx_11_0_universal2"), 6)
        }
        _ => return None,
    };
    // MH_OBJECT is 1.
    let tie = if kind == 1 { Tie::Data } else { Tie::Platform };
    Some(Native { format: NativeFormat::MachO, tie, platform_tag })
}

fn pe(contents: &[u8]) -> Option<Native> {
    const IS_LIBRARY: u16 = 0x2000;
    let half = |at: usize| contents.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes));
    let word = |at: usize| contents.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    if !contents.starts_with(b"MZ") {
        return None;
    }
    let header = usize::try_from(word(0x3c)?).ok()?;
    if contents.get(header..)?.get(..4)? != b"PE\0\0" {
        return None;
    }
    let platform_tag = match half(header + 4)? {
        0x014c => Some("win32"),
        0x8664 => Some("win_amd64"),
        0xaa64 => Some("win_arm64"),
        _ => None,
    };
    let is_library = half(header + 22)? & IS_LIBRARY != 0;
    let optional = header + 24;
    let directories = match half(optional) {
        Some(0x010b) => Some(optional + 96),
        Some(0x020b) => Some(optional + 112),
        _ => None,
    };
    // The fifteenth data directory is the .NET header.
    let is_managed = directories.and_then(|start| word(start + 14 * 8)).is_some_and(|address| address != 0);
    let tie = if is_library && !is_managed { Tie::Platform } else { Tie::Data };
    Some(Native { format: NativeFormat::Pe, tie, platform_tag })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pe_file(machine: u16, characteristics: u16, managed: u32) -> Vec<u8> {
        let mut file = b"MZ".to_vec();
        file.resize(0x3c, 0);
        file.extend_from_slice(&64_u32.to_le_bytes());
        file.extend_from_slice(b"PE\0\0");
        file.extend_from_slice(&machine.to_le_bytes());
        file.resize(64 + 22, 0);
        file.extend_from_slice(&characteristics.to_le_bytes());
        file.extend_from_slice(&0x020b_u16.to_le_bytes());
        file.resize(64 + 24 + 112 + 14 * 8, 0);
        file.extend_from_slice(&managed.to_le_bytes());
        file
    }

    fn check(contents: &[u8], expect: Option<(NativeFormat, Tie, Option<&str>)>) {
        let found = Native::of(contents).map(|native| (native.format, native.tie, native.platform_tag));
        assert_eq!(found, expect);
    }

    #[test]
    fn tells_native_code() {
        use NativeFormat::{Elf, MachO, Pe};
        let elf = |kind: u8, machine: u8| {
            let mut head = b"\x7fELF\x02\x01\x01".to_vec();
            head.resize(16, 0);
            head.extend_from_slice(&[kind, 0, machine, 0]);
            head
        };
        check(&elf(3, 62), Some((Elf, Tie::Platform, Some("linux_x86_64"))));
        check(&elf(1, 62), Some((Elf, Tie::Data, Some("linux_x86_64"))));
        check(&elf(1, 247), Some((Elf, Tie::Data, None)));
        check(
            b"\xcf\xfa\xed\xfe\x0c\0\0\x01\0\0\0\0\x06\0\0\0",
            Some((MachO, Tie::Platform, Some("macosx_11_0_arm64"))),
        );
        check(
            b"\xca\xfe\xba\xbe\0\0\0\x02rest",
            Some((MachO, Tie::Platform, Some("macosx_11_0_universal2"))),
        );
        check(b"\xca\xfe\xba\xbe\0\0\0\x34java", None);
        check(&pe_file(0x8664, 0x2022, 0), Some((Pe, Tie::Platform, Some("win_amd64"))));
        check(&pe_file(0x8664, 0x2022, 8), Some((Pe, Tie::Data, Some("win_amd64"))));
        check(&pe_file(0x014c, 0x0102, 0), Some((Pe, Tie::Data, Some("win32"))));
        for contents in [&b""[..], b"MZ", b"MZ not a program", b"#!/bin/sh\n", b"\xfe\xed\xfa\xce"] {
            check(contents, None);
        }
        let mut far = b"MZ".to_vec();
        far.resize(0x3c, 0);
        far.extend_from_slice(&[0xff; 4]);
        check(&far, None);
    }
}
