//! pip's places, for what concerns indexes: `pip.conf` and `PIP_*`.

use std::path::{Path, PathBuf};

use super::key::{Assignment, Entry, Key};
use super::value::{Base, Raw};
use super::{Origin, SettingsError, read_optional};
use crate::ambient::Ambient;

/// pip's names of our keys, as its files spell them.
const NAMES: [(&str, Key); 9] = [
    ("index-url", Key::IndexUrl),
    ("extra-index-url", Key::ExtraIndexUrl),
    ("find-links", Key::FindLinks),
    ("no-index", Key::NoIndex),
    ("cert", Key::CaCertificates),
    ("trusted-host", Key::AllowInsecureHost),
    ("timeout", Key::HttpTimeout),
    ("build-constraint", Key::ConstraintFiles),
    ("keyring-provider", Key::KeyringProvider),
];

/// Reads `[global]` and then `[install]` of pip's files, weakest first.
pub(super) fn files(system: &Path, ambient: &Ambient) -> Result<Vec<Assignment>, SettingsError> {
    let mut found = Vec::new();
    for path in paths(system, ambient) {
        let Some(text) = read_optional(&path)? else { continue };
        let lines = parse(&text);
        for section in ["global", "install"] {
            for line in lines.iter().filter(|line| line.section == section) {
                let origin = Origin::File(path.clone());
                found.extend(assignment(ambient, origin, &line.key, &line.value)?);
            }
        }
    }
    Ok(found)
}

fn paths(system: &Path, ambient: &Ambient) -> Vec<PathBuf> {
    let named = ambient.var("PIP_CONFIG_FILE");
    // pip's documented way to say "no file at all".
    if named == Some("/dev/null") {
        return Vec::new();
    }
    let mut paths = vec![system.join("xdg/pip/pip.conf"), system.join("pip.conf")];
    paths.extend(ambient.home.as_ref().map(|home| home.join(".pip/pip.conf")));
    paths.extend(ambient.config_home().map(|directory| directory.join("pip/pip.conf")));
    paths.extend(named.map(|path| ambient.absolute(Path::new(path))));
    paths
}

/// Reads `PIP_*`, and the variables for certificates that pip listens to.
pub(super) fn variables(ambient: &Ambient) -> Result<Vec<Assignment>, SettingsError> {
    let mut found = Vec::new();
    if let Some(path) = ambient.var("REQUESTS_CA_BUNDLE") {
        let origin = Origin::Variable("REQUESTS_CA_BUNDLE".to_owned());
        found.extend(assignment(ambient, origin, "cert", path)?);
    }
    for (key, _) in NAMES {
        let name = format!("PIP_{}", key.replace('-', "_").to_ascii_uppercase());
        if let Some(text) = ambient.var(&name) {
            found.extend(assignment(ambient, Origin::Variable(name), key, text)?);
        }
    }
    Ok(found)
}

/// One line as ours; `None` if it does not concern us. pip sees relative paths from the working directory.
fn assignment(
    ambient: &Ambient,
    origin: Origin,
    name: &str,
    text: &str,
) -> Result<Option<Assignment>, SettingsError> {
    let Some((_, key)) = NAMES.into_iter().find(|(known, _)| *known == name) else { return Ok(None) };
    // pip's other two providers load a Python module, which is not to be had here.
    if key == Key::KeyringProvider && text.trim() != "subprocess" {
        return Ok(None);
    }
    let entry = match key.entry(Raw::Words(text), Base::cwd(ambient)) {
        Ok(Entry::IndexUrl(url)) if url.is_empty() => return Ok(None),
        Ok(entry) => entry,
        Err(source) => return Err(SettingsError::Value { key: name.to_owned(), origin, source }),
    };
    Ok(Some(Assignment { origin, entry }))
}

#[derive(Debug, PartialEq, Eq)]
struct Line {
    section: String,
    key: String,
    value: String,
}

/// Reads the ini dialect of Python's `configparser`: `key = value` or `key: value`, indented lines continue the
/// value, `#` and `;` begin a line that is a comment. Keys come out as pip compares them.
fn parse(text: &str) -> Vec<Line> {
    let mut section = String::new();
    let mut lines: Vec<Line> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        let continues = open && line.starts_with([' ', '\t']);
        if let Some(last) = lines.last_mut().filter(|_| continues) {
            last.value.push('\n');
            last.value.push_str(trimmed);
        } else if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.trim().clone_into(&mut section);
            open = false;
        } else if let Some((key, value)) = trimmed.split_once(['=', ':']) {
            let key = key.trim().trim_start_matches("--").replace('_', "-").to_ascii_lowercase();
            lines.push(Line { section: section.clone(), key, value: value.trim().to_owned() });
            open = true;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ini() {
        let text = "# pip\n[global]\nindex_url = https://a.example/simple\nextra-index-url =\n    https://b.example\n    https://c.example/?x=1\n; no\n[install]\nno-index: true\n";
        let lines =
            parse(text).into_iter().map(|line| (line.section, line.key, line.value)).collect::<Vec<_>>();
        let expect = [
            ("global", "index-url", "https://a.example/simple"),
            ("global", "extra-index-url", "\nhttps://b.example\nhttps://c.example/?x=1"),
            ("install", "no-index", "true"),
        ];
        let expect = expect.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(lines, expect);
    }
}
