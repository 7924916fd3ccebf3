use super::*;
use crate::member::Executable;
use crate::zip::{Archive, Packed, Raw, ReadAt, Writer};

/// A zip archive by hand, of which every field can be a lie.
#[derive(Default)]
struct Forge {
    bytes: Vec<u8>,
    central: Vec<u8>,
    entries: u16,
}

#[derive(Clone)]
struct Claim<'a> {
    name: &'a [u8],
    local_name: Option<&'a [u8]>,
    contents: &'a [u8],
    host: u8,
    flags: u16,
    method: u16,
    crc32: u32,
    size: u32,
    compressed_size: u32,
    local: Option<(u32, u32, u32)>,
    extra: &'a [u8],
    mode: u32,
    offset: Option<u32>,
    descriptor: Vec<u8>,
}

fn honest<'a>(name: &'a str, contents: &'a [u8]) -> Claim<'a> {
    let size = u32::try_from(contents.len()).unwrap();
    Claim {
        name: name.as_bytes(),
        local_name: None,
        contents,
        host: 3,
        flags: 0,
        method: 0,
        crc32: crc::of(contents),
        size,
        compressed_size: size,
        local: None,
        extra: b"",
        mode: 0o100_644,
        offset: None,
        descriptor: Vec::new(),
    }
}

impl Forge {
    fn add(mut self, claim: &Claim<'_>) -> Self {
        let local_name = claim.local_name.unwrap_or(claim.name);
        let start = u32::try_from(self.bytes.len()).unwrap();
        let (crc32, size, compressed_size) =
            claim.local.unwrap_or((claim.crc32, claim.size, claim.compressed_size));
        let put = |target: &mut Vec<u8>, numbers: &[(u64, usize)]| {
            for (number, width) in numbers {
                target.extend_from_slice(&number.to_le_bytes()[..*width]);
            }
        };
        let (flags, method) = (u64::from(claim.flags), u64::from(claim.method));
        let date = u64::from(40_u32 << 9 | 1 << 5 | 1);
        let bytes = &mut self.bytes;
        put(bytes, &[(wire::LOCAL.into(), 4), (20, 2), (flags, 2), (method, 2), (0, 2), (date, 2)]);
        put(bytes, &[(crc32.into(), 4), (compressed_size.into(), 4), (size.into(), 4)]);
        put(bytes, &[(local_name.len() as u64, 2), (0, 2)]);
        bytes.extend_from_slice(local_name);
        bytes.extend_from_slice(claim.contents);
        bytes.extend_from_slice(&claim.descriptor);
        let central = &mut self.central;
        put(central, &[(wire::CENTRAL.into(), 4), (20, 1), (claim.host.into(), 1), (20, 2), (flags, 2)]);
        put(central, &[(method, 2), (0, 2), (date, 2), (claim.crc32.into(), 4)]);
        put(central, &[(claim.compressed_size.into(), 4), (claim.size.into(), 4)]);
        put(central, &[(claim.name.len() as u64, 2), (claim.extra.len() as u64, 2), (0, 6)]);
        put(central, &[((claim.mode << 16).into(), 4), (claim.offset.unwrap_or(start).into(), 4)]);
        central.extend_from_slice(claim.name);
        central.extend_from_slice(claim.extra);
        self.entries += 1;
        self
    }

    fn end(self) -> Vec<u8> {
        let entries = self.entries;
        self.end_with(entries)
    }

    fn end_with(mut self, entries: u16) -> Vec<u8> {
        let offset = u32::try_from(self.bytes.len()).unwrap();
        let size = u32::try_from(self.central.len()).unwrap();
        self.bytes.extend_from_slice(&self.central);
        self.bytes.extend_from_slice(&wire::END.to_le_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&entries.to_le_bytes());
        self.bytes.extend_from_slice(&entries.to_le_bytes());
        self.bytes.extend_from_slice(&size.to_le_bytes());
        self.bytes.extend_from_slice(&offset.to_le_bytes());
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes
    }
}

/// What is not taken from memory.
#[derive(Debug)]
struct Elsewhere(Vec<u8>);

