//! What is wrong with a document.

use hwb_ident::Digest;

use crate::media::MediaType;

/// Why a document of an image is refused.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// It is larger than any real one.
    #[error("the {what} has {size} bytes; at most {most} are read")]
    TooLarge {
        /// Which document.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The limit.
        most: usize,
    },
    /// It is not JSON, or lacks or garbles a field.
    #[error("cannot read the {what}")]
    Json {
        /// Which document.
        what: &'static str,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A format that hwb refuses by name.
    #[error("`{media_type}` is not supported: {why}")]
    Refused {
        /// The name.
        media_type: MediaType,
        /// What it is.
        why: &'static str,
    },
    /// A format that hwb does not know, or not in this place.
    #[error("`{media_type}` cannot be {place}")]
    MediaType {
        /// The name.
        media_type: MediaType,
        /// What it stands for.
        place: &'static str,
    },
    /// Two names for the same bytes.
    #[error("it was said to be `{said}`, but says of itself that it is `{found}`")]
    Disagree {
        /// What came with it.
        said: MediaType,
        /// What it says.
        found: MediaType,
    },
    /// Some readers would take it for an index and some for an image.
    #[error("the manifest has both layers and manifests, so that nobody can say which it is")]
    Ambiguous,
    /// Another version than 2.
    #[error("the manifest is of schema {0}; only schema 2 is supported")]
    Schema(u64),
    /// A layer is not where it can be fetched.
    #[error("layer {0} is to be fetched from a place that the manifest names, which is not done")]
    ForeignLayer(Digest),
    /// The config does not fit the manifest.
    #[error("the manifest has {layers} layers, its config {diff_ids}")]
    Layers {
        /// Layers of the manifest.
        layers: usize,
        /// Digests in the config.
        diff_ids: usize,
    },
    /// The root file system is not made of layers.
    #[error("the root file system is of type `{0}`; only `layers` is known")]
    RootFs(String),
}
