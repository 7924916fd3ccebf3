//! Native code that is judged together, and what it needs from outside, followed through a system.

use std::collections::BTreeSet;

use crate::architecture::Architecture;
use crate::audit::{Audit, Claim, Note};
use crate::exceptions::Exceptions;
use crate::object::{Object, RunPath};
use crate::policy::{Libc, Policy, is_loader};
use crate::sysroot::{Known, Library, Sysroot, Wanted};
use crate::walk::{External, system_folders};

/// Native code that is judged together: that of a wheel, or one file.
#[derive(Debug, Clone)]
pub struct Code {
    pub(crate) objects: Vec<Object>,
    external: Vec<External>,
    pub(crate) claim: Claim,
    /// What was noted while it was read.
    notes: Vec<Note>,
}

/// The files of some code that are for the platform of the most of it.
#[derive(Debug)]
pub(crate) struct Accepted<'a> {
    pub(crate) architecture: Architecture,
    pub(crate) libc: Libc,
    pub(crate) code: &'a Code,
    /// By their place among the objects.
    pub(crate) members: BTreeSet<usize>,
    external: Vec<&'a External>,
    sysroot: &'a Sysroot,
    pub(crate) exceptions: &'a Exceptions,
}

/// A library that is needed from outside, and that a policy does not allow.
#[derive(Debug)]
pub(crate) struct Lack<'a> {
    /// The files that lead there; the last one needs it.
    pub(crate) chain: Vec<&'a str>,
    pub(crate) library: &'a str,
    pub(crate) known: Known<'a>,
    wanted: Wanted,
    /// The folders that what it needs in turn is looked for in as well.
    inherited: Vec<String>,
}

impl Code {
    pub(crate) const fn new(
        objects: Vec<Object>,
        external: Vec<External>,
        claim: Claim,
        notes: Vec<Note>,
    ) -> Self {
        Self { objects, external, claim, notes }
    }

    /// Whether some of it is for a machine that has platform tags.
    pub(crate) fn has_machine(&self) -> bool {
        self.objects.iter().any(|object| object.architecture.is_some())
    }

    /// The libraries from outside of which `sysroot` does not know yet whether they are there. Those that the oldest
    /// policy allows are of no interest, nor are those that are excepted.
    pub fn wanted(&self, sysroot: &Sysroot, exceptions: &Exceptions) -> BTreeSet<Wanted> {
        let Some(accepted) = self.accept(sysroot, exceptions) else { return BTreeSet::new() };
        let lacks = accepted.lacks(accepted.policies().next());
        let unasked = lacks
            .into_iter()
            .filter(|lack| matches!(lack.known, Known::Unasked) && !is_libpython(lack.library));
        unasked.map(|lack| lack.wanted).collect()
    }

    /// Judges it. The libraries that `sysroot` has count as if they came along; those that are excepted do not count.
    pub fn audit(&self, sysroot: &Sysroot, exceptions: &Exceptions) -> Audit {
        let accepted = self.accept(sysroot, exceptions);
        let mut audit = accepted.map_or_else(Audit::pure, |accepted| accepted.judge());
        audit.notes.extend(self.notes.iter().cloned());
        audit
    }

    /// Puts aside what is for another platform; `None` if nothing is for a machine that has platform tags.
    pub(crate) fn accept<'a>(
        &'a self,
        sysroot: &'a Sysroot,
        exceptions: &'a Exceptions,
    ) -> Option<Accepted<'a>> {
        let Self { objects, external, claim, notes: _ } = self;
        let machines = || objects.iter().filter_map(|object| object.architecture);
        let claimed = claim.architecture.filter(|claimed| machines().any(|machine| claimed.admits(machine)));
        let architecture = claimed.or_else(|| machines().next())?;
        let fits = |object: &&Object| object.architecture.is_some_and(|machine| architecture.admits(machine));
        let libcs = || objects.iter().filter(fits).filter_map(|object| object.libc);
        let claimed = claim.libc.filter(|claimed| libcs().any(|libc| libc == *claimed));
        let libc = claimed.or_else(|| libcs().next()).or(claim.libc).unwrap_or(Libc::Glibc);
        let is_member = |object: &Object| fits(&object) && object.libc.is_none_or(|found| found == libc);
        let members =
            (0..objects.len()).filter(|number| is_member(&objects[*number])).collect::<BTreeSet<_>>();
        let external = external.iter().filter(|external| members.contains(&external.object)).collect();
        Some(Accepted { architecture, libc, code: self, members, external, sysroot, exceptions })
    }
}

