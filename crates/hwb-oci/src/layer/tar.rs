//! What a layer changes, in one order.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use hwb_archive::tar::{Node, NodeKind, NodeWriter, WriteError};

/// What stands before the name of something that is no more.
pub const WHITEOUT: &[u8] = b".wh.";

/// The name in a directory that says: nothing of what is below shows here.
pub const OPAQUE: &[u8] = b".wh..wh..opq";

/// Writes the tar archive of a layer.
///
/// Nodes come as a walk meets them that sorts the names in each directory by their bytes: a directory, then what is in
/// it. What is no more comes where it would stand, and an opaque mark right behind its directory. Any other order is
/// refused, as it would be other bytes for the same change.
#[derive(Debug)]
pub struct LayerTar<W: Write> {
    out: NodeWriter<W>,
    last: Option<Vec<u8>>,
}

/// Why a node was not written.
#[derive(Debug, thiserror::Error)]
pub enum LayerTarError {
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Its name would mean that something is no more.
    #[error("`{0}` cannot be part of a layer: names that start with `.wh.` mean that a file was removed")]
    Reserved(String),
    /// It comes too late.
    #[error("`{path}` comes after `{last}`, which is not the order of a layer")]
    Order {
        /// The node.
        path: String,
        /// The one before it.
        last: String,
    },
}

impl<W: Write> LayerTar<W> {
    /// Starts a layer.
    pub const fn new(out: W) -> Self {
        Self { out: NodeWriter::new(out), last: None }
    }

    /// Writes what is new or changed; only a file has `contents`.
    ///
    /// # Errors
    ///
    /// If it cannot be written, comes too late, or has a name that means something else.
    pub fn node(&mut self, node: &Node, contents: &mut dyn Read) -> Result<(), LayerTarError> {
        if split(&node.path).1.starts_with(WHITEOUT) {
            return Err(LayerTarError::Reserved(node.display()));
        }
        self.follow(&node.path)?;
        Ok(self.out.node(node, contents)?)
    }

    /// Writes that `path` is no more.
    ///
    /// # Errors
    ///
    /// If it cannot be written or comes too late.
    pub fn whiteout(&mut self, path: &[u8], mtime: i64) -> Result<(), LayerTarError> {
        self.follow(path)?;
        let (directory, name) = split(path);
        let mark = Node { mode: 0o600, mtime, ..Node::file([directory, WHITEOUT, name].concat(), 0) };
        Ok(self.out.node(&mark, &mut io::empty())?)
    }

    /// Writes that nothing of what is below shows in `directory`, the node before.
    ///
    /// # Errors
    ///
    /// If it cannot be written or comes too late.
    pub fn opaque(&mut self, directory: &Node) -> Result<(), LayerTarError> {
        let inside = [directory.path.as_slice(), b"/"].concat();
        self.follow(&inside)?;
        let mark = Node {
            path: [&inside, OPAQUE].concat(),
            kind: NodeKind::File { size: 0 },
            mode: directory.mode & 0o777,
            xattrs: BTreeMap::new(),
            ..*directory
        };
        Ok(self.out.node(&mark, &mut io::empty())?)
    }

    /// Ends the layer.
    ///
    /// # Errors
    ///
    /// If the output fails.
    pub fn finish(self) -> Result<W, LayerTarError> {
        Ok(self.out.finish()?)
    }

    fn follow(&mut self, path: &[u8]) -> Result<(), LayerTarError> {
        let parts = |path| <[u8]>::split(path, |&byte| byte == b'/');
        if let Some(last) = self.last.as_deref()
            && !parts(last).lt(parts(path))
        {
            let text = |path| String::from_utf8_lossy(path).into_owned();
            return Err(LayerTarError::Order { path: text(path), last: text(last) });
        }
        self.last = Some(path.to_vec());
        Ok(())
    }
}

/// Divides a path behind its last slash.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    path.split_at(path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Step {
        Node(&'static str),
        Directory(&'static str),
        Gone(&'static str),
        Opaque(&'static str),
    }
    use Step::{Directory, Gone, Node as File, Opaque};

    fn write(steps: &[Step]) -> Result<Vec<u8>, String> {
        let directory = |path: &str| Node {
            kind: NodeKind::Directory,
            mode: 0o1777,
            uid: 5,
            mtime: 9,
            ..Node::file(path, 0)
        };
        let mut layer = LayerTar::new(Vec::new());
        for step in steps {
            match *step {
                File(path) => layer.node(&Node::file(path, 0), &mut io::empty()),
                Directory(path) => layer.node(&directory(path), &mut io::empty()),
                Gone(path) => layer.whiteout(path.as_bytes(), 7),
                Opaque(path) => layer.opaque(&directory(path)),
            }
            .map_err(|error| error.to_string())?;
        }
        layer.finish().map_err(|error| error.to_string())
    }

    #[test]
    fn says_what_changed() {
        let bytes = write(&[
            Directory("a"),
            Opaque("a"),
            File("a/!"),
            Gone("a/b"),
            File("a/c"),
            File("a-b"),
            Gone("a.c"),
            Gone("ab"),
        ]);
        let bytes = bytes.unwrap();
        let mut archive = ::tar::Archive::new(&bytes[..]);
        let found = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            format!(
                "{} {:o} {} @{}",
                String::from_utf8_lossy(&entry.path_bytes()),
                header.mode().unwrap(),
                header.uid().unwrap(),
                header.mtime().unwrap()
            )
        });
        assert_eq!(
            found.collect::<Vec<_>>(),
            [
                "a/ 1777 5 @9",
                "a/.wh..wh..opq 777 5 @9",
                "a/! 644 0 @0",
                "a/.wh.b 600 0 @7",
                "a/c 644 0 @0",
                "a-b 644 0 @0",
                ".wh.a.c 600 0 @7",
                ".wh.ab 600 0 @7",
            ]
        );
    }

    #[test]
    fn has_one_order_and_no_second_meaning() {
        for (steps, expect) in [
            (&[File("b"), File("a")][..], "`a` comes after `b`, which is not the order of a layer"),
            (&[File("a"), File("a")], "`a` comes after `a`, which is not the order of a layer"),
            (&[File("a"), Gone("a")], "`a` comes after `a`, which is not the order of a layer"),
            (&[File("a-b"), File("a/b")], "`a/b` comes after `a-b`, which is not the order of a layer"),
            (&[File("a/b"), Opaque("a")], "`a/` comes after `a/b`, which is not the order of a layer"),
            (
                &[File("a/.wh.b")],
                "`a/.wh.b` cannot be part of a layer: names that start with `.wh.` mean that a file was removed",
            ),
            (
                &[Directory(".wh..wh..opq")],
                "`.wh..wh..opq` cannot be part of a layer: names that start with `.wh.` mean that a file was removed",
            ),
        ] {
            assert_eq!(write(steps).unwrap_err(), expect);
        }
    }
}
