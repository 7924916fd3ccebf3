//! hwb's own places: `hwb.toml`, `[tool.hwb]`, `HWB_*`.

use std::path::{Path, PathBuf};

use super::key::{ALL, Assignment, Key};
use super::value::{Base, Raw};
use super::{Origin, SettingsError, TomlError, project_directories, read_optional};
use crate::ambient::Ambient;

/// Reads the files of the system, the user and the project, weakest first.
pub(super) fn files(
    system: &Path,
    ambient: &Ambient,
    project: Option<&Path>,
) -> Result<Vec<Assignment>, SettingsError> {
    let user = ambient.config_home().map(|directory| directory.join("hwb/hwb.toml"));
    let mut found = Vec::new();
    for path in [Some(system.join("hwb/hwb.toml")), user].into_iter().flatten() {
        if let Some(text) = read_optional(&path)? {
            found.extend(table(ambient, &path, &parse(&path, &text)?)?);
        }
    }
    if let Some((path, settings)) = project.map(nearest).transpose()?.flatten() {
        found.extend(table(ambient, &path, &settings)?);
    }
    Ok(found)
}

/// The settings of the nearest directory that has some.
fn nearest(project: &Path) -> Result<Option<(PathBuf, toml::Table)>, SettingsError> {
    for directory in project_directories(project) {
        let hwb_toml = directory.join("hwb.toml");
        let pyproject = directory.join("pyproject.toml");
        let own = read_optional(&hwb_toml)?;
        let tool = tool_table(&pyproject, "hwb")?;
        match (own, tool) {
            (Some(_), Some(_)) => return Err(SettingsError::Both { hwb_toml, pyproject }),
            (Some(text), None) => {
                let settings = parse(&hwb_toml, &text)?;
                return Ok(Some((hwb_toml, settings)));
            }
            (None, Some(settings)) => return Ok(Some((pyproject, settings))),
            (None, None) => {}
        }
    }
    Ok(None)
}

/// `[tool.NAME]` of a `pyproject.toml`. A file that is not TOML says nothing here: the build says it better.
pub(super) fn tool_table(pyproject: &Path, name: &str) -> Result<Option<toml::Table>, SettingsError> {
    let Some(text) = read_optional(pyproject)? else { return Ok(None) };
    if !text.contains("tool") || !text.contains(name) {
        return Ok(None);
    }
    let settings = text.parse::<toml::Table>().ok();
    let table = settings.and_then(|mut settings| match settings.remove("tool") {
        Some(toml::Value::Table(mut tools)) => tools.remove(name),
        _ => None,
    });
    Ok(table.and_then(|value| match value {
        toml::Value::Table(table) => Some(table),
        _ => None,
    }))
}

/// Parses a settings file.
pub(super) fn parse(path: &Path, text: &str) -> Result<toml::Table, SettingsError> {
    text.parse::<toml::Table>()
        .map_err(|error| SettingsError::Toml { path: path.to_owned(), source: TomlError::new(text, &error) })
}

fn table(ambient: &Ambient, path: &Path, settings: &toml::Table) -> Result<Vec<Assignment>, SettingsError> {
    let mut found = Vec::new();
    for (name, value) in settings {
        match value {
            toml::Value::Table(inner) if is_table(name) => {
                for (inner_name, value) in inner {
                    found.push(assignment(ambient, path, &format!("{name}.{inner_name}"), value)?);
                }
            }
            _ => found.push(assignment(ambient, path, name, value)?),
        }
    }
    Ok(found)
}

fn is_table(name: &str) -> bool {
    ALL.iter().any(|key| key.name().split_once('.').is_some_and(|(table, _)| table == name))
}

fn assignment(
    ambient: &Ambient,
    path: &Path,
    name: &str,
    value: &toml::Value,
) -> Result<Assignment, SettingsError> {
    let origin = Origin::File(path.to_owned());
    let Some(key) = ALL.into_iter().find(|key| key.name() == name) else {
        return Err(SettingsError::UnknownKey {
            path: path.to_owned(),
            key: name.to_owned(),
            nearest: nearest_name(name),
        });
    };
    match key.entry(Raw::Toml(value), Base::beside(ambient, path)) {
        Ok(entry) => Ok(Assignment { origin, entry }),
        Err(source) => Err(SettingsError::Value { key: name.to_owned(), origin, source }),
    }
}

/// The known key with the fewest edits between it and `name`, if they are few.
fn nearest_name(name: &str) -> Option<String> {
    let wanted = name.replace('_', "-");
    let bare = |name: &'static str| name.rsplit_once('.').map_or(name, |(_, bare)| bare);
    let distance = |key: &Key| edits(&wanted, key.name()).min(edits(&wanted, bare(key.name())));
    let best = ALL.into_iter().min_by_key(distance)?;
    (distance(&best) <= 1 + wanted.len() / 4).then(|| best.name().to_owned())
}

/// How many letters to add, drop or change to come from one text to the other.
fn edits(left: &str, right: &str) -> usize {
    let right = right.chars().collect::<Vec<_>>();
    let mut row = (0..=right.len()).collect::<Vec<_>>();
    for (i, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in right.iter().enumerate() {
            let substitution = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// Reads `HWB_*`: the names of the keys in capitals, without their table.
pub(super) fn variables(ambient: &Ambient) -> Result<Vec<Assignment>, SettingsError> {
    let mut found = Vec::new();
    for key in ALL {
        let Some(name) = variable_name(key) else { continue };
        if let Some(text) = ambient.var(&name) {
            let origin = Origin::Variable(name.clone());
            match key.entry(Raw::Words(text), Base::cwd(ambient)) {
                Ok(entry) => found.push(Assignment { origin, entry }),
                Err(source) => {
                    return Err(SettingsError::Value { key: key.name().to_owned(), origin, source });
                }
            }
        }
    }
    Ok(found)
}

fn variable_name(key: Key) -> Option<String> {
    match key {
        // Tables and a list of texts with blanks are for files.
        Key::Env | Key::Constraints | Key::Mirrors | Key::RegistryCertificates => None,
        Key::InsecureRegistries => Some("HWB_INSECURE_REGISTRIES".to_owned()),
        // As pip and uv spell theirs.
        Key::ConstraintFiles => Some("HWB_BUILD_CONSTRAINT".to_owned()),
        key => {
            let bare = key.name().rsplit_once('.').map_or(key.name(), |(_, bare)| bare);
            Some(format!("HWB_{}", bare.replace('-', "_").to_ascii_uppercase()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_the_nearest_key() {
        let check =
            |name: &str, expect: Option<&str>| assert_eq!(nearest_name(name).as_deref(), expect, "{name}");
        check("index_url", Some("index-url"));
        check("offlin", Some("offline"));
        check("build.netwrok", Some("build.network"));
        check("network", Some("build.network"));
        check("extra-index-urls", Some("extra-index-url"));
        check("colour", None);
    }
}
