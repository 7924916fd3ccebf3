//! What the file system says of a file without opening it, by which a later look can tell that it is unchanged.

use std::time::Duration;

use rustix::fs::Stat;

/// What the file system says of a file: while it is the same, so is the content, unless it is too young to say
/// ([`Stamp::last_touched`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) mode: u32,
    pub(crate) bytes: u64,
    /// When the content was changed, or is said to have been.
    pub(crate) modified: Moment,
    /// When anything was changed; programs cannot set it.
    pub(crate) changed: Moment,
}

impl Stamp {
    /// The stamp of what `stat` is about.
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            mode: stat.st_mode,
            bytes: u64::try_from(stat.st_size).unwrap_or_default(),
            modified: Moment::new(stat.st_mtime.into(), stat.st_mtime_nsec.into()),
            changed: Moment::new(stat.st_ctime.into(), stat.st_ctime_nsec.into()),
        }
    }

    /// The younger of its times.
    pub(crate) fn last_touched(&self) -> Moment {
        self.modified.max(self.changed)
    }
}

/// A time of a file system: nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) i128);

impl Moment {
    fn new(seconds: i128, nanoseconds: i128) -> Self {
        Self(seconds * 1_000_000_000 + nanoseconds)
    }

    /// The time so much before.
    pub(crate) fn before(self, span: Duration) -> Self {
        Self(self.0 - i128::try_from(span.as_nanos()).unwrap_or_default())
    }
}
