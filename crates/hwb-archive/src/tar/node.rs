//! What a tar archive can say of a thing in a file system.

use std::collections::BTreeMap;

use crate::tar::read::Device;

/// A thing in a file system with everything that a tar archive says of it, but for contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it is: relative, with single slashes between its parts and none at its end. Bytes, as the disk has them.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: NodeKind,
    /// Its twelve permission bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// When its contents changed, in whole seconds since 1970-01-01T00:00:00Z.
    pub mtime: i64,
    /// Its extended attributes, by their full names.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What a thing in a file system is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A file.
    File {
        /// How many bytes it has, holes filled.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// What it holds.
        target: Vec<u8>,
    },
    /// Another name of a file that came before.
    HardLink {
        /// The path of that, as [`Node::path`] has it.
        target: Vec<u8>,
    },
    /// A character device.
    Character(Device),
    /// A block device.
    Block(Device),
    /// A named pipe.
    Fifo,
}

impl Node {
    /// A file of root's with mode 0644 and time 0.
    pub fn file(path: impl Into<Vec<u8>>, size: u64) -> Self {
        Self {
            path: path.into(),
            kind: NodeKind::File { size },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 0,
            xattrs: BTreeMap::new(),
        }
    }

    /// Its path as a message shows it.
    pub fn display(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}

impl NodeKind {
    /// How many bytes of contents follow it.
    pub(crate) const fn size(&self) -> u64 {
        match self {
            Self::File { size } => *size,
            _ => 0,
        }
    }

    /// What a link leads to; empty for everything else.
    pub(crate) fn target(&self) -> &[u8] {
        match self {
            Self::Symlink { target } | Self::HardLink { target } => target,
            _ => &[],
        }
    }

    /// Its number, if it is a device.
    pub(crate) const fn device(&self) -> Option<Device> {
        match self {
            Self::Character(device) | Self::Block(device) => Some(*device),
            _ => None,
        }
    }

    /// The type that a header has for it.
    pub(crate) const fn letter(&self) -> u8 {
        match self {
            Self::File { .. } => b'0',
            Self::HardLink { .. } => b'1',
            Self::Symlink { .. } => b'2',
            Self::Character(_) => b'3',
            Self::Block(_) => b'4',
            Self::Directory => b'5',
            Self::Fifo => b'6',
        }
    }
}
