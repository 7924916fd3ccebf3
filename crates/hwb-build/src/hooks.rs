//! Calls PEP 517 and PEP 660 hooks in a session.

use std::collections::BTreeMap;
use std::ffi::OsString;

use std::time::Duration;

use hwb_ident::{GuestPath, Requirement};
use hwb_sandbox::{Cancel, Control, Deadline, ExecSpec, ExitStatus, Running, SandboxError, Session};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::log::Log;

/// The program that imports the backend and calls its hooks.
const RUNNER: &str = include_str!("runner.py");

/// What a hook makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Artifact {
    /// `build_wheel`
    Wheel,
    /// `build_sdist`
    Sdist,
    /// `build_editable` (PEP 660)
    Editable,
}

impl Artifact {
    fn build_hook(self) -> &'static str {
        match self {
            Self::Wheel => "build_wheel",
            Self::Sdist => "build_sdist",
            Self::Editable => "build_editable",
        }
    }

    fn requires_hook(self) -> &'static str {
        match self {
            Self::Wheel => "get_requires_for_build_wheel",
            Self::Sdist => "get_requires_for_build_sdist",
            Self::Editable => "get_requires_for_build_editable",
        }
    }
}

/// How the hooks of one project are called.
#[derive(Debug, Clone)]
pub struct HooksSpec {
    /// The interpreter of the environment.
    pub python: GuestPath,
    /// The root of the project.
    pub tree: GuestPath,
    /// `module` or `module:object`.
    pub backend: String,
    /// In-tree directories of the backend.
    pub backend_path: Vec<GuestPath>,
    /// The complete environment.
    pub env: BTreeMap<String, String>,
    /// `config_settings` of every hook; `Null` if there are none.
    pub config_settings: Value,
    /// How long one hook may take.
    pub timeout: Option<Duration>,
}

/// Why a hook gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The process could not be started or watched, or it was stopped.
    #[error("failed to run `{hook}`")]
    Run {
        /// Which hook.
        hook: &'static str,
        /// Why.
        #[source]
        source: SandboxError,
    },
    /// The backend cannot be imported.
    #[error("the backend `{backend}` cannot be imported: {message}")]
    Import {
        /// Which backend.
        backend: String,
        /// The last line of the traceback.
        message: String,
        /// The module that is missing, where that is why.
        module: Option<String>,
    },
    /// The hook raised.
    #[error("`{hook}` of the backend `{backend}` failed: {message}")]
    Raised {
        /// Which hook.
        hook: &'static str,
        /// Of which backend.
        backend: String,
        /// The last line of the traceback.
        message: String,
        /// The module that is missing, where that is why.
        module: Option<String>,
    },
    /// The hook says that this project cannot be built so.
    #[error("the backend `{backend}` does not support `{hook}` for this project: {message}")]
    Unsupported {
        /// Which hook.
        hook: &'static str,
        /// Of which backend.
        backend: String,
        /// Why.
        message: String,
    },
    /// A hook that must be there is not.
    #[error("the backend `{backend}` has no `{hook}`")]
    Missing {
        /// Which hook.
        hook: &'static str,
        /// Of which backend.
        backend: String,
    },
    /// The process ended without an answer.
    #[error("the process of `{hook}` {how}")]
    Died {
        /// Which hook.
        hook: &'static str,
        /// How, as the end of a sentence.
        how: String,
    },
    /// What the hook returned is not what PEP 517 says.
    #[error("`{hook}` of the backend `{backend}` returned `{value}`, not {expected}")]
    Returned {
        /// Which hook.
        hook: &'static str,
        /// Of which backend.
        backend: String,
        /// What it returned.
        value: String,
        /// What it should have been.
        expected: &'static str,
    },
}

impl HookError {
    /// The module that could not be imported, where that is why.
    pub fn missing_module(&self) -> Option<&str> {
        match self {
            Self::Import { module, .. } | Self::Raised { module, .. } => module.as_deref(),
            Self::Run { .. }
            | Self::Unsupported { .. }
            | Self::Missing { .. }
            | Self::Died { .. }
            | Self::Returned { .. } => None,
        }
    }
}

