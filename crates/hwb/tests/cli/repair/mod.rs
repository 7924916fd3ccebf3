//! `hwb repair`, with native code for i686 that needs libraries of a system which the test makes; [`origin`] has where
//! libraries come from, [`written`] what is written. In [`loaded`] there are the compiler and the loader of this machine.

mod loaded;
mod origin;
mod written;

use fs_err as fs;
use hwb_testkit::wheel::{Member, Wheel, zip};
use hwb_testkit::{CommandContext, Elf, Outcome, command::python};
use insta::assert_snapshot;
use serde_json::Value;

use crate::{context, member};

const WHEEL: &str = "greeter-1.0-py3-none-linux_i686.whl";
const REPAIRED: &str = "greeter-1.0-py3-none-manylinux2014_i686.manylinux_2_17_i686.whl";

/// A place with a wheel, and with a system that has nothing in it.
fn place(wheel: &Wheel) -> CommandContext {
    let context = context().filter(r"-[0-9a-f]{8}\b", "-[HASH]");
    fs::create_dir(context.work().join("system")).unwrap();
    wheel.build().write_to(&context.work());
    context
}

/// Writes a file below the working folder.
fn put(context: &CommandContext, path: &str, contents: impl AsRef<[u8]>) {
    let path = context.work().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, contents).unwrap();
}

/// A wheel for i686.
fn wheel(files: &[(&str, Elf)]) -> Wheel {
    let wheel = Wheel::new("greeter", "1.0").tag("py3-none-linux_i686").file("greeter/__init__.py", "");
    files.iter().fold(wheel, |wheel, (path, elf)| wheel.file(path, elf.build()))
}

/// An extension module that needs glibc 2.14.
fn extension() -> Elf {
    Elf::i686().exports("PyInit_fast").imports("memcpy", "GLIBC_2.14", "libc.so.6")
}

fn library(name: &str) -> Elf {
    Elf::i686().soname(name).needs("libc.so.6")
}

/// Repairs with the libraries of the system of the test.
fn repair(context: &CommandContext, arguments: &[&str]) -> Outcome {
    context.run(["repair", "--sysroot", "system"].iter().chain(arguments))
}

/// What is in the folder of repaired wheels.
fn wheelhouse(context: &CommandContext) -> Vec<String> {
    CommandContext::files_below(&context.work().join("wheelhouse"))
}

/// What is in a wheel, as another program reads it.
fn contents(context: &CommandContext, wheel: &str) -> String {
    let place = CommandContext::new(python());
    let path = context.work().join("wheelhouse").join(wheel);
    let said = place.command(["-I", "-c", include_str!("contents.py")]).arg(path).run().success();
    context.filtered(&said.stdout)
}

/// The native code in a wheel, as another program reads it.
fn native(context: &CommandContext, wheel: &str) -> String {
    let contents = contents(context, wheel);
    contents.lines().filter(|line| line.contains(": ")).map(|line| format!("{line}\n")).collect()
}

/// A wheel with a file that needs a library, which needs another one.
fn needing_two() -> CommandContext {
    let context = place(&wheel(&[("greeter/fast.so", extension().needs("libfar.so.2"))]));
    let far = library("libfar.so.2").needs("libfarther.so.1").runpath("/opt/far");
    put(&context, "system/usr/lib/libfar.so.2", far.build());
    put(&context, "system/opt/far/libfarther.so.1", library("libfarther.so.1").build());
    context
}

