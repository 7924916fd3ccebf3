//! Writes the seeds of the fuzz targets: `cargo run --example seeds` in this folder.

use std::fs;
use std::path::Path;

use hwb_archive::{Executable, Limits, LinkTarget, tar, zip};
use hwb_ident::{ArchivePath, Timestamp};

// The file itself, as nothing else of the crate is needed here.
#[path = "../../crates/hwb-testkit/src/elf.rs"]
mod forge;

const TIME: Timestamp = Timestamp::ZIP_EPOCH;
const METADATA: &str = "Metadata-Version: 2.4\nName: a\nVersion: 1.0\nSummary: s\nRequires-Python: >=3.9\n\
    Requires-Dist: b>=1; extra == 'x'\nProvides-Extra: x\nLicense-File: LICENSE\nDynamic: Version\n\n# A\n";
const WHEEL: &str = "Wheel-Version: 1.0\nGenerator: g\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
const ENTRY_POINTS: &str = "[console_scripts]\na = a.b:main [x]\n\n[a.plugins]\n# none\np = a\n";

fn path(text: &str) -> ArchivePath {
    text.parse().expect("a path")
}

fn put(target: &str, name: &str, bytes: impl AsRef<[u8]>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    fs::create_dir_all(&folder).expect("the folder can be made");
    fs::write(folder.join(name), bytes).expect("the seed can be written");
}

fn tar_gz() -> Vec<u8> {
    let mut writer = tar::Writer::new(Vec::new(), TIME);
    let long = format!("a-1.0/{}/é.py", "d".repeat(120));
    writer
        .file(&path("a-1.0/PKG-INFO"), Executable::No, METADATA.len() as u64, &mut METADATA.as_bytes())
        .expect("written");
    writer.directory(&path("a-1.0/empty")).expect("written");
    writer.file(&path("a-1.0/run"), Executable::Yes, 2, &mut &b"#!"[..]).expect("written");
    let link = path("a-1.0/s/link");
    writer.symlink(&link, &LinkTarget::new(&link, "../run").expect("inside")).expect("written");
    writer.file(&path(&long), Executable::No, 0, &mut &b""[..]).expect("written");
    writer.finish().expect("written")
}

/// A tar archive is its tar.gz, unpacked.
fn tar(tar_gz: &[u8]) -> Vec<u8> {
    let archive = zip_of_raw(tar_gz);
    let archive = zip::Archive::parse(&archive, &Limits::default()).expect("sound");
    archive.read(&archive.members()[0]).expect("sound")
}

/// The stream of a tar.gz lies between ten bytes of header and eight of checksum and size.
fn zip_of_raw(tar_gz: &[u8]) -> Vec<u8> {
    let (raw, trailer) = tar_gz[10..].split_at(tar_gz.len() - 18);
    let word = |at: usize| u32::from_le_bytes(trailer[at..at + 4].try_into().expect("four bytes"));
    let packed = zip::Packed { method: zip::Method::Deflate, crc32: word(0), size: u64::from(word(4)), raw };
    let mut writer = zip::Writer::new(Vec::new(), TIME);
    writer.raw(&path("a"), Executable::No, packed).expect("written");
    writer.finish().expect("written")
}

fn zip_of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = zip::Writer::new(Vec::new(), TIME);
    for (name, contents) in files {
        writer.deflate(&path(name), Executable::No, contents.as_bytes()).expect("written");
    }
    writer.finish().expect("written")
}

/// An ELF file with these sections and one of their names; words of eight bytes are little endian, of four big.
fn elf(word: usize, sections: &[(&str, &[u8])]) -> Vec<u8> {
    let number = |value: usize, width: usize| {
        let mut bytes = value.to_le_bytes()[..width].to_vec();
        if word == 4 {
            bytes.reverse();
        }
        bytes
    };
    let names: String = sections.iter().map(|(name, _)| format!("\0{name}")).collect();
    let names = names + "\0.shstrtab\0";
    let head = 40 + 3 * word;
    let (mut body, mut name, mut table) = (Vec::new(), 1, vec![0; 16 + 6 * word]);
    for (text, bytes) in sections.iter().copied().chain([(".shstrtab", names.as_bytes())]) {
        // Name and type, flags and address, where and how much, and three things that nobody asks for.
        let place = [number(head + body.len(), word), number(bytes.len(), word)];
        table.extend([number(name, 4), number(1, 4), vec![0; 2 * word]].concat());
        table.extend([place.concat(), vec![0; 8 + 2 * word]].concat());
        body.extend_from_slice(bytes);
        name += text.len() + 1;
    }
    let (class, order) = if word == 8 { (2, 1) } else { (1, 2) };
    let mut file = [&b"\x7fELF"[..], &[class, order, 1], &[0; 9]].concat();
    file.extend([number(3, 2), number(62, 2), number(1, 4), vec![0; 2 * word]].concat());
    file.extend([number(head + body.len(), word), number(0, 4), number(head, 2), vec![0; 4]].concat());
    file.extend(
        [number(16 + 6 * word, 2), number(sections.len() + 2, 2), number(sections.len() + 1, 2)].concat(),
    );
    [file, body, table].concat()
}

