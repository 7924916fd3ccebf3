//! What uv's resolver and installer ask of their caller, and the one way back up.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uv_cache::Cache;
use uv_configuration::{BuildKind, BuildOptions, BuildOutput, NoSources};
use uv_distribution_filename::DistFilename;
use uv_distribution_types::{
    CachedDist, ConfigSettings, DependencyMetadata, ExtraBuildRequires, ExtraBuildVariables,
    IndexCapabilities, IndexLocations, IsBuildBackendError, Name as _, PackageConfigSettings, Requirement,
    SourceDist,
};
use uv_git::GitResolver;
use uv_normalize::PackageName;
use uv_python::{Interpreter, PythonEnvironment};
use uv_types::{
    AnyErrorBuild, BuildArena, BuildContext, BuildIsolation, BuildStack, ResolvedRequirements,
    SourceBuildTrait,
};
use uv_workspace::WorkspaceCache;

use crate::client::Seam;
use crate::python::Python;

/// Builds the wheel of a requirement that the index has only as an sdist.
///
/// The implementor owes a wheel in the destination whose name and version are the sdist's, and a refusal of a
/// requirement that is being built already further up.
pub trait SdistBuilder: Send + Sync {
    /// Builds and returns the file name of the wheel.
    ///
    /// # Errors
    ///
    /// Whatever the build gives; it becomes a cause of the resolution's error.
    fn build_wheel(&self, request: &SdistRequest) -> Result<String, BuildFailure>;
}

/// An error of a build on its way through uv.
pub type BuildFailure = Box<dyn StdError + Send + Sync>;

/// What is asked of an [`SdistBuilder`].
#[derive(Debug, Clone)]
pub struct SdistRequest {
    /// Whose sdist it is, where that is known.
    pub name: Option<PackageName>,
    /// The unpacked sdist.
    pub source_tree: PathBuf,
    /// Where in it the project is.
    pub subdirectory: Option<PathBuf>,
    /// The interpreter that is resolved for.
    pub python: PathBuf,
    /// Where the wheel goes.
    pub destination: PathBuf,
}

/// Caches that the resolver wants to share between its calls.
#[derive(Default)]
pub(crate) struct Shared {
    git: GitResolver,
    arena: BuildArena<PendingBuild>,
    workspace_cache: WorkspaceCache,
    dependency_metadata: DependencyMetadata,
    config_settings: ConfigSettings,
    package_config_settings: PackageConfigSettings,
    extra_requires: ExtraBuildRequires,
    extra_variables: ExtraBuildVariables,
}

impl Shared {
    pub(crate) fn config(
        &self,
    ) -> (&ConfigSettings, &PackageConfigSettings, &ExtraBuildRequires, &ExtraBuildVariables) {
        (&self.config_settings, &self.package_config_settings, &self.extra_requires, &self.extra_variables)
    }
}

/// The seam as uv wants to see it, for one interpreter.
pub(crate) struct Context<'a> {
    seam: &'a Seam,
    python: &'a Python,
    sources: NoSources,
}

impl<'a> Context<'a> {
    pub(crate) fn new(seam: &'a Seam, python: &'a Python) -> Self {
        // Build requirements of others are taken from the index: `tool.uv.sources` is for their developers.
        Self { seam, python, sources: NoSources::All }
    }
}

/// A build of an sdist that uv asked for.
pub(crate) struct PendingBuild {
    builder: Arc<dyn SdistBuilder>,
    name: Option<PackageName>,
    source_tree: PathBuf,
    subdirectory: Option<PathBuf>,
    python: PathBuf,
}

impl SourceBuildTrait for PendingBuild {
    async fn metadata(&mut self) -> Result<Option<PathBuf>, AnyErrorBuild> {
        // `None` makes uv build the wheel, which it needs anyway.
        Ok(None)
    }

    async fn wheel<'a>(&'a self, wheel_dir: &'a Path) -> Result<String, AnyErrorBuild> {
        let request = SdistRequest {
            name: self.name.clone(),
            source_tree: self.source_tree.clone(),
            subdirectory: self.subdirectory.clone(),
            python: self.python.clone(),
            destination: wheel_dir.to_path_buf(),
        };
        let builder = Arc::clone(&self.builder);
        // The build resolves on a runtime of its own, which must not be nested in this one: a thread for it.
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new().name("hwb-sdist".to_owned());
        thread
            .spawn(move || drop(sender.send(builder.build_wheel(&request))))
            .map_err(|error| UpcallError(Box::new(error)))?;
        match receiver.await {
            Ok(Ok(wheel)) => Ok(wheel),
            Ok(Err(failure)) => Err(UpcallError(failure).into()),
            Err(closed) => Err(UpcallError(Box::new(closed)).into()),
        }
    }
}

