//! The command line as its users meet it: the built binary, each time in a place of its own.
//!
//! - [`build_sources`], [`build_outputs`]: what goes in and what comes out.
//! - [`backend_inputs`], [`isolation`], [`reproducible`]: what a backend sees, what it cannot reach, and that nothing
//!   else matters.
//! - [`failures`], [`several`], [`hostile`], [`cancel`]: what is said, and what is left, when it goes wrong.
//! - [`image`], [`image_push`], [`image_files`]: container images.
//! - [`audit`], [`repair`], [`settings`], [`store`], [`others`]: the commands that build nothing.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are not tests to clippy")]

mod audit;
mod backend_inputs;
mod build_outputs;
mod build_sources;
mod cancel;
mod failures;
mod hostile;
mod image;
mod image_files;
mod image_push;
mod isolation;
mod others;
mod repair;
mod reproducible;
mod settings;
mod several;
mod store;

use std::path::{Path, PathBuf};

use fs_err as fs;
use hwb_testkit::wheel::read_member;
use hwb_testkit::{CommandContext, Index, Project, tiny_backend_wheel};
use serde_json::Value;

/// A place for hwb with nothing in it.
fn context() -> CommandContext {
    // Which interpreter it is, and how Python words a traceback, are the machine's business.
    CommandContext::new(env!("CARGO_BIN_EXE_hwb"))
        .filter(r"\bcpython 3\.\d+\.\d+\b", "cpython [X.Y.Z]")
        .filter(r" at \S+/bin/python[^\s:]*", " at [PYTHON]")
        .filter(r"(?m)^  │ Traceback \(most recent call last\):\n(  │  .*\n)+", "  │ Traceback […]\n")
        .filter(r"logs/\d+-[0-9a-f]{12}\.log", "logs/[LOG]")
        // Where this machine lets nothing be mounted, an environment stands in the cache.
        .filter(r"`[^`\s]*/(hwb/environment|(copies|fresh)/[0-9a-f]{12}/\d+)/", "`[ENVIRONMENT]/")
}

/// A place with a project in the folder `greeter`.
fn context_with(project: &Project) -> CommandContext {
    let context = context();
    project.write_to(&context.work().join("greeter"));
    context
}

/// The project `greeter` 1.0, which brings its backend and so needs no index.
fn greeter() -> Project {
    Project::new("greeter", "1.0").backend_in_tree()
}

/// The project `greeter` 1.0, whose backend is on the [`index`].
fn indexed_greeter() -> Project {
    Project::new("greeter", "1.0")
}

/// An index that has the backend of the tests and nothing else.
fn index() -> Index {
    Index::of([tiny_backend_wheel()])
}

const GREETER: &str = "greeter-1.0-py3-none-any.whl";

/// The files in `dist`.
fn dist(context: &CommandContext) -> Vec<String> {
    CommandContext::files_below(&context.work().join("dist"))
}

/// A member of a wheel, named by the end of its path.
fn member(wheel: &Path, ending: &str) -> String {
    let bytes = read_member(&fs::read(wheel).unwrap(), ending);
    String::from_utf8(bytes.unwrap_or_else(|| panic!("{} has no {ending}", wheel.display()))).unwrap()
}

/// What the backend saw around it while it built the only wheel in `dist`; the project asks for that with the option
/// `record-environment`.
fn seen(context: &CommandContext) -> Value {
    serde_json::from_str(&member(&only_wheel(context), "tiny_environment.json")).unwrap()
}

fn only_wheel(context: &CommandContext) -> PathBuf {
    let files = dist(context);
    let [file] = files.as_slice() else { panic!("not one wheel: {files:?}") };
    context.work().join("dist").join(file)
}

/// What is left of builds in the cache: scratch folders, copies of sources, views of environments.
fn remains(context: &CommandContext) -> Vec<String> {
    let store = context.cache().join("v1");
    let areas = ["tmp", "sources"].map(|area| CommandContext::files_below(&store.join(area)));
    areas.into_iter().flatten().collect()
}
