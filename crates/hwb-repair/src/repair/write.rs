//! The new wheel: what changes is changed and packed by several threads, what does not keeps its packed bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZero;

use hwb_archive::Executable;
use hwb_archive::zip::{Level, Member, Packed};
use hwb_ident::{ArchivePath, Digest, Timestamp};
use hwb_wheel::wheel_file::Root;
use hwb_wheel::{Part, Wheel, assemble};

use super::plan::{Graft, Plan};
use super::{RepairError, sbom, script};
use crate::elf::edit::{Edits, edit};
use crate::elf::strip::strip;
use crate::parallel::in_parallel;
use crate::repair::sbom::Package;

/// How a wheel is written.
#[derive(Debug, Clone, Copy)]
pub struct Finish {
    /// The time of every member.
    pub time: Timestamp,
    /// How hard what changes is packed.
    pub level: Level,
    /// Whether symbol tables and debug sections are left out of what changes.
    pub strip: Strip,
    /// How many threads work on it.
    pub threads: NonZero<usize>,
}

/// Whether files lose their symbol tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strip {
    /// They stay.
    No,
    /// Those of changed files and of libraries that come along go.
    Changed,
}

/// A library that comes along.
#[derive(Debug, Clone)]
pub struct Supply {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The package that it was installed by, where that is known.
    pub package: Option<Package>,
}

/// One file to be made.
#[derive(Debug)]
enum Job<'a> {
    /// As it is.
    Keep(&'a Member),
    /// Changed, at a path that may be another.
    Change(&'a Member, &'a str, &'a Edits),
    /// From outside.
    Graft(&'a Graft, &'a Supply),
    /// Made here.
    Make(String, Executable, Vec<u8>),
}

/// Does what a plan says. `supplies` has the bytes of every library that comes along, by where it is in the system.
///
/// # Errors
///
/// If a file cannot be read or changed, or a library is not the one that was looked at.
pub fn write(
    wheel: &Wheel<'_>,
    plan: &Plan,
    supplies: &BTreeMap<String, Supply>,
    finish: &Finish,
) -> Result<Vec<u8>, RepairError> {
    let mut jobs = jobs(wheel, plan, supplies)?;
    // The longest first.
    jobs.sort_by_key(|job| std::cmp::Reverse(job.cost()));
    let parts = in_parallel(finish.threads, &jobs, |job| job.part(wheel, finish));
    let parts = parts.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(assemble(&wheel.dist_info(), parts, finish.time)?)
}

fn jobs<'a>(
    wheel: &'a Wheel<'_>,
    plan: &'a Plan,
    supplies: &'a BTreeMap<String, Supply>,
) -> Result<Vec<Job<'a>>, RepairError> {
    let description = format!("{}/WHEEL", wheel.dist_info());
    let mut jobs = Vec::new();
    for member in wheel.files().filter(|member| !wheel.is_record_or_signature(&member.path)) {
        let path = member.path.as_str();
        jobs.push(match plan.edits.get(path) {
            _ if path == description => {
                Job::Make(description.clone(), Executable::No, described(wheel, plan)?)
            }
            Some(edits) => Job::Change(member, plan.moves.get(path).map_or(path, String::as_str), edits),
            None => Job::Keep(member),
        });
    }
    for (old, new) in &plan.moves {
        jobs.push(Job::Make(old.clone(), Executable::Yes, script::starter(new)));
    }
    let mut grafts = Vec::new();
    for graft in &plan.grafts {
        let supply = supplies.get(&graft.source).filter(|supply| Digest::of(&supply.bytes) == graft.digest);
        grafts.push((graft, supply.ok_or_else(|| RepairError::Changed(graft.source.clone()))?));
    }
    if !grafts.is_empty() {
        let text = sbom::describe(wheel.metadata(), grafts.iter().copied());
        jobs.push(Job::Make(sbom_path(wheel), Executable::No, text));
    }
    jobs.extend(grafts.into_iter().map(|(graft, supply)| Job::Graft(graft, supply)));
    Ok(jobs)
}

/// A path for the description of what was grafted. One from a repair before stays: it is of other libraries.
fn sbom_path(wheel: &Wheel<'_>) -> String {
    let numbered = |number: u32| match number {
        1 => sbom::FILE.to_owned(),
        number => sbom::FILE.replacen(".cdx", &format!("-{number}.cdx"), 1),
    };
    let paths = (1..).map(|number| format!("{}/{}", wheel.dist_info(), numbered(number)));
    let is_free = |path: &String| wheel.files().all(|member| member.path.as_str() != path);
    paths.into_iter().find(is_free).unwrap_or_default()
}

/// The `WHEEL` file with the new tags.
fn described(wheel: &Wheel<'_>, plan: &Plan) -> Result<Vec<u8>, RepairError> {
    let mut file = wheel.wheel_file().clone();
    if plan.tag.is_some() {
        file.tags = file.tags.on(plan.platforms.iter().map(String::as_str))?;
        file.root = Root::Platlib;
    }
    Ok(file.to_string().into_bytes())
}

