//! How containers are made on this machine: under which ids, and by whom their files are worked on.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use hwb_sandbox::SandboxError;
use hwb_sandbox::container::{Holder, Ids, Person, WorkProcess, candidates};
use hwb_snapshot::snapshots::{AnyError, Form, Worker};
use hwb_snapshot::work::{Elsewhere, Pipes};
use hwb_snapshot::{Here, Marks, Owners, Unpack, Unpacked};

use super::ImageFault;
use crate::ambient::Ambient;
use crate::error::{Error, ErrorKind};
use crate::event::{Event, EventSink};

/// The work on files that the helper does; whoever calls [`helper_main`](crate::helper_main) knows it.
pub(crate) const WORK: &str = "snapshot";

/// What starts containers and works on their files.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) holder: Arc<Holder>,
    pub(super) form: Form,
}

impl Engine {
    /// Takes the best way that this machine gives.
    pub(super) fn start(ambient: &Ambient, events: EventSink<'_>) -> Result<Self, Error> {
        let mut refusals = Vec::new();
        for ids in candidates(&Person::current()) {
            let attempt = ids.and_then(|ids| Ok((Holder::start(&ambient.executable, ids.clone())?, ids)));
            match attempt {
                Ok((holder, ids)) => {
                    if ids == Ids::Single {
                        let message = "there is but one user in the container: what is given to others stays root's, \
                                       as this user has no ranges of ids"
                            .to_owned();
                        events(Event::Warning { message });
                    }
                    return Ok(Self { form: form(&ids), holder });
                }
                Err(error) => refusals.push(error),
            }
        }
        let hints: Vec<String> = refusals.iter().filter_map(|refusal| refusal.hint()).collect();
        let refusal = refusals.pop().map_or(ImageFault::NoContainer, ImageFault::Ids);
        Err(hints.into_iter().fold(Error::new(ErrorKind::Machine, refusal), Error::hint))
    }

    /// Who works on files: a process under the ids where these are others than the host's.
    pub(super) fn worker(&self) -> FileWorker<'_> {
        FileWorker(self)
    }
}

/// Works on the files of layers and containers.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileWorker<'a>(&'a Engine);
