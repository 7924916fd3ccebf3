//! The members of a uv workspace, and which of them a build is of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use hwb_build::Project;
use hwb_build::project::Origin;
use hwb_ident::{ArchivePath, PackageName};
use serde::Deserialize;

use crate::build::Selection;
use crate::error::{Error, ErrorKind};
use crate::source::Tree;

/// Why the projects of a source cannot be told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkspaceError {
    /// There is no workspace to choose from.
    #[error("the source is no uv workspace: its `pyproject.toml` has no `[tool.uv.workspace]`")]
    None,
    /// A file that belongs to the workspace cannot be read.
    #[error("failed to read a project of the workspace")]
    Read(#[source] std::io::Error),
    /// A file that belongs to the workspace is not TOML, or has a table of the wrong shape.
    #[error("`{file}` is not a valid `pyproject.toml`")]
    Toml {
        /// Which, as seen from the root of the workspace.
        file: String,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A pattern of `members` or `exclude` is none.
    #[error("`{pattern}` in `[tool.uv.workspace]` is not a pattern of directories")]
    Pattern {
        /// As it is written.
        pattern: String,
        /// Why.
        #[source]
        source: globset::Error,
    },
    /// Two members have one name.
    #[error("two members of the workspace are named `{name}`: `{one}` and `{other}`")]
    Twice {
        /// Their name.
        name: PackageName,
        /// Where one is.
        one: String,
        /// Where the other is.
        other: String,
    },
    /// Nobody has the name that was asked for.
    #[error("the workspace has no member `{name}`; its members are {members}")]
    Unknown {
        /// What was asked for.
        name: PackageName,
        /// All names.
        members: String,
    },
    /// There is no member at all.
    #[error(
        "the workspace has no members: its root has no `[project]`, and no project with a name fits `members` in \
         `[tool.uv.workspace]`"
    )]
    Empty,
    /// Nothing says what is to be built: setuptools would make a wheel of it that is named `unknown`.
    #[error(
        "`{project}` says nothing of a project: its `pyproject.toml` has neither `[project]` nor `build-backend`, and \
         there is no `setup.py` or `setup.cfg`"
    )]
    Nameless {
        /// The directory, as its user knows it.
        project: String,
    },
    /// A build requirement that uv would take from the workspace.
    #[error("`{project}` needs `{requirement}` to be built, which is a member of the same workspace")]
    Requirement {
        /// Whose requirement.
        project: String,
        /// Which.
        requirement: PackageName,
    },
}

/// One project of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its name.
    pub(crate) name: PackageName,
    /// Where it is; `None` is the root of the workspace.
    pub(crate) directory: Option<ArchivePath>,
}

/// The workspace whose root a tree is, with its members in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Workspace {
    members: Vec<Member>,
}

#[derive(Deserialize)]
struct RootToml {
    project: Option<NamedTable>,
    tool: Option<ToolTable>,
}

#[derive(Deserialize)]
struct NamedTable {
    name: Option<PackageName>,
}

#[derive(Deserialize)]
struct ToolTable {
    uv: Option<UvTable>,
}

#[derive(Deserialize)]
struct UvTable {
    workspace: Option<WorkspaceTable>,
}

#[derive(Deserialize)]
struct WorkspaceTable {
    #[serde(default)]
    members: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
}

impl Workspace {
    /// Reads the workspace whose root is `root`; `None` if it is the root of none.
    ///
    /// A member is a directory that fits `members` and not `exclude`, and has a `pyproject.toml` with a name in it.
    pub(crate) fn read(root: &Path) -> Result<Option<Self>, Error> {
        let Some((name, table)) = read_root(root)? else { return Ok(None) };
        let WorkspaceTable { members, exclude } = table;
        let (members, exclude) = (patterns(&members)?, patterns(&exclude)?);
        let mut found: BTreeMap<PackageName, Option<ArchivePath>> = BTreeMap::new();
        found.extend(name.map(|name| (name, None)));
        for directory in projects_below(root)? {
            if !members.is_match(directory.as_str()) || exclude.is_match(directory.as_str()) {
                continue;
            }
            let Some(name) = name_of(root, &directory)? else { continue };
            if let Some(other) = found.insert(name.clone(), Some(directory.clone())) {
                let one = other.map_or_else(|| ".".to_owned(), |other| other.to_string());
                return Err(fault(WorkspaceError::Twice { name, one, other: directory.to_string() }));
            }
        }
        let members = found.into_iter().map(|(name, directory)| Member { name, directory }).collect();
        Ok(Some(Self { members }))
    }

    /// Where the package that is asked for is.
    fn member(&self, name: &PackageName) -> Result<&Member, Error> {
        self.members.iter().find(|member| member.name == *name).ok_or_else(|| {
            let names: Vec<_> = self.members.iter().map(|member| format!("`{}`", member.name)).collect();
            let members = names.join(", ");
            Error::new(ErrorKind::Usage, WorkspaceError::Unknown { name: name.clone(), members })
        })
    }

