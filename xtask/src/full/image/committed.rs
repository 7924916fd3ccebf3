//! A run that is kept, made an image of, and pushed: what others see in it.
//!
//! Docker makes the same change and commits it. The topmost layers must be equal entry by entry, and what skopeo, umoci,
//! podman and docker make of the image must be what docker's own image is.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::engines::{Docker, Podman, skopeo_copy};
use super::person::Person;
use crate::programs::{capture, empty, program, remove};

/// The program that reads layers; it knows nothing of hwb.
const SCRIPT: &str = include_str!("../../../python/layer.py");

/// A change with everything that a layer can say.
const CHANGE: &str = "set -e; mkdir -p /srv/d/deep; cd /srv/d; echo one > f; ln f g; ln -s g l; mkfifo p; \
     truncate -s 1000000 sparse; cp /bin/true t; chown 33:34 t deep; setcap cap_net_bind_service+ep t; chmod 4755 f; \
     chmod 1777 /srv; chmod 600 /etc/shadow; rm /etc/issue; rm -r /usr/share/doc; \
     rm -r /etc/apt; mkdir /etc/apt; touch /etc/apt/own; mv /etc/skel /etc/bones; rm /etc/debian_version; rmdir /mnt";

/// What can be seen of it.
const LOOK: &str = "cd /srv/d; stat -c '%n %F %a %u:%g' /srv deep f g l p sparse t /etc/shadow /etc/bones; \
     stat -c '%n %h %s' f g sparse; getcap t; cat l; ls -A /etc/apt /etc/bones; \
     ls -d /etc/issue /usr/share/doc /etc/skel /mnt 2>/dev/null; true";

/// A layer by the names of its entries.
type Layer = BTreeMap<String, String>;

/// Others, and what docker made of the change.
#[derive(Debug)]
pub(super) struct Judges {
    docker: Docker,
    podman: Podman,
    layer: Layer,
    sight: String,
    // Goes last: the others have their files in it.
    place: TempDir,
}

/// A way to look at an image.
pub(super) type Look = fn(&Judges, &str) -> anyhow::Result<()>;

/// All ways; the names are for the evidence.
pub(super) const LOOKS: [(&str, Look); 5] = [
    ("the layer is docker's, entry by entry", |judges, image| judges.compare_layers(image)),
    ("`skopeo inspect` knows it", |_, image| inspect(image)),
    ("`umoci unpack`", |judges, image| judges.unpack(image)),
    ("`podman run`", |judges, image| {
        let pull = ["pull", "--quiet", "--tls-verify=false", image];
        capture(judges.podman.command().args(pull))?;
        judges.see(&capture(judges.podman.run().args([image, "sh", "-c", LOOK]))?)
    }),
    ("`docker run`", |judges, image| {
        capture(judges.docker.command().args(["pull", "--quiet", image]))?;
        judges.see(&capture(judges.docker.run().args(["--rm", image, "sh", "-c", LOOK]))?)
    }),
];

impl Judges {
    /// Lets docker make the change in an image and commit it.
    pub(super) fn gather(image: &str) -> anyhow::Result<Self> {
        let place = tempfile::tempdir().context("no temporary folder")?;
        let docker = Docker::start(&place.path().join("docker"))?;
        let podman = Podman::new(place.path().join("podman"));
        capture(docker.command().args(["pull", "--quiet", image]))?;
        capture(docker.run().args(["--name", "changed", image, "sh", "-c", CHANGE]))?;
        capture(docker.command().args(["commit", "changed", "changed"]))?;
        let saved = place.path().join("saved.tar");
        capture(docker.command().args(["save", "--output"]).arg(&saved).arg("changed"))?;
        let layer = read(program("python3").args(["-I", "-c", SCRIPT]).arg(&saved).arg("--topmost"))?;
        ensure!(layer.len() > 20, "docker's layer has {} entries", layer.len());
        let sight = capture(docker.run().args(["--rm", "changed", "sh", "-c", LOOK]))?;
        Ok(Self { docker, podman, layer, sight, place })
    }

    /// Makes the change with hwb, commits it and pushes that under a name.
    pub(super) fn offer(&self, person: &Person, image: &str, name: &str) -> anyhow::Result<()> {
        let hwb = |arguments: &[&str]| capture(person.command(&person.hwb()).arg("image").args(arguments));
        hwb(&["run", "--name", "changed", image, "sh", "-c", CHANGE])?;
        hwb(&["commit", "changed", name])?;
        hwb(&["push", name])?;
        hwb(&["rm", "--run", "changed"])?;
        Ok(())
    }

    fn see(&self, sight: &str) -> anyhow::Result<()> {
        let theirs: Vec<_> = self.sight.lines().collect();
        let other = sight.lines().filter(|line| !theirs.contains(line)).collect::<Vec<_>>();
        ensure!(sight == self.sight, "it sees `{}`", other.join(" / "));
        Ok(())
    }

    fn compare_layers(&self, image: &str) -> anyhow::Result<()> {
        let copy = self.place.path().join("copy");
        empty(&copy)?;
        copied(image, &format!("dir:{}", copy.display()))?;
        let manifest: Value = serde_json::from_slice(&fs_err::read(copy.join("manifest.json"))?)?;
        let digest = manifest["layers"][1]["digest"].as_str().context("there is no second layer")?;
        let file = copy.join(digest.trim_start_matches("sha256:"));
        let layer = read(program("python3").args(["-I", "-c", SCRIPT]).arg(file))?;
        let names: BTreeSet<_> = layer.keys().chain(self.layer.keys()).collect();
        let differ = |name: &&&String| layer.get(**name) != self.layer.get(**name);
        let of = |layer: &Layer, name: &String| layer.get(name).map_or("nothing", String::as_str).to_owned();
        let other: Vec<_> = names
            .iter()
            .filter(differ)
            .map(|name| format!("{name} is {} and docker's {}", of(&layer, name), of(&self.layer, name)))
            .collect();
        ensure!(other.is_empty(), "{}", other.join("; "));
        Ok(())
    }

    fn unpack(&self, image: &str) -> anyhow::Result<()> {
        let (layout, bundle) = (self.place.path().join("layout"), self.place.path().join("bundle"));
        empty(&layout)?;
        remove(&bundle)?;
        let layout = format!("{}:image", layout.display());
        copied(image, &format!("oci:{layout}"))?;
        capture(program("umoci").args(["unpack", "--image", &layout]).arg(&bundle))?;
        let mut command = program("chroot");
        command.arg(bundle.join("rootfs")).args(["sh", "-c", LOOK]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        self.see(&capture(&mut command)?)
    }
}

fn inspect(image: &str) -> anyhow::Result<()> {
    let said =
        capture(program("skopeo").args(["inspect", "--tls-verify=false", &format!("docker://{image}")]))?;
    let said: Value = serde_json::from_str(&said).context("skopeo prints no JSON")?;
    match said["Layers"].as_array().map(Vec::len) {
        Some(2) => Ok(()),
        other => bail!("it sees {other:?} layers"),
    }
}

fn copied(image: &str, to: &str) -> anyhow::Result<()> {
    capture(&mut skopeo_copy(&format!("docker://{image}"), to)).map(drop)
}

fn read(command: &mut Command) -> anyhow::Result<Layer> {
    serde_json::from_str(&capture(command)?).context("the list of entries is not JSON")
}
