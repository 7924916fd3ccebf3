//! The head of an ELF file: enough to say for which machine it is.

/// What the head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elf {
    /// Width of its addresses.
    pub class: Class,
    /// Order of its bytes.
    pub order: Order,
    /// What the file is for.
    pub kind: Kind,
    /// `e_machine`.
    pub machine: u16,
}

/// Width of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// ELFCLASS32.
    Bits32,
    /// ELFCLASS64.
    Bits64,
}

/// Order of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// ELFDATA2LSB.
    Little,
    /// ELFDATA2MSB.
    Big,
}

/// `e_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// ET_EXEC or ET_DYN: a program, a shared library, an extension module.
    Loadable,
    /// ET_REL: an object file.
    Object,
    /// Something else.
    Other,
}

impl Elf {
    /// Reads the head of a file; `None` if it is no ELF file, or cut off.
    pub fn parse(head: &[u8]) -> Option<Self> {
        let (magic, rest) = head.split_first_chunk::<4>()?;
        let class = match (magic, rest.first()?) {
            (b"\x7fELF", 1) => Class::Bits32,
            (b"\x7fELF", 2) => Class::Bits64,
            _ => return None,
        };
        let order = match rest.get(1)? {
            1 => Order::Little,
            2 => Order::Big,
            _ => return None,
        };
        let half = |at: usize| {
            let bytes = *head.get(at..)?.first_chunk()?;
            Some(match order {
                Order::Little => u16::from_le_bytes(bytes),
                Order::Big => u16::from_be_bytes(bytes),
            })
        };
        let kind = match half(16)? {
            1 => Kind::Object,
            2 | 3 => Kind::Loadable,
            _ => Kind::Other,
        };
        Some(Self { class, order, kind, machine: half(18)? })
    }

    /// The platform tag of a wheel with such a file, for example `linux_x86_64`; `None` for a machine that Python is
    /// not at home on.
    pub const fn platform_tag(&self) -> Option<&'static str> {
        Some(match (self.machine, self.class, self.order) {
            (3, Class::Bits32, Order::Little) => "linux_i686",
            (62, Class::Bits64, Order::Little) => "linux_x86_64",
            (183, Class::Bits64, Order::Little) => "linux_aarch64",
            (40, Class::Bits32, Order::Little) => "linux_armv7l",
            (21, Class::Bits64, Order::Little) => "linux_ppc64le",
            (21, Class::Bits64, Order::Big) => "linux_ppc64",
            (22, Class::Bits64, Order::Big) => "linux_s390x",
            (243, Class::Bits64, Order::Little) => "linux_riscv64",
            (258, Class::Bits64, Order::Little) => "linux_loongarch64",
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first twenty bytes of an ELF file.
    fn head(class: u8, order: u8, kind: u8, machine: u16) -> Vec<u8> {
        let mut head = vec![0x7f, b'E', b'L', b'F', class, order, 1];
        head.resize(16, 0);
        let half = |value: u16| if order == 1 { value.to_le_bytes() } else { value.to_be_bytes() };
        head.extend_from_slice(&half(u16::from(kind)));
        head.extend_from_slice(&half(machine));
        head
    }

    #[test]
    fn names_the_platform() {
        for (class, order, machine, tag) in [
            (2, 1, 62, Some("linux_x86_64")),
            (1, 1, 3, Some("linux_i686")),
            (2, 1, 183, Some("linux_aarch64")),
            (2, 2, 22, Some("linux_s390x")),
            (2, 1, 21, Some("linux_ppc64le")),
            (2, 2, 21, Some("linux_ppc64")),
            (2, 1, 247, None),
        ] {
            assert_eq!(Elf::parse(&head(class, order, 3, machine)).unwrap().platform_tag(), tag);
        }
    }

    #[test]
    fn is_not_fooled() {
        for bytes in [
            &b""[..],
            b"\x7fELF",
            b"\x7fELF\x02\x01\x01",
            b"\x7fELG\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0",
        ] {
            assert_eq!(Elf::parse(bytes), None);
        }
        assert_eq!(Elf::parse(&head(3, 1, 3, 62)), None);
        assert_eq!(Elf::parse(&head(2, 1, 1, 62)).unwrap().kind, Kind::Object);
    }
}
