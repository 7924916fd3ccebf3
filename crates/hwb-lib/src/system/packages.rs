//! Which packages of a system its libraries were installed by, from the databases that dpkg and apk keep.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hwb_repair::repair::{Package, PackageKind};

/// The packages of `files`, by the paths that the system has for them; those that no package has are left out.
pub(crate) fn owners(root: &Path, files: &[String]) -> BTreeMap<String, Package> {
    let distribution = distribution(root);
    let mut owners = dpkg(root, &distribution, files);
    owners.extend(apk(root, &distribution, files));
    owners
}

/// What `os-release` calls the system.
fn distribution(root: &Path) -> String {
    let texts = ["etc/os-release", "usr/lib/os-release"].map(|path| fs_err::read_to_string(root.join(path)));
    let text = texts.into_iter().find_map(Result::ok).unwrap_or_default();
    let id = text.lines().find_map(|line| line.strip_prefix("ID="));
    id.map_or_else(|| "linux".to_owned(), |id| id.trim_matches('"').to_owned())
}

/// The names that a database may have for a file: where `/lib` is a link to `/usr/lib`, packages may still say `/lib`.
fn names(file: &str) -> [&str; 2] {
    [file, file.strip_prefix("/usr").unwrap_or(file)]
}

fn dpkg(root: &Path, distribution: &str, files: &[String]) -> BTreeMap<String, Package> {
    let folder = root.join("var/lib/dpkg/info");
    let lists = fs_err::read_dir(&folder).into_iter().flatten().flatten();
    let wanted: BTreeMap<&str, &String> =
        files.iter().flat_map(|file| names(file).map(|name| (name, file))).collect();
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for list in lists.map(|entry| entry.path()) {
        let name = list.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(package) = name.strip_suffix(".list") else { continue };
        let text = fs_err::read_to_string(&list).unwrap_or_default();
        for file in text.lines().filter_map(|line| wanted.get(line)) {
            found.insert((*file).clone(), package.split(':').next().unwrap_or(package).to_owned());
        }
    }
    if found.is_empty() {
        return BTreeMap::new();
    }
    let status = fs_err::read_to_string(root.join("var/lib/dpkg/status")).unwrap_or_default();
    let field = |stanza: &str, key: &str| {
        stanza.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().to_owned())
    };
    let owners: BTreeSet<&String> = found.values().collect();
    let stanzas = status.split("\n\n").filter_map(|stanza| Some((stanza, field(stanza, "Package:")?)));
    let versions: BTreeMap<String, String> = stanzas
        .filter(|(_, name)| owners.contains(name))
        .filter_map(|(stanza, name)| Some((name, field(stanza, "Version:")?)))
        .collect();
    let package = |(file, name): (String, String)| {
        let version = versions.get(&name)?.clone();
        let distribution = distribution.to_owned();
        Some((file, Package { kind: PackageKind::Deb, distribution, name, version }))
    };
    found.into_iter().filter_map(package).collect()
}

fn apk(root: &Path, distribution: &str, files: &[String]) -> BTreeMap<String, Package> {
    let text = ["lib/apk/db/installed", "usr/lib/apk/db/installed"]
        .map(|path| fs_err::read_to_string(root.join(path)));
    let text = text.into_iter().find_map(Result::ok).unwrap_or_default();
    let mut owners = BTreeMap::new();
    for stanza in text.split("\n\n") {
        let (mut name, mut version, mut folder) = ("", "", "");
        for line in stanza.lines() {
            match line.split_once(':') {
                Some(("P", value)) => name = value,
                Some(("V", value)) => version = value,
                Some(("F", value)) => folder = value,
                Some(("R", file)) => {
                    let path = format!("/{folder}/{file}");
                    for owned in files.iter().filter(|file| names(file).contains(&path.as_str())) {
                        let package = Package {
                            kind: PackageKind::Apk,
                            distribution: distribution.to_owned(),
                            name: name.to_owned(),
                            version: version.to_owned(),
                        };
                        owners.insert(owned.clone(), package);
                    }
                }
                _ => {}
            }
        }
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_where_libraries_are_from() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        put("etc/os-release", "NAME=x\nID=\"debian\"\n");
        put("var/lib/dpkg/info/libz1:amd64.list", "/.\n/lib/x/libz.so.1.2\n");
        put("var/lib/dpkg/info/other.list", "/usr/lib/x/libother.so\n");
        put(
            "var/lib/dpkg/status",
            "Package: libz1\nStatus: install ok\nVersion: 1:1.2+b\n\nPackage: other\nVersion: 3\n",
        );
        put(
            "lib/apk/db/installed",
            "C:x\nP:musl\nV:1.2-r0\nF:lib\nR:ld.so\n\nP:y\nV:1\nF:usr/lib\nR:liby.so\n",
        );
        let files =
            ["/usr/lib/x/libz.so.1.2", "/usr/lib/x/libother.so", "/usr/lib/liby.so", "/usr/lib/none.so"];
        let owners = owners(root.path(), &files.map(str::to_owned));
        let purls: Vec<String> = owners.values().map(Package::purl).collect();
        assert_eq!(
            purls,
            ["pkg:apk/debian/y@1", "pkg:deb/debian/other@3", "pkg:deb/debian/libz1@1%3A1.2%2Bb"]
        );
    }
}
