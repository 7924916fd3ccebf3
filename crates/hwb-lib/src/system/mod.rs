//! The libraries of a system, looked for as its dynamic loader would.

pub(crate) mod packages;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use globset::{Glob, GlobMatcher};
use hwb_repair::{Architecture, Code, Exceptions, Library, Sysroot, Wanted};

/// What the loaders of glibc and musl search without being told to.
const ALWAYS: [&str; 5] = ["lib64", "usr/lib64", "lib", "usr/lib", "usr/local/lib"];
/// A link that leads through more links leads in a circle.
const MOST_LINKS: usize = 16;
/// A configuration that includes itself ends here.
const MOST_INCLUDES: usize = 8;

/// A system below a folder, and folders that are searched before it.
#[derive(Debug)]
pub(crate) struct System {
    root: PathBuf,
    /// As the user sees them: for libraries that are not installed.
    first: Vec<PathBuf>,
    /// Below the root, in the order in which they are searched.
    folders: Vec<PathBuf>,
    /// What was found, by where it is; `None` for what is no library.
    read: RefCell<BTreeMap<PathBuf, Option<Library>>>,
}

impl System {
    /// Reads how the system's loader is configured (`ld.so.conf`, and `ld-musl-*.path`).
    pub(crate) fn new(root: &Path) -> Self {
        let mut folders = Vec::new();
        configured(root, Path::new("etc/ld.so.conf"), MOST_INCLUDES, &mut folders);
        for architecture in Architecture::ALL {
            let path = format!("etc/ld-musl-{architecture}.path");
            let text = fs_err::read_to_string(root.join(path)).unwrap_or_default();
            folders.extend(text.split([':', '\n']).filter(|line| !line.is_empty()).map(below_root));
        }
        folders.extend(ALWAYS.map(PathBuf::from));
        let mut seen = BTreeSet::new();
        folders.retain(|folder| seen.insert(folder.clone()));
        Self { root: root.to_owned(), first: Vec::new(), folders, read: RefCell::default() }
    }

    /// Searches these folders before the run paths of what needs a library.
    pub(crate) fn searching_first(self, first: Vec<PathBuf>) -> Self {
        Self { first, ..self }
    }

    /// Searches only these folders of the system in place of those that its loader is configured for.
    pub(crate) fn searching_only(self, folders: &[PathBuf]) -> Self {
        let folders = folders.iter().map(|folder| below_root(&folder.to_string_lossy())).collect();
        Self { folders, ..self }
    }

    /// The folder that the system is below.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Looks for everything that some code needs from outside, and for what that needs in turn.
    pub(crate) fn fill(&self, known: &mut Sysroot, code: &Code, exceptions: &Exceptions) {
        loop {
            let wanted = code.wanted(known, exceptions);
            if wanted.is_empty() {
                break;
            }
            for wanted in wanted {
                let found = self.find(&wanted);
                known.note(wanted, found);
            }
        }
    }

    /// The names of the files, in all folders that are searched, that a pattern matches.
    pub(crate) fn names(&self, pattern: &GlobMatcher) -> BTreeSet<String> {
        let inside = self.folders.iter().map(|folder| self.root.join(folder));
        let entries = self
            .first
            .iter()
            .cloned()
            .chain(inside)
            .flat_map(|folder| fs_err::read_dir(folder).into_iter().flatten());
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| pattern.is_match(name)).collect()
    }

    /// The first library of the name that is for the machine and the C library; files that are no such library are
    /// passed over.
    fn find(&self, wanted: &Wanted) -> Option<Library> {
        let name = &wanted.library;
        let library = |place: PathBuf| self.library(&place).filter(|library| wanted.admits(library));
        if name.starts_with('/') {
            return library(self.follow(&below_root(name))?);
        }
        if name.contains('/') {
            return None;
        }
        let first = self.first.iter().filter_map(|folder| fs_err::canonicalize(folder.join(name)).ok());
        let run_path = wanted.folders.iter().map(|folder| below_root(folder));
        let inside = run_path.chain(self.folders.iter().cloned());
        let inside = inside.filter_map(|folder| self.follow(&folder.join(name)));
        first.chain(inside).find_map(library)
    }

    /// Reads the library at a place, once; `None` if there is none.
    fn library(&self, place: &Path) -> Option<Library> {
        if let Some(known) = self.read.borrow().get(place) {
            return known.clone();
        }
        // Who reads a pipe waits for somebody to write to it.
        let bytes = place.is_file().then(|| fs_err::read(place).ok()).flatten();
        let library = bytes.and_then(|bytes| Library::read(&self.shown(place), &bytes).ok());
        self.read.borrow_mut().insert(place.to_owned(), library.clone());
        library
    }

    /// A place as the system itself calls it; one elsewhere as it is.
    fn shown(&self, place: &Path) -> String {
        let inside = place.strip_prefix(&self.root).map(|inside| Path::new("/").join(inside));
        inside.as_deref().unwrap_or(place).to_string_lossy().into_owned()
    }

    /// Where a library is that was found, by its path.
    pub(crate) fn place(&self, shown: &str) -> Option<PathBuf> {
        self.read.borrow().keys().find(|place| self.shown(place) == shown).cloned()
    }

    /// Where a file is, with every link followed as the system itself would; `None` if it is not there.
    fn follow(&self, inside: &Path) -> Option<PathBuf> {
        let mut open: Vec<OsString> = Vec::new();
        let push = |open: &mut Vec<OsString>, path: &Path| {
            let parts = path.components().rev().filter(|part| !matches!(part, Component::RootDir));
            open.extend(parts.map(|part| part.as_os_str().to_owned()));
        };
        push(&mut open, inside);
        let (mut place, mut depth, mut links) = (self.root.clone(), 0_usize, 0);
        while let Some(part) = open.pop() {
            match part.to_str() {
                Some(".") => continue,
                // Above the root is the root.
                Some("..") if depth == 0 => continue,
                Some("..") => {
                    place.pop();
                    depth -= 1;
                    continue;
                }
                _ => {}
            }
            let next = place.join(&part);
            let Ok(target) = fs_err::read_link(&next) else {
                place = next;
                depth += 1;
                continue;
            };
            links += 1;
            if links > MOST_LINKS {
                return None;
            }
            if target.is_absolute() {
                (place, depth) = (self.root.clone(), 0);
            }
            push(&mut open, &target);
        }
        place.is_file().then_some(place)
    }
}

