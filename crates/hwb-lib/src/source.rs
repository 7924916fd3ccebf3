//! Brings the source of a build: fetched, unpacked or copied to a path that depends on its contents alone.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hwb_archive::Limits;
use hwb_build::{Project, read_project};
use hwb_ident::{ArchivePath, Digest, GitSource, PathSource, Requirement, SourceSpec, Timestamp, UrlSource};
use hwb_net::git::{self, CheckoutOptions};
use hwb_sandbox::UPPER;
use hwb_store::git::Repository;
use hwb_store::mirror::Mirror;
use hwb_store::snapshot::{self, Exclude};
use hwb_store::{DiskSink, Scratch, Slot};
use hwb_wheel::Metadata;
use hwb_wheel::metadata::MetadataVersion;

use crate::artifact::Promise;
use crate::build::Placement;
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::world::World;

/// A source tree with a known digest, ready to be built.
#[derive(Debug)]
pub(crate) struct Tree {
    /// The root of the project.
    pub(crate) project: PathBuf,
    /// The root of the whole source; the project may be a directory in it.
    pub(crate) top: PathBuf,
    /// The digest of exactly what was taken.
    pub(crate) digest: Digest,
    /// The newest time that the source itself knows of.
    pub(crate) epoch: Timestamp,
    /// What a backend may do to the files.
    pub(crate) ground: Ground,
    /// Where it comes from.
    pub(crate) origin: Origin,
}

/// Where a tree comes from, for messages and records, and what is known of what it must yield.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    /// A directory, the name of a file, or a URL without credentials.
    pub(crate) name: String,
    /// The commit of a git repository.
    pub(crate) commit: Option<String>,
    /// The digest of an archive.
    pub(crate) archive: Option<Digest>,
    /// What was asked for, or what an sdist says of itself.
    pub(crate) promise: Promise,
}

impl Origin {
    fn directory(path: &Path) -> Self {
        Self { name: path.display().to_string(), ..Self::default() }
    }
}

/// Whose the files of a tree are.
#[derive(Debug)]
pub(crate) enum Ground {
    /// The user's: the backend works in them.
    InPlace,
    /// This build's own: a copy that is gone with the tree.
    Copy { _slot: Slot },
    /// The store's: a copy of a large tree, which no build writes to. What the backend writes goes into `changes`, over
    /// which a session sees it, and is gone with the tree.
    Kept { mirror: Arc<Mirror>, changes: Scratch },
}

/// What is wrong with a source.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// It is neither a directory nor a file.
    #[error("`{}` is neither a directory nor a file", .0.display())]
    Kind(PathBuf),
    /// It cannot be read.
    #[error("failed to read the source archive")]
    Read(#[source] std::io::Error),
    /// A directory has no bytes to compare.
    #[error("`#sha256=` is for archives, and `{}` is none", .0.display())]
    NoBytes(PathBuf),
    /// The digest is not the expected one.
    #[error("`{name}` has the digest {found}, but {expected} was expected")]
    Hash {
        /// Which file.
        name: String,
        /// What was promised.
        expected: Digest,
        /// What is there.
        found: Digest,
    },
    /// It cannot be unpacked.
    #[error("failed to unpack `{name}`")]
    Unpack {
        /// Which archive.
        name: String,
        /// Why.
        #[source]
        source: hwb_archive::UnpackError,
    },
    /// The subdirectory is not there.
    #[error("the source has no directory `{0}`")]
    Subdirectory(ArchivePath),
    /// A local path cannot be built in place.
    #[error("`--in-place` and `--editable` need a directory, and `{0}` is none")]
    InPlace(String),
}

/// How a source is brought.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acquisition<'a> {
    /// Where in the source the project is; wins over what the source itself says.
    pub(crate) subdirectory: Option<&'a ArchivePath>,
    /// Whether the backend runs in a copy.
    pub(crate) placement: Placement,
    /// Directories that are not part of the source: the output folder, the cache.
    pub(crate) exclude: &'a [PathBuf],
}

