//! What can be typed.

mod build;
mod image;
mod index;
mod parse;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::build::{BuildArguments, VerifyArguments};
pub(crate) use self::image::{
    Cap, CommitArguments, Compression, ExportArguments, ImageCommand, ImportArguments, ListArguments,
    LoginArguments, LogoutArguments, Place, Pull, PullArguments, PushArguments, RemoveArguments,
    RunArguments, RunNetwork, ShowArguments, TagArguments,
};
pub(crate) use self::index::IndexArguments;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
Examples:
  hwb build                          A wheel of the project in this directory, into dist/
  hwb build -sw path/to/project      An sdist, and a wheel from it
  hwb build 'flask==3.1.0'           A wheel from the sdist on the index
  hwb verify dist/a-1.0-py3-none-any.whl --source .
  hwb inspect dist/a-1.0-py3-none-any.whl
  hwb audit dist/a-1.0-cp312-cp312-linux_x86_64.whl
  hwb repair dist/a-1.0-cp312-cp312-linux_x86_64.whl

`hwb COMMAND --help` says more.";

const AUDIT_EXAMPLES: &str = "\
Examples:
  hwb audit dist/greeter-1.0-cp312-cp312-linux_x86_64.whl
  hwb audit -v dist                            What is in the way of every tag
  hwb audit --require manylinux_2_28 dist
  hwb audit /usr/lib/x86_64-linux-gnu/libz.so.1";

