//! Where the files of a repaired wheel look for libraries.

use std::collections::BTreeSet;

use crate::elf::edit::RunPathEdit;
use crate::object::{Object, RunPath};
use crate::walk::{inside, installed};

/// The run path of a file that is to be at `path`, and finds what it needs in `folders` too; these and what it keeps are
/// below the folder of all packages.
pub(super) fn of_member(object: &Object, path: &str, folders: &BTreeSet<String>) -> RunPathEdit {
    let (RunPath::Own(old) | RunPath::Inherited(old)) = &object.run_path;
    let stays = |entry: &&String| inside(&object.path, entry).is_some();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    // A file that moves takes nothing along: what its entries meant is somewhere else.
    let kept: Vec<&String> =
        if path == object.path { old.iter().filter(stays).collect() } else { Vec::new() };
    seen.extend(kept.iter().filter_map(|entry| inside(path, entry)));
    let mut entries: Vec<String> = kept.into_iter().cloned().collect();
    let new = folders.iter().filter(|folder| !seen.contains(*folder));
    entries.extend(new.map(|folder| relative(path, folder)));
    if entries == *old {
        return RunPathEdit::Keep;
    }
    match (entries.is_empty(), folders.is_empty(), &object.run_path) {
        (true, _, _) => RunPathEdit::Remove,
        // What is only made clean stays of its kind.
        (false, true, RunPath::Own(_)) => RunPathEdit::Runpath(entries.join(":")),
        (false, true, RunPath::Inherited(_)) | (false, false, _) => RunPathEdit::Rpath(entries.join(":")),
    }
}

/// The run path of a library that was grafted into the folder `home`.
pub(super) fn of_graft(path: &str, folders: &BTreeSet<String>) -> RunPathEdit {
    if folders.is_empty() {
        return RunPathEdit::Remove;
    }
    let entries: Vec<String> = folders.iter().map(|folder| relative(path, folder)).collect();
    RunPathEdit::Rpath(entries.join(":"))
}

/// A folder as the run path of the file at `path` names it, after installation.
fn relative(path: &str, folder: &str) -> String {
    let mut from = installed(path);
    from.pop();
    let to: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    let shared = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
    let up = std::iter::repeat_n("..", from.len() - shared);
    let parts: Vec<&str> = std::iter::once("$ORIGIN").chain(up).chain(to[shared..].iter().copied()).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use hwb_testkit::Elf;

    use super::*;

    fn edit(elf: Elf, path: &str, folders: &[&str]) -> RunPathEdit {
        let object = Object::read(path, &elf.build()).unwrap();
        of_member(&object, path, &folders.iter().map(|folder| (*folder).to_owned()).collect())
    }

    #[test]
    fn leads_to_the_libraries() {
        let rpath = |path: &str| RunPathEdit::Rpath(path.to_owned());
        let runpath = |path: &str| RunPathEdit::Runpath(path.to_owned());
        let plain = Elf::new;
        assert_eq!(edit(plain(), "a.so", &["a.libs"]), rpath("$ORIGIN/a.libs"));
        assert_eq!(edit(plain(), "p/q/a.so", &["a.libs"]), rpath("$ORIGIN/../../a.libs"));
        assert_eq!(edit(plain(), "p/q/a.so", &["p"]), rpath("$ORIGIN/.."));
        assert_eq!(edit(plain(), "a-1.data/platlib/p/a.so", &["a.libs"]), rpath("$ORIGIN/../a.libs"));
        assert_eq!(
            edit(plain().runpath("/opt:$ORIGIN/lib"), "p/a.so", &["a.libs", "n/lib"]),
            rpath("$ORIGIN/lib:$ORIGIN/../a.libs:$ORIGIN/../n/lib")
        );
        assert_eq!(edit(plain().rpath("$ORIGIN/../a.libs"), "p/a.so", &["a.libs"]), RunPathEdit::Keep);
        // Nothing is needed, but what leads out goes.
        assert_eq!(edit(plain().runpath("/opt:$ORIGIN"), "p/a.so", &[]), runpath("$ORIGIN"));
        assert_eq!(edit(plain().rpath("$ORIGIN/../../x:$ORIGIN"), "p/a.so", &[]), rpath("$ORIGIN"));
        assert_eq!(edit(plain().rpath("/opt"), "p/a.so", &[]), RunPathEdit::Remove);
        assert_eq!(edit(plain().runpath("$ORIGIN"), "p/a.so", &[]), RunPathEdit::Keep);
        assert_eq!(edit(plain(), "p/a.so", &[]), RunPathEdit::Keep);
        assert_eq!(of_graft("a.libs/x.so", &["a.libs".to_owned()].into()), rpath("$ORIGIN"));
    }
}