#[derive(Serialize)]
struct Setup<'a> {
    backend: &'a str,
    backend_path: Vec<String>,
    may_fork: bool,
    /// Modules that are imported before the first fork; where one is missing that is no error.
    beforehand: &'static [&'static str],
}

/// What the hooks of a backend import one after another, each in its own process, when they are called. Imported before
/// the fork it is paid once. The list depends on nothing but the backend, so that no build knows of an earlier one;
/// only backends whose modules do nothing but define things when they are imported stand here.
fn imported_by_hooks(backend: &str) -> &'static [&'static str] {
    match backend {
        "hatchling.build" => &[
            "hatchling.builders.wheel",
            "hatchling.plugin.manager",
            "hatchling.metadata.core",
            "hatchling.bridge.app",
        ],
        "pdm.backend" => &["pdm.backend.wheel"],
        _ => &[],
    }
}

#[derive(Serialize)]
struct Call<'a> {
    hook: &'static str,
    arguments: &'a [Value],
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", untagged)]
enum Answer {
    Returned {
        returned: Value,
    },
    Missing {
        #[serde(rename = "missing")]
        _hook: String,
    },
    Failed {
        failed: Failure,
        message: String,
        module: Option<String>,
    },
    Ended {
        ended: i32,
    },
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Failure {
    Import,
    Raised,
    Unsupported,
}

/// The hooks of one project in one environment: a conversation with the runner, which is started when it is needed.
#[derive(Debug)]
pub struct Hooks<'a> {
    spec: HooksSpec,
    session: &'a mut dyn Session,
    cancel: &'a Cancel,
    running: Option<Box<dyn Running>>,
}

impl<'a> Hooks<'a> {
    /// Says how hooks are called; nothing runs yet.
    pub fn new(spec: HooksSpec, session: &'a mut dyn Session, cancel: &'a Cancel) -> Self {
        Self { spec, session, cancel, running: None }
    }

