//! Whether a wheel keeps the rules: PEP 376, 425, 427, 627, 639, 770.

use std::collections::BTreeMap;
use std::fmt;

use hwb_archive::zip::{MemberKind, ZipError};
use hwb_ident::{ArchivePath, PackageName, Version};

use crate::metadata::{MetadataVersion, Oddity};
use crate::native::{Native, NativeFormat, Tie};
use crate::record::{Hash, Row};
use crate::tags::TagSet;
use crate::wheel::{Facts, Wheel};

/// The directories that a `.data` directory may have (PEP 427 "The .data directory").
const SCHEMES: [&str; 5] = ["purelib", "platlib", "headers", "scripts", "data"];

/// What the wheel was to be.
#[derive(Debug, Clone, Default)]
pub struct Expect {
    /// Its name; `None` if any will do.
    pub name: Option<PackageName>,
    /// Its version; `None` if any will do.
    pub version: Option<Version>,
}

/// What was found in a wheel that keeps the rules.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What is odd about it.
    pub warnings: Vec<Warning>,
    /// Its files of native code.
    pub native: Vec<(ArchivePath, Native)>,
    /// How many files it has.
    pub files: u64,
    /// How many bytes they have.
    pub bytes: u64,
}

/// Something odd, but allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// Two paths that some file systems take for one.
    SameButForCase(ArchivePath, ArchivePath),
    /// Odd metadata.
    Metadata(Oddity),
    /// A licence file that is named but not there (PEP 639).
    LicenseFile(String),
    /// Native code in a wheel for any platform that counts as data.
    ForeignCode(ArchivePath, NativeFormat),
    /// File name and `WHEEL` do not both have the build tag.
    Build,
    /// `RECORD` has the same row twice.
    RepeatedRow(ArchivePath),
    /// A newer minor version of the wheel format.
    WheelVersion(u32),
}

