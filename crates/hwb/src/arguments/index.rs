//! Where distributions come from.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use hwb_lib::settings::{Connectivity, Hashes, Indexes, Keyring, Overrides, Strategy};

/// Arguments about indexes and build constraints.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Index options")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags as they were typed; `overrides` says what they mean"
)]
pub(crate) struct IndexArguments {
    /// The default index
    #[arg(long, visible_alias = "default-index", value_name = "URL")]
    index_url: Option<String>,
    /// An index that is asked before the default one; repeatable
    #[arg(long = "extra-index-url", visible_alias = "index", value_name = "URL")]
    extra_index_urls: Vec<String>,
    /// A directory or page that lists distributions; repeatable
    #[arg(short = 'f', long, value_name = "PATH|URL")]
    find_links: Vec<String>,
    /// Ask no index, only what --find-links names
    #[arg(long)]
    no_index: bool,
    /// Reach no network: use what is cached
    #[arg(long)]
    offline: bool,
    /// How several indexes are searched
    #[arg(long, value_name = "STRATEGY")]
    index_strategy: Option<IndexStrategy>,
    /// Whether credentials are asked of the `keyring` program
    #[arg(long, value_name = "PROVIDER")]
    keyring_provider: Option<KeyringProvider>,
    /// Ignore what was uploaded later: a date or an RFC 3339 time
    #[arg(long, value_name = "DATE")]
    exclude_newer: Option<String>,
    /// A file of constraints on build requirements; repeatable
    #[arg(short = 'b', long = "build-constraint", visible_alias = "build-constraints", value_name = "FILE")]
    build_constraints: Vec<PathBuf>,
    /// Every build requirement must be pinned with a hash by a constraint
    #[arg(long)]
    require_hashes: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum IndexStrategy {
    FirstIndex,
    UnsafeFirstMatch,
    UnsafeBestMatch,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KeyringProvider {
    Disabled,
    Subprocess,
}

impl IndexArguments {
    /// What they override in the settings; the cache directory is the caller's.
    pub(crate) fn overrides(self, cache_dir: Option<PathBuf>) -> Overrides {
        let Self {
            index_url,
            extra_index_urls,
            find_links,
            no_index,
            offline,
            index_strategy,
            keyring_provider,
            exclude_newer,
            build_constraints,
            require_hashes,
        } = self;
        Overrides {
            cache_dir,
            index_url,
            extra_index_urls,
            find_links,
            indexes: no_index.then_some(Indexes::Ignored),
            connectivity: offline.then_some(Connectivity::Offline),
            strategy: index_strategy.map(|strategy| match strategy {
                IndexStrategy::FirstIndex => Strategy::FirstIndex,
                IndexStrategy::UnsafeFirstMatch => Strategy::UnsafeFirstMatch,
                IndexStrategy::UnsafeBestMatch => Strategy::UnsafeBestMatch,
            }),
            exclude_newer,
            build_constraint_files: build_constraints,
            hashes: require_hashes.then_some(Hashes::Required),
            keyring: keyring_provider.map(|provider| match provider {
                KeyringProvider::Disabled => Keyring::Disabled,
                KeyringProvider::Subprocess => Keyring::Subprocess,
            }),
        }
    }
}
