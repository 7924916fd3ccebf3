//! What comes of several builds of one request: the failure of one hides nothing that another yielded.

use crate::build::request::ArtifactReport;
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::world::World;

/// One of several builds.
#[derive(Debug)]
pub(crate) struct Part {
    /// Which, to be read after "the build": `for cpython 3.12.1`.
    pub(crate) which: String,
    /// What came of it.
    pub(crate) result: Result<Vec<ArtifactReport>, Error>,
}

impl Part {
    /// Whether the user stopped it; then nothing else is begun.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Interrupted)
    }
}

/// Some of several builds failed.
#[derive(Debug, thiserror::Error)]
#[error("the build {which} failed{}", and_others(others))]
struct PartError {
    which: String,
    others: Vec<String>,
    source: Error,
}

/// All artifacts; or the error of the first that failed, with what the others yielded. A warning says why the further
/// ones failed.
pub(crate) fn together(world: &World, parts: Vec<Part>) -> Result<Vec<ArtifactReport>, Error> {
    let (mut artifacts, mut failures) = (Vec::new(), Vec::new());
    for Part { which, result } in parts {
        match result {
            Ok(reports) => artifacts.extend(reports),
            Err(mut error) => {
                artifacts.extend(error.take_artifacts());
                failures.push((which, error));
            }
        }
    }
    if failures.is_empty() {
        return Ok(artifacts);
    }
    // What the user stopped is no news to him, whatever else had failed until then.
    if let Some(at) = failures.iter().position(|(_, error)| error.kind() == ErrorKind::Interrupted) {
        return Err(failures.swap_remove(at).1.after(artifacts));
    }
    let (which, first) = failures.remove(0);
    for (which, error) in &failures {
        world.tell(Event::Warning { message: account(which, error) });
    }
    let others = failures.into_iter().map(|(which, _)| which).collect();
    Err(first.within(|source| PartError { which, others, source }).after(artifacts))
}

fn and_others(others: &[String]) -> String {
    if others.is_empty() { String::new() } else { format!("; also failed: {}", others.join(", ")) }
}

/// A failure in one message.
fn account(which: &str, error: &Error) -> String {
    let mut message = format!("the build {which} failed");
    for cause in error.chain() {
        message.push_str(": ");
        message.push_str(&cause);
    }
    if let Some(path) = error.log().and_then(|log| log.path.as_ref()) {
        message.push_str(&format!(" (the whole log: {})", path.display()));
    }
    message
}
