//! Instructions that not every x86-64 has, found by decoding a file's code from its start to its end.
//!
//! What is found decides nothing: a program may look at the processor and choose, and code may have data in it that
//! looks like instructions.

use std::collections::{BTreeMap, VecDeque};

use hwb_wheel::elf::{Class, Order};
use iced_x86::{CpuidFeature, Decoder, DecoderOptions, Instruction, Mnemonic};

use super::reader::{Reader, start_of_text};
use super::sections::executable_sections;
use super::{Elf, ElfError, Isa, PT_LOAD, X86_64, sections};

/// Within so many instructions of bytes that are none, nothing counts: data among the code seldom looks like
/// instructions for longer.
const DISTANCE: u64 = 32;

/// What the instructions of a file say of the processor that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// By level of x86-64, the instructions that are new in it.
    pub beyond: BTreeMap<Isa, Instructions>,
    /// Whether it asks which processor it runs on.
    pub question: Question,
}

/// Instructions of one level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instructions {
    /// How many there are.
    pub count: u64,
    /// The address of the first one.
    pub first: u64,
    /// The function that it is in, where the file still says so.
    pub function: Option<String>,
}

/// Whether code asks which processor it runs on, as it must before it can choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// It does, by `cpuid` or by a library that knows.
    Asked,
    /// It does not.
    Never,
}

/// What libgcc and glibc know of the processor, under the names by which files need it.
const KNOWN: [&[u8]; 4] =
    [b"__cpu_model", b"__cpu_features2", b"__cpu_indicator_init", b"__x86_get_cpuid_feature_leaf"];

/// Decodes the code of a file for x86-64. Of one for another machine nothing is found, and neither of one that says
/// itself that it needs more than every machine has.
///
/// # Errors
///
/// If the file is malformed, or its code lies outside of it.
pub fn scan(file: &[u8]) -> Result<Scan, ElfError> {
    let elf = Elf::parse(file)?;
    let (head, mut scan) = (elf.head, Scan { beyond: BTreeMap::new(), question: Question::Never });
    let is_x86_64 = (head.machine, head.class, head.order) == (X86_64, Class::Bits64, Order::Little);
    if !is_x86_64 || elf.isa > Isa::Baseline {
        return Ok(scan);
    }
    if elf.symbols().any(|symbol| KNOWN.contains(&symbol.name)) {
        scan.question = Question::Asked;
    }
    let reader = Reader { file, head };
    let mut left = file.len();
    for (address, code) in code(&reader)? {
        // Headers may name the same bytes again and again.
        let Some(rest) = left.checked_sub(code.len()) else { break };
        left = rest;
        scan.sweep(address, code);
    }
    for instructions in scan.beyond.values_mut() {
        instructions.function = function_at(&reader, instructions.first);
    }
    Ok(scan)
}

/// The code of a file with its addresses: its sections if it has them, as segments may have data beside the code.
fn code<'a>(reader: &Reader<'a>) -> Result<Vec<(u64, &'a [u8])>, ElfError> {
    const PF_X: u32 = 1;
    let sections = executable_sections(reader);
    if !sections.is_empty() {
        return Ok(sections);
    }
    let segments = reader.segments()?;
    let executable = segments.iter().filter(|segment| segment.kind == PT_LOAD && segment.flags & PF_X != 0);
    let code = executable.map(|segment| {
        let bytes = reader.bytes(segment.offset, segment.file_size);
        bytes.map(|bytes| (segment.address, bytes)).ok_or(ElfError::Outside("code"))
    });
    code.collect()
}

/// An instruction that matters.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Beyond(Isa),
    Cpuid,
}

impl Scan {
    fn sweep(&mut self, address: u64, code: &[u8]) {
        let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
        let mut instruction = Instruction::default();
        let mut pending: VecDeque<(u64, Kind, u64)> = VecDeque::new();
        let (mut number, mut trusted_from) = (0, 0);
        while decoder.can_decode() {
            decoder.decode_out(&mut instruction);
            number += 1;
            if instruction.is_invalid() {
                pending.clear();
                trusted_from = number + DISTANCE;
                continue;
            }
            while let Some((_, kind, at)) = pending.pop_front_if(|(seen, ..)| *seen + DISTANCE <= number) {
                self.note(kind, at);
            }
            if let Some(kind) = kind(&instruction).filter(|_| number > trusted_from) {
                pending.push_back((number, kind, instruction.ip()));
            }
        }
        for (_, kind, at) in pending {
            self.note(kind, at);
        }
    }

