//! The program that the kernel runs at each call, in the classic BPF of seccomp(2).
//!
//! A tree over the runs of equal answers: some eight comparisons for any call, and little for the kernel to walk when it
//! finds out beforehand which calls are always allowed.

use super::table::{self, Architecture};
use super::{Policy, Verdict};

/// One instruction, as linux/filter.h lays it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    pub(crate) if_true: u8,
    pub(crate) if_false: u8,
    pub(crate) operand: u32,
}

/// Codes of instructions: linux/bpf_common.h.
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Where the kernel puts what it knows of a call: `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// The lower half of the first argument, on machines that put it first.
const FIRST_ARGUMENT: u32 = 16;

const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const ASK: u32 = 0x7fc0_0000;
const EPERM: u16 = 1;
const ENOSYS: u16 = 38;

/// The flags of clone(2) that make namespaces, but for those of time, which stand where the exit signal does.
const NAMESPACES: u32 = 0x7E02_0000;

/// Linux, with the uname of 2.6 or without random addresses' opposite; and the question which one it is.
const PERSONALITIES: [u32; 5] = [0, 0x0008, 0x0002_0000, 0x0002_0008, 0xffff_ffff];

/// `AF_ALG` and `AF_VSOCK`: the kernel's ciphers, and the hypervisor.
const FAMILIES: [u32; 2] = [38, 40];

/// The call that makes a socket, among those of socketcall(2); linux/net.h.
const MAKE_SOCKET: [u32; 1] = [1];

fn load(offset: u32) -> Instruction {
    Instruction { code: LOAD, if_true: 0, if_false: 0, operand: offset }
}

fn answer(operand: u32) -> Instruction {
    Instruction { code: RETURN, if_true: 0, if_false: 0, operand }
}

fn errno(number: u16) -> Instruction {
    answer(ERRNO | u32::from(number))
}

/// Skips `if_true` or `if_false` instructions.
fn branch(code: u16, operand: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction { code, if_true, if_false, operand }
}

/// The whole program for `architectures`; what calls by another convention finds no call there.
pub(crate) fn program(architectures: &[Architecture], policy: Policy) -> Vec<Instruction> {
    let mut program = vec![load(ARCHITECTURE)];
    for &architecture in architectures {
        let mut part = vec![load(NUMBER)];
        part.extend(tree(&table::runs(architecture, policy)));
        program.push(branch(IF_EQUAL, architecture.audit_number(), 1, 0));
        program.push(skip(part.len()));
        program.extend(part);
    }
    program.push(errno(ENOSYS));
    program
}

fn skip(count: usize) -> Instruction {
    let operand = u32::try_from(count).unwrap_or(u32::MAX);
    Instruction { code: JUMP, if_true: 0, if_false: 0, operand }
}

/// Finds the run of the number that was loaded.
fn tree(runs: &[(u32, Verdict)]) -> Vec<Instruction> {
    let [(_, verdict)] = runs else {
        let (below, above) = runs.split_at(runs.len() / 2);
        let Some(&(start, _)) = above.first() else { return vec![errno(ENOSYS)] };
        let (below, above) = (tree(below), tree(above));
        // A jump of a comparison reaches 255 instructions.
        let mut program = match u8::try_from(below.len()) {
            Ok(near) => vec![branch(IF_AT_LEAST, start, near, 0)],
            Err(_) => vec![branch(IF_AT_LEAST, start, 0, 1), skip(below.len())],
        };
        program.extend(below);
        program.extend(above);
        return program;
    };
    leaf(*verdict)
}

fn leaf(verdict: Verdict) -> Vec<Instruction> {
    match verdict {
        Verdict::Allow => vec![answer(ALLOW)],
        Verdict::Errno(number) => vec![errno(number)],
        Verdict::Ask => vec![answer(ASK)],
        Verdict::Clone => {
            vec![load(FIRST_ARGUMENT), branch(IF_ANY_BIT, NAMESPACES, 0, 1), errno(EPERM), answer(ALLOW)]
        }
        Verdict::Personality => among(&PERSONALITIES, answer(ALLOW), errno(EPERM)),
        Verdict::Socket => among(&FAMILIES, errno(EPERM), answer(ALLOW)),
        Verdict::SocketCall => among(&MAKE_SOCKET, errno(ENOSYS), answer(ALLOW)),
    }
}

/// Answers `yes` if the first argument is one of `values`.
fn among(values: &[u32], yes: Instruction, no: Instruction) -> Vec<Instruction> {
    let mut program = vec![load(FIRST_ARGUMENT)];
    for &value in values {
        program.push(branch(IF_EQUAL, value, 0, 1));
        program.push(yes);
    }
    program.push(no);
    program
}

#[cfg(test)]
mod tests {
    use super::super::Owners;
    use super::*;
    use crate::container::{Capabilities, OldSockets};

    const ALL: [Architecture; 4] =
        [Architecture::X86_64, Architecture::X86, Architecture::Aarch64, Architecture::Arm];
    const DEFAULT: Policy =
        Policy { capabilities: Capabilities::DOCKER, owners: Owners::Real, old_sockets: OldSockets::Refused };

    /// What the kernel would do.
    fn run(program: &[Instruction], audit: u32, number: u32, argument: u64) -> u32 {
        let (mut value, mut at) = (0, 0);
        loop {
            let Instruction { code, if_true, if_false, operand } = program[at];
            let jump = |condition| usize::from(if condition { if_true } else { if_false });
            at += 1;
            match code {
                LOAD => {
                    value = match operand {
                        NUMBER => number,
                        ARCHITECTURE => audit,
                        FIRST_ARGUMENT => u32::try_from(argument & 0xffff_ffff).unwrap(),
                        _ => panic!("offset {operand}"),
                    }
                }
                JUMP => at += usize::try_from(operand).unwrap(),
                IF_EQUAL => at += jump(value == operand),
                IF_AT_LEAST => at += jump(value >= operand),
                IF_ANY_BIT => at += jump(value & operand != 0),
                RETURN => return operand,
                _ => panic!("code {code:#x}"),
            }
        }
    }

    #[test]
    fn answers_as_the_table_says() {
        for policy in [
            DEFAULT,
            Policy { owners: Owners::Forged, ..DEFAULT },
            Policy { owners: Owners::Recorded, ..DEFAULT },
            Policy { capabilities: Capabilities::ALL, ..DEFAULT },
        ] {
            let program = program(&ALL, policy);
            for architecture in ALL {
                let calls = table::calls(architecture, policy);
                let newest = calls
                    .iter()
                    .map(|(number, ..)| *number)
                    .filter(|number| *number < 0xf_0000)
                    .max()
                    .unwrap();
                for number in (0..2000).chain(0xf_0000..0xf_0010).chain([0x4000_0000, 0x4000_0027, u32::MAX])
                {
                    let expect = match calls.iter().find(|(known, ..)| *known == number) {
                        Some((.., Verdict::Errno(errno))) => ERRNO | u32::from(*errno),
                        Some((.., Verdict::Ask)) => ASK,
                        Some((
                            ..,
                            Verdict::Allow
                            | Verdict::Clone
                            | Verdict::Personality
                            | Verdict::Socket
                            | Verdict::SocketCall,
                        )) => ALLOW,
                        None if number < newest => ERRNO | u32::from(EPERM),
                        None => ERRNO | u32::from(ENOSYS),
                    };
                    assert_eq!(
                        run(&program, architecture.audit_number(), number, 0),
                        expect,
                        "{architecture:?} {number}"
                    );
                }
            }
            assert_eq!(
                run(&program, 0x8000_0016, 1, 0),
                ERRNO | u32::from(ENOSYS),
                "a machine that is not here"
            );
        }
    }

    #[test]
    fn looks_at_arguments() {
        let program = program(&ALL, DEFAULT);
        let calls = table::calls(Architecture::X86_64, DEFAULT);
        let check = |name: &str, argument: u64, allowed: bool| {
            let (number, ..) = *calls.iter().find(|(_, known, _)| *known == name).unwrap();
            let expect = if allowed { ALLOW } else { ERRNO | u32::from(EPERM) };
            assert_eq!(run(&program, 0xC000_003E, number, argument), expect, "{name} {argument:#x}");
        };
        check("clone", 0x0120_0011, true);
        for bit in [0x2_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
            check("clone", bit | 17, false);
        }
        for (family, allowed) in
            [(1, true), (2, true), (17, true), (38, false), (39, true), (40, false), (44, true)]
        {
            check("socket", family, allowed);
            check("socket", family | 1 << 32, allowed);
        }
        for (personality, allowed) in
            [(0, true), (8, true), (0xffff_ffff, true), (0x4_0000, false), (0x40_0000, false)]
        {
            check("personality", personality, allowed);
        }
    }

    /// The call that hides a family behind a pointer is no way around what is said of families.
    #[test]
    fn makes_no_socket_by_the_old_call() {
        let program = program(&ALL, DEFAULT);
        let calls = table::calls(Architecture::X86, DEFAULT);
        let (number, ..) = *calls.iter().find(|(_, known, _)| *known == "socketcall").unwrap();
        let missing = ERRNO | u32::from(ENOSYS);
        let connect_pair_and_send = [(3, ALLOW), (8, ALLOW), (9, ALLOW)];
        for (part, expect) in [(1, missing), (1 | 1 << 32, missing)].into_iter().chain(connect_pair_and_send)
        {
            let audit = Architecture::X86.audit_number();
            assert_eq!(run(&program, audit, number, part), expect, "{part:#x}");
        }
        let old = super::program(&ALL, Policy { old_sockets: OldSockets::Made, ..DEFAULT });
        assert_eq!(run(&old, Architecture::X86.audit_number(), number, 1), ALLOW);
    }

    #[test]
    fn is_small_enough_for_the_kernel() {
        let program = program(&[Architecture::X86_64, Architecture::X86], DEFAULT);
        assert!(program.len() < 600, "{}", program.len());
        for (at, instruction) in program.iter().enumerate() {
            let furthest = match instruction.code {
                JUMP => usize::try_from(instruction.operand).unwrap(),
                _ => usize::from(instruction.if_true.max(instruction.if_false)),
            };
            assert!(at + furthest + usize::from(instruction.code != RETURN) < program.len());
        }
    }
}
