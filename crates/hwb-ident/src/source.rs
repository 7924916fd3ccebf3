//! Where a build starts from, as the user says it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use url::Url;

use crate::digest::ParseDigestError;
use crate::path::ParseArchivePathError;
use crate::url::ParseUrlError;
use crate::{ArchivePath, Digest, RedactedUrl, Requirement};

/// What was named as the source of a build; nothing of it has been looked at yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceSpec {
    /// A directory or an archive on this machine.
    Path(PathSource),
    /// An archive to be downloaded.
    Url(UrlSource),
    /// A commit of a git repository.
    Git(GitSource),
    /// A name and versions; the index has the sdist.
    Requirement(Box<Requirement>),
}

/// A directory or an archive on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathSource {
    /// As it was typed: relative to the working directory.
    pub path: PathBuf,
    /// `#sha256=…` of an archive.
    pub sha256: Option<Digest>,
    /// Where in it the project is.
    pub subdirectory: Option<ArchivePath>,
}

/// An archive to be downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlSource {
    /// Without its fragment.
    pub url: RedactedUrl,
    /// `#sha256=…`
    pub sha256: Option<Digest>,
    /// `#subdirectory=…`
    pub subdirectory: Option<ArchivePath>,
}

/// A git repository and what to take from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSource {
    /// Without `git+`, reference and fragment.
    pub repository: RedactedUrl,
    /// Tag, branch or commit; `None` is the default branch.
    pub reference: Option<String>,
    /// `#subdirectory=…`
    pub subdirectory: Option<ArchivePath>,
}

/// Why a text names no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseSourceError {
    /// No such file, and no requirement either.
    #[error("`{0}` is neither a file or directory here, nor a URL, nor a requirement such as `name==1.0`")]
    Nothing(String),
    /// A URL scheme that hwb does not fetch.
    #[error("sources are not fetched over `{0}:`; http, https, file and git+https, git+ssh, git+file are")]
    Scheme(String),
    /// The URL is malformed.
    #[error("the source is not a URL")]
    Url(#[source] ParseUrlError),
    /// A fragment key that means nothing here.
    #[error(
        "`#{0}` is not understood here: archives take `#sha256=` and `#subdirectory=`, git only the latter"
    )]
    Fragment(String),
    /// `#sha256=` without a digest.
    #[error("`#sha256=` has no digest")]
    Digest(#[source] ParseDigestError),
    /// `#subdirectory=` that leaves the source.
    #[error("`#subdirectory=` does not name a directory of the source")]
    Subdirectory(#[source] ParseArchivePathError),
    /// A requirement that cannot name one sdist.
    #[error("`{0}` cannot be built: {1}")]
    Requirement(String, &'static str),
}

#[derive(Debug, Default)]
struct Fragment {
    sha256: Option<Digest>,
    subdirectory: Option<ArchivePath>,
}

impl SourceSpec {
    /// Parses what the user typed; `exists` says whether a path is there, which decides between `./name` and the
    /// project `name` of the index.
    ///
    /// # Errors
    ///
    /// [`ParseSourceError`] if the text is none of the forms of a source.
    pub fn parse(text: &str, exists: &dyn Fn(&Path) -> bool) -> Result<Self, ParseSourceError> {
        if let Some(git) = text.strip_prefix("git+") {
            return GitSource::parse(git).map(Self::Git);
        }
        if text.contains("://") {
            return Self::parse_url(text);
        }
        if exists(Path::new(text)) {
            return Ok(Self::Path(PathSource { path: text.into(), sha256: None, subdirectory: None }));
        }
        if let Some((path, fragment)) = text.rsplit_once('#')
            && exists(Path::new(path))
        {
            let Fragment { sha256, subdirectory } = Fragment::parse(fragment)?;
            return Ok(Self::Path(PathSource { path: path.into(), sha256, subdirectory }));
        }
        Self::parse_requirement(text)
    }

    fn parse_url(text: &str) -> Result<Self, ParseSourceError> {
        let url = RedactedUrl::from_str(text).map_err(ParseSourceError::Url)?;
        let scheme = url.expose().scheme().to_owned();
        let is_archive = has_archive_suffix(url.expose().path());
        match scheme.as_str() {
            "ssh" => GitSource::parse(text).map(Self::Git),
            // `https://host/owner/repo@v1` and `….git`: a repository, not a download.
            "http" | "https" if !is_archive => GitSource::parse(text).map(Self::Git),
            "http" | "https" => {
                let Fragment { sha256, subdirectory } = Fragment::of(url.expose())?;
                Ok(Self::Url(UrlSource { url: url.without_fragment(), sha256, subdirectory }))
            }
            "file" => {
                let Fragment { sha256, subdirectory } = Fragment::of(url.expose())?;
                let path =
                    url.expose().to_file_path().map_err(|()| ParseSourceError::Nothing(text.to_owned()))?;
                Ok(Self::Path(PathSource { path, sha256, subdirectory }))
            }
            _ => Err(ParseSourceError::Scheme(scheme)),
        }
    }

    fn parse_requirement(text: &str) -> Result<Self, ParseSourceError> {
        let looks_like_path = text.contains('/') || text.starts_with('.') || has_archive_suffix(text);
        let requirement = (!looks_like_path)
            .then(|| Requirement::from_str(text).ok())
            .flatten()
            .ok_or_else(|| ParseSourceError::Nothing(text.to_owned()))?;
        if !requirement.extras.is_empty() {
            return Err(ParseSourceError::Requirement(
                text.to_owned(),
                "extras choose dependencies, not another wheel",
            ));
        }
        Ok(Self::Requirement(Box::new(requirement)))
    }
}

impl GitSource {
    /// Parses `https://host/owner/repo@reference#subdirectory=…` (without `git+`).
    fn parse(text: &str) -> Result<Self, ParseSourceError> {
        let url = RedactedUrl::from_str(text).map_err(ParseSourceError::Url)?;
        let scheme = url.expose().scheme();
        if !["http", "https", "ssh", "file"].contains(&scheme) {
            return Err(ParseSourceError::Scheme(format!("git+{scheme}")));
        }
        let Fragment { sha256, subdirectory } = Fragment::of(url.expose())?;
        if sha256.is_some() {
            return Err(ParseSourceError::Fragment("sha256".to_owned()));
        }
        let mut repository = url.expose().clone();
        repository.set_fragment(None);
        let path = repository.path().to_owned();
        let reference = path.rsplit_once('@').map(|(path, reference)| {
            repository.set_path(path);
            reference.to_owned()
        });
        Ok(Self { repository: repository.into(), reference, subdirectory })
    }
}

impl Fragment {
    fn of(url: &Url) -> Result<Self, ParseSourceError> {
        url.fragment().map_or_else(|| Ok(Self::default()), Self::parse)
    }

    fn parse(text: &str) -> Result<Self, ParseSourceError> {
        let mut fragment = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sha256", digest)) => {
                    fragment.sha256 = Some(digest.parse().map_err(ParseSourceError::Digest)?);
                }
                Some(("subdirectory", path)) => {
                    fragment.subdirectory = Some(path.parse().map_err(ParseSourceError::Subdirectory)?);
                }
                Some(("egg", _)) => {}
                _ => return Err(ParseSourceError::Fragment(pair.to_owned())),
            }
        }
        Ok(fragment)
    }
}