/// Brings `spec`.
pub(crate) fn acquire(world: &Arc<World>, spec: &SourceSpec, how: &Acquisition<'_>) -> Result<Tree, Error> {
    let (tree, subdirectory) = match spec {
        SourceSpec::Path(source) => (acquire_path(world, source, how)?, source.subdirectory.as_ref()),
        _ if how.placement == Placement::InPlace => {
            return Err(Error::new(ErrorKind::Usage, SourceError::InPlace(spec.to_string())));
        }
        SourceSpec::Url(source) => (acquire_url(world, source)?, source.subdirectory.as_ref()),
        SourceSpec::Git(source) => (acquire_git(world, source)?, source.subdirectory.as_ref()),
        SourceSpec::Requirement(requirement) => (acquire_requirement(world, requirement)?, None),
    };
    tree.enter(how.subdirectory.or(subdirectory))
}

/// Copies a directory that uv unpacked, for a nested build.
pub(crate) fn acquire_directory(world: &World, directory: &Path) -> Result<Tree, Error> {
    take_whole(world, directory)
}

/// Copies a tree once more, for a build beside the one that has it.
pub(crate) fn acquire_copy(world: &World, tree: &Tree) -> Result<Tree, Error> {
    let copy = match &tree.ground {
        Ground::InPlace | Ground::Copy { .. } => take_whole(world, &tree.top)?,
        Ground::Kept { mirror, changes } => {
            let copy = kept(world, Arc::clone(mirror), &tree.origin)?;
            share_repository(changes.path(), &copy)?;
            copy
        }
    };
    let below = tree.project.strip_prefix(&tree.top).unwrap_or_else(|_| Path::new(""));
    let Tree { digest, epoch, ref origin, .. } = *tree;
    Ok(Tree { project: copy.top.join(below), digest, epoch, origin: origin.clone(), ..copy })
}

/// Unpacks an sdist that was just built.
pub(crate) fn acquire_sdist(world: &World, bytes: &[u8], name: &str) -> Result<Tree, Error> {
    unpack(world, std::io::Cursor::new(bytes), (name, Digest::of(bytes)))
}

impl Tree {
    /// Whether a backend works in the tree itself.
    pub(crate) fn placement(&self) -> Placement {
        match self.ground {
            Ground::InPlace => Placement::InPlace,
            Ground::Copy { .. } | Ground::Kept { .. } => Placement::Snapshot,
        }
    }

    /// The directory that backends write to.
    fn writable(&self) -> PathBuf {
        match &self.ground {
            Ground::InPlace | Ground::Copy { .. } => self.top.clone(),
            Ground::Kept { changes, .. } => changes.path().join(UPPER),
        }
    }

    /// What the project says about its build.
    pub(crate) fn read_project(&self) -> Result<Project, Error> {
        self.read_project_at(&self.project)
    }

    /// What the project in a directory of this tree says about its build; messages name the source as it was given.
    pub(crate) fn read_project_at(&self, place: &Path) -> Result<Project, Error> {
        let origin = PathBuf::from(&self.origin.name);
        let shown = match place.strip_prefix(&self.top) {
            Ok(below) if below != Path::new("") => origin.join(below),
            _ => origin,
        };
        Ok(read_project(place, &shown)?)
    }

    /// The same tree, counting as of another time.
    pub(crate) fn at(self, epoch: Timestamp) -> Self {
        Self { epoch, ..self }
    }

    /// The same tree, with the project in a directory of it.
    pub(crate) fn enter(self, subdirectory: Option<&ArchivePath>) -> Result<Self, Error> {
        let Some(subdirectory) = subdirectory else { return Ok(self) };
        let project = subdirectory.below(&self.project);
        if !project.is_dir() {
            return Err(Error::new(ErrorKind::Source, SourceError::Subdirectory(subdirectory.clone())));
        }
        // What is said of the whole is not said of a part.
        let origin = Origin { promise: Promise::default(), ..self.origin };
        Ok(Self { project, origin, ..self })
    }
}

