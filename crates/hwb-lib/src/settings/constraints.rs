//! Files of build constraints: the requirements format of pip, as far as constraints need it.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use hwb_ident::Requirement;
use hwb_uv::Constraint;

use super::key::first_line;

/// How deep `-c` and `-r` may follow one another.
const DEPTH: usize = 8;

/// Why a file holds no constraints.
#[derive(Debug, thiserror::Error)]
pub enum ConstraintsError {
    /// It cannot be read.
    #[error("the file cannot be read")]
    Read(#[source] io::Error),
    /// A line is no requirement.
    #[error("line {line}: `{text}` is not a requirement: {reason}")]
    Requirement {
        /// Counted from 1.
        line: usize,
        /// What stands there.
        text: String,
        /// Why not.
        reason: String,
    },
    /// A line holds an option that means nothing in constraints.
    #[error("line {line}: `{option}` is not understood in build constraints")]
    Option {
        /// Counted from 1.
        line: usize,
        /// The option.
        option: String,
    },
    /// A file that it includes.
    #[error("line {line}: the included file {} holds no constraints", path.display())]
    Included {
        /// Counted from 1.
        line: usize,
        /// The included file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<Self>,
    },
    /// Files include one another without end.
    #[error("files include one another more than {DEPTH} levels deep")]
    Depth,
}

/// Reads the constraints of a file and of those that it includes with `-c` or `-r`.
pub(super) fn read(path: &Path) -> Result<Vec<Constraint>, ConstraintsError> {
    read_level(path, DEPTH)
}

fn read_level(path: &Path, depth: usize) -> Result<Vec<Constraint>, ConstraintsError> {
    let depth = depth.checked_sub(1).ok_or(ConstraintsError::Depth)?;
    let text = fs_err::read_to_string(path).map_err(ConstraintsError::Read)?;
    let mut constraints = Vec::new();
    for (line, text) in logical_lines(&text) {
        match parse_line(line, &text)? {
            Line::Constraint(constraint) => constraints.push(constraint),
            Line::Include(included) => {
                let included = path.parent().unwrap_or(Path::new("")).join(included);
                let more = read_level(&included, depth).map_err(|source| ConstraintsError::Included {
                    line,
                    path: included,
                    source: Box::new(source),
                })?;
                constraints.extend(more);
            }
        }
    }
    Ok(constraints)
}

#[derive(Debug, PartialEq, Eq)]
enum Line {
    Constraint(Constraint),
    Include(String),
}

/// Lines with their numbers: continuations joined, comments and blank lines gone.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let (start, mut joined) = open.take().unwrap_or((number + 1, String::new()));
        let line = strip_comment(line);
        if let Some(line) = line.trim_end().strip_suffix('\\') {
            joined.push_str(line);
            open = Some((start, joined));
            continue;
        }
        joined.push_str(line);
        lines.push((start, joined));
    }
    lines.extend(open);
    lines.retain(|(_, line)| !line.trim().is_empty());
    lines
}

/// A `#` begins a comment at the start of a line and after white space; elsewhere it belongs to a URL.
fn strip_comment(line: &str) -> &str {
    let starts = line.match_indices('#').map(|(index, _)| index);
    let comment =
        starts.into_iter().find(|index| line[..*index].chars().next_back().is_none_or(char::is_whitespace));
    comment.map_or(line, |index| &line[..index])
}

fn parse_line(line: usize, text: &str) -> Result<Line, ConstraintsError> {
    let text = text.trim();
    for option in ["--constraint", "--requirement", "-c", "-r"] {
        let rest = text.strip_prefix(option).and_then(|rest| rest.strip_prefix([' ', '\t', '=']));
        if let Some(path) = rest {
            return Ok(Line::Include(path.trim().to_owned()));
        }
    }
    if text.starts_with('-') {
        let option = text.split_whitespace().next().unwrap_or(text).to_owned();
        return Err(ConstraintsError::Option { line, option });
    }
    let (requirement, options) = text.split_once(" --").map_or((text, ""), |(requirement, options)| {
        (requirement.trim(), &text[text.len() - options.len() - 2..])
    });
    let mut hashes = Vec::new();
    for option in options.split_whitespace() {
        match option.strip_prefix("--hash=") {
            Some(hash) if hash.contains(':') => hashes.push(hash.to_owned()),
            _ => return Err(ConstraintsError::Option { line, option: option.to_owned() }),
        }
    }
    match Requirement::from_str(requirement) {
        Ok(_) => Ok(Line::Constraint(Constraint { requirement: requirement.to_owned(), hashes })),
        Err(error) => Err(ConstraintsError::Requirement {
            line,
            text: requirement.to_owned(),
            reason: first_line(&error),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[(&str, &[&str])]) {
        let found = logical_lines(text)
            .into_iter()
            .map(|(line, text)| match parse_line(line, &text).unwrap() {
                Line::Constraint(constraint) => (constraint.requirement, constraint.hashes),
                Line::Include(path) => (format!("include {path}"), Vec::new()),
            })
            .collect::<Vec<_>>();
        let expect = expect
            .iter()
            .map(|(text, hashes)| {
                ((*text).to_owned(), hashes.iter().map(|hash| (*hash).to_owned()).collect::<Vec<_>>())
            })
            .collect::<Vec<_>>();
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn reads_constraints() {
        check("", &[]);
        check("# nothing\n\n  # at all\n", &[]);
        check("setuptools<80\nwheel  # newest\n", &[("setuptools<80", &[]), ("wheel", &[])]);
        check("a==1 --hash=sha256:aa --hash=sha512:bb\n", &[("a==1", &["sha256:aa", "sha512:bb"])]);
        check(
            "a==1 \\\n  --hash=sha256:aa \\\n  --hash=sha256:bb\nb",
            &[("a==1", &["sha256:aa", "sha256:bb"]), ("b", &[])],
        );
        check(
            "a==1 ; python_version < '3.9' --hash=sha256:aa",
            &[("a==1 ; python_version < '3.9'", &["sha256:aa"])],
        );
        check(
            "a @ https://example.org/a-1.zip#sha256=00",
            &[("a @ https://example.org/a-1.zip#sha256=00", &[])],
        );
        check("-c more.txt\n--constraint=x.txt", &[("include more.txt", &[]), ("include x.txt", &[])]);
    }

    #[test]
    fn says_which_line() {
        let error = |text: &str| {
            logical_lines(text)
                .into_iter()
                .find_map(|(line, text)| parse_line(line, &text).err())
                .unwrap()
                .to_string()
        };
        assert_eq!(error("a\n-e ./b"), "line 2: `-e` is not understood in build constraints");
        assert_eq!(error("a==1 --no-binary"), "line 1: `--no-binary` is not understood in build constraints");
        assert!(error("a\n\nb==\n").starts_with("line 3: `b==` is not a requirement"));
    }
}
