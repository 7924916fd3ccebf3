//! Images of the built binary in the hands of others: Debian's `docker-registry` and `skopeo`.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not tests to clippy")]

use fs_err as fs;
use hwb_testkit::docker_registry::{DockerRegistry, Encryption, Entry};
use hwb_testkit::{CommandContext, Tree};
use serde_json::Value;

const USER: &str = "me";
const PASSWORD: &str = "hunter2";

/// A place where the certificates of a registry are trusted.
fn context(registry: &DockerRegistry) -> CommandContext {
    let context = CommandContext::new(env!("CARGO_BIN_EXE_hwb"));
    let folder = context.home().join(".config/hwb");
    fs::create_dir_all(&folder).unwrap();
    let (address, authority) = (registry.address(), registry.authority());
    let settings =
        format!("[registries.certificates]\n\"{address}\" = {:?}\n", authority.display().to_string());
    fs::write(folder.join("hwb.toml"), settings).unwrap();
    context
}

fn log_in(context: &CommandContext, registry: &DockerRegistry) {
    let file = context.work().join("password");
    fs::write(&file, PASSWORD).unwrap();
    let address = registry.address().to_string();
    let login = ["image", "login", &address, "-u", USER, "--password-stdin"];
    context.command(login).input(&file).run().success();
}

/// A place with the image `app:1` in its store: a root file system of some size.
fn with_image(registry: &DockerRegistry) -> CommandContext {
    let context = context(registry);
    let numbers = (0..500_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes());
    let tree = Tree::new().file("data", numbers.collect::<Vec<_>>()).file("etc/motd", "hello\n");
    fs::write(context.work().join("root.tar"), tree.tar(".")).unwrap();
    context.run(["image", "import", "-q", "root.tar", "app:1", "--change", "CMD [\"/bin/sh\"]"]).success();
    context
}

fn skopeo(context: &CommandContext, arguments: &[&str]) -> String {
    let skopeo = CommandContext::new("/usr/bin/skopeo");
    skopeo.command(arguments).folder(context.work()).run().success().stdout
}

fn inspect(context: &CommandContext, arguments: &[&str]) -> Value {
    serde_json::from_str(&skopeo(context, &[&["inspect"], arguments].concat())).unwrap()
}

fn known(context: &CommandContext, image: &str) -> Value {
    context.run(["image", "inspect", "--json", image]).success().json()
}

#[test]
fn a_registry_takes_what_is_pushed() {
    let registry = DockerRegistry::start(Encryption::Tls, Entry::Password(USER, PASSWORD));
    let (context, address) = (with_image(&registry), registry.address().to_string());
    let names = ["team/app:1", "team/app:latest", "other/app:1"].map(|rest| format!("{address}/{rest}"));
    let push = ["image", "push", "-q", "--json", "app:1"];
    context.run(push.iter().copied().chain(names.iter().map(String::as_str))).exit(5);
    log_in(&context, &registry);
    let pushed = context.run(push.iter().copied().chain(names.iter().map(String::as_str))).success().json();
    let results = pushed.as_array().unwrap().iter().map(|report| report["blobs"][0]["result"].clone());
    assert_eq!(results.collect::<Vec<_>>(), ["uploaded", "present", "mounted"]);

    let elsewhere = self::context(&registry);
    log_in(&elsewhere, &registry);
    let pulled = elsewhere.run(["image", "pull", "-q", "--json", &names[2]]).success().json();
    assert_eq!(pulled[0]["digest"], pushed[0]["digest"]);
    elsewhere.run(["image", "logout", &address]).success();
    elsewhere.run(["image", "pull", "-q", &names[0]]).exit(5);

    let certificates = context.work().join("certificates");
    fs::create_dir(&certificates).unwrap();
    fs::copy(registry.authority(), certificates.join("ca.crt")).unwrap();
    let (login, image) = (format!("{USER}:{PASSWORD}"), format!("docker://{}", names[1]));
    let folder = certificates.to_str().unwrap();
    let seen = inspect(&context, &["--cert-dir", folder, "--creds", &login, &image]);
    assert_eq!(seen["Digest"], pushed[0]["digest"]);
    assert_eq!(seen["Layers"][0], known(&context, "app:1")["layers"][0]["digest"]);
    let tags = seen["RepoTags"].as_array().unwrap();
    assert!(["1", "latest"].iter().all(|tag| tags.contains(&(*tag).into())), "{seen}");
}

#[test]
fn files_go_to_others_and_come_from_them() {
    let registry = DockerRegistry::start(Encryption::Tls, Entry::Everybody);
    let context = with_image(&registry);
    let export = |file: &str, format: &str| {
        context.run(["image", "export", "app:1", "-o", file, "--format", format]).success();
    };
    export("app.tar", "oci-archive");
    export("docker.tar", "docker-archive");
    export("layout", "oci-layout");
    let app = known(&context, "app:1");
    for image in ["oci-archive:app.tar:1", "oci:layout:1", "docker-archive:docker.tar:app:1"] {
        let config = inspect(&context, &["--config", image]);
        assert_eq!(config, app["config"], "{image}");
    }

    // There and back, through whatever skopeo makes of it.
    for (to, source, same) in [
        ("oci:copied:1", "oci-layout:copied:1", "digest"),
        ("oci-archive:copied.tar:1", "copied.tar", "digest"),
        ("docker-archive:saved.tar:app:2", "saved.tar", "id"),
    ] {
        skopeo(&context, &["--insecure-policy", "copy", "-q", "oci:layout:1", to]);
        let imported = context.run(["image", "import", "-q", "--json", source, "app:2"]).success().json();
        assert_eq!(imported[0][same], app[same], "{source}");
        assert_eq!(known(&context, "app:2")["layers"][0]["diff_id"], app["layers"][0]["diff_id"], "{source}");
    }
}
