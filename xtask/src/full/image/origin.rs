//! A registry on loopback with an image that hwb had no part in: a tree packed by tar and pushed by skopeo.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use hwb_testkit::docker_registry::{DockerRegistry, Encryption, Entry};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::engines::skopeo_copy;
use crate::fetch::digest;
use crate::programs::{capture, program, remove};
use crate::tiers::{absent_packages, debian_packages};
use crate::workspace::Workspace;

const PREFIX: &str = "application/vnd.oci.image";

/// The variables of the image; a shell has no path to look in otherwise.
const VARIABLES: [&str; 2] =
    ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"];

/// What the machine must have for this, with hwb or without.
const PACKAGES: [&str; 4] = ["debootstrap", "docker-registry", "skopeo", "uidmap"];

/// A registry, Debian's.
#[derive(Debug)]
pub(crate) struct Origin {
    registry: DockerRegistry,
    layouts: TempDir,
}

impl Origin {
    /// Starts it, empty.
    ///
    /// # Errors
    ///
    /// Packages of Debian are missing, which are named; or this is not root.
    pub(crate) fn start(workspace: &Workspace, peers: &[&str]) -> anyhow::Result<Self> {
        ensure!(capture(program("id").arg("-u"))?.trim() == "0", "this part of the third tier needs root");
        let listed = debian_packages(&workspace.root, crate::corpus::Tier::Full)?;
        let needed = |name: &String| PACKAGES.iter().chain(peers).any(|needed| needed == name);
        let absent = absent_packages(&listed.into_iter().filter(needed).collect::<Vec<_>>());
        ensure!(absent.is_empty(), "Debian packages are missing: {}", absent.join(" "));
        let layouts = tempfile::tempdir().context("no temporary folder")?;
        Ok(Self { registry: DockerRegistry::start(Encryption::None, Entry::Everybody), layouts })
    }

    /// What an image of this name is called here.
    pub(crate) fn reference(&self, name: &str) -> String {
        format!("{}/{name}:latest", self.registry.address())
    }

    /// Packs a tree as an image of one layer, and pushes it under a name; the whole of its reference.
    pub(crate) fn push(&self, tree: &Path, name: &str) -> anyhow::Result<String> {
        let layout = self.layouts.path().join(name);
        pack(tree, &layout)?;
        let reference = self.reference(name);
        let from = format!("oci:{}:latest", layout.display());
        capture(&mut skopeo_copy(&from, &format!("docker://{reference}")))?;
        remove(&layout)?;
        Ok(reference)
    }
}

/// Packs a tree as a layout (image-layout.md of the OCI's image specification), the layer as it is.
fn pack(tree: &Path, layout: &Path) -> anyhow::Result<()> {
    fs_err::create_dir_all(layout.join("blobs/sha256"))?;
    let layer = layout.join("layer.tar");
    let mut command = program("tar");
    command.args(["--create", "--numeric-owner", "--sort=name", "--xattrs", "--xattrs-include=*"]);
    // What apt and tests left there is no part of a Debian.
    command.args(["--exclude=./var/cache/apt/archives/*.deb", "--file"]).arg(&layer);
    capture(command.arg("--directory").arg(tree).arg("."))?;
    let (digest, layer) = put(layout, &layer, "layer.v1.tar")?;
    let config = json!({
        "created": "2023-11-14T22:13:20Z", "architecture": "amd64", "os": "linux",
        "config": { "Env": VARIABLES, "Cmd": ["/bin/sh"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
        "history": [{ "created": "2023-11-14T22:13:20Z", "created_by": "tar" }],
    });
    let (_, config) = put_json(layout, &config, "config.v1+json")?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": format!("{PREFIX}.manifest.v1+json"), "config": config, "layers": [layer],
    });
    let (_, mut manifest) = put_json(layout, &manifest, "manifest.v1+json")?;
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs_err::write(layout.join("index.json"), index.to_string())?;
    fs_err::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(())
}

fn put_json(layout: &Path, value: &Value, kind: &str) -> anyhow::Result<(String, Value)> {
    let file = layout.join("partial.json");
    fs_err::write(&file, value.to_string())?;
    put(layout, &file, kind)
}

/// Moves a file to where its digest says; the digest, and the descriptor.
fn put(layout: &Path, file: &Path, kind: &str) -> anyhow::Result<(String, Value)> {
    let size = fs_err::metadata(file)?.len();
    let digest = digest(file)?;
    let place: PathBuf = layout.join("blobs/sha256").join(&digest);
    fs_err::rename(file, place)?;
    let descriptor = json!({ "mediaType": format!("{PREFIX}.{kind}"), "digest": format!("sha256:{digest}"), "size": size });
    Ok((digest, descriptor))
}
