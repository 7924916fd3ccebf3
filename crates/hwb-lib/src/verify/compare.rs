//! Two wheels, and in what they differ.

use std::collections::BTreeMap;
use std::fmt;

use hwb_archive::Limits;
use hwb_archive::zip::{Archive, Member, MemberKind, ZipError};
use hwb_ident::ArchivePath;
use hwb_repair::elf::sections;
use schemars::JsonSchema;
use serde::Serialize;

/// One difference between two wheels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Difference {
    /// The member; absent if it is the archive around them all.
    pub path: Option<String>,
    /// What is different.
    pub what: What,
    /// What makes such a difference, where that can be told.
    pub cause: Option<Cause>,
}

/// What is different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// The wheels have different file names.
    FileName {
        /// Of the wheel that was given.
        given: String,
        /// Of the wheel that was built.
        built: String,
    },
    /// Only the wheel that was given has the member.
    OnlyGiven,
    /// Only the wheel that was built has it.
    OnlyBuilt,
    /// Its contents.
    Contents {
        /// The first line that differs, of a text: as given and as built.
        line: Option<Lines>,
    },
    /// The contents of these sections of an ELF file.
    Sections {
        /// Their names, sorted.
        names: Vec<String>,
    },
    /// Its mode.
    Mode,
    /// Its time.
    Time,
    /// How it is packed, or how well; its contents are the same.
    Compression,
    /// The members are in another order.
    Order,
    /// Something around the members, such as extra fields or a comment.
    Envelope,
}

/// A line in two forms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Lines {
    /// In the wheel that was given.
    pub given: String,
    /// In the wheel that was built.
    pub built: String,
}

/// What makes a difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// The path of a build is in it.
    BuildPath {
        /// Which.
        path: String,
    },
    /// The linker's build id, which follows from all the rest.
    BuildId,
    /// A time is in it.
    Time {
        /// As it is written; absent where it is a number.
        text: Option<String>,
    },
    /// The same things are in another order.
    Order,
    /// Another version of the backend or of a compiler made it.
    Tool,
    /// It follows from other differences.
    Consequence,
}

/// Compares the wheel that was given with the one that was built.
///
/// # Errors
///
/// If one of them is no sound archive.
pub(super) fn compare(given: &[u8], built: &[u8]) -> Result<Vec<Difference>, ZipError> {
    if given == built {
        return Ok(Vec::new());
    }
    let (given, built) = (Side::read(given)?, Side::read(built)?);
    let mut differences = given.contents_against(&built)?;
    if !differences.is_empty() {
        for difference in &mut differences {
            let is_record =
                difference.path.as_deref().is_some_and(|path| path.ends_with(".dist-info/RECORD"));
            if is_record {
                difference.cause = Some(Cause::Consequence);
            }
        }
        return Ok(differences);
    }
    differences = given.headers_against(&built)?;
    if differences.is_empty() {
        differences.push(Difference { path: None, what: What::Envelope, cause: None });
    }
    Ok(differences)
}

/// One of two wheels.
struct Side<'a> {
    archive: Archive<'a>,
}

impl<'a> Side<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, ZipError> {
        Ok(Self { archive: Archive::parse(bytes, &Limits::default())? })
    }

    fn files(&self) -> impl Iterator<Item = &Member> {
        self.archive.members().iter().filter(|member| member.kind != MemberKind::Directory)
    }

    fn by_path(&self) -> BTreeMap<&ArchivePath, &Member> {
        self.files().map(|member| (&member.path, member)).collect()
    }

    fn contents_against(&self, built: &Self) -> Result<Vec<Difference>, ZipError> {
        let (ours, theirs) = (self.by_path(), built.by_path());
        let mut differences = Vec::new();
        let mut add = |path: &ArchivePath, what, cause| {
            differences.push(Difference { path: Some(path.to_string()), what, cause });
        };
        for (path, member) in &ours {
            let Some(other) = theirs.get(path) else {
                add(path, What::OnlyGiven, None);
                continue;
            };
            if (member.crc32, member.size) == (other.crc32, other.size)
                && self.is_packed_as(member, (built, other))?
            {
                continue;
            }
            let (given, built) = (self.archive.read(member)?, built.archive.read(other)?);
            if given != built {
                let (what, cause) = explain(path, &given, &built);
                add(path, what, cause);
            }
        }
        for path in theirs.keys().filter(|path| !ours.contains_key(*path)) {
            add(path, What::OnlyBuilt, None);
        }
        differences.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(differences)
    }

    /// Whether a member has the same packed bytes as one of another wheel.
    fn is_packed_as(&self, member: &Member, (side, other): (&Self, &Member)) -> Result<bool, ZipError> {
        let packed = |side: &Self, member| side.archive.raw(member).bytes().map_err(ZipError::Read);
        Ok(packed(self, member)? == packed(side, other)?)
    }

    fn headers_against(&self, built: &Self) -> Result<Vec<Difference>, ZipError> {
        let mut differences = Vec::new();
        let order = |side: &Self| side.files().map(|member| member.path.clone()).collect::<Vec<_>>();
        if order(self) != order(built) {
            differences.push(Difference { path: None, what: What::Order, cause: Some(Cause::Order) });
        }
        let theirs = built.by_path();
        for (path, member) in self.by_path() {
            let Some(other) = theirs.get(path) else { continue };
            let is_packed_alike =
                member.method == other.method && self.is_packed_as(member, (built, other))?;
            let what = if member.unix_mode != other.unix_mode {
                What::Mode
            } else if member.modified != other.modified {
                What::Time
            } else if is_packed_alike {
                continue;
            } else {
                What::Compression
            };
            let cause = (what == What::Time).then_some(Cause::Time { text: None });
            differences.push(Difference { path: Some(path.to_string()), what, cause });
        }
        Ok(differences)
    }
}

