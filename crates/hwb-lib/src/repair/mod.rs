//! `hwb repair`: wheels that bring along what they need.

mod output;
mod providers;
mod report;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use globset::Glob;
use hwb_archive::zip::{Level, Source};
use hwb_ident::Timestamp;
use hwb_repair::repair::plan::SUFFIX;
use hwb_repair::repair::write::{Repaired, write};
use hwb_repair::repair::{Finish, Graft, Package, Plan, Platform, RepairError, Request, Supplies};
pub use hwb_repair::repair::{Strip, Tags};
use hwb_repair::{Code, Exceptions, Sysroot, read_code};
use hwb_store::{FsError, InputFile};
use hwb_wheel::{Wheel, WheelError};

use self::output::{NewWheel, OutputError};
use self::providers::Providers;
pub use self::report::{ChangeReport, GraftReport, RepairFailure, RepairOutcome, RepairReport};
use crate::ambient::Ambient;
use crate::audit::{BlockerKind, BlockerReport};
use crate::error::{Error, ErrorKind};
use crate::system::{System, packages};
use crate::world::epoch;

/// What is asked of a repair. All paths are absolute.
#[derive(Debug, Clone)]
pub struct RepairRequest {
    /// The wheels.
    pub wheels: Vec<PathBuf>,
    /// Where the new wheels go.
    pub out_dir: PathBuf,
    /// The tag of a policy; `None` for the best that is reached.
    pub platform: Option<String>,
    /// Whether the new wheels get no other platform tags than those of the policy.
    pub platform_tags: Tags,
    /// Libraries that are not brought along, as patterns of names or paths.
    pub exclude: Vec<String>,
    /// Libraries that are brought along though no file needs them, as patterns of names.
    pub include: Vec<String>,
    /// Folders that are searched for libraries first.
    pub lib_dirs: Vec<PathBuf>,
    /// The folder that the system is below.
    pub sysroot: PathBuf,
    /// The folders of the system that are searched in place of those that its loader is configured for.
    pub system_dirs: Option<Vec<PathBuf>>,
    /// Wheels, folders of wheels and folders of installed packages: libraries of distributions that a wheel requires are
    /// not brought along.
    pub find_links: Vec<PathBuf>,
    /// What follows the name of the distribution in the name of the folder of libraries.
    pub suffix: String,
    /// Whether files that change lose their symbol tables.
    pub strip: Strip,
    /// How hard what changes is packed, from 0 to 9.
    pub compression_level: Option<i32>,
    /// Whether it is done or only said.
    pub execution: Execution,
}

impl Default for RepairRequest {
    /// For the best tag that is reached, with the libraries of this system.
    fn default() -> Self {
        Self {
            wheels: Vec::new(),
            out_dir: PathBuf::new(),
            platform: None,
            platform_tags: Tags::Deserved,
            exclude: Vec::new(),
            include: Vec::new(),
            lib_dirs: Vec::new(),
            sysroot: PathBuf::from("/"),
            system_dirs: None,
            find_links: Vec::new(),
            suffix: SUFFIX.to_owned(),
            strip: Strip::No,
            compression_level: None,
            execution: Execution::Done,
        }
    }
}

/// Whether something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Execution {
    /// It is.
    Done,
    /// It is only said what would be done.
    Planned,
}

#[derive(Debug, thiserror::Error)]
enum RepairFault {
    #[error("failed to repair {}", path.display())]
    Wheel { path: PathBuf, source: RepairError },
    #[error("failed to repair {}", path.display())]
    Open { path: PathBuf, source: WheelError },
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Input(FsError),
    #[error("failed to write {}", path.display())]
    Write { path: PathBuf, source: OutputError },
    #[error("{} is not a wheel", _0.display())]
    NotAWheel(PathBuf),
    #[error("{} is no folder with a system in it", _0.display())]
    Sysroot(PathBuf),
    #[error("`{0}` is no level of compression from 0 to 9")]
    Level(i32),
    #[error("what is to be excluded cannot be used")]
    Pattern(#[source] hwb_repair::PatternError),
    #[error("`{0}` is to be included, and matches the name of no file where libraries are looked for")]
    Include(String),
    #[error("the repaired wheel `{file}` would not deserve {tag}")]
    Undeserved { file: String, tag: String },
}

/// What all wheels of a request share.
#[derive(Debug)]
struct Workshop<'a> {
    request: &'a RepairRequest,
    system: System,
    providers: Providers,
    exceptions: Exceptions,
    level: Level,
    time: Option<Timestamp>,
    threads: NonZero<usize>,
}

