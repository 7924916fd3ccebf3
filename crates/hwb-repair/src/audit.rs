//! The verdict on a wheel or a file: the platform tag that it deserves, and what keeps it from an older one.

use std::collections::{BTreeMap, BTreeSet};

use crate::architecture::Architecture;
use crate::code::{Accepted, Lack, is_libpython};
use crate::elf::{Isa, Stack, TextRelocations};
use crate::floor::{Floor, glibc_floor, musl_floor};
use crate::object::{FPE, NeededVersion, Object, UCS2};
use crate::policy::{Libc, Policy};
use crate::version::LibraryVersion;

/// What a wheel without native code deserves in place of a platform tag.
pub const PURE: &str = "any";

/// What the name of a wheel or the files beside it say of the platform, where they say something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// The machine, if its tags agree in one.
    pub architecture: Option<Architecture>,
    /// The C library, if its tags or the files beside it agree in one.
    pub libc: Option<Libc>,
    /// The oldest version of musl among its tags.
    pub musl: Option<LibraryVersion>,
}

/// What was found out about a wheel or a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// The platform tag that it deserves.
    pub tag: String,
    /// The platform tag that it would deserve if only symbol versions counted.
    pub symbol_tag: String,
    /// The libraries that it needs and that the oldest policy does not allow.
    pub external_libraries: BTreeSet<String>,
    /// Every policy for its C library and machine, from the oldest to the newest.
    pub policies: Vec<PolicyAudit>,
    /// The oldest C library that it runs on; `None` where nothing says so.
    pub floor: Option<Floor>,
    /// What does not decide, but should be known.
    pub notes: Vec<Note>,
}

/// How far one policy is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyAudit {
    /// The platform tag.
    pub tag: String,
    /// Older names of the same tag.
    pub aliases: Vec<String>,
    /// What is in the way; nothing, if it is reached.
    pub blockers: Vec<Blocker>,
}

/// One thing that is in the way of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// The file that is why.
    pub file: String,
    /// What it needs.
    pub obstacle: Obstacle,
    /// The files that lead there, from the one that is loaded first to the one that is why.
    pub chain: Vec<String>,
    /// What would help.
    pub remedy: String,
}

/// What a file needs that a policy does not promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// A version of a library that is too new.
    Version(NeededVersion),
    /// A library that is not part of every system, and not found in the wheel.
    Library(String),
    /// A symbol that only some builds of an allowed library have.
    PrivateSymbol {
        /// The library.
        library: String,
        /// The symbol.
        symbol: String,
    },
    /// The shared library of Python itself, which not every Python has.
    LibPython(String),
    /// Instructions that not every machine has.
    Isa(Isa),
    /// A symbol that only some builds of Python have.
    PythonSymbol(String),
}

/// What does not decide, but should be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A file for another machine or C library than the rest, which was not looked at.
    OtherPlatform {
        /// The file.
        file: String,
        /// For what it is.
        platform: String,
    },
    /// Neither a file nor the name of the wheel says for which C library it is: glibc is a guess. This is the first file.
    UnknownLibc(String),
    /// A file asks for an executable stack.
    ExecutableStack(String),
    /// The code of a file is changed while it is loaded.
    TextRelocations(String),
    /// A file looks for libraries in folders outside of the wheel.
    RunPathLeaves {
        /// The file.
        file: String,
        /// The folders, as its run path names them.
        folders: Vec<String>,
    },
    /// A file is installed to purelib, where native code does not belong.
    Purelib {
        /// The file.
        file: String,
        /// What sends it there.
        because: Purelib,
    },
    /// RECORD does not name a file of native code.
    NotInRecord(String),
    /// RECORD names a file that is not there.
    OnlyInRecord(String),
    /// RECORD says something else of a file of native code.
    DiffersFromRecord(String),
}

/// What sends a file to purelib.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purelib {
    /// `Root-Is-Purelib: true` in WHEEL, as it lies at the root.
    Root,
    /// The folder of the `.data` folder that it lies in.
    Folder,
}