/// Says in what the contents of a member differ, and why that may be.
fn explain(path: &ArchivePath, given: &[u8], built: &[u8]) -> (What, Option<Cause>) {
    if let (Some(ours), Some(theirs)) = (sections(given), sections(built)) {
        return explain_sections(&ours, &theirs);
    }
    if path.as_str().ends_with(".pyc") && same_but_for_pyc_time(given, built) {
        return (What::Contents { line: None }, Some(Cause::Time { text: None }));
    }
    if let (Ok(ours), Ok(theirs)) = (std::str::from_utf8(given), std::str::from_utf8(built))
        && !given.contains(&0)
    {
        let cause = text_cause(path, ours, theirs);
        return (What::Contents { line: first_line(ours, theirs) }, cause);
    }
    (What::Contents { line: None }, strings_cause(given, built))
}

fn explain_sections(
    given: &BTreeMap<String, &[u8]>,
    built: &BTreeMap<String, &[u8]>,
) -> (What, Option<Cause>) {
    let all = given.keys().chain(built.keys().filter(|name| !given.contains_key(*name)));
    let mut names: Vec<String> = all.filter(|name| given.get(*name) != built.get(*name)).cloned().collect();
    names.sort();
    const BUILD_ID: &str = ".note.gnu.build-id";
    let cause = match names.as_slice() {
        [] => None,
        [only] if only == BUILD_ID => Some(Cause::BuildId),
        [only] if only == ".comment" => Some(Cause::Tool),
        _ => {
            let sides = names.iter().filter_map(|name| Some((given.get(name)?, built.get(name)?)));
            let mut causes = sides.filter_map(|(ours, theirs)| strings_cause(ours, theirs));
            causes.next()
        }
    };
    (What::Sections { names }, cause)
}

/// A compiled module holds the time of its source in bytes 8 to 12, unless its flags say that it holds a hash.
fn same_but_for_pyc_time(given: &[u8], built: &[u8]) -> bool {
    let parts = |bytes: &[u8]| Some((bytes.get(..8)?.to_vec(), bytes.get(12..)?.to_vec()));
    matches!((parts(given), parts(built)), (Some(ours), Some(theirs)) if ours == theirs)
        && given.get(4..8).is_some_and(|flags| flags == [0; 4])
}

fn first_line(given: &str, built: &str) -> Option<Lines> {
    let (mut ours, mut theirs) = (given.lines(), built.lines());
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => return None,
            (one, other) if one == other => {}
            (one, other) => {
                let shorten = |line: Option<&str>| line.unwrap_or_default().chars().take(200).collect();
                return Some(Lines { given: shorten(one), built: shorten(other) });
            }
        }
    }
}

fn text_cause(path: &ArchivePath, given: &str, built: &str) -> Option<Cause> {
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    if sorted(given) == sorted(built) {
        return Some(Cause::Order);
    }
    let Lines { given: ours, built: theirs } = first_line(given, built)?;
    let is_generator = path.as_str().ends_with(".dist-info/WHEEL") && ours.starts_with("Generator:");
    if is_generator {
        return Some(Cause::Tool);
    }
    string_cause(&ours).or_else(|| string_cause(&theirs))
}