impl<'a> Accepted<'a> {
    /// The policies for its C library and machine, from the oldest to the newest.
    pub(crate) fn policies(&self) -> impl Iterator<Item = &'static Policy> {
        let architecture = self.architecture;
        self.libc.policies().iter().filter(move |policy| policy.covers(architecture))
    }

    /// Whether the tag of a policy can be given without being asked for: musl has no symbol versions, so nothing tells
    /// 1.1 from 1.2 but where the wheel was built.
    pub(crate) fn is_plausible(&self, policy: &Policy) -> bool {
        let least = self.code.claim.musl.clone().or_else(|| "1.2".parse().ok());
        self.libc == Libc::Glibc || Some(policy.version()) >= least.as_ref()
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &'a Object> + Clone {
        let objects = &self.code.objects;
        self.members.iter().map(|number| &objects[*number])
    }

    /// What is needed from outside and not allowed, and what that needs in turn.
    pub(crate) fn lacks(&self, policy: Option<&Policy>) -> Vec<Lack<'a>> {
        let is_allowed = |library: &str| {
            let by_policy = policy.map_or_else(
                || is_loader(library),
                |policy| policy.allows_library(self.architecture, library),
            );
            by_policy || self.exceptions.covers(library)
        };
        let direct = self.external.iter().filter(|external| !is_allowed(&external.library));
        let mut lacks: Vec<Lack<'_>> = direct.filter_map(|external| self.of_member(external)).collect();
        lacks.extend(self.exceptions.included().iter().map(|library| self.included(library)));
        let (mut seen, mut next) = (BTreeSet::new(), 0);
        while let Some(lack) = lacks.get(next) {
            next += 1;
            let Some(found) = lack.found().filter(|found| seen.insert(&found.path)) else { continue };
            let chain: Vec<&str> = lack.chain.iter().copied().chain([found.path.as_str()]).collect();
            let inherited = lack.inherited.clone();
            let deeper = found.needed.iter().filter(|library| !is_allowed(library));
            let deeper = deeper.filter_map(|library| self.lack(chain.clone(), found, &inherited, library));
            lacks.extend(deeper.collect::<Vec<_>>());
        }
        lacks
    }

    fn of_member(&self, external: &'a External) -> Option<Lack<'a>> {
        let objects = &self.code.objects;
        let (last, above) = external.chain.split_last()?;
        let inherited =
            above.iter().fold(Vec::new(), |inherited, number| passed_on(&objects[*number], &inherited));
        let chain = external.chain.iter().map(|number| objects[*number].path.as_str()).collect();
        self.lack(chain, &objects[*last], &inherited, &external.library)
    }

    fn wanted(&self, library: &str, folders: Vec<String>) -> Wanted {
        let Self { architecture, libc, .. } = *self;
        Wanted { architecture, libc, library: library.to_owned(), folders }
    }

    /// A library that no file needs: it is looked for where no run path leads.
    fn included(&self, library: &'a str) -> Lack<'a> {
        let folders = Vec::new();
        let wanted = self.wanted(library, folders);
        Lack { chain: Vec::new(), library, known: self.sysroot.get(&wanted), wanted, inherited: Vec::new() }
    }

    /// What `of` needs; `None` if it is excluded by where it is.
    fn lack(
        &self,
        chain: Vec<&'a str>,
        of: &Object,
        inherited: &[String],
        library: &'a str,
    ) -> Option<Lack<'a>> {
        let folders = match &of.run_path {
            RunPath::Own(own) => system_folders(&of.path, own),
            RunPath::Inherited(_) => passed_on(of, inherited),
        };
        let wanted = self.wanted(library, folders);
        let known = self.sysroot.get(&wanted);
        let lack = Lack { chain, library, known, wanted, inherited: passed_on(of, inherited) };
        let is_excluded = lack.found().is_some_and(|found| self.exceptions.excludes(&found.path));
        (!is_excluded).then_some(lack)
    }
}

/// The folders that are searched for what is loaded because of `object` too.
fn passed_on(object: &Object, inherited: &[String]) -> Vec<String> {
    match &object.run_path {
        RunPath::Own(_) => inherited.to_vec(),
        RunPath::Inherited(own) => [system_folders(&object.path, own), inherited.to_vec()].concat(),
    }
}

impl<'a> Lack<'a> {
    /// The file that needs it; `None` for what comes along because somebody says so.
    pub(crate) fn file(&self) -> Option<&'a str> {
        self.chain.last().copied()
    }

    /// The library, where the system has it.
    pub(crate) fn found(&self) -> Option<&'a Object> {
        self.library_found().map(|library| &library.object)
    }

    pub(crate) const fn library_found(&self) -> Option<&'a Library> {
        match self.known {
            Known::Here(library) => Some(library),
            Known::Absent | Known::Unasked => None,
        }
    }
}

/// `libpython3.13t.so.1.0` and its like.
pub(crate) fn is_libpython(library: &str) -> bool {
    let Some((version, _)) = library.strip_prefix("libpython").and_then(|rest| rest.split_once(".so")) else {
        return false;
    };
    let digits = version.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}