    fn note(&mut self, kind: Kind, at: u64) {
        match kind {
            Kind::Cpuid => self.question = Question::Asked,
            Kind::Beyond(level) => {
                let new = Instructions { count: 0, first: at, function: None };
                self.beyond.entry(level).or_insert(new).count += 1;
            }
        }
    }
}

fn kind(instruction: &Instruction) -> Option<Kind> {
    match instruction.mnemonic() {
        Mnemonic::Cpuid => Some(Kind::Cpuid),
        Mnemonic::Lahf | Mnemonic::Sahf => Some(Kind::Beyond(Isa::V2)),
        // Older processors take it for `bsf`, and compilers write it for every x86-64 where that makes no difference.
        Mnemonic::Tzcnt => None,
        _ => {
            instruction.cpuid_features().iter().filter_map(|feature| level(*feature)).max().map(Kind::Beyond)
        }
    }
}

/// The level that has a feature (System V ABI for AMD64, "Micro-Architecture Levels"). Features of no level are left out,
/// but for those that build upon AVX-512, which need the highest at least.
const fn level(feature: CpuidFeature) -> Option<Isa> {
    use CpuidFeature as F;
    Some(match feature {
        F::SSE3 | F::SSSE3 | F::SSE4_1 | F::SSE4_2 | F::POPCNT | F::CMPXCHG16B => Isa::V2,
        F::AVX | F::AVX2 | F::BMI1 | F::BMI2 | F::FMA | F::F16C | F::LZCNT | F::MOVBE => Isa::V3,
        F::AVX512F | F::AVX512BW | F::AVX512CD | F::AVX512DQ | F::AVX512VL => Isa::V4,
        F::AVX512_BF16 | F::AVX512_BITALG | F::AVX512_FP16 | F::AVX512_IFMA | F::AVX512_VBMI => Isa::V4,
        F::AVX512_VBMI2 | F::AVX512_VNNI | F::AVX512_VP2INTERSECT | F::AVX512_VPOPCNTDQ => Isa::V4,
        _ => return None,
    })
}