/// Which rule a wheel breaks.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A member cannot be read.
    #[error(transparent)]
    Zip(#[from] ZipError),
    /// Two places name different distributions.
    #[error("{place} is of `{found}`, but {other} of `{expected}`")]
    Name {
        /// Where the name stands.
        place: &'static str,
        /// What it is.
        found: PackageName,
        /// Where the other name stands.
        other: &'static str,
        /// What that is.
        expected: PackageName,
    },
    /// Two places name different versions.
    #[error("{place} is of version {found}, but {other} of version {expected}")]
    Version {
        /// Where the version stands.
        place: &'static str,
        /// What it is.
        found: Box<Version>,
        /// Where the other version stands.
        other: &'static str,
        /// What that is.
        expected: Box<Version>,
    },
    /// A major version of the format with other rules.
    #[error("the wheel is of format {0}.{1}, and format 1 is understood")]
    WheelVersion(u32, u32),
    /// File name and `WHEEL` name different tags.
    #[error("the file name has the tags {filename}, but WHEEL has {wheel_file}")]
    Tags {
        /// Of the file name.
        filename: TagSet,
        /// Of `WHEEL`.
        wheel_file: TagSet,
    },
    /// File name and `WHEEL` name different builds.
    #[error("the file name has the build tag `{filename}`, but WHEEL has `{wheel_file}`")]
    Build {
        /// Of the file name.
        filename: String,
        /// Of `WHEEL`.
        wheel_file: String,
    },
    /// A symbolic link, which installers write as a file.
    #[error("`{0}` is a symbolic link, which a wheel cannot hold")]
    Symlink(ArchivePath),
    /// `RECORD` passes over a file.
    #[error("RECORD does not list `{0}`")]
    Unlisted(ArchivePath),
    /// `RECORD` lists what is not there.
    #[error("RECORD lists `{0}`, which is not in the wheel")]
    Absent(ArchivePath),
    /// `RECORD` lists a file without its hash.
    #[error("RECORD has no hash of `{0}`")]
    Unhashed(ArchivePath),
    /// `RECORD` has another hash.
    #[error("`{path}` is not what RECORD says: its hash is {found}, not {expected}")]
    Hash {
        /// The file.
        path: ArchivePath,
        /// What `RECORD` says.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// `RECORD` has another size.
    #[error("`{path}` is not what RECORD says: it has {found} bytes, not {expected}")]
    Size {
        /// The file.
        path: ArchivePath,
        /// What `RECORD` says.
        expected: u64,
        /// What the file has.
        found: u64,
    },
    /// `RECORD` has two rows for a file that differ.
    #[error("RECORD lists `{0}` twice, and not alike")]
    Conflict(ArchivePath),
    /// A `.data` directory of something else.
    #[error("`{0}` is not the `.data` directory of this wheel")]
    DataDirectory(String),
    /// A file in a `.data` directory that goes nowhere.
    #[error("`{0}` is below none of purelib, platlib, headers, scripts and data")]
    Scheme(ArchivePath),
    /// Native code in a wheel that claims to run anywhere.
    #[error("`{path}` is native code ({format}), but the wheel is tagged `any`; {}", deserved(*.platform_tag))]
    Native {
        /// The file.
        path: ArchivePath,
        /// What it is.
        format: NativeFormat,
        /// The platform tag that the wheel should bear.
        platform_tag: Option<&'static str>,
    },
}

fn deserved(platform_tag: Option<&str>) -> String {
    platform_tag.map_or_else(
        || "its platform tag should name the platform".to_owned(),
        |tag| format!("its platform tag should be `{tag}`"),
    )
}

/// Checks that a wheel keeps the rules, is what was expected, and says the same everywhere.
///
/// # Errors
///
/// The first rule that it breaks.
pub fn check(wheel: &Wheel<'_>, expect: &Expect) -> Result<Report, CheckError> {
    let mut report = Report::default();
    check_identity(wheel, expect)?;
    check_format(wheel, &mut report)?;
    check_layout(wheel, &mut report)?;
    let facts = wheel.facts()?;
    check_record(wheel, facts, &mut report)?;
    check_native(wheel, facts, &mut report)?;
    let warnings = wheel.metadata().oddities.iter().cloned().map(Warning::Metadata);
    report.warnings.extend(warnings);
    check_licenses(wheel, facts, &mut report);
    Ok(report)
}

fn check_identity(wheel: &Wheel<'_>, expect: &Expect) -> Result<(), CheckError> {
    const FILENAME: &str = "the file name";
    let metadata = wheel.metadata();
    let dist_info = wheel.dist_info_parts();
    let filename = wheel.filename();
    let names = [
        ("METADATA", &metadata.name, FILENAME, Some(&filename.name)),
        ("`.dist-info`", &dist_info.name, FILENAME, Some(&filename.name)),
        (FILENAME, &filename.name, "the source", expect.name.as_ref()),
    ];
    for (place, found, other, expected) in names {
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(CheckError::Name { place, found: found.clone(), other, expected: expected.clone() });
        }
    }
    let versions = [
        ("METADATA", &metadata.version, FILENAME, Some(&filename.version)),
        ("`.dist-info`", &dist_info.version, FILENAME, Some(&filename.version)),
        (FILENAME, &filename.version, "the source", expect.version.as_ref()),
    ];
    for (place, found, other, expected) in versions {
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            let (found, expected) = (Box::new(found.clone()), Box::new(expected.clone()));
            return Err(CheckError::Version { place, found, other, expected });
        }
    }
    Ok(())
}

