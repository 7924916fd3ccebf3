//! How a failure is shown: its chain of causes and what to try, or one JSON document.

use std::io::Write as _;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use hwb_lib::error::LogExcerpt;
use hwb_lib::schema::ErrorDocument;
use hwb_lib::{Error, ErrorKind};

use crate::arguments::Output;
use crate::render::text::{row, visible};
use crate::render::{finish, print_json};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const CAUSE: Style = Style::new().dimmed();
/// The most that is shown of a log.
const TAIL: usize = 20;
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// Shows a failure and gives its exit code.
pub(crate) fn report(error: &Error, output: Output) -> ExitCode {
    if output == Output::Json {
        print_json(&ErrorDocument::from(error));
    }
    // A document that was lost is said in words.
    if output == Output::Text || finish().is_err() {
        // Nobody is left to be told that standard error is closed.
        let _closed = anstream::stderr().write_all(text(error).as_bytes());
    }
    ExitCode::from(error.kind().exit_code())
}

fn text(error: &Error) -> String {
    // A log comes first: what is read first is what stands last.
    // Who stopped it knows why it ended.
    let log = error.log().filter(|_| error.kind() != ErrorKind::Interrupted);
    let mut text = log.map_or_else(String::new, excerpt);
    for (level, message) in error.chain().enumerate() {
        let (style, label) = if level == 0 { (ERROR, "error") } else { (CAUSE, "  caused by") };
        text.push_str(&format!("{style}{label}:{style:#} {}\n", indented(&message, 4)));
    }
    for hint in error.hints() {
        text.push_str(&format!("{HINT}hint:{HINT:#} {}\n", indented(hint, 6)));
    }
    text
}

/// The end of a log below a rule of its own, and where the rest is.
fn excerpt(log: &LogExcerpt) -> String {
    let LogExcerpt { tail, path } = log;
    let mut text = String::new();
    for line in &tail[tail.len().saturating_sub(TAIL)..] {
        text.push_str(&format!("  {CAUSE}│{CAUSE:#} {}\n", row(line)));
    }
    if let Some(path) = path {
        let path = visible(&path.display().to_string());
        text.push_str(&format!("  {CAUSE}the whole log:{CAUSE:#} {path}\n"));
    }
    text
}

/// Foreign text below a label: lines after the first stand below the text; empty ones stay empty.
fn indented(text: &str, columns: usize) -> String {
    let text = visible(text.trim_end());
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default().to_owned();
    lines.fold(first, |all, line| match line.trim_end() {
        "" => all + "\n",
        line => all + "\n" + &" ".repeat(columns) + line,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_end_of_a_log() {
        let mut tail = (0..30).map(|n| format!("line {n}")).collect::<Vec<_>>();
        tail.extend(["\x1b[31mcc: error\x1b[0m".to_owned(), String::new()]);
        let log = LogExcerpt { tail, path: Some("/cache/log.txt".into()) };
        let plain = anstream::adapter::strip_str(&excerpt(&log)).to_string();
        assert!(plain.starts_with("  │ line 12\n  │ line 13\n"), "{plain}");
        assert!(plain.ends_with("  │ cc: error\n  │ \n  the whole log: /cache/log.txt\n"), "{plain}");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("failed to build `greeter`")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn shows_causes_and_hints() {
        let cause = std::io::Error::other("cc said no\nin two lines");
        let error = Error::new(ErrorKind::Build, Outer(cause)).hint("install a compiler");
        let plain = anstream::adapter::strip_str(&text(&error)).to_string();
        assert_eq!(
            plain,
            "error: failed to build `greeter`\n  caused by: cc said no\n    in two lines\nhint: install a compiler\n"
        );
        let cause = std::io::Error::other("\x1b[2J\x1b]52;c;cm0=\x07");
        let error = Error::new(ErrorKind::Build, Outer(cause));
        let cause = format!("{CAUSE}  caused by:{CAUSE:#} \\x1b[2J\\x1b]52;c;cm0=\\x07\n");
        assert!(text(&error).ends_with(&cause), "{:?}", text(&error));
    }

    #[test]
    fn writes_a_document() {
        let error = Error::new(ErrorKind::Build, Outer(std::io::Error::other("cc said no\nin two lines")));
        let document = serde_json::to_value(ErrorDocument::from(&error)).unwrap();
        assert_eq!(document["error"]["kind"], "build");
        assert_eq!(document["error"]["causes"][0], "cc said no\nin two lines");
    }
}
