//! `hwb image import` and `export`.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use fs_err as fs;
use hwb_testkit::image::push_index;
use hwb_testkit::registry::Registry;
use hwb_testkit::{CommandContext, Tree, sha256_hex};
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::image::{base, name};

/// A place with an image in its store that is called `app:1` and `registry.example/app:2`.
fn with_image() -> CommandContext {
    let (context, registry) = (crate::context(), Registry::open());
    base().layer(&Tree::new().file("usr/greeting", "hello")).push(&registry, "base", "1");
    let pulled = name(&registry, "base:1");
    context.run(["image", "pull", "-q", &pulled]).success();
    for name in ["app:1", "registry.example/app:2"] {
        context.run(["image", "tag", &pulled, name]).success();
    }
    context.run(["image", "rm", &pulled]).success();
    context
}

/// What the store has, as `NAME DIGEST PLATFORM`.
fn listed(context: &CommandContext) -> Vec<String> {
    let images = context.run(["image", "ls", "--json"]).success().json();
    let text = |image: &Value, key: &str| image[key].as_str().unwrap().to_owned();
    let line = |image| ["name", "digest", "platform"].map(|key| text(image, key)).join(" ");
    images.as_array().unwrap().iter().map(line).collect()
}

fn import<'a>(
    context: &CommandContext,
    source: &Path,
    arguments: impl IntoIterator<Item = &'a str>,
) -> Value {
    let command = context.command(["image", "import", "-q", "--json"]).arg(source);
    arguments.into_iter().fold(command, |command, argument| command.arg(argument)).run().success().json()
}

