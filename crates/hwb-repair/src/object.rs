//! What an audit keeps of an ELF file once its bytes are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use hwb_wheel::elf::Kind;

use crate::architecture::Architecture;
use crate::elf::{Binding, Definition, Elf, ElfError, Isa, MAGIC, Stack, Symbol, TextRelocations};
use crate::policy::{Libc, Policy, is_loader};

/// So many symbols are named as examples of what needs a version.
const EXAMPLES: usize = 3;
/// As much is shown of one; names of C++ can be very long.
const LONGEST_EXAMPLE: usize = 200;

/// As many bytes of a file tell whether it [`is_native`].
pub const HEAD: usize = 20;

/// Whether a file that begins so is one that is loaded: a program, a shared library or an extension module in ELF. One
/// whose head cannot be read may be, and is malformed.
pub fn is_native(head: &[u8]) -> bool {
    match hwb_wheel::elf::Elf::parse(head) {
        Some(head) => head.kind == Kind::Loadable,
        None => head.starts_with(MAGIC),
    }
}

/// One ELF file.
#[derive(Debug, Clone)]
pub struct Object {
    /// Where it is: in the wheel, or on disk.
    pub path: String,
    /// Its machine; `None` for one that has no platform tag.
    pub architecture: Option<Architecture>,
    /// The C library that it is for, where something says so.
    pub libc: Option<Libc>,
    /// Whether Python imports it.
    pub role: Role,
    /// The name that others need it by.
    pub soname: Option<String>,
    /// The libraries that it needs.
    pub needed: Vec<String>,
    /// Where it looks for them.
    pub run_path: RunPath,
    /// The symbol versions that it needs.
    pub versions: Vec<NeededVersion>,
    /// Needed symbols of which some policy or Python itself says that they must not be.
    pub suspects: BTreeSet<String>,
    /// The level of x86-64 that it says it needs.
    pub isa: Isa,
    /// What it says of the stack.
    pub stack: Stack,
    /// Whether its code is changed while it is loaded.
    pub text_relocations: TextRelocations,
}

/// Who loads a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Python's import.
    Extension,
    /// Another file, or nobody knows who.
    Other,
}

/// The folders in which a file looks for libraries before those of the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunPath {
    /// `DT_RUNPATH`: for what the file itself needs.
    Own(Vec<String>),
    /// `DT_RPATH`: for everything that is loaded because of it as well. Empty where it names none.
    Inherited(Vec<String>),
}

/// A version of a library that a file needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeededVersion {
    /// The library.
    pub library: String,
    /// For example `GLIBC_2.17`.
    pub version: String,
    /// Some of the symbols that need it.
    pub symbols: Vec<String>,
    /// How many symbols need it.
    pub count: usize,
}

impl Object {
    /// Reads a file that lies at `path`.
    ///
    /// # Errors
    ///
    /// If the file is malformed.
    pub fn read(path: &str, file: &[u8]) -> Result<Self, ElfError> {
        let elf = Elf::parse(file)?;
        let folders = |path: Option<&str>| {
            let parts = path.unwrap_or_default().split(':').filter(|part| !part.is_empty());
            parts.map(str::to_owned).collect::<Vec<_>>()
        };
        let scan = Scan::of(&elf, path);
        Ok(Self {
            path: path.to_owned(),
            architecture: Architecture::of(&elf),
            libc: libc(&elf, path),
            role: scan.role,
            soname: elf.soname.map(str::to_owned),
            needed: elf.needed.iter().map(|name| (*name).to_owned()).collect(),
            run_path: match elf.runpath {
                Some(_) => RunPath::Own(folders(elf.runpath)),
                None => RunPath::Inherited(folders(elf.rpath)),
            },
            versions: scan.versions,
            suspects: scan.suspects,
            isa: elf.isa,
            stack: elf.stack,
            text_relocations: elf.text_relocations,
        })
    }

    /// The names that satisfy who needs it, once it is loaded.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        [Some(self.file_name()), self.soname.as_deref()].into_iter().flatten()
    }

    /// The last part of its path.
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// What one look at each symbol finds out.
struct Scan {
    role: Role,
    versions: Vec<NeededVersion>,
    suspects: BTreeSet<String>,
}

