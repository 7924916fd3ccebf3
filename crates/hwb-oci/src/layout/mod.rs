//! Images as files: the OCI image layout, and the archives of `docker save`.
//!
//! Both are files by their paths, in a directory or in a tar archive. What a path means on a disk is for the caller to
//! say ([`Files`], [`PutFiles`]); archives are known here ([`ArchiveWriter`], and
//! [`Members`](hwb_archive::tar::Members)).
//!
//! - [`Layout`] reads an image layout, [`DockerArchive`] what `docker save` writes.
//! - [`Contents`] is what a layout is to hold, decided before anything is written.

mod docker;
mod files;
mod read;
mod write;

use std::io;

use hwb_ident::image::ParseImageReferenceError;
use hwb_ident::{ArchivePath, Digest};

pub use self::docker::{DockerArchive, DockerImage};
pub use self::files::{ArchiveWriter, Blobs, Files, PutFiles};
pub use self::read::Layout;
pub use self::write::{Contents, Flavour, NamedImage};

use crate::error::ParseError;

/// The annotation with the tag of an image, or with its whole name.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The annotation with the whole name of an image, as containerd and Docker write it.
pub const IMAGE_NAME: &str = "io.containerd.image.name";

/// How many indexes may lie in each other.
const MAX_DEPTH: usize = 8;

/// Why images cannot be read from files, or written to them.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A file is missing.
    #[error("there is no `{0}` in it")]
    Missing(ArchivePath),
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// Which.
        path: ArchivePath,
        /// Why not; a [`BlobError`](crate::blob::BlobError) if it is not what it should be.
        #[source]
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write `{path}`")]
    Write {
        /// Which.
        path: ArchivePath,
        /// Why not; a [`BlobError`](crate::blob::BlobError) if what is to be written is not what it should be.
        #[source]
        source: io::Error,
    },
    /// A document is refused.
    #[error("`{path}` is refused")]
    Document {
        /// Which.
        path: ArchivePath,
        /// Why.
        #[source]
        source: ParseError,
    },
    /// Another version of the format.
    #[error("the image layout is of version {0:?}; only 1.0.0 is known")]
    Version(String),
    /// It has no images.
    #[error("there is no image in it")]
    Empty,
    /// No image goes by that name.
    #[error("there is no image `{wanted}` in it, only {}", found.join(", "))]
    NoImage {
        /// The name.
        wanted: String,
        /// The names that there are.
        found: Vec<String>,
    },
    /// More than one image goes by that name, or no name was said.
    #[error("there is more than one image in it: {}", .0.join(", "))]
    Ambiguous(Vec<String>),
    /// The name of an image is none.
    #[error("an image in it has a name that is none")]
    Name(#[source] ParseImageReferenceError),
    /// A file is named by a path that leads elsewhere.
    #[error("`{0}` does not name a file in it")]
    Path(String),
    /// An index stands where one image must.
    #[error("{0} is an index of images for several platforms; an archive for Docker holds one of them")]
    SeveralPlatforms(Digest),
    /// Indexes in indexes without end.
    #[error("{0} lies in more than {MAX_DEPTH} indexes")]
    TooDeep(Digest),
}

/// A path that is one for certain.
fn known(path: &str) -> ArchivePath {
    path.parse().expect("the format has no other paths")
}

/// Where a layout has a blob.
fn blob_path(digest: Digest) -> ArchivePath {
    known(&format!("blobs/sha256/{}", digest.hex()))
}

#[cfg(test)]
mod tests;
