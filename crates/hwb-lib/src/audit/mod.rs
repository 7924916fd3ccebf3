//! `hwb audit` and `hwb policies`: how portable native code is.

mod instructions;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hwb_archive::zip::Source;
use hwb_repair::audit::PURE;
use hwb_repair::elf::{ElfError, Isa};
use hwb_repair::object::{HEAD, is_native};
use hwb_repair::{
    Architecture, Audit, Blocker, Code, Exceptions, Floor, Libc, Note, Object, Obstacle, Policy, PolicyAudit,
    Purelib, Sysroot, read_files, read_wheel,
};
use hwb_store::{Entry, EntryKind, FsError, InputFile, walk_sorted};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use crate::build::Requested;
use crate::error::{Error, ErrorKind};
use crate::schema::ErrorBody;
use crate::system::System;

/// What became of the audit of a wheel or a file.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum AuditOutcome {
    /// It was audited.
    Report(AuditReport),
    /// It cannot be; the others were all the same.
    Failure(AuditFailure),
}

/// A wheel or a file that cannot be audited.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AuditFailure {
    /// Which one.
    #[serde(flatten)]
    pub subject: Subject,
    /// Why; of the kind `check`.
    #[serde(serialize_with = "as_body")]
    #[schemars(with = "ErrorBody")]
    pub error: Error,
}

fn as_body<S: Serializer>(error: &Error, serializer: S) -> Result<S::Ok, S::Error> {
    ErrorBody::from(error).serialize(serializer)
}

/// What was found out about a wheel or a file.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AuditReport {
    /// Which one.
    #[serde(flatten)]
    pub subject: Subject,
    /// The platform tag that it deserves.
    pub tag: String,
    /// The platform tag that it would deserve if only symbol versions counted.
    pub symbol_tag: String,
    /// The libraries that it needs and that the oldest policy does not allow, sorted.
    pub external_libraries: BTreeSet<String>,
    /// Where it runs; null where nothing says so.
    pub floor: Option<FloorReport>,
    /// Every policy for its C library and machine, from the oldest to the newest.
    pub policies: Vec<PolicyReport>,
    /// What does not decide, but should be known.
    pub notes: Vec<NoteReport>,
}

/// What was audited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A wheel, by its file name.
    Wheel(String),
    /// An ELF file, by its path.
    Elf(String),
}

/// Where something runs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct FloorReport {
    /// `glibc` or `musl`.
    pub libc: String,
    /// The oldest version of it.
    pub version: String,
    /// The first release of each distribution that has it.
    pub distributions: Vec<String>,
}

/// How far one policy is reached.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PolicyReport {
    /// The platform tag.
    pub tag: String,
    /// Older names of the same tag.
    pub aliases: Vec<String>,
    /// Whether the tag is deserved.
    pub reached: bool,
    /// What is in the way.
    pub blockers: Vec<BlockerReport>,
}

/// One thing that is in the way of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BlockerReport {
    /// What kind of thing it is.
    pub kind: BlockerKind,
    /// The file that is why.
    pub file: String,
    /// The library that it needs something of.
    pub library: Option<String>,
    /// The version of the library that it needs.
    pub version: Option<String>,
    /// Symbols that it needs: of many that need the same version, the first.
    pub symbols: Vec<String>,
    /// The files that lead there, from the one that is loaded first to the one that is why.
    pub chain: Vec<String>,
    /// What would help.
    pub remedy: String,
}

/// What is in the way of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BlockerKind {
    /// A version of a library that is too new.
    Version,
    /// A library that is not part of every system, and not found in the wheel.
    Library,
    /// A symbol that only some builds of an allowed library have.
    PrivateSymbol,
    /// The shared library of Python itself.
    Libpython,
    /// x86-64-v2: instructions that not every machine has.
    X86_64V2,
    /// x86-64-v3: the same.
    X86_64V3,
    /// x86-64-v4: the same.
    X86_64V4,
    /// A symbol that only some builds of Python have.
    PythonSymbol,
}

/// What does not decide, but should be known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NoteReport {
    /// What kind of thing it is.
    pub kind: NoteKind,
    /// The file.
    pub file: String,
    /// What there is to say of it.
    pub text: String,
}