    /// Refuses a project that uv would build with another member in its environment: hwb would take the namesake
    /// of the index, which is another program.
    fn check_requirements(&self, project: &Project) -> Result<(), Error> {
        let is_member = |name: &PackageName| self.members.iter().any(|member| member.name == *name);
        let own = project.name.as_ref();
        let names = project.build_system.requires.iter().map(|requirement| &requirement.name);
        match names.into_iter().find(|name| own != Some(*name) && is_member(name)) {
            None => Ok(()),
            Some(name) => {
                let project = own.map_or_else(|| "the project".to_owned(), ToString::to_string);
                let error = WorkspaceError::Requirement { project, requirement: name.clone() };
                Err(fault(error).hint(format!(
                    "build `{name}` first, and let its wheel be found with `--find-links`, from a copy of the project \
                     outside the workspace"
                )))
            }
        }
    }
}

/// Reads the project at `place` in a tree, and refuses what would yield another artifact than its user expects.
pub(crate) fn admit(workspace: Option<&Workspace>, tree: &Tree, place: &Path) -> Result<Project, Error> {
    let project = tree.read_project_at(place)?;
    let says_something = project.name.is_some()
        || project.build_system.origin == Origin::Declared
        || ["setup.py", "setup.cfg"].iter().any(|file| place.join(file).is_file());
    if !says_something {
        let below = place.strip_prefix(&tree.top).unwrap_or(Path::new(""));
        let project =
            Path::new(&tree.origin.name).components().chain(below.components()).collect::<PathBuf>();
        let error = fault(WorkspaceError::Nameless { project: project.display().to_string() });
        return Err(match workspace {
            Some(_) => error.hint("it is the root of a workspace: `--all-packages` builds the members"),
            None => error,
        });
    }
    if let Some(workspace) = workspace {
        workspace.check_requirements(&project)?;
    }
    Ok(project)
}

/// The directory to take instead of `directory` where members of its workspace are asked for: the nearest root of a
/// workspace at or above it.
pub(crate) fn root_above(directory: &Path) -> Result<Option<&Path>, Error> {
    for above in directory.ancestors() {
        if read_root(above)?.is_some() {
            return Ok(Some(above));
        }
    }
    Ok(None)
}

/// The root of a workspace: the name of the project there, if it is one, and its table.
type Root = (Option<PackageName>, WorkspaceTable);

/// Reads the `pyproject.toml` of a directory; `None` if it is no root of a workspace.
fn read_root(directory: &Path) -> Result<Option<Root>, Error> {
    let path = directory.join(PYPROJECT);
    let RootToml { project, tool } = match fs_err::read_to_string(&path) {
        Ok(text) => parse(&text, &path.display().to_string())?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault(WorkspaceError::Read(error))),
    };
    let table = tool.and_then(|tool| tool.uv).and_then(|uv| uv.workspace);
    Ok(table.map(|table| (project.and_then(|project| project.name), table)))
}

/// The directories of the projects that are to be built, as seen from the root; `None` is the root itself.
pub(crate) fn select(
    workspace: Option<&Workspace>,
    selection: &Selection,
) -> Result<Vec<Option<ArchivePath>>, Error> {
    let workspace = match (selection, workspace) {
        (Selection::Root, _) => return Ok(vec![None]),
        (_, Some(workspace)) => workspace,
        (_, None) => return Err(Error::new(ErrorKind::Usage, WorkspaceError::None)),
    };
    match selection {
        Selection::Root => Ok(vec![None]),
        Selection::All if workspace.members.is_empty() => {
            Err(Error::new(ErrorKind::Usage, WorkspaceError::Empty))
        }
        Selection::All => Ok(workspace.members.iter().map(|member| member.directory.clone()).collect()),
        Selection::Packages(names) => {
            names.iter().map(|name| Ok(workspace.member(name)?.directory.clone())).collect()
        }
    }
}

const PYPROJECT: &str = "pyproject.toml";

fn fault(error: WorkspaceError) -> Error {
    Error::new(ErrorKind::Source, error)
}

fn parse<T: serde::de::DeserializeOwned>(text: &str, file: &str) -> Result<T, Error> {
    toml::from_str(text)
        .map_err(|source| fault(WorkspaceError::Toml { file: file.to_owned(), source: Box::new(source) }))
}

fn patterns(texts: &[String]) -> Result<GlobSet, Error> {
    let fail = |pattern: &str, source| fault(WorkspaceError::Pattern { pattern: pattern.to_owned(), source });
    let mut set = GlobSetBuilder::new();
    for text in texts {
        let plain = text.trim_start_matches("./").trim_end_matches('/');
        let glob = GlobBuilder::new(plain).literal_separator(true).build();
        set.add(glob.map_err(|source| fail(text, source))?);
    }
    set.build().map_err(|source| fail(&texts.join(", "), source))
}

