//! Libraries that are treated otherwise than policies and files say.

use std::collections::{BTreeMap, BTreeSet};

use globset::{Glob, GlobSet, GlobSetBuilder};

/// Libraries that somebody says will be there, or must come along.
#[derive(Debug, Clone, Default)]
pub struct Exceptions {
    excluded: GlobSet,
    names: BTreeSet<String>,
    provided: BTreeMap<String, Provider>,
    included: BTreeSet<String>,
}

/// Where a library that comes in another wheel will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// The distribution that the other wheel is of.
    pub distribution: String,
    /// The folder below that of all packages; empty for that itself.
    pub folder: String,
}

/// A pattern that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is no pattern of file names")]
pub struct PatternError {
    pattern: String,
    #[source]
    source: globset::Error,
}

impl Exceptions {
    /// Excludes what one of the patterns matches, by the name that it is needed by or by its path.
    ///
    /// # Errors
    ///
    /// If one is no pattern.
    pub fn excluding<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, PatternError> {
        let fault = |pattern: &str, source| PatternError { pattern: pattern.to_owned(), source };
        let mut builder = GlobSetBuilder::new();
        for pattern in patterns {
            builder.add(Glob::new(pattern).map_err(|source| fault(pattern, source))?);
        }
        let excluded = builder.build().map_err(|source| fault("", source))?;
        Ok(Self { excluded, ..Self::default() })
    }

    /// Excludes a library by the name that it is needed by, as it stands.
    pub fn exclude(&mut self, name: &str) {
        self.names.insert(name.to_owned());
    }

    /// Notes that another wheel provides a library; the first that does counts.
    pub fn provide(&mut self, library: &str, provider: Provider) {
        self.provided.entry(library.to_owned()).or_insert(provider);
    }

    /// Brings a library along though no file needs it: one that is opened at run time, by this name.
    pub fn include(&mut self, library: String) {
        self.included.insert(library);
    }

    /// The same for a wheel that has by now what was to be brought along.
    #[must_use]
    pub fn fulfilled(self) -> Self {
        Self { included: BTreeSet::new(), ..self }
    }

    /// What comes along though no file needs it.
    pub(crate) const fn included(&self) -> &BTreeSet<String> {
        &self.included
    }

    /// The wheel that a library comes in.
    pub fn provider(&self, library: &str) -> Option<&Provider> {
        self.provided.get(library)
    }

    /// Whether a library is excluded or provided, by the name that it is needed by.
    pub(crate) fn covers(&self, library: &str) -> bool {
        self.provided.contains_key(library) || self.names.contains(library) || self.excludes(library)
    }

    /// Whether a name or a path is excluded.
    pub(crate) fn excludes(&self, name: &str) -> bool {
        self.excluded.is_match(name)
    }
}
