//! What is to be done to a wheel, without doing it.

use std::collections::{BTreeMap, BTreeSet};

use hwb_archive::zip::MemberKind;
use hwb_ident::Digest;
use hwb_wheel::Wheel;
use hwb_wheel::wheel_file::Root;

use super::choice::{Choice, choose};
use super::{RepairError, Request, names, run_path, script};
use crate::code::{Accepted, Code, Lack, is_libpython};
use crate::elf::edit::Edits;
use crate::object::Object;
use crate::sysroot::{Library, Sysroot};
use crate::wheel::purelib;

/// What follows the name of the distribution in the name of the folder of libraries.
pub const SUFFIX: &str = ".libs";

/// What is to be done to a wheel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The name of the new wheel.
    pub filename: String,
    /// The tag of the policy that it is repaired for; `None` for a wheel without native code, which stays as it is.
    pub tag: Option<String>,
    /// All its platform tags, sorted.
    pub platforms: BTreeSet<String>,
    /// The libraries that come along, by the name of their files in the wheel.
    pub grafts: Vec<Graft>,
    /// The libraries that other wheels provide, with the distributions that these are of.
    pub provided: BTreeMap<String, String>,
    /// What changes in files of the wheel, by their paths in it now.
    pub edits: BTreeMap<String, Edits>,
    /// Programs among the scripts that move, and where they move to.
    pub moves: BTreeMap<String, String>,
}

/// A library that comes along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graft {
    /// Where it is in the system.
    pub source: String,
    /// Of its bytes there.
    pub digest: Digest,
    /// How many these are.
    pub size: u64,
    /// Where it will be in the wheel.
    pub path: String,
    /// The files that need it, as they are now.
    pub needed_by: BTreeSet<String>,
    /// What changes in it.
    pub edits: Edits,
}

/// What a file calls its libraries, and what each of them is to be called; `None` for those that it shall not need.
type Renames = BTreeMap<String, Option<String>>;

impl Plan {
    /// Plans the repair of a wheel whose native code was read, with the libraries that were found for it.
    ///
    /// # Errors
    ///
    /// If no policy is reached, or not the one that is asked for, or a file is where it cannot be repaired.
    pub fn new(
        wheel: &Wheel<'_>,
        code: &Code,
        sysroot: &Sysroot,
        request: &Request,
    ) -> Result<Self, RepairError> {
        if let Some(link) = wheel.files().find(|member| member.kind == MemberKind::Symlink) {
            return Err(RepairError::Link(link.path.to_string()));
        }
        let had = wheel.filename_tags().platforms();
        let Some(accepted) = code.accept(sysroot, &request.exceptions) else {
            return Ok(Self::untouched(wheel));
        };
        if let Some(object) = accepted.members().find(|object| purelib(&object.path, Root::Platlib).is_some())
        {
            return Err(RepairError::Purelib(object.path.clone()));
        }
        let distribution = distribution(&wheel.filename().to_string());
        let suffix = if request.suffix.is_empty() { SUFFIX } else { &request.suffix };
        let folder = format!("{distribution}{suffix}");
        let Choice { standing, platforms } = choose(&accepted, &request.platform, request.tags, &had)?;
        let drawing = Drawing { accepted: &accepted, folder, lacks: &standing.lacks };
        let renames = drawing.renames();
        let mut plan = Self {
            filename: renamed(&wheel.filename().to_string(), &platforms),
            tag: Some(standing.policy.tag(accepted.architecture)),
            platforms,
            grafts: drawing.grafts(&renames),
            provided: drawing.provided(),
            edits: BTreeMap::new(),
            moves: BTreeMap::new(),
        };
        for object in accepted.members() {
            plan.member(&drawing, object, &renames, &distribution)?;
        }
        plan.check_room(wheel)?;
        Ok(plan)
    }

    /// The plan for a wheel without native code: nothing.
    fn untouched(wheel: &Wheel<'_>) -> Self {
        Self {
            filename: wheel.filename().to_string(),
            tag: None,
            platforms: wheel.filename_tags().platforms().into_iter().map(str::to_owned).collect(),
            grafts: Vec::new(),
            provided: BTreeMap::new(),
            edits: BTreeMap::new(),
            moves: BTreeMap::new(),
        }
    }

    /// Plans for one file of the wheel.
    fn member(
        &mut self,
        drawing: &Drawing<'_>,
        object: &Object,
        renames: &BTreeMap<&str, Renames>,
        distribution: &str,
    ) -> Result<(), RepairError> {
        let needed = renames.get(object.path.as_str()).cloned().unwrap_or_default();
        let folders = drawing.folders(object, &needed);
        let home = script::home(&object.path, distribution).filter(|_| !folders.is_empty());
        let path = home.as_deref().unwrap_or(&object.path);
        if !folders.is_empty() && is_elsewhere(path) {
            return Err(RepairError::Unreachable(object.path.clone()));
        }
        let run_path = run_path::of_member(object, path, &folders);
        let edits = Edits { needed, run_path, ..Edits::default() };
        if home.is_some() || edits != Edits::default() {
            self.edits.insert(object.path.clone(), edits);
        }
        if let Some(home) = home {
            self.moves.insert(object.path.clone(), home);
        }
        Ok(())
    }

