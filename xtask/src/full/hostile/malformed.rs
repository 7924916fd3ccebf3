//! Wheels with malformed ELF files, and libraries that should not be grafted.

use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context as _, ensure};
use hwb_testkit::hostile::Offer;
use hwb_testkit::{CommandContext, Wheel};

use super::image::{Image, tag};
use super::surgery::{DYNAMIC, Fate, HEADERS, SEGMENTS, VERSIONS};
use crate::programs::{capture, program};

/// The member that is malformed.
const MEMBER: &str = "bad/_native.so";
/// The library that it needs, which is to be grafted.
const LIBRARY: &str = "libhelper.so.1";
/// What that needs in the one case where it needs anything.
const OTHER: &str = "libother.so.1";
/// The code of the member: it needs versions of the C library as well.
const NATIVE: &str = "#include <stdio.h>\n\
                      int helper(void);\n\
                      void *PyInit__native(void) { return helper() ? stderr : (void *)(long)puts(\"\"); }\n";
/// What a command may take; a good wheel needs much less. The address space has no bound: threads reserve much of it.
const BOUNDS: [&str; 4] = ["--data=536870912", "--cpu=30", "timeout", "60"];

/// A wheel, and what lies in the folder of the libraries that it needs.
#[derive(Debug)]
pub(super) struct Malformed {
    /// What is wrong.
    pub(super) what: String,
    fate: Fate,
    /// Which file is wrong.
    named: &'static str,
    member: Vec<u8>,
    libraries: Vec<(&'static str, Library)>,
}

/// What stands at a library's path.
#[derive(Debug, Clone)]
enum Library {
    File(Vec<u8>),
    Folder,
    Pipe,
    /// A link to itself.
    Loop,
}

/// What is done with a wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Audit,
    Repair,
}

/// All of them; the first is the one that nothing is wrong with.
pub(super) fn all() -> anyhow::Result<(Malformed, Vec<Malformed>)> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let compile =
        |name: &str, code: &str, options: &[&str]| Image::compile(folder.path(), name, code, options);
    let helper = compile(LIBRARY, "int helper(void) { return 1; }\n", &[])?;
    let needs_helper = format!("-l:{LIBRARY}");
    let native =
        compile("_native.so", NATIVE, &[&needs_helper, "-Wl,--enable-new-dtags,-rpath,$ORIGIN/none"])?;
    let other = "int helper(void);\nint other(void) { return helper(); }\n";
    let other = compile(OTHER, other, &[&needs_helper])?;
    let circular = "int other(void);\nint helper(void) { return other(); }\n";
    let circular = compile(LIBRARY, circular, &[&format!("-l:{OTHER}")])?;
    let case = |(what, fate): (&str, Fate), member: &Image| Malformed {
        what: what.to_owned(),
        fate,
        named: MEMBER,
        member: member.0.clone(),
        libraries: vec![(LIBRARY, Library::File(helper.0.clone()))],
    };
    let of_library = |(what, fate): (&str, Fate), library: Library| Malformed {
        named: LIBRARY,
        libraries: vec![(LIBRARY, library)],
        ..case((&format!("library to graft: {what}"), fate), &native)
    };
    let mut all = Vec::new();
    for (what, fate, operate) in [HEADERS, SEGMENTS, DYNAMIC, VERSIONS].concat() {
        all.push(case((what, fate), &native.with(operate)));
    }
    for (what, fate, operate) in HEADERS.iter().copied().filter(|(_, fate, _)| *fate == Fate::Refused) {
        all.push(of_library((what, fate), Library::File(helper.with(operate).0)));
    }
    let strange = [
        ("a text", Library::File(b"INPUT(-lhelper)\n".to_vec())),
        ("an empty file", Library::File(Vec::new())),
        ("a folder", Library::Folder),
        ("a pipe that nobody writes to", Library::Pipe),
        ("a link to itself", Library::Loop),
    ];
    all.extend(strange.map(|(what, library)| of_library((what, Fate::Refused), library)));
    let mut cycle = of_library(("needs what needs it", Fate::Either), Library::File(circular.0));
    cycle.libraries.push((OTHER, Library::File(other.0)));
    all.push(cycle);
    all.push(case(
        ("needs itself", Fate::Either),
        &native.with(|image| {
            let (needed, own) = (image.name(tag::NEEDED), image.name(tag::SONAME));
            image.0.copy_within(own..=own + "_native.so".len(), needed);
        }),
    ));
    Ok((case(("nothing", Fate::Either), &native), all))
}

/// Offers one and returns why hwb refused it, naming the file; `None` where all went well.
pub(super) fn offer(hwb: &Path, case: &Malformed, verb: Verb) -> anyhow::Result<Option<String>> {
    let context = CommandContext::new("prlimit");
    let (libraries, out) = (context.home().join("libraries"), context.work().join("out"));
    fs_err::create_dir(&libraries)?;
    for (name, library) in &case.libraries {
        library.place(&libraries.join(name))?;
    }
    let wheel = Wheel::new("bad", "1.0").tag("cp311-cp311-linux_x86_64").file("bad/__init__.py", "");
    let wheel = wheel.file(MEMBER, &case.member).build().write_to(&context.home());
    let hwb = |verb: &str| context.command(BOUNDS).arg(hwb).arg(verb);
    let outcome = match verb {
        Verb::Audit => hwb("audit").arg(wheel),
        Verb::Repair => {
            hwb("repair").arg("-q").arg("--lib-dir").arg(libraries).arg("-o").arg(&out).arg(wheel)
        }
    }
    .run();
    let said = outcome.stderr.lines().map(str::trim).collect::<Vec<_>>().join(" / ");
    let said = context.filtered(&said);
    let mut left = CommandContext::files_below(&context.work());
    left.extend(CommandContext::files_below(&context.temporary()));
    if outcome.code == Some(0) {
        let is_sound = verb == Verb::Audit && case.named == LIBRARY;
        ensure!(case.fate == Fate::Either || is_sound, "it is not refused");
        ensure!(left.len() == usize::from(verb == Verb::Repair), "it left {left:?}");
        for made in left {
            let outcome = hwb("audit").arg(context.work().join(&made)).run();
            ensure!(outcome.code == Some(0), "{made} is refused: {}", outcome.stderr);
        }
        return Ok(None);
    }
    ensure!(Offer::Wheel.is_refusal(&outcome), "no refusal, but exit code {:?}: {said}", outcome.code);
    ensure!(outcome.stderr.contains(case.named), "it does not name {}: {said}", case.named);
    ensure!(left.is_empty(), "it left {left:?}");
    // What was not done to which wheel is the same for all.
    Ok(Some(said.split_once(" / caused by: ").map_or(said.as_str(), |(_, causes)| causes).to_owned()))
}

impl Library {
    fn place(&self, path: &Path) -> anyhow::Result<()> {
        match self {
            Self::File(bytes) => fs_err::write(path, bytes)?,
            Self::Folder => fs_err::create_dir(path)?,
            Self::Pipe => drop(capture(program("mkfifo").arg(path))?),
            Self::Loop => symlink(path, path)?,
        }
        Ok(())
    }
}
