//! The files of a tar archive by their names.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Take};

use hwb_ident::ArchivePath;

use crate::tar::read::{EntryKind, Reader, TarError};

/// How many links are followed from one file to the next.
const MAX_LINKS: usize = 8;

/// The files of an archive that can be gone back in.
///
/// It is read once to the end. A name that leads out of the archive cannot be asked for; of two members with one name
/// the later counts, as it does where an archive is unpacked.
#[derive(Debug)]
pub struct Members<R> {
    input: R,
    places: BTreeMap<ArchivePath, Place>,
}

#[derive(Debug)]
enum Place {
    File { start: u64, size: u64 },
    Link(ArchivePath),
}

impl<R: Read + Seek> Members<R> {
    /// Notes where everything is.
    ///
    /// # Errors
    ///
    /// If it is no archive, or cannot be read.
    pub fn scan(mut input: R) -> Result<Self, TarError> {
        let seek = |position, source| TarError::Read { position, source };
        let origin = input.stream_position().map_err(|error| seek(0, error))?;
        let mut places = BTreeMap::new();
        let mut reader = Reader::new(io::BufReader::with_capacity(1 << 16, &mut input));
        while let Some(entry) = reader.next_entry()? {
            let path = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse::<ArchivePath>().ok();
            let Some(name) = path(&entry.name) else { continue };
            let place = match entry.kind {
                EntryKind::File => Some(Place::File { start: origin + reader.position(), size: entry.size }),
                EntryKind::HardLink => path(&entry.link).map(Place::Link),
                EntryKind::Symlink => {
                    let target = std::str::from_utf8(&entry.link).ok();
                    target.and_then(|target| beside(&name, target)).map(Place::Link)
                }
                _ => None,
            };
            match place {
                Some(place) => places.insert(name, place),
                None => places.remove(&name),
            };
        }
        Ok(Self { input, places })
    }

    /// The contents of a file, through links; `None` if there is no such file.
    ///
    /// # Errors
    ///
    /// If the archive cannot be gone back in.
    pub fn open(&mut self, path: &ArchivePath) -> io::Result<Option<Take<&mut R>>> {
        let mut path = path;
        for _ in 0..=MAX_LINKS {
            match self.places.get(path) {
                Some(Place::Link(target)) => path = target,
                Some(&Place::File { start, size }) => {
                    self.input.seek(SeekFrom::Start(start))?;
                    return Ok(Some(self.input.by_ref().take(size)));
                }
                None => break,
            }
        }
        Ok(None)
    }
}

/// Where a link leads that stands at `link`; `None` if that is outside.
fn beside(link: &ArchivePath, target: &str) -> Option<ArchivePath> {
    let mut parts: Vec<&str> = link.parts().collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    parts.join("/").parse().ok().filter(|_| !target.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::tar::{Node, NodeKind, NodeWriter};

    #[test]
    fn finds_files_by_name_and_through_links() {
        let link = |path: &str, target: &str| Node {
            kind: NodeKind::Symlink { target: target.as_bytes().to_vec() },
            ..Node::file(path, 0)
        };
        let hard = Node { kind: NodeKind::HardLink { target: b"a/b".to_vec() }, ..Node::file("hard", 0) };
        let mut writer = NodeWriter::new(Vec::new());
        let mut file = |node: Node, contents: &[u8]| writer.node(&node, &mut &contents[..]).unwrap();
        file(Node::file("a/b", 3), b"old");
        file(Node::file("a/b", 700), &[b'n'; 700]);
        file(Node::file("../out", 3), b"out");
        file(link("c/d", "../a/b"), b"");
        file(link("c/e", "./d"), b"");
        file(link("loop", "loop"), b"");
        file(link("up", "../../a/b"), b"");
        file(link("root", "/a/b"), b"");
        file(hard, b"");
        file(Node::file("gone", 1), b"x");
        file(Node { kind: NodeKind::Fifo, ..Node::file("gone", 0) }, b"");
        file(Node::file("last", 4), b"last");
        // An archive may start anywhere in a file.
        let mut input = Cursor::new([b"before".as_slice(), &writer.finish().unwrap()].concat());
        input.set_position(6);
        let mut members = Members::scan(input).unwrap();
        let mut read = |path: &str| {
            let mut text = String::new();
            members.open(&path.parse().unwrap()).unwrap()?.read_to_string(&mut text).unwrap();
            Some(text)
        };
        let new = Some("n".repeat(700));
        for (path, expect) in [
            ("a/b", new.clone()),
            ("c/d", new.clone()),
            ("c/e", new.clone()),
            ("hard", new),
            ("last", Some("last".to_owned())),
            ("loop", None),
            ("up", None),
            ("root", None),
            ("gone", None),
            ("a", None),
            ("out", None),
        ] {
            assert_eq!(read(path), expect, "{path}");
        }
    }
}
