//! The libraries of a system, looked for as its dynamic loader would.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use globset::Glob;
use hwb_repair::{Architecture, Object, Wanted};

/// What the loaders of glibc and musl search without being told to.
const ALWAYS: [&str; 5] = ["lib64", "usr/lib64", "lib", "usr/lib", "usr/local/lib"];
/// A link that leads through more links leads in a circle.
const MOST_LINKS: usize = 16;
/// A configuration that includes itself ends here.
const MOST_INCLUDES: usize = 8;

/// A system below a folder.
#[derive(Debug)]
pub(super) struct Search {
    root: PathBuf,
    /// Below the root, in the order in which they are searched.
    folders: Vec<PathBuf>,
}

impl Search {
    /// Reads how the system's loader is configured (`ld.so.conf`, and `ld-musl-*.path`).
    pub(super) fn new(root: &Path) -> Self {
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
        Self { root: root.to_owned(), folders }
    }

    /// The first library of the name that is for the machine; files that are no such library are passed over.
    pub(super) fn find(&self, wanted: &Wanted) -> Option<Object> {
        if wanted.library.contains('/') {
            return None;
        }
        self.folders.iter().find_map(|folder| {
            let inside = folder.join(&wanted.library);
            let bytes = fs_err::read(self.follow(&inside)).ok()?;
            let object = Object::read(&Path::new("/").join(&inside).to_string_lossy(), &bytes).ok()?;
            object.architecture.is_some_and(|machine| wanted.architecture.admits(machine)).then_some(object)
        })
    }

    /// Where a file is, its links followed as the system itself would.
    fn follow(&self, inside: &Path) -> PathBuf {
        let mut path = self.root.join(inside);
        for _ in 0..MOST_LINKS {
            let Ok(target) = fs_err::read_link(&path) else { break };
            path = match target.strip_prefix("/") {
                Ok(inside) => self.root.join(inside),
                Err(_) => path.parent().unwrap_or(&self.root).join(target),
            };
        }
        path
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
        put("etc/ld.so.conf.d/b.conf", b"# words\n/opt/b\n");
        put("etc/ld.so.conf.d/a.conf", b"/opt/a # first\n");
        put("etc/ld.so.conf.d/ignored", b"/opt/ignored\n");
        put("opt/ignored/libx.so", &Elf::new().build());
        put("opt/a/libx.so", b"INPUT(libx.so.1)");
        put("opt/b/libx.so", &Elf::aarch64().build());
        put("opt/late/real.so", &Elf::new().build());
        std::os::unix::fs::symlink("/opt/late/real.so", root.path().join("opt/late/libx.so")).unwrap();
        std::os::unix::fs::symlink("circle.so", root.path().join("opt/late/circle.so")).unwrap();
        let search = Search::new(root.path());
        let find = |library: &str, architecture: Architecture| {
            let wanted = Wanted { architecture, library: library.to_owned() };
            search.find(&wanted).map(|object| object.path)
        };
        assert_eq!(find("libx.so", Architecture::X86_64).as_deref(), Some("/opt/late/libx.so"));
        assert_eq!(find("libx.so", Architecture::Aarch64).as_deref(), Some("/opt/b/libx.so"));
        for absent in ["circle.so", "absent.so", "../late/real.so"] {
            assert_eq!(find(absent, Architecture::X86_64), None, "{absent}");
        }
    }
}
