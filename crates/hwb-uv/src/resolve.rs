//! From requirements to pins.

use std::str::FromStr as _;
use std::sync::Arc;

use hwb_ident::Requirement;
use serde::{Deserialize, Serialize};
use uv_configuration::Constraints;
use uv_distribution::DistributionDatabase;
use uv_distribution_types::{
    BuiltDist, Dist, HashGeneration, Name as _, Resolution, ResolvedDist, SourceDist,
};
use uv_errors::Hint as _;
use uv_normalize::PackageName;
use uv_pep440::Version;
use uv_pypi_types::{Conflicts, HashDigest, HashDigests};
use uv_resolver::{
    Flexibility, Manifest, OptionsBuilder, PythonRequirement, ResolveError, Resolver, ResolverEnvironment,
};
use uv_types::{EmptyInstalledPackages, HashStrategy};

use crate::client::Seam;
use crate::context::Context;
use crate::error::{SeamError, cause};
use crate::python::Python;
use crate::settings::Hashes;

/// One distribution of a resolution.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pin {
    /// Whose.
    pub name: PackageName,
    /// Which version.
    pub version: Version,
    /// What the index says its file hashes to, as `sha256:…`; empty where it says nothing.
    pub hashes: Vec<String>,
    /// Whether it is taken as a wheel or built.
    pub form: PinForm,
}

/// Whether a pin is taken as a wheel or built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PinForm {
    /// As a wheel.
    Wheel,
    /// From source, by hwb itself.
    Sdist,
}

/// A set of distributions that satisfies what was asked for.
pub struct Resolved {
    pub(crate) resolution: Resolution,
    pub(crate) hashes: HashStrategy,
    pins: Vec<Pin>,
}

impl std::fmt::Debug for Resolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolved").field("pins", &self.pins).finish_non_exhaustive()
    }
}

impl Resolved {
    /// What was chosen, by name.
    pub fn pins(&self) -> &[Pin] {
        &self.pins
    }
}

impl Seam {
    /// Chooses a version of everything that `requirements` need on `python`.
    ///
    /// # Errors
    ///
    /// [`SeamError::Resolve`] if there is no solution, the index does not answer, or the build of an sdist whose
    /// metadata is needed fails; [`SeamError::Unhashed`] where hashes are demanded and not given.
    pub fn resolve(&self, python: &Python, requirements: &[Requirement]) -> Result<Resolved, SeamError> {
        let constraints = self.constraints()?;
        let hasher = self.demanded_hashes(&constraints)?;
        if requirements.is_empty() {
            return Ok(Resolved { resolution: Resolution::default(), hashes: hasher, pins: Vec::new() });
        }
        let client = self.client(Some(python))?;
        let flat_index = self.flat_index(python)?;
        let context = Context::new(self, python);
        let manifest = Manifest::simple(
            requirements.iter().cloned().map(uv_distribution_types::Requirement::from).collect(),
        )
        .with_constraints(Constraints::from_requirements(
            constraints
                .iter()
                .map(|(requirement, _)| uv_distribution_types::Requirement::from(requirement.clone())),
        ));
        let options = OptionsBuilder::new()
            .exclude_newer(self.exclude_newer.clone())
            .index_strategy(self.index_strategy())
            .build_options(self.build_options.clone())
            .flexibility(Flexibility::Fixed)
            .build();
        let python_requirement = PythonRequirement::from_interpreter(&python.0);
        let what = || list(requirements);
        let fail = |error: ResolveError| match error {
            ResolveError::UnhashedPackage(name) => SeamError::Unhashed(name.to_string()),
            error => SeamError::Resolve {
                what: what(),
                hints: error.hints().into_iter().map(|hint| advice(&hint)).collect(),
                source: cause(error),
            },
        };
        let resolver = Resolver::new(
            manifest,
            options,
            &python_requirement,
            ResolverEnvironment::specific(python.0.to_resolver_marker_environment()),
            python.0.markers(),
            Conflicts::empty(),
            python.0.tags().ok(),
            &flat_index,
            &self.index,
            &hasher,
            &context,
            EmptyInstalledPackages,
            DistributionDatabase::new(client, &context, self.concurrency.downloads_semaphore.clone()),
        )
        .map_err(fail)?;
        let output = self.block_on(resolver.resolve()).map_err(fail)?;
        let resolution = Resolution::from(output);
        let pins = pins(&resolution);
        self.check_hashes(&constraints, &pins)?;
        let hashes = match hasher {
            HashStrategy::None | HashStrategy::Generate(_) => promised_hashes(&resolution),
            demanded @ (HashStrategy::Verify(_) | HashStrategy::Require(_)) => demanded,
        };
        Ok(Resolved { resolution, hashes, pins })
    }

    /// Compares what the constraints demand with what the index says, before anything is taken: an environment that
    /// was made earlier is not downloaded again, and would not be compared later.
    fn check_hashes(
        &self,
        constraints: &[(Requirement, Vec<HashDigest>)],
        pins: &[Pin],
    ) -> Result<(), SeamError> {
        for pin in pins {
            let demanded: Vec<String> = constraints
                .iter()
                .filter(|(requirement, _)| requirement.name == pin.name)
                .filter(|(requirement, _)| pinned_version(requirement).as_ref() == Some(&pin.version))
                .flat_map(|(_, hashes)| hashes.iter().map(ToString::to_string))
                .collect();
            let what = || format!("{}=={}", pin.name, pin.version);
            if demanded.is_empty() && self.settings.hashes == Hashes::Required {
                return Err(SeamError::Unhashed(what()));
            }
            let is_one_of_them = pin.hashes.iter().any(|hash| demanded.contains(hash));
            if !demanded.is_empty() && !pin.hashes.is_empty() && !is_one_of_them {
                let (expected, found) = (demanded.join(" or "), pin.hashes.join(", "));
                return Err(SeamError::Demanded { what: what(), expected, found });
            }
        }
        Ok(())
    }