    /// Asks the backend what more must be installed to make `artifact`.
    ///
    /// # Errors
    ///
    /// [`HookError`]
    pub fn requirements(
        &mut self,
        artifact: Artifact,
        log: &mut Log<'_>,
    ) -> Result<Vec<Requirement>, HookError> {
        let hook = artifact.requires_hook();
        let arguments = [self.spec.config_settings.clone()];
        let Some(value) = self.call(hook, &arguments, log)? else {
            return Ok(Vec::new());
        };
        let wrong = |value: &Value| self.returned(hook, value, "a list of requirements");
        let items = value.as_array().ok_or_else(|| wrong(&value))?;
        items
            .iter()
            .map(|item| item.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| wrong(item)))
            .collect()
    }

    /// Makes `artifact` in the directory `output`; returns the file name.
    ///
    /// # Errors
    ///
    /// [`HookError`]
    pub fn build(
        &mut self,
        artifact: Artifact,
        output: &GuestPath,
        log: &mut Log<'_>,
    ) -> Result<String, HookError> {
        let hook = artifact.build_hook();
        let output = Value::from(output.to_string());
        let settings = self.spec.config_settings.clone();
        let arguments = match artifact {
            Artifact::Sdist => vec![output, settings],
            // The third argument is the directory of a `prepare_metadata` hook, which was not called.
            Artifact::Wheel | Artifact::Editable => vec![output, settings, Value::Null],
        };
        let value = self
            .call(hook, &arguments, log)?
            .ok_or_else(|| HookError::Missing { hook, backend: self.spec.backend.clone() })?;
        let name = value.as_str().filter(|name| !name.is_empty() && !name.contains('/'));
        name.map(str::to_owned).ok_or_else(|| self.returned(hook, &value, "the name of a file"))
    }

    /// Ends the runner.
    ///
    /// # Errors
    ///
    /// [`HookError::Run`] if it had to be stopped.
    pub fn finish(mut self, log: &mut Log<'_>) -> Result<(), HookError> {
        if let Some(running) = self.running.take() {
            let deadline = self.spec.timeout.map(Deadline::after);
            running
                .wait(self.cancel, deadline, log)
                .map_err(|source| HookError::Run { hook: "the end of the hooks", source })?;
        }
        Ok(())
    }

    /// `None` if the backend has no such hook.
    fn call(
        &mut self,
        hook: &'static str,
        arguments: &[Value],
        log: &mut Log<'_>,
    ) -> Result<Option<Value>, HookError> {
        let deadline = self.spec.timeout.map(Deadline::after);
        let line = self.ask(hook, arguments, deadline, log)?;
        let backend = || self.spec.backend.clone();
        let answer = serde_json::from_slice(&line).map_err(|_| HookError::Died {
            hook,
            how: format!("answered `{}`", String::from_utf8_lossy(&line)),
        })?;
        match answer {
            Answer::Returned { returned } => Ok(Some(returned)),
            Answer::Missing { _hook: _ } => Ok(None),
            Answer::Failed { failed: Failure::Import, message, module } => {
                Err(HookError::Import { backend: backend(), message, module })
            }
            Answer::Failed { failed: Failure::Raised, message, module } => {
                Err(HookError::Raised { hook, backend: backend(), message, module })
            }
            Answer::Failed { failed: Failure::Unsupported, message, module: _ } => {
                Err(HookError::Unsupported { hook, backend: backend(), message })
            }
            Answer::Ended { ended } => Err(HookError::Died { hook, how: describe_status(ended) }),
        }
    }

    /// Sends one request and waits for its answer. A forking runner says after each answer that the child ended; a
    /// runner that cannot fork ends itself, and is started again for the next request.
    fn ask(
        &mut self,
        hook: &'static str,
        arguments: &[Value],
        deadline: Option<Deadline>,
        log: &mut Log<'_>,
    ) -> Result<Vec<u8>, HookError> {
        let run = |source| HookError::Run { hook, source };
        let request = line(&Call { hook, arguments });
        let mut running = match self.running.take() {
            Some(running) => running,
            None => self.start().map_err(run)?,
        };
        send(running.as_mut(), &request);
        let Some(answer) = running.answer(self.cancel, deadline, log).map_err(run)? else {
            let status = running.wait(self.cancel, deadline, log).map_err(run)?;
            return Err(HookError::Died { hook, how: describe_end(status) });
        };
        let is_end = |answer: &[u8]| matches!(serde_json::from_slice(answer), Ok(Answer::Ended { .. }));
        if is_end(&answer) {
            return Ok(answer);
        }
        match running.answer(self.cancel, deadline, log).map_err(run)? {
            Some(end) if is_end(&end) => self.running = Some(running),
            Some(_) | None => {
                running.wait(self.cancel, deadline, log).map_err(run)?;
            }
        }
        Ok(answer)
    }

    fn start(&mut self) -> Result<Box<dyn Running>, SandboxError> {
        let spec = &self.spec;
        let argv = [spec.python.as_path().as_os_str().to_owned(), "-c".into(), RUNNER.into()];
        let mut running = self.session.start(&ExecSpec {
            argv: argv.into(),
            cwd: spec.tree.clone(),
            env: spec.env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect(),
            control: Control::Pipe,
        })?;
        let setup = Setup {
            backend: &spec.backend,
            backend_path: spec.backend_path.iter().map(ToString::to_string).collect(),
            // An in-tree backend may read at import what its first hook writes.
            may_fork: spec.backend_path.is_empty(),
            beforehand: imported_by_hooks(&spec.backend),
        };
        send(running.as_mut(), &line(&setup));
        Ok(running)
    }

    fn returned(&self, hook: &'static str, value: &Value, expected: &'static str) -> HookError {
        HookError::Returned { hook, backend: self.spec.backend.clone(), value: value.to_string(), expected }
    }
}

fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("a message is plain data");
    line.push(b'\n');
    line
}

/// Sends a request. A runner that has ended does not take it: waiting for its answer says how it ended.
fn send(running: &mut dyn Running, request: &[u8]) {
    if let Some(stdin) = running.stdin() {
        let _ended = stdin.write_all(request).and_then(|()| stdin.flush());
    }
}

fn describe_end(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("exited with code {code} and without an answer"),
        ExitStatus::Signal(signal) => format!("was killed by signal {signal}"),
    }
}