fn check_format(wheel: &Wheel<'_>, report: &mut Report) -> Result<(), CheckError> {
    let wheel_file = wheel.wheel_file();
    match wheel_file.wheel_version {
        (1, 0) => {}
        (1, minor) => report.warnings.push(Warning::WheelVersion(minor)),
        (major, minor) => return Err(CheckError::WheelVersion(major, minor)),
    }
    if *wheel.filename_tags() != wheel_file.tags {
        let (filename, wheel_file) = (wheel.filename_tags().clone(), wheel_file.tags.clone());
        return Err(CheckError::Tags { filename, wheel_file });
    }
    match (wheel.filename_build(), wheel_file.build.as_deref()) {
        (Some(filename), Some(wheel_file)) if filename != wheel_file => {
            let (filename, wheel_file) = (filename.to_owned(), wheel_file.to_owned());
            Err(CheckError::Build { filename, wheel_file })
        }
        (Some(_), None) | (None, Some(_)) => {
            report.warnings.push(Warning::Build);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn check_layout(wheel: &Wheel<'_>, report: &mut Report) -> Result<(), CheckError> {
    let mut folded: BTreeMap<String, &ArchivePath> = BTreeMap::new();
    for member in wheel.files() {
        let path = &member.path;
        if member.kind == MemberKind::Symlink {
            return Err(CheckError::Symlink(path.clone()));
        }
        report.files += 1;
        report.bytes += member.size;
        if let Some(other) = folded.insert(path.as_str().to_lowercase(), path) {
            report.warnings.push(Warning::SameButForCase(other.clone(), path.clone()));
        }
        let mut parts = path.parts();
        let Some(data) = parts.next().filter(|top| top.ends_with(".data") && *top != path.as_str()) else {
            continue;
        };
        let owner = crate::wheel::parse_stem(data.trim_end_matches(".data"));
        let dist_info = wheel.dist_info_parts();
        if !owner.is_some_and(|(name, version)| name == dist_info.name && version == dist_info.version) {
            return Err(CheckError::DataDirectory(data.to_owned()));
        }
        let is_known = parts.next().is_some_and(|scheme| SCHEMES.contains(&scheme));
        if !is_known || parts.next().is_none() {
            return Err(CheckError::Scheme(path.clone()));
        }
    }
    Ok(())
}

fn check_record(
    wheel: &Wheel<'_>,
    facts: &BTreeMap<ArchivePath, Facts>,
    report: &mut Report,
) -> Result<(), CheckError> {
    let mut rows: BTreeMap<&ArchivePath, &Row> = BTreeMap::new();
    for row in &wheel.record().rows {
        if !facts.contains_key(&row.path) {
            // A signature may be listed and yet be gone.
            if wheel.is_record_or_signature(&row.path) {
                continue;
            }
            return Err(CheckError::Absent(row.path.clone()));
        }
        if let Some(other) = rows.insert(&row.path, row) {
            if other != row {
                return Err(CheckError::Conflict(row.path.clone()));
            }
            report.warnings.push(Warning::RepeatedRow(row.path.clone()));
        }
    }
    for member in wheel.files() {
        let path = &member.path;
        if wheel.is_record_or_signature(path) {
            continue;
        }
        let row = rows.get(path).ok_or_else(|| CheckError::Unlisted(path.clone()))?;
        let expected = row.hash.as_ref().ok_or_else(|| CheckError::Unhashed(path.clone()))?;
        if let Some(expected) = row.size.filter(|&size| size != member.size) {
            return Err(CheckError::Size { path: path.clone(), expected, found: member.size });
        }
        let digest = facts.get(path).map(|facts| facts.digest);
        let is_right = match expected.as_sha256() {
            Some(expected) => digest == Some(expected),
            None => expected.is_of(&wheel.archive().read(member)?),
        };
        if !is_right {
            let found = digest.map_or_else(String::new, |digest| Hash::sha256(&digest).to_string());
            return Err(CheckError::Hash { path: path.clone(), expected: expected.to_string(), found });
        }
    }
    Ok(())
}

fn check_native(
    wheel: &Wheel<'_>,
    facts: &BTreeMap<ArchivePath, Facts>,
    report: &mut Report,
) -> Result<(), CheckError> {
    let claims_any = wheel.filename_tags().platforms().contains("any");
    for (path, facts) in facts {
        let Some(native) = facts.native else {
            continue;
        };
        match native.tie {
            Tie::Platform if claims_any => {
                let Native { format, platform_tag, tie: _ } = native;
                return Err(CheckError::Native { path: path.clone(), format, platform_tag });
            }
            Tie::Data if claims_any => {
                report.warnings.push(Warning::ForeignCode(path.clone(), native.format));
            }
            Tie::Platform | Tie::Data => {}
        }
        report.native.push((path.clone(), native));
    }
    Ok(())
}

/// Since metadata 2.4 the files that `License-File` names are below `.dist-info/licenses`.
fn check_licenses(wheel: &Wheel<'_>, facts: &BTreeMap<ArchivePath, Facts>, report: &mut Report) {
    if wheel.metadata().metadata_version < (MetadataVersion { major: 2, minor: 4 }) {
        return;
    }
    for file in &wheel.metadata().license_files {
        let path = wheel.dist_info_parts().path(&format!("licenses/{file}"));
        if !path.parse().is_ok_and(|path: ArchivePath| facts.contains_key(&path)) {
            report.warnings.push(Warning::LicenseFile(file.clone()));
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameButForCase(one, other) => {
                write!(f, "`{one}` and `{other}` are one file where case does not count")
            }
            Self::Metadata(oddity) => fmt::Display::fmt(oddity, f),
            Self::LicenseFile(file) => write!(f, "the licence file `{file}` is named but not in the wheel"),
            Self::ForeignCode(path, format) => {
                write!(f, "`{path}` is native code ({format}) in a wheel for any platform")
            }
            Self::Build => f.write_str("the build tag is only in one of the file name and WHEEL"),
            Self::RepeatedRow(path) => write!(f, "RECORD lists `{path}` twice"),
            Self::WheelVersion(minor) => write!(f, "the wheel is of format 1.{minor}, newer than 1.0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forge::Forge;

    fn outcome(forge: &Forge, expect: &Expect) -> String {
        use std::error::Error as _;
        let bytes = forge.bytes();
        let wheel = match Wheel::read(&forge.filename, &bytes) {
            Ok(wheel) => wheel,
            Err(error) => {
                let source = error.source().map_or_else(String::new, |source| format!(": {source}"));
                return format!("{error}{source}");
            }
        };
        match check(&wheel, expect) {
            Ok(report) => {
                let warnings: Vec<_> =
                    report.warnings.iter().map(|warning| format!(" ({warning})")).collect();
                format!("{} files{}", report.files, warnings.concat())
            }
            Err(error) => error.to_string(),
        }
    }

    fn check_case(forge: &Forge, expect: &str) {
        assert_eq!(outcome(forge, &Expect::default()), expect);
    }

    const METADATA: &str = "a-1.0.dist-info/METADATA";
    const WHEEL: &str = "a-1.0.dist-info/WHEEL";

    #[test]
    fn takes_a_wheel_that_keeps_the_rules() {
        let pure = Forge::pure();
        check_case(&pure, "4 files");
        check_case(&pure.clone().file("a-1.0.data/scripts/run", "#!python\n"), "5 files");
        check_case(&pure.clone().file("a-1.0.dist-info/sboms/a.cdx.json", "{}"), "5 files");
        check_case(&pure.clone().file("a-1.0.dist-info/RECORD.jws", "{}").record(|text| text), "5 files");
        check_case(&pure.clone().record(|text| text.replace('\n', "\r\n")), "4 files");
        check_case(
            &pure
                .clone()
                .file("a/x,\"y\".py", "")
                .record(|text| text.replace("a/x,\"y\".py,", "\"a/x,\"\"y\"\".py\",")),
            "5 files",
        );
        let expect = Expect { name: Some("a".parse().unwrap()), version: Some("1".parse().unwrap()) };
        assert_eq!(outcome(&pure, &expect), "4 files");
    }

    #[test]
    fn refuses_what_cannot_be_read() {
        let pure = Forge::pure();
        assert!(
            outcome(&pure.clone().named("a.whl"), &Expect::default())
                .starts_with("`a.whl` is not the name of a wheel: ")
        );
        check_case(&pure.clone().without(METADATA), "the wheel has no `a-1.0.dist-info/METADATA`");
        check_case(&pure.clone().without(WHEEL), "the wheel has no `a-1.0.dist-info/WHEEL`");
        check_case(
            &pure.clone().file("b-1.0.dist-info/METADATA", ""),
            "the wheel has two `.dist-info` directories, `a-1.0.dist-info` and `b-1.0.dist-info`",
        );
        check_case(
            &pure.clone().file(METADATA, "x"),
            "the wheel has an unusable METADATA: the metadata has no `Metadata-Version`",
        );
        check_case(
            &pure.clone().file(WHEEL, "x"),
            "the wheel has an unusable WHEEL: WHEEL has no `Wheel-Version`",
        );
        check_case(
            &pure.clone().record(|_| "a\n".to_owned()),
            "the wheel has an unusable RECORD: line 1 of RECORD has 1 fields in place of 3",
        );
        check_case(
            &pure.file("a-1.0.dist-info/entry_points.txt", "x\n"),
            "the wheel has an unusable entry_points.txt: line 1 of entry_points.txt is neither `[group]` nor `name = module:attribute`",
        );
    }

    #[test]
    fn refuses_names_that_disagree() {
        let pure = Forge::pure();
        check_case(
            &pure.clone().named("b-1.0-py3-none-any.whl"),
            "METADATA is of `a`, but the file name of `b`",
        );
        check_case(
            &pure.clone().named("a-2.0-py3-none-any.whl"),
            "METADATA is of version 1.0, but the file name of version 2.0",
        );
        check_case(
            &pure.clone().file(METADATA, "Metadata-Version: 2.1\nName: a\nVersion: 1.0\nName: b\n"),
            "the wheel has an unusable METADATA: the metadata has more than one `Name`",
        );
        let expect = |name: &str, version: &str| Expect {
            name: Some(name.parse().unwrap()),
            version: Some(version.parse().unwrap()),
        };
        assert_eq!(outcome(&pure, &expect("b", "1.0")), "the file name is of `a`, but the source of `b`");
        assert_eq!(
            outcome(&pure, &expect("a", "1.1")),
            "the file name is of version 1.0, but the source of version 1.1"
        );
        check_case(
            &pure.clone().named("a-1.0-py2.py3-none-any.whl"),
            "the file name has the tags py2-none-any, py3-none-any, but WHEEL has py3-none-any",
        );
        check_case(
            &pure.clone().named("a-1.0-1-py3-none-any.whl"),
            "4 files (the build tag is only in one of the file name and WHEEL)",
        );
        let wheel = |text: &str| {
            pure.clone().named("a-1.0-1-py3-none-any.whl").file(
                WHEEL,
                format!("Wheel-Version: {text}\nRoot-Is-Purelib: true\nTag: py3-none-any\nBuild: 2\n"),
            )
        };
        check_case(&wheel("1.0"), "the file name has the build tag `1`, but WHEEL has `2`");
        check_case(&wheel("2.0"), "the wheel is of format 2.0, and format 1 is understood");
    }

    #[test]
    fn refuses_a_record_that_is_not_right() {
        let pure = Forge::pure();
        let first = |text: &str| text.lines().next().unwrap().to_owned() + "\n";
        check_case(
            &pure.clone().record(|text| text.replacen(&first(&text), "", 1)),
            "RECORD does not list `a/__init__.py`",
        );
        check_case(
            &pure.clone().record(|text| text + "a/gone.py,,\n"),
            "RECORD lists `a/gone.py`, which is not in the wheel",
        );
        check_case(
            &pure.clone().record(|text| text.replacen(&first(&text), "a/__init__.py,,\n", 1)),
            "RECORD has no hash of `a/__init__.py`",
        );
        check_case(
            &pure.clone().record(|text| text.replacen(",10\n", ",11\n", 1)),
            "`a/__init__.py` is not what RECORD says: it has 10 bytes, not 11",
        );
        check_case(
            &pure.clone().record(|text| text.clone() + &first(&text)),
            "4 files (RECORD lists `a/__init__.py` twice)",
        );
        check_case(
            &pure.clone().record(|text| text + "a/__init__.py,,\n"),
            "RECORD lists `a/__init__.py` twice, and not alike",
        );
        let wrong = Hash::sha256(&hwb_ident::Digest::of(b"other"));
        let right = Hash::sha256(&hwb_ident::Digest::of(b"VALUE = 1\n"));
        check_case(
            &pure.record(|text| text.replacen(&right.to_string(), &wrong.to_string(), 1)),
            &format!("`a/__init__.py` is not what RECORD says: its hash is {right}, not {wrong}"),
        );
    }

    #[test]
    fn refuses_data_that_goes_nowhere() {
        let pure = Forge::pure();
        check_case(
            &pure.clone().file("b-1.0.data/scripts/x", ""),
            "`b-1.0.data` is not the `.data` directory of this wheel",
        );
        for path in ["a-1.0.data/other/x", "a-1.0.data/x", "a-1.0.data/scripts"] {
            check_case(
                &pure.clone().file(path, ""),
                &format!("`{path}` is below none of purelib, platlib, headers, scripts and data"),
            );
        }
    }

    #[test]
    fn native_code_needs_a_platform() {
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(16, 0);
        elf.extend_from_slice(&[3, 0, 62, 0]);
        let native = Forge::pure().file("a/_c.so", &elf);
        check_case(
            &native,
            "`a/_c.so` is native code (ELF), but the wheel is tagged `any`; its platform tag should be `linux_x86_64`",
        );
        let tagged = native
            .named("a-1.0-cp311-cp311-linux_x86_64.whl")
            .file(WHEEL, "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp311-cp311-linux_x86_64\n");
        check_case(&tagged, "5 files");
        elf[16] = 1;
        check_case(
            &Forge::pure().file("a/data.o", &elf),
            "5 files (`a/data.o` is native code (ELF) in a wheel for any platform)",
        );
    }

    #[test]
    fn warns_of_what_is_odd() {
        check_case(
            &Forge::pure().file("A/__init__.py", ""),
            "5 files (`a/__init__.py` and `A/__init__.py` are one file where case does not count)",
        );
        check_case(
            &Forge::pure()
                .file(METADATA, "Metadata-Version: 2.4\nName: a\nVersion: 1.0\nLicense-File: COPYING\n"),
            "4 files (the licence file `COPYING` is named but not in the wheel)",
        );
    }
}
