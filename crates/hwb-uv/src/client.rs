//! One process's view of the indexes.

use std::cell::OnceCell;
use std::path::Path;
use std::str::FromStr as _;
use std::sync::{Arc, Once};
use std::time::Duration;

use tokio::runtime::Runtime;
use uv_cache::Cache;
use uv_client::{BaseClientBuilder, Certificates, FlatIndexClient, RegistryClient, RegistryClientBuilder};
use uv_configuration::{
    BuildOptions, Concurrency, IndexStrategy, KeyringProviderType, NoBinary, NoBuild, TrustedHost,
};
use uv_distribution_types::{ExcludeNewerValue, Index, IndexCapabilities, IndexLocations, IndexUrl};
use uv_normalize::PackageName;
use uv_preview::Preview;
use uv_resolver::{ExcludeNewer, FlatIndex, InMemoryIndex};
use uv_types::{HashStrategy, InFlight};

use crate::context::{SdistBuilder, Shared};
use crate::error::{SeamError, cause};
use crate::python::Python;
use crate::settings::{Connectivity, IndexSettings, Indexes, Keyring, Strategy, SystemCertificates};

/// The indexes, the download cache and everything remembered about them while this process lives.
pub struct Seam {
    pub(crate) cache: Cache,
    pub(crate) settings: IndexSettings,
    pub(crate) locations: IndexLocations,
    pub(crate) build_options: BuildOptions,
    pub(crate) exclude_newer: ExcludeNewer,
    pub(crate) concurrency: Concurrency,
    pub(crate) capabilities: IndexCapabilities,
    pub(crate) index: InMemoryIndex,
    pub(crate) in_flight: InFlight,
    pub(crate) shared: Shared,
    pub(crate) builder: Arc<dyn SdistBuilder>,
    client: OnceCell<RegistryClient>,
    runtime: Runtime,
}

impl std::fmt::Debug for Seam {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seam").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The index that uv knows by itself.
pub fn default_index() -> String {
    uv_distribution_types::PYPI_URL.to_string()
}

/// Sets what the uv crates read from process-wide state; the first call counts.
pub(crate) fn initialise() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(uv_preview::set(Preview::default())));
}

impl Seam {
    /// Opens the download cache below `cache` and settles where distributions come from. `builder` is asked for
    /// the wheel of a requirement that the index has only as an sdist, but never for those `in_progress`: their
    /// builds wait for what is resolved here.
    ///
    /// # Errors
    ///
    /// [`SeamError::Setting`], [`SeamError::Cache`] or [`SeamError::Client`].
    pub fn open(
        cache: &Path,
        settings: &IndexSettings,
        builder: Arc<dyn SdistBuilder>,
        in_progress: &[PackageName],
    ) -> Result<Self, SeamError> {
        initialise();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| SeamError::Client(cause(error)))?;
        let opened = runtime.block_on(Cache::from_path(cache).init());
        let cache =
            opened.map_err(|error| SeamError::Cache { path: cache.to_path_buf(), source: cause(error) })?;
        Ok(Self {
            cache,
            locations: locations(settings)?,
            build_options: build_options(settings, in_progress)?,
            exclude_newer: exclude_newer(settings)?,
            settings: settings.clone(),
            concurrency: Concurrency::default(),
            capabilities: IndexCapabilities::default(),
            index: InMemoryIndex::default(),
            in_flight: InFlight::default(),
            shared: Shared::default(),
            builder,
            client: OnceCell::new(),
            runtime,
        })
    }

    /// Runs one of uv's futures to its end.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// The client, made when it is first needed: a build whose environment is ready never pays for it.
    pub(crate) fn client(&self, python: Option<&Python>) -> Result<&RegistryClient, SeamError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let mut builder = RegistryClientBuilder::new(self.base_client()?, self.cache.clone())
            .index_locations(self.locations.clone())
            .index_strategy(self.index_strategy());
        if self.settings.keyring == Keyring::Subprocess {
            builder = builder.keyring(KeyringProviderType::Subprocess);
        }
        if let Some(python) = python {
            builder = builder.markers(python.0.markers()).platform(python.0.platform());
        }
        let client = builder.build().map_err(|error| SeamError::Client(cause(error)))?;
        Ok(self.client.get_or_init(|| client))
    }

    fn base_client(&self) -> Result<BaseClientBuilder<'static>, SeamError> {
        let connectivity = match self.settings.connectivity {
            Connectivity::Online => uv_client::Connectivity::Online,
            Connectivity::Offline => uv_client::Connectivity::Offline,
        };
        let insecure = self.settings.allow_insecure_host.iter().map(|host| {
            TrustedHost::from_str(host).map_err(|error| SeamError::Setting {
                what: "the insecure host",
                value: host.clone(),
                source: cause(error),
            })
        });
        let mut base = BaseClientBuilder::default()
            .connectivity(connectivity)
            .with_system_certs(self.settings.system_certificates == SystemCertificates::System)
            .allow_insecure_host(insecure.collect::<Result<_, _>>()?)
            .client_name("hwb");
        if let Some(seconds) = self.settings.timeout_seconds {
            base = base.read_timeout(Duration::from_secs(seconds));
        }
        if let Some(file) = &self.settings.certificates {
            let certificates = Certificates::from_file(file).map_err(|error| SeamError::Setting {
                what: "the certificate bundle",
                value: file.display().to_string(),
                source: cause(error),
            })?;
            base = base.custom_certificates(certificates);
        }
        Ok(base)
    }

    pub(crate) fn index_strategy(&self) -> IndexStrategy {
        match self.settings.strategy {
            Strategy::FirstIndex => IndexStrategy::FirstIndex,
            Strategy::UnsafeFirstMatch => IndexStrategy::UnsafeFirstMatch,
            Strategy::UnsafeBestMatch => IndexStrategy::UnsafeBestMatch,
        }
    }

    /// Reads the find-links locations for an interpreter.
    pub(crate) fn flat_index(&self, python: &Python) -> Result<FlatIndex, SeamError> {
        let client = self.client(Some(python))?;
        let connectivity = client.connectivity();
        let reader = FlatIndexClient::new(client.cached_client(), connectivity, &self.cache);
        let entries = self.block_on(reader.fetch_all(self.locations.flat_indexes().map(Index::url)));
        let entries = entries
            .map_err(|error| SeamError::Fetch { what: "the find-links".to_owned(), source: cause(error) })?;
        Ok(FlatIndex::from_entries(entries, python.0.tags().ok(), &HashStrategy::None, &self.build_options))
    }
}

