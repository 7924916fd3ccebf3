//! Archives that nobody should unpack, and wheels that nobody should install.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::command::Outcome;
use crate::project::Project;
use crate::tree::{Artifact, Entry, Tree};
use crate::wheel::{Member, Wheel, central_header, zip};

/// How the artifact comes to hwb, and so which exit code is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// As a source that is refused, exit code 4.
    Source,
    /// As what a backend made: a wheel that fails its check, exit code 6.
    Wheel,
}

impl Offer {
    /// Whether `hwb build --quiet` ended as it must: the right exit code and one line of error with its causes, and
    /// nothing beside it.
    pub fn is_refusal(self, outcome: &Outcome) -> bool {
        let code = match self {
            Self::Source => 4,
            Self::Wheel => 6,
        };
        let is_terse =
            |line: &str| ["error: ", "  caused by: ", "hint: "].iter().any(|mark| line.starts_with(mark));
        let errors = outcome.stderr.lines().filter(|line| line.starts_with("error: ")).count();
        outcome.code == Some(code)
            && errors == 1
            && outcome.stderr.lines().all(is_terse)
            && outcome.stdout.is_empty()
    }
}

/// Something that must be refused with one line of error and no trace.
#[derive(Debug, Clone)]
pub struct Hostile {
    /// What is wrong with it.
    pub what: &'static str,
    /// The file.
    pub artifact: Artifact,
    /// How it is offered.
    pub offer: Offer,
}

impl Hostile {
    /// Puts it below `folder` in the way that it comes, and returns what `hwb build` is to be given.
    pub fn write_to(&self, folder: &Path) -> PathBuf {
        match self.offer {
            Offer::Source => self.artifact.write_to(folder),
            Offer::Wheel => {
                let project = folder.join("bad");
                handing_over(&self.artifact).write_to(&project);
                project
            }
        }
    }
}

/// All of them. `outside` is an absolute path at which nothing stands: some of the archives try to write there.
pub fn hostile(outside: &str) -> Vec<Hostile> {
    let offered = |offer: Offer, cases: Vec<(&'static str, Artifact)>| {
        cases.into_iter().map(move |(what, artifact)| Hostile { what, artifact, offer })
    };
    let sources = [tars(outside), broken_files(), zips(outside), zip_headers()].into_iter().flatten();
    offered(Offer::Source, sources.collect()).chain(offered(Offer::Wheel, wheels())).collect()
}

/// A tar of a good project and then one more entry.
fn tar_with(append: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Artifact {
    let mut archive = tar::Builder::new(Vec::new());
    let good = good_tree();
    for (path, entry) in good.entries() {
        let Entry::File(bytes) = entry else { continue };
        append_file(&mut archive, &format!("bad-1.0/{path}"), bytes);
    }
    append(&mut archive);
    gz(&archive.into_inner().expect("writing to memory succeeds"))
}

/// The project that all of them are made of; nothing is wrong with it, and it needs no index.
pub fn good_tree() -> Tree {
    let project = Project::new("bad", "1.0").backend_in_tree();
    let pkg_info = project.pkg_info();
    project.tree().file("PKG-INFO", pkg_info)
}

/// A project whose backend leaves `wheel` as what it made; it needs no index.
pub fn handing_over(wheel: &Artifact) -> Tree {
    let backend = "import os, shutil\n\
                   def build_wheel(directory, settings=None, metadata=None):\n    \
                       name = open('name.txt').read()\n    \
                       shutil.copy('wheel.bin', os.path.join(directory, name))\n    \
                       return name\n";
    let text = "[build-system]\nrequires = []\nbuild-backend = \"handing\"\nbackend-path = [\".\"]\n";
    let tree = Tree::new().file("pyproject.toml", text).file("handing.py", backend);
    tree.file("wheel.bin", &wheel.bytes).file("name.txt", &wheel.name)
}

fn gz(bytes: &[u8]) -> Artifact {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("writing to memory succeeds");
    Artifact::new("bad-1.0.tar.gz", encoder.finish().expect("writing to memory succeeds"))
}

fn append_file(archive: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8]) {
    append_entry(archive, tar::EntryType::Regular, (path, ""), bytes);
}

