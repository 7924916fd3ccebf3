//! Files in memory.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::wheel::zip_members;

/// 2023-11-14 22:13:20 UTC, the time of everything that is synthesised.
pub const TIME: u64 = 1_700_000_000;

/// A file with a name: an sdist, a wheel, an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The file name.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

impl Artifact {
    /// Names some bytes.
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), bytes: bytes.into() }
    }

    /// Puts the file into `folder` and returns its path.
    pub fn write_to(&self, folder: &Path) -> std::path::PathBuf {
        let path = folder.join(&self.name);
        fs_err::write(&path, &self.bytes).expect("a file of a test can be written");
        path
    }

    /// The SHA-256 of the contents, in hexadecimal digits.
    pub fn sha256(&self) -> String {
        crate::sha256_hex(&self.bytes)
    }
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file that is read.
    File(Vec<u8>),
    /// A file that is run.
    Program(Vec<u8>),
    /// A symbolic link.
    Link(String),
}

/// Files by their paths, with `/` between the parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
}

impl Tree {
    /// A tree without files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file, or replaces what stands there.
    #[must_use]
    pub fn file(self, path: &str, contents: impl AsRef<[u8]>) -> Self {
        self.entry(path, Entry::File(contents.as_ref().to_vec()))
    }

    /// Adds whatever it may be.
    #[must_use]
    pub fn entry(mut self, path: &str, entry: Entry) -> Self {
        self.entries.insert(path.to_owned(), entry);
        self
    }

    /// Takes a file away.
    #[must_use]
    pub fn without(mut self, path: &str) -> Self {
        self.entries.remove(path);
        self
    }

    /// The entries, sorted by path.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// Writes everything below `folder`, which is made if it is not there.
    pub fn write_to(&self, folder: &Path) {
        fs_err::create_dir_all(folder).expect("a folder of a test can be made");
        for (path, entry) in &self.entries {
            let path = folder.join(path);
            fs_err::create_dir_all(path.parent().expect("a file lies in a folder"))
                .expect("a folder of a test can be made");
            match entry {
                Entry::File(bytes) => write(&path, bytes, 0o644),
                Entry::Program(bytes) => write(&path, bytes, 0o755),
                Entry::Link(target) => {
                    std::os::unix::fs::symlink(target, &path).expect("a link of a test can be made");
                }
            }
        }
    }

    /// The tree below one top folder as `<top>.tar.gz`.
    pub fn tar_gz(&self, top: &str) -> Artifact {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&self.tar(top)).expect("writing to memory succeeds");
        Artifact::new(format!("{top}.tar.gz"), encoder.finish().expect("writing to memory succeeds"))
    }

    /// The tree below one top folder as an uncompressed tar.
    pub fn tar(&self, top: &str) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            let mut header = tar::Header::new_ustar();
            header.set_mtime(TIME);
            let path = format!("{top}/{path}");
            match entry {
                Entry::File(bytes) | Entry::Program(bytes) => {
                    header.set_mode(if matches!(entry, Entry::Program(_)) { 0o755 } else { 0o644 });
                    header.set_size(u64::try_from(bytes.len()).expect("a length is a u64"));
                    archive.append_data(&mut header, path, bytes.as_slice())
                }
                Entry::Link(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_size(0);
                    header.set_mode(0o777);
                    archive.append_link(&mut header, path, target)
                }
            }
            .expect("an entry of a test fits a tar");
        }
        archive.into_inner().expect("writing to memory succeeds")
    }

    /// The files below one top folder as `<top>.zip`; links are left out.
    pub fn zip(&self, top: &str) -> Artifact {
        let members = self.entries.iter().filter_map(|(path, entry)| match entry {
            Entry::File(bytes) | Entry::Program(bytes) => Some((format!("{top}/{path}"), bytes.clone())),
            Entry::Link(_) => None,
        });
        Artifact::new(format!("{top}.zip"), zip_members(&members.collect::<Vec<_>>()))
    }
}

fn write(path: &Path, bytes: &[u8], mode: u32) {
    fs_err::write(path, bytes).expect("a file of a test can be written");
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .expect("a mode of a test can be set");
}

#[cfg(test)]
mod tests {
    use super::{Entry, Tree};

    #[test]
    fn a_tree_is_the_same_as_folder_and_as_tar() {
        let tree = Tree::new()
            .file("a/b.txt", "b")
            .entry("run", Entry::Program(b"#!/bin/sh".to_vec()))
            .entry("link", Entry::Link("a/b.txt".to_owned()));
        let folder = tempfile::tempdir().unwrap();
        tree.write_to(&folder.path().join("direct-1"));
        let unpacked = folder.path().join("unpacked");
        tar::Archive::new(tree.tar("top").as_slice()).unpack(&unpacked).unwrap();
        for root in [folder.path().join("direct-1"), unpacked.join("top")] {
            assert_eq!(fs_err::read_to_string(root.join("link")).unwrap(), "b");
            assert_eq!(fs_err::read_to_string(root.join("run")).unwrap(), "#!/bin/sh");
        }
        assert_eq!(tree.tar_gz("x-1").name, "x-1.tar.gz");
        assert_eq!(tree.tar_gz("x-1"), tree.tar_gz("x-1"));
    }
}
