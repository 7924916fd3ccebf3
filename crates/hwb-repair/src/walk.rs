//! Which libraries a wheel needs from outside, and through which of its files.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::object::{Object, Role, RunPath};

/// A library that a file needs and that is not found in the wheel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct External {
    /// The file that needs it, by its place among the objects.
    pub object: usize,
    /// The name that it needs it by.
    pub library: String,
    /// The files that lead there, from the one that is loaded first to the one that needs it.
    pub chain: Vec<usize>,
}

/// So many steps are taken to see what was loaded before; real wheels need a few thousand.
const MOST_STEPS: usize = 1 << 26;

/// Follows what the files need, as the dynamic loader would.
///
/// A file that nothing else needs, or that Python imports, is loaded by itself; so is one that nothing leads to. Each
/// finds libraries along its run path; one that was loaded before under the same name is found as well.
pub fn external_libraries(objects: &[Object]) -> Vec<External> {
    let tree = Tree::new(objects);
    // What is inherited is all that the walk from one root has of its own, so roots that agree in it share theirs.
    let mut walks: BTreeMap<Vec<String>, Walk> = BTreeMap::new();
    let mut reached = BTreeSet::new();
    let mut load = |root: usize, reached: &mut BTreeSet<usize>| {
        let inherited = match &objects[root].run_path {
            RunPath::Own(_) => Vec::new(),
            RunPath::Inherited(folders) => tree.folders(root, folders),
        };
        let walk = walks.entry(inherited.clone()).or_default();
        reached.extend(walk.follow(&tree, root, &inherited));
    };
    let needed: BTreeSet<&str> =
        objects.iter().flat_map(|object| &object.needed).map(String::as_str).collect();
    let is_root = |object: &Object| object.role == Role::Extension || !needed.contains(object.file_name());
    for (root, _) in objects.iter().enumerate().filter(|(_, object)| is_root(object)) {
        load(root, &mut reached);
    }
    for left in 0..objects.len() {
        if !reached.contains(&left) {
            load(left, &mut reached);
        }
    }
    let mut found: BTreeMap<(usize, String), External> = BTreeMap::new();
    let mut steps = MOST_STEPS;
    for walk in walks.values() {
        for external in walk.external(&tree, &mut steps) {
            found.entry((external.object, external.library.clone())).or_insert(external);
        }
    }
    found.into_values().collect()
}

/// The files by where they are.
#[derive(Debug)]
struct Tree<'a> {
    objects: &'a [Object],
    places: BTreeMap<Vec<&'a str>, usize>,
}

/// What is loaded because of some roots.
#[derive(Debug, Default)]
struct Walk {
    roots: Vec<usize>,
    /// Each loaded file, and the one that it was loaded for.
    loaded: BTreeMap<usize, Option<usize>>,
    /// Each loaded file, and what is found for it.
    found: BTreeMap<usize, Vec<usize>>,
    missing: BTreeSet<(usize, String)>,
}

impl<'a> Tree<'a> {
    fn new(objects: &'a [Object]) -> Self {
        let places = objects.iter().enumerate().map(|(number, object)| (installed(&object.path), number));
        Self { objects, places: places.collect() }
    }

    /// Folders of a run path that lie in the wheel, as paths below the folder that it is installed to.
    fn folders(&self, object: usize, run_path: &[String]) -> Vec<String> {
        run_path.iter().filter_map(|folder| inside(&self.objects[object].path, folder)).collect()
    }

    fn find(&self, folder: &str, library: &str, like: usize) -> Option<usize> {
        let place = folder.split('/').filter(|part| !part.is_empty()).chain([library]).collect::<Vec<_>>();
        let found = *self.places.get(&place)?;
        (self.objects[found].architecture == self.objects[like].architecture).then_some(found)
    }
}

/// The folders of a file's run path that are not below the folder that the wheel is installed to.
pub(crate) fn folders_outside(object: &Object) -> Vec<&str> {
    let (RunPath::Own(folders) | RunPath::Inherited(folders)) = &object.run_path;
    folders.iter().map(String::as_str).filter(|folder| inside(&object.path, folder).is_none()).collect()
}

