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
        walk.follow(&tree, root, &inherited);
        reached.extend(walk.loaded.keys().copied());
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
    for walk in walks.values() {
        for external in walk.external(&tree) {
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
    /// Each loaded file, and the one that it was loaded for.
    loaded: BTreeMap<usize, Option<usize>>,
    missing: BTreeSet<(usize, String)>,
}

impl<'a> Tree<'a> {
    fn new(objects: &'a [Object]) -> Self {
        let places = objects.iter().enumerate().map(|(number, object)| (installed(&object.path), number));
        Self { objects, places: places.collect() }
    }

    /// Folders of a run path that lie in the wheel, as paths below the folder that it is installed to.
    fn folders(&self, object: usize, run_path: &[String]) -> Vec<String> {
        run_path.iter().filter_map(|folder| self.resolve(object, folder)).collect()
    }

    fn resolve(&self, object: usize, folder: &str) -> Option<String> {
        let rest = ["$ORIGIN", "${ORIGIN}"].iter().find_map(|origin| folder.strip_prefix(origin))?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        let mut parts = installed(&self.objects[object].path);
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

    fn find(&self, folder: &str, library: &str, like: usize) -> Option<usize> {
        let place = folder.split('/').filter(|part| !part.is_empty()).chain([library]).collect::<Vec<_>>();
        let found = *self.places.get(&place)?;
        (self.objects[found].architecture == self.objects[like].architecture).then_some(found)
    }
}

/// A path as it is after installation: `.data/platlib` and `.data/purelib` are folded into the rest.
fn installed(path: &str) -> Vec<&str> {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [data, "platlib" | "purelib", rest @ ..] if data.ends_with(".data") => rest.to_vec(),
        _ => parts,
    }
}

impl Walk {
    fn follow(&mut self, tree: &Tree<'_>, root: usize, inherited: &[String]) {
        if self.loaded.contains_key(&root) {
            return;
        }
        self.loaded.insert(root, None);
        let mut queue = VecDeque::from([root]);
        while let Some(object) = queue.pop_front() {
            let folders = match &tree.objects[object].run_path {
                RunPath::Own(own) => tree.folders(object, own),
                RunPath::Inherited(own) => [tree.folders(object, own), inherited.to_vec()].concat(),
            };
            for library in &tree.objects[object].needed {
                let found = folders.iter().find_map(|folder| tree.find(folder, library, object));
                match found {
                    Some(found) if self.loaded.contains_key(&found) => {}
                    Some(found) => {
                        self.loaded.insert(found, Some(object));
                        queue.push_back(found);
                    }
                    None => {
                        self.missing.insert((object, library.clone()));
                    }
                }
            }
        }
    }

    fn external(&self, tree: &Tree<'_>) -> Vec<External> {
        let names = self.loaded.keys().map(|object| &tree.objects[*object]);
        let names: BTreeSet<&str> =
            names.flat_map(|object| [Some(object.file_name()), object.soname.as_deref()]).flatten().collect();
        let missing = self.missing.iter().filter(|(_, library)| !names.contains(library.as_str()));
        let external = missing.map(|(object, library)| {
            let above = |object: &usize| self.loaded.get(object).copied().flatten();
            let mut chain: Vec<usize> = std::iter::successors(Some(*object), above).collect();
            chain.reverse();
            External { object: *object, library: library.clone(), chain }
        });
        external.collect()
    }
}
