//! Compatibility tags (PEP 425), as sets.

use std::collections::BTreeSet;
use std::fmt;

/// More single tags than this stand for no real wheel.
const MOST: usize = 4096;

/// A set of single tags, `python-abi-platform` each; prints one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagSet(BTreeSet<String>);

/// A text that is no tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a compatibility tag, `python-abi-platform`")]
pub struct TagError(String);

impl TagSet {
    /// Takes in a tag, of which each part may be a set with dots between (PEP 425 "Compressed Tag Sets").
    ///
    /// # Errors
    ///
    /// If it has not three parts, a part is empty, or it stands for more tags than any wheel has.
    pub fn insert(&mut self, tag: &str) -> Result<(), TagError> {
        let fault = || TagError(tag.chars().take(200).collect());
        let mut parts = tag.split('-');
        let (Some(python), Some(abi), Some(platform), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(fault());
        };
        // Counted before they are made: repeated parts take time though they take no room.
        let count = [python, abi, platform].into_iter().map(|part| part.split('.').count());
        if count.fold(1, usize::saturating_mul) > MOST {
            return Err(fault());
        }
        for python in python.split('.') {
            for abi in abi.split('.') {
                for platform in platform.split('.') {
                    let parts = [python, abi, platform];
                    let is_tag = |part: &str| {
                        !part.is_empty()
                            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                    };
                    if self.0.len() >= MOST || !parts.into_iter().all(is_tag) {
                        return Err(fault());
                    }
                    self.0.insert(parts.join("-"));
                }
            }
        }
        Ok(())
    }

    /// Every single tag, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The same tags for other platforms.
    ///
    /// # Errors
    ///
    /// If one of these is no platform.
    pub fn on<'a>(&self, platforms: impl IntoIterator<Item = &'a str> + Clone) -> Result<Self, TagError> {
        let mut tags = Self::default();
        for tag in self.iter() {
            let rest = tag.rsplit_once('-').map_or(tag, |(rest, _)| rest);
            for platform in platforms.clone() {
                tags.insert(&format!("{rest}-{platform}"))?;
            }
        }
        Ok(tags)
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The platforms in it, sorted.
    pub fn platforms(&self) -> BTreeSet<&str> {
        self.iter().filter_map(|tag| tag.rsplit('-').next()).collect()
    }
}

impl fmt::Display for TagSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, tag) in self.0.iter().enumerate() {
            write!(f, "{}{tag}", if place == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_sets() {
        let mut tags = TagSet::default();
        tags.insert("py2.py3-none-any").unwrap();
        tags.insert("cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64").unwrap();
        assert_eq!(
            tags.to_string(),
            "cp311-cp311-manylinux2014_x86_64, cp311-cp311-manylinux_2_17_x86_64, py2-none-any, py3-none-any"
        );
        assert!(tags.platforms().contains("any"));
    }

    #[test]
    fn refuses_what_is_no_tag() {
        let repeated = "a.".repeat(200) + "a";
        let bomb = format!("{repeated}-{repeated}-{repeated}");
        assert!(TagSet::default().insert(&bomb).is_err());
        for tag in ["", "py3", "py3-none", "py3-none-any-more", "py3--any", "py3.-none-any", "py3-none-a b"] {
            assert!(TagSet::default().insert(tag).is_err(), "{tag}");
        }
        let distinct = (0..5000).map(|number| number.to_string()).collect::<Vec<_>>().join(".");
        assert!(TagSet::default().insert(&format!("{distinct}-none-any")).is_err());
    }
}