/// Repairs wheels. One that fails keeps no other from being repaired.
///
/// # Errors
///
/// If what is asked makes no sense, or nothing can be read or written where it says.
pub fn repair(ambient: &Ambient, request: &RepairRequest) -> Result<Vec<RepairOutcome>, Error> {
    let workshop = Workshop::new(ambient, request)?;
    request.wheels.iter().map(|path| workshop.outcome(path)).collect()
}

/// Repairs a wheel in memory with the libraries of this system.
///
/// # Errors
///
/// If it cannot be repaired.
pub(crate) fn repair_here(ambient: &Ambient, file: &str, bytes: &[u8]) -> Result<Made, Error> {
    let request = RepairRequest::default();
    // The build has chosen the time of its wheel.
    let workshop = Workshop { time: None, ..Workshop::new(ambient, &request)? };
    let hint = "`--repair never` builds it as it is, and `hwb audit -v` says what is in the way then";
    let refused = |refusal: Refusal| refusal.error.hint(hint);
    let Done { report, wheel } = workshop.make(Path::new(file), file, bytes.into()).map_err(refused)?;
    let failed = |source| {
        let path = PathBuf::from(file);
        Error::new(ErrorKind::Internal, RepairFault::Write { path, source })
    };
    Ok(Made { file: report.file, bytes: wheel.write(Vec::new()).map_err(failed)? })
}

/// A new wheel in memory.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) file: String,
    pub(crate) bytes: Vec<u8>,
}

/// What was done to a wheel, and is not written yet.
#[derive(Debug)]
struct Done<'a> {
    report: RepairReport,
    wheel: NewWheel<'a>,
}

impl<'a> Workshop<'a> {
    fn new(ambient: &Ambient, request: &'a RepairRequest) -> Result<Self, Error> {
        let usage = |fault| Error::new(ErrorKind::Usage, fault);
        if let Some(path) = request.wheels.iter().find(|path| path.extension().is_none_or(|end| end != "whl"))
        {
            return Err(usage(RepairFault::NotAWheel(path.clone())));
        }
        if !request.sysroot.is_dir() {
            return Err(usage(RepairFault::Sysroot(request.sysroot.clone())));
        }
        let system = system(ambient, request);
        let exceptions = exceptions(request, &system)?;
        let level = match request.compression_level {
            None => Level::default(),
            Some(number) => Level::new(number).ok_or_else(|| usage(RepairFault::Level(number)))?,
        };
        let places: Vec<PathBuf> = request.find_links.iter().chain(&request.wheels).cloned().collect();
        Ok(Self {
            request,
            system,
            providers: if request.wheels.len() + request.find_links.len() > 1 {
                Providers::read(&places)?
            } else {
                Providers::default()
            },
            exceptions,
            level,
            time: epoch(ambient)?,
            threads: std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN),
        })
    }
}

/// The system that libraries come from. `LD_LIBRARY_PATH` counts as it does for the loader, if it is this one.
fn system(ambient: &Ambient, request: &RepairRequest) -> System {
    let mut first = request.lib_dirs.clone();
    if request.sysroot == Path::new("/") {
        let folders = ambient.var("LD_LIBRARY_PATH").unwrap_or_default().split(':');
        first.extend(
            folders.filter(|folder| !folder.is_empty()).map(|folder| ambient.absolute(Path::new(folder))),
        );
    }
    let system = System::new(&request.sysroot).searching_first(first);
    match &request.system_dirs {
        Some(folders) => system.searching_only(folders),
        None => system,
    }
}

