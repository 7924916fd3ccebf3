//! Programs that run those of other machines, as the kernel is told of them.
//!
//! The kernel hands a program that it does not know to an interpreter: binfmt_misc. A machine has a register of them, and
//! since Linux 6.7 a user namespace may have its own, in place of the machine's.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;

use hwb_ident::HostPath;
use serde::{Deserialize, Serialize};

/// How the ELF files of a machine begin; the gABI and its registry of machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElfMachine {
    /// How wide an address is.
    pub width: ElfWidth,
    /// Which end of a number comes first.
    pub order: ElfOrder,
    /// `e_machine`.
    pub number: u16,
}

/// How wide an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ElfWidth {
    /// 32 bits.
    Bits32,
    /// 64 bits.
    Bits64,
}

impl ElfWidth {
    /// `EI_CLASS`.
    const fn class(self) -> u8 {
        match self {
            Self::Bits32 => 1,
            Self::Bits64 => 2,
        }
    }
}

/// Which end of a number comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ElfOrder {
    /// The least.
    Little,
    /// The greatest.
    Big,
}

impl ElfOrder {
    /// `EI_DATA`.
    const fn encoding(self) -> u8 {
        match self {
            Self::Little => 1,
            Self::Big => 2,
        }
    }
}

/// As much of a file is looked at.
const LENGTH: usize = 20;

impl ElfMachine {
    /// The beginning of a program.
    pub fn beginning(self) -> [u8; LENGTH] {
        let (width, order) = (self.width.class(), self.order.encoding());
        let halves = |number: u16| match self.order {
            ElfOrder::Little => number.to_le_bytes(),
            ElfOrder::Big => number.to_be_bytes(),
        };
        // `ET_EXEC`.
        let ([kind, rest], [low, high]) = (halves(2), halves(self.number));
        let [m, e, l, f] = *b"\x7fELF";
        [m, e, l, f, width, order, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, kind, rest, low, high]
    }

    /// Which bits of that must be so: any system's, and programs that may lie anywhere too.
    fn mask(self) -> [u8; LENGTH] {
        let mut mask = [0xff; LENGTH];
        mask[7] = 0;
        mask[match self.order {
            ElfOrder::Little => 16,
            ElfOrder::Big => 17,
        }] = 0xfe;
        mask
    }
}

/// A program that runs those of another machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emulator {
    /// Whose programs it runs.
    pub machine: ElfMachine,
    /// Where it is. It must need no other file: a container has none of the host's.
    pub program: HostPath,
}

impl Emulator {
    /// What tells the kernel of it.
    ///
    /// It is opened at once (`F`), as its path means nothing in a container; it is told the name that a program was called
    /// by (`P`), and given those that cannot be read (`O`).
    pub(crate) fn registration(&self) -> Vec<u8> {
        // Whatever stands between the fields must not be in one of them.
        const BETWEEN: u8 = 0x1f;
        let Self { machine, program } = self;
        let name = format!("hwb-{}-{}-{}", machine.number, machine.width.class(), machine.order.encoding());
        let (magic, mask) = (hexadecimal(machine.beginning()), hexadecimal(machine.mask()));
        let fields: [&[u8]; 8] = [
            b"",
            name.as_bytes(),
            b"M",
            // From the beginning on.
            b"",
            magic.as_bytes(),
            mask.as_bytes(),
            program.as_path().as_os_str().as_bytes(),
            b"OPF",
        ];
        fields.join(&BETWEEN)
    }
}

fn hexadecimal(bytes: [u8; LENGTH]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "\\x{byte:02x}").expect("writing to a string succeeds");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_registered_as_the_kernel_reads_it() {
        let check = |machine: ElfMachine, expect: &str| {
            let emulator = Emulator { machine, program: HostPath::new("/usr/bin/x") };
            let text = String::from_utf8(emulator.registration()).unwrap();
            assert_eq!(text.replace('\x1f', ":").replace("\\x", ""), expect);
        };
        check(
            ElfMachine { width: ElfWidth::Bits64, order: ElfOrder::Little, number: 183 },
            ":hwb-183-2-1:M::7f454c460201010000000000000000000200b700:\
             ffffffffffffff00fffffffffffffffffeffffff:/usr/bin/x:OPF",
        );
        check(
            ElfMachine { width: ElfWidth::Bits64, order: ElfOrder::Big, number: 22 },
            ":hwb-22-2-2:M::7f454c4602020100000000000000000000020016:\
             ffffffffffffff00fffffffffffffffffffeffff:/usr/bin/x:OPF",
        );
    }
}
