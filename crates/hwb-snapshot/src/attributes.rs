//! Mode, owner, time and extended attributes, and how overlayfs marks what a layer hides.

use std::collections::BTreeMap;

use hwb_archive::tar::Time;
use rustix::fs::{Gid, Stat, Timespec, Timestamps, Uid};
use serde::{Deserialize, Serialize};

/// Who owns something: numbers, as the unpacking process sees them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

impl Owner {
    /// The owner 0:0.
    pub const ROOT: Self = Self { uid: 0, gid: 0 };

    /// The owner of these numbers. `None` for what is no id: the last number means "as it is" to the kernel.
    pub(crate) fn new(uid: u64, gid: u64) -> Option<Self> {
        let id = |number| u32::try_from(number).ok().filter(|&id| id != u32::MAX);
        Some(Self { uid: id(uid)?, gid: id(gid)? })
    }

    /// Reads `user:group` in decimal.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let (uid, gid) = std::str::from_utf8(text).ok()?.split_once(':')?;
        Self::new(uid.parse().ok()?, gid.parse().ok()?)
    }

    pub(crate) fn ids(self) -> (Option<Uid>, Option<Gid>) {
        (Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))
    }
}

/// What becomes of the owners that a layer names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owners {
    /// Files get them: the process is root, or root of a user namespace that maps every id the layer names.
    Kept,
    /// Every file belongs to the one id at hand; owners other than 0:0 stand in a [ledger](crate::ledger).
    Recorded,
}

/// Under which names overlayfs finds its own attributes: its mount option `userxattr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Marks {
    /// `trusted.overlay.*`, which only real root can set and see.
    Trusted,
    /// `user.overlay.*`, for mounts inside a user namespace.
    User,
}

/// How overlayfs calls its attributes after the prefix, once more for each layer of overlays that they pass through.
const ESCAPE: &[u8] = b"overlay.";

impl Marks {
    /// What the names of overlayfs' own attributes start with.
    pub(crate) const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.",
            Self::User => b"user.overlay.",
        }
    }

    /// The mark of a directory that hides what is below.
    pub(crate) const fn opaque(self) -> &'static std::ffi::CStr {
        match self {
            Self::Trusted => c"trusted.overlay.opaque",
            Self::User => c"user.overlay.opaque",
        }
    }

    /// The name under which overlayfs shows an attribute of this name; `None` of a mark, which it does not show.
    pub(crate) fn unescape(self, name: &[u8]) -> Option<Vec<u8>> {
        match name.strip_prefix(self.prefix()) {
            Some(rest) => Some([self.prefix(), rest.strip_prefix(ESCAPE)?].concat()),
            None => Some(name.to_vec()),
        }
    }

    /// The name that overlayfs shows as `name`: a layer cannot set a mark.
    pub(crate) fn escape(self, name: &[u8]) -> Vec<u8> {
        match name.strip_prefix(self.prefix()) {
            Some(rest) => [self.prefix(), ESCAPE, rest].concat(),
            None => name.to_vec(),
        }
    }
}

/// What becomes of an attribute that overlayfs shows, where a layer is made: overlayfs' own marks stay behind under
/// either name, and so does what the host's security modules wrote.
pub(crate) fn is_of_a_layer(name: &[u8]) -> bool {
    let marks = [Marks::Trusted, Marks::User].iter().any(|marks| name.starts_with(marks.prefix()));
    !marks && (!name.starts_with(b"security.") || name == b"security.capability")
}

/// Extended attributes, by name.
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a layer says of an entry besides its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// Permissions, with setuid, setgid and sticky bit.
    pub(crate) mode: u32,
    pub(crate) owner: Owner,
    pub(crate) mtime: Time,
    pub(crate) xattrs: Xattrs,
}

/// The bits of a mode that are permissions.
pub(crate) const PERMISSIONS: u32 = 0o7777;

/// The time of something that has none.
pub(crate) const EPOCH: Time = Time { seconds: 0, nanoseconds: 0 };

impl Attributes {
    /// Those of a directory that no layer describes.
    pub(crate) const fn directory(mtime: Time) -> Self {
        Self { mode: 0o755, owner: Owner::ROOT, mtime, xattrs: Xattrs::new() }
    }

    /// Both times of the file become the one that is known.
    pub(crate) fn times(&self) -> Timestamps {
        let time = Timespec { tv_sec: self.mtime.seconds, tv_nsec: self.mtime.nanoseconds.into() };
        Timestamps { last_access: time, last_modification: time }
    }
}

/// When something was last written to.
pub(crate) fn modified(stat: &Stat) -> Time {
    Time { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_owner_means_as_it_is() {
        assert_eq!(Owner::new(0, 42), Some(Owner { uid: 0, gid: 42 }));
        for (uid, gid) in [(u64::from(u32::MAX), 0), (0, u64::from(u32::MAX)), (1 << 32, 0)] {
            assert_eq!(Owner::new(uid, gid), None);
        }
    }

    #[test]
    fn marks_of_a_layer_are_shown_and_not_obeyed() {
        for (marks, name, expect) in [
            (Marks::Trusted, "trusted.overlay.opaque", "trusted.overlay.overlay.opaque"),
            (Marks::Trusted, "trusted.overlay.overlay.x", "trusted.overlay.overlay.overlay.x"),
            (Marks::Trusted, "user.overlay.opaque", "user.overlay.opaque"),
            (Marks::User, "user.overlay.redirect", "user.overlay.overlay.redirect"),
            (Marks::User, "user.comment", "user.comment"),
        ] {
            assert_eq!(marks.escape(name.as_bytes()), expect.as_bytes());
            assert_eq!(marks.unescape(expect.as_bytes()).as_deref(), Some(name.as_bytes()));
        }
        assert_eq!(Marks::User.unescape(b"user.overlay.origin"), None);
    }
}
