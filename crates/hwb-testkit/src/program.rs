//! Programs of several machines, which need no library: they say `here` and end with code 3.

/// Whose programs there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processor {
    /// 32-bit x86.
    I386,
    /// 64-bit Arm.
    Arm64,
    /// One that nobody has ever built, nor an emulator of it.
    Nobodys,
}

const SAYS: &[u8; 5] = b"here\n";

/// `write(1, SAYS, 5)` and `exit(3)`, with what is said behind it.
const ARM64: [u32; 8] = [
    0xd280_0020, // mov x0, #1
    0x1000_00e1, // adr x1, behind
    0xd280_00a2, // mov x2, #5
    0xd280_0808, // mov x8, #64
    0xd400_0001, // svc #0
    0xd280_0060, // mov x0, #3
    0xd280_0ba8, // mov x8, #93
    0xd400_0001, // svc #0
];

/// Makes one.
pub fn program(processor: Processor) -> Vec<u8> {
    match processor {
        Processor::I386 => narrow(3, &i386()),
        Processor::Arm64 => wide(183, &arm64()),
        Processor::Nobodys => wide(0xfefe, &arm64()),
    }
}

fn arm64() -> Vec<u8> {
    ARM64.into_iter().flat_map(u32::to_le_bytes).chain(*SAYS).collect()
}

fn i386() -> Vec<u8> {
    const CODE: u32 = 34;
    let set = |register: u8, value: u32| [vec![0xb8 + register], value.to_le_bytes().to_vec()].concat();
    let call = vec![0xcd, 0x80];
    let (number, first, second, third) = (0, 3, 1, 2);
    let write =
        [set(number, 4), set(first, 1), set(second, NARROW_BASE + NARROW_HEADERS + CODE), set(third, 5)];
    let exit = [set(number, 1), set(first, 3)];
    [write.concat(), call.clone(), exit.concat(), call, SAYS.to_vec()].concat()
}

const NARROW_BASE: u32 = 0x0804_8000;
const NARROW_HEADERS: u32 = 52 + 32;
const WIDE_BASE: u64 = 0x40_0000;
const WIDE_HEADERS: u64 = 64 + 56;

/// The bytes of a number of a file, from the least on.
macro_rules! fields {
    ($($value:expr),* $(,)?) => { [$($value.to_le_bytes().to_vec()),*].concat() };
}

/// A file of 32 bits with one segment, which is all of it.
fn narrow(machine: u16, code: &[u8]) -> Vec<u8> {
    let size = NARROW_HEADERS + u32::try_from(code.len()).expect("a program of a test is small");
    let header = fields![
        2_u16,
        machine,
        1_u32,
        (NARROW_BASE + NARROW_HEADERS),
        52_u32,
        0_u32,
        0_u32,
        52_u16,
        32_u16,
        1_u16,
        0_u16,
        0_u16,
        0_u16,
    ];
    let segment = fields![1_u32, 0_u32, NARROW_BASE, NARROW_BASE, size, size, 5_u32, 0x1000_u32];
    [b"\x7fELF\x01\x01\x01".to_vec(), vec![0; 9], header, segment, code.to_vec()].concat()
}

/// The same of 64 bits.
fn wide(machine: u16, code: &[u8]) -> Vec<u8> {
    let size = WIDE_HEADERS + u64::try_from(code.len()).expect("a program of a test is small");
    let header = fields![
        2_u16,
        machine,
        1_u32,
        (WIDE_BASE + WIDE_HEADERS),
        64_u64,
        0_u64,
        0_u32,
        64_u16,
        56_u16,
        1_u16,
        0_u16,
        0_u16,
        0_u16,
    ];
    let segment = fields![1_u32, 5_u32, 0_u64, WIDE_BASE, WIDE_BASE, size, size, 0x1000_u64];
    [b"\x7fELF\x02\x01\x01".to_vec(), vec![0; 9], header, segment, code.to_vec()].concat()
}