impl Job<'_> {
    /// How long it takes, by what has to be read and packed.
    fn cost(&self) -> u64 {
        /// Packing takes so much longer than unpacking.
        const PACKING: u64 = 8;
        match self {
            Self::Keep(member) => member.size,
            Self::Change(member, ..) => member.size.saturating_mul(PACKING),
            Self::Graft(_, supply) => (supply.bytes.len() as u64).saturating_mul(PACKING),
            Self::Make(..) => 0,
        }
    }

    fn part<'a>(&self, wheel: &Wheel<'a>, finish: &Finish) -> Result<Part<'a>, RepairError> {
        let read = |member: &Member| wheel.archive().read(member);
        match self {
            Self::Keep(member) => Ok(Part::kept(wheel, member, Digest::of(&read(member)?))?),
            Self::Change(member, path, edits) => {
                let changed = changed(member.path.as_str(), &read(member)?, edits, finish.strip)?;
                // Installers see to the mode of scripts, but not to that of other files.
                let is_program = member.path.as_str() != *path;
                let executable = if is_program { Executable::Yes } else { executable(member) };
                made(path, executable, &changed, finish.level)
            }
            Self::Graft(graft, supply) => {
                let changed = changed(&graft.source, &supply.bytes, &graft.edits, finish.strip)?;
                made(&graft.path, Executable::Yes, &changed, finish.level)
            }
            Self::Make(path, executable, contents) => made(path, *executable, contents, finish.level),
        }
    }
}

fn executable(member: &Member) -> Executable {
    Executable::of_mode(member.unix_mode.unwrap_or(0))
}

fn changed(path: &str, bytes: &[u8], edits: &Edits, how: Strip) -> Result<Vec<u8>, RepairError> {
    let fault = |source| RepairError::Edit { path: path.to_owned(), source };
    let bytes = match how {
        Strip::No => Cow::Borrowed(bytes),
        Strip::Changed => strip(bytes).map_err(fault)?,
    };
    Ok(edit(&bytes, edits).map_err(fault)?.into_owned())
}

fn made(
    path: &str,
    executable: Executable,
    contents: &[u8],
    level: Level,
) -> Result<Part<'static>, RepairError> {
    let parsed: Result<ArchivePath, _> = path.parse();
    let path = parsed.map_err(|source| RepairError::Path { path: path.to_owned(), source })?;
    let packed = Packed::deflate(contents, level).into_owned();
    Ok(Part { path, executable, digest: Digest::of(contents), packed })
}

#[cfg(test)]
mod tests {
    use hwb_testkit::Elf;
    use hwb_testkit::wheel::{Wheel as Forge, read_member};

    use super::*;
    use crate::repair::Request;
    use crate::{Library, Sysroot, read_code};

    const ONE: NonZero<usize> = NonZero::<usize>::MIN;

    /// Repairs a wheel whose code needs what may be a library; the library is `supplied` when the wheel is written.
    fn repair(forge: &Forge, library: &[u8], supplied: &[u8]) -> Result<Vec<u8>, RepairError> {
        let made = forge.build();
        let wheel = Wheel::read(&made.name, &made.bytes).unwrap();
        let request = Request::default();
        let code = read_code(&wheel, ONE).unwrap();
        let mut sysroot = Sysroot::default();
        for wanted in code.wanted(&sysroot, &request.exceptions) {
            let path = format!("/lib/{}", wanted.library);
            sysroot.note(wanted, Some(Library::read(&path, library).unwrap()));
        }
        let plan = Plan::new(&wheel, &code, &sysroot, &request)?;
        let supply =
            |graft: &Graft| (graft.source.clone(), Supply { bytes: supplied.to_vec(), package: None });
        let supplies = plan.grafts.iter().map(supply).collect();
        let (time, level) = (Timestamp::ZIP_EPOCH, Level::default());
        write(&wheel, &plan, &supplies, &Finish { time, level, strip: Strip::No, threads: ONE })
    }

    fn forge() -> Forge {
        let code = Elf::new().needs("libfar.so.2").needs("libc.so.6").build();
        Forge::new("a", "1").tag("py3-none-linux_x86_64").file("a.so", code)
    }

    #[test]
    fn a_library_is_the_one_that_was_looked_at() {
        let [library, other] = ["one", "other"].map(|symbol| Elf::new().exports(symbol).build());
        repair(&forge(), &library, &library).unwrap();
        let error = repair(&forge(), &library, &other).unwrap_err();
        assert_eq!(error.to_string(), "/lib/libfar.so.2 has changed since it was looked at");
    }

    #[test]
    fn what_an_earlier_repair_says_of_its_libraries_stays() {
        let library = Elf::new().build();
        let before = forge().dist_info_file("sboms/hwb.cdx.json", "{}");
        let before = before.dist_info_file("sboms/hwb-2.cdx.json", "{}");
        let made = repair(&before, &library, &library).unwrap();
        let text = |name: &str| read_member(&made, &format!("/sboms/{name}")).unwrap();
        assert_eq!([text("hwb.cdx.json"), text("hwb-2.cdx.json")], [b"{}", b"{}"]);
        assert!(String::from_utf8(text("hwb-3.cdx.json")).unwrap().contains("libfar.so.2"));
    }
}
