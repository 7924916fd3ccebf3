//! `hwb image push`, `login` and `logout`

use clap::Args;
use hwb_lib::image::{Platforms, PushRequest, Secret};

const PUSH_EXAMPLES: &str = "\
Examples:
  hwb image push registry.example/team/app:1
  hwb image push app registry.example/team/app:1 registry.example/team/app:latest
  hwb image push --all-platforms registry.example/team/app:1   Those in the store, and an index";

const LOGIN_EXAMPLES: &str = "\
Examples:
  hwb image login quay.io -u me --password-stdin < token
  pass show quay.io | hwb image login quay.io -u me --password-stdin
  hwb image login quay.io/team -u robot --password-stdin < token   For these repositories only

hwb does not ask for the password: it has to come on standard input.";

/// `hwb image push`
#[derive(Debug, Args)]
#[command(after_help = PUSH_EXAMPLES)]
pub(crate) struct PushArguments {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// What it is to be called at registries, in place of its own name
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    platforms: PlatformArguments,
}

/// Which of the images of one name.
#[derive(Debug, Args)]
pub(crate) struct PlatformArguments {
    /// The one for this platform instead of this machine's
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    /// Those for all platforms, with an index of them
    #[arg(long, conflicts_with = "platform")]
    all_platforms: bool,
}

/// `hwb image login`
#[derive(Debug, Args)]
#[command(after_help = LOGIN_EXAMPLES)]
pub(crate) struct LoginArguments {
    /// The registry, or the beginning of the names of some repositories there
    #[arg(value_name = "REGISTRY")]
    pub(crate) registry: String,
    /// The user name
    #[arg(short, long, visible_alias = "user", value_name = "USER")]
    pub(crate) username: String,
    /// Read the password from standard input
    #[arg(long, conflicts_with = "password")]
    pub(crate) password_stdin: bool,
    /// The password. Other users of this machine can read it here: use --password-stdin
    #[arg(short, long, value_name = "PASSWORD", value_parser = secret)]
    pub(crate) password: Option<Secret>,
}

/// `hwb image logout`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hwb image logout quay.io")]
pub(crate) struct LogoutArguments {
    /// The registry, as it was said at the login
    #[arg(value_name = "REGISTRY")]
    pub(crate) registry: String,
}

impl PushArguments {
    /// What is meant by it.
    pub(crate) fn request(&self) -> PushRequest {
        let Self { image, names, platforms } = self;
        PushRequest { image: image.clone(), names: names.clone(), platforms: platforms.choice() }
    }
}

impl PlatformArguments {
    /// What is meant by it.
    pub(crate) fn choice(&self) -> Platforms {
        if self.all_platforms { Platforms::All } else { Platforms::One(self.platform.clone()) }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "clap wants to hear of failures")]
fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}
