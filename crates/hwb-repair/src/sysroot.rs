//! Libraries of a system, as somebody who can look at its disk found them.

use std::collections::{BTreeMap, BTreeSet};

use crate::architecture::Architecture;
use crate::object::Object;

/// A library that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// For this machine.
    pub architecture: Architecture,
    /// By the name that something needs it by.
    pub library: String,
}

/// Libraries from outside of what is audited, with those that were looked for and not found. An empty one knows of
/// nothing, and then a library from outside is only its name.
#[derive(Debug, Clone, Default)]
pub struct Sysroot(BTreeMap<Wanted, Option<Object>>);

impl Sysroot {
    /// Notes what came of looking for a library.
    pub fn note(&mut self, wanted: Wanted, found: Option<Object>) {
        self.0.insert(wanted, found);
    }

    pub(crate) fn get(&self, wanted: &Wanted) -> Option<&Object> {
        self.0.get(wanted).and_then(Option::as_ref)
    }

    /// What is reached from `libraries` through those that matter, and was not looked for yet.
    pub(crate) fn unknown<'a>(
        &'a self,
        architecture: Architecture,
        libraries: impl Iterator<Item = &'a str>,
        matters: &dyn Fn(&str) -> bool,
    ) -> BTreeSet<Wanted> {
        let mut open: Vec<&str> = libraries.collect();
        let (mut seen, mut unknown) = (BTreeSet::new(), BTreeSet::new());
        while let Some(library) = open.pop() {
            if !matters(library) || !seen.insert(library) {
                continue;
            }
            let wanted = Wanted { architecture, library: library.to_owned() };
            match self.0.get(&wanted) {
                None => {
                    unknown.insert(wanted);
                }
                Some(found) => {
                    open.extend(found.iter().flat_map(|object| &object.needed).map(String::as_str));
                }
            }
        }
        unknown
    }
}
