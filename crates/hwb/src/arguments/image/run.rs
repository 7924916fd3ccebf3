//! `hwb image run`

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use hwb_lib::image::{ProcessLimit, RunName};

use super::place::{self, Place};
use super::right::{self, Cap, HostLine};

pub(super) const EXAMPLES: &str = "\
Examples:
  hwb image run --rm debian:12 cat /etc/os-release
  hwb image run --rm -v .:/src -w /src quay.io/pypa/manylinux_2_28_x86_64 make
  hwb image run -it debian:12";

/// When an image is fetched that is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pull {
    /// Whenever the registry has another one
    Always,
    /// Only if there is none
    Missing,
    /// Not even then
    Never,
}

/// `hwb image run`
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags as they were typed")]
pub(crate) struct RunArguments {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// The command, in place of the image's own
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
    /// Keep nothing of what it writes; so it is anyway without --name
    #[arg(long, conflicts_with = "name")]
    pub(crate) rm: bool,
    /// Keep what it writes under this name, for `hwb image commit`
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<RunName>,
    /// Show more; without its short form, which is --volume here
    #[arg(long, id = "verbose", hide = true)]
    pub(crate) verbose: bool,
    /// Pass standard input on
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// A variable; without a value, as it is here
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Variables from a file, one in each line
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// A directory or file of this machine, to write to or, with `:ro`, to read
    #[arg(short, long, value_name = "SRC:DST[:ro]", value_parser = place::volume)]
    pub(crate) volume: Vec<Place>,
    /// The same in words: type=bind,source=…,target=…,readonly or type=tmpfs,target=…,tmpfs-size=…
    #[arg(long, value_name = "KEY=VALUE,…", value_parser = place::mount)]
    pub(crate) mount: Vec<Place>,
    /// A file system in memory
    #[arg(long, value_name = "DST[:OPTIONS]", value_parser = place::tmpfs)]
    pub(crate) tmpfs: Vec<Place>,
    /// Where it is run
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// Who it runs as, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// What the machine is called
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// What it reaches: host, none or isolated
    #[arg(long, value_name = "NETWORK", default_value = "host")]
    pub(crate) network: RunNetwork,
    /// Another line of /etc/hosts
    #[arg(long, value_name = "HOST:IP", value_parser = right::host)]
    pub(crate) add_host: Vec<HostLine>,
    /// The most memory, such as 512m
    #[arg(short, long, value_name = "BYTES", value_parser = place::bytes)]
    pub(crate) memory: Option<u64>,
    /// The most processors, such as 1.5
    #[arg(long, value_name = "NUMBER", value_parser = place::cpus)]
    pub(crate) cpus: Option<u64>,
    /// The most processes
    #[arg(long, value_name = "NUMBER")]
    pub(crate) pids_limit: Option<u64>,
    /// A limit of setrlimit, such as nofile=1024:2048
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = right::ulimit)]
    pub(crate) ulimit: Vec<ProcessLimit>,
    /// One more capability, or ALL
    #[arg(long, value_name = "CAP", value_parser = right::cap)]
    pub(crate) cap_add: Vec<Cap>,
    /// One capability less, or ALL
    #[arg(long, value_name = "CAP", value_parser = right::cap)]
    pub(crate) cap_drop: Vec<Cap>,
    /// Let it write nowhere but to mounts
    #[arg(long)]
    pub(crate) read_only: bool,
    /// The program, in place of the image's own
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// When the image is fetched
    #[arg(long, value_name = "WHEN", default_value = "missing")]
    pub(crate) pull: Pull,
    /// The image for this platform instead of this machine's
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,
    /// Refused: a command ends with hwb
    #[arg(short, long, hide = true, value_parser = refused("a command ends with hwb: start hwb in the background"))]
    #[arg(num_args = 0, default_missing_value = "")]
    pub(crate) detach: Option<String>,
    /// Refused: no port is published
    #[arg(short, long, hide = true, value_parser = refused("with --network host its ports are this machine's"))]
    pub(crate) publish: Option<String>,
    /// Refused: a command always has its walls
    #[arg(long, hide = true, value_parser = refused("no command is without walls: see --cap-add"))]
    #[arg(num_args = 0, default_missing_value = "")]
    pub(crate) privileged: Option<String>,
}

/// What a command in an image reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RunNetwork {
    /// What this machine reaches
    Host,
    /// Nothing
    None,
    /// What this machine reaches, but not the machine
    Isolated,
}

/// Takes no value, and says why.
fn refused(why: &'static str) -> impl Fn(&str) -> Result<String, &'static str> + Clone + Send + Sync {
    move |_| Err(why)
}