/// The directories below `root` that have a `pyproject.toml`, in order; hidden ones are no members.
fn projects_below(root: &Path) -> Result<Vec<ArchivePath>, Error> {
    let entries = hwb_store::walk_sorted(root)?;
    let mut found = Vec::new();
    for entry in entries {
        let is_project = entry.path.file_name().is_some_and(|name| name == PYPROJECT);
        let directory: Option<PathBuf> = entry.path.parent().map(Path::to_path_buf);
        let text = directory.as_deref().filter(|_| is_project).and_then(Path::to_str);
        let parsed = text.and_then(|text| text.parse::<ArchivePath>().ok());
        found.extend(parsed.filter(|path| !path.parts().any(|part| part.starts_with('.'))));
    }
    Ok(found)
}

fn name_of(root: &Path, directory: &ArchivePath) -> Result<Option<PackageName>, Error> {
    let file = format!("{directory}/{PYPROJECT}");
    let text =
        fs_err::read_to_string(root.join(&file)).map_err(|error| fault(WorkspaceError::Read(error)))?;
    let RootToml { project, tool: _ } = parse(&text, &file)?;
    Ok(project.and_then(|project| project.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    fn check(table: &str, expect: &str) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(root, PYPROJECT, &format!("[project]\nname = 'Root.Package'\n[tool.uv.workspace]\n{table}"));
        for directory in
            ["packages/b", "packages/a", "packages/old", "packages/deep/c", "libs/d", "packages/.e"]
        {
            let name = directory.rsplit('/').next().unwrap().trim_start_matches('.');
            write(root, &format!("{directory}/{PYPROJECT}"), &format!("[project]\nname = '{name}'\n"));
        }
        write(root, "packages/tool/pyproject.toml", "[tool.x]\n");
        write(root, "packages/notes/README.md", "");
        let found = match Workspace::read(root) {
            Ok(workspace) => workspace
                .unwrap()
                .members
                .iter()
                .map(|Member { name, directory }| match directory {
                    Some(directory) => format!("{name}={directory}"),
                    None => name.to_string(),
                })
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => format!("{:?}: {error}", error.kind()).replace(&root.display().to_string(), ""),
        };
        assert_eq!(found, expect, "{table}");
    }

    #[test]
    fn members_fit_the_patterns() {
        check("members = ['packages/*']", "a=packages/a b=packages/b old=packages/old root-package");
        check(
            "members = ['./packages/*/']\nexclude = ['packages/o*']",
            "a=packages/a b=packages/b root-package",
        );
        check("members = ['libs/d', 'packages/a']", "a=packages/a d=libs/d root-package");
        check(
            "members = ['packages/**']",
            "a=packages/a b=packages/b c=packages/deep/c old=packages/old root-package",
        );
        check("", "root-package");
    }

    #[test]
    fn says_what_is_wrong() {
        check("members = ['[a']", "Source: `[a` in `[tool.uv.workspace]` is not a pattern of directories");
        check("members = 3", "Source: `/pyproject.toml` is not a valid `pyproject.toml`");
    }

    #[test]
    fn two_of_one_name_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), PYPROJECT, "[tool.uv.workspace]\nmembers = ['*']\n");
        write(folder.path(), "x/pyproject.toml", "[project]\nname = 'One'\n");
        write(folder.path(), "y/pyproject.toml", "[project]\nname = 'one'\n");
        let error = Workspace::read(folder.path()).unwrap_err();
        assert_eq!(error.to_string(), "two members of the workspace are named `one`: `x` and `y`");
    }

    #[test]
    fn a_requirement_from_the_workspace_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), PYPROJECT, "[tool.uv.workspace]\nmembers = ['*']\n");
        for (name, requires) in [("backend", "backend"), ("plugin", "Backend>=1")] {
            let text = format!(
                "[project]\nname = '{name}'\n[build-system]\nrequires = ['{requires}']\nbuild-backend = 'b'\n"
            );
            write(folder.path(), &format!("{name}/pyproject.toml"), &text);
        }
        let workspace = Workspace::read(folder.path()).unwrap().unwrap();
        let project = |name: &str| hwb_build::read_project(&folder.path().join(name), folder.path()).unwrap();
        workspace.check_requirements(&project("backend")).unwrap();
        let error = workspace.check_requirements(&project("plugin")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`plugin` needs `backend` to be built, which is a member of the same workspace"
        );
    }

    #[test]
    fn a_plain_project_is_no_workspace() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Workspace::read(folder.path()).unwrap(), None);
        write(folder.path(), PYPROJECT, "[project]\nname = 'a'\n");
        assert_eq!(Workspace::read(folder.path()).unwrap(), None);
    }
}