impl ReadAt for Elsewhere {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..));
        let taken = rest.and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(taken.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// What comes of an archive, wherever its bytes are.
fn outcome(bytes: &[u8]) -> String {
    let elsewhere = Elsewhere(bytes.to_vec());
    let [one, other] = [bytes.into(), Source::of(&elsewhere)].map(outcome_of);
    assert_eq!(one, other);
    one
}

fn outcome_of(source: Source<'_>) -> String {
    let limits = Limits { entries: 9, entry_bytes: 1 << 20, total_bytes: 3 << 19, ratio: 10 };
    let read = || {
        let archive = Archive::parse(source, &limits)?;
        let mut lines = Vec::new();
        for member in archive.members() {
            let contents = archive.read(member)?;
            let mut pieces = Vec::new();
            archive.pieces(member, |piece| pieces.extend_from_slice(piece))?;
            assert!(pieces == contents);
            lines.push(format!("{} {:?} {}", member.path, member.kind, contents.len()));
        }
        Ok::<_, ZipError>(lines.join(", "))
    };
    read().unwrap_or_else(|error| error.to_string())
}

fn check(claims: &[Claim<'_>], expect: &str) {
    let forge = claims.iter().fold(Forge::default(), Forge::add);
    assert_eq!(outcome(&forge.end()), expect);
}

#[test]
fn reads_what_writers_write() {
    check(&[], "");
    check(&[honest("a", b"abc"), honest("d/", b"")], "a File 3, d Directory 0");
    check(&[Claim { host: 0, mode: 0, name: b"a\\b.py", ..honest("", b"x") }], "a/b.py File 1");
    check(&[Claim { mode: 0o120_777, ..honest("l", b"target") }], "l Symlink 6");
    check(&[Claim { name: b"caf\x82", ..honest("", b"") }], "café File 0");
    check(&[Claim { flags: wire::FLAG_UTF8, ..honest("café", b"") }], "café File 0");
    let mut unicode = b"up\x0a\0\x01".to_vec();
    unicode.extend_from_slice(&crc::of(b"caf\xe9").to_le_bytes());
    unicode.extend_from_slice("café".as_bytes());
    check(&[Claim { name: b"caf\xe9", extra: &unicode, ..honest("", b"") }], "café File 0");
}

#[test]
fn takes_every_form_of_descriptor() {
    let sum = crc::of(b"abc");
    for (signed, width) in [(true, 4), (false, 4), (true, 8), (false, 8)] {
        let mut descriptor = Vec::new();
        if signed {
            descriptor.extend_from_slice(&wire::DESCRIPTOR.to_le_bytes());
        }
        descriptor.extend_from_slice(&sum.to_le_bytes());
        for _ in 0..2 {
            descriptor.extend_from_slice(&3_u64.to_le_bytes()[..width]);
        }
        let claim = Claim {
            flags: wire::FLAG_DESCRIPTOR,
            local: Some((0, 0, 0)),
            descriptor: descriptor.clone(),
            ..honest("a", b"abc")
        };
        check(&[claim.clone(), honest("b", b"")], "a File 3, b File 0");
        descriptor[5] ^= 1;
        check(
            &[Claim { descriptor, ..claim }],
            &format!("{} bytes at 34 of the zip archive belong to no member", claim_length(signed, width)),
        );
    }
}

fn claim_length(signed: bool, width: usize) -> usize {
    4 + 2 * width + if signed { 4 } else { 0 }
}

#[test]
fn refuses_names_that_lead_elsewhere() {
    check(&[honest("../a", b"")], "member `../a` leads out of the archive");
    check(&[honest("/a", b"")], "member `/a` has an absolute path");
    check(&[honest("C:/a", b"")], "member `C:/a` has an absolute path");
    check(&[honest("a\\b", b"")], "member \"a\\\\b\" has a character that no path may hold");
    check(&[Claim { host: 0, ..honest("..\\a", b"") }], "member `../a` leads out of the archive");
    check(&[honest("a\0.py", b"")], "member \"a\\0.py\" has a character that no path may hold");
    check(&[honest("", b"")], "a member has an empty path");
    check(&[honest("a", b""), honest("./a", b"")], "member `a` is there twice");
    check(&[honest("a", b""), honest("a/b", b"")], "member `a/b` lies below `a`, which is a file");
    check(
        &[Claim { mode: 0o120_777, ..honest("a", b"b") }, honest("a/b", b"")],
        "member `a/b` lies below `a`, which is a symbolic link",
    );
    check(
        &[Claim { flags: wire::FLAG_UTF8, name: b"\xff", ..honest("", b"") }],
        "member \"\u{fffd}\" has a name that is not UTF-8 though it is marked so",
    );
    let mut other = b"up\x06\0\x01".to_vec();
    other.extend_from_slice(&crc::of(b"a").to_le_bytes());
    other.push(b'b');
    check(
        &[Claim { extra: &other, ..honest("a", b"") }],
        "member `a` has extra fields that are malformed or give it another name",
    );
}

#[test]
fn refuses_headers_that_disagree() {
    let differ = |field: &str| format!("the two headers of member `a` differ in its {field}");
    check(&[Claim { local_name: Some(b"b"), ..honest("a", b"") }], &differ("name"));
    let sum = crc::of(b"abc");
    check(&[Claim { local: Some((sum, 4, 3)), ..honest("a", b"abc") }], &differ("size"));
    check(&[Claim { local: Some((sum, 3, 2)), ..honest("a", b"abc") }], &differ("packed size"));
    check(&[Claim { local: Some((0, 3, 3)), ..honest("a", b"abc") }], &differ("checksum"));
    check(&[Claim { size: 4, ..honest("a", b"abc") }], "member `a` is not 4 bytes long, as its header says");
    check(&[Claim { size: 2, ..honest("a", b"abc") }], "member `a` is not 2 bytes long, as its header says");
    check(
        &[Claim { crc32: 1, ..honest("a", b"abc") }],
        "member `a` has the checksum 352441c2 in place of 00000001",
    );
    check(&[Claim { method: 8, ..honest("a", b"abc") }], "member `a` does not unpack as deflate");
}

#[test]
fn refuses_what_overlaps_or_hides() {
    check(
        &[honest("a", b"abc"), Claim { offset: Some(0), local_name: Some(b"a"), ..honest("b", b"abc") }],
        "member `a` overlaps what follows it in the archive",
    );
    check(
        &[Claim { compressed_size: 900, size: 900, ..honest("a", b"abc") }],
        "member `a` overlaps what follows it in the archive",
    );
    check(
        &[Claim { descriptor: b"hidden".to_vec(), ..honest("a", b"abc") }],
        "6 bytes at 34 of the zip archive belong to no member",
    );
    check(
        &[Claim { offset: Some(9999), ..honest("a", b"abc") }],
        "member `a` has no local header where it should be",
    );
    check(
        &[Claim { offset: Some(1), ..honest("a", b"abc") }],
        "1 bytes at 0 of the zip archive belong to no member",
    );
    let whole = Forge::default().add(&honest("a", b"abc")).end();
    let no_end = "the zip archive has no end: it is cut off, or something follows it";
    let moved = "the central directory of the zip archive is not where its end record says";
    for length in 0..whole.len() {
        assert_eq!(outcome(&whole[..length]), no_end);
    }
    assert_eq!(outcome(&[&whole[..], b"x"].concat()), no_end);
    assert_eq!(outcome(&[b"x", &whole[..]].concat()), moved);
    assert_eq!(outcome(&[&whole[..], &whole[..]].concat()), moved);
    let claim = honest("a", b"abc");
    assert_eq!(
        outcome(&Forge::default().add(&claim).end_with(2)),
        "the central directory of the zip archive has no readable header 2 of 2"
    );
    assert_eq!(
        outcome(&Forge::default().add(&claim).end_with(0)),
        "the central directory of the zip archive has no readable header 1 of 0"
    );
}

#[test]
fn refuses_what_it_cannot_or_must_not_read() {
    check(&[Claim { flags: 1, ..honest("a", b"") }], "member `a` is encrypted");
    check(
        &[Claim { method: 14, ..honest("a", b"") }],
        "member `a` is packed with method 14, which is not supported",
    );
    check(&[Claim { mode: 0o020_644, ..honest("a", b"") }], "member `a` is a special file (mode 20644)");
    check(&[honest("a/", b"x")], "member `a` is a directory but has contents");
    check(
        &[Claim { extra: b"\x01\0\xff\xff", ..honest("a", b"") }],
        "member `a` has extra fields that are malformed or give it another name",
    );
}

#[test]
fn refuses_bombs() {
    let packed =
        |size: u32| Claim { method: 8, size, compressed_size: 2, crc32: 0, ..honest("a", b"\x03\0") };
    check(&[packed(1 << 21)], "member `a` unpacks to 2097152 bytes, and at most 1048576 are allowed");
    check(
        &[packed(1 << 20), Claim { name: b"b", ..packed(1 << 20) }],
        "the archive unpacks to more than 1572864 bytes",
    );
    check(&[packed(1 << 20)], "member `a` is not 1048576 bytes long, as its header says");
    let names: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    let many: Vec<_> = names.iter().map(|name| honest(name, b"")).collect();
    check(&many, "the archive has more than 9 members");
    let ratio = Limits { ratio: 1, ..Limits::default() };
    let claim = Claim { size: 65 << 20, ..packed(0) };
    let bytes = Forge::default().add(&claim).end();
    let error = Archive::parse(&bytes, &ratio).unwrap_err();
    assert_eq!(error.to_string(), "the archive unpacks to more than 67108864 bytes");
}

#[test]
fn believes_no_lie_of_zip64() {
    let long = |numbers: &[u64]| {
        let mut field = b"\x01\0".to_vec();
        field.extend_from_slice(&u16::try_from(numbers.len() * 8).unwrap().to_le_bytes());
        field.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        field
    };
    let lie = "the zip64 records of member `a` do not fit the archive";
    fn far(extra: &[u8]) -> Claim<'_> {
        Claim { offset: Some(u32::MAX), extra, ..honest("a", b"abc") }
    }
    check(&[far(&long(&[0]))], "a File 3");
    check(&[far(&long(&[0, 0]))], lie);
    check(&[far(&long(&[]))], lie);
    check(&[far(b"")], "member `a` has no local header where it should be");
    check(&[far(&long(&[u64::MAX]))], "member `a` has no local header where it should be");
    check(&[Claim { extra: &long(&[3]), ..honest("a", b"abc") }], lie);
    let huge = Claim { size: u32::MAX, ..honest("a", b"abc") };
    check(
        &[Claim { extra: &long(&[u64::MAX]), ..huge }],
        "member `a` unpacks to 18446744073709551615 bytes, and at most 1048576 are allowed",
    );
}

#[test]
fn checks_the_zip64_end() {
    let build = |record: u64, entries: u64| {
        let mut bytes = Forge::default().add(&honest("a", b"abc")).end();
        let end = bytes.split_off(bytes.len() - usize::try_from(wire::END_LENGTH).unwrap());
        let at = bytes.len() as u64;
        let offset = u64::from(u32::from_le_bytes(end[16..20].try_into().unwrap()));
        bytes.extend_from_slice(&wire::END64.to_le_bytes());
        bytes.extend_from_slice(&44_u64.to_le_bytes());
        bytes.extend_from_slice(&[45, 3, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for number in [entries, entries, at - offset, offset] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&wire::LOCATOR64.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&(at + record).to_le_bytes());
        bytes.extend_from_slice(&1_u32.to_le_bytes());
        bytes.extend_from_slice(&end);
        outcome(&bytes)
    };
    let lie = "the zip64 records of its end do not fit the archive";
    assert_eq!(build(0, 1), "a File 3");
    assert_eq!(build(1, 1), lie);
    assert_eq!(build(u64::MAX / 2, 1), lie);
    assert_eq!(build(0, 2), lie);
    assert_eq!(build(0, u64::MAX), lie);
}

#[test]
fn reads_what_our_writer_writes() {
    let time = Timestamp::from_seconds(1_700_000_001);
    let mut writer = Writer::new(Vec::new(), time);
    let path = |text: &str| text.parse::<ArchivePath>().unwrap();
    let zeros = vec![0; 100_000];
    writer.deflate(&path("zeros"), Executable::No, &zeros).unwrap();
    writer.deflate(&path("ü"), Executable::Yes, b"x").unwrap();
    writer.store(&path("s"), Executable::No, &zeros).unwrap();
    let packed = zstd::encode_all(&zeros[..], 1).unwrap();
    let crc32 = crc::of(&zeros);
    writer
        .raw(
            &path("z"),
            Executable::No,
            &Packed { method: Method::Zstd, crc32, size: 100_000, raw: Raw::Own(packed) },
        )
        .unwrap();
    let bytes = writer.finish().unwrap();
    let archive = Archive::parse(&bytes, &Limits::default()).unwrap();
    let [deflated, small, stored, zstd] = archive.members() else { panic!() };
    assert_eq!(
        (deflated.method, small.method, stored.method, zstd.method),
        (Method::Deflate, Method::Stored, Method::Stored, Method::Zstd)
    );
    assert_eq!((deflated.unix_mode, small.unix_mode), (Some(0o100_644), Some(0o100_755)));
    assert_eq!(deflated.modified, Some(Timestamp::from_seconds(1_700_000_000)));
    for member in [deflated, stored, zstd] {
        assert_eq!(archive.read(member).unwrap(), zeros);
    }
    let elsewhere = Elsewhere(bytes.clone());
    let archive = Archive::parse(Source::of(&elsewhere), &Limits::default()).unwrap();
    for member in archive.members() {
        let mut length = 0;
        archive.pieces(member, |piece| length += piece.len() as u64).unwrap();
        assert_eq!(length, member.size);
        assert_eq!(archive.raw(member).bytes().unwrap().len() as u64, member.compressed_size);
    }
}

#[test]
fn local_headers_may_be_longer_than_central_ones() {
    let mut bytes = Forge::default().add(&honest("a", b"contents")).bytes;
    let central_at = 30 + 1 + 8;
    assert_eq!(bytes.len(), central_at);
    // A field of the local header alone, as long as they get.
    let length = u16::MAX - 4;
    let field = [b"\xff\xff".as_slice(), &length.to_le_bytes(), &vec![0; usize::from(length)]].concat();
    bytes[28..30].copy_from_slice(&u16::MAX.to_le_bytes());
    bytes.splice(31..31, field);
    let central = Forge::default().add(&honest("a", b"contents")).central;
    assert_eq!(outcome(&Forge { bytes, central, entries: 1 }.end()), "a File 8");
}

#[test]
fn what_cannot_be_read_is_said() {
    #[derive(Debug)]
    struct Gone(u64);
    impl ReadAt for Gone {
        fn length(&self) -> u64 {
            self.0
        }
        fn read_exact_at(&self, _buffer: &mut [u8], _offset: u64) -> io::Result<()> {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
    assert_eq!(outcome_of(Source::of(&Gone(99))), "the zip archive cannot be read");
    assert_eq!(outcome_of(Source::of(&Gone(u64::MAX))), "the zip archive cannot be read");
}

#[test]
fn writes_times_that_a_zip_archive_can_hold() {
    for (time, expect) in [(0, 315_532_800), (951_827_697, 951_827_696), (1 << 40, 4_354_819_198)] {
        let mut writer = Writer::new(Vec::new(), Timestamp::from_seconds(time));
        writer.store(&"a".parse().unwrap(), Executable::No, b"").unwrap();
        let bytes = writer.finish().unwrap();
        let archive = Archive::parse(&bytes, &Limits::default()).unwrap();
        assert_eq!(archive.members()[0].modified, Some(Timestamp::from_seconds(expect)));
    }
}

#[test]
fn writes_zip64_where_it_must() {
    let mut writer = Writer::new(Vec::new(), Timestamp::ZIP_EPOCH);
    for number in 0..65_536 {
        writer.store(&format!("{number:x}").parse().unwrap(), Executable::No, b"").unwrap();
    }
    let bytes = writer.finish().unwrap();
    let archive = Archive::parse(&bytes, &Limits::default()).unwrap();
    assert_eq!(archive.members().len(), 65_536);
}
