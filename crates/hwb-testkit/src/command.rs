//! Runs the command line where nothing of this machine is seen.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use regex::Regex;

use crate::index::Index;

/// A home, a working folder and a cache of their own, and an environment built from nothing.
///
/// Only the way to Python and to the system's programs (PATH) is taken over. Where no [`index`](Self::index) is given,
/// the default index is a port of loopback at which nobody listens.
#[derive(Debug)]
pub struct CommandContext {
    program: PathBuf,
    root: tempfile::TempDir,
    environment: BTreeMap<OsString, OsString>,
    filters: Vec<(Regex, String)>,
}

impl CommandContext {
    /// Makes a place for `program`: in tests of hwb `env!("CARGO_BIN_EXE_hwb")`.
    pub fn new(program: impl AsRef<Path>) -> Self {
        let root =
            tempfile::Builder::new().prefix("hwb-test-").tempdir().expect("a temporary folder can be made");
        let context = Self {
            program: program.as_ref().to_owned(),
            root,
            environment: BTreeMap::new(),
            filters: Vec::new(),
        };
        for folder in [context.home(), context.work(), context.temporary()] {
            fs_err::create_dir_all(folder).expect("a folder of a test can be made");
        }
        let python = python();
        let beside = python.parent().expect("an interpreter lies in a folder");
        let known = inherited("PATH");
        let path = std::iter::once(beside.to_owned()).chain(std::env::split_paths(&known));
        let path = std::env::join_paths(path).expect("the folders of PATH make a PATH");
        let (home, cache, temporary) = (context.home(), context.cache(), context.temporary());
        let below_home = |name: &str| home.join(name).into_os_string();
        let (config, cache_home, data, state) = (
            below_home(".config"),
            below_home(".cache"),
            below_home(".local/share"),
            below_home(".local/state"),
        );
        context
            .env("PATH", path)
            .env("HOME", &home)
            .env("XDG_CONFIG_HOME", config)
            .env("XDG_CACHE_HOME", cache_home)
            .env("XDG_DATA_HOME", data)
            .env("XDG_STATE_HOME", state)
            .env("TMPDIR", temporary)
            .env("HWB_CACHE_DIR", cache)
            .env("NO_COLOR", "1")
            .env("TZ", "UTC")
            .env("LC_ALL", "C.UTF-8")
            .env("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    }

    /// Makes `index` the default index.
    #[must_use]
    pub fn index(self, index: &Index) -> Self {
        let pattern = regex::escape(&index.address().to_string());
        self.env("UV_DEFAULT_INDEX", index.url()).filter(&pattern, "[INDEX]")
    }

    /// Sets a variable for every command.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Takes a variable away from every command.
    #[must_use]
    pub fn env_remove(mut self, name: &str) -> Self {
        self.environment.remove(OsStr::new(name));
        self
    }

    /// Replaces what fits a regular expression in every output; filters of the test come before those of the context.
    #[must_use]
    pub fn filter(mut self, pattern: &str, replacement: &str) -> Self {
        self.filters.push(rule(pattern, replacement));
        self
    }

    /// The home folder.
    pub fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    /// The folder that commands run in.
    pub fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    /// The cache.
    pub fn cache(&self) -> PathBuf {
        self.root.path().join("cache")
    }

    /// What TMPDIR names.
    pub fn temporary(&self) -> PathBuf {
        self.root.path().join("tmp")
    }

    /// Begins a command in [`work`](Self::work).
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Invocation<'_> {
        Invocation {
            context: self,
            arguments: arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect(),
            folder: self.work(),
            input: None,
            environment: self.environment.clone(),
        }
    }

    /// Runs a command in [`work`](Self::work).
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Outcome {
        self.command(arguments).run()
    }

    /// The names of all files below `folder`, sorted, links not followed, with `/` between the parts.
    pub fn files_below(folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        collect_files(folder, "", &mut found);
        found.sort();
        found
    }

    /// Replaces what differs from one machine or run to the next: paths, times, sizes, digests, versions.
    pub fn filtered(&self, text: &str) -> String {
        let root = self.root.path();
        let canonical = fs_err::canonicalize(root).expect("the folder of a test is there");
        let mut text = text.to_owned();
        for root in [canonical.as_path(), root] {
            for (name, folder) in [("WORK", "work"), ("HOME", "home"), ("CACHE", "cache"), ("TMP", "tmp")] {
                text = text.replace(&root.join(folder).to_string_lossy().into_owned(), &format!("[{name}]"));
            }
        }
        text = text.replace(&python().to_string_lossy().into_owned(), "[PYTHON]");
        for (pattern, replacement) in self.filters.iter().chain(common_filters()) {
            text = pattern.replace_all(&text, replacement.as_str()).into_owned();
        }
        text
    }
}

/// A command about to run.
#[derive(Debug)]
pub struct Invocation<'context> {
    context: &'context CommandContext,
    arguments: Vec<OsString>,
    folder: PathBuf,
    input: Option<PathBuf>,
    environment: BTreeMap<OsString, OsString>,
}