/// Reads a status of `waitpid`.
fn describe_status(status: i32) -> String {
    match status & 0x7f {
        0 => format!("exited with code {}", status >> 8 & 0xff),
        signal => format!("was killed by signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hwb_sandbox::{HostProcess, Network, Sandbox as _, SessionSpec};

    const BACKEND: &str = "
import os, sys
print('imported')
def get_requires_for_build_wheel(settings): print('asked'); return ['a>1', 'b']
def get_requires_for_build_sdist(settings): return 3
def build_wheel(out, settings, metadata): print(os.getcwd() in sys.path); return 'a-1-py3-none-any.whl'
def build_sdist(out, settings): raise ValueError('no ' + repr(settings))
def build_editable(out, settings, metadata): os._exit(7)
";

    fn check(may_fork: bool, expect: &[&str]) {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path();
        let modules = tree.join("modules");
        fs_err::create_dir(&modules).unwrap();
        fs_err::write(modules.join("backend.py"), BACKEND).unwrap();
        let mut env = BTreeMap::from([("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())]);
        let guest = GuestPath::new(&modules);
        let backend_path = if may_fork {
            env.insert("PYTHONPATH".to_owned(), guest.to_string());
            Vec::new()
        } else {
            vec![guest]
        };
        let spec = HooksSpec {
            python: GuestPath::new("python3"),
            tree: GuestPath::new(tree),
            backend: "backend".to_owned(),
            backend_path,
            env,
            config_settings: serde_json::json!({"k": ["v", "w"]}),
            timeout: None,
        };
        let mut session =
            HostProcess::plain().start(&SessionSpec { mounts: Vec::new(), network: Network::Host }).unwrap();
        let cancel = Cancel::new().unwrap();
        let ignore = |_: &str| {};
        let mut log = Log::create(&tree.join("log"), &ignore).unwrap();
        let mut hooks = Hooks::new(spec, session.as_mut(), &cancel);
        let requirements = hooks.requirements(Artifact::Wheel, &mut log).unwrap();
        assert_eq!(requirements.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a>1", "b"]);
        let output = GuestPath::new(tree);
        assert_eq!(hooks.build(Artifact::Wheel, &output, &mut log).unwrap(), "a-1-py3-none-any.whl");
        assert!(hooks.requirements(Artifact::Editable, &mut log).unwrap().is_empty());
        let failed = |error: HookError| error.to_string();
        assert_eq!(
            hooks.requirements(Artifact::Sdist, &mut log).map_err(failed).unwrap_err(),
            "`get_requires_for_build_sdist` of the backend `backend` returned `3`, not a list of requirements"
        );
        assert_eq!(
            hooks.build(Artifact::Sdist, &output, &mut log).map_err(failed).unwrap_err(),
            "`build_sdist` of the backend `backend` failed: ValueError: no {'k': ['v', 'w']}"
        );
        let died = hooks.build(Artifact::Editable, &output, &mut log).unwrap_err();
        assert!(matches!(died, HookError::Died { .. }), "{died}");
        hooks.finish(&mut log).unwrap();
        let imports = log.tail().into_iter().filter(|line| !line.contains("Traceback")).take(3);
        assert_eq!(imports.collect::<Vec<_>>(), expect);
    }

    #[test]
    fn forks_for_each_hook() {
        check(true, &["imported", "asked", "False"]);
    }

    #[test]
    fn starts_anew_for_each_hook_of_an_in_tree_backend() {
        check(false, &["imported", "asked", "imported"]);
    }

    #[test]
    fn names_a_backend_that_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let spec = HooksSpec {
            python: GuestPath::new("python3"),
            tree: GuestPath::new(directory.path()),
            backend: "gone.away:x".to_owned(),
            backend_path: Vec::new(),
            env: BTreeMap::from([("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())]),
            config_settings: Value::Null,
            timeout: None,
        };
        let mut session =
            HostProcess::plain().start(&SessionSpec { mounts: Vec::new(), network: Network::Host }).unwrap();
        let cancel = Cancel::new().unwrap();
        let ignore = |_: &str| {};
        let mut log = Log::create(&directory.path().join("log"), &ignore).unwrap();
        let mut hooks = Hooks::new(spec, session.as_mut(), &cancel);
        match hooks.requirements(Artifact::Wheel, &mut log) {
            Err(HookError::Import { module, .. }) => assert_eq!(module.as_deref(), Some("gone")),
            other => panic!("{other:?}"),
        }
    }
}