/// Looks for a cause in the texts that only one of two binary contents has.
fn strings_cause(given: &[u8], built: &[u8]) -> Option<Cause> {
    let (ours, theirs) = (strings(given), strings(built));
    let own = |these: &[String], those: &[String]| {
        let mut own = these.iter().filter(|text| those.binary_search(text).is_err());
        own.find_map(|text| string_cause(text))
    };
    own(&ours, &theirs).or_else(|| own(&theirs, &ours)).or_else(|| {
        // The same texts elsewhere: nothing was made differently, only in another order.
        (given.len() == built.len() && ours == theirs && same_bytes(given, built)).then_some(Cause::Order)
    })
}

fn same_bytes(given: &[u8], built: &[u8]) -> bool {
    let count = |bytes: &[u8]| {
        let mut counts = [0_u64; 256];
        for &byte in bytes {
            counts[usize::from(byte)] += 1;
        }
        counts
    };
    count(given) == count(built)
}

/// The runs of six and more printable characters, sorted.
fn strings(bytes: &[u8]) -> Vec<String> {
    let is_printable = |byte: &u8| (0x20..0x7f).contains(byte);
    let runs = bytes.split(|byte| !is_printable(byte)).filter(|run| run.len() >= 6);
    let mut strings: Vec<String> = runs.map(|run| String::from_utf8_lossy(run).into_owned()).collect();
    strings.sort();
    strings.dedup();
    strings
}

/// What a text that differs looks like.
fn string_cause(text: &str) -> Option<Cause> {
    if let Some(path) = absolute_path(text) {
        return Some(Cause::BuildPath { path: path.to_owned() });
    }
    time_of_day(text).map(|time| Cause::Time { text: Some(time.to_owned()) })
}

/// The first path in a text that begins where builds and users are.
fn absolute_path(text: &str) -> Option<&str> {
    const ROOTS: [&str; 7] = ["/tmp/", "/home/", "/root/", "/var/", "/build/", "/hwb/", "/Users/"];
    let start = ROOTS.iter().filter_map(|root| text.find(root)).min()?;
    let rest = &text[start..];
    let end = rest.find(|character: char| character.is_whitespace() || "'\":;,<>".contains(character));
    Some(&rest[..end.unwrap_or(rest.len())])
}

/// The first `12:34:56` or `2024-05-06` in a text.
fn time_of_day(text: &str) -> Option<&str> {
    let fits = |candidate: &[u8], pattern: &[u8]| {
        candidate.len() == pattern.len()
            && candidate.iter().zip(pattern).all(|(byte, like)| match like {
                b'0' => byte.is_ascii_digit(),
                like => byte == like,
            })
    };
    [&b"00:00:00"[..], b"0000-00-00"].iter().find_map(|pattern| {
        let at = text.as_bytes().windows(pattern.len()).position(|window| fits(window, pattern))?;
        text.get(at..at + pattern.len())
    })
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{path}: {}", self.what)?,
            None => write!(f, "{}", self.what)?,
        }
        match &self.cause {
            Some(cause) => write!(f, " ({cause})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileName { given, built } => {
                write!(f, "the wheel is named `{given}`, and `{built}` was built")
            }
            Self::OnlyGiven => f.write_str("only the given wheel has it"),
            Self::OnlyBuilt => f.write_str("only the built wheel has it"),
            Self::Contents { line: Some(Lines { given, built }) } => {
                write!(f, "its contents differ, first in `{given}`, which was built as `{built}`")
            }
            Self::Contents { line: None } => f.write_str("its contents differ"),
            Self::Sections { names } if names.is_empty() => f.write_str("its headers differ"),
            Self::Sections { names } => write!(f, "its sections {} differ", names.join(", ")),
            Self::Mode => f.write_str("its mode differs"),
            Self::Time => f.write_str("its time differs"),
            Self::Compression => f.write_str("it has the same contents, packed differently"),
            Self::Order => f.write_str("the members are the same, in another order"),
            Self::Envelope => f.write_str("the members are the same, what is around them differs"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuildPath { path } => write!(f, "likely the path of the build: `{path}`"),
            Self::BuildId => f.write_str("the linker's build id"),
            Self::Time { text: Some(text) } => write!(f, "likely the time of the build: `{text}`"),
            Self::Time { text: None } => f.write_str("the time of a file"),
            Self::Order => f.write_str("likely an order that the file system or a hash decided"),
            Self::Tool => f.write_str("another version of a tool made it"),
            Self::Consequence => f.write_str("it follows from the others"),
        }
    }
}

#[cfg(test)]
mod tests {
    use hwb_testkit::Wheel;

    use super::*;

    fn shown(given: &[u8], built: &[u8]) -> Vec<String> {
        compare(given, built).unwrap().iter().map(ToString::to_string).collect()
    }