impl Invocation<'_> {
    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Runs it elsewhere.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = folder.into();
        self
    }

    /// Gives it a file for its standard input.
    #[must_use]
    pub fn input(mut self, file: impl Into<PathBuf>) -> Self {
        self.input = Some(file.into());
        self
    }

    /// Sets a variable for this command.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.insert(name.into(), value.as_ref().to_owned());
        self
    }

    /// The command as the standard library has it, for tests that end it or talk to it. Its standard streams are pipes
    /// but for the input, which is empty or a file.
    #[expect(clippy::disallowed_methods, reason = "the command line is what is tested")]
    pub fn prepare(&self) -> Command {
        let mut command = Command::new(&self.context.program);
        command.args(&self.arguments).current_dir(&self.folder).env_clear().envs(&self.environment);
        let open = |path: &PathBuf| fs_err::File::open(path).expect("the input of a test is there");
        let input = self.input.as_ref().map_or_else(Stdio::null, |path| open(path).into_parts().0.into());
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the command to its end.
    pub fn run(self) -> Outcome {
        let output = self.prepare().output().unwrap_or_else(|error| {
            panic!("{} did not start: {error}", self.context.program.display());
        });
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("hwb writes UTF-8");
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        let shown = Shown { stdout: self.context.filtered(&stdout), stderr: self.context.filtered(&stderr) };
        Outcome { code: output.status.code(), stdout, stderr, shown }
    }
}

/// How a command ended; prints as a snapshot with the context's filters applied.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// The standard output as it was.
    pub stdout: String,
    /// The standard error as it was.
    pub stderr: String,
    shown: Shown,
}

#[derive(Debug, Clone)]
struct Shown {
    stdout: String,
    stderr: String,
}

impl Outcome {
    /// Goes on if the command did what it should; shows what it said if not.
    #[track_caller]
    pub fn success(self) -> Self {
        self.exit(0)
    }

    /// Goes on if the command ended with `code`; shows what it said if not.
    #[track_caller]
    pub fn exit(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "\n{}\n{}", self.stdout, self.stderr);
        self
    }

    /// The standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not JSON: {error}\n{}", self.stdout))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => writeln!(formatter, "exit: {code}")?,
            None => writeln!(formatter, "ended by a signal")?,
        }
        for (name, text) in [("stdout", &self.shown.stdout), ("stderr", &self.shown.stderr)] {
            if !text.is_empty() {
                writeln!(formatter, "--- {name}\n{}", text.trim_end_matches('\n'))?;
            }
        }
        Ok(())
    }
}

/// The interpreter behind `python3`, without any shim on the way to it.
pub fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(find_python)
}

