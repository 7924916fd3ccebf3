//! `docs/evidence.md`: one section for each part of the third tier, between markers.

use std::fmt::Write as _;

use crate::programs::{capture, program};
use crate::workspace::Workspace;

const TITLE: &str =
    "# What was measured\n\nWritten by `cargo xtask full <part>`, one section a part; do not edit by hand.\n";

/// What one part of the third tier found.
#[derive(Debug)]
pub(crate) struct Section {
    /// The part, as the command line names it.
    pub(crate) part: &'static str,
    /// What was run, in words.
    pub(crate) command: String,
    /// The findings, in Markdown.
    pub(crate) body: String,
    /// What did not come out as it must, by name.
    pub(crate) failed: Vec<String>,
}

/// Replaces a part's section in the evidence, with the commit and the date.
pub(crate) fn write(workspace: &Workspace, section: &Section) -> anyhow::Result<()> {
    let path = workspace.root.join("docs/evidence.md");
    let old = fs_err::read_to_string(&path).unwrap_or_else(|_| TITLE.to_owned());
    let git = || {
        let mut command = program("git");
        command.current_dir(&workspace.root);
        command
    };
    let commit = capture(git().args(["rev-parse", "--short=12", "HEAD"]))?;
    let clean = capture(git().args(["status", "--porcelain", "--untracked-files=no"]))?.is_empty();
    let date = capture(program("date").args(["-u", "+%Y-%m-%d"]))?;
    let state = if clean { "" } else { " with changes not committed" };
    let stamp = format!("{}, commit {}{state}", date.trim(), commit.trim());
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    fs_err::write(&path, replaced(&old, section, &stamp))?;
    println!("written: docs/evidence.md, section {}", section.part);
    Ok(())
}

/// The text with one section replaced, or added at its end.
fn replaced(old: &str, section: &Section, stamp: &str) -> String {
    let Section { part, command, body, failed: _ } = section;
    let (begin, end) = (format!("<!-- {part}: begin -->\n"), format!("<!-- {part}: end -->\n"));
    let mut new = begin.clone();
    write!(new, "## {part}\n\n`{command}` ({stamp})\n\n{}\n", body.trim_end())
        .expect("writing to a string succeeds");
    new.push_str(&end);
    match old.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1))) {
        Some((before, after)) => format!("{before}{new}{after}"),
        None => format!("{}\n\n{new}", old.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Section, replaced};

    #[test]
    fn a_section_is_replaced_where_it_stands() {
        let section = |body: &str| Section {
            part: "corpus",
            command: "x".to_owned(),
            body: body.to_owned(),
            failed: Vec::new(),
        };
        let first = replaced("# T\n", &section("one\n"), "today");
        assert_eq!(
            first,
            "# T\n\n<!-- corpus: begin -->\n## corpus\n\n`x` (today)\n\none\n<!-- corpus: end -->\n"
        );
        let other = replaced(&first, &Section { part: "bench", ..section("b") }, "today");
        let second = replaced(&other, &section("two"), "later");
        assert!(
            second.contains("two") && !second.contains("one") && second.ends_with("<!-- bench: end -->\n")
        );
    }
}