    fn check(path: &str, given: impl AsRef<[u8]>, built: impl AsRef<[u8]>, expect: &str) {
        let wheel = |contents: &[u8]| Wheel::new("a", "1").file(path, contents).build().bytes;
        let found = shown(&wheel(given.as_ref()), &wheel(built.as_ref()));
        let record = found.iter().position(|line| line.starts_with("a-1.dist-info/RECORD: ")).unwrap();
        assert!(found[record].ends_with(" (it follows from the others)"));
        let others: Vec<_> = found.iter().filter(|line| !line.contains("RECORD")).cloned().collect();
        assert_eq!(others, [format!("{path}: {expect}")]);
    }

    #[test]
    fn the_same_is_identical() {
        let wheel = Wheel::new("a", "1").file("m.py", "x").build();
        assert!(shown(&wheel.bytes, &wheel.bytes).is_empty());
    }

    #[test]
    fn texts_show_their_first_line() {
        check(
            "m.py",
            "x = 1\ny = 2\n",
            "x = 1\ny = 3\n",
            "its contents differ, first in `y = 2`, which was built as `y = 3`",
        );
        check(
            "m.py",
            "P = '/tmp/b1/x.c'\n",
            "P = '/tmp/b2/x.c'\n",
            "its contents differ, first in `P = '/tmp/b1/x.c'`, which was built as `P = '/tmp/b2/x.c'` \
             (likely the path of the build: `/tmp/b1/x.c`)",
        );
        check(
            "m.py",
            "# 2024-05-06 07:08:09\n",
            "# 2024-05-06 07:08:10\n",
            "its contents differ, first in `# 2024-05-06 07:08:09`, which was built as `# 2024-05-06 07:08:10` \
             (likely the time of the build: `07:08:09`)",
        );
        check(
            "list.txt",
            "b\na\n",
            "a\nb\n",
            "its contents differ, first in `b`, which was built as `a` \
             (likely an order that the file system or a hash decided)",
        );
    }

    #[test]
    fn native_code_shows_its_sections() {
        let file = |text: &[u8], id: &[u8]| {
            hwb_testkit::elf_of_sections(&[(".note.gnu.build-id", id), (".rodata", text)])
        };
        check(
            "m.so",
            file(b"same", b"1"),
            file(b"same", b"2"),
            "its sections .note.gnu.build-id differ (the linker's build id)",
        );
        check(
            "m.so",
            file(b"\0/tmp/one/x.c\0", b"1"),
            file(b"\0/tmp/two/x.c\0", b"2"),
            "its sections .note.gnu.build-id, .rodata differ (likely the path of the build: `/tmp/one/x.c`)",
        );
        check(
            "m.so",
            file(b"\0at 12:34:56\0", b"1"),
            file(b"\0at 12:34:57\0", b"1"),
            "its sections .rodata differ (likely the time of the build: `12:34:56`)",
        );
        check("m.so", file(b"a", b"1"), b"\x7fELF\0broken", "its contents differ");
    }

    #[test]
    fn compiled_modules_hold_times() {
        let module =
            |time: u8| [b"magic\0\0\0"[..4].to_vec(), vec![0; 4], vec![time; 4], vec![0xff; 9]].concat();
        check("m.pyc", module(1), module(2), "its contents differ (the time of a file)");
    }

    #[test]
    fn members_come_and_go() {
        let given = Wheel::new("a", "1").file("old.py", "").build();
        let built = Wheel::new("a", "1").file("new.py", "").build();
        let found = shown(&given.bytes, &built.bytes);
        assert!(found.contains(&"old.py: only the given wheel has it".to_owned()), "{found:?}");
        assert!(found.contains(&"new.py: only the built wheel has it".to_owned()), "{found:?}");
    }

    #[test]
    fn an_archive_can_differ_alone() {
        use hwb_testkit::wheel::{Member, zip};
        let members = [Member::deflated("a.py", b"x = 1\n"), Member::deflated("b.py", b"")];
        let swapped = [members[1].clone(), members[0].clone()];
        assert_eq!(
            shown(&zip(&members), &zip(&swapped)),
            [
                "the members are the same, in another order (likely an order that the file system or a hash decided)"
            ]
        );
        let stored = [Member::stored("a.py", b"x = 1\n"), members[1].clone()];
        assert_eq!(
            shown(&zip(&members), &zip(&stored)),
            ["a.py: it has the same contents, packed differently"]
        );
        let executable = [Member { attributes: 0o100_755 << 16, ..members[0].clone() }, members[1].clone()];
        assert_eq!(shown(&zip(&members), &zip(&executable)), ["a.py: its mode differs"]);
    }
}