const REPAIR_EXAMPLES: &str = "\
Examples:
  hwb repair dist/greeter-1.0-cp312-cp312-linux_x86_64.whl
  hwb repair --dry-run dist/*.whl                    What would be put into them
  hwb repair --plat manylinux_2_28 -o wheelhouse dist/*.whl
  hwb repair --exclude 'libcuda.so.*' --lib-dir /opt/lib dist/*.whl";

/// Builds Python wheels from any source, the same bytes every time.
#[derive(Debug, Parser)]
#[command(name = "hwb", styles = STYLES, max_term_width = 100, arg_required_else_help = true)]
#[command(disable_version_flag = true, disable_help_subcommand = true, after_help = EXAMPLES)]
#[command(subcommand_negates_reqs = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    /// Print the version
    #[arg(short = 'V', long, required = true)]
    pub(crate) version: bool,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build wheels and sdists
    Build(Box<BuildArguments>),
    /// Build a wheel again and compare it with the one that is there
    Verify(Box<VerifyArguments>),
    /// Show what is in a wheel or sdist
    Inspect(InspectArguments),
    /// Show how portable wheels and ELF files are, and what keeps them from an older tag
    Audit(AuditArguments),
    /// Put the libraries that wheels need into them, and give them the platform tag that they deserve then
    Repair(Box<RepairArguments>),
    /// List the platform tags that wheels are audited for
    Policies,
    /// Fetch, show and run container images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Show the Python interpreters of this machine
    #[command(subcommand)]
    Python(PythonCommand),
    /// Show what this machine can do, and what would mend what it cannot
    Doctor,
    /// Show the settings that hold here
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show earlier builds
    History(HistoryArguments),
    /// Show or clear the cache
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Print the completions of a shell
    #[command(
        after_help = "Example:\n  hwb completions bash > ~/.local/share/bash-completion/completions/hwb"
    )]
    Completions(CompletionsArguments),
    /// Print the JSON schema of a document that --json prints
    Schema(SchemaArguments),
}

/// What every command takes.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags as they were typed; its methods say what they mean")]
pub(crate) struct Global {
    /// Show everything that the build backend prints
    #[arg(short, long, global = true, conflicts_with = "quiet", help_heading = "Global options")]
    verbose: bool,
    /// Print nothing but errors
    #[arg(short, long, global = true, help_heading = "Global options")]
    quiet: bool,
    /// Print one JSON document to standard output and nothing else there
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    /// Whether to use colours; NO_COLOR and CLICOLOR_FORCE are heard too
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_default_value = true)]
    #[arg(help_heading = "Global options")]
    pub(crate) color: Color,
    /// Where the cache is
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub(crate) cache_dir: Option<PathBuf>,
}

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// Errors only.
    Quiet,
    /// Phases and results.
    Normal,
    /// The whole log of the backend too.
    Verbose,
}

/// What stands on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Lines for people.
    Text,
    /// One JSON document.
    Json,
}

/// When colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    // No documentation here: clap would spread every help text over three times as many lines.
    Auto,
    Always,
    Never,
}

impl Global {
    /// How much is said.
    pub(crate) fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, true) => Verbosity::Verbose,
            (false, false) => Verbosity::Normal,
        }
    }

    /// What stands on standard output.
    pub(crate) fn output(&self) -> Output {
        if self.json { Output::Json } else { Output::Text }
    }
}

impl Color {
    /// Holds for the rest of the process.
    pub(crate) fn choose(self) {
        match self {
            Self::Auto => {}
            Self::Always => anstream::ColorChoice::Always.write_global(),
            Self::Never => anstream::ColorChoice::Never.write_global(),
        }
    }
}

/// `hwb inspect`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hwb inspect dist/greeter-1.0-py3-none-any.whl")]
pub(crate) struct InspectArguments {
    /// A `.whl` or a `.tar.gz`
    #[arg(value_name = "WHEEL|SDIST")]
    pub(crate) artifact: PathBuf,
}

/// `hwb audit`
#[derive(Debug, Args)]
#[command(after_help = AUDIT_EXAMPLES)]
pub(crate) struct AuditArguments {
    /// Wheels, ELF files, and directories of them
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Fail with exit code 6 unless everything deserves this tag, such as manylinux_2_28 or musllinux_1_2_x86_64
    #[arg(long, value_name = "TAG")]
    pub(crate) require: Option<String>,
    /// Count the libraries of the system in this folder as if they came along; / is the system that runs hwb
    #[arg(long, value_name = "DIR")]
    pub(crate) sysroot: Option<PathBuf>,
    /// Decode code for x86-64, and note instructions that not every such machine has
    #[arg(long)]
    pub(crate) scan_isa: bool,
}

/// `hwb repair`
#[derive(Debug, Args)]
#[command(after_help = REPAIR_EXAMPLES)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags as they were typed; the request says what they mean"
)]
pub(crate) struct RepairArguments {
    /// The wheels
    #[arg(value_name = "WHEEL", required = true)]
    pub(crate) wheels: Vec<PathBuf>,
    /// Where the repaired wheels go
    #[arg(short, long, visible_alias = "wheel-dir", visible_short_alias = 'w', value_name = "DIR")]
    #[arg(default_value = "wheelhouse")]
    pub(crate) out_dir: PathBuf,
    /// The platform tag to repair for, such as manylinux_2_28; `auto` takes the oldest that is reached
    #[arg(long, value_name = "TAG", default_value = "auto")]
    pub(crate) plat: String,
    /// Give the wheel no other platform tag than that of --plat
    #[arg(long)]
    pub(crate) only_plat: bool,
    /// Leave out libraries whose name or path matches; repeatable
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// Bring along libraries whose name matches though no file needs them: those that are opened at run time; repeatable
    #[arg(long, value_name = "GLOB")]
    pub(crate) include: Vec<String>,
    /// Search this folder for libraries before all others; repeatable
    #[arg(long, value_name = "DIR", help_heading = "Where libraries come from")]
    pub(crate) lib_dir: Vec<PathBuf>,
    /// The system that libraries come from, as a folder
    #[arg(long, value_name = "DIR", default_value = "/", help_heading = "Where libraries come from")]
    pub(crate) sysroot: PathBuf,
    /// Search these folders of the system, with colons between, in place of those that its loader searches
    #[arg(long, value_name = "DIR:DIR…", help_heading = "Where libraries come from")]
    pub(crate) ldpaths: Option<String>,
    /// Wheels, or folders of wheels or installed packages: libraries of distributions that the wheel requires are found
    /// there at run time, and stay there; repeatable
    #[arg(long, value_name = "PATH", help_heading = "Where libraries come from")]
    pub(crate) find_links: Vec<PathBuf>,
    /// Drop symbol tables and debug information from every file that changes
    #[arg(long, help_heading = "What is written")]
    pub(crate) strip: bool,
    /// What follows the name of the distribution in the name of the folder of libraries
    #[arg(short = 'L', long, visible_alias = "lib-sdir", value_name = "SUFFIX", default_value = ".libs")]
    #[arg(help_heading = "What is written")]
    pub(crate) lib_suffix: String,
    /// How hard files that change are compressed, 0 to 9 [default: 5]
    #[arg(short = 'z', long, visible_alias = "zip-compression-level", value_name = "LEVEL")]
    #[arg(help_heading = "What is written")]
    pub(crate) compression_level: Option<i32>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `hwb python`
#[derive(Debug, Subcommand)]
pub(crate) enum PythonCommand {
    /// List the interpreters, the one that is taken first at the top
    List,
}

/// `hwb config`
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// List the settings with the place that decided each
    Show(ConfigShowArguments),
}

/// `hwb config show`
#[derive(Debug, Args)]
pub(crate) struct ConfigShowArguments {
    /// The directory of a project
    #[arg(value_name = "PROJECT", default_value = ".")]
    pub(crate) project: PathBuf,
    #[command(flatten)]
    pub(crate) index: IndexArguments,
}

/// `hwb history`
#[derive(Debug, Args)]
pub(crate) struct HistoryArguments {
    /// How many builds to show
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 20)]
    pub(crate) limit: usize,
}

/// `hwb cache`
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Print where the cache is
    Dir,
    /// Show how much the cache holds, by kind
    Du,
    /// Remove what nothing needs: what killed commands left behind, parts of images that no name and no run leads to
    #[command(after_help = "Examples:
  hwb cache prune
  hwb cache prune --kind uv --older-than 30d
  hwb cache prune --all --keep-size 5GB")]
    Prune(PruneArguments),
    /// Remove everything that no running build holds
    Clean,
}

/// `hwb cache prune`
#[derive(Debug, Args)]
pub(crate) struct PruneArguments {
    /// Only this kind, as `hwb cache du` names it; repeatable
    #[arg(long = "kind", value_name = "KIND")]
    pub(crate) kinds: Vec<String>,
    /// Only what was not used for so long: 12h, 30d
    #[arg(long, value_name = "AGE", value_parser = parse::age)]
    pub(crate) older_than: Option<Duration>,
    /// Only until the cache is no larger than this, the longest unused first: 500MB, 5GB
    #[arg(long, value_name = "SIZE", visible_alias = "keep-storage", value_parser = image::bytes)]
    pub(crate) keep_size: Option<u64>,
    /// Whatever comes again by itself, images that have a name too; not those that a name with a digest or a run needs
    #[arg(short, long)]
    pub(crate) all: bool,
}

/// `hwb completions`
#[derive(Debug, Args)]
pub(crate) struct CompletionsArguments {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// `hwb schema`
#[derive(Debug, Args)]
pub(crate) struct SchemaArguments {
    /// The document
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(hwb_lib::schema::names()))]
    pub(crate) name: String,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// Commands whose document is not called as they are; `None` for those that print none.
    const OTHERWISE: [(&str, Option<&str>); 6] = [
        ("cache-prune", Some("cache-clean")),
        ("completions", None),
        ("config-show", Some("config")),
        ("image-run", None),
        ("python-list", Some("python")),
        ("schema", None),
    ];
    /// Documents of no command: of all, of `build --dry-run` and of `image ls --runs`.
    const FURTHER: [&str; 3] = ["error", "plan", "image-runs"];

    fn leaves(command: &clap::Command, name: &str) -> Vec<String> {
        let below = command.get_subcommands();
        let below =
            below.flat_map(|sub| leaves(sub, format!("{name}-{}", sub.get_name()).trim_start_matches('-')));
        if command.has_subcommands() { below.collect() } else { vec![name.to_owned()] }
    }

    #[test]
    fn every_document_has_a_schema() {
        let document = |command: String| match OTHERWISE.iter().find(|(name, _)| *name == command) {
            Some((_, document)) => document.map(str::to_owned),
            None => Some(command),
        };
        let commands = leaves(&Cli::command(), "").into_iter().filter_map(document);
        let mut documents: Vec<String> = commands.chain(FURTHER.map(str::to_owned)).collect();
        documents.sort();
        documents.dedup();
        assert_eq!(documents, hwb_lib::schema::names());
    }
}
