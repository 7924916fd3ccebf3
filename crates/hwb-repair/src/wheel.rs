//! Wheels: their native code is read straight from the archive, and judged together.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;

use hwb_archive::zip::{Member, MemberKind, Source, ZipError};
use hwb_ident::ArchivePath;
use hwb_wheel::record::Row;
use hwb_wheel::wheel_file::Root;
use hwb_wheel::{Wheel, WheelError};

use crate::architecture::Architecture;
use crate::audit::{Claim, Note, Purelib};
use crate::code::Code;
use crate::elf::{ElfError, MAGIC};
use crate::object::{HEAD, Object, is_native};
use crate::parallel::{Load, in_parallel};
use crate::policy::Libc;
use crate::repair::Plan;
use crate::walk::{External, external_libraries, folders_outside};

/// Why a wheel cannot be audited.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// It is no wheel that can be opened.
    #[error("the wheel cannot be opened")]
    Wheel(#[from] WheelError),
    /// It is not for Linux.
    #[error("the wheel is for {0}: only wheels for manylinux, musllinux and Linux are audited")]
    Platform(String),
    /// A file in it does not unpack.
    #[error("a file of the wheel does not unpack")]
    Unpack(#[from] ZipError),
    /// A file of native code in it is malformed.
    #[error("`{path}` is a malformed ELF file")]
    Elf {
        /// The file.
        path: String,
        /// What is wrong with it.
        #[source]
        source: ElfError,
    },
    /// All native code in it is for other machines.
    #[error("no file of the wheel is for a machine that has platform tags")]
    NoMachine,
}

/// Reads the native code of a wheel; `filename` is its file's name, without folders.
///
/// # Errors
///
/// If it cannot be opened, is for another system, or has native code that cannot be read.
pub fn read_wheel<'a>(
    filename: &str,
    source: impl Into<Source<'a>>,
    threads: NonZero<usize>,
) -> Result<Code, AuditError> {
    read_code(&Wheel::read(filename, source)?, threads)
}

/// Reads the native code of a wheel that is open.
///
/// # Errors
///
/// If it is for another system, or has native code that cannot be read.
pub fn read_code(wheel: &Wheel<'_>, threads: NonZero<usize>) -> Result<Code, AuditError> {
    let claim = claim(&wheel.filename_tags().platforms())?;
    let (objects, recorded): (Vec<_>, Vec<_>) = read_all(wheel, threads)?.into_iter().unzip();
    let there: BTreeSet<&ArchivePath> = wheel.files().map(|member| &member.path).collect();
    let absent = wheel.record().rows.iter().filter(|row| !there.contains(&row.path));
    let absent = absent.map(|row| Note::OnlyInRecord(row.path.to_string()));
    let leaving = objects.iter().filter_map(leaving);
    let misplaced = objects.iter().filter_map(|object| {
        let because = purelib(&object.path, wheel.wheel_file().root)?;
        Some(Note::Purelib { file: object.path.clone(), because })
    });
    let notes = leaving.chain(misplaced).chain(recorded.into_iter().flatten()).chain(absent).collect();
    let is_empty = objects.is_empty();
    let code = together(objects, claim, notes);
    if is_empty || code.has_machine() { Ok(code) } else { Err(AuditError::NoMachine) }
}

/// The code of a wheel after a repair, which changed some files and brought others along.
pub(crate) fn repaired(
    before: &Code,
    plan: &Plan,
    changed: impl IntoIterator<Item = Object>,
) -> Result<Code, AuditError> {
    let platforms = plan.platforms.iter().map(String::as_str).collect();
    let kept = before.objects.iter().filter(|object| !plan.edits.contains_key(&object.path)).cloned();
    let mut objects = kept.chain(changed).collect::<Vec<_>>();
    objects.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(together(objects, claim(&platforms)?, Vec::new()))
}

fn together(objects: Vec<Object>, claim: Claim, notes: Vec<Note>) -> Code {
    let external = external_libraries(&objects);
    Code::new(objects, external, claim, notes)
}

