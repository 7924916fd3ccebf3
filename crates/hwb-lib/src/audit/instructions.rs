//! Instructions that not every x86-64 has, as notes.

use std::path::Path;

use hwb_archive::zip::{MemberKind, Source};
use hwb_repair::elf::{ElfError, Instructions, Isa, Question, Scan, scan};
use hwb_repair::object::{HEAD, is_native};
use hwb_wheel::Wheel;

use super::{AuditError, Checked, NoteKind, NoteReport, Subject, open, read_failed};
use crate::error::Error;

/// Decodes the code of a wheel or a file that lies at `path`.
pub(super) fn notes(subject: &Subject, path: &Path) -> Result<Checked<Vec<NoteReport>>, Error> {
    Ok(match subject {
        Subject::Wheel(name) => of_wheel(name, Source::of(&open(path)?))
            .map_err(|source| AuditError::Wheel { path: path.to_owned(), source }),
        Subject::Elf(name) => {
            let bytes = fs_err::read(path).map_err(read_failed(path))?;
            of_file(name, &bytes).map_err(|source| AuditError::Elf { path: path.to_owned(), source })
        }
    })
}

fn of_wheel(filename: &str, source: Source<'_>) -> Result<Vec<NoteReport>, hwb_repair::AuditError> {
    let wheel = Wheel::read(filename, source)?;
    let mut notes = Vec::new();
    let files = wheel.files().filter(|member| member.kind == MemberKind::File && member.size >= HEAD as u64);
    for member in files {
        let mut head = [0; HEAD];
        wheel.archive().start(member, &mut head)?;
        if is_native(&head) {
            let path = member.path.as_str();
            let found = of_file(path, &wheel.archive().read(member)?);
            notes.extend(
                found.map_err(|source| hwb_repair::AuditError::Elf { path: path.to_owned(), source })?,
            );
        }
    }
    Ok(notes)
}

fn of_file(path: &str, bytes: &[u8]) -> Result<Vec<NoteReport>, ElfError> {
    let Scan { beyond, question } = scan(bytes)?;
    let note = |(level, instructions): (Isa, Instructions)| NoteReport {
        kind: NoteKind::Instructions,
        file: path.to_owned(),
        text: text(level, &instructions, question),
    };
    Ok(beyond.into_iter().map(note).collect())
}

fn text(level: Isa, instructions: &Instructions, question: Question) -> String {
    let Instructions { count, first, function } = instructions;
    let level = match level {
        Isa::Baseline | Isa::V2 => "x86-64-v2",
        Isa::V3 => "x86-64-v3",
        Isa::V4 => "x86-64-v4",
    };
    let instructions = if *count == 1 { "instruction" } else { "instructions" };
    let place = match function {
        Some(function) => format!("{first:#x} in {function}"),
        None => format!("{first:#x}"),
    };
    let judgement = match question {
        Question::Asked => "it asks for the processor, and may choose at run time",
        Question::Never => "nothing in it asks for the processor",
    };
    format!("has {count} {instructions} of {level}, the first at {place}; {judgement}")
}
