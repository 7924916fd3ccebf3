//! How containers are made on this machine: under which ids, and by whom their files are worked on.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use hwb_ident::Digest;
use hwb_sandbox::container::{Holder, Ids, IdsError, Person, WorkProcess, candidates};
use hwb_sandbox::{Cancel, Work};
use hwb_snapshot::snapshots::AnyError;
use hwb_snapshot::unpack::Limits;
use hwb_snapshot::work::{Elsewhere, Pipes, serve};
use hwb_snapshot::{
    Chain, ChainError, Diff, Diffed, Form, Here, Marks, Owners, Snapshots, Unpack, Unpacked, Worker, diff,
};
use hwb_store::Store;
use hwb_store::store::{Reach, Usage};

use super::ImageFault;
use super::catalogue::Image;
use super::layers::open_layer;
use crate::ambient::Ambient;
use crate::error::{Error, ErrorKind};
use crate::event::{Event, EventSink};
use crate::world;

/// The work on files that the helper does under the ids of a holder.
pub(crate) const WORK: Work = Work { name: "snapshot", run: serve };

/// What starts containers and works on their files.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) holder: Arc<Holder>,
    pub(super) form: Form,
    /// What cannot be had this way.
    lacks: Option<String>,
}

impl Engine {
    /// Takes the best way that this machine gives.
    pub(super) fn start(ambient: &Ambient) -> Result<Self, Error> {
        let mut refusals = Vec::new();
        for candidate in candidates(&Person::current()) {
            let started = candidate.and_then(|ids| {
                let holder = Holder::start(&ambient.executable, ids.clone());
                holder.map(|holder| (holder, ids)).map_err(IdsError::Refused)
            });
            match started {
                Ok((holder, ids)) => {
                    let lacks = (ids == Ids::Single).then(|| alone(&refusals));
                    return Ok(Self { form: form(&ids), holder, lacks });
                }
                Err(error) => refusals.push(error),
            }
        }
        let hints: Vec<String> = refusals.iter().filter_map(IdsError::hint).collect();
        let fault = refusals.pop().map_or(ImageFault::NoIds, ImageFault::Ids);
        Err(hints.into_iter().fold(Error::new(ErrorKind::Machine, fault), Error::hint))
    }

    /// Says what containers lack here.
    pub(super) fn warn(&self, events: EventSink<'_>) {
        if let Some(message) = self.lacks.clone() {
            events(Event::Warning { message });
        }
    }

    /// The layers of an image, unpacked; `cancel` stops that.
    pub(super) fn layers(&self, store: &Store, image: &Image, cancel: &Cancel) -> Result<Chain, Error> {
        let worker = self.worker();
        let form = self.form.clone();
        let snapshots = Snapshots { store, form, worker: &worker, limits: Limits::default() };
        let mut open = |diff_id: &Digest| open_layer(store, image, diff_id, cancel);
        let chain = snapshots.chain(&image.config.rootfs.diff_ids, &mut open);
        // What was interrupted failed for no other reason.
        world::check(cancel)?;
        chain.map_err(|source| {
            let hints = hints(&source);
            let fault = ImageFault::Layers { name: image.name.to_string(), source };
            hints.into_iter().fold(Error::new(ErrorKind::Source, fault), Error::hint)
        })
    }

    /// Who works on the files of layers and containers.
    pub(super) const fn worker(&self) -> Files<'_> {
        Files(self)
    }
}

/// What helps where a layer could not be opened.
fn hints(error: &ChainError) -> Vec<String> {
    let opening = match error {
        ChainError::Open { source, .. } => source.downcast_ref::<Error>(),
        _ => None,
    };
    opening.map_or_else(Vec::new, |error| error.hints().to_vec())
}

/// What is said where there is nobody but root.
fn alone(refusals: &[IdsError]) -> String {
    let mut message = "the container has one user: what is given to another stays root's".to_owned();
    for refusal in refusals {
        message.push_str(&format!("; {refusal}"));
        message.extend(refusal.hint().map(|hint| format!(" ({hint})")));
    }
    message
}

/// How layers are unpacked for these ids.
fn form(ids: &Ids) -> Form {
    match ids {
        Ids::Same => Form { owners: Owners::Kept, marks: Marks::Trusted, ids: String::new() },
        Ids::Ranges { users, groups } => {
            Form { owners: Owners::Kept, marks: Marks::User, ids: format!("{users:?} {groups:?}") }
        }
        Ids::Single => Form { owners: Owners::Recorded, marks: Marks::User, ids: "one".to_owned() },
    }
}

/// Works on files: in this process where the ids are the host's, else in one under the ids.
#[derive(Debug, Clone, Copy)]
pub(super) struct Files<'a>(&'a Engine);

impl Files<'_> {
    fn begin(&self) -> io::Result<Pipes> {
        let mut process = self.0.holder.work(WORK.name).map_err(io::Error::other)?;
        let input = process.take_stdin().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Pipes { input: Box::new(input), output: Box::new(Outcome(process)) })
    }

    /// Writes what a run changed as a layer.
    pub(super) fn diff(&self, request: &Diff, out: &mut dyn Write) -> Result<Diffed, AnyError> {
        match self.0.holder.ids() {
            Ids::Same => Ok(diff(request, out)?.1),
            Ids::Ranges { .. } | Ids::Single => Ok(Elsewhere { start: &|| self.begin() }.diff(request, out)?),
        }
    }

    fn measure(&self, path: &Path) -> Result<Usage, AnyError> {
        match self.0.holder.ids() {
            Ids::Same => Ok(Usage::of(path)?),
            Ids::Ranges { .. } | Ids::Single => Ok(Elsewhere { start: &|| self.begin() }.measure(path)?),
        }
    }
}

/// Reaches files of other ids in the store, by an engine that is started where there are such.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reaching<'a> {
    pub(crate) ambient: &'a Ambient,
}

impl Reach for Reaching<'_> {
    fn remove(&self, path: &Path) -> Result<(), AnyError> {
        Engine::start(self.ambient)?.worker().clear(path)
    }

    fn measure(&self, path: &Path) -> Result<Usage, AnyError> {
        Engine::start(self.ambient)?.worker().measure(path)
    }
}

impl Worker for Files<'_> {
    fn unpack(&self, layer: &mut dyn Read, request: &Unpack) -> Result<Unpacked, AnyError> {
        match self.0.holder.ids() {
            Ids::Same => Here.unpack(layer, request),
            Ids::Ranges { .. } | Ids::Single => {
                Worker::unpack(&Elsewhere { start: &|| self.begin() }, layer, request)
            }
        }
    }

    fn clear(&self, path: &Path) -> Result<(), AnyError> {
        match self.0.holder.ids() {
            Ids::Same => Here.clear(path),
            // Most of it is the caller's own, and needs no other process; what others' directories hold, only they
            // can remove.
            Ids::Ranges { .. } | Ids::Single => {
                Here.clear(path).or_else(|_| Worker::clear(&Elsewhere { start: &|| self.begin() }, path))
            }
        }
    }
}

/// What a process says; it lives as long as somebody listens.
#[derive(Debug)]
struct Outcome(WorkProcess);

impl Read for Outcome {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.stdout().read(buffer)
    }
}