/// The function that an address is in, by the symbols of the file.
fn function_at(reader: &Reader<'_>, address: u64) -> Option<String> {
    let sections = sections(reader.file)?;
    let tables = [(".symtab", ".strtab"), (".dynsym", ".dynstr")];
    tables.into_iter().find_map(|(symbols, names)| {
        let (symbols, names) = (Reader { file: sections.get(symbols)?, ..*reader }, sections.get(names)?);
        let starts = (0..symbols.file.len() as u64).step_by(24);
        let name = starts.into_iter().find_map(|at| function_name(&symbols, at, address))?;
        let name = start_of_text(names.get(usize::try_from(name).ok()?..)?);
        (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
    })
}

/// Where the name of the symbol at a place of the table is, if it is a function that has an address in it.
fn function_name(symbols: &Reader<'_>, at: u64, address: u64) -> Option<u32> {
    const STT_FUNC: u8 = 2;
    const STT_GNU_IFUNC: u8 = 10;
    let kind = symbols.bytes(at + 4, 1)?.first()? & 0xf;
    let inside = address.checked_sub(symbols.word(at + 8)?)?;
    let is_it = matches!(kind, STT_FUNC | STT_GNU_IFUNC) && inside < symbols.word(at + 16)?;
    is_it.then(|| symbols.quad(at)).flatten()
}

#[cfg(test)]
mod tests {
    use hwb_testkit::{Elf, elf_of_sections};

    use super::*;

    const NOP: u8 = 0x90;
    const POPCNT: &[u8] = &[0xf3, 0x48, 0x0f, 0xb8, 0xc0];
    const VPADDD_YMM: &[u8] = &[0xc5, 0xfd, 0xfe, 0xc1];
    const VPADDD_ZMM: &[u8] = &[0x62, 0xf1, 0x7d, 0x48, 0xfe, 0xc1];
    const TZCNT: &[u8] = &[0xf3, 0x0f, 0xbc, 0xc0];
    const LZCNT: &[u8] = &[0xf3, 0x0f, 0xbd, 0xc0];
    const CPUID: &[u8] = &[0x0f, 0xa2];
    /// `push es` is no instruction of 64 bit, and takes a byte along.
    const NONE: &[u8] = &[0x06, NOP];

    fn found(file: &[u8]) -> String {
        let Scan { beyond, question } = scan(file).unwrap();
        let levels = beyond.into_iter().map(|(level, Instructions { count, first, function })| {
            format!("{level:?} {count} {first:#x} {}", function.unwrap_or_default())
        });
        let asked = (question == Question::Asked).then(|| "asks".to_owned());
        levels.chain(asked).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn finds_what_not_every_machine_has() {
        let check = |code: &[&[u8]], expect: &str| {
            assert_eq!(found(&elf_of_sections(&[(".text", &code.concat())])), expect);
        };
        check(&[&[NOP], TZCNT], "");
        check(&[&[NOP], POPCNT, POPCNT], "V2 2 0x41 ");
        check(&[VPADDD_YMM, POPCNT, VPADDD_ZMM, LZCNT], "V2 1 0x44 , V3 2 0x40 , V4 1 0x49 ");
        check(&[CPUID, VPADDD_YMM], "V3 1 0x42 , asks");
    }

    #[test]
    fn what_is_near_data_does_not_count() {
        let few = vec![NOP; usize::try_from(DISTANCE).unwrap() - 1];
        let many = vec![NOP; usize::try_from(DISTANCE).unwrap()];
        let check = |code: &[&[u8]], expect: &str| {
            assert_eq!(found(&elf_of_sections(&[(".text", &code.concat())])), expect);
        };
        check(&[POPCNT, &few, NONE], "");
        check(&[POPCNT, &many, NONE], "V2 1 0x40 ");
        check(&[NONE, &few, POPCNT], "");
        check(&[NONE, &many, POPCNT], "V2 1 0x62 ");
    }

    #[test]
    fn is_not_led_astray() {
        let code = [CPUID, POPCNT, NONE, VPADDD_YMM].concat();
        let file = elf_of_sections(&[(".text", &code), (".symtab", &[2; 48]), (".strtab", b"\0a\0")]);
        for at in 0..file.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut file = file.clone();
                file[at] = byte;
                drop(scan(&file));
            }
            drop(scan(&file[..at]));
        }
        // The code begins at the last address there is.
        let headers = file.len() - 5 * 64;
        let mut far = file;
        far[headers + 64 + 16..headers + 64 + 24].fill(0xff);
        assert_eq!(scan(&far).unwrap().question, Question::Never);
    }

    #[test]
    fn names_the_function() {
        let symbol = |name: u32, kind: u8, size: u64| {
            let head = [&name.to_le_bytes()[..], &[kind, 0, 1, 0]].concat();
            [head, 0x40_u64.to_le_bytes().to_vec(), size.to_le_bytes().to_vec()].concat()
        };
        let check = |symbols: &[Vec<u8>], expect: &str| {
            let (code, symbols) = ([&[NOP], POPCNT].concat(), symbols.concat());
            let names = b"\0object\0fast\0";
            let file = elf_of_sections(&[(".text", &code), (".symtab", &symbols), (".strtab", names)]);
            assert_eq!(found(&file), format!("V2 1 0x41 {expect}"));
        };
        check(&[symbol(1, 1, 9), symbol(8, 2, 9)], "fast");
        check(&[symbol(8, 2, 1)], "");
        check(&[symbol(100, 2, 9)], "");
        check(&[symbol(8, 2, 9)[..20].to_vec()], "");
    }

    #[test]
    fn reads_segments_where_there_are_no_sections() {
        let whole = |elf: &Elf| {
            // The one segment is the whole file; its size is in the first program header.
            let mut file = elf.build();
            file.extend([&[NOP; 200], VPADDD_YMM].concat());
            let size = (file.len() as u64).to_le_bytes();
            file[64 + 32..64 + 40].copy_from_slice(&size);
            file
        };
        let file = whole(&Elf::new());
        let at = file.len() - VPADDD_YMM.len();
        assert_eq!(found(&file), format!("V3 1 {:#x} ", at + 0x10000));
        assert_eq!(
            found(&whole(&Elf::new().imports_unversioned("__cpu_model"))).split(", ").last(),
            Some("asks")
        );
        assert_eq!(found(&whole(&Elf::new().isa(7))), "");
        assert_eq!(found(&whole(&Elf::aarch64())), "");
        let mut cut = file;
        cut.truncate(at);
        assert_eq!(scan(&cut), Err(ElfError::Outside("code")));
        assert_eq!(scan(b"words"), Err(ElfError::NotElf));
    }
}
