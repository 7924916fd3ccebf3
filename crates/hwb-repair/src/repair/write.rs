//! The new wheel: what changes is changed and packed by several threads, what does not keeps its packed bytes.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::num::NonZero;

use hwb_archive::Executable;
use hwb_archive::zip::{Level, Member, Packed, ZipError};
use hwb_ident::{ArchivePath, Digest, Hasher, Timestamp};
use hwb_wheel::wheel::executable;
use hwb_wheel::wheel_file::Root;
use hwb_wheel::{Part, Wheel, WriteError, assemble};

use super::plan::{Graft, Plan};
use super::{RepairError, sbom, script};
use crate::code::Code;
use crate::elf::edit::{Edits, edit};
use crate::elf::strip::strip;
use crate::object::Object;
use crate::parallel::{Load, in_parallel};
use crate::repair::sbom::Package;
use crate::wheel::{AuditError, repaired};

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

/// The libraries that come along.
#[expect(missing_debug_implementations, reason = "a closure has none")]
#[derive(Clone, Copy)]
pub struct Supplies<'a> {
    /// Reads one where it is in the system. Each is read when it is its turn, so that few are in memory at once.
    pub read: &'a (dyn Fn(&Graft) -> io::Result<Vec<u8>> + Sync),
    /// The packages that they were installed by, where that is known, by where they are in the system.
    pub packages: &'a BTreeMap<String, Package>,
}

/// One file to be made.
#[derive(Debug)]
enum Job<'a> {
    /// As it is.
    Keep(&'a Member),
    /// Changed, at a path that may be another.
    Change(&'a Member, &'a str, &'a Edits),
    /// From outside.
    Graft(&'a Graft),
    /// Made here.
    Make(String, Executable, Vec<u8>),
}

/// A wheel that was repaired, in parts.
#[derive(Debug)]
pub struct Repaired<'a> {
    /// Its native code, read again where it changed: to be audited.
    pub code: Code,
    dist_info: String,
    parts: Vec<Part<'a>>,
    time: Timestamp,
}

impl Repaired<'_> {
    /// Writes the new wheel to `out`, and gives that back. What did not change is read from the old one.
    ///
    /// # Errors
    ///
    /// If one cannot be read, or the other not be written.
    pub fn assemble<W: Write>(self, out: W) -> Result<W, WriteError> {
        assemble(&self.dist_info, self.parts, self.time, out)
    }
}

/// Does what a plan says to a wheel, whose native code is `code`.
///
/// # Errors
///
/// If a file cannot be read or changed, or a library is not the one that was looked at.
pub fn write<'a>(
    wheel: &Wheel<'a>,
    code: &Code,
    plan: &Plan,
    supplies: Supplies<'_>,
    finish: &Finish,
) -> Result<Repaired<'a>, RepairError> {
    let mut jobs = jobs(wheel, plan, supplies.packages)?;
    // The longest first.
    jobs.sort_by_key(|job| std::cmp::Reverse(job.load().time));
    let done = in_parallel(finish.threads, &jobs, Job::load, |job| job.part(wheel, supplies, finish));
    let done = done.into_iter().collect::<Result<Vec<_>, _>>()?;
    let (parts, objects): (Vec<_>, Vec<_>) = done.into_iter().unzip();
    let code = repaired(code, plan, objects.into_iter().flatten())?;
    Ok(Repaired { code, dist_info: wheel.dist_info(), parts, time: finish.time })
}