fn locations(settings: &IndexSettings) -> Result<IndexLocations, SeamError> {
    let parse = |what: &'static str, text: &String| {
        // The text may hold a password: the message names what it is, not what it says.
        IndexUrl::parse(text, None).map_err(|error| SeamError::Setting {
            what,
            value: redact(text),
            source: cause(error),
        })
    };
    let mut indexes = Vec::new();
    for url in &settings.extra_index_urls {
        indexes.push(Index::from_extra_index_url(parse("the extra index", url)?));
    }
    if let Some(url) = &settings.index_url {
        indexes.push(Index::from_index_url(parse("the index", url)?));
    }
    let links = settings
        .find_links
        .iter()
        .map(|text| parse("the find-links location", text).map(Index::from_find_links))
        .collect::<Result<_, _>>()?;
    Ok(IndexLocations::new(indexes, links, settings.indexes == Indexes::Ignored))
}

/// A URL text without what could be a password.
fn redact(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}://****{}", &text[..scheme], &text[at..]),
        _ => text.to_owned(),
    }
}

fn build_options(settings: &IndexSettings, in_progress: &[PackageName]) -> Result<BuildOptions, SeamError> {
    let packages = settings
        .no_binary
        .iter()
        .map(|name| {
            PackageName::from_str(name).map_err(|error| SeamError::Setting {
                what: "the package",
                value: name.clone(),
                source: cause(error),
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let no_binary = if packages.is_empty() { NoBinary::None } else { NoBinary::from_args(None, packages) };
    // uv holds a lock on an sdist while it is built: asking for the same one again, further down, would wait for ever.
    let no_build = match in_progress {
        [] => NoBuild::None,
        names => NoBuild::from_args(None, names.to_vec()),
    };
    Ok(BuildOptions::new(no_binary, no_build))
}

fn exclude_newer(settings: &IndexSettings) -> Result<ExcludeNewer, SeamError> {
    let Some(text) = &settings.exclude_newer else { return Ok(ExcludeNewer::default()) };
    let value = ExcludeNewerValue::from_str(text).map_err(|error| SeamError::Setting {
        what: "the time limit",
        value: text.clone(),
        source: error.into(),
    })?;
    Ok(ExcludeNewer::global(value))
}