/// Whether a file looks for libraries outside of the wheel.
fn leaving(object: &Object) -> Option<Note> {
    let folders: Vec<String> = folders_outside(object).into_iter().map(str::to_owned).collect();
    (!folders.is_empty()).then(|| Note::RunPathLeaves { file: object.path.clone(), folders })
}

/// What sends the file at `path` to purelib; `None` if it is installed elsewhere.
pub(crate) fn purelib(path: &str, root: Root) -> Option<Purelib> {
    match path.split('/').collect::<Vec<_>>().as_slice() {
        [data, "purelib", _, ..] if data.ends_with(".data") => Some(Purelib::Folder),
        [data, _, _, ..] if data.ends_with(".data") => None,
        _ => (root == Root::Purelib).then_some(Purelib::Root),
    }
}

/// What the platform tags say.
fn claim(platforms: &BTreeSet<&str>) -> Result<Claim, AuditError> {
    let is_known = |platform: &str| {
        let families = ["linux_", "manylinux", "musllinux"];
        platform == "any" || families.iter().any(|family| platform.starts_with(family))
    };
    if let Some(other) = platforms.iter().find(|platform| !is_known(platform)) {
        return Err(AuditError::Platform((*other).to_owned()));
    }
    let machine = |platform: &&str| {
        Architecture::ALL.into_iter().find(|machine| platform.ends_with(&format!("_{machine}")))
    };
    let libc = |platform: &&str| {
        [Libc::Glibc, Libc::Musl].into_iter().find(|libc| platform.starts_with(libc.family()))
    };
    let named = Libc::Musl.policies().iter().filter(|policy| {
        policy.architectures().any(|machine| platforms.contains(policy.tag(machine).as_str()))
    });
    Ok(Claim {
        architecture: only(platforms.iter().filter_map(machine)),
        libc: only(platforms.iter().filter_map(libc)),
        musl: named.map(|policy| policy.version().clone()).min(),
    })
}

/// What all agree in.
fn only<T: PartialEq>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

/// A file of native code, and what RECORD says differently of it.
type Native = (Object, Option<Note>);

/// Reads every file of native code, sorted by path. The largest is begun first, lest a thread end with it alone.
fn read_all(wheel: &Wheel<'_>, threads: NonZero<usize>) -> Result<Vec<Native>, AuditError> {
    let mut files: Vec<&Member> = wheel
        .files()
        .filter(|member| member.kind == MemberKind::File && member.size >= MAGIC.len() as u64)
        .collect();
    files.sort_by_key(|member| std::cmp::Reverse(member.size));
    let rows: BTreeMap<_, _> = wheel.record().rows.iter().map(|row| (&row.path, row)).collect();
    let read = |member: &&Member| read(wheel, member, rows.get(&member.path).copied());
    let load = |member: &&Member| Load { time: member.size, memory: member.size };
    let done = in_parallel(threads, &files, load, read);
    let mut done: Vec<_> = files.iter().map(|member| &member.path).zip(done).collect();
    // Of several failures the same one, however large their files are.
    done.sort_by_key(|(path, _)| *path);
    done.into_iter().filter_map(|(_, read)| read.transpose()).collect()
}

/// Reads one file; `None` if it is no native code.
fn read(wheel: &Wheel<'_>, member: &Member, row: Option<&Row>) -> Result<Option<Native>, AuditError> {
    let mut head = [0; HEAD];
    let count = wheel.archive().start(member, &mut head)?;
    if !is_native(&head[..count]) {
        return Ok(None);
    }
    let bytes = wheel.archive().read(member)?;
    let path = member.path.as_str();
    let object =
        Object::read(path, &bytes).map_err(|source| AuditError::Elf { path: path.to_owned(), source })?;
    let note = match row {
        None => Some(Note::NotInRecord(path.to_owned())),
        Some(row) if row.hash.as_ref().is_some_and(|hash| !hash.is_of(&bytes)) => {
            Some(Note::DiffersFromRecord(path.to_owned()))
        }
        Some(_) => None,
    };
    Ok(Some((object, note)))
}