/// What a note is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoteKind {
    /// The file is for another machine or C library than the rest, and was not looked at.
    OtherPlatform,
    /// Nothing says for which C library the file is: glibc is a guess.
    UnknownLibc,
    /// The file asks for an executable stack.
    ExecutableStack,
    /// The code of the file is changed while it is loaded.
    TextRelocations,
    /// The file has instructions that not every x86-64 has.
    Instructions,
    /// The file looks for libraries outside of the wheel.
    RunPathLeaves,
    /// The file is installed to purelib, where native code does not belong.
    Purelib,
    /// RECORD does not name the file.
    NotInRecord,
    /// RECORD names the file, and it is not there.
    OnlyInRecord,
    /// RECORD says something else of the file.
    DiffersFromRecord,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PolicyEntry {
    /// Its name, without an architecture.
    pub name: String,
    /// Older names for the same.
    pub aliases: Vec<String>,
    /// `glibc` or `musl`.
    pub libc: String,
    /// The version of the C library that it is named after.
    pub version: String,
    /// The architectures that it is known for.
    pub architectures: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
enum AuditError {
    #[error("failed to audit {}", path.display())]
    Wheel { path: PathBuf, source: hwb_repair::AuditError },
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Open(FsError),
    #[error("failed to list {}", path.display())]
    List { path: PathBuf, source: FsError },
    #[error("{} is a malformed ELF file", path.display())]
    Elf { path: PathBuf, source: ElfError },
    #[error("{} is neither a wheel nor a program or library in ELF", _0.display())]
    Neither(PathBuf),
    #[error("{} is for a machine that has no platform tag", _0.display())]
    Machine(PathBuf),
    #[error("{} has neither wheels nor programs or libraries in ELF below it", _0.display())]
    Empty(PathBuf),
    #[error("{} is no folder with a system in it", _0.display())]
    Sysroot(PathBuf),
    #[error("`{0}` is not the tag of a policy")]
    Tag(String),
}

/// Audits wheels and ELF files, and what lies in directories of them, in the order of their names. The libraries of
/// the system below the folder `sysroot`, if one is given, count as if they came along. Where `instructions` are asked
/// for, code for x86-64 is decoded, and what not every such machine has is noted. What is malformed or not for Linux keeps
/// nothing else from being audited.
///
/// # Errors
///
/// Kind `source` for what cannot be read, `usage` for what is neither.
pub fn audit(
    paths: &[PathBuf],
    sysroot: Option<&Path>,
    instructions: Requested,
) -> Result<Vec<AuditOutcome>, Error> {
    let is_folder = |folder: &&Path| folder.is_dir();
    if let Some(folder) = sysroot.filter(|folder| !is_folder(folder)) {
        return Err(Error::new(ErrorKind::Usage, AuditError::Sysroot(folder.to_owned())));
    }
    let system = sysroot.map(System::new);
    let (mut known, none) = (Sysroot::default(), Exceptions::default());
    let mut outcomes = Vec::new();
    for path in paths {
        for Found { subject, path, code } in read(path)? {
            let decoded = match (&code, instructions) {
                (Ok(_), Requested::Yes) => instructions::notes(&subject, &path)?,
                (Ok(_), Requested::No) | (Err(_), _) => Ok(Vec::new()),
            };
            let both = code.and_then(|code| Ok((code, decoded?)));
            outcomes.push(match both {
                Ok((code, decoded)) => {
                    if let Some(system) = &system {
                        system.fill(&mut known, &code, &none);
                    }
                    let mut report = AuditReport::new(subject, code.audit(&known, &none));
                    report.notes.extend(decoded);
                    AuditOutcome::Report(report)
                }
                Err(error) => AuditOutcome::Failure(AuditFailure {
                    subject,
                    error: Error::new(ErrorKind::Check, error),
                }),
            });
        }
    }
    Ok(outcomes)
}

/// Native code that was read, or what is wrong with it.
type Checked<T> = Result<T, AuditError>;

/// What there is to audit, and where it lies.
struct Found {
    subject: Subject,
    path: PathBuf,
    code: Checked<Code>,
}

/// Reads what there is to audit at a path.
fn read(path: &Path) -> Result<Vec<Found>, Error> {
    let usage = |failure: fn(PathBuf) -> AuditError| Error::new(ErrorKind::Usage, failure(path.to_owned()));
    if path.is_dir() {
        let found = directory(path)?;
        return if found.is_empty() { Err(usage(AuditError::Empty)) } else { Ok(found) };
    }
    if is_wheel(path) {
        return Ok(vec![wheel(path)?]);
    }
    let object = object(path, path)?.ok_or_else(|| usage(AuditError::Neither))?;
    let found = files(Path::new(""), vec![(path.to_owned(), object)]);
    if found.is_empty() { Err(usage(AuditError::Machine)) } else { Ok(found) }
}

pub(crate) fn is_wheel(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "whl")
}

/// Every wheel below a directory, and then every ELF file.
fn directory(path: &Path) -> Result<Vec<Found>, Error> {
    let entries = walk_sorted(path).map_err(|source| {
        Error::new(ErrorKind::Source, AuditError::List { path: path.to_owned(), source })
    })?;
    let is_file = |entry: &Entry| matches!(entry.kind, EntryKind::File { .. });
    let (wheels, others): (Vec<_>, Vec<_>) =
        entries.into_iter().filter(is_file).partition(|entry| is_wheel(&entry.path));
    let mut found =
        wheels.iter().map(|entry| wheel(&path.join(&entry.path))).collect::<Result<Vec<_>, _>>()?;
    let mut objects = Vec::new();
    for Entry { path: name, .. } in &others {
        if let Some(object) = object(&path.join(name), name)? {
            objects.push((name.clone(), object));
        }
    }
    found.extend(files(path, objects));
    Ok(found)
}