fn acquire_path(world: &World, source: &PathSource, how: &Acquisition<'_>) -> Result<Tree, Error> {
    let path = &world.ambient.absolute(&source.path);
    if path.is_file() {
        if how.placement == Placement::InPlace {
            let name = path.display().to_string();
            return Err(Error::new(ErrorKind::Usage, SourceError::InPlace(name)));
        }
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let mut file = fs_err::File::open(path).map_err(read)?;
        let digest = Digest::of_reader(&mut file).map_err(read)?;
        if let Some(expected) = source.sha256 {
            check_digest(&name, expected, digest)?;
        }
        return unpack(world, file, (&name, digest));
    }
    if source.sha256.is_some() {
        return Err(Error::new(ErrorKind::Usage, SourceError::NoBytes(path.clone())));
    }
    if !path.is_dir() {
        return Err(Error::new(ErrorKind::Source, SourceError::Kind(path.clone())));
    }
    let mut exclude = how.exclude.to_vec();
    exclude.push(world.store.root().to_path_buf());
    let exclude = Exclude { directories: exclude };
    match how.placement {
        Placement::Snapshot => {
            let tree = take(world, path, &exclude)?;
            lend_repository(path, &tree)?;
            Ok(tree)
        }
        Placement::InPlace => {
            let path = fs_err::canonicalize(path).map_err(read)?;
            let measured = snapshot::measure(&path, &exclude)?;
            Ok(Tree {
                project: path.clone(),
                origin: Origin::directory(&path),
                top: path,
                digest: measured.digest,
                epoch: world.epoch.unwrap_or(Timestamp::ZIP_EPOCH),
                ground: Ground::InPlace,
            })
        }
    }
}

/// Lets tools that take a version from git read the repository of a directory. Its own copy of HEAD and the index
/// stands beside the tree; where the source is only a part of the repository, there is no working tree to speak of.
fn lend_repository(directory: &Path, tree: &Tree) -> Result<(), Error> {
    let directory = fs_err::canonicalize(directory).map_err(read)?;
    match Repository::discover(&directory) {
        Some(repository) if repository.work_tree == directory => {
            let writable = tree.writable();
            Ok(repository.lend(&writable, &writable.with_file_name("git"))?)
        }
        Some(_) | None => Ok(()),
    }
}

/// Lets another tree over the same files have the repository that was lent to the first.
fn share_repository(changes: &Path, copy: &Tree) -> Result<(), Error> {
    let lent = changes.join(UPPER).join(".git");
    if lent.is_file() {
        let text = hwb_store::fs::read(&lent)?;
        hwb_store::fs::write_atomic(&copy.writable().join(".git"), &text)?;
    }
    Ok(())
}

fn check_digest(name: &str, expected: Digest, found: Digest) -> Result<(), Error> {
    if expected == found {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Source, SourceError::Hash { name: name.to_owned(), expected, found }))
}

/// Copies a directory, or brings the copy that the store has of a large one up to date.
fn take(world: &World, directory: &Path, exclude: &Exclude) -> Result<Tree, Error> {
    let origin = Origin::directory(directory);
    if snapshot::is_large(directory, exclude)?
        && world.can_overlay()?
        && let Some(mirror) = world.store.mirror(directory, exclude)?
    {
        return kept(world, Arc::new(mirror), &origin);
    }
    let scratch = world.store.scratch("source")?;
    let copy = scratch.path().join("tree");
    let taken = snapshot::take(directory, &copy, exclude)?;
    settle(world, &copy, None, Facts { digest: taken.digest, epoch: Timestamp::ZIP_EPOCH, origin })
}

