//! `hwb image`

mod commit;
mod files;
mod place;
mod registry;
mod right;
mod run;

use clap::{Args, Subcommand};
use hwb_lib::image::RunName;

pub(crate) use self::commit::{CommitArguments, Compression};
pub(crate) use self::files::{ExportArguments, ImportArguments};
pub(crate) use self::place::{Place, bytes};
pub(crate) use self::registry::{LoginArguments, LogoutArguments, PushArguments};
pub(crate) use self::right::Cap;
pub(crate) use self::run::{Pull, RunArguments, RunNetwork};

/// `hwb image`
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Fetch images from their registries
    Pull(PullArguments),
    /// Run a command in an image
    #[command(after_help = run::EXAMPLES)]
    Run(Box<RunArguments>),
    /// Make an image of what a run changed
    #[command(after_help = commit::EXAMPLES)]
    Commit(CommitArguments),
    /// Send an image to a registry
    Push(PushArguments),
    /// Keep a user name and a password for a registry
    Login(LoginArguments),
    /// Forget them
    Logout(LogoutArguments),
    /// Bring images out of files into the store
    Import(ImportArguments),
    /// Write images into a file or a directory
    Export(ExportArguments),
    /// List the images in the store
    #[command(visible_alias = "list")]
    Ls(ListArguments),
    /// Show what an image is made of and how it is run
    Inspect(ShowArguments),
    /// Show how an image came about
    History(ShowArguments),
    /// Give an image another name as well
    Tag(TagArguments),
    /// Take names from images, or remove runs that were kept
    Rm(RemoveArguments),
}

/// `hwb image pull`
#[derive(Debug, Args)]
pub(crate) struct PullArguments {
    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
    /// For this platform instead of this machine's
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,
}

/// `hwb image ls`
#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Print whole digests
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// List the runs that were kept instead
    #[arg(long)]
    pub(crate) runs: bool,
}

/// What shows something of one image.
#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    /// Its name, or the beginning of its identifier
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// The one for this platform instead of this machine's
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,
}

/// `hwb image tag`
#[derive(Debug, Args)]
pub(crate) struct TagArguments {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Its other name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// `hwb image rm`
#[derive(Debug, Args)]
pub(crate) struct RemoveArguments {
    /// The names
    #[arg(value_name = "IMAGE", required_unless_present = "run")]
    pub(crate) images: Vec<String>,
    /// Remove this run
    #[arg(long, value_name = "NAME")]
    pub(crate) run: Vec<RunName>,
}