#[test]
fn what_is_exported_is_imported_as_it_was() {
    let context = with_image();
    let out = context.work();
    assert_snapshot!(context.run(["image", "export", "app:1", "registry.example/app:2", "-o", "app.tar"]), @r"
    exit: 0
    --- stdout
    docker.io/library/app:1@sha256:[DIGEST]
    registry.example/app:2@sha256:[DIGEST]
    ");
    let other_order = ["registry.example/app:2", "app:1", "-o", "again.tar", "--format", "oci-archive"];
    let report = context.run(["image", "export", "--json"].iter().chain(&other_order)).success().json();
    assert_eq!((&report["format"], &report["path"]), (&json!("oci-archive"), &json!("again.tar")));
    assert!(fs::read(out.join("app.tar")).unwrap() == fs::read(out.join("again.tar")).unwrap());
    let both = ["app:1", "registry.example/app:2"];
    for arguments in [&["-o", "layout/"][..], &["-o", "docker.tar", "--format", "docker-archive"]] {
        context.run(["image", "export"].iter().chain(&both).chain(arguments)).success();
    }
    let names = listed(&context);
    for source in ["app.tar", "layout", "docker.tar"] {
        let elsewhere = crate::context();
        import(&elsewhere, &out.join(source), []);
        assert_eq!(listed(&elsewhere), names, "{source}");
        for (format, expect) in [("oci-archive", "app.tar"), ("docker-archive", "docker.tar")] {
            let again = ["image", "export", "-o", "again.tar", "--format", format];
            elsewhere.run(again.iter().chain(&both)).success();
            let [again, expect] =
                [elsewhere.work().join("again.tar"), out.join(expect)].map(|path| fs::read(path).unwrap());
            assert!(again == expect, "{source} as {format}");
        }
    }
    let streamed =
        context.command(["image", "export", "app:1", "-o", "-"]).prepare().output().unwrap().stdout;
    context.run(["image", "export", "app:1", "-o", "one.tar"]).success();
    assert!(streamed == fs::read(out.join("one.tar")).unwrap());

    // Said to be what Docker writes, it is read as that: the config is the same, the manifest is new.
    let elsewhere = crate::context();
    let docker = format!("docker-archive:{}:app:1", out.join("docker.tar").display());
    let imported = import(&elsewhere, Path::new(&docker), []);
    let known = context.run(["image", "inspect", "--json", "app:1"]).success().json();
    assert_eq!((&imported[0]["id"], imported.as_array().unwrap().len()), (&known["id"], 1));
}

#[test]
fn several_platforms_go_and_come_together() {
    let (context, registry) = (crate::context(), Registry::open());
    push_index(&registry, "base", "1", &[base(), base().architecture("arm64")]);
    let image = name(&registry, "base:1");
    for platform in ["linux/arm64", "linux/amd64"] {
        context.run(["image", "pull", "-q", &image, "--platform", platform]).success();
    }
    let export = ["image", "export", &image, "--all-platforms", "-o"];
    context.run(export.iter().chain(&["all.tar"])).success();
    let elsewhere = crate::context();
    let archive = context.work().join("all.tar");
    let imported = import(&elsewhere, &archive, ["--platform", "linux/arm64"]);
    assert_eq!(imported[0]["platform"], "linux/arm64");
    import(&elsewhere, &archive, ["--all-platforms"]);
    assert_eq!(listed(&elsewhere), listed(&context));
    elsewhere.run(export.iter().chain(&["all.tar"])).success();
    assert!(fs::read(&archive).unwrap() == fs::read(elsewhere.work().join("all.tar")).unwrap());
    fs::copy(archive, elsewhere.work().join("other.tar")).unwrap();
    assert_snapshot!(elsewhere.run(["image", "import", "other.tar", "--platform", "linux/s390x"]), @r"
    exit: 4
    --- stderr
    error: cannot import `other.tar`
      caused by: there is no image for linux/s390x, only for linux/amd64, linux/arm64
    hint: ask for one of these with `--platform`, or for all with `--all-platforms`
    ");
    assert_snapshot!(context.run(export.iter().chain(&["docker.tar", "--format", "docker-archive"])), @r"
    exit: 2
    --- stderr
    error: failed to export to `docker.tar`
      caused by: sha256:[DIGEST] is an index of images for several platforms; an archive for Docker holds one of them
    hint: name one of them with `--platform`
    ");
    assert!(!context.work().join("docker.tar").exists());
}

#[test]
fn a_layout_takes_further_images() {
    let context = with_image();
    let layout = context.work().join("layout");
    let export =
        |image: &str, to: &str| context.run(["image", "export", image, "-o", to, "--format", "oci-layout"]);
    export("app:1", "layout").success();
    export("registry.example/app:2", "layout").success();
    export("app:1", "layout").success();
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    let imported = crate::context().command(["image", "import"]).arg(&layout).run().success();
    assert_eq!(imported.stderr.matches("  layer ").count(), 2, "of two images with the same two: {imported}");
    for (selection, expect) in [
        (":1", vec!["docker.io/library/app:1"]),
        (":2", vec!["registry.example/app:2"]),
        ("", vec!["docker.io/library/app:1", "registry.example/app:2"]),
    ] {
        let source = format!("oci-layout:{}{selection}", layout.display());
        let imported = import(&crate::context(), Path::new(&source), []);
        let mut names: Vec<_> =
            imported.as_array().unwrap().iter().map(|image| image["name"].as_str().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, expect, "{selection}");
    }
    fs::create_dir(context.work().join("mine")).unwrap();
    fs::write(context.work().join("mine/file"), "mine").unwrap();
    assert_snapshot!(export("app:1", "mine"), @r"
    exit: 2
    --- stderr
    error: `mine` is neither an image layout nor an empty directory
    ");
    assert_eq!(CommandContext::files_below(&context.work().join("mine")), ["file"]);
    assert_snapshot!(context.run(["image", "export", "app:1", "-o", "mine", "--format", "oci-archive"]), @r"
    exit: 2
    --- stderr
    error: `mine` is a directory, but an archive is a file
    hint: `--format oci-layout` writes a directory
    ");
    assert_snapshot!(context.run(["image", "export", "app:1", "-o", "-", "--format", "oci-layout"]), @r"
    exit: 2
    --- stderr
    error: an image layout is a directory, and cannot be written to an output
    ");
    assert_snapshot!(context.run(["image", "export", "app:1", "-o", "-", "--json"]), @r#"
    exit: 2
    --- stdout
    {
      "error": {
        "kind": "usage",
        "message": "an archive and a JSON document cannot both be written to standard output",
        "causes": [],
        "hints": [],
        "log": null
      }
    }
    "#);
    assert_snapshot!(context.run(["image", "export", "absent", "-o", "a.tar"]), @r"
    exit: 4
    --- stderr
    error: no image in the store is called `absent`
    hint: `hwb image ls` lists what is there, and `hwb image pull` gets more
    ");
    assert_snapshot!(context.run(["image", "export", "app:1", "-o", "a.tar", "--format", "zip"]), @r"
    exit: 2
    --- stderr
    error: invalid value 'zip' for '--format <FORMAT>': `zip` is no format; there are oci-archive, oci-layout and docker-archive

    For more information, try '--help'.
    ");
    assert!(!context.work().join("a.tar").exists());
}

#[test]
fn only_files_are_replaced() {
    let context = with_image();
    let out = context.work();
    context.run(["image", "export", "app:1", "-o", "app.tar"]).success();
    let app = fs::read(out.join("app.tar")).unwrap();
    fs::write(out.join("old.tar"), "old").unwrap();
    for (link, target) in
        [("link.tar", "old.tar"), ("null", "/dev/null"), ("full", "/dev/full"), ("lost", "nowhere")]
    {
        symlink(target, out.join(link)).unwrap();
    }
    let export = |to: &str| context.run(["image", "export", "-q", "app:1", "-o", to]);
    export("link.tar").success();
    assert!(fs::read(out.join("old.tar")).unwrap() == app, "a link leads to the new file");
    export("null").success();
    assert_snapshot!(export("full"), @r"
    exit: 7
    --- stderr
    error: failed to write `full`
      caused by: failed to write to file `[WORK]/full`: No space left on device (os error 28)
    hint: the disk is full: make room there, or write elsewhere (`--cache-dir` moves the cache, `-o` the output)
    ");
    assert_snapshot!(export("lost"), @r"
    exit: 7
    --- stderr
    error: failed to write `lost`
      caused by: failed to query resolved metadata `[WORK]/lost`: No such file or directory (os error 2)
    ");
    for link in ["link.tar", "null", "full", "lost"] {
        assert!(out.join(link).is_symlink(), "{link}");
    }
    let piped = context.command(["image", "export", "-q", "app:1", "-o", "/dev/stderr"]).prepare().output();
    assert!(piped.unwrap().stderr == app);
}

/// An archive as `docker save` wrote it before version 25, with a layer that stands there twice.
fn saved(diff_id: &str, tags: &[&str]) -> Tree {
    let layer = Tree::new().file("etc/motd", "hello").tar(".");
    let diff_id = if diff_id.is_empty() { sha256_hex(&layer) } else { diff_id.to_owned() };
    let diff_ids = [&diff_id, &diff_id].map(|digits| format!("sha256:{digits}"));
    let config = json!({
        "architecture": "arm64", "os": "linux", "created": "2020-01-01T00:00:00Z", "config": { "Cmd": ["sh"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
    .to_string();
    let file = format!("{}.json", sha256_hex(config.as_bytes()));
    let manifest = json!([{ "Config": file, "RepoTags": tags, "Layers": ["a/layer.tar", "b/layer.tar"] }]);
    Tree::new()
        .file("a/layer.tar", layer)
        .entry("b/layer.tar", hwb_testkit::tree::Entry::Link("../a/layer.tar".to_owned()))
        .file(&file, config)
        .file("manifest.json", manifest.to_string())
}

#[test]
fn what_docker_saved_is_imported() {
    let context = crate::context();
    let path = context.work().join("saved.tar");
    fs::write(&path, saved("", &["app:1", "registry.example/app:2"]).tar(".")).unwrap();
    let import = |arguments: &[&str]| context.run(["image", "import", "-q"].iter().chain(arguments));
    assert_snapshot!(import(&["saved.tar"]), @r"
    exit: 0
    --- stdout
    docker.io/library/app:1@sha256:[DIGEST]
    registry.example/app:2@sha256:[DIGEST]
    ");
    let said = context.run(["image", "import", "saved.tar"]).success().stderr;
    assert_eq!(said.matches("  layer ").count(), 1, "the same layer is not packed twice: {said}");
    let details =
        context.run(["image", "inspect", "--json", "app:1", "--platform", "linux/arm64"]).success().json();
    let config =
        saved("", &[]).entries().find(|(name, _)| name.ends_with(".json")).unwrap().0.replace(".json", "");
    assert_eq!(details["id"], format!("sha256:{config}"), "the identifier is the one that Docker shows");
    assert_eq!(details["layers"][0], details["layers"][1]);
    assert_eq!(details["layers"][0]["media_type"], "application/vnd.oci.image.layer.v1.tar+gzip");
    import(&["docker-archive:saved.tar:app:1", "mine"]).success();
    assert_snapshot!(import(&["docker-archive:saved.tar:app:3"]), @r"
    exit: 4
    --- stderr
    error: cannot import `saved.tar`
      caused by: there is no image `docker.io/library/app:3` in it, only app:1, registry.example/app:2
    ");
    assert_snapshot!(import(&["oci-archive:saved.tar"]), @r"
    exit: 4
    --- stderr
    error: `saved.tar` is an archive of `docker save`, not an archive of an image layout
    ");
    assert_snapshot!(import(&["saved.tar", "--platform", "linux/amd64"]), @r"
    exit: 4
    --- stderr
    error: what is in `saved.tar` is for linux/arm64, not for linux/amd64
    ");
    assert_snapshot!(import(&["saved.tar", "--change", "USER me"]), @r"
    exit: 2
    --- stderr
    error: `--change` is for root file systems; `saved.tar` says by itself how it is run
    ");

    let context = crate::context();
    let check = |tree: &Tree, expect: &str| {
        fs::write(context.work().join("saved.tar"), tree.tar(".")).unwrap();
        let outcome = context.run(["image", "import", "-q", "saved.tar"]);
        assert!(outcome.stderr.contains(expect), "{expect}: {outcome}");
        assert_eq!(listed(&context), [""; 0], "{expect}");
    };
    check(&saved(&"0".repeat(64), &["app:1"]), "should unpack to");
    check(&saved("", &[]), "has no name");
    check(&saved("", &["App:1"]), "is not an image name");
    check(&saved("", &["app:1"]).without("a/layer.tar"), "there is no `a/layer.tar` in it");
    let leads_out = |path: &str| json!([{ "Config": path, "RepoTags": ["app:1"], "Layers": [] }]).to_string();
    check(&saved("", &[]).file("manifest.json", leads_out("../../etc/passwd")), "does not name a file in it");
    check(&saved("", &[]).file("manifest.json", "[]"), "no image in it");
}

#[test]
fn a_root_file_system_becomes_an_image() {
    let context = crate::context();
    let tree = Tree::new().file("bin/sh", "#!").file("etc/motd", "hello");
    let (tar, out) = (tree.tar("."), context.work());
    fs::write(out.join("root.tar"), &tar).unwrap();
    fs::write(out.join("root.tar.gz"), tree.tar_gz(".").bytes).unwrap();
    fs::write(out.join("root.tar.zst"), zstd::encode_all(tar.as_slice(), 3).unwrap()).unwrap();
    let arguments =
        ["base:1", "--change", "CMD [\"/bin/sh\"]", "-c", "ENV A=b", "-m", "by hand", "--platform", "arm64"];
    let digests: Vec<Value> = ["root.tar", "root.tar.gz", "root.tar.zst", "tar:root.tar"]
        .iter()
        .map(|source| import(&context, Path::new(source), arguments)[0]["digest"].clone())
        .collect();
    let input = context
        .command(["image", "import", "-q", "--json", "-"].iter().chain(&arguments))
        .input(out.join("root.tar.gz"));
    let streamed = input.run().success().json()[0]["digest"].clone();
    assert!(digests.iter().all(|digest| *digest == streamed), "{digests:?}");
    let details =
        context.run(["image", "inspect", "--json", "base:1", "--platform", "arm64"]).success().json();
    assert_eq!(details["config"]["config"], json!({ "Cmd": ["/bin/sh"], "Env": ["A=b"] }));
    assert_eq!(
        details["layers"][0]["diff_id"],
        format!("sha256:{}", sha256_hex(&tar)),
        "not a byte of it changes"
    );
    assert_snapshot!(context.run(["image", "history", "base:1", "--platform", "arm64"]), @r"
    exit: 0
    --- stdout
    [DATE]  [SIZE]  hwb image import
    ");
    let dated = context
        .command(["image", "import", "-q", "--json", "root.tar", "base:2"])
        .env("SOURCE_DATE_EPOCH", "1000000000");
    assert_eq!(dated.run().success().json()[0]["created"], "2001-09-09T01:46:40Z");
}

#[test]
fn what_is_no_root_file_system_is_refused() {
    let (context, tree) = (crate::context(), Tree::new().file("bin/sh", "#!"));
    let (tar, out) = (tree.tar("."), context.work());
    fs::write(out.join("root.tar"), &tar).unwrap();
    let import = |arguments: &[&str]| context.run(["image", "import", "-q"].iter().chain(arguments));
    fs::write(out.join("white.tar"), Tree::new().file("etc/.wh.motd", "").tar(".")).unwrap();
    fs::write(out.join("torn.tar"), &tar[..1000]).unwrap();
    fs::write(out.join("text"), "hello").unwrap();
    fs::write(out.join("root.zip"), tree.zip("a").bytes).unwrap();
    fs::create_dir(out.join("folder")).unwrap();
    assert_snapshot!(import(&["root.tar"]), @r"
    exit: 2
    --- stderr
    error: what is in `root.tar` has no name
    hint: say one behind the source
    ");
    assert_snapshot!(import(&["white.tar", "a"]), @r"
    exit: 4
    --- stderr
    error: `white.tar` has `etc/.wh.motd`, which would remove a file: it is a layer, and no root file system
    ");
    assert_snapshot!(import(&["torn.tar", "a"]), @r"
    exit: 4
    --- stderr
    error: cannot read `torn.tar` as a tar archive
      caused by: the archive ends in the middle of `bin/sh`
    ");
    assert_snapshot!(import(&["text", "a"]), @r"
    exit: 4
    --- stderr
    error: `text` is no tar archive
    ");
    assert_snapshot!(import(&["root.zip", "a"]), @r"
    exit: 4
    --- stderr
    error: `root.zip` is a zip archive; only tar archives are read, and gzip and zstd around them
    ");
    assert_snapshot!(import(&["folder", "a"]), @r"
    exit: 4
    --- stderr
    error: cannot import `folder`
      caused by: there is no `oci-layout` in it
    ");
    assert_snapshot!(import(&["absent", "a"]), @r"
    exit: 4
    --- stderr
    error: cannot read `absent`
      caused by: No such file or directory (os error 2)
    ");
    assert_snapshot!(import(&["docker-archive:root.tar", "a"]), @r"
    exit: 4
    --- stderr
    error: `root.tar` is a tar archive without an image in it, not an archive of `docker save`
    ");
    assert_snapshot!(import(&["root.tar", "a", "--change", "RUN make"]), @r"
    exit: 2
    --- stderr
    error: `RUN` cannot be changed; CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR can
    ");
    assert_snapshot!(import(&["root.tar", "a", "--all-platforms"]), @r"
    exit: 2
    --- stderr
    error: a root file system is for one platform
    ");
}

/// A document or a layer of a layout, told by what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Layer,
    Config,
    Manifest,
}

impl Part {
    fn of(bytes: &[u8]) -> Self {
        let has = |word: &str| String::from_utf8_lossy(bytes).contains(word);
        match bytes {
            [0x1f, 0x8b, ..] => Self::Layer,
            _ if has("diff_ids") => Self::Config,
            _ => Self::Manifest,
        }
    }

    /// Takes one of these out of a layout.
    fn take(self, layout: &Path) -> (PathBuf, Vec<u8>) {
        let folder = layout.join("blobs/sha256");
        let files = CommandContext::files_below(&folder).into_iter().map(|file| folder.join(file));
        let mut blobs = files.map(|path| (path.clone(), fs::read(path).unwrap()));
        let found = blobs.find(|(_, bytes)| Self::of(bytes) == self).unwrap();
        fs::remove_file(&found.0).unwrap();
        found
    }
}

/// Exports an image into a layout, spoils that, and expects that nothing of it is imported.
#[track_caller]
fn check_refused(context: &CommandContext, expect: &str, spoil: impl FnOnce(&Path)) {
    let layout = context.work().join("layout");
    context.run(["image", "export", "app:1", "-o", "layout/"]).success();
    spoil(&layout);
    let elsewhere = crate::context();
    let outcome = elsewhere.command(["image", "import", "-q"]).arg(&layout).run();
    assert!(outcome.stderr.contains(expect), "{expect}: {outcome}");
    outcome.exit(4);
    assert_eq!(listed(&elsewhere), [""; 0], "{expect}");
    fs::remove_dir_all(&layout).unwrap();
}

#[test]
fn a_layout_with_other_bytes_is_refused() {
    type Lie = fn(&mut Vec<u8>);
    let context = with_image();
    let lies: [(&str, Lie); 3] = [
        ("was asked for, but", |bytes| *bytes.last_mut().unwrap() ^= 1),
        ("but goes on", |bytes| bytes.push(0)),
        ("but ends after", |bytes| bytes.truncate(bytes.len() - 1)),
    ];
    for part in [Part::Layer, Part::Config, Part::Manifest] {
        for (expect, lie) in lies {
            // What unpacks a layer sees first that it is spoilt.
            let expect = if part == Part::Layer { "cannot import layer" } else { expect };
            check_refused(&context, expect, |layout| {
                let (path, mut bytes) = part.take(layout);
                lie(&mut bytes);
                fs::write(path, bytes).unwrap();
            });
        }
        check_refused(&context, "cannot", |layout| drop(part.take(layout)));
        // What a link leads to has the right bytes, but is not a part of the layout.
        check_refused(&context, "it leads out of the directory", |layout| {
            let ((path, bytes), outside) = (part.take(layout), context.work().join("outside"));
            fs::write(&outside, bytes).unwrap();
            symlink(outside, path).unwrap();
        });
        check_refused(&context, "it is no file", |layout| fs::create_dir(part.take(layout).0).unwrap());
    }
}

#[test]
fn a_layout_that_lies_is_refused() {
    let context = with_image();
    let other = format!("\"registry.example/a@sha256:{}\"", "0".repeat(64));
    for (file, from, to, expect) in [
        ("oci-layout", "1.0.0", "2.0.0", "only 1.0.0 is known"),
        ("index.json", "sha256:", "sha256:../../", "is not a digest"),
        ("index.json", "\"docker.io/library/app:1\"", &other, "says that"),
        ("index.json", "image.manifest.v1", "image.index.v1", "is refused"),
        ("index.json", "{", "[[[[", "cannot read the"),
    ] {
        check_refused(&context, expect, |layout| {
            let text = fs::read_to_string(layout.join(file)).unwrap();
            assert!(text.contains(from), "{text}");
            fs::write(layout.join(file), text.replace(from, to)).unwrap();
        });
    }
    check_refused(&context, "there is no `index.json` in it", |layout| {
        fs::remove_file(layout.join("index.json")).unwrap();
    });
    check_refused(&context, "at most", |layout| {
        fs::write(layout.join("index.json"), vec![b' '; (4 << 20) + 1]).unwrap();
    });
}

/// Every digest is as it should be, but the layers are not those that the config speaks of.
#[test]
fn a_config_of_other_layers_is_refused() {
    check_refused(&with_image(), "should unpack to", |layout| {
        let put = |value: &Value| {
            let (text, digits) = (value.to_string(), sha256_hex(value.to_string().as_bytes()));
            fs::write(layout.join("blobs/sha256").join(&digits), &text).unwrap();
            (format!("sha256:{digits}"), text.len())
        };
        let parse = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let mut config = parse(&Part::Config.take(layout).1);
        config["rootfs"]["diff_ids"].as_array_mut().unwrap().reverse();
        let mut manifest = parse(&Part::Manifest.take(layout).1);
        let (digest, size) = put(&config);
        manifest["config"]["digest"] = digest.into();
        manifest["config"]["size"] = size.into();
        let mut index = parse(&fs::read(layout.join("index.json")).unwrap());
        let (digest, size) = put(&manifest);
        index["manifests"][0]["digest"] = digest.into();
        index["manifests"][0]["size"] = size.into();
        fs::write(layout.join("index.json"), index.to_string()).unwrap();
    });
}
