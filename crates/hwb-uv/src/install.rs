//! From pins to an environment on disk.

use std::path::{Path, PathBuf};

use uv_configuration::Reinstall;
use uv_distribution::DistributionDatabase;
use uv_distribution_types::CachedDist;
use uv_install_wheel::LinkMode;
use uv_installer::{InstallationStrategy, Installer, Planner, Preparer, SitePackages};
use uv_preview::Preview;
use uv_python::PythonEnvironment;
use uv_virtualenv::{OnExisting, Prompt, RemovalReason, Seed};

use crate::client::Seam;
use crate::context::Context;
use crate::error::{SeamError, cause};
use crate::python::Python;
use crate::resolve::Resolved;

/// Whether files of an environment may be the cache's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Files may share their content with the cache: nobody will write to them.
    Shared,
    /// Every file is a copy: what is written to it reaches nobody else.
    Private,
}

/// An environment that was made and filled.
#[derive(Debug, Clone)]
pub struct Filled {
    /// Its directory.
    pub root: PathBuf,
    /// Its interpreter.
    pub python: PathBuf,
    /// Where its programs are.
    pub scripts: PathBuf,
    /// Where its packages are.
    pub site_packages: PathBuf,
}

impl Filled {
    /// Says where things are in an environment of `python` that was filled earlier at `root`.
    pub fn at(python: &Python, root: &Path) -> Self {
        let scheme = python.0.virtualenv();
        let scripts = root.join(&scheme.scripts);
        Self {
            root: root.to_path_buf(),
            python: scripts.join("python"),
            site_packages: root.join(&scheme.purelib),
            scripts,
        }
    }
}

/// A virtual environment with nothing in it, and the unpacked wheels that will be.
#[derive(Debug)]
pub struct Empty {
    environment: PythonEnvironment,
    wheels: Vec<CachedDist>,
}

impl Empty {
    /// Where the wheels are unpacked: directories of the download cache, never changed but for bytecode.
    pub fn wheels(&self) -> impl Iterator<Item = &Path> {
        self.wheels.iter().map(CachedDist::path)
    }

    /// Installs the wheels.
    ///
    /// # Errors
    ///
    /// [`SeamError::Environment`] if one cannot be.
    pub fn fill(self, seam: &Seam, python: &Python, links: Links) -> Result<Filled, SeamError> {
        let Self { environment, wheels } = self;
        let mode = match links {
            Links::Shared => LinkMode::Hardlink,
            Links::Private => LinkMode::Copy,
        };
        if !wheels.is_empty() {
            Installer::new(&environment, Preview::default())
                .with_link_mode(mode)
                .with_cache(&seam.cache)
                .with_installer_name(Some("hwb".to_owned()))
                .install_blocking(wheels)
                .map_err(|error| SeamError::Environment {
                    path: environment.root().to_path_buf(),
                    source: error.into(),
                })?;
        }
        Ok(Filled::at(python, environment.root()))
    }
}

impl Seam {
    /// Makes a virtual environment of `python` at `root`, which must not exist or be empty, and brings the wheels of
    /// `resolved`; downloads and builds what the cache lacks.
    ///
    /// # Errors
    ///
    /// [`SeamError::Environment`] if it cannot be made, [`SeamError::Fetch`] if a distribution cannot be had.
    pub fn empty(&self, python: &Python, resolved: &Resolved, root: &Path) -> Result<Empty, SeamError> {
        let environment = make(python, root)?;
        let wheels = match resolved.pins() {
            [] => Vec::new(),
            _ => self.wheels(python, resolved, &environment)?,
        };
        Ok(Empty { environment, wheels })
    }

    fn wheels(
        &self,
        python: &Python,
        resolved: &Resolved,
        environment: &PythonEnvironment,
    ) -> Result<Vec<CachedDist>, SeamError> {
        let context = Context::new(self, python);
        let client = self.client(Some(python))?;
        let failed = |source| SeamError::Environment { path: environment.root().to_path_buf(), source };
        let tags = python.0.tags().map_err(|error| failed(cause(error)))?;
        let installed = SitePackages::from_environment(environment).map_err(|error| failed(error.into()))?;
        let (config, package_config, extra_requires, extra_variables) = self.shared.config();
        let plan = Planner::new(&resolved.resolution)
            .build(
                installed,
                InstallationStrategy::Permissive,
                &Reinstall::default(),
                &self.build_options,
                &resolved.hashes,
                &self.locations,
                config,
                package_config,
                extra_requires,
                extra_variables,
                &self.cache,
                environment,
                tags,
            )
            .map_err(|error| failed(error.into()))?;
        let mut wheels = plan.cached;
        if !plan.remote.is_empty() {
            let database =
                DistributionDatabase::new(client, &context, self.concurrency.downloads_semaphore.clone());
            let preparer = Preparer::new(&self.cache, tags, &resolved.hashes, &self.build_options, database);
            let prepared =
                self.block_on(preparer.prepare(plan.remote, &self.in_flight, &resolved.resolution));
            wheels.extend(prepared.map_err(|error| SeamError::Fetch {
                what: "the build requirements".to_owned(),
                source: cause(error),
            })?);
        }
        Ok(wheels)
    }
}

/// Makes an empty virtual environment.
fn make(python: &Python, root: &Path) -> Result<PythonEnvironment, SeamError> {
    uv_virtualenv::create_venv(
        root,
        python.0.clone(),
        Prompt::None,
        false,
        OnExisting::Remove(RemovalReason::TemporaryEnvironment),
        false,
        Seed::Disabled,
        false,
    )
    .map_err(|error| SeamError::Environment { path: root.to_path_buf(), source: cause(error) })
}