/// Takes files that lie beside each other for code of its own each, by their paths: what one needs is looked for among
/// the others. Files for machines without platform tags are left out.
pub fn read_files(objects: Vec<Object>) -> Vec<(String, Code)> {
    let mut external: BTreeMap<usize, Vec<External>> = BTreeMap::new();
    for External { object, library, chain: _ } in external_libraries(&objects) {
        external.entry(object).or_default().push(External { object: 0, library, chain: vec![0] });
    }
    let mut libcs: BTreeMap<Architecture, BTreeSet<Libc>> = BTreeMap::new();
    for (machine, libc) in objects.iter().filter_map(|object| object.architecture.zip(object.libc)) {
        libcs.entry(machine).or_default().insert(libc);
    }
    // A file that does not say for which C library it is, is for that of the others, if they agree in one.
    let claim = |object: &Object| {
        let beside = object.architecture.and_then(|machine| libcs.get(&machine));
        Claim { libc: beside.and_then(|libcs| only(libcs.iter().copied())), ..Claim::default() }
    };
    let codes = objects.into_iter().enumerate().map(|(number, object)| {
        let external = external.remove(&number).unwrap_or_default();
        let claim = claim(&object);
        (object.path.clone(), Code::new(vec![object], external, claim, Vec::new()))
    });
    codes.filter(|(_, code)| code.has_machine()).collect()
}

#[cfg(test)]
mod tests {
    use hwb_testkit::{Elf, Wheel};

    use super::*;
    use crate::audit::{Audit, Obstacle};
    use crate::exceptions::Exceptions;
    use crate::sysroot::{Library, Sysroot};