fn read_failed(path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::new(ErrorKind::Source, AuditError::Read { path: path.to_owned(), source })
}

fn open(path: &Path) -> Result<InputFile, Error> {
    InputFile::open(path).map_err(|source| Error::new(ErrorKind::Source, AuditError::Open(source)))
}

fn wheel(path: &Path) -> Result<Found, Error> {
    let input = open(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let code = read_wheel(&name, Source::of(&input), threads)
        .map_err(|source| AuditError::Wheel { path: path.to_owned(), source });
    Ok(Found { subject: Subject::Wheel(name.into_owned()), path: path.to_owned(), code })
}

/// Reads the ELF file at `path`, known as `name`; `None` if it is something else.
fn object(path: &Path, name: &Path) -> Result<Option<Checked<Object>>, Error> {
    let failed = read_failed(path);
    let mut head = Vec::new();
    let file = fs_err::File::open(path).map_err(&failed)?;
    file.take(HEAD as u64).read_to_end(&mut head).map_err(&failed)?;
    if !is_native(&head) {
        return Ok(None);
    }
    let bytes = fs_err::read(path).map_err(&failed)?;
    let object = Object::read(&name.to_string_lossy(), &bytes);
    Ok(Some(object.map_err(|source| AuditError::Elf { path: path.to_owned(), source })))
}

/// Takes files below a folder for code of their own each, in the order of their names; one that is malformed is no
/// other's library.
fn files(folder: &Path, objects: Vec<(PathBuf, Checked<Object>)>) -> Vec<Found> {
    let (mut whole, mut found, mut paths) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (path, object) in objects {
        let name = path.to_string_lossy().into_owned();
        paths.insert(name.clone(), folder.join(path));
        match object {
            Ok(object) => whole.push(object),
            Err(error) => found.push((name, Err(error))),
        }
    }
    found.extend(read_files(whole).into_iter().map(|(name, code)| (name, Ok(code))));
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    let found = found.into_iter().map(|(name, code)| {
        let path = paths.get(&name).cloned().unwrap_or_default();
        Found { subject: Subject::Elf(name), path, code }
    });
    found.collect()
}

/// Lists the policies, glibc before musl, from the oldest to the newest.
pub fn policies() -> Vec<PolicyEntry> {
    let all = [Libc::Glibc, Libc::Musl].into_iter().flat_map(Libc::policies);
    let entry = |policy: &Policy| PolicyEntry {
        name: policy.name(),
        aliases: policy.aliases().to_vec(),
        libc: policy.libc().to_string(),
        version: policy.version().to_string(),
        architectures: policy.architectures().map(|architecture| architecture.to_string()).collect(),
    };
    all.map(entry).collect()
}

/// A tag that is asked for: of a policy, with an architecture or for whichever the file is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement(String);

/// Why a tag that is asked for is not deserved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmet<'a> {
    /// Something is in the way.
    Blocked(&'a [BlockerReport]),
    /// The file is for another machine or C library.
    OtherPlatform,
    /// The tag is of musl, and nothing says for which C library the file is.
    UnknownLibc,
    /// Nothing else is in the way, but this file of native code is installed to purelib.
    Purelib(&'a str),
}

impl FromStr for Requirement {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_of = |policy: &PolicyEntry| {
            let machines = policy.architectures.iter().map(|machine| format!("_{machine}"));
            let ends: Vec<String> = machines.chain([String::new()]).collect();
            let names = policy.aliases.iter().chain([&policy.name]);
            names.into_iter().any(|name| ends.iter().any(|end| text.strip_prefix(name.as_str()) == Some(end)))
        };
        if policies().iter().any(is_of) {
            return Ok(Self(text.to_owned()));
        }
        let error = Error::new(ErrorKind::Usage, AuditError::Tag(text.to_owned()));
        Err(error.hint("`hwb policies` lists the tags and the architectures of each"))
    }
}

impl Requirement {
    /// Why `report` does not deserve the tag; `None` if it does. What has no native code deserves every tag.
    pub fn unmet<'a>(&self, report: &'a AuditReport) -> Option<Unmet<'a>> {
        if report.policies.is_empty() && report.tag == PURE {
            return None;
        }
        let is_meant = |tag: &String| {
            let rest = tag.strip_prefix(&self.0);
            rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('_').is_some_and(is_architecture))
        };
        let policy =
            report.policies.iter().find(|policy| policy.aliases.iter().chain([&policy.tag]).any(is_meant));
        let first = |kind: NoteKind| report.notes.iter().find(|note| note.kind == kind);
        match policy {
            None if self.0.starts_with(Libc::Musl.family()) && first(NoteKind::UnknownLibc).is_some() => {
                Some(Unmet::UnknownLibc)
            }
            None => Some(Unmet::OtherPlatform),
            Some(policy) if policy.reached => first(NoteKind::Purelib).map(|note| Unmet::Purelib(&note.file)),
            Some(policy) => Some(Unmet::Blocked(&policy.blockers)),
        }
    }
}