/// An error of the facade that passes through uv.
#[derive(Debug, thiserror::Error)]
#[error("{}", chain(.0.as_ref()))]
pub(crate) struct UpcallError(BuildFailure);

/// The whole chain in one line: uv prints an error of its caller without its causes.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

impl uv_errors::Hint for UpcallError {
    fn hints(&self) -> uv_errors::Hints<'_> {
        uv_errors::Hints::none()
    }
}

impl IsBuildBackendError for UpcallError {
    fn is_build_backend_error(&self) -> bool {
        true
    }
}

/// uv asks for this only from its own build frontend, which is not used.
fn unreachable_frontend() -> UpcallError {
    UpcallError("the build frontend of uv is not used".into())
}

#[expect(refining_impl_trait, reason = "the error type is named so that `?` knows it")]
impl BuildContext for Context<'_> {
    type SourceDistBuilder = PendingBuild;

    async fn interpreter(&self) -> &Interpreter {
        &self.python.0
    }

    fn cache(&self) -> &Cache {
        &self.seam.cache
    }

    fn git(&self) -> &GitResolver {
        &self.seam.shared.git
    }

    fn build_arena(&self) -> &BuildArena<PendingBuild> {
        &self.seam.shared.arena
    }

    fn capabilities(&self) -> &IndexCapabilities {
        &self.seam.capabilities
    }

    fn dependency_metadata(&self) -> &DependencyMetadata {
        &self.seam.shared.dependency_metadata
    }

    fn build_options(&self) -> &BuildOptions {
        &self.seam.build_options
    }

    fn build_isolation(&self) -> BuildIsolation<'_> {
        BuildIsolation::Isolated
    }

    fn config_settings(&self) -> &ConfigSettings {
        &self.seam.shared.config_settings
    }

    fn config_settings_package(&self) -> &PackageConfigSettings {
        &self.seam.shared.package_config_settings
    }

    fn sources(&self) -> &NoSources {
        &self.sources
    }

    fn locations(&self) -> &IndexLocations {
        &self.seam.locations
    }

    fn workspace_cache(&self) -> &WorkspaceCache {
        &self.seam.shared.workspace_cache
    }

    fn extra_build_requires(&self) -> &ExtraBuildRequires {
        &self.seam.shared.extra_requires
    }

    fn extra_build_variables(&self) -> &ExtraBuildVariables {
        &self.seam.shared.extra_variables
    }

    async fn resolve<'a>(
        &'a self,
        _requirements: &'a [Requirement],
        _build_stack: &'a BuildStack,
    ) -> Result<ResolvedRequirements, UpcallError> {
        Err(unreachable_frontend())
    }

    async fn install<'a>(
        &'a self,
        _requirements: &'a ResolvedRequirements,
        _venv: &'a PythonEnvironment,
        _build_stack: &'a BuildStack,
    ) -> Result<Vec<CachedDist>, UpcallError> {
        Err(unreachable_frontend())
    }

    async fn setup_build<'a>(
        &'a self,
        source: &'a Path,
        subdirectory: Option<&'a Path>,
        _install_path: &'a Path,
        _stop_discovery_at: Option<&'a Path>,
        _version_id: Option<&'a str>,
        dist: Option<&'a SourceDist>,
        _sources: &'a NoSources,
        _build_kind: BuildKind,
        _build_output: BuildOutput,
        _build_stack: BuildStack,
    ) -> Result<PendingBuild, UpcallError> {
        Ok(PendingBuild {
            builder: Arc::clone(&self.seam.builder),
            name: dist.map(|dist| dist.name().clone()),
            source_tree: source.to_path_buf(),
            subdirectory: subdirectory.map(Path::to_path_buf),
            python: self.python.executable().to_path_buf(),
        })
    }

    async fn direct_build<'a>(
        &'a self,
        _source: &'a Path,
        _subdirectory: Option<&'a Path>,
        _output_dir: &'a Path,
        _sources: NoSources,
        _build_kind: BuildKind,
        _version_id: Option<&'a str>,
    ) -> Result<Option<DistFilename>, UpcallError> {
        Ok(None)
    }
}
