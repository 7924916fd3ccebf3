//! Sources from an index or a URL.

use std::io::Write;
use std::str::FromStr as _;

use hwb_ident::{Digest, Hasher, RedactedUrl, Requirement, SourceDistFilename};
use uv_client::MetadataFormat;
use uv_distribution_filename::DistFilename;
use uv_distribution_types::File;
use uv_pep440::Version;
use uv_pep508::VersionOrUrl;
use uv_pypi_types::HashAlgorithm;
use uv_redacted::DisplaySafeUrl;

use crate::client::Seam;
use crate::error::{SeamError, cause};
use crate::python::Python;

/// The sdist that an index has for a requirement.
#[derive(Debug, Clone)]
pub struct SdistChoice {
    /// Its file name.
    pub filename: SourceDistFilename,
    /// The file name as the index spells it.
    pub file: String,
    /// Where it is.
    pub url: RedactedUrl,
    /// What the index says it hashes to.
    pub sha256: Option<Digest>,
}

/// A file that was downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    /// What its bytes hash to.
    pub digest: Digest,
    /// How many there are.
    pub size: u64,
}

impl Seam {
    /// Chooses the newest sdist that `requirement` admits: final releases before pre-releases, nothing yanked unless
    /// it is pinned, nothing that excludes `python`, nothing uploaded too late where the index says when.
    ///
    /// # Errors
    ///
    /// [`SeamError::Resolve`] if the index does not answer, [`SeamError::NoSdist`] if it has none that fits.
    pub fn sdist(
        &self,
        requirement: &Requirement,
        python: Option<&Python>,
    ) -> Result<SdistChoice, SeamError> {
        let files = self.files(requirement, python)?;
        let specifiers = match &requirement.version_or_url {
            None => None,
            Some(VersionOrUrl::VersionSpecifier(specifiers)) => Some(specifiers),
            Some(VersionOrUrl::Url(_)) => {
                return Err(no_sdist(requirement, ": it names a URL; give the URL itself as the source"));
            }
        };
        let is_pinned = specifiers.is_some_and(|specifiers| {
            specifiers.iter().any(|one| *one.operator() == uv_pep440::Operator::Equal)
        });
        let limit = self.upload_limit();
        let fits = |version: &Version, file: &File| {
            let admitted = specifiers.is_none_or(|specifiers| specifiers.contains(version));
            let yanked = file.yanked.as_ref().is_some_and(|yanked| yanked.is_yanked());
            let runs = match (&file.requires_python, python) {
                (Some(range), Some(python)) => range.contains(&python.0.python_version().only_release()),
                _ => true,
            };
            let early = match (limit, file.upload_time_utc_ms) {
                (Some(limit), Some(uploaded)) => uploaded < limit,
                // An index that does not say when cannot promise it.
                (Some(_), None) => false,
                (None, _) => true,
            };
            admitted && (!yanked || is_pinned) && runs && early
        };
        let mut has_wheels = false;
        let mut fitting: Vec<(SourceDistFilename, File)> = Vec::new();
        for (filename, file) in files {
            match filename {
                DistFilename::SourceDistFilename(name) if fits(&name.version, &file) => {
                    fitting.push((name, file));
                }
                DistFilename::SourceDistFilename(_) => {}
                DistFilename::WheelFilename(name) => has_wheels |= fits(&name.version, &file),
            }
        }
        let wants_prerelease = specifiers
            .is_some_and(|specifiers| specifiers.iter().any(uv_pep440::VersionSpecifier::any_prerelease));
        let has_final = fitting.iter().any(|(name, _)| !name.version.any_prerelease());
        if has_final && !wants_prerelease {
            fitting.retain(|(name, _)| !name.version.any_prerelease());
        }
        // `.tar.gz` before others of the same version.
        let best = fitting
            .into_iter()
            .max_by_key(|(name, file)| (name.version.clone(), file.filename.ends_with(".tar.gz")));
        let (filename, file) =
            best.ok_or_else(|| no_sdist(requirement, if has_wheels { ": it has wheels only" } else { "" }))?;
        choice(filename, &file)
    }

