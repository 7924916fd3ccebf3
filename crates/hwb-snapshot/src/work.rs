//! Work on files done by another process: one inside the user namespace that the files' owners are of.
//!
//! What is to be done goes in as a line of JSON, behind it the layer if there is one. What comes out are pieces, each
//! with its length before it (four bytes, the least significant first), then a length of zero, then the outcome as
//! JSON. [`serve`] is the side of the other process, which whoever starts it calls; [`Elsewhere`] is this side.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use hwb_store::store::Usage;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::diff::{Diff, Diffed, diff};
use crate::snapshots::{AnyError, Worker};
use crate::unpack::{Unpack, Unpacked, flatten, unpack};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Request {
    Unpack(Unpack),
    Flatten(Unpack),
    Diff(Diff),
    Clear(PathBuf),
    Measure(PathBuf),
}

/// The longest request: some hundreds of layers below, each with its path.
const LONGEST: u64 = 4 << 20;

/// What another process says of its failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteError {
    text: String,
    source: Option<Box<Self>>,
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for RemoteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl RemoteError {
    fn of(error: &dyn std::error::Error) -> Self {
        Self { text: error.to_string(), source: error.source().map(|source| Box::new(Self::of(source))) }
    }
}

/// Why the other process did not do it.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// It cannot be started, or spoken to.
    #[error("cannot speak to the process that works on files")]
    Speak(#[source] io::Error),
    /// What was to be sent to it cannot be read.
    #[error("cannot read the layer")]
    Layer(#[source] io::Error),
    /// What comes from it cannot be passed on.
    #[error("cannot write the layer")]
    Write(#[source] io::Error),
    /// It says something that is no answer.
    #[error("the process that works on files gives no answer")]
    Answer(#[source] serde_json::Error),
    /// It failed.
    #[error(transparent)]
    Remote(RemoteError),
}

/// Does what is asked for at `input`, and says at `output` how it went.
///
/// # Errors
///
/// If the two cannot be read or written; what went wrong with the work itself is said at `output`.
pub fn serve(input: &mut dyn Read, output: &mut dyn Write) -> io::Result<()> {
    let mut input = BufReader::with_capacity(128 << 10, input);
    let mut line = Vec::new();
    input.by_ref().take(LONGEST).read_until(b'\n', &mut line)?;
    let request = serde_json::from_slice(&line)?;
    let mut pieces = Pieces { output };
    match request {
        Request::Unpack(request) => {
            let outcome = unpack(&mut input, &request).map_err(|error| RemoteError::of(&error));
            pieces.end(&outcome)
        }
        Request::Flatten(request) => {
            let outcome = flatten(&request).map_err(|error| RemoteError::of(&error));
            pieces.end(&outcome)
        }
        Request::Diff(request) => {
            let outcome = diff_to(&request, &mut pieces)?;
            pieces.end(&outcome)
        }
        Request::Clear(path) => {
            let outcome = hwb_store::fs::remove_tree(&path).map_err(|error| RemoteError::of(&error));
            pieces.end(&outcome)
        }
        Request::Measure(path) => {
            let outcome = Usage::of(&path).map_err(|error| RemoteError::of(&error));
            pieces.end(&outcome)
        }
    }
}

fn diff_to(request: &Diff, pieces: &mut Pieces<'_>) -> io::Result<Result<Diffed, RemoteError>> {
    match diff(request, io::BufWriter::with_capacity(128 << 10, pieces)) {
        Ok((mut out, diffed)) => out.flush().map(|()| Ok(diffed)),
        Err(error) => Ok(Err(RemoteError::of(&error))),
    }
}

/// What goes out, in pieces.
struct Pieces<'a> {
    output: &'a mut dyn Write,
}

impl Pieces<'_> {
    fn end<T: Serialize>(&mut self, outcome: &Result<T, RemoteError>) -> io::Result<()> {
        self.output.write_all(&0_u32.to_le_bytes())?;
        self.output.write_all(&serde_json::to_vec(outcome)?)?;
        self.output.flush()
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(1 << 20)];
        let length = u32::try_from(bytes.len()).unwrap_or_default();
        if length > 0 {
            self.output.write_all(&length.to_le_bytes())?;
            self.output.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// The two ends of another process that is in [`serve`].
pub struct Pipes {
    /// What it reads.
    pub input: Box<dyn Write>,
    /// What it writes.
    pub output: Box<dyn Read>,
}

impl fmt::Debug for Pipes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pipes")
    }
}

/// Starts such a process.
pub type Start<'a> = dyn Fn() -> io::Result<Pipes> + 'a;

/// Another process works, a new one each time.
pub struct Elsewhere<'a> {
    /// How it is started.
    pub start: &'a Start<'a>,
}