impl Audit {
    /// Of a wheel without native code.
    pub(crate) fn pure() -> Self {
        Self {
            tag: PURE.to_owned(),
            symbol_tag: PURE.to_owned(),
            external_libraries: BTreeSet::new(),
            policies: Vec::new(),
            floor: None,
            notes: Vec::new(),
        }
    }
}

impl Accepted<'_> {
    pub(crate) fn judge(&self) -> Audit {
        let covering: Vec<&Policy> = self.policies().collect();
        let policies: Vec<PolicyAudit> = covering.iter().map(|policy| self.against(policy)).collect();
        let plain = format!("linux_{}", self.architecture);
        let best = |reached: &dyn Fn(&PolicyAudit) -> bool| {
            let reached = covering
                .iter()
                .zip(&policies)
                .find(|(policy, audit)| self.is_plausible(policy) && reached(audit));
            reached.map(|(policy, audit)| (*policy, audit.tag.clone()))
        };
        let overall = best(&|audit| audit.blockers.is_empty());
        let by_symbols = best(&|audit| {
            !audit.blockers.iter().any(|blocker| matches!(blocker.obstacle, Obstacle::Version(_)))
        });
        let lacks = self.lacks(covering.first().copied());
        let along = lacks.iter().filter_map(Lack::found);
        let floor = match (self.libc, &overall) {
            (Libc::Glibc, _) => glibc_floor(self.members().chain(along)),
            (Libc::Musl, Some((policy, _))) => Some(musl_floor(policy.version())),
            (Libc::Musl, None) => None,
        };
        Audit {
            tag: overall.map_or_else(|| plain.clone(), |(_, tag)| tag),
            symbol_tag: by_symbols.map_or(plain, |(_, tag)| tag),
            external_libraries: lacks.iter().map(|lack| lack.library.to_owned()).collect(),
            policies,
            floor,
            notes: self.notes(),
        }
    }

    fn against(&self, policy: &Policy) -> PolicyAudit {
        let lacks = self.lacks(Some(policy));
        let mut blockers = self.unmendable(policy, &lacks);
        blockers.extend(lacks.iter().map(|lack| self.missing(lack)));
        let aliases = policy.aliases().iter().map(|alias| format!("{alias}_{}", self.architecture));
        PolicyAudit { tag: policy.tag(self.architecture), aliases: aliases.collect(), blockers }
    }

    /// A library that is not there, as something that is in the way.
    pub(crate) fn missing(&self, lack: &Lack<'_>) -> Blocker {
        let (obstacle, remedy) = self.library_obstacle(lack.library);
        Blocker {
            file: lack.file().unwrap_or(lack.library).to_owned(),
            obstacle,
            chain: owned(&lack.chain),
            remedy,
        }
    }

    /// What is in the way of a policy even if every library comes along that is found.
    pub(crate) fn unmendable(&self, policy: &Policy, lacks: &[Lack<'_>]) -> Vec<Blocker> {
        let mut blockers = Vec::new();
        for object in self.members() {
            for (obstacle, remedy) in own_obstacles(object, policy, self.architecture) {
                let file = object.path.clone();
                blockers.push(Blocker { chain: vec![file.clone()], file, obstacle, remedy });
            }
        }
        let mut seen = BTreeSet::new();
        let found = lacks.iter().filter_map(|lack| Some((lack, lack.found()?)));
        for (lack, found) in found.filter(|(_, found)| seen.insert(&found.path)) {
            for (obstacle, remedy) in version_obstacles(found, policy, self.architecture) {
                let chain = [owned(&lack.chain), vec![found.path.clone()]].concat();
                blockers.push(Blocker { file: found.path.clone(), obstacle, chain, remedy });
            }
        }
        blockers
    }

    fn library_obstacle(&self, library: &str) -> (Obstacle, String) {
        if is_libpython(library) {
            let remedy = "do not link against libpython: the Python that imports the module has it already";
            return (Obstacle::LibPython(library.to_owned()), remedy.to_owned());
        }
        let here = self.members().find(|object| object.file_name() == library);
        let remedy = match here {
            Some(object) => format!(
                "`{}` is there, but no run path leads to it: link with `-Wl,-rpath,$ORIGIN/…`",
                object.path
            ),
            None => "let `hwb repair` put it into the wheel, or link it statically".to_owned(),
        };
        (Obstacle::Library(library.to_owned()), remedy)
    }

    fn notes(&self) -> Vec<Note> {
        let mut notes = Vec::new();
        let first = self.members().next().filter(|_| self.code.claim.libc.is_none());
        if let Some(first) = first.filter(|_| self.members().all(|object| object.libc.is_none())) {
            notes.push(Note::UnknownLibc(first.path.clone()));
        }
        for (number, object) in self.code.objects.iter().enumerate() {
            let file = object.path.clone();
            if !self.members.contains(&number) {
                let platform = match (object.architecture, object.libc) {
                    (None, _) => "a machine that has no platform tag".to_owned(),
                    (Some(machine), Some(libc)) => format!("{machine} with {libc}"),
                    (Some(machine), None) => machine.to_string(),
                };
                notes.push(Note::OtherPlatform { file, platform });
                continue;
            }
            if object.stack == Stack::Executable {
                notes.push(Note::ExecutableStack(file.clone()));
            }
            if object.text_relocations == TextRelocations::Present {
                notes.push(Note::TextRelocations(file));
            }
        }
        notes
    }
}