#[expect(clippy::disallowed_methods, reason = "the interpreter that tests build for is found once, here")]
fn find_python() -> PathBuf {
    let ask = "import os, sys; print(os.path.realpath(sys.executable))";
    let output = Command::new("python3").args(["-I", "-c", ask]).output().expect("python3 is installed");
    assert!(output.status.success(), "python3 does not run");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

#[expect(clippy::disallowed_methods, reason = "the one variable that a test takes over")]
fn inherited(name: &str) -> OsString {
    std::env::var_os(name).unwrap_or_default()
}

fn collect_files(folder: &Path, prefix: &str, found: &mut Vec<String>) {
    let Ok(entries) = fs_err::read_dir(folder) else { return };
    for entry in entries {
        let entry = entry.expect("an entry is readable");
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().expect("an entry has a type").is_dir() {
            collect_files(&entry.path(), &format!("{name}/"), found);
        } else {
            found.push(name);
        }
    }
}

fn rule(pattern: &str, replacement: &str) -> (Regex, String) {
    (Regex::new(pattern).expect("a filter is a regular expression"), replacement.to_owned())
}

fn common_filters() -> &'static [(Regex, String)] {
    static FILTERS: OnceLock<Vec<(Regex, String)>> = OnceLock::new();
    FILTERS.get_or_init(|| {
        let rules = [
            (r"\b[0-9a-f]{64}\b", "[DIGEST]"),
            (r"\b[0-9a-f]{12}\b", "[SHORT]"),
            (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[DATE]"),
            (r"\b(\d+m ?)?\d+(\.\d+)? ?(ms|µs|ns|s)\b", "[TIME]"),
            (r"\b\d+(\.\d+)? ?([kKMG]i?B|B|bytes)\b", "[SIZE]"),
            (r"\b(hwb) \d+\.\d+\.\d+\b", "$1 [VERSION]"),
            (r"\b(CPython|Python|python) ?\d+\.\d+(\.\d+)?\b", "$1 [X.Y]"),
            (r"\bcp3\d+-cp3\d+-", "[CPYTHON]-"),
            (r"\b(many)?linux_(\d+_\d+_)?(x86_64|aarch64)\b", "[LINUX]"),
        ];
        rules.iter().map(|(pattern, replacement)| rule(pattern, replacement)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::CommandContext;

    #[test]
    fn a_command_sees_its_own_place_and_nothing_else() {
        let context = CommandContext::new("/bin/sh").env("EXTRA", "1");
        let outcome = context.run(["-c", "pwd; echo $HOME $HWB_CACHE_DIR; echo gone >&2; exit 3"]);
        assert_eq!(outcome.to_string(), "exit: 3\n--- stdout\n[WORK]\n[HOME] [CACHE]\n--- stderr\ngone\n");
        let names = context.run(["-c", "env | cut -d= -f1 | sort | tr '\\n' ' '"]).success();
        assert_eq!(
            names.stdout,
            "EXTRA HOME HWB_CACHE_DIR LC_ALL NO_COLOR PATH PWD TMPDIR TZ UV_DEFAULT_INDEX XDG_CACHE_HOME \
             XDG_CONFIG_HOME XDG_DATA_HOME XDG_STATE_HOME "
        );
    }

    #[test]
    fn what_changes_is_filtered() {
        let context = CommandContext::new("/bin/sh");
        let check = |input: &str, expected: &str| assert_eq!(context.filtered(input), expected);
        check("built in 1.52s, 12 ms", "built in [TIME], [TIME]");
        check("4.1 kB (4130 bytes)", "[SIZE] ([SIZE])");
        check(&format!("sha256:{}", "a1".repeat(32)), "sha256:[DIGEST]");
        check("x-1-cp311-cp311-linux_x86_64.whl", "x-1-[CPYTHON]-[LINUX].whl");
        check("hwb 0.1.0 with CPython 3.11.7", "hwb [VERSION] with CPython [X.Y]");
        check(&context.cache().join("v1").to_string_lossy(), "[CACHE]/v1");
        check("greeter-1.0.0-py3-none-any.whl", "greeter-1.0.0-py3-none-any.whl");
    }

    #[test]
    fn files_are_listed_in_order() {
        let context = CommandContext::new("/bin/sh");
        context.run(["-c", "mkdir -p b/c; touch b/c/z a b/y"]).success();
        assert_eq!(CommandContext::files_below(&context.work()), ["a", "b/c/z", "b/y"]);
    }
}
