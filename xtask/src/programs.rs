//! Starting other programs.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// Names a program to run.
#[expect(
    clippy::disallowed_methods,
    reason = "tasks drive the tools of the project; nothing here is foreign code"
)]
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    Command::new(name)
}

/// Runs a command on this terminal.
///
/// # Errors
///
/// The command does not start, or ends with anything but success.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("could not start {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs a command and returns its standard output.
///
/// # Errors
///
/// The command does not start, or ends with anything but success: then the error has the end of its output.
pub(crate) fn capture(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not start {}", shown(command)))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!(
            "{} ended with {}:\n{}",
            shown(command),
            output.status,
            tail(&String::from_utf8_lossy(&said), 12)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command on this terminal and shows each line of its standard output to `each` as well.
///
/// # Errors
///
/// The command does not start, or its output cannot be read. How it ended is the answer.
pub(crate) fn watch(
    command: &mut Command,
    mut each: impl FnMut(&str),
) -> anyhow::Result<std::process::ExitStatus> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start {}", shown(command)))?;
    let stdout = child.stdout.take().context("the child has no standard output")?;
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.with_context(|| format!("could not read from {}", shown(command)))?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        each(&line);
    }
    child.wait().with_context(|| format!("could not wait for {}", shown(command)))
}

/// Whether a command ends with success; its output is thrown away.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Removes what is at a place, whatever it is, if anything is.
///
/// # Errors
///
/// It cannot be removed.
pub(crate) fn remove(place: &Path) -> anyhow::Result<()> {
    capture(program("rm").arg("-rf").arg(place)).map(drop)
}

/// Makes an empty folder where anything may have been.
///
/// # Errors
///
/// What is there cannot be removed, or the folder not be made.
pub(crate) fn empty(folder: &Path) -> anyhow::Result<PathBuf> {
    remove(folder)?;
    fs_err::create_dir_all(folder)?;
    Ok(folder.to_owned())
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let mut text = words.join(" ");
    if text.chars().count() > 200 {
        text = text.chars().take(200).collect::<String>() + " …";
    }
    format!("`{text}`")
}

#[cfg(test)]
mod tests {
    use super::{capture, program, succeeds, tail};

    #[test]
    fn a_tail_keeps_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
    }

    #[test]
    fn a_failed_command_shows_its_end() {
        let error = capture(program("sh").args(["-c", "echo so; echo sad >&2; exit 3"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sh -c echo so; echo sad >&2; exit 3` ended with exit status: 3:\nso\nsad"
        );
        assert!(!succeeds(&mut program("/does/not/exist")));
    }
}
