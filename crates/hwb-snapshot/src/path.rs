//! Where something is in a layer.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fmt;

use serde::{Deserialize, Serialize};

/// A path in a layer, from its root: bytes, `/` between its parts, no part empty, `.` or `..`, no NUL. The root is
/// the empty path.
///
/// Paths sort by their bytes: a directory comes before what is in it.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct LayerPath(Vec<u8>);

/// Why some bytes are no path in a layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseLayerPathError {
    /// It climbs.
    #[error("`{0}` has a part that is `..`")]
    Escapes(String),
    /// It is no escaped text.
    #[error("`{0}` has a backslash without three octal digits")]
    Escape(String),
    /// It has a byte that no path has.
    #[error("`{0}` has a NUL")]
    Nul(String),
}

impl LayerPath {
    /// The root of a layer.
    pub const ROOT: Self = Self(Vec::new());

    /// Reads the name of an entry. A leading `/` means the root of the layer, as with Docker.
    ///
    /// # Errors
    ///
    /// If it could lead out of the layer.
    pub fn parse(name: &[u8]) -> Result<Self, ParseLayerPathError> {
        if name.contains(&0) {
            return Err(ParseLayerPathError::Nul(name.escape_ascii().to_string()));
        }
        let mut path = Vec::with_capacity(name.len());
        for part in name.split(|&byte| byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err(ParseLayerPathError::Escapes(name.escape_ascii().to_string())),
                part => {
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(part);
                }
            }
        }
        Ok(Self(path))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is the root.
    pub const fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Its parts, outermost first; the root has none.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/').filter(|part| !part.is_empty())
    }

    /// The directory it is in, and its name there; `None` of the root.
    pub fn split(&self) -> Option<(Self, &[u8])> {
        if self.is_root() {
            return None;
        }
        Some(match self.0.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (Self(self.0[..slash].to_vec()), &self.0[slash + 1..]),
            None => (Self::ROOT, &self.0),
        })
    }

    /// The path of `name`, which is one part, in this directory.
    #[must_use]
    pub fn child(&self, name: &[u8]) -> Self {
        let mut path = Vec::with_capacity(self.0.len() + 1 + name.len());
        path.extend_from_slice(&self.0);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Self(path)
    }

    /// Whether it is somewhere below `directory`.
    pub fn is_below(&self, directory: &Self) -> bool {
        match self.0.strip_prefix(&*directory.0) {
            Some(rest) if directory.is_root() => !rest.is_empty(),
            Some(rest) => rest.starts_with(b"/"),
            None => false,
        }
    }

    /// Removes this path and all below it from what is told by path.
    pub(crate) fn forget_in<T>(&self, map: &mut BTreeMap<Self, T>) {
        map.remove(self);
        // The first bytes that a path below this one can have.
        let first = self.child(b"");
        while let Some((next, _)) = map.range(&first..).next()
            && next.is_below(self)
        {
            let next = next.clone();
            map.remove(&next);
        }
    }

    /// The root, then every directory on the way to this path, then the path.
    pub fn way(&self) -> impl Iterator<Item = Self> {
        let ends = self.0.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let ends = std::iter::once(0).chain(ends).chain((!self.is_root()).then_some(self.0.len()));
        ends.map(|end| Self(self.0[..end].to_vec()))
    }

    /// As text: a byte that is no printable ASCII, a space and a backslash are
    /// `\ooo`, in octal; the root is `.`.
    pub fn escaped(&self) -> String {
        escape(if self.is_root() { b"." } else { &self.0 })
    }

    /// Reads a path from text.
    pub(crate) fn from_escaped(text: &str) -> Option<Self> {
        Self::parse(&unescape(text)?).ok()
    }

    /// As the kernel takes it, relative to the root.
    pub(crate) fn to_c(&self) -> CString {
        name_to_c(if self.is_root() { b"." } else { &self.0 })
    }
}

/// Links that one way may go through, as in the kernel.
pub(crate) const MOST_LINKS: usize = 40;

/// The parts of any path, such as a link holds; some may be `..`.
pub(crate) fn steps(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b"."))
}

/// A part of a path as the kernel takes it.
pub(crate) fn name_to_c(name: &[u8]) -> CString {
    CString::new(name).unwrap_or_else(|_| CStr::to_owned(c""))
}

/// Bytes as printable ASCII without spaces.
pub(crate) fn escape(bytes: &[u8]) -> String {
    use fmt::Write as _;
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'!'..=b'~' if byte != b'\\' => text.push(char::from(byte)),
            _ => write!(text, "\\{byte:03o}").expect("writing to a string succeeds"),
        }
    }
    text
}

/// Takes escaped bytes back.
pub(crate) fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'\\' {
            let (digits, tail) = tail.split_at_checked(3)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()?);
            rest = tail;
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    Some(bytes)
}

impl From<LayerPath> for String {
    fn from(path: LayerPath) -> Self {
        path.escaped()
    }
}

impl TryFrom<String> for LayerPath {
    type Error = ParseLayerPathError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&unescape(&text).ok_or(ParseLayerPathError::Escape(text))?)
    }
}

/// For people: bytes that are not text are escaped.
impl fmt::Display for LayerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.0) {
            _ if self.is_root() => f.write_str("/"),
            Ok(text) if !text.chars().any(char::is_control) => f.write_str(text),
            _ => fmt::Display::fmt(&self.0.escape_ascii(), f),
        }
    }
}

impl fmt::Debug for LayerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> LayerPath {
        LayerPath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn leads_nowhere_else() {
        for (name, expect) in [
            ("a/b", "a/b"),
            ("./a//b/", "a/b"),
            ("/etc/passwd", "etc/passwd"),
            ("//a", "a"),
            ("", "/"),
            ("./", "/"),
            ("...", "..."),
            ("a\\b", "a\\b"),
        ] {
            assert_eq!(path(name).to_string(), expect);
        }
        for name in ["..", "../a", "a/../b", "a/..", "/.."] {
            let error = LayerPath::parse(name.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), format!("`{name}` has a part that is `..`"));
        }
        assert!(LayerPath::parse(b"a\0b").is_err());
        assert_eq!(LayerPath::parse(b"\xff\n").unwrap().to_string(), "\\xff\\n");
    }

    #[test]
    fn takes_itself_apart() {
        assert_eq!(path("a/b/c").split(), Some((path("a/b"), &b"c"[..])));
        assert_eq!(path("a").split(), Some((LayerPath::ROOT, &b"a"[..])));
        assert_eq!(LayerPath::ROOT.split(), None);
        assert_eq!(path("a/b").way().collect::<Vec<_>>(), [LayerPath::ROOT, path("a"), path("a/b")]);
        assert_eq!(LayerPath::ROOT.way().collect::<Vec<_>>(), [LayerPath::ROOT]);
        assert_eq!(LayerPath::ROOT.child(b"a").child(b"b"), path("a/b"));
        for (inner, outer, expect) in
            [("a/b", "a", true), ("a", "", true), ("a-b", "a", false), ("a", "a", false), ("", "", false)]
        {
            assert_eq!(path(inner).is_below(&path(outer)), expect, "{inner} {outer}");
        }
    }
}