fn owned(chain: &[&str]) -> Vec<String> {
    chain.iter().map(|path| (*path).to_owned()).collect()
}

/// The versions that a file needs and a policy does not allow, each with what would help.
fn version_obstacles(
    object: &Object,
    policy: &Policy,
    architecture: Architecture,
) -> impl Iterator<Item = (Obstacle, String)> {
    let too_new =
        object.versions.iter().filter(move |needed| !policy.allows_version(architecture, &needed.version));
    too_new.map(|needed| (Obstacle::Version(needed.clone()), version_remedy(needed, policy)))
}

/// What a file is in the way by itself, each with what would help.
fn own_obstacles(object: &Object, policy: &Policy, architecture: Architecture) -> Vec<(Obstacle, String)> {
    let mut found: Vec<_> = version_obstacles(object, policy, architecture).collect();
    let mut libraries = BTreeMap::new();
    for library in &object.needed {
        for symbol in policy.forbidden(library).filter(|symbol| object.suspects.contains(*symbol)) {
            // pthread's are in libc too; one of the two is enough to name.
            libraries.entry(symbol).or_insert(library);
        }
    }
    for (symbol, library) in libraries {
        let remedy = format!("link {library} statically, or put it into the wheel");
        let (library, symbol) = (library.clone(), symbol.to_owned());
        found.push((Obstacle::PrivateSymbol { library, symbol }, remedy));
    }
    if object.isa > Isa::Baseline {
        let remedy = "compile for every x86-64, and choose faster code at run time";
        found.push((Obstacle::Isa(object.isa), remedy.to_owned()));
    }
    if let Some(symbol) = object.suspects.iter().find(|symbol| symbol.starts_with(UCS2)) {
        let remedy = "build with a Python whose characters are wide (`--enable-unicode=ucs4`)";
        found.push((Obstacle::PythonSymbol(symbol.clone()), remedy.to_owned()));
    }
    if let Some(symbol) = object.suspects.iter().find(|symbol| FPE.contains(&symbol.as_str())) {
        let remedy = "build with a Python that was configured without `--with-fpectl`";
        found.push((Obstacle::PythonSymbol(symbol.clone()), remedy.to_owned()));
    }
    found
}

fn version_remedy(needed: &NeededVersion, policy: &Policy) -> String {
    let older = format!(
        "build where glibc is no newer than {}, as in an image of {}",
        policy.version(),
        policy.name()
    );
    match needed.version.split_once('_').map(|(namespace, _)| namespace) {
        Some("GLIBCXX" | "CXXABI") => format!("{older}, or link with `-static-libstdc++`"),
        Some("GCC") => format!("{older}, or link with `-static-libgcc`"),
        Some("ZLIB" | "LIBATOMIC") => format!("{older}, or link {} statically", needed.library),
        _ => older,
    }
}
