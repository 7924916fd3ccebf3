//! A virtual environment with what a build needs: made, handed out, and gone when it is dropped.

use std::path::{Path, PathBuf};

use hwb_ident::{Digest, GuestPath, Hasher, HostPath};
use hwb_sandbox::{Access, Cancel, Mount, SandboxError, Session};
use hwb_store::{EntryKind, Slot, Store, StoreError};
use hwb_uv::{Filled, Links, Pin, Python, Resolved, Seam, SeamError};

use crate::bytecode::{self, Compiler};

/// How a build is kept from changing what others use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// The environment is made once, kept, and seen through a layer that is forgotten: [`Environment::mounts`] has it.
    /// Sessions must be able to mount.
    Kept,
    /// The environment is made anew of files that are shared with the download cache, seen through such a layer, and
    /// removed when it is dropped.
    Fresh,
    /// Every file is this build's own copy, removed when the environment is dropped.
    Copy,
}

/// Where a build sees its environment, if sessions can mount: the same on every machine.
pub const ENVIRONMENT: &str = "/hwb/environment";

/// An environment as one build sees it.
#[derive(Debug)]
pub struct Environment {
    /// Where it is.
    host: PathBuf,
    /// As the build sees it.
    seen: Filled,
    pins: Vec<Pin>,
    privacy: Privacy,
    _slot: Option<Slot>,
}

impl Environment {
    /// Its directory, as the build sees it; so are the other paths.
    pub fn root(&self) -> &Path {
        &self.seen.root
    }

    /// Its interpreter.
    pub fn python(&self) -> &Path {
        &self.seen.python
    }

    /// Where its programs are.
    pub fn scripts(&self) -> &Path {
        &self.seen.scripts
    }

    /// Where its packages are.
    pub fn site_packages(&self) -> &Path {
        &self.seen.site_packages
    }

    /// What is installed in it, by name.
    pub fn pins(&self) -> &[Pin] {
        &self.pins
    }

    /// What a session must mount so that the build cannot write to what others use.
    pub fn mounts(&self) -> Vec<Mount> {
        match self.privacy {
            Privacy::Kept | Privacy::Fresh => vec![Mount {
                host: HostPath::new(&self.host),
                guest: GuestPath::new(self.root()),
                access: Access::Layered,
            }],
            Privacy::Copy => Vec::new(),
        }
    }
}

/// Why there is no environment.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// There is no place for it.
    #[error("Failed to create venv: no place for it in the cache")]
    Place(#[from] StoreError),
    /// It could not be filled.
    #[error(transparent)]
    Fill(#[from] SeamError),
    /// A script could not be given its permissions.
    #[error("Failed to create venv: cannot set the permissions of `{}`", path.display())]
    Script {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its modules could not be compiled.
    #[error("Failed to create venv: its modules could not be compiled")]
    Compile(#[from] SandboxError),
}

/// What an environment is made with.
#[derive(Debug)]
pub struct Workshop<'a> {
    /// Where environments are kept.
    pub store: &'a Store,
    /// Where wheels come from.
    pub seam: &'a Seam,
    /// A plain session, in which the interpreter compiles modules.
    pub session: &'a mut dyn Session,
    /// Stops it.
    pub cancel: &'a Cancel,
}

/// Makes a virtual environment of `python` with everything of `resolved` in it, its bytecode included. Its path is the
/// same for the same contents (of copies: unless another build has one at the moment).
///
/// # Errors
///
/// [`EnvironmentError`]
pub fn make_environment(
    workshop: Workshop<'_>,
    python: &Python,
    resolved: &Resolved,
    privacy: Privacy,
) -> Result<Environment, EnvironmentError> {
    let store = workshop.store;
    let key = contents(python, resolved.pins());
    let pins = resolved.pins().to_vec();
    let (host, slot) = match privacy {
        Privacy::Kept => {
            let root = store.kept("environments", &key, |root| {
                let filled = workshop.furnish(python, resolved, root, Links::Shared)?;
                move_scripts(&filled.scripts, root)
            })?;
            (root, None)
        }
        Privacy::Fresh => {
            let slot = store.slot("fresh", &key)?;
            let filled = workshop.furnish(python, resolved, slot.path(), Links::Shared)?;
            move_scripts(&filled.scripts, slot.path())?;
            (slot.path().to_path_buf(), Some(slot))
        }
        Privacy::Copy => {
            let slot = store.slot("copies", &key)?;
            workshop.furnish(python, resolved, slot.path(), Links::Private)?;
            (slot.path().to_path_buf(), Some(slot))
        }
    };
    let seen = match privacy {
        Privacy::Kept | Privacy::Fresh => Filled::at(python, Path::new(ENVIRONMENT)),
        Privacy::Copy => Filled::at(python, &host),
    };
    Ok(Environment { host, seen, pins, privacy, _slot: slot })
}

impl Workshop<'_> {
    /// Makes and fills an environment, and takes out what uv adds for the sake of old programs: a module that every
    /// start of the interpreter would import, and that environments of the standard library have not.
    fn furnish(
        self,
        python: &Python,
        resolved: &Resolved,
        root: &Path,
        links: Links,
    ) -> Result<Filled, EnvironmentError> {
        let Self { store, seam, session, cancel } = self;
        let empty = seam.empty(python, resolved, root)?;
        bytecode::compile_once(store, python, empty.wheels(), Compiler { session, cancel })?;
        let filled = empty.fill(seam, python, links)?;
        for name in ["_virtualenv.pth", "_virtualenv.py"] {
            hwb_store::fs::remove_tree(&filled.site_packages.join(name)).map_err(StoreError::from)?;
        }
        Ok(filled)
    }
}

/// Makes the scripts of an environment name the place where builds see it. Each is written anew: it may be a file that
/// the download cache has too.
fn move_scripts(scripts: &Path, root: &Path) -> Result<(), EnvironmentError> {
    let Some(root) = root.to_str() else { return Ok(()) };
    for entry in hwb_store::walk_sorted(scripts).map_err(StoreError::from)? {
        let EntryKind::File { .. } = entry.kind else { continue };
        let path = scripts.join(&entry.path);
        // Programs in machine code hold no path of an environment.
        let Ok(text) = String::from_utf8(hwb_store::fs::read(&path).map_err(StoreError::from)?) else {
            continue;
        };
        if text.contains(root) {
            write_script(&path, &text.replace(root, ENVIRONMENT))?;
        }
    }
    Ok(())
}

fn write_script(path: &Path, text: &str) -> Result<(), EnvironmentError> {
    let failed = |source| EnvironmentError::Script { path: path.to_path_buf(), source };
    let permissions = fs_err::metadata(path).map_err(failed)?.permissions();
    hwb_store::fs::write_atomic(path, text.as_bytes()).map_err(StoreError::from)?;
    fs_err::set_permissions(path, permissions).map_err(failed)
}

/// What tells one environment from another: the interpreter, and every pin with its hashes.
fn contents(python: &Python, pins: &[Pin]) -> Digest {
    let mut hasher = Hasher::new();
    let executable: PathBuf = python.base_executable();
    hasher.field(executable.as_os_str().as_encoded_bytes());
    hasher.field(python.describe().as_bytes());
    for pin in pins {
        hasher.field(pin.name.as_ref().as_bytes());
        hasher.field(pin.version.to_string().as_bytes());
        for hash in &pin.hashes {
            hasher.field(hash.as_bytes());
        }
    }
    hasher.finish()
}