/// What is excluded and what is included.
fn exceptions(request: &RepairRequest, system: &System) -> Result<Exceptions, Error> {
    let usage = |fault| Error::new(ErrorKind::Usage, fault);
    let mut exceptions = Exceptions::excluding(request.exclude.iter().map(String::as_str))
        .map_err(|source| usage(RepairFault::Pattern(source)))?;
    for pattern in &request.include {
        let glob = Glob::new(pattern).map_err(|_| usage(RepairFault::Include(pattern.clone())))?;
        let names = system.names(&glob.compile_matcher());
        if names.is_empty() {
            return Err(usage(RepairFault::Include(pattern.clone())));
        }
        names.into_iter().for_each(|name| exceptions.include(name));
    }
    Ok(exceptions)
}

impl Workshop<'_> {
    fn outcome(&self, path: &Path) -> Result<RepairOutcome, Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match self.published(path, &name) {
            Ok(report) => Ok(RepairOutcome::Report(report)),
            Err(Refusal { error, .. }) if error.kind() == ErrorKind::Machine => Err(error),
            Err(refusal) => Ok(RepairOutcome::Failure(refusal.failure(name))),
        }
    }

    fn published(&self, path: &Path, name: &str) -> Result<RepairReport, Refusal> {
        let input = open(path)?;
        let done = self.make(path, name, Source::of(&input))?;
        Ok(self.publish(done, &input)?)
    }

    /// Makes the new wheel, and audits it.
    fn make<'w>(&self, path: &Path, name: &str, source: Source<'w>) -> Result<Done<'w>, Refusal> {
        let refused = |source| Refusal::new(path, source);
        let wheel = Wheel::read(name, source).map_err(|source| {
            Error::new(ErrorKind::Check, RepairFault::Open { path: path.to_owned(), source })
        })?;
        let mut exceptions = self.exceptions.clone();
        self.providers.except(&wheel, &mut exceptions);
        let code = read_code(&wheel, self.threads).map_err(|source| refused(source.into()))?;
        let mut sysroot = Sysroot::default();
        self.system.fill(&mut sysroot, &code, &exceptions);
        let request = self.engine_request(exceptions);
        let plan = Plan::new(&wheel, &code, &sysroot, &request).map_err(refused)?;
        if self.request.execution == Execution::Planned {
            let report = RepairReport::new(name, &plan, &BTreeMap::new());
            return Ok(Done { report, wheel: NewWheel::Planned });
        }
        let packages = self.packages(&plan);
        let new = if plan.tag.is_some() {
            let repaired = self.write((&wheel, &code), &plan, &packages).map_err(refused)?;
            let mut exceptions = request.exceptions.fulfilled();
            // Where it lies is not to be seen in the wheel alone.
            sysroot.excluded(&self.exceptions).for_each(|name| exceptions.exclude(name));
            look_again(&plan, &repaired.code, &exceptions)?;
            NewWheel::Repaired(repaired)
        } else {
            NewWheel::Same(source)
        };
        Ok(Done { report: RepairReport::new(name, &plan, &packages), wheel: new })
    }

    fn engine_request(&self, exceptions: Exceptions) -> Request {
        Request {
            platform: match self.request.platform.as_deref() {
                None | Some("auto") => Platform::Auto,
                Some(name) => Platform::Named(name.to_owned()),
            },
            tags: self.request.platform_tags,
            exceptions,
            suffix: self.request.suffix.clone(),
        }
    }

    /// How the new wheel is written: its time is that of the newest file of the old one, unless somebody says another.
    fn finish(&self, wheel: &Wheel<'_>) -> Finish {
        let newest = || wheel.files().filter_map(|member| member.modified).max();
        Finish {
            time: self.time.or_else(newest).unwrap_or(Timestamp::ZIP_EPOCH),
            level: self.level,
            strip: self.request.strip,
            threads: self.threads,
        }
    }

    /// Says where the libraries that come along are from.
    fn packages(&self, plan: &Plan) -> BTreeMap<String, Package> {
        let sources: Vec<String> = plan.grafts.iter().map(|graft| graft.source.clone()).collect();
        if sources.is_empty() { BTreeMap::new() } else { packages::owners(self.system.root(), &sources) }
    }

    fn write<'w>(
        &self,
        (wheel, code): (&Wheel<'w>, &Code),
        plan: &Plan,
        packages: &BTreeMap<String, Package>,
    ) -> Result<Repaired<'w>, RepairError> {
        let sources = plan.grafts.iter().map(|graft| graft.source.as_str());
        let places: BTreeMap<&str, PathBuf> =
            sources.filter_map(|source| Some((source, self.system.place(source)?))).collect();
        let read = |graft: &Graft| {
            let place = places.get(graft.source.as_str());
            fs_err::read(place.map_or(Path::new(&graft.source), PathBuf::as_path))
        };
        write(wheel, code, plan, Supplies { read: &read, packages }, &self.finish(wheel))
    }

    fn publish(&self, done: Done<'_>, input: &InputFile) -> Result<RepairReport, Error> {
        let Done { mut report, wheel } = done;
        if matches!(wheel, NewWheel::Planned) {
            return Ok(report);
        }
        let path = self.request.out_dir.join(&report.file);
        let failed = |source| {
            let kind = match source {
                OutputError::Unreadable(_) => ErrorKind::Internal,
                _ => ErrorKind::Machine,
            };
            Error::new(kind, RepairFault::Write { path: path.clone(), source })
        };
        let folder = &self.request.out_dir;
        hwb_store::fs::create_directory(folder).map_err(|source| failed(source.into()))?;
        let digest = wheel.publish(&path, || input.check_unchanged()).map_err(failed)?;
        report.digest = Some(digest.to_string());
        report.path = Some(path);
        Ok(report)
    }
}