fn below_root(path: &str) -> PathBuf {
    PathBuf::from(path.trim().trim_start_matches('/'))
}

/// The folders that a file of the form of `ld.so.conf` names; one that is not there names none.
fn configured(root: &Path, file: &Path, includes: usize, folders: &mut Vec<PathBuf>) {
    let text = fs_err::read_to_string(root.join(file)).unwrap_or_default();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] | ["hwcap", ..] => {}
            ["include", patterns @ ..] if includes > 0 => {
                for pattern in patterns {
                    for file in matching(root, file, pattern) {
                        configured(root, &file, includes - 1, folders);
                    }
                }
            }
            ["include", ..] => {}
            [folder, ..] => folders.push(below_root(folder.split('=').next().unwrap_or(folder))),
        }
    }
}

/// The files that a pattern names, by name; stars may be in its last part.
fn matching(root: &Path, from: &Path, pattern: &str) -> Vec<PathBuf> {
    let pattern = match pattern.strip_prefix('/') {
        Some(absolute) => PathBuf::from(absolute),
        None => from.parent().unwrap_or(from).join(pattern),
    };
    let (Some(folder), Some(name)) = (pattern.parent(), pattern.file_name()) else { return Vec::new() };
    let Ok(glob) = Glob::new(&name.to_string_lossy()) else { return Vec::new() };
    let glob = glob.compile_matcher();
    let entries = fs_err::read_dir(root.join(folder)).into_iter().flatten().flatten();
    let names = entries.map(|entry| PathBuf::from(entry.file_name())).filter(|name| glob.is_match(name));
    let mut found: Vec<PathBuf> = names.map(|name| folder.join(name)).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use hwb_repair::Libc;
    use hwb_testkit::Elf;

    use super::*;

    #[test]
    fn finds_what_the_loader_of_the_system_would() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, contents: &[u8]| {
            let path = root.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, contents).unwrap();
        };
        put("etc/ld.so.conf", b"include ld.so.conf.d/*.conf\ninclude ld.so.conf\n/opt/late\n");
        put("etc/ld.so.conf.d/b.conf", b"# words\n/opt/b\n/opt/c\n");
        put("etc/ld.so.conf.d/a.conf", b"/opt/a # first\n");
        put("etc/ld.so.conf.d/ignored", b"/opt/ignored\n");
        put("opt/ignored/libx.so", &Elf::new().build());
        put("opt/a/libx.so", b"INPUT(libx.so.1)");
        put("opt/b/libx.so", &Elf::aarch64().build());
        put("opt/c/libx.so", &Elf::new().needs("libc.musl-x86_64.so.1").build());
        put("opt/late/real.so", &Elf::new().build());
        std::os::unix::fs::symlink("/opt/late/real.so", root.path().join("opt/late/libx.so")).unwrap();
        std::os::unix::fs::symlink("circle.so", root.path().join("opt/late/circle.so")).unwrap();
        let system = System::new(root.path());
        let find = |library: &str, architecture: Architecture| {
            let (library, libc, folders) = (library.to_owned(), Libc::Glibc, Vec::new());
            let wanted = Wanted { architecture, libc, library, folders };
            system.find(&wanted).map(|library| library.object.path)
        };
        assert_eq!(find("libx.so", Architecture::X86_64).as_deref(), Some("/opt/late/real.so"));
        assert_eq!(find("libx.so", Architecture::Aarch64).as_deref(), Some("/opt/b/libx.so"));
        for absent in ["circle.so", "absent.so", "../late/real.so"] {
            assert_eq!(find(absent, Architecture::X86_64), None, "{absent}");
        }
    }
}