    /// The build constraints with their hashes.
    fn constraints(&self) -> Result<Vec<(Requirement, Vec<HashDigest>)>, SeamError> {
        self.settings
            .build_constraints
            .iter()
            .map(|constraint| {
                let fail = |source| SeamError::Requirement { text: constraint.requirement.clone(), source };
                let requirement =
                    Requirement::from_str(&constraint.requirement).map_err(|error| fail(cause(error)))?;
                let hashes = constraint
                    .hashes
                    .iter()
                    .map(|hash| HashDigest::from_str(hash).map_err(|error| fail(cause(error))))
                    .collect::<Result<_, _>>()?;
                Ok((requirement, hashes))
            })
            .collect()
    }

    /// `Require` under `--require-hashes`, `Verify` where constraints bear hashes, else nothing is demanded.
    fn demanded_hashes(
        &self,
        constraints: &[(Requirement, Vec<HashDigest>)],
    ) -> Result<HashStrategy, SeamError> {
        let mut hashes = rustc_hash::FxHashMap::default();
        for (requirement, digests) in constraints.iter().filter(|(_, digests)| !digests.is_empty()) {
            if let Some(version) = pinned_version(requirement) {
                let id = uv_distribution_types::VersionId::from_registry(requirement.name.clone(), version);
                hashes.insert(id, digests.clone());
            }
        }
        match self.settings.hashes {
            Hashes::Required => Ok(HashStrategy::Require(Arc::new(hashes))),
            // With hashes taken now, what is built while resolving need not be built again to be installed.
            Hashes::Offered if hashes.is_empty() => Ok(HashStrategy::Generate(HashGeneration::All)),
            Hashes::Offered => Ok(HashStrategy::Verify(Arc::new(hashes))),
        }
    }
}

/// `==1.0` gives 1.0; everything else gives nothing.
fn pinned_version(requirement: &Requirement) -> Option<Version> {
    match &requirement.version_or_url {
        Some(uv_pep508::VersionOrUrl::VersionSpecifier(specifiers)) => {
            let mut exact = specifiers
                .iter()
                .filter(|specifier| *specifier.operator() == uv_pep440::Operator::Equal)
                .map(|specifier| specifier.version().clone());
            exact.next()
        }
        _ => None,
    }
}

/// A hint of uv without its colours, and with a setting that hwb has.
fn advice(hint: &str) -> String {
    let mut pieces = hint.split("\x1b[");
    let first = pieces.next().unwrap_or_default().to_owned();
    let plain = pieces.fold(first, |all, piece| all + piece.split_once('m').map_or(piece, |(_, rest)| rest));
    match plain.split_once(" Consider ") {
        Some((fact, advice)) if advice.contains("exclude-newer-package") => {
            format!("{fact} Give a later `--exclude-newer`.")
        }
        _ => plain,
    }
}

fn list(requirements: &[Requirement]) -> String {
    let names: Vec<_> = requirements.iter().map(|requirement| format!("`{requirement}`")).collect();
    names.join(", ")
}

fn pins(resolution: &Resolution) -> Vec<Pin> {
    let mut pins: Vec<_> = resolution
        .hashes()
        .map(|(dist, hashes)| {
            let (form, file_hashes) = match dist {
                ResolvedDist::Installable { dist, .. } => form(dist),
                ResolvedDist::Installed { .. } => (PinForm::Wheel, HashDigests::empty()),
            };
            let hashes = if file_hashes.is_empty() { hashes } else { file_hashes.as_slice() };
            Pin {
                name: dist.name().clone(),
                version: dist.version().cloned().unwrap_or_else(|| Version::new([0])),
                hashes: hashes.iter().map(ToString::to_string).collect(),
                form,
            }
        })
        .collect();
    pins.sort();
    pins
}

/// How a distribution is taken, and the hashes of the very file that is taken.
fn form(dist: &Dist) -> (PinForm, HashDigests) {
    match dist {
        Dist::Built(BuiltDist::Registry(wheels)) => {
            let hashes = wheels.wheels.get(wheels.best_wheel_index).map(|wheel| wheel.file.hashes.clone());
            (PinForm::Wheel, hashes.unwrap_or_else(HashDigests::empty))
        }
        Dist::Built(_) => (PinForm::Wheel, HashDigests::empty()),
        Dist::Source(SourceDist::Registry(sdist)) => (PinForm::Sdist, sdist.file.hashes.clone()),
        Dist::Source(_) => (PinForm::Sdist, HashDigests::empty()),
    }
}

/// What the index promised of each file: a download that differs is an error.
fn promised_hashes(resolution: &Resolution) -> HashStrategy {
    let promised = resolution
        .hashes()
        .filter(|(_, hashes)| !hashes.is_empty())
        .map(|(dist, hashes)| {
            (uv_distribution_types::DistributionMetadata::version_id(dist), hashes.to_vec())
        })
        .collect();
    HashStrategy::Verify(Arc::new(promised))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advises_what_hwb_has() {
        let check = |hint: &str, expect: &str| assert_eq!(advice(hint), expect);
        check("the URL \x1b[36mhttp://a\x1b[39m is \x1b[1;31mwrong\x1b[0m", "the URL http://a is wrong");
        check(
            "`a` was filtered by `\x1b[32mexclude-newer\x1b[39m`. Consider using `\x1b[32mexclude-newer-package\x1b[39m` to override.",
            "`a` was filtered by `exclude-newer`. Give a later `--exclude-newer`.",
        );
        check("Consider limiting it. Consider this", "Consider limiting it. Consider this");
    }
}
