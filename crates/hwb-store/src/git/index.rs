//! The index of a working tree: which paths are tracked (index-format(5)).

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::fs;

/// The tracked paths that are of interest, sorted.
#[derive(Debug, Default)]
pub(super) struct Tracked(Vec<Vec<u8>>);

impl Tracked {
    /// Reads the paths below some directory of interest. An index that is absent, or that cannot be understood,
    /// tracks nothing.
    pub(super) fn read(index: &Path, of_interest: &dyn Fn(&[u8]) -> bool) -> Self {
        let Ok(bytes) = fs::read(index) else { return Self::default() };
        // Which hash a repository uses stands in its configuration; with the wrong one the entries make no sense.
        [20, 32].into_iter().find_map(|hash| parse(&bytes, hash, of_interest)).map(Self).unwrap_or_default()
    }

    /// Whether anything below `directory` is tracked.
    pub(super) fn any_below(&self, directory: &Path) -> bool {
        let mut prefix = directory.as_os_str().as_bytes().to_vec();
        prefix.push(b'/');
        let first = self.0.partition_point(|path| path < &prefix);
        self.0.get(first).is_some_and(|path| path.starts_with(&prefix))
    }
}

/// Times, device, inode, mode, owner and size of an entry, before its object's name.
const STAT: usize = 40;
/// Set in an entry's flags when two more bytes of them follow.
const EXTENDED: u16 = 0x4000;
/// The part of the flags that holds the length of the path, or all ones if that is longer.
const LENGTH: u16 = 0x0fff;

/// Goes through the entries; `None` if they make no sense.
fn parse(bytes: &[u8], hash: usize, of_interest: &dyn Fn(&[u8]) -> bool) -> Option<Vec<Vec<u8>>> {
    let (signature, rest) = bytes.split_at_checked(4)?;
    let (version, rest) = number(rest)?;
    let (count, mut rest) = number(rest)?;
    if signature != b"DIRC" || !(2..=4).contains(&version) {
        return None;
    }
    let mut found = Vec::new();
    let mut path: Vec<u8> = Vec::new();
    for _ in 0..count {
        let entry = rest;
        let flags = entry.get(STAT + hash..STAT + hash + 2)?;
        let flags = u16::from_be_bytes([flags[0], flags[1]]);
        let fixed = STAT + hash + if flags & EXTENDED == 0 { 2 } else { 4 };
        let mut name = entry.get(fixed..)?;
        if version == 4 {
            let (dropped, after) = offset(name)?;
            path.truncate(path.len().checked_sub(dropped)?);
            name = after;
        } else {
            path.clear();
        }
        let length = name.iter().position(|&byte| byte == 0)?;
        path.extend_from_slice(&name[..length]);
        if usize::from(flags & LENGTH) != path.len().min(usize::from(LENGTH)) || path.is_empty() {
            return None;
        }
        // Entries of the older versions end in one to eight zeros, up to a multiple of eight bytes.
        rest = if version == 4 { &name[length + 1..] } else { entry.get((fixed + length + 8) & !7..)? };
        if path.split(|&byte| byte == b'/').rev().skip(1).any(of_interest) {
            found.push(path.clone());
        }
    }
    found.sort_unstable();
    Some(found)
}

/// A number of four bytes, the largest first.
fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*number), rest))
}

/// A number of as many bytes as it takes, as pack files write offsets.
fn offset(mut bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_usize;
    loop {
        let (&byte, rest) = bytes.split_first()?;
        bytes = rest;
        value = value.checked_mul(128)?.checked_add(usize::from(byte & 0x7f))?;
        if byte & 0x80 == 0 {
            return Some((value, bytes));
        }
        value = value.checked_add(1)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes an index as git would, with `hash` bytes of object name.
    fn index(version: u32, hash: usize, paths: &[&str]) -> Vec<u8> {
        let mut bytes = b"DIRC".to_vec();
        bytes.extend(version.to_be_bytes());
        bytes.extend(u32::try_from(paths.len()).unwrap().to_be_bytes());
        let mut before = "";
        for path in paths {
            let start = bytes.len();
            bytes.extend(vec![0xaa; STAT + hash]);
            let length = u8::try_from(path.len()).unwrap();
            bytes.extend(if version == 3 { vec![0x40, length, 0, 0] } else { vec![0, length] });
            if version == 4 {
                let common = before.bytes().zip(path.bytes()).take_while(|(a, b)| a == b).count();
                let dropped = before.len() - common;
                match u8::try_from(dropped).unwrap() {
                    few @ ..0x80 => bytes.push(few),
                    many => bytes.extend([0x80, many - 0x80]),
                }
                bytes.extend(path[common..].bytes());
                bytes.push(0);
            } else {
                bytes.extend(path.bytes());
                let length = bytes.len() - start;
                bytes.extend(vec![0; 8 - length % 8]);
            }
            before = path;
        }
        bytes.extend([0; 20]);
        bytes
    }

    #[test]
    fn reads_every_version() {
        let long = format!("src/{}/x", "n".repeat(150));
        let paths = ["build", "dist/a", &long, "src/build/a.py", "src/builder/x", "z/build/deep/file"];
        for version in 2..=4 {
            for hash in [20, 32] {
                let bytes = index(version, hash, &paths);
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("index");
                fs::write_atomic(&path, &bytes).unwrap();
                let tracked = Tracked::read(&path, &|name| name == b"build");
                assert_eq!(
                    tracked.0,
                    [b"src/build/a.py".to_vec(), b"z/build/deep/file".to_vec()],
                    "{version}"
                );
                for (directory, expect) in
                    [("build", false), ("src/build", true), ("z/build", true), ("z", true)]
                {
                    assert_eq!(tracked.any_below(Path::new(directory)), expect, "{directory}");
                }
                for end in 0..bytes.len() - 20 {
                    drop(parse(&bytes[..end], hash, &|_| true));
                }
            }
        }
    }

    #[test]
    fn what_is_no_index_tracks_nothing() {
        for bytes in [&b""[..], b"DIRC", b"DIRC\0\0\0\x09\0\0\0\0", b"DIRC\0\0\0\x02\0\0\0\x01short"] {
            assert_eq!(parse(bytes, 20, &|_| true), None, "{bytes:?}");
        }
    }
}
