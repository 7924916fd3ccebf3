//! Progress as lines, for logs and pipes.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use anstyle::{AnsiColor, Style};
use hwb_lib::Event;
use hwb_lib::event::Cell;

use super::text;
use crate::arguments::Verbosity;

const TITLE: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
pub(super) const WARNING: Style = AnsiColor::Yellow.on_default().bold();
pub(super) const NOTE: Style = AnsiColor::Cyan.on_default().bold();

/// Writes a line when a phase is over and, if asked to, each line of the backend's log.
#[derive(Debug)]
pub(crate) struct Plain {
    verbosity: Verbosity,
    titles: Mutex<BTreeMap<Cell, String>>,
}

impl Plain {
    /// Nothing was said yet.
    pub(super) fn new(verbosity: Verbosity) -> Self {
        Self { verbosity, titles: Mutex::new(BTreeMap::new()) }
    }

    /// Writes what an event is worth.
    pub(super) fn show(&self, event: &Event) {
        if let Some(line) = self.line(event) {
            let _closed = anstream::stderr().write_all((line + "\n").as_bytes());
        }
    }

    fn line(&self, event: &Event) -> Option<String> {
        match event {
            Event::Started { cell, title } => {
                let mut titles = self.titles.lock().unwrap_or_else(PoisonError::into_inner);
                let title = text::row(title);
                let line = format!("{TITLE}{title}{TITLE:#}");
                titles.insert(*cell, title);
                Some(line)
            }
            Event::PhaseDone { cell, phase, elapsed } => {
                // A build that another one waits for is a part of that one's phase.
                let prefix = self.prefix(*cell)?;
                Some(format!("  {prefix}{} {DIM}{}{DIM:#}", phase.label(), text::elapsed(*elapsed)))
            }
            Event::Log { cell, line } if self.verbosity == Verbosity::Verbose => {
                let prefix = self.prefix(*cell).unwrap_or_default();
                Some(format!("    {DIM}{prefix}{DIM:#}{}", text::row(line)))
            }
            Event::Fetched { what, bytes } | Event::Sent { what, bytes } => {
                Some(format!("  {} {DIM}{}{DIM:#}", text::row(what), text::size(*bytes)))
            }
            Event::Note { message } => Some(format!("{NOTE}note:{NOTE:#} {}", text::visible(message))),
            Event::Warning { message } => {
                Some(format!("{WARNING}warning:{WARNING:#} {}", text::visible(message)))
            }
            Event::Log { .. } | Event::Phase { .. } | Event::Finished { .. } => None,
        }
    }

    /// Of which build a line speaks, once there are several; `None` if the build never began on its own.
    fn prefix(&self, cell: Cell) -> Option<String> {
        let titles = self.titles.lock().unwrap_or_else(PoisonError::into_inner);
        let title = titles.get(&cell)?;
        Some(if titles.len() > 1 { format!("{title}: ") } else { String::new() })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hwb_lib::event::Phase;

    use super::*;

    #[test]
    fn several_builds_are_told_apart() {
        let plain = Plain::new(Verbosity::Normal);
        let line =
            |event: &Event| plain.line(event).map(|line| anstream::adapter::strip_str(&line).to_string());
        let started = |cell, title: &str| Event::Started { cell: Cell(cell), title: title.to_owned() };
        let done =
            Event::PhaseDone { cell: Cell(0), phase: Phase::Wheel, elapsed: Duration::from_millis(1250) };
        assert_eq!(line(&started(0, "a for cpython 3.11")).unwrap(), "a for cpython 3.11");
        assert_eq!(line(&done).unwrap(), "  building wheel 1.2s");
        assert_eq!(line(&started(1, "a for cpython 3.12")).unwrap(), "a for cpython 3.12");
        assert_eq!(line(&done).unwrap(), "  a for cpython 3.11: building wheel 1.2s");
        assert_eq!(line(&Event::Log { cell: Cell(0), line: "x".to_owned() }), None);
    }

    #[test]
    fn no_event_commands_the_terminal() {
        let plain = Plain::new(Verbosity::Verbose);
        let foreign = || "a\x1b[2J\u{9b}2J\x07".to_owned();
        for event in [
            Event::Started { cell: Cell(0), title: foreign() },
            Event::Log { cell: Cell(0), line: foreign() },
            Event::Note { message: foreign() },
            Event::Warning { message: foreign() },
        ] {
            // Our own styles are colours.
            let line = plain.line(&event).unwrap();
            let is_colour = |rest: &str| {
                rest.trim_start_matches(|c: char| c == '[' || c.is_ascii_digit()).starts_with('m')
            };
            assert!(line.split('\x1b').skip(1).all(is_colour), "{line:?}");
            assert!(!line.contains(['\x07', '\u{9b}']), "{line:?}");
        }
    }
}
