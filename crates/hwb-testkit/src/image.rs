//! Container images of synthesised layers.

use serde_json::{Value, json};

use crate::registry::Registry;
use crate::sha256_hex;
use crate::tree::Tree;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image for one platform.
#[derive(Debug, Clone)]
pub struct Image {
    layers: Vec<(Vec<u8>, &'static str)>,
    diff_ids: Vec<String>,
    config: Value,
}

impl Default for Image {
    fn default() -> Self {
        Self::new()
    }
}

impl Image {
    /// Without layers, for 64-bit x86.
    pub fn new() -> Self {
        let config = json!({
            "created": "2023-11-14T22:13:20Z", "architecture": "amd64", "os": "linux", "config": {}, "history": [],
        });
        Self { layers: Vec::new(), diff_ids: Vec::new(), config }
    }

    /// For another processor, in Go's words.
    #[must_use]
    pub fn architecture(mut self, architecture: &str) -> Self {
        self.config["architecture"] = architecture.into();
        self
    }

    /// Says something of how it is run, such as `Cmd`.
    #[must_use]
    pub fn config(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.config["config"][name] = value.into();
        self
    }

    /// Adds a layer, packed.
    #[must_use]
    pub fn layer(mut self, tree: &Tree) -> Self {
        self.describe("COPY");
        self.diff_ids.push(format!("sha256:{}", sha256_hex(&tree.tar("."))));
        self.layers.push((tree.tar_gz(".").bytes, "+gzip"));
        self
    }

    /// Adds a layer of any bytes, which should be a tar archive.
    #[must_use]
    pub fn raw_layer(mut self, bytes: Vec<u8>) -> Self {
        self.describe("ADD");
        self.diff_ids.push(format!("sha256:{}", sha256_hex(&bytes)));
        self.layers.push((bytes, ""));
        self
    }

    fn describe(&mut self, step: &str) {
        let history = self.config["history"].as_array_mut().expect("the history is a list");
        history.push(json!({ "created": "2023-11-14T22:13:20Z", "created_by": step }));
    }

    /// Puts it into a registry under a tag; gives the digest of its manifest.
    pub fn push(&self, registry: &Registry, repository: &str, tag: &str) -> String {
        let manifest = self.put(registry, repository);
        registry.put_manifest(repository, tag, MANIFEST, &manifest)
    }

    /// Puts blobs, and gives the bytes of the manifest.
    fn put(&self, registry: &Registry, repository: &str) -> Vec<u8> {
        let descriptor = |media_type: String, bytes: &[u8]| {
            let digest = registry.put_blob(repository, bytes);
            json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
        };
        let mut config = self.config.clone();
        config["rootfs"] = json!({ "type": "layers", "diff_ids": self.diff_ids });
        let config = descriptor(CONFIG.to_owned(), config.to_string().as_bytes());
        let layers =
            self.layers.iter().map(|(bytes, packing)| descriptor(format!("{LAYER}{packing}"), bytes));
        let layers: Vec<Value> = layers.collect();
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        manifest.to_string().into_bytes()
    }
}

/// Puts images for several platforms under one tag; gives the digest of their index.
pub fn push_index(registry: &Registry, repository: &str, tag: &str, images: &[Image]) -> String {
    let entry = |image: &Image| {
        let manifest = image.put(registry, repository);
        let digest = format!("sha256:{}", sha256_hex(&manifest));
        registry.put_manifest(repository, &digest, MANIFEST, &manifest);
        let platform = json!({ "architecture": image.config["architecture"], "os": "linux" });
        json!({ "mediaType": MANIFEST, "digest": digest, "size": manifest.len(), "platform": platform })
    };
    let manifests: Vec<Value> = images.iter().map(entry).collect();
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    registry.put_manifest(repository, tag, INDEX, index.to_string().as_bytes())
}