    /// Sees to it that no new file takes the place of one that is there, and that none is in the place of its folders.
    fn check_room(&self, wheel: &Wheel<'_>) -> Result<(), RepairError> {
        let there: BTreeSet<&str> = wheel.files().map(|member| member.path.as_str()).collect();
        let new = self.grafts.iter().map(|graft| &graft.path).chain(self.moves.values());
        match new.flat_map(|path| with_folders(path)).find(|path| there.contains(path)) {
            Some(path) => Err(RepairError::Occupied(path.to_owned())),
            None => Ok(()),
        }
    }
}

/// The folders that a path leads through, and the path.
fn with_folders(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(end, _)| &path[..end]).chain([path])
}

/// What a plan is drawn from.
#[derive(Debug)]
struct Drawing<'a> {
    accepted: &'a Accepted<'a>,
    /// Where libraries are grafted to.
    folder: String,
    lacks: &'a [Lack<'a>],
}

impl<'a> Drawing<'a> {
    /// By the path of each file, of the wheel or the system, what becomes of the libraries that it needs.
    fn renames(&self) -> BTreeMap<&'a str, Renames> {
        let mut renames: BTreeMap<&str, Renames> = BTreeMap::new();
        for lack in self.lacks {
            let Some(file) = lack.file() else { continue };
            let new = match lack.library_found() {
                Some(library) => Some(self.name(library)),
                // The Python that imports a module has it already.
                None if is_libpython(lack.library) => None,
                None => continue,
            };
            renames.entry(file).or_default().insert(lack.library.to_owned(), new);
        }
        renames
    }

    fn grafts(&self, renames: &BTreeMap<&str, Renames>) -> Vec<Graft> {
        let mut grafts: BTreeMap<String, Graft> = BTreeMap::new();
        for (lack, library) in self.lacks.iter().filter_map(|lack| Some((lack, lack.library_found()?))) {
            let source = &library.object.path;
            let name = self.name(library);
            let graft = grafts.entry(name.clone()).or_insert_with(|| {
                let path = format!("{}/{name}", self.folder);
                let needed = renames.get(source.as_str()).cloned().unwrap_or_default();
                let run_path = run_path::of_graft(&path, &self.folders(&library.object, &needed));
                let edits = Edits { soname: Some(name), needed, run_path, ..Edits::default() };
                let (source, digest, size) = (source.clone(), library.digest, library.size);
                Graft { source, digest, size, path, needed_by: BTreeSet::new(), edits }
            });
            graft.needed_by.extend(lack.file().map(str::to_owned));
        }
        grafts.into_values().collect()
    }

    /// What the file of a library is called in the wheel. One that is opened at run time keeps its name.
    fn name(&self, library: &Library) -> String {
        let object = &library.object;
        let is_it = |found: &Object| found.path == object.path;
        let is_opened = |lack: &Lack<'_>| lack.file().is_none() && lack.found().is_some_and(is_it);
        if self.lacks.iter().any(is_opened) {
            return object.soname.clone().unwrap_or_else(|| object.file_name().to_owned());
        }
        names::graft(object.file_name(), &library.digest)
    }

    /// The folders that a file must find libraries in, below that of all packages.
    fn folders(&self, object: &Object, needed: &Renames) -> BTreeSet<String> {
        let of_others = object.needed.iter().filter_map(|library| self.accepted.exceptions.provider(library));
        let mut folders: BTreeSet<String> = of_others.map(|provider| provider.folder.clone()).collect();
        let opens = self.lacks.iter().any(|lack| lack.file().is_none());
        if opens || needed.values().any(Option::is_some) {
            folders.insert(self.folder.clone());
        }
        folders
    }

    /// What other wheels provide for the files of this one, and for what comes along.
    fn provided(&self) -> BTreeMap<String, String> {
        let along = self.lacks.iter().filter_map(Lack::found);
        let needed = self.accepted.members().chain(along).flat_map(|object| &object.needed);
        let provided = needed.filter_map(|library| {
            let provider = self.accepted.exceptions.provider(library)?;
            Some((library.clone(), provider.distribution.clone()))
        });
        provided.collect()
    }
}

/// The name of the distribution as the file name of its wheel has it.
fn distribution(filename: &str) -> String {
    filename.split('-').next().unwrap_or(filename).to_owned()
}

/// The file name with other platform tags.
fn renamed(filename: &str, platforms: &BTreeSet<String>) -> String {
    let stem = filename.strip_suffix(".whl").unwrap_or(filename);
    let rest = stem.rsplit_once('-').map_or(stem, |(rest, _)| rest);
    let platforms: Vec<&str> = platforms.iter().map(String::as_str).collect();
    format!("{rest}-{}.whl", platforms.join("."))
}

/// Whether a file is not installed among the packages.
fn is_elsewhere(path: &str) -> bool {
    match path.split('/').collect::<Vec<_>>().as_slice() {
        [data, scheme, _, ..] => data.ends_with(".data") && *scheme != "platlib",
        _ => false,
    }
}