fn has_archive_suffix(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    [".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.zst", ".tar.bz2", ".tbz2", ".tbz", ".tar", ".zip"]
        .iter()
        .any(|suffix| path.ends_with(suffix))
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subdirectory = |path: &Option<ArchivePath>| {
            path.as_ref().map_or_else(String::new, |path| format!("#subdirectory={path}"))
        };
        match self {
            Self::Path(source) => {
                write!(f, "{}{}", source.path.display(), subdirectory(&source.subdirectory))
            }
            Self::Url(source) => write!(f, "{}{}", source.url, subdirectory(&source.subdirectory)),
            Self::Git(source) => {
                write!(f, "git+{}", source.repository)?;
                if let Some(reference) = &source.reference {
                    write!(f, "@{reference}")?;
                }
                f.write_str(&subdirectory(&source.subdirectory))
            }
            Self::Requirement(requirement) => write!(f, "{requirement}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let exists = |path: &Path| path == Path::new("here") || path == Path::new("here.tar.gz");
        let parsed = match SourceSpec::parse(text, &exists) {
            Ok(SourceSpec::Path(source)) => format!("path {}", SourceSpec::Path(source)),
            Ok(SourceSpec::Url(source)) => {
                let digest = source.sha256.map_or_else(String::new, |digest| format!(" {}", digest.short()));
                format!("url {}{digest}", SourceSpec::Url(source))
            }
            Ok(SourceSpec::Git(source)) => SourceSpec::Git(source).to_string(),
            Ok(SourceSpec::Requirement(requirement)) => format!("requirement {requirement}"),
            Err(error) => format!("error {error}"),
        };
        assert_eq!(parsed, expect, "{text}");
    }

    #[test]
    fn tells_the_forms_apart() {
        check("here", "path here");
        check("here#subdirectory=a/b", "path here#subdirectory=a/b");
        check("here.tar.gz", "path here.tar.gz");
        check("flask", "requirement flask");
        check("flask==3.1.3", "requirement flask==3.1.3");
        check("https://example.org/a-1.tar.gz", "url https://example.org/a-1.tar.gz");
        check(
            "https://example.org/a-1.zip#sha256=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad&subdirectory=x",
            "url https://example.org/a-1.zip#subdirectory=x ba7816bf8f01",
        );
        check(
            "git+https://u:p@example.org/o/r.git@v1#subdirectory=x",
            "git+https://example.org/o/r.git@v1#subdirectory=x",
        );
        check("https://example.org/o/r@v2.0.0", "git+https://example.org/o/r@v2.0.0");
        check("git+ssh://git@example.org/o/r", "git+ssh://git@example.org/o/r");
        check("git+file:///srv/r@main", "git+file:///srv/r@main");
        check("file:///srv/a.zip", "path /srv/a.zip");
    }

    #[test]
    fn says_what_is_wrong() {
        for text in [
            "./gone",
            "gone.tar.gz",
            "a b c",
            "ftp://example.org/a.zip",
            "git+hg://example.org/a",
            "flask[async]",
            "https://example.org/a.zip#sha256=zz",
            "https://example.org/a.zip#subdirectory=../x",
            "https://example.org/a.zip#branch=x",
        ] {
            assert!(SourceSpec::parse(text, &|_| false).is_err(), "{text}");
        }
    }
}
