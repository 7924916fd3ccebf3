//! The direction of dependencies between the crates, read from their manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What each crate may depend on. A new edge here is a decision about the architecture.
const ALLOWED: &[(&str, &[&str])] = &[
    // Words and formats.
    ("hwb-ident", &[]),
    ("hwb-archive", &["hwb-ident"]),
    ("hwb-wheel", &["hwb-archive", "hwb-ident"]),
    ("hwb-oci", &["hwb-archive", "hwb-ident"]),
    // Capabilities.
    ("hwb-store", &["hwb-archive", "hwb-ident"]),
    ("hwb-sandbox", &["hwb-ident"]),
    ("hwb-snapshot", &["hwb-archive", "hwb-ident", "hwb-oci", "hwb-store"]),
    ("hwb-net", &["hwb-ident", "hwb-oci", "hwb-sandbox", "hwb-store"]),
    ("hwb-uv", &["hwb-archive", "hwb-ident", "hwb-store", "hwb-wheel"]),
    ("hwb-interpreter", &["hwb-archive", "hwb-ident", "hwb-sandbox", "hwb-store", "hwb-uv", "hwb-wheel"]),
    // Engines: neither each other nor the network.
    ("hwb-build", &["hwb-archive", "hwb-ident", "hwb-sandbox", "hwb-store", "hwb-wheel"]),
    ("hwb-repair", &["hwb-archive", "hwb-ident", "hwb-wheel"]),
    // The facade, and the face.
    (
        "hwb-lib",
        &[
            "hwb-archive",
            "hwb-build",
            "hwb-ident",
            "hwb-interpreter",
            "hwb-net",
            "hwb-oci",
            "hwb-repair",
            "hwb-sandbox",
            "hwb-snapshot",
            "hwb-store",
            "hwb-uv",
            "hwb-wheel",
        ],
    ),
    ("hwb", &["hwb-ident", "hwb-lib"]),
    // What tests and tasks use. The testkit writes its archives itself: what it made must not share a bug with
    // what is tested.
    ("hwb-testkit", &[]),
    ("xtask", &["hwb-testkit"]),
];

/// External crates (a trailing `*` stands for the rest of a name), and the crates that may name them.
/// The uv crates that are words (names, versions, tags) belong to hwb-ident, everything that acts to hwb-uv.
const FENCED: &[(&str, &[&str])] = &[
    ("uv-build-frontend", &[]),
    ("uv-dispatch", &[]),
    ("uv-requirements", &[]),
    ("uv-settings", &[]),
    ("uv-distribution-filename", &["hwb-ident", "hwb-uv"]),
    ("uv-normalize", &["hwb-ident", "hwb-uv"]),
    ("uv-pep440", &["hwb-ident", "hwb-uv"]),
    ("uv-pep508", &["hwb-ident", "hwb-uv"]),
    ("uv-platform-tags", &["hwb-ident", "hwb-uv"]),
    ("uv-pypi-types", &["hwb-ident", "hwb-uv"]),
    ("uv-*", &["hwb-uv"]),
    ("reqwest", &["hwb-net"]),
    ("tokio", &["hwb-lib", "hwb-net", "hwb-uv"]),
    ("rustix", &["hwb-sandbox", "hwb-snapshot", "hwb-store"]),
    ("libc", &["hwb-sandbox"]),
    ("clap", &["hwb", "xtask"]),
    ("anyhow", &["xtask"]),
    ("anstream", &["hwb"]),
    ("anstyle", &["hwb"]),
];

/// The dependencies of each package of the workspace; those of its tests alone are not counted.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace");
    let crates = fs_err::read_dir(root.join("crates")).expect("the workspace has crates");
    let folders = crates.map(|entry| entry.expect("an entry is readable").path());
    let manifests = folders.chain([root.join("xtask")]).map(|folder| folder.join("Cargo.toml"));
    manifests.filter(|manifest| manifest.is_file()).map(|manifest| read_manifest(&manifest)).collect()
}

fn read_manifest(manifest: &Path) -> (String, BTreeSet<String>) {
    let text = fs_err::read_to_string(manifest).expect("a manifest is readable");
    let table: toml::Table = text.parse().expect("a manifest is TOML");
    let name = table["package"]["name"].as_str().expect("a package has a name").to_owned();
    let mut names = BTreeSet::new();
    collect_names(&table, &mut names);
    for target in table.get("target").and_then(toml::Value::as_table).into_iter().flat_map(|all| all.values())
    {
        collect_names(target.as_table().expect("a target is a table"), &mut names);
    }
    (name, names)
}

fn collect_names(table: &toml::Table, names: &mut BTreeSet<String>) {
    for kind in ["dependencies", "build-dependencies"] {
        if let Some(table) = table.get(kind).and_then(toml::Value::as_table) {
            names.extend(table.keys().cloned());
        }
    }
}

/// The crates that may name `external`; `None` where everybody may.
fn owners(external: &str) -> Option<&'static [&'static str]> {
    let fits = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => external.starts_with(start),
        None => external == pattern,
    };
    FENCED.iter().find(|(pattern, _)| fits(pattern)).map(|(_, owners)| *owners)
}

#[test]
fn every_crate_has_a_place() {
    let placed: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    let found = dependencies();
    let found: BTreeSet<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(placed, found, "ALLOWED names exactly the packages of the workspace");
}

#[test]
fn edges_between_crates_are_allowed() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    for (package, dependencies) in dependencies() {
        let allowed = allowed.get(package.as_str()).copied().unwrap_or_default();
        for dependency in dependencies.iter().filter(|name| name.starts_with("hwb")) {
            assert!(allowed.contains(&dependency.as_str()), "`{package}` must not depend on `{dependency}`");
        }
    }
}

#[test]
fn external_crates_stay_with_their_owners() {
    for (package, dependencies) in dependencies() {
        for dependency in &dependencies {
            let Some(owners) = owners(dependency) else { continue };
            assert!(
                owners.contains(&package.as_str()),
                "`{dependency}` belongs to {owners:?}, not to `{package}`"
            );
        }
    }
}

#[test]
fn a_pattern_fences_what_no_row_before_it_does() {
    assert_eq!(owners("uv-resolver"), Some(["hwb-uv"].as_slice()));
    assert_eq!(owners("uv-pep440"), Some(["hwb-ident", "hwb-uv"].as_slice()));
    assert_eq!(owners("uv-dispatch"), Some([].as_slice()));
    assert_eq!(owners("serde"), None);
}
