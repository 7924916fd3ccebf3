//! The formats of container images: documents, layers, layouts. Bytes in, bytes out, no disk and no clock.
//!
//! In reading order:
//!
//! - [`media`]: what some bytes are said to be.
//! - [`descriptor`]: a pointer to bytes by their digest.
//! - [`manifest`]: what an image is made of, and an index of images for several platforms.
//! - [`config`]: how an image is run, and how it came about.
//! - [`change`]: what a user changes of that.
//! - [`chain`]: the names of layers that lie on others.
//! - [`blob`]: bytes held against their descriptor.
//! - [`layer`]: what an image changes of the one below it, written and read.
//! - [`layout`]: images as files: OCI image layouts, and the archives of `docker save`.
//!
//! Everything read here comes from strangers. A document is read whole, within [`MAX_DOCUMENT`] bytes, and is checked
//! before anybody sees it. A document written here is canonical: the same image gives the same bytes. Of a document
//! that is passed on the bytes are kept, as its digest is of these.

#![forbid(unsafe_code)]

pub mod blob;
pub mod chain;
pub mod change;
pub mod config;
pub mod descriptor;
pub mod error;
pub mod layer;
pub mod layout;
pub mod manifest;
pub mod media;

mod json;

pub use self::change::Change;
pub use self::config::{Healthcheck, History, ImageConfig, RootFs, RunConfig};
pub use self::descriptor::{Descriptor, Platform};
pub use self::error::ParseError;
pub use self::json::MAX_DOCUMENT;
pub use self::manifest::{Document, Index, Manifest};
pub use self::media::{Dialect, LayerCompression, MediaType};
