//! Libraries of a system, as somebody who can look at its disk found them.

use std::collections::BTreeMap;

use hwb_ident::Digest;

use crate::architecture::Architecture;
use crate::elf::ElfError;
use crate::exceptions::Exceptions;
use crate::object::Object;
use crate::policy::Libc;

/// A library that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// For this machine.
    pub architecture: Architecture,
    /// For this C library.
    pub libc: Libc,
    /// By the name that something needs it by.
    pub library: String,
    /// The folders of the system that the run paths of what needs it name: they are searched before all others.
    pub folders: Vec<String>,
}

impl Wanted {
    /// Whether a library can be loaded together with what needs it.
    pub fn admits(&self, library: &Library) -> bool {
        let Object { architecture, libc, .. } = &library.object;
        architecture.is_some_and(|machine| self.architecture.admits(machine))
            && libc.is_none_or(|libc| libc == self.libc)
    }
}

/// A library of a system.
#[derive(Debug, Clone)]
pub struct Library {
    /// What an audit keeps of it. Its path is where it really is, with every link followed.
    pub object: Object,
    /// Of its bytes.
    pub digest: Digest,
    /// How many bytes it has.
    pub size: u64,
}

impl Library {
    /// Reads a library that lies at `path`.
    ///
    /// # Errors
    ///
    /// If it is malformed.
    pub fn read(path: &str, bytes: &[u8]) -> Result<Self, ElfError> {
        Ok(Self { object: Object::read(path, bytes)?, digest: Digest::of(bytes), size: bytes.len() as u64 })
    }
}

/// What a [`Sysroot`] knows of a library.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Known<'a> {
    /// Nobody looked for it.
    Unasked,
    /// It is not there.
    Absent,
    /// It is there.
    Here(&'a Library),
}

/// Libraries from outside of what is audited, with those that were looked for and not found. An empty one knows of
/// nothing, and then a library from outside is only its name.
#[derive(Debug, Clone, Default)]
pub struct Sysroot(BTreeMap<Wanted, Option<Library>>);

impl Sysroot {
    /// Notes what came of looking for a library.
    pub fn note(&mut self, wanted: Wanted, found: Option<Library>) {
        self.0.insert(wanted, found);
    }

    /// The names by which libraries are needed that are excluded because of where they are.
    pub fn excluded<'a>(&'a self, exceptions: &'a Exceptions) -> impl Iterator<Item = &'a str> {
        let found = self.0.iter().filter_map(|(wanted, library)| Some((wanted, library.as_ref()?)));
        let excluded = found.filter(|(_, library)| exceptions.excludes(&library.object.path));
        excluded.map(|(wanted, _)| wanted.library.as_str())
    }

    pub(crate) fn get(&self, wanted: &Wanted) -> Known<'_> {
        match self.0.get(wanted) {
            None => Known::Unasked,
            Some(None) => Known::Absent,
            Some(Some(library)) => Known::Here(library),
        }
    }
}