fn is_architecture(text: &str) -> bool {
    text.parse::<Architecture>().is_ok()
}

impl AuditReport {
    fn new(subject: Subject, audit: Audit) -> Self {
        let Audit { tag, symbol_tag, external_libraries, policies, floor, notes } = audit;
        Self {
            subject,
            tag,
            symbol_tag,
            external_libraries,
            floor: floor.map(FloorReport::from),
            policies: policies.into_iter().map(PolicyReport::from).collect(),
            notes: notes.into_iter().map(NoteReport::from).collect(),
        }
    }
}

impl From<Floor> for FloorReport {
    fn from(floor: Floor) -> Self {
        let Floor { libc, version, distributions } = floor;
        Self { libc: libc.to_string(), version: version.to_string(), distributions }
    }
}

impl From<PolicyAudit> for PolicyReport {
    fn from(audit: PolicyAudit) -> Self {
        let PolicyAudit { tag, aliases, blockers } = audit;
        let reached = blockers.is_empty();
        Self { tag, aliases, reached, blockers: blockers.into_iter().map(BlockerReport::from).collect() }
    }
}

impl From<Blocker> for BlockerReport {
    fn from(blocker: Blocker) -> Self {
        let Blocker { file, obstacle, chain, remedy } = blocker;
        let (kind, library, version, symbols) = match obstacle {
            Obstacle::Version(needed) => {
                (BlockerKind::Version, Some(needed.library), Some(needed.version), needed.symbols)
            }
            Obstacle::Library(library) => (BlockerKind::Library, Some(library), None, Vec::new()),
            Obstacle::PrivateSymbol { library, symbol } => {
                (BlockerKind::PrivateSymbol, Some(library), None, vec![symbol])
            }
            Obstacle::LibPython(library) => (BlockerKind::Libpython, Some(library), None, Vec::new()),
            Obstacle::Isa(Isa::V4) => (BlockerKind::X86_64V4, None, None, Vec::new()),
            Obstacle::Isa(Isa::V3) => (BlockerKind::X86_64V3, None, None, Vec::new()),
            Obstacle::Isa(Isa::V2 | Isa::Baseline) => (BlockerKind::X86_64V2, None, None, Vec::new()),
            Obstacle::PythonSymbol(symbol) => (BlockerKind::PythonSymbol, None, None, vec![symbol]),
        };
        Self { kind, file, library, version, symbols, chain, remedy }
    }
}

impl From<Note> for NoteReport {
    fn from(note: Note) -> Self {
        let (kind, file, text) = match note {
            Note::OtherPlatform { file, platform } => {
                (NoteKind::OtherPlatform, file, format!("is for {platform}, and was not looked at"))
            }
            Note::UnknownLibc(file) => (
                NoteKind::UnknownLibc,
                file,
                "names no C library, nor does anything else here: that it is for glibc is a guess".to_owned(),
            ),
            Note::ExecutableStack(file) => (
                NoteKind::ExecutableStack,
                file,
                "asks for an executable stack, which glibc 2.41 and hardened systems refuse".to_owned(),
            ),
            Note::TextRelocations(file) => (
                NoteKind::TextRelocations,
                file,
                "changes its code while it is loaded, which hardened systems refuse".to_owned(),
            ),
            Note::RunPathLeaves { file, folders } => (
                NoteKind::RunPathLeaves,
                file,
                format!("looks for libraries outside of the wheel: {}", folders.join(", ")),
            ),
            Note::Purelib { file, because } => {
                let why = match because {
                    Purelib::Root => "WHEEL says `Root-Is-Purelib: true`",
                    Purelib::Folder => "it lies in a folder `.data/purelib`",
                };
                (NoteKind::Purelib, file, format!("is native code and goes to purelib, as {why}"))
            }
            Note::NotInRecord(file) => (NoteKind::NotInRecord, file, "is not in RECORD".to_owned()),
            Note::OnlyInRecord(file) => {
                (NoteKind::OnlyInRecord, file, "is in RECORD, but not in the wheel".to_owned())
            }
            Note::DiffersFromRecord(file) => {
                (NoteKind::DiffersFromRecord, file, "is not what RECORD says".to_owned())
            }
        };
        Self { kind, file, text }
    }
}