    /// The tag, the tag by symbols, what is in the way of the newest policy, and the notes.
    fn check(tag: &str, files: &[(&str, Elf)], expect: &str) {
        let wheel =
            files.iter().fold(Wheel::new("a", "1"), |wheel, (path, elf)| wheel.file(path, elf.build()));
        let wheel = wheel.tag(&format!("cp312-cp312-{tag}")).build();
        let read = read_wheel(&wheel.name, &wheel.bytes, NonZero::new(3).unwrap());
        let said = match read.map(|code| code.audit(&Sysroot::default(), &Exceptions::default())) {
            Ok(Audit { tag, symbol_tag, policies, notes, .. }) => {
                let blockers = policies.last().into_iter().flat_map(|policy| &policy.blockers);
                let obstacles: Vec<&Obstacle> = blockers.map(|blocker| &blocker.obstacle).collect();
                format!("{tag} {symbol_tag} {obstacles:?} {notes:?}")
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(said, expect);
    }

    fn on_x86_64(elf: Elf, expect: &str) {
        check("linux_x86_64", &[("a.so", elf.exports("PyInit_a").needs("libc.so.6"))], expect);
    }

    #[test]
    fn gives_the_oldest_tag_that_is_true() {
        let needs = |version| Elf::new().imports("symbol", version, "libc.so.6");
        on_x86_64(needs("GLIBC_2.2.5"), "manylinux_2_5_x86_64 manylinux_2_5_x86_64 [] []");
        on_x86_64(needs("GLIBC_2.17"), "manylinux_2_17_x86_64 manylinux_2_17_x86_64 [] []");
        on_x86_64(needs("GLIBC_ABI_DT_RELR"), "manylinux_2_36_x86_64 manylinux_2_36_x86_64 [] []");
        on_x86_64(needs("GLIBC_2.42"), "manylinux_2_42_x86_64 manylinux_2_42_x86_64 [] []");
        on_x86_64(needs("OPENSSL_3.0.0"), "manylinux_2_5_x86_64 manylinux_2_5_x86_64 [] []");
        on_x86_64(Elf::new().needs("libexpat.so.1"), "manylinux_2_12_x86_64 manylinux_2_5_x86_64 [] []");
        on_x86_64(
            Elf::new().needs("libz.so.1").imports_unversioned("uncompress2"),
            "manylinux_2_34_x86_64 manylinux_2_5_x86_64 [] []",
        );
        // glibc's own symbol, which the library that would forbid it is not asked for.
        on_x86_64(
            Elf::new().imports_unversioned("uncompress2"),
            "manylinux_2_5_x86_64 manylinux_2_5_x86_64 [] []",
        );
        let glibc = Elf::s390x().imports("symbol", "GLIBC_2.2", "libc.so.6");
        check("linux_s390x", &[("a.so", glibc)], "manylinux_2_17_s390x manylinux_2_17_s390x [] []");
    }

    #[test]
    fn says_what_no_policy_allows() {
        let plain = "linux_x86_64 manylinux_2_5_x86_64";
        on_x86_64(Elf::new().needs("libfar.so.2"), &format!("{plain} [Library(\"libfar.so.2\")] []"));
        for library in
            ["libpython3.12.so.1.0", "libpython3.13t.so.1.0", "libpython2.7.so.1.0", "libpython3.5m.so.1.0"]
        {
            on_x86_64(Elf::new().needs(library), &format!("{plain} [LibPython(\"{library}\")] []"));
        }
        on_x86_64(Elf::new().isa(7), &format!("{plain} [Isa(V3)] []"));
        on_x86_64(Elf::new().isa(1), "manylinux_2_5_x86_64 manylinux_2_5_x86_64 [] []");
        for symbol in ["PyUnicodeUCS2_AsUTF8String", "PyFPE_jbuf"] {
            let expect = format!("{plain} [PythonSymbol(\"{symbol}\")] []");
            on_x86_64(Elf::new().imports_unversioned(symbol), &expect);
        }
        let private = "[PrivateSymbol { library: \"libz.so.1\", symbol: \"zcalloc\" }]";
        on_x86_64(
            Elf::new().needs("libz.so.1").imports_unversioned("zcalloc"),
            &format!("{plain} {private} []"),
        );
    }

    #[test]
    fn notes_what_does_not_decide() {
        let tag = "manylinux_2_5_x86_64 manylinux_2_5_x86_64 []";
        on_x86_64(Elf::new().executable_stack(), &format!("{tag} [ExecutableStack(\"a.so\")]"));
        on_x86_64(Elf::new().text_relocations(), &format!("{tag} [TextRelocations(\"a.so\")]"));
        check("linux_x86_64", &[("a.so", Elf::new())], &format!("{tag} [UnknownLibc(\"a.so\")]"));
    }

    #[test]
    fn notes_run_paths_that_leave_the_wheel() {
        let tag = "manylinux_2_5_x86_64 manylinux_2_5_x86_64 []";
        let at = |path: &str, elf: Elf, folders: &str| {
            let notes = match folders {
                "" => "[]".to_owned(),
                folders => format!("[RunPathLeaves {{ file: \"{path}\", folders: [{folders}] }}]"),
            };
            check("linux_x86_64", &[(path, elf.needs("libc.so.6"))], &format!("{tag} {notes}"));
        };
        let runpath = |folders| Elf::new().runpath(folders);
        at("p/a.so", runpath("$ORIGIN:${ORIGIN}/../p.libs:$ORIGIN/x/../../y:$ORIGIN/.."), "");
        at("p/a.so", runpath("/opt/lib:$ORIGIN:$ORIGIN/../../x"), "\"/opt/lib\", \"$ORIGIN/../../x\"");
        at("p/a.so", Elf::new().rpath("/opt/lib"), "\"/opt/lib\"");
        // Relative to wherever the program was started.
        at("p/a.so", runpath("lib:$LIB:$ORIGINAL"), "\"lib\", \"$LIB\", \"$ORIGINAL\"");
        at("a-1.data/platlib/p/a.so", runpath("$ORIGIN/../p.libs"), "");
        at("a-1.data/platlib/a.so", runpath("$ORIGIN/../a.libs"), "\"$ORIGIN/../a.libs\"");
        // Scripts are installed beside the folder of packages, wherever that is.
        at("a-1.data/scripts/a", runpath("$ORIGIN/../lib/python3.12/site-packages/a.libs"), "");
    }

    #[test]
    fn notes_native_code_that_goes_to_purelib() {
        let tag = "manylinux_2_5_x86_64 manylinux_2_5_x86_64 []";
        // The wheels of the tests say `Root-Is-Purelib: true` if and only if they are for any platform.
        let at = |platform: &str, path: &str, because: &str| {
            let notes = match because {
                "" => "[]".to_owned(),
                because => format!("[Purelib {{ file: \"{path}\", because: {because} }}]"),
            };
            check(platform, &[(path, Elf::new().needs("libc.so.6"))], &format!("{tag} {notes}"));
        };
        at("linux_x86_64", "purelib/a.so", "");
        at("linux_x86_64", "a-1.data/platlib/a.so", "");
        at("linux_x86_64", "a-1.data/purelib/p/a.so", "Folder");
        at("any", "p/a.so", "Root");
        at("any", "a-1.data/purelib/a.so", "Folder");
        at("any", "a-1.data/platlib/a.so", "");
        at("any", "a-1.data/scripts/a", "");
    }

    #[test]
    fn tells_machines_and_c_libraries_apart() {
        let musl = || Elf::new().needs("libc.musl-x86_64.so.1");
        let newer = "musllinux_1_2_x86_64 musllinux_1_2_x86_64 [] []";
        check("linux_x86_64", &[("a.so", musl())], newer);
        check("musllinux_1_2_x86_64", &[("a.so", Elf::new().needs("libc.so"))], newer);
        let older = "musllinux_1_1_x86_64 musllinux_1_1_x86_64 [] []";
        check("musllinux_1_1_x86_64.musllinux_1_2_x86_64", &[("a.so", musl())], older);
        check("manylinux_2_17_x86_64", &[("a.so", musl())], newer);
        let arm = || Elf::armv7l().imports("symbol", "GLIBC_2.4", "libc.so.6");
        check("linux_armv7l", &[("a.so", arm())], "manylinux_2_17_armv7l manylinux_2_17_armv7l [] []");
        let musl_arm = Elf::armv7l().needs("libc.musl-armhf.so.1");
        let armv6l = "musllinux_1_2_armv6l musllinux_1_2_armv6l [] []";
        check("linux_armv6l", &[("a.so", musl_arm)], armv6l);
        check("linux_armv6l", &[("a.so", arm())], "linux_armv6l linux_armv6l [] []");
        let glibc = || Elf::new().needs("libc.so.6");
        check(
            "linux_x86_64",
            &[
                ("a.so", glibc()),
                ("b.so", Elf::aarch64().needs("libc.so.6")),
                ("c.so", musl()),
                ("d.so", Elf::ppc()),
            ],
            "manylinux_2_5_x86_64 manylinux_2_5_x86_64 [] \
             [OtherPlatform { file: \"b.so\", platform: \"aarch64 with glibc\" }, \
             OtherPlatform { file: \"c.so\", platform: \"x86_64 with musl\" }, \
             OtherPlatform { file: \"d.so\", platform: \"a machine that has no platform tag\" }]",
        );
        check(
            "linux_ppc",
            &[("a.so", Elf::ppc())],
            "no file of the wheel is for a machine that has platform tags",
        );
        check(
            "macosx_11_0_arm64",
            &[],
            "the wheel is for macosx_11_0_arm64: only wheels for manylinux, musllinux and Linux are audited",
        );
        check("linux_x86_64", &[], "any any [] []");
    }

    #[test]
    fn takes_what_names_no_c_library_for_what_there_is_evidence_of() {
        let (bare, musl) = (Elf::new, || Elf::new().needs("libc.musl-x86_64.so.1"));
        let glibc = |notes: &str| format!("manylinux_2_5_x86_64 manylinux_2_5_x86_64 [] [{notes}]");
        let musl_is = |version: &str| format!("musllinux_{version}_x86_64 musllinux_{version}_x86_64 [] []");
        let guess = glibc("UnknownLibc(\"a.so\")");
        // By the name of the wheel, where all of it agrees.
        check("musllinux_1_1_x86_64", &[("a.so", bare())], &musl_is("1_1"));
        check("manylinux_2_17_x86_64", &[("a.so", bare())], &glibc(""));
        check("manylinux_2_17_x86_64.musllinux_1_2_x86_64", &[("a.so", bare())], &guess);
        check("linux_x86_64", &[("a.so", bare()), ("b.so", bare())], &guess);
        // By another file; that counts for more than the name.
        check("linux_x86_64", &[("a.so", bare()), ("b.so", musl())], &musl_is("1_2"));
        check("manylinux_2_17_x86_64", &[("a.so", bare()), ("b.so", musl())], &musl_is("1_2"));
        check("linux_x86_64", &[("a.so", bare()), ("b.so", bare().needs("libc.so.6"))], &glibc(""));
        // By what only glibc has.
        check("linux_x86_64", &[("a.so", bare().needs("libm.so.6"))], &glibc(""));
        let versioned = bare().imports("symbol", "GLIBC_2.3", "libother.so.1");
        let read = Object::read("a.so", &versioned.build()).unwrap();
        assert_eq!(read.libc, Some(Libc::Glibc));
        // By the name of the module.
        check("linux_x86_64", &[("a.cpython-312-x86_64-linux-musl.so", bare())], &musl_is("1_2"));
        check("linux_x86_64", &[("a.cpython-311-x86_64-linux-gnu.so", bare())], &glibc(""));
        let old = "a.cpython-310-x86_64-linux-gnu.so";
        check("linux_x86_64", &[(old, bare())], &glibc(&format!("UnknownLibc(\"{old}\")")));
    }

    #[test]
    fn files_beside_each_other_are_for_the_same_c_library() {
        let check = |files: &[(&str, Elf)], expect: &[&str]| {
            let read = |(path, elf): &(&str, Elf)| Object::read(path, &elf.build()).unwrap();
            let codes = read_files(files.iter().map(read).collect());
            let said = codes.iter().map(|(path, code)| {
                let Audit { tag, notes, .. } = code.audit(&Sysroot::default(), &Exceptions::default());
                format!("{path} {tag} {notes:?}")
            });
            assert_eq!(said.collect::<Vec<_>>(), expect);
        };
        let (bare, musl) = (("a.so", Elf::new()), ("b.so", Elf::new().needs("libc.musl-x86_64.so.1")));
        let guess = "a.so manylinux_2_5_x86_64 [UnknownLibc(\"a.so\")]";
        check(std::slice::from_ref(&bare), &[guess]);
        let of_musl = "b.so musllinux_1_2_x86_64 []";
        check(&[bare.clone(), musl.clone()], &["a.so musllinux_1_2_x86_64 []", of_musl]);
        let glibc = ("c.so", Elf::new().needs("libc.so.6"));
        check(&[bare.clone(), musl, glibc], &[guess, of_musl, "c.so manylinux_2_5_x86_64 []"]);
        // Those for another machine say nothing.
        let arm = ("d.so", Elf::aarch64().needs("libc.musl-aarch64.so.1"));
        check(&[bare, arm], &[guess, "d.so musllinux_1_2_aarch64 []"]);
    }

    #[test]
    fn libraries_of_a_system_count_as_if_they_came_along() {
        let wheel = Wheel::new("a", "1").tag("cp312-cp312-linux_x86_64");
        let wheel = wheel.file("a.so", Elf::new().needs("libfar.so.2").needs("libc.so.6").build()).build();
        let code = read_wheel(&wheel.name, &wheel.bytes, NonZero::<usize>::MIN).unwrap();
        let (mut sysroot, none) = (Sysroot::default(), Exceptions::default());
        let far =
            Elf::new().imports("new", "GLIBC_2.34", "libc.so.6").needs("libfarther.so").needs("libfar.so.2");
        let mut looked_for = Vec::new();
        loop {
            let wanted = code.wanted(&sysroot, &none);
            if wanted.is_empty() {
                break;
            }
            for wanted in wanted {
                looked_for.push(wanted.library.clone());
                let is_far = wanted.library == "libfar.so.2";
                let found = is_far.then(|| Library::read("/usr/lib/libfar.so.2", &far.build()).unwrap());
                sysroot.note(wanted, found);
            }
        }
        assert_eq!(looked_for, ["libfar.so.2", "libfarther.so"]);
        let audit = code.audit(&sysroot, &none);
        assert_eq!(audit.symbol_tag, "manylinux_2_34_x86_64");
        assert_eq!(audit.external_libraries, ["libfar.so.2", "libfarther.so"].map(str::to_owned).into());
        let last = audit.policies[0].blockers.last().unwrap();
        assert_eq!(last.chain, ["a.so", "/usr/lib/libfar.so.2"]);
    }
}