/// Something of everything that an audit looks at.
fn audited(forge: forge::Elf) -> Vec<u8> {
    let forge =
        forge.exports("PyInit_a").needs("libz.so.1").needs("libfar.so.2").imports_unversioned("zcalloc");
    let forge = forge.imports("memcpy", "GLIBC_2.14", "libc.so.6").imports("sin", "GLIBC_2.38", "libm.so.6");
    forge.soname("a.so").runpath("$ORIGIN:$ORIGIN/b").isa(7).executable_stack().text_relocations().build()
}

/// What an edit finds something to do in: the first byte says which edits.
fn edited(edits: u8, forge: forge::Elf) -> Vec<u8> {
    let forge = forge.exports("a").imports("memcpy", "GLIBC_2.14", "libc.so.6").needs("libz.so.1");
    let forge = forge.imports("sin", "GLIBC_2.2", "libm.so.6").soname("a.so").runpath("/build/place");
    [vec![edits], forge.build()].concat()
}

fn main() {
    let sdist = tar_gz();
    let plain = tar(&sdist);
    let small = zip_of(&[("a/b.py", "x"), ("é", &"zeros ".repeat(40))]);
    for target in ["unpack", "sdist"] {
        put(target, "tar.gz", &sdist);
        put(target, "tar", &plain);
        put(target, "zip", zip_of(&[("a-1.0/PKG-INFO", METADATA), ("a-1.0/setup.py", "")]));
    }
    put("zip", "small", &small);
    put("zip", "deflate", zip_of_raw(&sdist));
    put("zip", "empty", zip_of(&[]));
    put("metadata", "new", METADATA);
    put(
        "metadata",
        "old",
        b"Metadata-Version: 1.1\r\nName: A.b\r\nVersion: 1\r\nSummary: UNKNOWN\r\nDescription: caf\xe9\r\n        two\r\nPlatform: UNKNOWN\r\n",
    );
    put("wheel_file", "pure", WHEEL);
    put("wheel_file", "tags", format!("{WHEEL}Tag: py2.py3-none-any\nBuild: 1a\n"));
    let hash = "sha256=ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0";
    put("record", "plain", format!("a.py,{hash},3\n\"b,\"\"c\"\"\",{hash},\nx/RECORD,,\r\n"));
    put("entry_points", "scripts", ENTRY_POINTS);
    put("elf", "little", elf(8, &[(".text", b"code"), (".comment", b"GCC")]));
    put("elf", "big", elf(4, &[(".text", b"code"), (".text", b"more")]));
    put("elf", "empty", elf(8, &[]));
    for (name, forge) in [
        ("x86_64", forge::Elf::new()),
        ("i686", forge::Elf::i686()),
        ("armv7l", forge::Elf::armv7l()),
        ("s390x", forge::Elf::s390x()),
        ("ppc", forge::Elf::ppc()),
    ] {
        put("audit", name, audited(forge));
    }
    put(
        "audit",
        "program",
        forge::Elf::aarch64().interpreter("/lib/ld-musl-aarch64.so.1").rpath("$ORIGIN").build(),
    );
    put("edit", "x86_64", edited(0xff, forge::Elf::new().sections().isa(2)));
    put("edit", "i686", edited(0x1f, forge::Elf::i686().sections().interpreter("/lib/ld-linux.so.2")));
    put("edit", "s390x", edited(0x6e, forge::Elf::s390x().sections()));
    put("edit", "ppc", edited(0x3b, forge::Elf::ppc()));
    put("edit", "armv7l", edited(0x40, forge::Elf::armv7l().sections()));
    put("wheel", "forged", [METADATA, WHEEL, "", ENTRY_POINTS, "x = 1\n"].join("\0"));
    put("wheel", "record", [METADATA, WHEEL, "a/file,,\n", "", ""].join("\0"));
    put(
        "wheel",
        "archive",
        zip_of(&[
            ("a-1.0.dist-info/METADATA", METADATA),
            ("a-1.0.dist-info/WHEEL", WHEEL),
            ("a-1.0.dist-info/RECORD", "a-1.0.dist-info/RECORD,,\n"),
        ]),
    );
}