impl Scan {
    fn of(elf: &Elf<'_>, path: &str) -> Self {
        let (mut versions, mut by_index) = (Vec::new(), BTreeMap::new());
        for need in elf.versions.iter().filter(|need| !is_loader(need.library)) {
            for version in &need.versions {
                by_index.insert(version.index, versions.len());
                versions.push(NeededVersion {
                    library: need.library.to_owned(),
                    version: version.name.to_owned(),
                    symbols: Vec::new(),
                    count: 0,
                });
            }
        }
        let hooks = import_hooks(path);
        let mut scan = Self { role: Role::Other, versions, suspects: BTreeSet::new() };
        for symbol in elf.symbols() {
            let Symbol { name, definition, binding, version } = symbol;
            let name = String::from_utf8_lossy(name);
            if definition == Definition::Here {
                if hooks.iter().any(|hook| *hook == name) || name.starts_with(UNICODE_HOOK) {
                    scan.role = Role::Extension;
                }
                continue;
            }
            if let Some(place) = version.and_then(|version| by_index.get(&version)) {
                let needed = &mut scan.versions[*place];
                needed.count += 1;
                if needed.symbols.len() < EXAMPLES {
                    needed.symbols.push(name.chars().take(LONGEST_EXAMPLE).collect());
                }
            }
            let is_of_python = name.starts_with(UCS2) || FPE.contains(&name.as_ref());
            if is_of_python || (binding == Binding::Strong && forbidden().contains(name.as_ref())) {
                scan.suspects.insert(name.into_owned());
            }
        }
        scan
    }
}

/// The start of symbols that only a Python 2 with narrow characters has.
pub(crate) const UCS2: &str = "PyUnicodeUCS2_";
/// Symbols that only a Python with `--with-fpectl` has.
pub(crate) const FPE: [&str; 3] = ["PyFPE_counter", "PyFPE_dummy", "PyFPE_jbuf"];

/// The start of the hook of a module whose name is not ASCII; the rest is Punycode (PEP 489).
const UNICODE_HOOK: &str = "PyInitU_";

/// What an extension module defines for Python's import (PEP 489, PEP 793, Python 2, and cffi for PyPy).
fn import_hooks(path: &str) -> [String; 4] {
    let file = path.rsplit('/').next().unwrap_or(path);
    let module = file.split('.').next().unwrap_or(file);
    ["PyInit_", "PyModExport_", "init", "_cffi_pypyinit_"].map(|start| format!("{start}{module}"))
}

/// Every symbol that some policy forbids.
fn forbidden() -> &'static BTreeSet<&'static str> {
    static FORBIDDEN: OnceLock<BTreeSet<&'static str>> = OnceLock::new();
    FORBIDDEN.get_or_init(|| {
        let policies = [Libc::Glibc, Libc::Musl].into_iter().flat_map(Libc::policies);
        policies.flat_map(Policy::all_forbidden).collect()
    })
}

/// What glibc keeps in libraries of their own, musl in the one that it has.
const ONLY_GLIBC: [&str; 8] = [
    "libanl.so.1",
    "libdl.so.2",
    "libm.so.6",
    "libmvec.so.1",
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
    "libutil.so.1",
];

/// The C library of a file: by the loader that it asks for, by what it needs, by how it is named (PEP 3149).
fn libc(elf: &Elf<'_>, path: &str) -> Option<Libc> {
    if let Some(interpreter) = elf.interpreter {
        let is_musl = interpreter.rsplit('/').next().is_some_and(|name| name.starts_with("ld-musl-"));
        return Some(if is_musl { Libc::Musl } else { Libc::Glibc });
    }
    let of_library = |name: &&str| {
        if name.starts_with("libc.musl-") || name.starts_with("ld-musl-") || *name == "libc.so" {
            Some(Libc::Musl)
        } else if *name == "libc.so.6" || name.starts_with("ld-linux") || name.starts_with("ld64.so.") {
            Some(Libc::Glibc)
        } else {
            None
        }
    };
    if let Some(libc) = elf.needed.iter().find_map(of_library) {
        return Some(libc);
    }
    // musl has no symbol versions, whatever library they are said to be of.
    let mut versions = elf.versions.iter().flat_map(|need| &need.versions);
    if elf.needed.iter().any(|name| ONLY_GLIBC.contains(name))
        || versions.any(|version| version.name.starts_with("GLIBC_"))
    {
        return Some(Libc::Glibc);
    }
    let ends = |ends: &[&str]| ends.iter().any(|end| path.ends_with(end));
    if ends(&["-linux-musl.so", "-linux-musleabihf.so"]) {
        return Some(Libc::Musl);
    }
    // CPython up to 3.10 said gnu on musl too.
    let minor = path.rsplit_once(".cpython-3").and_then(|(_, rest)| {
        let digits = rest.split(|letter: char| !letter.is_ascii_digit()).next()?;
        digits.parse::<u32>().ok()
    });
    (ends(&["-linux-gnu.so", "-linux-gnueabihf.so"]) && minor.is_some_and(|minor| minor >= 11))
        .then_some(Libc::Glibc)
}
