//! `hwb image`: container images, pulled, run, changed and pushed without a daemon.
//!
//! - `catalogue`: which images the store has, and what they are called.
//! - [`pull()`]: from a registry into the store; [`push()`]: the other way. [`login()`] is who is known there.
//! - [`import()`]: from files into the store; [`export()`]: the other way.
//! - [`run()`]: a command in an image. `account` is who it runs as.
//!   `network` is what it reaches, `emulation` by whom it is run on another machine.
//! - `kept`: runs whose changes are kept under a name, and [`commit()`]: images that are made of them.
//! - `report`: what is said of an image.

mod account;
mod catalogue;
mod choice;
mod command;
mod commit;
pub(crate) mod emulation;
mod engine;
mod export;
mod folder;
mod import;
mod kept;
mod layers;
mod login;
mod needs;
pub(crate) mod network;
mod parallel;
mod pull;
mod push;
mod registry;
mod report;
mod run;

use std::path::PathBuf;

use hwb_ident::image::ParseImageReferenceError;
use hwb_ident::platform::ParseImagePlatformError;
use hwb_ident::{Digest, ImagePlatform, ImageReference};
use hwb_net::registry::ParsePlaceError;
pub use hwb_net::registry::Secret;
use hwb_oci::ParseError;
pub use hwb_oci::{Change, LayerCompression};
use hwb_sandbox::container::IdsError;
pub use hwb_sandbox::container::{
    Capabilities, Capability, Console, Limits, ParseCapabilityError, ParseResourceError, Place, ProcessLimit,
    Resource, RootAccess,
};
pub use hwb_sandbox::{Access, Mount, Network};
use hwb_snapshot::ChainError;
use hwb_snapshot::snapshots::AnyError;
use hwb_store::Store;

use self::account::AccountError;
pub(crate) use self::catalogue::AREA as IMAGES;
use self::catalogue::{Catalogue, Image};
pub use self::choice::Platforms;
pub use self::command::{CommandChoices, read_variables};
pub use self::commit::{CommitReport, CommitRequest, CommittedLayer, commit};
pub(crate) use self::engine::{Reaching, WORK};
pub use self::export::{
    ExportFormat, ExportReport, ExportRequest, ExportTarget, ExportedImage, ParseFormatError, export,
};
pub use self::import::{ImportRequest, import};
pub use self::kept::{ParseRunNameError, RunName, RunReport, remove_runs, runs};
pub use self::login::{LoginReport, LoginRequest, LogoutReport, login, logout};
pub(crate) use self::needs::{NamedParts, Needs, Parts};
pub use self::pull::{PullRequest, pull};
pub use self::push::{BlobReport, BlobResult, PushReport, PushRequest, push};
pub use self::report::{ImageDetails, ImageReport, LayerReport, StepReport};
pub use self::run::{ContainerChoices, PullPolicy, RunEnd, RunRequest, Streaming, run};
use crate::cache;
use crate::error::{Error, ErrorKind};
use crate::settings::Settings;