fn jobs<'a>(
    wheel: &'a Wheel<'_>,
    plan: &'a Plan,
    packages: &BTreeMap<String, Package>,
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
    if !plan.grafts.is_empty() {
        let text = sbom::describe(wheel.metadata(), &plan.grafts, packages);
        jobs.push(Job::Make(sbom_path(wheel), Executable::No, text));
    }
    jobs.extend(plan.grafts.iter().map(Job::Graft));
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
    /// What it takes, by what has to be read and packed.
    fn load(&self) -> Load {
        /// Packing takes so much longer than unpacking.
        const PACKING: u64 = 8;
        let changed = |size: u64| Load { time: size.saturating_mul(PACKING), memory: size };
        match self {
            // It goes by in pieces.
            Self::Keep(member) => Load { time: member.size, memory: 0 },
            Self::Change(member, ..) => changed(member.size),
            Self::Graft(graft) => changed(graft.size),
            Self::Make(..) => Load { time: 0, memory: 0 },
        }
    }

    /// The member, and what it is if it is native code that was not there before.
    fn part<'a>(
        &self,
        wheel: &Wheel<'a>,
        supplies: Supplies<'_>,
        finish: &Finish,
    ) -> Result<(Part<'a>, Option<Object>), RepairError> {
        let read = |member: &Member| wheel.archive().read(member);
        match self {
            Self::Keep(member) => Ok((Part::kept(wheel, member, digest(wheel, member)?)?, None)),
            Self::Change(member, path, edits) => {
                let executable =
                    if *path == member.path.as_str() { executable(member) } else { Executable::Yes };
                let changed = changed(member.path.as_str(), read(member)?, edits, finish.strip)?;
                Ok((made(path, executable, &changed, finish.level)?, Some(object(path, &changed)?)))
            }
            Self::Graft(graft) => {
                let bytes = supplied(graft, supplies)?;
                let changed = changed(&graft.source, bytes, &graft.edits, finish.strip)?;
                let object = object(&graft.path, &changed)?;
                Ok((made(&graft.path, Executable::Yes, &changed, finish.level)?, Some(object)))
            }
            Self::Make(path, executable, contents) => {
                Ok((made(path, *executable, contents, finish.level)?, None))
            }
        }
    }
}

fn digest(wheel: &Wheel<'_>, member: &Member) -> Result<Digest, ZipError> {
    let mut hasher = Hasher::new();
    wheel.archive().pieces(member, |piece| hasher.update(piece))?;
    Ok(hasher.finish())
}

/// What a file is, once it has changed.
fn object(path: &str, contents: &[u8]) -> Result<Object, AuditError> {
    Object::read(path, contents).map_err(|source| AuditError::Elf { path: path.to_owned(), source })
}

/// Reads a library; it must be the one that was looked at.
fn supplied(graft: &Graft, supplies: Supplies<'_>) -> Result<Vec<u8>, RepairError> {
    let bytes = (supplies.read)(graft)
        .map_err(|source| RepairError::Library { path: graft.source.clone(), source })?;
    if Digest::of(&bytes) == graft.digest {
        Ok(bytes)
    } else {
        Err(RepairError::Changed(graft.source.clone()))
    }
}

fn changed(path: &str, bytes: Vec<u8>, edits: &Edits, how: Strip) -> Result<Vec<u8>, RepairError> {
    let fault = |source| RepairError::Edit { path: path.to_owned(), source };
    let bytes = match how {
        Strip::No => bytes,
        Strip::Changed => strip(&bytes).map_err(fault)?.into_owned(),
    };
    edit(bytes, edits).map_err(fault)
}

fn made(
    path: &str,
    executable: Executable,
    contents: &[u8],
    level: Level,
) -> Result<Part<'static>, RepairError> {
    let parsed: Result<ArchivePath, _> = path.parse();
    let path = parsed.map_err(|source| RepairError::Path { path: path.to_owned(), source })?;
    let packed = Packed::deflate(contents, level);
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
        let (read, packages) = (|_: &Graft| Ok(supplied.to_vec()), BTreeMap::new());
        let supplies = Supplies { read: &read, packages: &packages };
        let (time, level) = (Timestamp::ZIP_EPOCH, Level::default());
        let finish = Finish { time, level, strip: Strip::No, threads: ONE };
        Ok(write(&wheel, &code, &plan, supplies, &finish)?.assemble(Vec::new()).unwrap())
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