/// The folders of a run path that are places of the system; `path` is where the file that has it lies, in a system or
/// in a wheel.
pub(crate) fn system_folders(path: &str, run_path: &[String]) -> Vec<String> {
    let below = |folder: &String| match (below_origin(folder), path.rsplit_once('/')) {
        (None, _) => folder.starts_with('/').then(|| folder.clone()),
        (Some(rest), Some((own, _))) if path.starts_with('/') => Some(format!("{own}{rest}")),
        (Some(_), _) => None,
    };
    run_path.iter().filter_map(below).collect()
}

/// What follows the folder of the file itself, if a folder of its run path begins with that.
fn below_origin(folder: &str) -> Option<&str> {
    let rest = ["$ORIGIN", "${ORIGIN}"].iter().find_map(|origin| folder.strip_prefix(origin))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// A folder of the run path of the file at `path`, below the folder that the wheel is installed to; `None` if it is
/// elsewhere.
pub(crate) fn inside(path: &str, folder: &str) -> Option<String> {
    let rest = below_origin(folder)?;
    let mut parts = installed(path);
    parts.pop();
    for part in rest.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// A path as it is after installation: `.data/platlib` and `.data/purelib` are folded into the rest.
pub(crate) fn installed(path: &str) -> Vec<&str> {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [data, "platlib" | "purelib", rest @ ..] if data.ends_with(".data") => rest.to_vec(),
        _ => parts,
    }
}

impl Walk {
    /// Loads a root and what it needs; says what was not loaded before.
    fn follow(&mut self, tree: &Tree<'_>, root: usize, inherited: &[String]) -> Vec<usize> {
        self.roots.push(root);
        if self.loaded.contains_key(&root) {
            return Vec::new();
        }
        self.loaded.insert(root, None);
        let mut new = vec![root];
        let mut queue = VecDeque::from([root]);
        while let Some(object) = queue.pop_front() {
            let folders = match &tree.objects[object].run_path {
                RunPath::Own(own) => tree.folders(object, own),
                RunPath::Inherited(own) => [tree.folders(object, own), inherited.to_vec()].concat(),
            };
            let mut children = Vec::new();
            for library in &tree.objects[object].needed {
                let Some(child) = folders.iter().find_map(|folder| tree.find(folder, library, object)) else {
                    self.missing.insert((object, library.clone()));
                    continue;
                };
                children.push(child);
                self.loaded.entry(child).or_insert_with(|| {
                    queue.push_back(child);
                    new.push(child);
                    Some(object)
                });
            }
            self.found.insert(object, children);
        }
        new
    }

    fn external(&self, tree: &Tree<'_>, steps: &mut usize) -> Vec<External> {
        let present = self.loaded_before(tree, steps);
        let missing = self.missing.iter().filter(|missing| !present.contains(missing));
        let external = missing.map(|(object, library)| {
            let above = |object: &usize| self.loaded.get(object).copied().flatten();
            let mut chain: Vec<usize> = std::iter::successors(Some(*object), above).collect();
            chain.reverse();
            External { object: *object, library: library.clone(), chain }
        });
        external.collect()
    }

    /// What is missing by its run path, but loaded for the same root under the same name.
    fn loaded_before<'a>(&'a self, tree: &Tree<'_>, steps: &mut usize) -> BTreeSet<&'a (usize, String)> {
        let by_name = |object: &usize| tree.objects[*object].names().collect::<Vec<_>>();
        let known: BTreeSet<&str> = self.loaded.keys().flat_map(by_name).collect();
        let mut open: BTreeSet<&(usize, String)> =
            self.missing.iter().filter(|(_, library)| known.contains(library.as_str())).collect();
        let mut present = BTreeSet::new();
        for root in &self.roots {
            if open.is_empty() || *steps == 0 {
                break;
            }
            let together = self.reach(*root, steps);
            let names: BTreeSet<&str> = together.iter().flat_map(by_name).collect();
            open.retain(|missing| {
                let is_there = together.contains(&missing.0) && names.contains(missing.1.as_str());
                if is_there {
                    present.insert(*missing);
                }
                !is_there
            });
        }
        present
    }

    /// Everything that is loaded because of one root, as far as the steps go.
    fn reach(&self, root: usize, steps: &mut usize) -> BTreeSet<usize> {
        let (mut reached, mut open) = (BTreeSet::from([root]), vec![root]);
        while let Some(object) = open.pop() {
            for child in self.found.get(&object).into_iter().flatten() {
                let Some(left) = steps.checked_sub(1) else { return reached };
                *steps = left;
                if reached.insert(*child) {
                    open.push(*child);
                }
            }
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use hwb_testkit::Elf;

    use super::*;

    fn check(files: &[(&str, Elf)], expect: &[&str]) {
        let objects: Vec<Object> =
            files.iter().map(|(path, elf)| Object::read(path, &elf.build()).unwrap()).collect();
        let found: Vec<String> = external_libraries(&objects)
            .iter()
            .map(|external| {
                let chain = external.chain.iter().map(|object| objects[*object].path.as_str());
                format!("{} > {}", chain.collect::<Vec<_>>().join(" > "), external.library)
            })
            .collect();
        assert_eq!(found, expect);
    }

    fn lib() -> Elf {
        Elf::new()
    }

    #[test]
    fn finds_what_the_loader_would_find() {
        let root = || lib().exports("PyInit_a").needs("libb.so");
        check(&[("p/a.so", root())], &["p/a.so > libb.so"]);
        // Lying beside each other is not enough.
        check(&[("p/a.so", root()), ("p/libb.so", lib())], &["p/a.so > libb.so"]);
        for path in ["$ORIGIN", "${ORIGIN}/", "/x:$ORIGIN/../p/."] {
            check(&[("p/a.so", root().runpath(path)), ("p/libb.so", lib())], &[]);
        }
        for path in ["$ORIGINAL", "/p", "$ORIGIN/../../p", "p", "$LIB"] {
            check(&[("p/a.so", root().runpath(path)), ("p/libb.so", lib())], &["p/a.so > libb.so"]);
        }
        check(&[("p/a.so", root().runpath("$ORIGIN")), ("p/libb.so", Elf::aarch64())], &["p/a.so > libb.so"]);
    }

    #[test]
    fn run_paths_are_inherited_as_the_loader_has_it() {
        let second = || ("l/libb.so", lib().needs("libc2.so"));
        let third = || ("l/libc2.so", lib().needs("libfar.so"));
        let root = || lib().exports("PyInit_a").needs("libb.so");
        check(
            &[("a.so", root().rpath("$ORIGIN/l")), second(), third()],
            &["a.so > l/libb.so > l/libc2.so > libfar.so"],
        );
        check(
            &[("a.so", root().runpath("$ORIGIN/l")), second(), third()],
            &["a.so > l/libb.so > libc2.so", "l/libc2.so > libfar.so"],
        );
        // What was loaded before is found by its name.
        check(
            &[("a.so", root().needs("libc2.so").runpath("$ORIGIN/l")), second(), ("l/libc2.so", lib())],
            &[],
        );
        let named = ("l/other.so", lib().soname("libc2.so"));
        check(&[("a.so", root().needs("other.so").runpath("$ORIGIN/l")), second(), named], &[]);
    }

    #[test]
    fn ends_in_circles_and_after_installation() {
        let one = lib().needs("two.so").needs("one.so").runpath("$ORIGIN");
        let two = lib().needs("one.so").needs("far.so").runpath("$ORIGIN");
        check(&[("one.so", one), ("two.so", two)], &["one.so > two.so > far.so"]);
        let root = lib().exports("PyInit_a").needs("libb.so").runpath("$ORIGIN/../p.libs");
        check(&[("p-1.data/platlib/p/a.so", root), ("p.libs/libb.so", lib())], &[]);
    }
}