/// A tree over what the store keeps.
fn kept(world: &World, mirror: Arc<Mirror>, origin: &Origin) -> Result<Tree, Error> {
    let changes = world.store.scratch("changes")?;
    hwb_store::fs::create_directory(&changes.path().join(UPPER))?;
    let (top, digest) = (mirror.path().to_path_buf(), mirror.snapshot().digest);
    let epoch = world.epoch.unwrap_or(Timestamp::ZIP_EPOCH);
    let ground = Ground::Kept { mirror, changes };
    Ok(Tree { project: top.clone(), top, digest, epoch, ground, origin: origin.clone() })
}

/// Copies a directory that no developer works in: everything in it is source.
fn take_whole(world: &World, directory: &Path) -> Result<Tree, Error> {
    let scratch = world.store.scratch("source")?;
    let copy = scratch.path().join("tree");
    let taken = snapshot::take_whole(directory, &copy)?;
    let origin = Origin::directory(directory);
    settle(world, &copy, None, Facts { digest: taken.digest, epoch: Timestamp::ZIP_EPOCH, origin })
}

/// What is known of a tree before it stands at its own path.
struct Facts {
    digest: Digest,
    epoch: Timestamp,
    origin: Origin,
}

/// Moves `copy` to the path that its digest gives it. `top` is the one directory of an archive, if it has one: that is
/// the source, whatever it is called.
fn settle(world: &World, copy: &Path, top: Option<&str>, facts: Facts) -> Result<Tree, Error> {
    let root = top.map_or_else(|| copy.to_path_buf(), |top| copy.join(top));
    let Facts { digest, epoch, origin } = facts;
    let epoch = world.epoch.unwrap_or(epoch);
    let slot = world.store.slot("sources", &digest)?;
    let place = slot.path().join("tree");
    fs_err::rename(root, &place).map_err(read)?;
    Ok(Tree {
        project: place.clone(),
        top: place,
        digest,
        epoch,
        ground: Ground::Copy { _slot: slot },
        origin,
    })
}

fn unpack<R: std::io::Read + std::io::Seek>(
    world: &World,
    input: R,
    (name, archive): (&str, Digest),
) -> Result<Tree, Error> {
    let scratch = world.store.scratch("unpack")?;
    let copy = scratch.path().join("tree");
    let mut sink = DiskSink::create(&copy)?;
    let unpacked = hwb_archive::unpack(input, &Limits::default(), &mut sink).map_err(|source| {
        Error::new(ErrorKind::Source, SourceError::Unpack { name: name.to_owned(), source })
    })?;
    let digest = sink.finish()?;
    let top = only_directory(&copy)?;
    let epoch = unpacked.newest.unwrap_or(Timestamp::ZIP_EPOCH).max(Timestamp::ZIP_EPOCH);
    let promise = static_promise(&top.as_ref().map_or_else(|| copy.clone(), |top| copy.join(top)));
    let origin = Origin { name: name.to_owned(), commit: None, archive: Some(archive), promise };
    settle(world, &copy, top.as_deref(), Facts { digest, epoch, origin })
}

/// The version of the metadata since which name and version of an sdist hold for what is built of it (PEP 643).
const FIRST_STATIC: MetadataVersion = MetadataVersion { major: 2, minor: 2 };

/// What an sdist says in its `PKG-INFO`, if that can be relied on.
fn static_promise(root: &Path) -> Promise {
    let metadata = fs_err::read(root.join("PKG-INFO")).ok().and_then(|bytes| Metadata::parse(&bytes).ok());
    match metadata.filter(|metadata| metadata.metadata_version >= FIRST_STATIC) {
        Some(Metadata { name, version, .. }) => Promise { name: Some(name), version: Some(version) },
        None => Promise::default(),
    }
}

