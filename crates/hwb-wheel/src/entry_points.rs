//! `entry_points.txt`: what a distribution offers to others by name.

use std::collections::BTreeMap;

/// Groups of entry points, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryPoints {
    /// Group, name, entry point.
    pub groups: BTreeMap<String, BTreeMap<String, EntryPoint>>,
}

/// An object in a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryPoint {
    /// As it is written.
    pub value: String,
    /// Taken apart; `None` where a group other than the scripts uses values of its own.
    pub reference: Option<ObjectReference>,
}

/// `module:attribute`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectReference {
    /// Dotted.
    pub module: String,
    /// Dotted; `None` is the module itself.
    pub attribute: Option<String>,
}

/// What is wrong with an `entry_points.txt`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryPointsError {
    /// It is not text.
    #[error("entry_points.txt is not UTF-8")]
    Encoding,
    /// A line that is neither group nor entry point.
    #[error("line {0} of entry_points.txt is neither `[group]` nor `name = module:attribute`")]
    Line(usize),
    /// An entry point before the first group.
    #[error("line {0} of entry_points.txt is in no group")]
    NoGroup(usize),
    /// The same name again.
    #[error("entry_points.txt has `{name}` twice in `{group}`")]
    Repeated {
        /// The group.
        group: String,
        /// The name.
        name: String,
    },
    /// A script that calls nothing.
    #[error("the script `{name}` calls `{value}`, which is not `module:attribute`")]
    Script {
        /// The script.
        name: String,
        /// What it calls.
        value: String,
    },
    /// A script that would not land in the folder of scripts.
    #[error("the script `{0}` has a name that is no file name")]
    ScriptName(String),
}

impl EntryPoints {
    /// Reads an `entry_points.txt`, as `importlib.metadata` does.
    ///
    /// # Errors
    ///
    /// If a line means nothing, a name comes twice in a group, or a script has no usable name or target.
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryPointsError> {
        let text = std::str::from_utf8(bytes).map_err(|_| EntryPointsError::Encoding)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut entry_points = Self::default();
        let mut group = None;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = line.strip_prefix('[') {
                let name = name.strip_suffix(']').ok_or(EntryPointsError::Line(index + 1))?.trim();
                entry_points.groups.entry(name.to_owned()).or_default();
                group = Some(name);
                continue;
            }
            let (name, value) = line.split_once('=').ok_or(EntryPointsError::Line(index + 1))?;
            let group = group.ok_or(EntryPointsError::NoGroup(index + 1))?;
            let (name, value) = (name.trim(), value.trim());
            let entry = EntryPoint { value: value.to_owned(), reference: ObjectReference::parse(value) };
            if matches!(group, "console_scripts" | "gui_scripts") {
                check_script(name, &entry)?;
            }
            let names = entry_points.groups.entry(group.to_owned()).or_default();
            if names.insert(name.to_owned(), entry).is_some() {
                return Err(EntryPointsError::Repeated { group: group.to_owned(), name: name.to_owned() });
            }
        }
        Ok(entry_points)
    }
}

fn check_script(name: &str, entry: &EntryPoint) -> Result<(), EntryPointsError> {
    let is_file_name = !matches!(name, "" | "." | "..")
        && !name.contains(['/', '\\', '\0'])
        && !name.chars().any(char::is_control);
    if !is_file_name {
        return Err(EntryPointsError::ScriptName(name.escape_debug().to_string()));
    }
    match &entry.reference {
        Some(ObjectReference { attribute: Some(_), .. }) => Ok(()),
        _ => Err(EntryPointsError::Script { name: name.to_owned(), value: entry.value.clone() }),
    }
}

impl ObjectReference {
    /// `None` if it is none. Extras, `[…]` behind it, are passed over: nothing uses them any more.
    fn parse(value: &str) -> Option<Self> {
        let value = match value.split_once('[') {
            Some((value, extras)) => {
                extras.trim_end().strip_suffix(']')?;
                value.trim_end()
            }
            None => value,
        };
        let is_dotted = |text: &str| {
            text.split('.').all(|part| {
                !part.is_empty()
                    && !part.starts_with(|first: char| first.is_ascii_digit())
                    && part.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
            })
        };
        let (module, attribute) = match value.split_once(':') {
            Some((module, attribute)) => (module.trim(), Some(attribute.trim())),
            None => (value.trim(), None),
        };
        (is_dotted(module) && attribute.is_none_or(is_dotted))
            .then(|| Self { module: module.to_owned(), attribute: attribute.map(str::to_owned) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let found = match EntryPoints::parse(text.as_bytes()) {
            Ok(entry_points) => {
                let mut lines = Vec::new();
                for (group, names) in &entry_points.groups {
                    for (name, EntryPoint { value, reference }) in names {
                        let mark = if reference.is_some() { "" } else { " (other)" };
                        lines.push(format!("{group}/{name} = {value}{mark}"));
                    }
                }
                lines.join(", ")
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expect, "{text:?}");
    }

    #[test]
    fn reads_groups() {
        check("", "");
        check("# c\r\n[console_scripts]\r\na = m.n:f.g\r\n", "console_scripts/a = m.n:f.g");
        check(
            "[x]\n; c\nb=m\n\n[gui_scripts]\nG = m : f [extra]\n",
            "gui_scripts/G = m : f [extra], x/b = m",
        );
        check("[x]\na = any thing\n", "x/a = any thing (other)");
    }

    #[test]
    fn says_what_is_wrong() {
        check("a = b\n", "line 1 of entry_points.txt is in no group");
        check("[x]\nabc\n", "line 2 of entry_points.txt is neither `[group]` nor `name = module:attribute`");
        check("[x\n", "line 1 of entry_points.txt is neither `[group]` nor `name = module:attribute`");
        check("[x]\na=b\na=c\n", "entry_points.txt has `a` twice in `x`");
        check("[console_scripts]\na = m\n", "the script `a` calls `m`, which is not `module:attribute`");
        check(
            "[console_scripts]\na = m;x:f\n",
            "the script `a` calls `m;x:f`, which is not `module:attribute`",
        );
        check("[console_scripts]\n../a = m:f\n", "the script `../a` has a name that is no file name");
        check("[gui_scripts]\n = m:f\n", "the script `` has a name that is no file name");
        assert_eq!(EntryPoints::parse(b"\xff"), Err(EntryPointsError::Encoding));
    }
}
