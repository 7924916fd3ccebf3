//! Changes an ELF file as its arguments say: `edit FROM TO [soname NAME] [rename OLD NEW] [remove NAME] [add NAME]
//! [rpath PATH] [runpath PATH] [no-path] [interpreter PATH] [strip]`, each as often as wanted. What is stripped is
//! stripped first.

use std::process::ExitCode;

use hwb_repair::elf::edit::{EditError, Edits, RunPathEdit, edit};
use hwb_repair::elf::strip::strip;

/// Whether symbols and debug sections stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Debug {
    Keep,
    Strip,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            use std::io::Write as _;
            // Nobody is left to tell if this fails.
            let _told = writeln!(std::io::stderr(), "{why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let mut arguments = std::env::args().skip(1);
    let (Some(from), Some(to)) = (arguments.next(), arguments.next()) else {
        return Err("which file is to be changed, and into which?".to_owned());
    };
    let (edits, debug) = read(arguments)?;
    let old = fs_err::read(&from).map_err(|error| error.to_string())?;
    let new = apply(&old, &edits, debug).map_err(|error| format!("{from}: {error}: {error:?}"))?;
    let again = apply(&new, &edits, debug).map_err(|error| format!("{from}, again: {error}: {error:?}"))?;
    if again != new {
        return Err(format!("{from}: the same edits change it twice"));
    }
    let permissions = fs_err::metadata(&from).map_err(|error| error.to_string())?.permissions();
    fs_err::write(&to, &new).map_err(|error| error.to_string())?;
    fs_err::set_permissions(&to, permissions).map_err(|error| error.to_string())
}

fn read(mut arguments: impl Iterator<Item = String>) -> Result<(Edits, Debug), String> {
    let (mut edits, mut debug) = (Edits::default(), Debug::Keep);
    while let Some(what) = arguments.next() {
        let mut name = || arguments.next().ok_or_else(|| format!("{what} which?"));
        match what.as_str() {
            "soname" => edits.soname = Some(name()?),
            "rename" => drop(edits.needed.insert(name()?, Some(name()?))),
            "remove" => drop(edits.needed.insert(name()?, None)),
            "add" => edits.add_needed.push(name()?),
            "rpath" => edits.run_path = RunPathEdit::Rpath(name()?),
            "runpath" => edits.run_path = RunPathEdit::Runpath(name()?),
            "no-path" => edits.run_path = RunPathEdit::Remove,
            "interpreter" => edits.interpreter = Some(name()?),
            "strip" => debug = Debug::Strip,
            _ => return Err(format!("{what} is no edit")),
        }
    }
    Ok((edits, debug))
}

fn apply(file: &[u8], edits: &Edits, debug: Debug) -> Result<Vec<u8>, EditError> {
    match debug {
        Debug::Keep => edit(file.to_vec(), edits),
        Debug::Strip => edit(strip(file)?.into_owned(), edits),
    }
}