    fn files(
        &self,
        requirement: &Requirement,
        python: Option<&Python>,
    ) -> Result<Vec<(DistFilename, File)>, SeamError> {
        let fail =
            |source| SeamError::Resolve { what: format!("`{requirement}`"), hints: Vec::new(), source };
        let name = &requirement.name;
        let client = self.client(python)?;
        let mut files = Vec::new();
        let links = self.block_on(client.find_links_entries(name, &self.concurrency.downloads_semaphore));
        for entry in links.map_err(|error| fail(cause(error)))? {
            let (filename, file, _) = entry.into_parts();
            files.push((filename, file));
        }
        if self.locations.no_index() {
            return Ok(files);
        }
        let answer = self.block_on(client.simple_detail(
            name,
            None,
            &self.capabilities,
            &self.concurrency.downloads_semaphore,
        ));
        let answer = match answer {
            Ok(answer) => answer,
            Err(_) if !files.is_empty() => return Ok(files),
            Err(error) => return Err(fail(cause(error))),
        };
        for (_, format) in answer {
            match format {
                MetadataFormat::Simple(metadata) => {
                    let metadata = uv_client::OwnedArchive::deserialize(&metadata);
                    for datum in metadata.into_iter() {
                        files.extend(datum.files.all(name));
                    }
                }
                MetadataFormat::Flat(entries) => {
                    files.extend(entries.into_iter().map(|entry| {
                        let (filename, file, _) = entry.into_parts();
                        (filename, file)
                    }));
                }
            }
        }
        Ok(files)
    }

    /// `--exclude-newer` in milliseconds since 1970.
    fn upload_limit(&self) -> Option<i64> {
        let text = self.settings.exclude_newer.as_deref()?;
        let value = uv_distribution_types::ExcludeNewerValue::from_str(text).ok()?;
        Some(value.timestamp().as_millisecond())
    }

    /// Downloads `url` into `sink`, with the credentials, certificates, proxies and retries of the indexes.
    ///
    /// # Errors
    ///
    /// [`SeamError::Fetch`] if it cannot be had, [`SeamError::Hash`] if it is not what was expected.
    pub fn download(
        &self,
        url: &RedactedUrl,
        expected: Option<Digest>,
        sink: &mut dyn Write,
    ) -> Result<Fetched, SeamError> {
        let fail = |source| SeamError::Fetch { what: format!("`{url}`"), source };
        if url.expose().scheme() == "file" {
            return copy_local(url, expected, sink);
        }
        let client = self.client(None)?;
        if !client.connectivity().is_online() {
            return Err(fail("the network is not reached with `--offline`".into()));
        }
        let target = DisplaySafeUrl::from_url(url.expose().clone());
        let fetched = self.block_on(async {
            let request = client.uncached_client(&target).get(url.expose().clone());
            // Transparent decompression would change the bytes that are hashed.
            let response = request.header("accept-encoding", "identity").send().await;
            let mut response = response
                .map_err(|error| fail(cause(error)))?
                .error_for_status()
                .map_err(|error| fail(cause(error.without_url())))?;
            let mut hasher = Hasher::new();
            let mut size = 0;
            while let Some(chunk) =
                response.chunk().await.map_err(|error| fail(cause(error.without_url())))?
            {
                hasher.update(&chunk);
                size += chunk.len() as u64;
                sink.write_all(&chunk).map_err(|error| fail(cause(error)))?;
            }
            Ok(Fetched { digest: hasher.finish(), size })
        })?;
        verify(url, expected, fetched)
    }
}

fn copy_local(
    url: &RedactedUrl,
    expected: Option<Digest>,
    sink: &mut dyn Write,
) -> Result<Fetched, SeamError> {
    let fail = |source| SeamError::Fetch { what: format!("`{url}`"), source };
    let path = url.expose().to_file_path().map_err(|()| fail("it names no local file".into()))?;
    let bytes = fs_err::read(path).map_err(|error| fail(cause(error)))?;
    sink.write_all(&bytes).map_err(|error| fail(cause(error)))?;
    verify(url, expected, Fetched { digest: Digest::of(&bytes), size: bytes.len() as u64 })
}

fn verify(url: &RedactedUrl, expected: Option<Digest>, fetched: Fetched) -> Result<Fetched, SeamError> {
    match expected {
        Some(expected) if expected != fetched.digest => Err(SeamError::Hash {
            file: url.to_string(),
            expected: expected.to_string(),
            found: fetched.digest.to_string(),
        }),
        _ => Ok(fetched),
    }
}

fn choice(filename: SourceDistFilename, file: &File) -> Result<SdistChoice, SeamError> {
    let fail = |source| SeamError::Fetch { what: format!("`{}`", file.filename), source };
    let url = file.url.to_url().map_err(|error| fail(cause(error)))?;
    let sha256 = file
        .hashes
        .iter()
        .find(|hash| hash.algorithm == HashAlgorithm::Sha256)
        .and_then(|hash| Digest::from_str(&hash.digest).ok());
    Ok(SdistChoice { filename, file: file.filename.to_string(), url: url::Url::from(url).into(), sha256 })
}

fn no_sdist(requirement: &Requirement, reason: &str) -> SeamError {
    SeamError::NoSdist { requirement: requirement.to_string(), reason: reason.to_owned() }
}