#[test]
fn a_library_comes_along_with_what_it_needs() {
    let context = needing_two();
    assert_snapshot!(repair(&context, &["--dry-run", WHEEL]), @r"
    exit: 0
    --- stdout
    greeter-1.0-py3-none-linux_i686.whl

    would be   greeter-1.0-py3-none-manylinux2014_i686.manylinux_2_17_i686.whl
    tag        manylinux_2_17_i686
    platforms  manylinux2014_i686, manylinux_2_17_i686
    grafted    libfar-[HASH].so.2 /usr/lib/libfar.so.2
               libfarther-[HASH].so.1 /opt/far/libfarther.so.1
    changes    greeter/fast.so needs libfar-[HASH].so.2 in place of libfar.so.2
               greeter/fast.so gets the run path $ORIGIN/../greeter.libs
    ");
    assert!(wheelhouse(&context).is_empty());
    assert_snapshot!(repair(&context, &[WHEEL]), @r"
    exit: 0
    --- stdout
    greeter-1.0-py3-none-linux_i686.whl

    repaired   wheelhouse/greeter-1.0-py3-none-manylinux2014_i686.manylinux_2_17_i686.whl
    tag        manylinux_2_17_i686
    platforms  manylinux2014_i686, manylinux_2_17_i686
    grafted    libfar-[HASH].so.2 /usr/lib/libfar.so.2
               libfarther-[HASH].so.1 /opt/far/libfarther.so.1
    ");
    assert_eq!(wheelhouse(&context), [REPAIRED]);
    assert_snapshot!(contents(&context, REPAIRED), @r"
    greeter.libs/libfar-[HASH].so.2 x: is libfar-[HASH].so.2, needs libc.so.6, needs libfarther-[HASH].so.1, rpath $ORIGIN
    greeter.libs/libfarther-[HASH].so.1 x: is libfarther-[HASH].so.1, needs libc.so.6
    greeter/__init__.py
    greeter/fast.so: needs libc.so.6, needs libfar-[HASH].so.2, rpath $ORIGIN/../greeter.libs
    greeter-1.0.dist-info/METADATA
    greeter-1.0.dist-info/WHEEL
    greeter-1.0.dist-info/sboms/hwb.cdx.json
    greeter-1.0.dist-info/RECORD
    ");
    context.run(["audit", "--require", "manylinux_2_17", "wheelhouse"]).success();
    context.run(["inspect", &format!("wheelhouse/{REPAIRED}")]).success();
}

#[test]
fn what_was_planned_is_what_is_done() {
    let context = needing_two();
    let planned = repair(&context, &["--dry-run", "--json", WHEEL]).success().json();
    assert!(wheelhouse(&context).is_empty());
    let mut done = repair(&context, &["--json", WHEEL]).success().json();
    let wheel = context.work().join("wheelhouse").join(REPAIRED);
    assert_eq!(done[0]["path"].as_str(), wheel.to_str());
    let digest = hwb_testkit::sha256_hex(&fs::read(wheel).unwrap());
    assert_eq!(done[0]["digest"], format!("sha256:{digest}"));
    for written in ["path", "digest"] {
        done[0][written] = Value::Null;
    }
    assert_eq!(done, planned);
    assert_snapshot!(context.filtered(&serde_json::to_string_pretty(&planned).unwrap()), @r#"
    [
      {
        "wheel": "greeter-1.0-py3-none-linux_i686.whl",
        "file": "greeter-1.0-py3-none-manylinux2014_i686.manylinux_2_17_i686.whl",
        "path": null,
        "digest": null,
        "tag": "manylinux_2_17_i686",
        "platforms": [
          "manylinux2014_i686",
          "manylinux_2_17_i686"
        ],
        "grafted": [
          {
            "source": "/usr/lib/libfar.so.2",
            "path": "greeter.libs/libfar-[HASH].so.2",
            "package": null,
            "needed_by": [
              "greeter/fast.so"
            ]
          },
          {
            "source": "/opt/far/libfarther.so.1",
            "path": "greeter.libs/libfarther-[HASH].so.1",
            "package": null,
            "needed_by": [
              "/usr/lib/libfar.so.2"
            ]
          }
        ],
        "provided": {},
        "changed": [
          {
            "file": "greeter/fast.so",
            "moved_to": null,
            "needed": {
              "libfar.so.2": "libfar-[HASH].so.2"
            },
            "run_path": "$ORIGIN/../greeter.libs"
          }
        ]
      }
    ]
    "#);
}

/// The platform tags of what is repaired, or the error. Its name and its WHEEL agree, and a second time changes nothing.
fn platforms(had: &str, elf: &Elf, arguments: &[&str]) -> String {
    let wheel = Wheel::new("greeter", "1.0").tag(&format!("cp311.cp312-abi3-{had}"));
    let wheel = wheel.file("greeter/fast.so", elf.build());
    let context = place(&wheel);
    let name = wheel.file_name();
    let outcome = repair(&context, &[arguments, &[name.as_str()]].concat());
    if outcome.code != Some(0) {
        let said = context.filtered(&outcome.stderr);
        let error = said.lines().find(|line| line.starts_with("  caused by: ")).unwrap_or(&said);
        assert!(wheelhouse(&context).is_empty());
        return format!("{}: {}", outcome.code.unwrap(), error.trim_start_matches("  caused by: "));
    }
    let [made] = &wheelhouse(&context)[..] else { panic!("{outcome}") };
    let place = context.work().join("wheelhouse").join(made);
    let text = member(&place, "/WHEEL");
    assert!(text.contains("Root-Is-Purelib: false\n"), "{text}");
    let platforms = made.trim_end_matches(".whl").rsplit('-').next().unwrap();
    let mut tags: Vec<String> = ["cp311", "cp312"]
        .into_iter()
        .flat_map(|python| platforms.split('.').map(move |platform| format!("{python}-abi3-{platform}")))
        .collect();
    tags.sort();
    let said: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("Tag: ")).collect();
    assert_eq!(said, tags);
    let path = format!("wheelhouse/{made}");
    repair(&context, &[arguments, &["-o", "again", path.as_str()]].concat()).success();
    assert_eq!(CommandContext::files_below(&context.work().join("again")), [made.as_str()]);
    assert!(fs::read(context.work().join("again").join(made)).unwrap() == fs::read(place).unwrap());
    platforms.to_owned()
}

#[test]
fn the_tags_are_those_that_are_deserved() {
    let auto = |had: &str| platforms(had, &extension(), &[]);
    let plat = |tag: &str| platforms("linux_i686", &extension(), &["--plat", tag]);
    let both = "manylinux2014_i686.manylinux_2_17_i686";
    assert_eq!(auto("linux_i686"), both);
    // What it had stays if it is true, and goes if it is not.
    assert_eq!(auto("manylinux_2_28_i686.linux_i686"), format!("{both}.manylinux_2_28_i686"));
    assert_eq!(auto("manylinux1_i686.manylinux_2_5_i686"), both);
    assert_eq!(auto("manylinux_2_17_aarch64.manylinux_2_12_i686"), both);
    assert_eq!(auto("musllinux_1_2_i686"), both);
    assert_eq!(auto("any"), both);
    for tag in ["auto", "manylinux_2_17", "manylinux_2_17_i686", "manylinux2014", "manylinux2014_i686"] {
        assert_eq!(plat(tag), both, "{tag}");
    }
    assert_eq!(plat("manylinux_2_28"), format!("{both}.manylinux_2_28_i686"));
    let only = platforms("linux_i686", &extension(), &["--plat", "manylinux_2_28", "--only-plat"]);
    assert_eq!(only, "manylinux_2_28_i686");
    let only = platforms("manylinux_2_31_i686", &extension(), &["--only-plat"]);
    assert_eq!(only, both);
    assert_snapshot!(plat("manylinux1"), @"6: the wheel cannot be repaired for manylinux_2_5_i686: `greeter/fast.so` needs GLIBC_2.14 of libc.so.6");
    assert_snapshot!(plat("manylinux_2_17_aarch64"), @"2: `[LINUX]` is asked for, but the wheel is for i686 with glibc");
    assert_snapshot!(plat("musllinux_1_2"), @"2: `musllinux_1_2` is asked for, but the wheel is for i686 with glibc");
    assert_snapshot!(plat("manylinux_2_16"), @"2: `manylinux_2_16` is not the tag of a policy");
    assert_snapshot!(plat("manylinux_2_17_vax"), @"2: `manylinux_2_17_vax` is not the tag of a policy");
    let musl = Elf::i686().needs("libc.musl-x86.so.1");
    assert_eq!(platforms("linux_i686", &musl, &[]), "musllinux_1_2_i686");
    assert_eq!(platforms("musllinux_1_1_i686", &musl, &[]), "musllinux_1_1_i686");
    let asked = platforms("linux_i686", &musl, &["--plat", "musllinux_1_1"]);
    assert_eq!(asked, "musllinux_1_1_i686.musllinux_1_2_i686");
    assert_snapshot!(platforms("linux_armv6l", &Elf::armv7l().needs("libc.so.6"), &[]), @"6: the wheel is for armv6l with glibc, which no policy covers");
}

#[test]
fn what_cannot_be_repaired_says_why() {
    let context = place(&wheel(&[("greeter/fast.so", extension().needs("libfar.so.2"))]));
    put(&context, "system/usr/lib/libfar.so.2", library("libfar.so.2").needs("libfarther.so.1").build());
    assert_snapshot!(repair(&context, &[WHEEL]), @r"
    exit: 6
    --- stdout
    greeter-1.0-py3-none-linux_i686.whl

      /usr/lib/libfar.so.2 needs libfarther.so.1, which is not part of every system (loaded by greeter/fast.so)
        no folder that was searched has it for i686
    --- stderr
    error: failed to repair [WORK]/greeter-1.0-py3-none-linux_i686.whl
      caused by: the wheel cannot be repaired for manylinux_2_42_i686: `/usr/lib/libfar.so.2` needs `libfarther.so.1`, of which no file was found that can be loaded
    hint: `--lib-dir DIR` names a folder that libraries are in, `--exclude GLOB` what will be there without them
    ");
    assert_snapshot!(repair(&context, &["--plat", "manylinux1", WHEEL]), @r"
    exit: 6
    --- stdout
    greeter-1.0-py3-none-linux_i686.whl

      greeter/fast.so needs GLIBC_2.14 of libc.so.6 (memcpy)
        build where glibc is no newer than 2.5, as in an image of manylinux_2_5
      /usr/lib/libfar.so.2 needs libfarther.so.1, which is not part of every system (loaded by greeter/fast.so)
        no folder that was searched has it for i686
    --- stderr
    error: failed to repair [WORK]/greeter-1.0-py3-none-linux_i686.whl
      caused by: the wheel cannot be repaired for manylinux_2_5_i686: `greeter/fast.so` needs GLIBC_2.14 of libc.so.6 (and 1 more)
    hint: `--lib-dir DIR` names a folder that libraries are in, `--exclude GLOB` what will be there without them
    ");
    let report = repair(&context, &["--json", WHEEL]).exit(6).json();
    assert_eq!(report[0]["wheel"], WHEEL);
    assert_eq!(report[0]["error"]["kind"], "check");
    assert_eq!(report[0]["blockers"][0]["library"], "libfarther.so.1");
    let refused = |files: &[(&str, Elf)]| {
        let context = place(&wheel(files));
        put(&context, "system/lib/libfar.so.2", library("libfar.so.2").build());
        let outcome = repair(&context, &[WHEEL]);
        assert!(wheelhouse(&context).is_empty());
        outcome
    };
    let far = || extension().needs("libfar.so.2");
    assert_snapshot!(refused(&[("greeter-1.0.data/data/lib/far.so", far())]), @r"
    exit: 6
    --- stderr
    error: failed to repair [WORK]/greeter-1.0-py3-none-linux_i686.whl
      caused by: `greeter-1.0.data/data/lib/far.so` needs a library that would be installed elsewhere, and no run path leads there for certain
    ");
    assert_snapshot!(refused(&[("greeter-1.0.data/purelib/greeter/fast.so", extension())]), @r"
    exit: 6
    --- stderr
    error: failed to repair [WORK]/greeter-1.0-py3-none-linux_i686.whl
      caused by: `greeter-1.0.data/purelib/greeter/fast.so` is native code and is sent to purelib, where it does not belong
    ");
    assert_snapshot!(refused(&[("greeter/fast.so", extension().imports_unversioned("PyFPE_jbuf"))]), @r"
    exit: 6
    --- stdout
    greeter-1.0-py3-none-linux_i686.whl

      greeter/fast.so needs PyFPE_jbuf, which not every Python has
        build with a Python that was configured without `--with-fpectl`
    --- stderr
    error: failed to repair [WORK]/greeter-1.0-py3-none-linux_i686.whl
      caused by: the wheel cannot be repaired for manylinux_2_42_i686: `greeter/fast.so` needs PyFPE_jbuf
    ");
    assert_snapshot!(refused(&[("greeter/fast.so", extension().needs("./libfar.so.2"))]), @r"
    exit: 6
    --- stdout
    greeter-1.0-py3-none-linux_i686.whl

      greeter/fast.so needs ./libfar.so.2, which is not part of every system
        no folder that was searched has it for i686
    --- stderr
    error: failed to repair [WORK]/greeter-1.0-py3-none-linux_i686.whl
      caused by: the wheel cannot be repaired for manylinux_2_42_i686: `greeter/fast.so` needs `./libfar.so.2`, of which no file was found that can be loaded
    hint: `--lib-dir DIR` names a folder that libraries are in, `--exclude GLOB` what will be there without them
    ");
    // What needs nothing may lie anywhere.
    let context = place(&wheel(&[("greeter-1.0.data/data/lib/alone.so", library("alone.so"))]));
    repair(&context, &[WHEEL]).success();
}

#[test]
fn a_link_in_a_wheel_is_refused() {
    let whole = wheel(&[("greeter/fast.so", extension())]);
    let mut members: Vec<Member> =
        whole.members().iter().map(|(path, data)| Member::deflated(path, data)).collect();
    members.insert(0, Member::link("greeter/libfast.so", "fast.so"));
    let context = place(&whole);
    put(&context, WHEEL, zip(&members));
    assert_snapshot!(repair(&context, &[WHEEL]), @r"
    exit: 6
    --- stderr
    error: failed to repair [WORK]/greeter-1.0-py3-none-linux_i686.whl
      caused by: `greeter/libfast.so` is a symbolic link, which a wheel cannot hold
    ");
    assert!(wheelhouse(&context).is_empty());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let context = place(&wheel(&[("greeter/fast.so", extension())]));
    put(&context, "greeter.tar.gz", "");
    assert_snapshot!(repair(&context, &["greeter.tar.gz"]), @r"
    exit: 2
    --- stderr
    error: [WORK]/greeter.tar.gz is not a wheel
    ");
    assert_snapshot!(context.run(["repair", WHEEL, "--sysroot", "absent"]), @r"
    exit: 2
    --- stderr
    error: [WORK]/absent is no folder with a system in it
    ");
    assert_snapshot!(repair(&context, &[WHEEL, "-z", "10"]), @r"
    exit: 2
    --- stderr
    error: `10` is no level of compression from 0 to 9
    ");
    assert_snapshot!(repair(&context, &[WHEEL, "--exclude", "a["]), @r"
    exit: 2
    --- stderr
    error: what is to be excluded cannot be used
      caused by: `a[` is no pattern of file names
      caused by: error parsing glob 'a[': unclosed character class; missing ']'
    ");
    assert_snapshot!(repair(&context, &[WHEEL, "--find-links", "absent"]), @r"
    exit: 4
    --- stderr
    error: failed to read [WORK]/absent
      caused by: failed to read directory `[WORK]/absent`: No such file or directory (os error 2)
    ");
    assert_snapshot!(repair(&context, &["absent.whl"]), @r"
    exit: 4
    --- stderr
    error: cannot open `[WORK]/absent.whl`
      caused by: No such file or directory (os error 2)
    ");
    let odd = context.command(["repair", WHEEL]).env("SOURCE_DATE_EPOCH", "now").run();
    assert_snapshot!(odd, @r"
    exit: 3
    --- stderr
    error: the variable `SOURCE_DATE_EPOCH` is not a time
      caused by: `now` is not a whole number of seconds since 1970-01-01
    ");
    assert!(wheelhouse(&context).is_empty());
}

#[test]
fn one_that_fails_keeps_no_other_from_being_repaired() {
    let context = place(&wheel(&[("greeter/fast.so", extension())]));
    let broken = Wheel::new("broken", "1").tag("py3-none-linux_i686");
    broken.file("broken.so", extension().needs("libabsent.so").build()).build().write_to(&context.work());
    let pure = Wheel::new("pure", "1.0").file("pure.py", "").build();
    pure.write_to(&context.work());
    let all = ["broken-1-py3-none-linux_i686.whl", WHEEL, "pure-1.0-py3-none-any.whl"];
    assert_snapshot!(repair(&context, &all), @r"
    exit: 6
    --- stdout
    broken-1-py3-none-linux_i686.whl

      broken.so needs libabsent.so, which is not part of every system
        no folder that was searched has it for i686

    greeter-1.0-py3-none-linux_i686.whl

    repaired   wheelhouse/greeter-1.0-py3-none-manylinux2014_i686.manylinux_2_17_i686.whl
    tag        manylinux_2_17_i686
    platforms  manylinux2014_i686, manylinux_2_17_i686

    pure-1.0-py3-none-any.whl

    repaired  wheelhouse/pure-1.0-py3-none-any.whl
    tag       any: it has no native code, and stays as it is
    --- stderr
    error: failed to repair [WORK]/broken-1-py3-none-linux_i686.whl
      caused by: the wheel cannot be repaired for manylinux_2_42_i686: `broken.so` needs `libabsent.so`, of which no file was found that can be loaded
    hint: `--lib-dir DIR` names a folder that libraries are in, `--exclude GLOB` what will be there without them
    ");
    assert_eq!(wheelhouse(&context), [REPAIRED, "pure-1.0-py3-none-any.whl"]);
    assert!(fs::read(context.work().join("wheelhouse/pure-1.0-py3-none-any.whl")).unwrap() == pure.bytes);
    let outcomes = repair(&context, &[&["--json"], &all[..]].concat()).exit(6).json();
    let kinds = outcomes.as_array().unwrap().iter().map(|outcome| outcome["error"]["kind"].as_str());
    assert_eq!(kinds.collect::<Vec<_>>(), [Some("check"), None, None]);
    let quiet = repair(&context, &[&["-q"], &all[..]].concat()).exit(6);
    assert!(quiet.stdout.is_empty(), "{}", quiet.stdout);
}
