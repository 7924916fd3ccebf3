//! The projects that are built for the clock.

use hwb_testkit::Tree;

/// What the index on loopback has to offer.
pub(super) const BACKENDS: [&str; 5] = ["flit_core", "hatchling", "setuptools", "wheel", "uv_build"];

/// One project.
#[derive(Debug)]
pub(super) struct Project {
    /// Its name, after its backend.
    pub(super) name: &'static str,
    /// Its build requirements.
    pub(super) requires: &'static [&'static str],
    /// The module with its hooks.
    pub(super) backend: &'static str,
    /// Lines at the end of its pyproject.toml.
    more: &'static str,
    /// Files beyond the package's two modules.
    files: &'static [(&'static str, &'static str)],
}

/// A pure project for each of four backends, and one with a small C extension.
pub(super) fn small() -> Vec<Project> {
    let pure = |name, requires, backend, more| Project { name, requires, backend, more, files: &[] };
    let src = "[tool.setuptools.packages.find]\nwhere = [\"src\"]\n";
    vec![
        pure("flit", &["flit_core"], "flit_core.buildapi", ""),
        pure("hatch", &["hatchling"], "hatchling.build", ""),
        pure("setup", &["setuptools"], "setuptools.build_meta", src),
        pure("uvb", &["uv_build"], "uv_build", ""),
        Project {
            name: "native",
            requires: &["setuptools"],
            backend: "setuptools.build_meta",
            more: "[tool.setuptools]\next-modules = [{ name = \"native._native\", sources = [\"native.c\"] }]\n\
                   [tool.setuptools.packages.find]\nwhere = [\"src\"]\n",
            files: &[("native.c", NATIVE)],
        },
    ]
}

impl Project {
    /// All its files.
    pub(super) fn tree(&self) -> Tree {
        let Self { name, requires, backend, more, files } = self;
        let pyproject = format!(
            "[build-system]\nrequires = {requires:?}\nbuild-backend = \"{backend}\"\n\n\
             [project]\nname = \"{name}\"\nversion = \"1.0.0\"\ndescription = \"A project for the clock.\"\n\n{more}"
        );
        let tree = Tree::new()
            .file("pyproject.toml", pyproject)
            .file("README.md", "# For the clock\n")
            .file(&format!("src/{name}/__init__.py"), "\"\"\"A project for the clock.\"\"\"\n")
            .file(&format!("src/{name}/words.py"), "WORDS = [\"one\", \"two\", \"three\"]\n");
        files.iter().fold(tree, |tree, (path, text)| tree.file(path, text))
    }
}

const NATIVE: &str = "\
#include <Python.h>

static struct PyModuleDef module = { PyModuleDef_HEAD_INIT, \"_native\", NULL, 0, NULL, NULL, NULL, NULL, NULL };

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&module);
}
";