impl fmt::Debug for Elsewhere<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Elsewhere")
    }
}

impl Elsewhere<'_> {
    /// Does what [`unpack`] does.
    ///
    /// # Errors
    ///
    /// What it gives, or if the process fails.
    pub fn unpack(&self, layer: &mut dyn Read, request: &Unpack) -> Result<Unpacked, WorkError> {
        self.ask(&Request::Unpack(request.clone()), layer, &mut io::sink())
    }

    /// Does what [`flatten`] does.
    ///
    /// # Errors
    ///
    /// What it gives, or if the process fails.
    pub fn flatten(&self, request: &Unpack) -> Result<(), WorkError> {
        self.ask(&Request::Flatten(request.clone()), &mut io::empty(), &mut io::sink())
    }

    /// Does what [`diff`] does.
    ///
    /// # Errors
    ///
    /// What it gives, or if the process fails.
    pub fn diff(&self, request: &Diff, out: &mut dyn Write) -> Result<Diffed, WorkError> {
        self.ask(&Request::Diff(request.clone()), &mut io::empty(), out)
    }

    /// Does what [`Usage::of`] does.
    ///
    /// # Errors
    ///
    /// What it gives, or if the process fails.
    pub fn measure(&self, path: &Path) -> Result<Usage, WorkError> {
        self.ask(&Request::Measure(path.to_owned()), &mut io::empty(), &mut io::sink())
    }

    fn ask<T: DeserializeOwned>(
        &self,
        request: &Request,
        layer: &mut dyn Read,
        out: &mut dyn Write,
    ) -> Result<T, WorkError> {
        let Pipes { mut input, output } = (self.start)().map_err(WorkError::Speak)?;
        let mut line = serde_json::to_vec(request).map_err(WorkError::Answer)?;
        line.push(b'\n');
        let sent = input.write_all(&line).map_err(WorkError::Speak).and_then(|()| send(layer, &mut *input));
        drop(input);
        let answer = receive(&mut BufReader::new(output), out);
        match (sent, answer) {
            // It may well have failed before it had read everything: then it says why.
            (Ok(()) | Err(WorkError::Speak(_)), answer) => answer?.map_err(WorkError::Remote),
            (Err(error), _) => Err(error),
        }
    }
}

fn send(layer: &mut dyn Read, input: &mut dyn Write) -> Result<(), WorkError> {
    let mut buffer = vec![0; 128 << 10];
    loop {
        match layer.read(&mut buffer) {
            Ok(0) => return input.flush().map_err(WorkError::Speak),
            Ok(got) => input.write_all(&buffer[..got]).map_err(WorkError::Speak)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(WorkError::Layer(error)),
        }
    }
}

fn receive<T: DeserializeOwned>(
    output: &mut dyn Read,
    out: &mut dyn Write,
) -> Result<Result<T, RemoteError>, WorkError> {
    let mut piece = Vec::new();
    loop {
        let mut length = [0; 4];
        output.read_exact(&mut length).map_err(WorkError::Speak)?;
        let length = u64::from(u32::from_le_bytes(length));
        if length == 0 {
            let mut answer = Vec::new();
            output.take(LONGEST).read_to_end(&mut answer).map_err(WorkError::Speak)?;
            return serde_json::from_slice(&answer).map_err(WorkError::Answer);
        }
        piece.clear();
        output.take(length).read_to_end(&mut piece).map_err(WorkError::Speak)?;
        out.write_all(&piece).map_err(WorkError::Write)?;
    }
}

impl Worker for Elsewhere<'_> {
    fn unpack(&self, layer: &mut dyn Read, request: &Unpack) -> Result<Unpacked, AnyError> {
        Ok(Elsewhere::unpack(self, layer, request)?)
    }

    fn clear(&self, path: &Path) -> Result<(), AnyError> {
        let request = Request::Clear(path.to_owned());
        Ok(self.ask(&request, &mut io::empty(), &mut io::sink())?)
    }
}
