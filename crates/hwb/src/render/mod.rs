//! What people see: standard output has results, standard error has progress.

mod live;
mod plain;
pub(crate) mod table;
pub(crate) mod text;

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::OnceLock;

use hwb_lib::{Ambient, Error, ErrorKind, Event};
use serde::Serialize;

use self::live::Live;
use self::plain::Plain;
use crate::arguments::Verbosity;

/// Where events of a running command go.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Nowhere.
    Silent,
    /// To standard error, a line each.
    Plain(Plain),
    /// To a region of the terminal that is redrawn and goes away in the end.
    Live(Live),
}

impl Progress {
    /// Chooses what fits standard error and the arguments.
    pub(crate) fn start(verbosity: Verbosity, ambient: &Ambient) -> Self {
        let is_dumb = ambient.var("TERM").is_none_or(|term| term == "dumb");
        let redraws = std::io::stderr().is_terminal() && !is_dumb && ambient.var("CI").is_none();
        match verbosity {
            Verbosity::Quiet => Self::Silent,
            Verbosity::Normal if redraws => Self::Live(Live::start()),
            Verbosity::Normal | Verbosity::Verbose => Self::Plain(Plain::new(verbosity)),
        }
    }

    /// Shows an event; from any thread.
    pub(crate) fn show(&self, event: &Event) {
        match self {
            Self::Silent => {}
            Self::Plain(plain) => plain.show(event),
            Self::Live(live) => live.show(event),
        }
    }
}

/// Why standard output has not all that was printed.
static LOST: OnceLock<io::Error> = OnceLock::new();

#[derive(Debug, thiserror::Error)]
#[error("failed to write to standard output")]
struct OutputError(#[source] &'static io::Error);

/// Prints text to standard output; [`finish`] says whether it arrived. Nothing follows what was lost.
pub(crate) fn print(text: &str) {
    if LOST.get().is_some() {
        return;
    }
    let mut stdout = anstream::stdout().lock();
    if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        LOST.get_or_init(|| error);
    }
}

/// Says whether all that was printed has arrived. A reader that went away has seen enough.
pub(crate) fn finish() -> Result<(), Error> {
    match LOST.get() {
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::new(ErrorKind::Machine, OutputError(error)))
        }
        _ => Ok(()),
    }
}

/// Prints one document to standard output.
pub(crate) fn print_json(document: &impl Serialize) {
    print(&to_json(document));
}

/// One document as text with a line end.
pub(crate) fn to_json(document: &impl Serialize) -> String {
    // Our documents are structs with names for keys: there is nothing in them that JSON cannot hold.
    serde_json::to_string_pretty(document).map_or_else(|error| format!("\"{error}\"\n"), |text| text + "\n")
}
