//! Documents of images: what is read, what is refused, and what is written.

use hwb_ident::Digest;
use hwb_oci::{
    Descriptor, Dialect, Document, ImageConfig, LayerCompression, MAX_DOCUMENT, Manifest, MediaType,
    ParseError, manifest,
};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Fills in what is in every document: `CONFIG` and `LAYER` are descriptors, `D` is a digest.
fn fill(text: &str) -> String {
    let digest = Digest::of(b"");
    text.replace(
        "CONFIG",
        r#"{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"D","size":2}"#,
    )
    .replace("LAYER", r#"{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"D","size":3}"#)
    .replace("\"D\"", &format!("\"{digest}\""))
}

/// The text of an error with those of its sources.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn parse(text: &str, said: &str) -> Result<Document, String> {
    let said = (!said.is_empty()).then(|| MediaType::parse(said));
    Document::parse(fill(text).as_bytes(), said.as_ref()).map_err(|error| chain(&error))
}

#[test]
fn tells_images_and_indexes_apart() {
    let image = r#"{"schemaVersion":2,"config":CONFIG,"layers":[LAYER]}"#;
    let typed = image.replacen('{', &format!(r#"{{"mediaType":"{DOCKER}","#), 1);
    let index = r#"{"schemaVersion":2,"manifests":[]}"#;
    for (text, said, expect) in [
        (image, OCI, OCI),
        (image, DOCKER, DOCKER),
        (image, "", OCI),
        (typed.as_str(), DOCKER, DOCKER),
        (&typed, "", DOCKER),
        (index, OCI_INDEX, OCI_INDEX),
        (index, DOCKER_LIST, DOCKER_LIST),
        (index, "", OCI_INDEX),
    ] {
        let found = match parse(text, said).unwrap() {
            Document::Index(index) => index.media_type(),
            Document::Manifest(manifest) => manifest.media_type(),
        };
        assert_eq!(found.as_str(), expect, "{text} as {said}");
    }
}

#[test]
fn refuses_manifests_that_are_none() {
    let image = r#"{"schemaVersion":2,"config":CONFIG,"layers":[]}"#;
    let index = r#"{"schemaVersion":2,"manifests":[]}"#;
    let both = r#"{"schemaVersion":2,"config":CONFIG,"layers":[],"manifests":[]}"#;
    let schema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let typed = image.replacen('{', &format!(r#"{{"mediaType":"{OCI_INDEX}","#), 1);
    for (text, said, expect) in [
        ("", "", "cannot read the manifest: EOF"),
        ("[]", "", "cannot read the manifest: "),
        ("\u{feff}{}", "", "cannot read the manifest: expected value"),
        (r#"{"schemaVersion":1,"fsLayers":[]}"#, "", "is of schema 1; only schema 2 is supported"),
        (r#"{"schemaVersion":2.0}"#, "", "cannot read the manifest: invalid type: floating point"),
        (r#"{"schemaVersion":-2}"#, "", "cannot read the manifest: invalid value: integer `-2`"),
        (r#"{"layers":[]}"#, "", "missing field `schemaVersion`"),
        ("{}", schema1, "is not supported: a manifest of schema 1"),
        ("<html>", "text/html", "cannot read the manifest: expected value"),
        (index, "text/html", "`text/html` cannot be a manifest with these fields"),
        (index, OCI, "cannot be a manifest with these fields"),
        (image, OCI_INDEX, "cannot be a manifest with these fields"),
        (r#"{"schemaVersion":2}"#, "", "cannot be a manifest with these fields"),
        (r#"{"schemaVersion":2,"layers":[]}"#, "", "cannot be a manifest with these fields"),
        (both, "", "has both layers and manifests"),
        (&typed, OCI, "but says of itself that it is"),
        (r#"{"schemaVersion":2,"layers":[],"layers":[]}"#, "", "duplicate field `layers`"),
    ] {
        let error = parse(text, said).unwrap_err();
        assert!(error.contains(expect), "{text} as {said}: {error}");
    }
    let large = vec![b' '; MAX_DOCUMENT + 1];
    let error = Document::parse(&large, None).unwrap_err();
    assert!(matches!(error, ParseError::TooLarge { size, .. } if size == MAX_DOCUMENT + 1));
}

#[test]
fn refuses_layers_and_configs_that_are_none() {
    let layer = |fields: &str| format!(r#"{{"schemaVersion":2,"config":CONFIG,"layers":[{{{fields}}}]}}"#);
    let typed = |media_type: &str| layer(&format!(r#""mediaType":"{media_type}","digest":"D","size":1"#));
    let tar = "application/vnd.oci.image.layer.v1.tar";
    for (text, expect) in [
        (r#"{"schemaVersion":2,"config":LAYER,"layers":[]}"#.to_owned(), "cannot be the config of an image"),
        (r#"{"schemaVersion":2,"config":CONFIG,"layers":[CONFIG]}"#.to_owned(), "cannot be a layer"),
        (typed("application/vnd.cncf.helm.chart.content.v1.tar+gzip"), "cannot be a layer"),
        (typed("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"), "a layer that lies elsewhere"),
        (
            layer(&format!(r#""mediaType":"{tar}","digest":"D","size":1,"urls":["http://x"]"#)),
            "from a place that the manifest names",
        ),
        (layer(r#""mediaType":"a","digest":"D","size":-1"#), "invalid value: integer `-1`"),
        (layer(r#""mediaType":"a","digest":"D","size":1e3"#), "invalid type: floating point"),
        (
            layer(r#""mediaType":"a","digest":"D","size":99999999999999999999"#),
            "invalid type: floating point",
        ),
        (layer(r#""mediaType":"a","digest":"sha256:00","size":1"#), "`sha256:00` is not a digest"),
        (layer(r#""mediaType":"a","digest":"sha512:00","size":1"#), "digests by sha512 are not supported"),
        (layer(r#""mediaType":"a","digest":"../../etc","size":1"#), "`../../etc` is not a digest"),
        (layer(r#""digest":"D","size":1"#), "missing field `mediaType`"),
    ] {
        let error = parse(&text, "").unwrap_err();
        assert!(error.contains(expect), "{text}: {error}");
    }
}

#[test]
fn chooses_the_nearest_platform() {
    let entry = |number: usize, platform: &str| {
        let digest = Digest::of(&[u8::try_from(number).unwrap()]);
        let platform = match platform.split('/').collect::<Vec<_>>().as_slice() {
            [os, architecture] => format!(r#","platform":{{"os":"{os}","architecture":"{architecture}"}}"#),
            [os, architecture, variant] => {
                format!(
                    r#","platform":{{"os":"{os}","architecture":"{architecture}","variant":"{variant}"}}"#
                )
            }
            _ => String::new(),
        };
        format!(r#"{{"mediaType":"{OCI}","digest":"{digest}","size":1{platform}}}"#)
    };
    let choose = |platforms: &[&str], wanted: &str| {
        let entries = platforms.iter().enumerate().map(|(number, platform)| entry(number, platform));
        let entries = entries.collect::<Vec<_>>().join(",");
        let Document::Index(index) =
            parse(&format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#), "").unwrap()
        else {
            panic!("it is an index")
        };
        let place = |found: &Descriptor| index.manifests.iter().position(|entry| entry == found).unwrap();
        index.choose(&wanted.parse().unwrap()).map(place).map_err(|error| error.to_string())
    };
    let many = [
        "unknown/unknown",
        "linux/386",
        "linux/arm/v5",
        "linux/arm/v7",
        "linux/arm64/v8",
        "linux/amd64",
        "linux/amd64/v2",
    ];
    for (platforms, wanted, expect) in [
        (&many[..], "linux/amd64", Ok(5)),
        (&many, "linux/amd64/v3", Ok(6)),
        (&many, "linux/arm64", Ok(4)),
        (&many, "linux/arm/v6", Ok(2)),
        (&many, "linux/arm", Ok(3)),
        (&many[..2], "linux/s390x", Err("there is no image for linux/s390x, only for linux/386")),
        (&["linux/amd64", "linux/amd64"], "amd64", Ok(0)),
        (&[""], "linux/amd64", Ok(0)),
        (&["", ""], "linux/amd64", Err("there is no image for linux/amd64, only for none that is named")),
        (&["linux/arm64"], "linux/amd64", Err("there is no image for linux/amd64, only for linux/arm64")),
    ] {
        assert_eq!(choose(platforms, wanted), expect.map_err(str::to_owned), "{platforms:?} {wanted}");
    }
}

#[test]
fn writes_one_text_for_one_manifest() {
    let layer = Descriptor::of(MediaType::Layer(Dialect::Oci, LayerCompression::Zstd), b"layer");
    let image = Manifest {
        dialect: Dialect::Oci,
        config: Descriptor::of(MediaType::Config(Dialect::Oci), b"{}"),
        layers: vec![layer.clone()],
        annotations: [("b".to_owned(), "1".to_owned()), ("a".to_owned(), "<&>".to_owned())].into(),
    };
    let text = String::from_utf8(image.to_bytes()).unwrap();
    let config = &image.config.digest;
    assert_eq!(
        text,
        format!(
            r#"{{"annotations":{{"a":"<&>","b":"1"}},"config":{{"digest":"{config}","mediaType":"application/vnd.oci.image.config.v1+json","size":2}},"layers":[{{"digest":"{}","mediaType":"application/vnd.oci.image.layer.v1.tar+zstd","size":5}}],"mediaType":"{OCI}","schemaVersion":2}}"#,
            layer.digest
        )
    );
    assert_eq!(parse(&text, OCI), Ok(Document::Manifest(Box::new(image.clone()))));
    assert_eq!(layer.media_type.compression(), Some(LayerCompression::Zstd));
    assert_eq!(image.config.media_type.compression(), None);
    assert_eq!(manifest::children(text.as_bytes()).unwrap(), [image.config, layer]);
}

/// A config as Docker writes it, with fields that nobody here knows, in another order than ours.
const CONFIG: &str = r#"{
 "os": "linux", "architecture": "arm64", "variant": "v8", "created": "2024-05-01T10:11:12.345Z", "author": null,
 "docker_version": "20.10.24", "container": "abc", "moby.buildkit.buildinfo.v1": "eyJ9",
 "config": {"Hostname": "", "AttachStdin": false, "Env": ["PATH=/bin"], "Cmd": ["sh"], "Entrypoint": null,
  "Volumes": {"/data": {}}, "WorkingDir": "", "Labels": null, "OnBuild": null, "ArgsEscaped": true, "StopTimeout": 5,
  "ExposedPorts": {"80/tcp": {}}, "Shell": ["/bin/bash", "-c"], "StopSignal": "SIGINT", "User": "www", "X": [1, 1.5],
  "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 1000000000, "Retries": 3, "StartInterval": 7, "Y": 1}},
 "rootfs": {"type": "layers", "diff_ids": ["D"]},
 "history": [{"created_by": "/bin/sh -c #(nop) ADD", "created": "2024-05-01T10:11:12Z"},
  {"created_by": "CMD", "empty_layer": true, "comment": "c", "Z": {}}]
}"#;

#[test]
fn a_foreign_config_stays_what_it_was() {
    let text = fill(CONFIG);
    let config = ImageConfig::parse(text.as_bytes()).unwrap();
    assert_eq!(config.platform().unwrap().to_string(), "linux/arm64");
    assert_eq!((config.config.user.as_str(), config.config.stop_timeout), ("www", Some(5)));
    assert_eq!(config.history.iter().map(|entry| entry.empty_layer).collect::<Vec<_>>(), [false, true]);

    let bytes = config.to_bytes();
    assert_eq!(ImageConfig::parse(&bytes).unwrap(), config);
    assert_eq!(ImageConfig::parse(&bytes).unwrap().to_bytes(), bytes);
    // Nothing is lost but what says nothing.
    let says_something = |value: &serde_json::Value| !(value.is_null() || value == "");
    let mut before: serde_json::Value = serde_json::from_str(&text).unwrap();
    before.as_object_mut().unwrap().retain(|_, value| says_something(value));
    let run = before["config"].as_object_mut().unwrap();
    run.retain(|key, value| says_something(value) || key == "Hostname");
    before.sort_all_objects();
    assert_eq!(String::from_utf8(bytes).unwrap(), before.to_string());
}

#[test]
fn refuses_configs_that_are_none() {
    let root = r#""rootfs":{"type":"layers","diff_ids":[]}"#;
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for (text, expect) in [
        ("null", "cannot read the config: "),
        ("{}", "missing field"),
        (&format!(r#"{{"os":"linux",{root}}}"#), "missing field `architecture`"),
        (r#"{"os":"linux","architecture":"amd64"}"#, "missing field `rootfs`"),
        (
            r#"{"os":"linux","architecture":"amd64","rootfs":{"type":"zfs","diff_ids":[]}}"#,
            "is of type `zfs`; only `layers` is known",
        ),
        (
            r#"{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["md5:0"]}}"#,
            "`md5:0` is not a digest",
        ),
        (&format!(r#"{{"os":"linux","architecture":"amd64","os":"x",{root}}}"#), "duplicate field `os`"),
        (
            &format!(r#"{{"os":"linux","architecture":"amd64","config":{{"Env":"A=b"}},{root}}}"#),
            "invalid type: string",
        ),
        (&format!(r#"{{"os":"linux","architecture":"amd64","config":[],{root}}}"#), "invalid"),
        (
            &format!(r#"{{"os":"linux","architecture":"amd64","x":{deep},{root}}}"#),
            "recursion limit exceeded",
        ),
    ] {
        let error = chain(&ImageConfig::parse(text.as_bytes()).unwrap_err());
        assert!(error.contains(expect), "{text}: {error}");
    }
    let config = ImageConfig::parse(fill(CONFIG).as_bytes()).unwrap();
    let Ok(Document::Manifest(manifest)) =
        parse(r#"{"schemaVersion":2,"config":CONFIG,"layers":[LAYER,LAYER]}"#, "")
    else {
        panic!("it is an image")
    };
    let error = manifest.check_config(&config).unwrap_err();
    assert_eq!(error.to_string(), "the manifest has 2 layers, its config 1");
}