/// Opens a wheel, of which only what is looked at is read.
fn open(path: &Path) -> Result<InputFile, Error> {
    InputFile::open(path).map_err(|source| Error::new(ErrorKind::Source, RepairFault::Input(source)))
}

/// Audits what was made: it deserves its tag, or it is not written.
fn look_again(plan: &Plan, code: &Code, exceptions: &Exceptions) -> Result<(), Error> {
    let audit = code.audit(&Sysroot::default(), exceptions);
    let is_reached =
        |tag: &String| audit.policies.iter().any(|policy| policy.tag == *tag && policy.blockers.is_empty());
    let fault = |tag: &String| RepairFault::Undeserved { file: plan.filename.clone(), tag: tag.clone() };
    match plan.tag.iter().find(|tag| !is_reached(tag)) {
        Some(tag) => Err(Error::new(ErrorKind::Internal, fault(tag))),
        None => Ok(()),
    }
}

/// Why there is no new wheel, and what is in the way.
#[derive(Debug)]
struct Refusal {
    error: Error,
    blockers: Vec<BlockerReport>,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, blockers: Vec::new() }
    }
}

impl Refusal {
    fn new(path: &Path, source: RepairError) -> Self {
        let blockers = match &source {
            RepairError::Blocked { blockers, .. } => {
                blockers.iter().cloned().map(BlockerReport::from).collect()
            }
            _ => Vec::new(),
        };
        let kind = match &source {
            RepairError::UnknownTag(_) | RepairError::OtherPlatform { .. } => ErrorKind::Usage,
            _ => ErrorKind::Check,
        };
        Self { error: Error::new(kind, RepairFault::Wheel { path: path.to_owned(), source }), blockers }
    }

    /// The same for `hwb repair`, with what to try there.
    fn failure(self, wheel: String) -> RepairFailure {
        const FOLDERS: &str = "`--lib-dir DIR` names a folder that libraries are in, `--exclude GLOB` what will be there without them";
        let Self { error, blockers } = self;
        let is_missing = |blocker: &BlockerReport| blocker.kind == BlockerKind::Library;
        let error = match error.kind() {
            ErrorKind::Usage => error.hint("`hwb policies` lists the tags and the architectures of each"),
            _ if blockers.iter().any(is_missing) => error.hint(FOLDERS),
            _ => error,
        };
        RepairFailure { wheel, error, blockers }
    }
}