/// The name of the directory that holds everything of an sdist (PEP 625); `None` if things lie side by side.
fn only_directory(directory: &Path) -> Result<Option<String>, Error> {
    let mut entries = fs_err::read_dir(directory).map_err(read)?;
    let first = entries.next().transpose().map_err(read)?;
    match (first, entries.next()) {
        (Some(entry), None) if entry.file_type().map_err(read)?.is_dir() => {
            Ok(entry.file_name().to_str().map(str::to_owned))
        }
        _ => Ok(None),
    }
}

fn acquire_url(world: &Arc<World>, source: &UrlSource) -> Result<Tree, Error> {
    let name = source.url.file_name().unwrap_or_else(|| source.url.to_string());
    fetch(world, &source.url, source.sha256, &name)
}

fn acquire_requirement(world: &Arc<World>, requirement: &Requirement) -> Result<Tree, Error> {
    if requirement.version_or_url.is_none() {
        // Whoever mistypes a directory runs a stranger's code: at least it is said.
        let message = format!("there is no directory `{requirement}` here: taking its sdist from the index");
        world.tell(Event::Note { message });
    }
    let choice = world.seam(&[])?.sdist(requirement, None)?;
    let tree = fetch(world, &choice.url, choice.sha256, &choice.file)?;
    let (name, version) = (choice.filename.name, choice.filename.version);
    let promise = Promise { name: Some(name), version: Some(version) };
    Ok(Tree { origin: Origin { promise, ..tree.origin }, ..tree })
}

/// Downloads an archive, unless the store has its bytes already, and unpacks it.
fn fetch(
    world: &Arc<World>,
    url: &hwb_ident::RedactedUrl,
    sha256: Option<Digest>,
    name: &str,
) -> Result<Tree, Error> {
    if let Some(digest) = sha256
        && let Some(blob) = world.store.open_blob(&digest)?
    {
        return unpack(world, blob, (name, digest));
    }
    let mut bytes = Vec::new();
    let fetched = world.seam(&[])?.download(url, sha256, &mut bytes)?;
    if sha256.is_some_and(|expected| expected == fetched.digest) {
        world.store.put_blob(&mut bytes.as_slice())?;
    }
    unpack(world, std::io::Cursor::new(bytes), (name, fetched.digest))
}

fn acquire_git(world: &Arc<World>, source: &GitSource) -> Result<Tree, Error> {
    let scratch = world.store.scratch("git")?;
    let copy = scratch.path().join("tree");
    let cache_dir = world.store.directory("git")?;
    let checkout = git::checkout(
        source,
        &CheckoutOptions {
            cache_dir: &cache_dir,
            destination: &copy,
            connectivity: match world.index.connectivity {
                hwb_uv::Connectivity::Online => git::Connectivity::Online,
                hwb_uv::Connectivity::Offline => git::Connectivity::Offline,
            },
            cancel: &world.cancel,
            env: &git_environment(world),
        },
    )?;
    let digest = snapshot::measure(&copy, &Exclude::default())?.digest;
    let name = format!("{}@{}", SourceSpec::Git(source.clone()), checkout.commit);
    let origin = Origin { name, commit: Some(checkout.commit.clone()), ..Origin::default() };
    settle(world, &copy, None, Facts { digest, epoch: checkout.committed, origin })
}

/// What git is given of the user's environment: how to reach servers, and who the user is to them.
fn git_environment(world: &World) -> BTreeMap<OsString, OsString> {
    const PASSED: [&str; 14] = [
        "PATH",
        "HOME",
        "USER",
        "SSH_AUTH_SOCK",
        "GIT_SSH",
        "GIT_SSH_COMMAND",
        "GIT_ASKPASS",
        "GIT_SSL_CAINFO",
        "GIT_CONFIG_GLOBAL",
        "SSL_CERT_FILE",
        "http_proxy",
        "https_proxy",
        "HTTPS_PROXY",
        "NO_PROXY",
    ];
    let found = PASSED.iter().filter_map(|name| Some((*name, world.ambient.var(name)?)));
    found.map(|(name, value)| (name.into(), value.into())).collect()
}

fn read(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Source, SourceError::Read(error))
}
