//! Functions of hwb's own that run under the ids of a holder.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use rustix::process::Signal;

use super::request::Report;
use crate::container::wire::{self, Answer};
use crate::session::ExitStatus;

/// A function that a holder can run in a process of its own, between two pipes.
///
/// It sees the host's files, and may name and change those of every id of the holder. What it read may be foreign; it
/// runs no foreign program.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// Its name in an order.
    pub name: &'static str,
    /// What it does. An error ends the process with a failure; what is to be known of it belongs into the output.
    pub run: fn(&mut dyn Read, &mut dyn Write) -> io::Result<()>,
}

/// Does the work of this name.
pub(super) fn main(name: &str, works: &[Work], channel: OwnedFd, streams: Vec<OwnedFd>) -> ExitCode {
    let tell = |answer: &Answer| {
        let _nobody_listens = wire::answer(&channel, answer, &[]);
    };
    let mut streams = streams.into_iter().map(std::fs::File::from);
    let work = works.iter().find(|work| work.name == name);
    let (Some(work), Some(mut input), Some(mut output)) = (work, streams.next(), streams.next()) else {
        tell(&Answer::Refused(Report::spawn(&io::ErrorKind::NotFound.into())));
        return ExitCode::FAILURE;
    };
    // It ends with the holder, which ends with hwb.
    if let Err(errno) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        tell(&Answer::Refused(Report::setup("follow the holder".to_owned(), &errno.into())));
        return ExitCode::FAILURE;
    }
    tell(&Answer::Started { made: Vec::new() });
    let code = if (work.run)(&mut input, &mut output).is_ok() { 0 } else { 1 };
    tell(&Answer::Ended(ExitStatus::Code(code)));
    ExitCode::SUCCESS
}
