//! Where links lead.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// Links that are followed before a chain counts as endless, as in the kernel.
const MOST_LINKS: usize = 40;

/// Follows the link at `link` (relative to `root`, which is absolute and free of links) as the kernel would, through
/// other links too, and says what it is to hold in a copy of the tree: `target` itself, or a relative path where
/// it was absolute. `None` if any step of the way lies outside `root`.
///
/// What does not exist leads nowhere else: a dangling link inside the tree stays one.
pub(crate) fn confine(root: &Path, link: &Path, target: &Path) -> Option<PathBuf> {
    let mut at: Vec<OsString> = link.parent()?.iter().map(OsString::from).collect();
    let depth = at.len();
    let mut ahead = VecDeque::new();
    let mut followed = 0;
    enter(root, target, &mut at, &mut ahead)?;
    while let Some(part) = ahead.pop_front() {
        if part == ".." {
            at.pop()?;
            continue;
        }
        at.push(part);
        let here = root.join(at.iter().collect::<PathBuf>());
        if let Ok(next) = std::fs::read_link(here) {
            followed += 1;
            if followed > MOST_LINKS {
                break;
            }
            at.pop();
            enter(root, &next, &mut at, &mut ahead)?;
        }
    }
    if target.is_relative() {
        return Some(target.to_owned());
    }
    let inside = target.strip_prefix(root).ok()?;
    let mut relative: PathBuf = std::iter::repeat_n("..", depth).collect();
    relative.push(inside);
    if relative.as_os_str().is_empty() {
        relative.push(".");
    }
    Some(relative)
}

/// Puts the parts of `target` in front of what is ahead; an absolute one starts again at the root of the tree.
fn enter(root: &Path, target: &Path, at: &mut Vec<OsString>, ahead: &mut VecDeque<OsString>) -> Option<()> {
    let inside = if target.is_absolute() {
        at.clear();
        target.strip_prefix(root).ok()?
    } else {
        target
    };
    for component in inside.components().rev() {
        match component {
            Component::Normal(part) => ahead.push_front(part.to_owned()),
            Component::ParentDir => ahead.push_front("..".into()),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn stays_inside_or_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("tree/a/b")).unwrap();
        let root = root.join("tree");
        symlink("a/b", root.join("deep")).unwrap();
        symlink("../..", root.join("a/out")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink(&root, root.join("a/top")).unwrap();
        let check = |link: &str, target: &str, expect: Option<&str>| {
            let found = confine(&root, Path::new(link), Path::new(target));
            assert_eq!(found, expect.map(PathBuf::from), "{link} -> {target}");
        };
        check("a/l", "../x", Some("../x"));
        check("a/l", "b/./c", Some("b/./c"));
        check("a/l", "absent/../b", Some("absent/../b"));
        check("l", "loop/x", Some("loop/x"));
        check("l", "deep/../..", Some("deep/../.."));
        check("l", "..", None);
        check("a/l", "../../tree/x", None);
        check("l", "deep/../../..", None);
        check("l", "a/out/x", None);
        check("l", "a/top/a/top/../x", None);
        check("l", "a/top/a/top/x", Some("a/top/a/top/x"));
        check("l", "/etc/passwd", None);
        check("l", root.join("a/b").to_str().unwrap(), Some("a/b"));
        check("a/b/l", root.join("x").to_str().unwrap(), Some("../../x"));
        check("l", root.to_str().unwrap(), Some("."));
        check("a/l", root.join("../tree/x").to_str().unwrap(), None);
        check("a/l", &format!("{}-sibling", root.display()), None);
    }
}
