//! Where grafted libraries come from, as CycloneDX (PEP 770).

use std::collections::BTreeMap;

use hwb_wheel::Metadata;
use serde_json::{Value, json};

use super::plan::Graft;

/// The file in the `sboms` folder of the `.dist-info` folder.
pub(super) const FILE: &str = "sboms/hwb.cdx.json";

/// A package of a system that a library was installed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Of which kind.
    pub kind: PackageKind,
    /// The distribution of the system, as its `os-release` calls it: `debian`.
    pub distribution: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What installs packages of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackageKind {
    /// dpkg.
    Deb,
    /// apk.
    Apk,
}

impl Package {
    /// Its package URL.
    pub fn purl(&self) -> String {
        let Self { kind, distribution, name, version } = self;
        let kind = match kind {
            PackageKind::Deb => "deb",
            PackageKind::Apk => "apk",
        };
        format!("pkg:{kind}/{}/{}@{}", encoded(distribution), encoded(name), encoded(version))
    }
}

/// As package URLs write what is not plain.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~');
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Describes the wheel and what was grafted into it.
pub(super) fn describe(
    metadata: &Metadata,
    grafts: &[Graft],
    packages: &BTreeMap<String, Package>,
) -> Vec<u8> {
    let name = metadata.name.to_string();
    let root = format!("pkg:pypi/{name}@{}", encoded(&metadata.version.to_string()));
    let components: Vec<Value> =
        grafts.iter().map(|graft| component(graft, packages.get(&graft.source))).collect();
    let references: Vec<Value> = components.iter().map(|component| component["bom-ref"].clone()).collect();
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library",
                "bom-ref": root,
                "name": name,
                "version": metadata.version.to_string(),
                "purl": root,
            },
            "tools": { "components": [{ "type": "application", "name": "hwb" }] },
        },
        "components": components,
        "dependencies": [{ "ref": root, "dependsOn": references }],
    });
    format!("{document:#}\n").into_bytes()
}

fn component(graft: &Graft, package: Option<&Package>) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": graft.path,
        "name": graft.source.rsplit('/').next().unwrap_or(&graft.source),
        // Of the library before it was changed to be found in the wheel.
        "hashes": [{ "alg": "SHA-256", "content": graft.digest.hex() }],
    });
    if let Some(package) = package {
        component["name"] = json!(package.name);
        component["version"] = json!(package.version);
        component["purl"] = json!(package.purl());
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_urls_are_encoded() {
        let check = |kind, name: &str, version: &str, expect: &str| {
            let (distribution, name, version) = ("debian".to_owned(), name.to_owned(), version.to_owned());
            assert_eq!(Package { kind, distribution, name, version }.purl(), expect);
        };
        check(PackageKind::Deb, "libz1", "1:1.2.13~a-1", "pkg:deb/debian/libz1@1%3A1.2.13~a-1");
        check(PackageKind::Deb, "libstdc++6", "12+x", "pkg:deb/debian/libstdc%2B%2B6@12%2Bx");
        check(PackageKind::Apk, "a/b", "é", "pkg:apk/debian/a%2Fb@%C3%A9");
    }
}