/// Appends an entry whose names are taken as they are: the tar crate itself would refuse some of them.
fn append_entry(
    archive: &mut tar::Builder<Vec<u8>>,
    kind: tar::EntryType,
    (path, target): (&str, &str),
    bytes: &[u8],
) {
    let mut header = tar::Header::new_ustar();
    let fields = header.as_ustar_mut().expect("the header is a ustar header");
    fields.name[..path.len()].copy_from_slice(path.as_bytes());
    fields.linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_mtime(crate::tree::TIME);
    header.set_size(u64::try_from(bytes.len()).expect("a length is a u64"));
    header.set_cksum();
    archive.append(&header, bytes).expect("writing to memory succeeds");
}

fn tars(outside: &str) -> Vec<(&'static str, Artifact)> {
    use tar::EntryType::{Block, Char, Fifo, Link, Symlink};
    let file = |path: &str| tar_with(|archive| append_file(archive, path, b"x"));
    let entry =
        |kind, path: &str, target: &str| tar_with(|archive| append_entry(archive, kind, (path, target), b""));
    let climbing = "../".repeat(20) + outside.trim_start_matches('/');
    vec![
        ("tar: traversal", file("../escaped.py")),
        ("tar: traversal below the top folder", file(&format!("bad-1.0/{climbing}"))),
        ("tar: absolute path", file(outside)),
        ("tar: symbolic link that climbs out", entry(Symlink, "bad-1.0/link", "../../../etc/passwd")),
        ("tar: symbolic link to an absolute path", entry(Symlink, "bad-1.0/link", "/etc/passwd")),
        (
            "tar: file below a symbolic link that leaves",
            tar_with(|archive| {
                append_entry(archive, Symlink, ("bad-1.0/door", "/tmp"), b"");
                append_file(archive, "bad-1.0/door/hwb-escaped", b"x");
            }),
        ),
        (
            "tar: file below a symbolic link that stays",
            tar_with(|archive| {
                append_entry(archive, Symlink, ("bad-1.0/door", "_backend"), b"");
                append_file(archive, "bad-1.0/door/tiny_backend.py", b"x");
            }),
        ),
        ("tar: hard link that climbs out", entry(Link, "bad-1.0/link", "../../../etc/passwd")),
        ("tar: hard link to an absolute path", entry(Link, "bad-1.0/link", "/etc/passwd")),
        ("tar: hard link to nothing", entry(Link, "bad-1.0/link", "bad-1.0/absent")),
        ("tar: character device", entry(Char, "bad-1.0/null", "")),
        ("tar: block device", entry(Block, "bad-1.0/disk", "")),
        ("tar: named pipe", entry(Fifo, "bad-1.0/pipe", "")),
        ("tar: the same file twice", file("bad-1.0/bad.py")),
        ("tar: a file below a file", file("bad-1.0/bad.py/below.py")),
        ("tar: a link where a file was", entry(Symlink, "bad-1.0/pyproject.toml", "PKG-INFO")),
        ("tar: path in a PAX header that climbs out", pax("path", "bad-1.0/../../escaped.py")),
        ("tar: zero byte in a PAX path", pax("path", "bad-1.0/a\0b.py")),
        ("tar: size in a PAX header that is no size", pax("size", "99999999999999999999")),
    ]
}

/// A file whose extended header says something about it.
fn pax(key: &str, value: &str) -> Artifact {
    let body = format!(" {key}={value}\n");
    // The length counts its own digits; two or three of them here.
    let length = (body.len() + 2..).find(|length| length.to_string().len() + body.len() == *length);
    let record = format!("{}{body}", length.expect("some length counts itself"));
    tar_with(|archive| {
        append_entry(archive, tar::EntryType::XHeader, ("PaxHeaders/x", ""), record.as_bytes());
        append_file(archive, "bad-1.0/x.py", b"x");
    })
}

