use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use hwb_archive::Codec;
use hwb_archive::tar::Members;
use hwb_ident::{ImagePlatform, ImageReference, Timestamp};

use super::*;
use crate::layer::{Expected, LayerReader, LayerWriter};
use crate::{Descriptor, Dialect, Document, History, ImageConfig, Index, Manifest, MediaType, Platform};

/// A directory in memory.
#[derive(Debug, Clone, Default)]
struct Memory(BTreeMap<ArchivePath, Vec<u8>>);

impl Files for Memory {
    fn open(&mut self, path: &ArchivePath) -> io::Result<Option<Box<dyn Read + '_>>> {
        Ok(self.0.get(path).map(|bytes| -> Box<dyn Read> { Box::new(Cursor::new(bytes)) }))
    }
}

impl PutFiles for Memory {
    fn put(&mut self, path: &ArchivePath, size: u64, contents: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        contents.read_to_end(&mut bytes)?;
        assert_eq!(bytes.len() as u64, size);
        assert!(self.0.insert(path.clone(), bytes).is_none(), "{path} comes twice");
        Ok(())
    }
}

impl Blobs for Memory {
    fn open(&mut self, descriptor: &Descriptor) -> io::Result<Box<dyn Read + '_>> {
        Files::open(self, &blob_path(descriptor.digest))?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Memory {
    fn add(&mut self, media_type: MediaType, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(media_type, bytes);
        self.0.insert(blob_path(descriptor.digest), bytes.to_vec());
        descriptor
    }

    fn with(&self, path: &str, bytes: &[u8]) -> Self {
        let mut files = self.clone();
        files.0.insert(known(path), bytes.to_vec());
        files
    }

    fn without(&self, path: &str) -> Self {
        let mut files = self.clone();
        files.0.remove(&known(path)).unwrap();
        files
    }

    /// Adds an image of one layer with this text.
    fn image(&mut self, platform: &str, text: &str) -> Descriptor {
        let mut writer = LayerWriter::new(Vec::new(), Codec::GZIP, 1);
        io::copy(&mut text.as_bytes(), &mut writer).unwrap();
        let (bytes, layer) = writer.finish().unwrap();
        self.add(MediaType::parse("application/vnd.oci.image.layer.v1.tar+gzip"), &bytes);
        let platform: ImagePlatform = platform.parse().unwrap();
        let mut config = ImageConfig::new(&platform, Timestamp::ZIP_EPOCH);
        config.append_layer(layer.diff_id, History::default());
        let manifest = Manifest {
            dialect: Dialect::Oci,
            config: self.add(MediaType::Config(Dialect::Oci), &config.to_bytes()),
            layers: vec![layer.descriptor(Dialect::Oci)],
            annotations: BTreeMap::new(),
        };
        let descriptor = self.add(manifest.media_type(), &manifest.to_bytes());
        Descriptor { platform: Some(Platform::from(&platform)), ..descriptor }
    }
}

fn name(text: &str) -> ImageReference {
    text.parse().unwrap()
}

fn named(text: &str, descriptor: &Descriptor) -> NamedImage {
    NamedImage { name: Some(name(text)), descriptor: Descriptor { platform: None, ..descriptor.clone() } }
}

fn archive(images: &[NamedImage], flavour: Flavour, blobs: &mut Memory) -> Vec<u8> {
    let mut out = ArchiveWriter::new(Vec::new());
    Contents::of(images, flavour, blobs).unwrap().write(blobs, &mut out).unwrap();
    out.finish().unwrap()
}

#[test]
fn an_archive_is_a_layout_and_serves_docker() {
    let mut blobs = Memory::default();
    let (a, b) = (blobs.image("linux/amd64", "a"), blobs.image("linux/amd64", "b"));
    let images = [named("quay.io/x/a:1", &a), named("b", &b), named("quay.io/x/a:2", &a)];
    let bytes = archive(&images, Flavour::Docker, &mut blobs);
    let [x, y, z] = images;
    let again = archive(&[z.clone(), y, x, z], Flavour::Docker, &mut blobs);
    assert!(bytes == again, "the order in which images are said is no difference");

    let mut layout = Layout::open(Members::scan(Cursor::new(&bytes)).unwrap()).unwrap();
    for (wanted, expect) in [
        (Some("quay.io/x/a:1"), Ok(a.digest)),
        (Some("docker.io/library/b:latest"), Ok(b.digest)),
        (Some("latest"), Ok(b.digest)),
        (Some("2"), Ok(a.digest)),
        (Some(a.digest.to_string().as_str()), Ok(a.digest)),
        (
            Some("3"),
            Err("there is no image `3` in it, only docker.io/library/b:latest, quay.io/x/a:1, quay.io/x/a:2"),
        ),
        (
            None,
            Err(
                "there is more than one image in it: docker.io/library/b:latest, quay.io/x/a:1, quay.io/x/a:2",
            ),
        ),
    ] {
        let found = layout.find(wanted).map(|found| found.digest).map_err(|error| error.to_string());
        assert_eq!(found, expect.map_err(str::to_owned), "{wanted:?}");
    }
    let found = layout.find(Some("2")).unwrap().clone();
    let (Document::Manifest(manifest), bytes_of_manifest) = layout.document(&found).unwrap() else {
        panic!("it is one image")
    };
    assert_eq!(Digest::of(&bytes_of_manifest), a.digest);
    let (config, _) = layout.config(&manifest.config).unwrap();
    manifest.check_config(&config).unwrap();

    let mut docker = DockerArchive::open(Members::scan(Cursor::new(&bytes)).unwrap()).unwrap();
    let image = docker.find(Some(&name("quay.io/x/a:2"))).unwrap().clone();
    assert_eq!(image.names, [name("quay.io/x/a:1"), name("quay.io/x/a:2")]);
    let (config, _) = docker.config(&image).unwrap();
    let diff_id = Some(config.rootfs.diff_ids[0]);
    let expected = Expected { compression: None, digest: None, diff_id, most: 1 };
    LayerReader::new(docker.layer(&image.layers[0]).unwrap(), expected).unwrap().finish().unwrap();
    assert!(matches!(docker.find(None), Err(LayoutError::Ambiguous(found)) if found.len() == 2));
}

#[test]
fn a_layout_is_copied_with_everything_in_it() {
    let mut blobs = Memory::default();
    let images = ["linux/amd64", "linux/arm64"].map(|platform| blobs.image(platform, platform));
    let remark = blobs.add(MediaType::parse("application/vnd.in-toto+json"), b"{}");
    let index = Index {
        dialect: Dialect::Oci,
        manifests: [&images[..], &[remark]].concat(),
        annotations: BTreeMap::new(),
    };
    let both = blobs.add(index.media_type(), &index.to_bytes());
    blobs.add(MediaType::parse("x"), b"nobody names this");

    let mut first = Memory::default();
    let contents = Contents::of(&[named("a:1", &both)], Flavour::Oci, &mut blobs).unwrap();
    assert_eq!(contents.blobs().count(), 8);
    contents.write(&mut blobs, &mut first).unwrap();
    let mut layout = Layout::open(first.clone()).unwrap();
    let found = layout.find(None).unwrap().clone();
    let Document::Index(index) = layout.document(&found).unwrap().0 else { panic!("there are several") };
    assert_eq!(index.choose(&"arm64".parse().unwrap()), Ok(&images[1]));

    // From one layout to the next.
    let image = NamedImage { name: Some(name("a:1")), descriptor: both.clone() };
    let mut second = Memory::default();
    Contents::of(&[image], Flavour::Oci, &mut layout).unwrap().write(&mut layout, &mut second).unwrap();
    assert_eq!(first.0, second.0);

    let error = Contents::of(&[named("a:1", &both)], Flavour::Docker, &mut blobs).unwrap_err();
    assert!(matches!(error, LayoutError::SeveralPlatforms(digest) if digest == both.digest));
}

#[test]
fn a_name_means_one_image_and_others_stay() {
    let mut blobs = Memory::default();
    let [a, b, c] = ["a", "b", "c"].map(|text| blobs.image("linux/amd64", text));
    let bare = NamedImage { name: None, descriptor: c.clone() };
    let mut contents = |images: &[NamedImage]| Contents::of(images, Flavour::Oci, &mut blobs).unwrap();
    let old = contents(&[named("x:1", &a), named("x:2", &a), bare.clone()]);
    let new = contents(&[named("x:1", &b), bare]).beside(old.index());
    let found = new.index().manifests.iter().map(|image| {
        (image.annotations.get(IMAGE_NAME).map_or("", |name| &name[name.len() - 3..]), image.digest)
    });
    assert_eq!(found.collect::<Vec<_>>(), [("x:2", a.digest), ("", c.digest), ("x:1", b.digest)]);
}

#[test]
fn says_what_is_wrong_with_a_layout() {
    let mut blobs = Memory::default();
    let image = blobs.image("linux/amd64", "a");
    let mut files = Memory::default();
    let contents = Contents::of(&[named("a", &image)], Flavour::Docker, &mut blobs).unwrap();
    contents.write(&mut blobs, &mut files).unwrap();
    let manifest = br#"{"schemaVersion":2,"config":{},"layers":[]}"#;
    for (files, expect) in [
        (files.without("oci-layout"), "there is no `oci-layout` in it"),
        (files.without("index.json"), "there is no `index.json` in it"),
        (files.with("oci-layout", br#"{"imageLayoutVersion":"2.0"}"#), "of version \"2.0\""),
        (files.with("oci-layout", b"[]"), "`oci-layout` is refused"),
        (files.with("index.json", b"{}"), "`index.json` is refused"),
        (files.with("index.json", manifest), "`index.json` is refused"),
    ] {
        let error = Layout::open(files).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    }
    let path = blob_path(image.digest);
    for (files, expect) in [
        (files.without(path.as_str()), "entity not found"),
        (files.with(path.as_str(), b"{}"), "but ends after 2"),
    ] {
        let mut layout = Layout::open(files).unwrap();
        let LayoutError::Read { source, .. } = layout.document(&image).unwrap_err() else { panic!() };
        assert!(source.to_string().contains(expect), "{source}");
    }
    // What is missing is found before anything is written, what is wrong while it is.
    let layer = blob_path(
        contents.blobs().find(|blob| matches!(blob.media_type, MediaType::Layer(..))).unwrap().digest,
    );
    let error =
        Contents::of(&[named("a", &image)], Flavour::Oci, &mut blobs.without(path.as_str())).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read `{path}`"));
    let error = contents.write(&mut blobs.without(layer.as_str()), &mut Memory::default()).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read `{layer}`"));
    let error = contents.write(&mut blobs.with(layer.as_str(), b""), &mut Memory::default()).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot write `{layer}`"));
}

#[test]
fn says_what_is_wrong_with_a_docker_archive() {
    let config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let open = |list: &str| {
        let files = Memory::default().with("manifest.json", list.as_bytes()).with("c.json", config);
        let mut docker = DockerArchive::open(files)?;
        let image = docker.find(None)?.clone();
        docker.config(&image)?;
        image.layers.iter().try_for_each(|layer| docker.layer(layer).map(drop))
    };
    for (list, expect) in [
        (r#"[{"Config":"c.json","RepoTags":null,"Layers":null}]"#, ""),
        (r#"[{"Config":"c.json","RepoTags":["a:1"],"Parent":"x"}]"#, ""),
        ("[]", "there is no image in it"),
        ("{}", "`manifest.json` is refused"),
        (
            r#"[{"Config":"c.json"},{"Config":"d.json"}]"#,
            "there is more than one image in it: c.json, d.json",
        ),
        (r#"[{"Config":"d.json"}]"#, "there is no `d.json` in it"),
        (r#"[{"Config":"../c.json"}]"#, "`../c.json` does not name a file in it"),
        (r#"[{"Config":"/c.json"}]"#, "`/c.json` does not name a file in it"),
        (
            r#"[{"Config":"c.json","Layers":["../../etc/shadow"]}]"#,
            "`../../etc/shadow` does not name a file in it",
        ),
        (r#"[{"Config":"c.json","Layers":["l.tar"]}]"#, "`c.json` is refused"),
        (r#"[{"Config":"c.json","RepoTags":["A:1"]}]"#, "an image in it has a name that is none"),
    ] {
        let error = open(list).map_err(|error| error.to_string()).err().unwrap_or_default();
        assert_eq!(error, expect, "{list}");
    }
    assert_eq!(
        DockerArchive::open(Memory::default()).unwrap_err().to_string(),
        "there is no `manifest.json` in it"
    );
}