#[derive(Debug, thiserror::Error)]
enum ImageFault {
    #[error(transparent)]
    Name(#[from] ParseImageReferenceError),
    #[error(transparent)]
    PlatformName(#[from] ParseImagePlatformError),
    #[error("no image in the store is called `{0}`")]
    Unknown(String),
    #[error("`{name}` is in the store for {platforms} only")]
    OtherPlatform { name: String, platforms: String },
    #[error("`{0}` is the beginning of more than one image's identifier")]
    Ambiguous(String),
    #[error("the image {name} is malformed")]
    Malformed { name: String, source: ParseError },
    #[error("the image {name} does not say what it is for")]
    Platform { name: String, source: ParseImagePlatformError },
    #[error("a mirror of `registries.mirrors` makes no sense")]
    Mirror(#[source] ParsePlaceError),
    #[error("the image {0} was removed from the store while it was put there")]
    Vanished(String),
    #[error("this machine makes no containers")]
    NoIds,
    #[error("this machine makes no containers")]
    Ids(#[source] IdsError),
    #[error("the layers of {name} cannot be unpacked")]
    Layers { name: String, source: ChainError },
    #[error("failed to remove what was written to {}", path.display())]
    Clear { path: PathBuf, source: AnyError },
    #[error("cannot run a command of {name}")]
    Account { name: String, source: AccountError },
    #[error("{0} names no command, and none was given")]
    NoCommand(String),
    #[error("failed to read variables from {}", path.display())]
    Variables { path: PathBuf, source: std::io::Error },
    #[error("no program of this machine connects an isolated network")]
    NoNetworkProgram,
    #[error("failed to pass the standard streams on")]
    Streams(#[source] std::io::Error),
    #[error("failed to start `{program}`")]
    NotStarted { program: String, source: std::io::Error },
    #[error("the image {name} lacks {digest} in the store")]
    Lacking { name: String, digest: Digest },
    #[error("`{name}` names another image by its digest than {digest}, which is to be pushed")]
    Pinned { name: String, digest: Digest },
    #[error("`{0}` is not a user name that can be sent")]
    User(String),
    #[error("the password is empty")]
    Password,
    #[error("there is a run called `{0}` already")]
    RunThere(String),
    #[error("no run is called `{0}`")]
    NoRun(String),
    #[error("the run `{0}` is in use by another hwb")]
    RunInUse(String),
    #[error("what is known of the run `{name}` is malformed")]
    RunDocument { name: String, source: serde_json::Error },
    #[error("the image {0} that was run is not in the store any more")]
    BaseGone(String),
    #[error("failed to make a layer of the run `{name}`")]
    Changes { name: String, source: AnyError },
    #[error("what is not compressed has no level")]
    NoLevels,
    #[error("failed to read {digest} from the store")]
    Read { digest: Digest, source: std::io::Error },
}

/// Every image in the store that has a name, by name.
///
/// # Errors
///
/// If the store cannot be read.
pub fn list(settings: &Settings) -> Result<Vec<ImageReport>, Error> {
    let store = cache::open(settings)?;
    let images = Catalogue { store: &store }.all()?;
    Ok(images.iter().map(ImageReport::of).collect())
}

/// What an image in the store is made of, and how it is run.
///
/// # Errors
///
/// If it is not there.
pub fn inspect(settings: &Settings, name: &str, platform: Option<&str>) -> Result<ImageDetails, Error> {
    let store = cache::open(settings)?;
    Ok(ImageDetails::of(&known(&store, name, platform)?))
}

/// How an image in the store came about, the newest step first.
///
/// # Errors
///
/// If it is not there.
pub fn history(settings: &Settings, name: &str, platform: Option<&str>) -> Result<Vec<StepReport>, Error> {
    let store = cache::open(settings)?;
    Ok(StepReport::of(&known(&store, name, platform)?))
}

/// Gives an image in the store another name as well: for every platform that has the old one, or to the one image whose
/// identifier is given.
///
/// # Errors
///
/// If it is not there, or that is no name.
pub fn tag(settings: &Settings, image: &str, name: &str) -> Result<Vec<ImageReport>, Error> {
    let store = cache::open(settings)?;
    let name = reference(name)?;
    let images = choice::meant(&store, image)?;
    if images.is_empty() {
        return Err(absent(image));
    }
    let tag = |image: Image| {
        let image = Image { name: name.clone(), ..image };
        Catalogue { store: &store }.name(&name, &image)?;
        Ok(ImageReport::of(&image))
    };
    images.into_iter().map(tag).collect()
}

/// Takes their names from images: a name from all that have it, but an identifier or a digest is one image's. What no
/// image needs any more goes with `hwb cache prune`.
///
/// # Errors
///
/// If there is no such name. Those before it are gone.
pub fn remove(settings: &Settings, names: &[String]) -> Result<Vec<String>, Error> {
    let store = cache::open(settings)?;
    let catalogue = Catalogue { store: &store };
    let mut removed = Vec::new();
    for text in names {
        removed.push(remove_one(catalogue, text)?.to_string());
    }
    Ok(removed)
}

fn remove_one(catalogue: Catalogue<'_>, text: &str) -> Result<ImageReference, Error> {
    let name = reference(text);
    match &name {
        Ok(name) if catalogue.forget(name)? > 0 => return Ok(name.clone()),
        _ => {}
    }
    match catalogue.single(text)? {
        Some(image) => {
            catalogue.forget_one(&image.name, &image.platform)?;
            Ok(image.name)
        }
        None => name.and_then(|_| Err(absent(text))),
    }
}

/// What is to be in the store.
fn known(store: &Store, name: &str, platform: Option<&str>) -> Result<Image, Error> {
    let found = Catalogue { store }.find(name, &wanted(platform)?)?;
    found.ok_or_else(|| unknown(store, name))
}

/// Why nothing was found: it is not there, or not for the platform that is wanted.
fn unknown(store: &Store, name: &str) -> Error {
    let there = choice::meant(store, name).unwrap_or_default();
    if there.is_empty() {
        return absent(name);
    }
    let platforms: Vec<String> = there.iter().map(|image| image.platform.to_string()).collect();
    let fault = ImageFault::OtherPlatform { name: name.to_owned(), platforms: platforms.join(", ") };
    Error::new(ErrorKind::Source, fault)
        .hint("name one of them with `--platform`, or pull it for the one that is wanted")
}

fn absent(name: &str) -> Error {
    Error::new(ErrorKind::Source, ImageFault::Unknown(name.to_owned()))
        .hint("`hwb image ls` lists what is there, and `hwb image pull` gets more")
}

fn reference(text: &str) -> Result<ImageReference, Error> {
    text.parse().map_err(|error| Error::new(ErrorKind::Usage, ImageFault::Name(error)))
}

/// The platform that is asked for, else this machine's.
fn wanted(platform: Option<&str>) -> Result<ImagePlatform, Error> {
    let parse = |text: &str| {
        text.parse().map_err(|error| Error::new(ErrorKind::Usage, ImageFault::PlatformName(error)))
    };
    platform.map_or_else(|| Ok(host()), parse)
}

/// What this machine runs without emulation.
fn host() -> ImagePlatform {
    let architecture = std::env::consts::ARCH;
    ImagePlatform::new("linux", architecture, None).expect("the names of Rust's machines are words")
}