fn broken_files() -> Vec<(&'static str, Artifact)> {
    let named = |bytes: Vec<u8>| Artifact::new("bad-1.0.tar.gz", bytes);
    let whole = good_tree().tar_gz("bad-1.0").bytes;
    let tar = good_tree().tar("bad-1.0");
    let mut checksum = tar.clone();
    checksum[150] ^= 1;
    let mut flipped = whole.clone();
    // In the checksum: what becomes of one elsewhere depends on what the bytes around it happen to be.
    let checksum_of_all = flipped.len() - 8;
    flipped[checksum_of_all] ^= 0x55;
    vec![
        ("gzip: ends half way", named(whole[..whole.len() / 2].to_vec())),
        ("gzip: a flipped bit", named(flipped)),
        ("tar: ends within a member", gz(&tar[..700])),
        ("tar: wrong checksum of a header", gz(&checksum)),
        ("an empty file", named(Vec::new())),
        ("a text file", named(b"<html>You need to log in.</html>\n".to_vec())),
        ("a gzip of something else", gz(b"hello")),
        ("a gzip bomb of one member", gzip_bomb(1, 10)),
        ("a gzip bomb of many members", gzip_bomb(10, 1)),
        ("no project in it", Tree::new().file("README", "nothing").tar_gz("bad-1.0")),
    ]
}

/// Members of zeros, each of so many gibibytes: gzip files may be glued together.
fn gzip_bomb(members: usize, gibibytes: usize) -> Artifact {
    let zeros = gz(&vec![0; 64 << 20]).bytes;
    let mut bytes = Vec::new();
    for number in 0..members {
        let mut header = tar::Header::new_gnu();
        header.set_path(format!("bad-1.0/zeros-{number}")).expect("the path fits");
        header.set_size(u64::try_from(gibibytes << 30).expect("a size is a u64"));
        header.set_mode(0o644);
        header.set_cksum();
        bytes.extend(gz(header.as_bytes()).bytes);
        bytes.extend(zeros.repeat(gibibytes * 16));
    }
    Artifact::new("bad-1.0.tar.gz", bytes)
}

fn good_members() -> Vec<Member> {
    let tree = good_tree();
    let files = tree.entries().filter_map(|(path, entry)| match entry {
        Entry::File(bytes) => Some(Member::deflated(&format!("bad-1.0/{path}"), bytes)),
        Entry::Program(_) | Entry::Link(_) => None,
    });
    files.collect()
}

/// A zip of a good project and then these members.
fn zip_with(members: impl IntoIterator<Item = Member>) -> Artifact {
    let mut all = good_members();
    all.extend(members);
    Artifact::new("bad-1.0.zip", zip(&all))
}

fn zips(outside: &str) -> Vec<(&'static str, Artifact)> {
    let file = |path: &str| zip_with([Member::stored(path, b"x")]);
    vec![
        ("zip: traversal", file("bad-1.0/../../escaped.py")),
        ("zip: absolute path", file(outside)),
        ("zip: backslashes that climb out", file("bad-1.0\\..\\..\\escaped.py")),
        ("zip: drive letter", file("C:/escaped.py")),
        ("zip: zero byte in a name", file("bad-1.0/a\0b.py")),
        ("zip: symbolic link that leaves", zip_with([Member::link("bad-1.0/link", "/etc/passwd")])),
        ("zip: the same file twice", file("bad-1.0/bad.py")),
        ("zip: a file below a file", file("bad-1.0/bad.py/below.py")),
        ("zip: bomb", zip_with((0..40).map(|number| zeros(&format!("bad-1.0/{number}"))))),
    ]
}

/// 256 MiB of zeros; forty of them are more than anybody unpacks. The bytes are written only once.
fn zeros(name: &str) -> Member {
    static ZEROS: std::sync::OnceLock<Member> = std::sync::OnceLock::new();
    let zeros = ZEROS.get_or_init(|| Member::deflated("zeros", &vec![0; 256 << 20]));
    Member { name: name.as_bytes().to_vec(), local_name: name.as_bytes().to_vec(), ..zeros.clone() }
}

