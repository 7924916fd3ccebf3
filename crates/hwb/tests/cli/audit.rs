//! `hwb audit` and `hwb policies`. The context replaces the tags of x86_64 in what is shown, so the wheels are for i686.

use fs_err as fs;
use hwb_testkit::wheel::Wheel;
use hwb_testkit::{CommandContext, Elf, elf_of_sections};
use insta::assert_snapshot;

use crate::context;

/// An extension module that needs glibc 2.14.
fn extension() -> Elf {
    Elf::i686().exports("PyInit_fast").imports("memcpy", "GLIBC_2.14", "libc.so.6").imports(
        "malloc",
        "GLIBC_2.2.5",
        "libc.so.6",
    )
}

fn wheel(files: &[(&str, Elf)]) -> Wheel {
    let wheel = Wheel::new("greeter", "1.0").tag("py3-none-linux_i686").file("greeter/__init__.py", "");
    files.iter().fold(wheel, |wheel, (path, elf)| wheel.file(path, elf.build()))
}

fn context_with(wheel: &Wheel) -> CommandContext {
    let context = context();
    wheel.build().write_to(&context.work());
    context
}

const WHEEL: &str = "greeter-1.0-py3-none-linux_i686.whl";

#[test]
fn a_wheel_is_given_its_tag_and_the_reasons() {
    let context = context_with(&wheel(&[("greeter/fast.so", extension())]));
    assert_snapshot!(context.run(["audit", WHEEL]), @r"
    exit: 0
    --- stdout
    greeter-1.0-py3-none-linux_i686.whl

    tag      manylinux_2_17_i686
    runs on  glibc >= 2.14: CentOS 7, Rocky Linux 8, Amazon Linux 2, Debian 8, Ubuntu 14.04 and newer

    manylinux_2_12_i686 is not reached:
      greeter/fast.so needs GLIBC_2.14 of libc.so.6 (memcpy)
        build where glibc is no newer than 2.12, as in an image of manylinux_2_12
    ");
    let lib = Elf::i686().soname("libinner.so").needs("libfar.so.2");
    let run_path = "$ORIGIN/../greeter.libs:/opt/lib";
    let fast = extension().needs("libinner.so").runpath(run_path).executable_stack();
    let context = context_with(&wheel(&[("greeter/fast.so", fast), ("greeter.libs/libinner.so", lib)]));
    assert_snapshot!(context.run(["audit", WHEEL]), @r"
    exit: 0
    --- stdout
    greeter-1.0-py3-none-linux_i686.whl

    tag         linux_i686
    by symbols  manylinux_2_17_i686
    runs on     glibc >= 2.14: CentOS 7, Rocky Linux 8, Amazon Linux 2, Debian 8, Ubuntu 14.04 and newer
    needs       libfar.so.2
    note        greeter/fast.so asks for an executable stack, which glibc 2.41 and hardened systems refuse
                greeter/fast.so looks for libraries outside of the wheel: /opt/lib

    manylinux_2_42_i686 is not reached:
      greeter.libs/libinner.so needs libfar.so.2, which is not part of every system (loaded by greeter/fast.so)
        let `hwb repair` put it into the wheel, or link it statically
    ");
    let report = context.run(["audit", "--json", WHEEL]).success().json();
    assert_eq!(report[0]["wheel"], WHEEL);
    assert_eq!(report[0]["external_libraries"], serde_json::json!(["libfar.so.2"]));
    assert_eq!(report[0]["notes"][1]["kind"], "run_path_leaves");
    let oldest = &report[0]["policies"][0];
    assert_eq!(
        (oldest["tag"].as_str(), oldest["reached"].as_bool()),
        (Some("manylinux_2_5_i686"), Some(false))
    );
    assert_eq!(oldest["blockers"][0]["kind"], "version");
    assert_eq!(
        oldest["blockers"][1]["chain"],
        serde_json::json!(["greeter/fast.so", "greeter.libs/libinner.so"])
    );
}

#[test]
fn a_required_tag_is_reached_or_refused() {
    let context = context_with(&wheel(&[("greeter/fast.so", extension())]));
    for tag in ["manylinux_2_17", "manylinux2014", "manylinux_2_17_i686", "manylinux2014_i686"] {
        context.run(["audit", "--require", tag, WHEEL]).success();
    }
    assert_snapshot!(context.run(["audit", "--require", "manylinux1", WHEEL]), @r"
    exit: 6
    --- stdout
    greeter-1.0-py3-none-linux_i686.whl

    tag      manylinux_2_17_i686
    runs on  glibc >= 2.14: CentOS 7, Rocky Linux 8, Amazon Linux 2, Debian 8, Ubuntu 14.04 and newer

    manylinux1 is required, and not reached:
      greeter/fast.so needs GLIBC_2.14 of libc.so.6 (memcpy)
        build where glibc is no newer than 2.5, as in an image of manylinux_2_5
    ");
    assert_snapshot!(context.run(["audit", "--require", "musllinux_1_2", WHEEL]), @r"
    exit: 6
    --- stdout
    greeter-1.0-py3-none-linux_i686.whl

    tag      manylinux_2_17_i686
    runs on  glibc >= 2.14: CentOS 7, Rocky Linux 8, Amazon Linux 2, Debian 8, Ubuntu 14.04 and newer

    musllinux_1_2 is required, and is for another machine or C library
    ");
    assert_snapshot!(context.run(["audit", "--require", "manylinux_2_16", WHEEL]), @r"
    exit: 2
    --- stderr
    error: `manylinux_2_16` is not the tag of a policy
    hint: `hwb policies` lists the tags and the architectures of each
    ");
    context.run(["audit", "--json", "--require", "manylinux_2_17_aarch64", WHEEL]).exit(6);
}

#[test]
fn wheels_without_native_code_and_other_paths() {
    let context = context_with(&Wheel::new("pure", "1.0").file("pure.py", ""));
    assert_snapshot!(context.run(["audit", "--require", "manylinux1", "pure-1.0-py3-none-any.whl"]), @r"
    exit: 0
    --- stdout
    pure-1.0-py3-none-any.whl

    tag  any
    ");
    let tools = context.work().join("tools");
    fs::create_dir_all(tools.join("lib")).unwrap();
    let program = Elf::i686().interpreter("/lib/ld-linux.so.2").needs("libtool.so").runpath("$ORIGIN/lib");
    fs::write(tools.join("tool"), program.build()).unwrap();
    fs::write(tools.join("notes.txt"), "words").unwrap();
    let library = Elf::i686().imports("stat", "GLIBC_2.33", "libc.so.6");
    fs::write(tools.join("lib/libtool.so"), library.build()).unwrap();
    fs::write(tools.join("lib/other.so"), Elf::ppc().build()).unwrap();
    assert_snapshot!(context.run(["audit", "tools"]), @r"
    exit: 0
    --- stdout
    lib/libtool.so

    tag      manylinux_2_34_i686
    runs on  glibc >= 2.33: Rocky Linux 9, Amazon Linux 2023, Debian 12, Ubuntu 22.04 and newer

    manylinux_2_31_i686 is not reached:
      lib/libtool.so needs GLIBC_2.33 of libc.so.6 (stat)
        build where glibc is no newer than 2.31, as in an image of manylinux_2_31

    tool

    tag  manylinux_2_5_i686
    ");
    assert_snapshot!(context.run(["audit", "tools/lib/other.so"]), @r"
    exit: 2
    --- stderr
    error: [WORK]/tools/lib/other.so is for a machine that has no platform tag
    ");
    assert_snapshot!(context.run(["audit", "tools/notes.txt"]), @r"
    exit: 2
    --- stderr
    error: [WORK]/tools/notes.txt is neither a wheel nor a program or library in ELF
    ");
    assert_snapshot!(context.run(["audit", "absent"]), @r"
    exit: 4
    --- stderr
    error: failed to read [WORK]/absent
      caused by: failed to open file `[WORK]/absent`: No such file or directory (os error 2)
    ");
    fs::create_dir(context.work().join("empty")).unwrap();
    assert_snapshot!(context.run(["audit", "empty"]), @r"
    exit: 2
    --- stderr
    error: [WORK]/empty has neither wheels nor programs or libraries in ELF below it
    ");
}

#[test]
fn malformed_native_code_is_named() {
    let mut cut = extension().build();
    cut.truncate(200);
    let context =
        context_with(&Wheel::new("greeter", "1.0").tag("py3-none-linux_i686").file("greeter/fast.so", cut));
    assert_snapshot!(context.run(["audit", WHEEL]), @r"
    exit: 6
    --- stderr
    error: failed to audit [WORK]/greeter-1.0-py3-none-linux_i686.whl
      caused by: `greeter/fast.so` is a malformed ELF file
      caused by: its dynamic section lies outside the file
    ");
    let context = context_with(&Wheel::new("greeter", "1.0").tag("py3-none-win32"));
    assert_snapshot!(context.run(["audit", "greeter-1.0-py3-none-win32.whl"]), @r"
    exit: 6
    --- stderr
    error: failed to audit [WORK]/greeter-1.0-py3-none-win32.whl
      caused by: the wheel is for win32: only wheels for manylinux, musllinux and Linux are audited
    ");
}

#[test]
fn what_is_malformed_keeps_nothing_else_from_being_audited() {
    let context = context();
    let dist = context.work().join("dist");
    fs::create_dir_all(dist.join("lib")).unwrap();
    let mut cut = extension().build();
    cut.truncate(200);
    wheel(&[("greeter/fast.so", Elf::i686().needs("libc.so.6"))]).build().write_to(&dist);
    Wheel::new("broken", "1.0").tag("py3-none-linux_i686").file("broken.so", &cut).build().write_to(&dist);
    Wheel::new("foreign", "1.0").tag("py3-none-win32").build().write_to(&dist);
    fs::write(dist.join("lib/broken.so"), &cut).unwrap();
    fs::write(dist.join("lib/whole.so"), Elf::i686().needs("libc.so.6").build()).unwrap();
    assert_snapshot!(context.run(["audit", "dist"]), @r"
    exit: 6
    --- stdout
    greeter-1.0-py3-none-linux_i686.whl

    tag  manylinux_2_5_i686

    lib/whole.so

    tag  manylinux_2_5_i686
    --- stderr
    error: failed to audit [WORK]/dist/broken-1.0-py3-none-linux_i686.whl
      caused by: `broken.so` is a malformed ELF file
      caused by: its dynamic section lies outside the file
    error: failed to audit [WORK]/dist/foreign-1.0-py3-none-win32.whl
      caused by: the wheel is for win32: only wheels for manylinux, musllinux and Linux are audited
    error: [WORK]/dist/lib/broken.so is a malformed ELF file
      caused by: its dynamic section lies outside the file
    ");
    let quiet = context.run(["audit", "-q", "dist"]).exit(6);
    assert!(quiet.stdout.is_empty(), "{}", quiet.stdout);
    let outcomes = context.run(["audit", "--json", "dist"]).exit(6).json();
    let said = outcomes.as_array().unwrap().iter().map(|outcome| {
        let subject = outcome.get("wheel").or_else(|| outcome.get("elf")).unwrap();
        let error = outcome.get("error").map_or(serde_json::Value::Null, |error| error["kind"].clone());
        format!("{subject} {} {error}\n", outcome["tag"])
    });
    assert_snapshot!(said.collect::<String>(), @r#"
    "broken-1.0-py3-none-linux_i686.whl" null "check"
    "foreign-1.0-py3-none-win32.whl" null "check"
    "greeter-1.0-py3-none-linux_i686.whl" "manylinux_2_5_i686" null
    "lib/broken.so" null "check"
    "lib/whole.so" "manylinux_2_5_i686" null
    "#);
}

#[test]
fn native_code_in_purelib_is_noted_and_deserves_no_required_tag() {
    let lost = wheel(&[("greeter-1.0.data/purelib/fast.so", extension())]);
    let context = context_with(&lost);
    assert_snapshot!(context.run(["audit", "--require", "manylinux_2_17", WHEEL]), @r"
    exit: 6
    --- stdout
    greeter-1.0-py3-none-linux_i686.whl

    tag      manylinux_2_17_i686
    runs on  glibc >= 2.14: CentOS 7, Rocky Linux 8, Amazon Linux 2, Debian 8, Ubuntu 14.04 and newer
    note     greeter-1.0.data/purelib/fast.so is native code and goes to purelib, as it lies in a folder `.data/purelib`

    manylinux_2_17 is required, and greeter-1.0.data/purelib/fast.so is native code that goes to purelib
    ");
    let report = context.run(["audit", "--json", WHEEL]).success().json();
    assert_eq!(report[0]["notes"][0]["kind"], "purelib");
}

#[test]
fn a_guess_is_called_one() {
    let context = context_with(&wheel(&[("greeter/bare.so", Elf::i686())]));
    assert_snapshot!(context.run(["audit", "--require", "musllinux_1_2", WHEEL]), @r"
    exit: 6
    --- stdout
    greeter-1.0-py3-none-linux_i686.whl

    tag   manylinux_2_5_i686
    note  greeter/bare.so names no C library, nor does anything else here: that it is for glibc is a guess

    musllinux_1_2 is required, and nothing says for which C library this is
    ");
    context.run(["audit", "--require", "manylinux_2_17", WHEEL]).success();
}

#[test]
fn what_record_says_of_native_code_is_compared() {
    let hidden = wheel(&[]).unlisted("greeter/hidden.so", extension().build());
    let context = context_with(&hidden);
    assert_snapshot!(context.run(["audit", WHEEL]), @r"
    exit: 0
    --- stdout
    greeter-1.0-py3-none-linux_i686.whl

    tag      manylinux_2_17_i686
    runs on  glibc >= 2.14: CentOS 7, Rocky Linux 8, Amazon Linux 2, Debian 8, Ubuntu 14.04 and newer
    note     greeter/hidden.so is not in RECORD

    manylinux_2_12_i686 is not reached:
      greeter/hidden.so needs GLIBC_2.14 of libc.so.6 (memcpy)
        build where glibc is no newer than 2.12, as in an image of manylinux_2_12
    ");
}

/// A file says what it needs of the processor, or its instructions do where that is asked for.
#[test]
fn instructions_are_noted_on_request() {
    let (popcnt, vpaddd, cpuid) = (b"\xf3\x48\x0f\xb8\xc0", b"\xc5\xfd\xfe\xc1", b"\x0f\xa2");
    let fixed = elf_of_sections(&[(".text", &[&popcnt[..], vpaddd, vpaddd].concat())]);
    let chosen = elf_of_sections(&[(".text", &[&cpuid[..], vpaddd].concat())]);
    let wheel = Wheel::new("greeter", "1.0").tag("py3-none-linux_x86_64");
    let wheel = wheel.file("greeter/chosen.so", chosen).file("greeter/fixed.so", fixed.clone());
    let wheel = wheel.file("greeter/said.so", Elf::new().isa(7).build());
    let context = context_with(&wheel);
    let name = "greeter-1.0-py3-none-linux_x86_64.whl";
    let instructions = |arguments: &[&str]| {
        let report = context.run(["audit", "--json"].iter().chain(arguments)).success().json();
        let notes = report[0]["notes"].as_array().unwrap().clone();
        let found = notes.iter().filter(|note| note["kind"] == "instructions");
        let lines = found.map(|note| format!("{} {}\n", note["file"], note["text"]));
        lines.collect::<String>()
    };
    assert_eq!(instructions(&[name]), "");
    assert_snapshot!(instructions(&["--scan-isa", name]), @r#"
    "greeter/chosen.so" "has 1 instruction of x86-64-v3, the first at 0x42; it asks for the processor, and may choose at run time"
    "greeter/fixed.so" "has 1 instruction of x86-64-v2, the first at 0x40; nothing in it asks for the processor"
    "greeter/fixed.so" "has 2 instructions of x86-64-v3, the first at 0x45; nothing in it asks for the processor"
    "#);
    let code = context.work().join("code");
    fs::create_dir_all(&code).unwrap();
    fs::write(code.join("fixed.so"), fixed).unwrap();
    for path in ["code", "code/fixed.so"] {
        assert_eq!(instructions(&["--scan-isa", path]).lines().count(), 2, "{path}");
    }
}

#[test]
fn policies_are_listed() {
    let listed = context().run(["policies"]).success().stdout;
    let lines = listed.lines().collect::<Vec<_>>();
    assert!(lines[0].starts_with("manylinux_2_5   manylinux1     glibc 2.5"), "{listed}");
    assert!(lines.last().unwrap().starts_with("musllinux_1_2"), "{listed}");
    let document = context().run(["policies", "--json"]).success().json();
    assert_eq!(document[2]["aliases"], serde_json::json!(["manylinux2014"]));
}

#[test]
fn libraries_of_a_system_count_as_if_they_came_along() {
    let context = context_with(&wheel(&[("greeter/fast.so", extension().needs("libfar.so.2"))]));
    let system = context.work().join("system/usr/lib");
    fs::create_dir_all(&system).unwrap();
    let far = Elf::i686().imports("stat", "GLIBC_2.33", "libc.so.6").needs("libfarther.so.1");
    fs::write(system.join("libfar.so.2"), far.build()).unwrap();
    assert_snapshot!(context.run(["audit", WHEEL, "--sysroot", "system", "--require", "manylinux_2_31"]), @r"
    exit: 6
    --- stdout
    greeter-1.0-py3-none-linux_i686.whl

    tag         linux_i686
    by symbols  manylinux_2_34_i686
    runs on     glibc >= 2.33: Rocky Linux 9, Amazon Linux 2023, Debian 12, Ubuntu 22.04 and newer
    needs       libfar.so.2
                libfarther.so.1

    manylinux_2_31 is required, and not reached:
      /usr/lib/libfar.so.2 needs GLIBC_2.33 of libc.so.6 (stat) (loaded by greeter/fast.so)
        build where glibc is no newer than 2.31, as in an image of manylinux_2_31
      greeter/fast.so needs libfar.so.2, which is not part of every system
      /usr/lib/libfar.so.2 needs libfarther.so.1, which is not part of every system (loaded by greeter/fast.so)
        let `hwb repair` put it into the wheel, or link it statically
    ");
    assert_snapshot!(context.run(["audit", WHEEL, "--sysroot", "absent"]), @r"
    exit: 2
    --- stderr
    error: [WORK]/absent is no folder with a system in it
    ");
}
