//! Small Python projects.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::tree::{Artifact, Entry, Tree};

/// A project that [`tiny_backend`](crate::tiny_backend()) builds, unless it is told otherwise.
#[derive(Debug, Clone)]
pub struct Project {
    name: String,
    version: String,
    requires: Vec<String>,
    build_backend: String,
    build_system_more: String,
    options: Vec<(String, Value)>,
    modules: Vec<String>,
    more: String,
    files: Tree,
}

impl Project {
    /// A project with one module, `<name>.py`, that holds the version.
    pub fn new(name: &str, version: &str) -> Self {
        let module = format!("{}.py", name.replace(['-', '.'], "_").to_lowercase());
        let project = Self {
            name: name.to_owned(),
            version: version.to_owned(),
            requires: vec!["tiny_backend".to_owned()],
            build_backend: "tiny_backend".to_owned(),
            build_system_more: String::new(),
            options: Vec::new(),
            modules: Vec::new(),
            more: String::new(),
            files: Tree::new(),
        };
        project.module(&module, format!("VERSION = \"{version}\"\n"))
    }

    /// Adds a file that goes into the wheel.
    #[must_use]
    pub fn module(mut self, path: &str, contents: impl AsRef<[u8]>) -> Self {
        self.modules.push(path.to_owned());
        self.file(path, contents)
    }

    /// Adds a file that the backend does not care for.
    #[must_use]
    pub fn file(mut self, path: &str, contents: impl AsRef<[u8]>) -> Self {
        self.files = self.files.file(path, contents);
        self
    }

    /// Adds a link or a program.
    #[must_use]
    pub fn entry(mut self, path: &str, entry: Entry) -> Self {
        self.files = self.files.entry(path, entry);
        self
    }

    /// Sets a key of `[tool.tiny]`; the backend's source says which there are.
    #[must_use]
    pub fn option(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.options.push((key.to_owned(), value.into()));
        self
    }

    /// Adds a C extension, `<name>._native`, made of one file with this text.
    #[must_use]
    pub fn extension(self, source: &str) -> Self {
        self.file("native.c", source).option("extension", "native.c")
    }

    /// Adds to `build-system.requires`.
    #[must_use]
    pub fn build_requires(mut self, requirement: &str) -> Self {
        self.requires.push(requirement.to_owned());
        self
    }

    /// Brings the backend in the project itself (`backend-path`) instead of requiring it.
    #[must_use]
    pub fn backend_in_tree(mut self) -> Self {
        self.requires.clear();
        self.build_system_more.push_str("backend-path = [\"_backend\"]\n");
        self.file("_backend/tiny_backend.py", crate::tiny_backend())
    }

    /// Adds lines at the end of pyproject.toml.
    #[must_use]
    pub fn pyproject(mut self, lines: &str) -> Self {
        self.more.push_str(lines);
        self
    }

    /// The text of pyproject.toml.
    fn pyproject_toml(&self) -> String {
        let Self {
            name,
            version,
            requires,
            build_backend,
            build_system_more,
            options,
            modules,
            more,
            files: _,
        } = self;
        let mut text = format!("[build-system]\nrequires = {}\n", toml(&Value::from(requires.clone())));
        text.push_str(&format!("build-backend = \"{build_backend}\"\n{build_system_more}\n"));
        text.push_str(&format!("[tool.tiny]\nname = \"{name}\"\nversion = \"{version}\"\n"));
        text.push_str(&format!("modules = {}\n", toml(&Value::from(modules.clone()))));
        for (key, value) in options {
            writeln!(text, "{key} = {}", toml(value)).expect("writing to a string succeeds");
        }
        if !more.is_empty() {
            text.push('\n');
            text.push_str(more);
        }
        text
    }

    /// All files of the project.
    pub fn tree(&self) -> Tree {
        self.files.clone().file("pyproject.toml", self.pyproject_toml())
    }

    /// Writes the project below `folder`.
    pub fn write_to(&self, folder: &Path) {
        self.tree().write_to(folder);
    }

    /// The name and version as PEP 625 puts them into file names.
    pub fn stem(&self) -> String {
        format!("{}-{}", self.name.replace(['-', '.'], "_").to_lowercase(), self.version)
    }

    /// The project as `<stem>.tar.gz`, with its PKG-INFO.
    pub fn sdist(&self) -> Artifact {
        self.tree().file("PKG-INFO", self.pkg_info()).tar_gz(&self.stem())
    }

    /// The project as `<stem>.zip`, with its PKG-INFO.
    pub fn sdist_zip(&self) -> Artifact {
        self.tree().file("PKG-INFO", self.pkg_info()).zip(&self.stem())
    }

    /// The text of PKG-INFO.
    pub fn pkg_info(&self) -> String {
        format!("Metadata-Version: 2.2\nName: {}\nVersion: {}\n", self.name, self.version)
    }
}

/// Strings, numbers, booleans and lists of them are written in TOML as they are in JSON.
fn toml(value: &Value) -> String {
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::Project;

    #[test]
    fn a_project_says_what_it_wants_of_the_backend() {
        let project = Project::new("Odd-Name", "1.0")
            .option("fail", "build_wheel")
            .option("print", 3)
            .build_requires("x>=1");
        let expected = r#"[build-system]
requires = ["tiny_backend","x>=1"]
build-backend = "tiny_backend"

[tool.tiny]
name = "Odd-Name"
version = "1.0"
modules = ["odd_name.py"]
fail = "build_wheel"
print = 3
"#;
        assert_eq!(project.pyproject_toml(), expected);
        assert_eq!(project.sdist().name, "odd_name-1.0.tar.gz");
    }
}