/// Zip files whose headers lie.
fn zip_headers() -> Vec<(&'static str, Artifact)> {
    let good = Member::deflated("bad-1.0/extra.py", b"x = 1\n");
    let whole = zip(&good_members());
    let mut overlapping = zip(std::slice::from_ref(&good));
    // A second entry of the central directory that shares the bytes of the first.
    let end = overlapping.len() - 22;
    let second = central_header(&Member { name: b"bad-1.0/other.py".to_vec(), ..good.clone() }, 0);
    let size = u32::try_from(second.len()).expect("a header is small") + 46 + 16;
    overlapping.splice(end..end, second);
    let tail = overlapping.len() - 22;
    overlapping[tail + 8..tail + 12].copy_from_slice(&[2, 0, 2, 0]);
    overlapping[tail + 12..tail + 16].copy_from_slice(&size.to_le_bytes());
    let named = |bytes: Vec<u8>| Artifact::new("bad-1.0.zip", bytes);
    vec![
        ("zip: wrong checksum", zip_with([Member { crc32: 1, ..good.clone() }])),
        ("zip: claims another size", zip_with([Member { size: 1000, ..good.clone() }])),
        ("zip: encrypted", zip_with([Member { flags: 0x0801, ..good.clone() }])),
        ("zip: unknown compression", zip_with([Member { method: 77, ..good.clone() }])),
        (
            "zip: two names for one member",
            zip_with([Member { local_name: b"bad-1.0/other.py".to_vec(), ..good }]),
        ),
        ("zip: members that overlap", named(overlapping)),
        ("zip: ends half way", named(whole[..whole.len() / 2].to_vec())),
    ]
}

fn wheels() -> Vec<(&'static str, Artifact)> {
    let good = || Wheel::new("bad", "1.0").file("bad.py", "x = 1\n");
    let renamed = |name: &str| Artifact::new(name, good().build().bytes);
    vec![
        ("wheel: no RECORD", good().without("RECORD").build()),
        ("wheel: no METADATA", good().without("METADATA").build()),
        ("wheel: no WHEEL", good().without("WHEEL").build()),
        ("wheel: member that RECORD does not list", good().unlisted("extra.py", "").build()),
        ("wheel: RECORD is not CSV", good().record("\"bad.py,,\n").build()),
        ("wheel: RECORD has wrong digests", good().record(WRONG_RECORD).build()),
        ("wheel: METADATA is of another project", good().metadata(OTHER_METADATA).build()),
        ("wheel: METADATA is no metadata", good().metadata("nothing\n").build()),
        ("wheel: file name of another project", renamed("other-1.0-py3-none-any.whl")),
        ("wheel: file name of another version", renamed("bad-2.0-py3-none-any.whl")),
        ("wheel: file name with another tag", renamed("bad-1.0-cp311-cp311-linux_x86_64.whl")),
        ("wheel: file name that is none", renamed("bad.whl")),
        ("wheel: traversal", good().file("../escaped.py", "").build()),
        ("wheel: two metadata folders", good().file("other-1.0.dist-info/METADATA", OTHER_METADATA).build()),
        ("wheel: native code for any platform", good().file("native.so", elf()).build()),
        ("wheel: not a zip", Artifact::new("bad-1.0-py3-none-any.whl", "PK")),
    ]
}

const OTHER_METADATA: &str = "Metadata-Version: 2.1\nName: other\nVersion: 1.0\n";

const WRONG_RECORD: &str = "\
bad.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,6
bad-1.0.dist-info/METADATA,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,48
bad-1.0.dist-info/WHEEL,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,84
bad-1.0.dist-info/RECORD,,
";

/// The header of a 64-bit little-endian ELF file for x86-64, with nothing behind it.
pub fn elf() -> Vec<u8> {
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(64, 0);
    header[16] = 3;
    header[18] = 62;
    header[20] = 1;
    header
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Offer, hostile};

    #[test]
    fn there_are_enough_of_them_and_each_has_a_name_of_its_own() {
        let all = hostile("/nonexistent/hwb-escaped");
        let names: BTreeSet<&str> = all.iter().map(|hostile| hostile.what).collect();
        assert_eq!(names.len(), all.len());
        let sources = all.iter().filter(|hostile| hostile.offer == Offer::Source).count();
        assert!(sources >= 30 && all.len() - sources >= 12, "{sources} of {}", all.len());
    }
}
