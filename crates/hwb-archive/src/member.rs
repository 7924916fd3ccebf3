//! What a member may be called, point at and be.

use std::fmt;

use hwb_ident::ArchivePath;

/// Whether a file may be run; the one thing that is kept of its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Executable {
    /// Mode 0644.
    No,
    /// Mode 0755.
    Yes,
}

impl Executable {
    /// Asks a Unix mode: what its owner may run is executable (as the "data" filter of PEP 721 has it).
    pub const fn of_mode(mode: u32) -> Self {
        if mode & 0o100 == 0 { Self::No } else { Self::Yes }
    }

    /// The permission bits that such a file has.
    pub const fn permissions(self) -> u32 {
        match self {
            Self::No => 0o644,
            Self::Yes => 0o755,
        }
    }
}

/// What a symbolic link holds: a relative path with `..` only at its front, proven to stay inside the archive.
///
/// As no member lies below a link, the directory that holds the link is a real one, so its leading `..` lead where
/// they seem to; what follows them can pass only through links that were proven in the same way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkTarget(String);

/// Why a link is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It points nowhere.
    #[error("link `{0}` has no target")]
    Empty(ArchivePath),
    /// It points at a root.
    #[error("link `{link}` points to the absolute path `{target}`")]
    Absolute {
        /// The link.
        link: ArchivePath,
        /// What it holds.
        target: String,
    },
    /// It climbs out.
    #[error("link `{link}` points out of the archive, to `{target}`")]
    Escapes {
        /// The link.
        link: ArchivePath,
        /// What it holds.
        target: String,
    },
    /// It has a character that no path has.
    #[error("link `{link}` has a target that is no path: {target:?}")]
    Character {
        /// The link.
        link: ArchivePath,
        /// What it holds.
        target: String,
    },
}

impl LinkTarget {
    /// Proves that `target`, held by the link at `link`, stays inside the archive, and brings it to normal form.
    ///
    /// # Errors
    ///
    /// If it is empty, absolute, leads out, or is no path.
    pub fn new(link: &ArchivePath, target: &str) -> Result<Self, LinkError> {
        let fault = || (link.clone(), target.to_owned());
        if target.is_empty() {
            return Err(LinkError::Empty(link.clone()));
        }
        if target.contains(['\0', '\\', '\n', '\r']) {
            let (link, target) = fault();
            return Err(LinkError::Character { link, target });
        }
        let is_drive = |part: &str| part.len() == 2 && part.ends_with(':');
        let (mut up, mut down) = (0, Vec::new());
        for part in target.split('/') {
            match part {
                "" | "." => {}
                ".." if down.pop().is_none() => up += 1,
                ".." => {}
                part => down.push(part),
            }
        }
        // A drive is one wherever dots before it go.
        if target.starts_with('/') || up == 0 && down.first().copied().is_some_and(is_drive) {
            let (link, target) = fault();
            return Err(LinkError::Absolute { link, target });
        }
        if up >= link.parts().count() {
            let (link, target) = fault();
            return Err(LinkError::Escapes { link, target });
        }
        let parts: Vec<_> = std::iter::repeat_n("..", up).chain(down).collect();
        Ok(Self(if parts.is_empty() { ".".to_owned() } else { parts.join("/") }))
    }

    /// The target as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LinkTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Decodes a name of a tar archive: UTF-8, else Latin-1, which every byte is.
pub(crate) fn decode_latin1(name: &[u8]) -> String {
    std::str::from_utf8(name)
        .map_or_else(|_| name.iter().copied().map(char::from).collect(), std::borrow::ToOwned::to_owned)
}

/// The upper half of code page 437, the encoding of zip names that are not flagged as UTF-8 (APPNOTE appendix D).
const CP437: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

/// Decodes an unflagged name of a zip archive: UTF-8 where it is that (most writers mean it), else code page 437.
pub(crate) fn decode_cp437(name: &[u8]) -> String {
    let high = |byte: u8| CP437.chars().nth(usize::from(byte & 0x7f)).unwrap_or(char::REPLACEMENT_CHARACTER);
    std::str::from_utf8(name).map_or_else(
        |_| name.iter().map(|&byte| if byte.is_ascii() { char::from(byte) } else { high(byte) }).collect(),
        std::borrow::ToOwned::to_owned,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(link: &str, target: &str, expect: &str) {
        let found = match LinkTarget::new(&link.parse().unwrap(), target) {
            Ok(target) => target.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expect, "{link} -> {target}");
    }

    #[test]
    fn keeps_links_inside() {
        check("a/b", "c", "c");
        check("a/b", "../c/./d//e/", "../c/d/e");
        check("a/b", "x/../../c", "../c");
        check("a/b", ".", ".");
        check("a/b", "..", "..");
        check("a/b", "", "link `a/b` has no target");
        check("a/b", "/etc/passwd", "link `a/b` points to the absolute path `/etc/passwd`");
        check("a/b", "C:/x", "link `a/b` points to the absolute path `C:/x`");
        check("a/b", "./x/../C:", "link `a/b` points to the absolute path `./x/../C:`");
        check("a/b", "../../c", "link `a/b` points out of the archive, to `../../c`");
        check("b", "..", "link `b` points out of the archive, to `..`");
        check("b", "x/../../b", "link `b` points out of the archive, to `x/../../b`");
        check("b", "a\\b", "link `b` has a target that is no path: \"a\\\\b\"");
    }

    #[test]
    fn decodes_every_name() {
        assert_eq!(CP437.chars().count(), 128);
        assert_eq!(decode_cp437(b"caf\x82.txt"), "café.txt");
        assert_eq!(decode_cp437("café".as_bytes()), "café");
        assert_eq!(decode_latin1(b"caf\xe9.txt"), "café.txt");
        assert_eq!(decode_latin1("café".as_bytes()), "café");
    }
}
