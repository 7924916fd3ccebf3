//! What is written: which files change, and how; the same bytes every time, and nothing in part.

use fs_err as fs;
use hwb_testkit::wheel::{Wheel, read_member};
use hwb_testkit::{CommandContext, Elf};
use insta::assert_snapshot;

use super::{REPAIRED, WHEEL, contents, extension, library, native, place, put, repair, wheel, wheelhouse};
use crate::member;

/// A wheel with a file that needs a library, which the system has.
fn needing() -> CommandContext {
    let context = place(&wheel(&[("greeter/fast.so", extension().needs("libfar.so.2").sections())]));
    put(&context, "system/usr/lib/libfar.so.2", library("libfar.so.2").sections().build());
    context
}

/// A program that needs a library.
fn program() -> Elf {
    Elf::i686().interpreter("/lib/ld-linux.so.2").needs("libc.so.6").needs("libfar.so.2")
}

fn bytes(context: &CommandContext) -> Vec<u8> {
    fs::read(context.work().join("wheelhouse").join(REPAIRED)).unwrap()
}

#[test]
fn run_paths_that_leave_the_wheel_are_gone() {
    let secret = b"/home/somebody/lib";
    let leaving = |path: &str| extension().runpath(&format!("/home/somebody/lib{path}"));
    let context = place(&wheel(&[
        ("greeter/alone.so", leaving("")),
        ("greeter/beside.so", leaving(":$ORIGIN/../greeter:$ORIGIN/../../x").needs("alone.so")),
        ("greeter/clean.so", extension().runpath("$ORIGIN")),
        ("greeter-1.0.data/scripts/tool", leaving(":$ORIGIN/../lib")),
        ("greeter-1.0.data/platlib/greeter/fast.so", leaving(":$ORIGIN/x").needs("libfar.so.2")),
    ]));
    let far = library("libfar.so.2").rpath("/home/somebody/lib");
    put(&context, "system/home/somebody/lib/libfar.so.2", far.build());
    assert_snapshot!(repair(&context, &["--dry-run", WHEEL]), @r"
    exit: 0
    --- stdout
    greeter-1.0-py3-none-linux_i686.whl

    would be   greeter-1.0-py3-none-manylinux2014_i686.manylinux_2_17_i686.whl
    tag        manylinux_2_17_i686
    platforms  manylinux2014_i686, manylinux_2_17_i686
    grafted    libfar-[HASH].so.2 /home/somebody/lib/libfar.so.2
    changes    greeter-1.0.data/platlib/greeter/fast.so needs libfar-[HASH].so.2 in place of libfar.so.2
               greeter-1.0.data/platlib/greeter/fast.so gets the run path $ORIGIN/x:$ORIGIN/../greeter.libs
               greeter-1.0.data/scripts/tool gets the run path $ORIGIN/../lib
               greeter/alone.so loses its run path
               greeter/beside.so gets the run path $ORIGIN/../greeter
    ");
    repair(&context, &[WHEEL]).success();
    assert_snapshot!(native(&context, REPAIRED), @r"
    greeter-1.0.data/platlib/greeter/fast.so: needs libc.so.6, needs libfar-[HASH].so.2, rpath $ORIGIN/x:$ORIGIN/../greeter.libs
    greeter-1.0.data/scripts/tool: needs libc.so.6, runpath $ORIGIN/../lib
    greeter.libs/libfar-[HASH].so.2 x: is libfar-[HASH].so.2, needs libc.so.6
    greeter/alone.so: needs libc.so.6
    greeter/beside.so: needs alone.so, needs libc.so.6, runpath $ORIGIN/../greeter
    greeter/clean.so: needs libc.so.6, runpath $ORIGIN
    ");
    let wheel = bytes(&context);
    for file in ["alone.so", "beside.so", "scripts/tool", "fast.so", ".so.2"] {
        let file = read_member(&wheel, file).unwrap();
        assert!(!file.windows(secret.len()).any(|window| window == secret));
    }
    let packed = |wheel: &[u8]| read_member(wheel, "clean.so");
    assert_eq!(packed(&wheel), packed(&fs::read(context.work().join(WHEEL)).unwrap()));
}

/// Old kernels look for the program headers at the start of a program, and there is no room for one more.
#[test]
fn a_program_that_cannot_be_changed_is_refused() {
    let context = place(&wheel(&[("greeter-1.0.data/scripts/tool", program())]));
    put(&context, "system/usr/lib/libfar.so.2", library("libfar.so.2").build());
    assert_snapshot!(repair(&context, &[WHEEL]), @r"
    exit: 6
    --- stderr
    error: failed to repair [WORK]/greeter-1.0-py3-none-linux_i686.whl
      caused by: `greeter-1.0.data/scripts/tool` cannot be changed
      caused by: there is no room for another program header
    ");
    assert!(wheelhouse(&context).is_empty());
}

#[test]
fn a_file_in_the_way_is_not_overwritten() {
    let wheel = wheel(&[("greeter-1.0.data/scripts/tool", program())]).file("greeter.scripts/tool", "words");
    let context = place(&wheel);
    put(&context, "system/usr/lib/libfar.so.2", library("libfar.so.2").build());
    assert_snapshot!(repair(&context, &[WHEEL]), @r"
    exit: 6
    --- stderr
    error: failed to repair [WORK]/greeter-1.0-py3-none-linux_i686.whl
      caused by: `greeter.scripts/tool` is there already, and would have to be written
    ");
    assert!(wheelhouse(&context).is_empty());
    let wheel = super::wheel(&[("greeter/fast.so", extension().needs("libfar.so.2"))]);
    let context = place(&wheel.file("greeter.libs", ""));
    put(&context, "system/usr/lib/libfar.so.2", library("libfar.so.2").build());
    assert_snapshot!(repair(&context, &[WHEEL]), @r"
    exit: 6
    --- stderr
    error: failed to repair [WORK]/greeter-1.0-py3-none-linux_i686.whl
      caused by: `greeter.libs` is there already, and would have to be written
    ");
}

/// A program moves even where nothing in it has to change.
#[test]
fn a_program_moves_as_it_is() {
    let tool = Elf::i686().imports("memcpy", "GLIBC_2.14", "libc.so.6").rpath("$ORIGIN/../greeter.libs");
    let context = place(&wheel(&[("greeter-1.0.data/scripts/tool", tool)]));
    put(&context, "system/usr/lib/libfar.so.2", library("libfar.so.2").build());
    repair(&context, &["--include", "libfar.so.2", WHEEL]).success();
    assert_snapshot!(contents(&context, REPAIRED), @r"
    greeter-1.0.data/scripts/tool x
    greeter.libs/libfar.so.2 x: is libfar.so.2, needs libc.so.6, rpath $ORIGIN
    greeter.scripts/tool x: needs libc.so.6, rpath $ORIGIN/../greeter.libs
    greeter/__init__.py
    greeter-1.0.dist-info/METADATA
    greeter-1.0.dist-info/WHEEL
    greeter-1.0.dist-info/sboms/hwb.cdx.json
    greeter-1.0.dist-info/RECORD
    ");
}

#[test]
fn the_bytes_follow_from_what_is_asked() {
    let context = needing();
    repair(&context, &[WHEEL]).success();
    let first = bytes(&context);
    let path = context.work().join("wheelhouse").join(REPAIRED).to_string_lossy().into_owned();
    repair(&context, &["-o", "again", &path]).success();
    assert!(fs::read(context.work().join("again").join(REPAIRED)).unwrap() == first, "a second time");
    let script = "umask 077 && mkdir elsewhere && cp -r system elsewhere && touch elsewhere/system/usr/lib/* \
                  && cp *.whl elsewhere && cd elsewhere && \"$0\" repair --sysroot system -o ../there *.whl";
    let shell = CommandContext::new("/bin/sh");
    let command = shell.command(["-c", script]).arg(env!("CARGO_BIN_EXE_hwb")).folder(context.work());
    command.env("TZ", "Asia/Kolkata").env("HOME", "/nonexistent").env("USER", "somebody").run().success();
    assert!(fs::read(context.work().join("there").join(REPAIRED)).unwrap() == first, "elsewhere");
    let dated =
        context.command(["repair", "--sysroot", "system", WHEEL]).env("SOURCE_DATE_EPOCH", "1000000000");
    dated.run().success();
    assert_ne!(bytes(&context), first);
    let unpacked = |wheel: &[u8]| read_member(wheel, "RECORD").unwrap();
    assert_eq!(unpacked(&bytes(&context)), unpacked(&first));
}

#[test]
fn options_of_what_is_written() {
    let context = needing();
    let size = |arguments: &[&str]| {
        repair(&context, &[arguments, &[WHEEL]].concat()).success();
        let wheel = bytes(&context);
        (wheel.len(), read_member(&wheel, "fast.so").unwrap())
    };
    let (plain, file) = size(&[]);
    let (loose, same) = size(&["-z", "0"]);
    assert_eq!(file, same);
    let (tight, same) = size(&["-z", "9"]);
    assert_eq!(file, same);
    assert!(tight <= plain && plain < loose, "{tight} {plain} {loose}");
    let (_, stripped) = size(&["--strip"]);
    let has = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has(&file, "_DYNAMIC") && !has(&stripped, "_DYNAMIC"));
    repair(&context, &["-L", "_libs", WHEEL]).success();
    assert_snapshot!(native(&context, REPAIRED), @r"
    greeter/fast.so: needs libc.so.6, needs libfar-[HASH].so.2, rpath $ORIGIN/../greeter_libs
    greeter_libs/libfar-[HASH].so.2 x: is libfar-[HASH].so.2, needs libc.so.6
    ");
}

#[test]
fn a_wheel_is_there_whole_or_not_at_all() {
    let context = needing();
    put(&context, "file", "");
    assert_snapshot!(repair(&context, &["-o", "file/wheels", WHEEL]), @r"
    exit: 7
    --- stderr
    error: failed to write [WORK]/file/wheels/greeter-1.0-py3-none-manylinux2014_i686.manylinux_2_17_i686.whl
      caused by: cannot create `[WORK]/file/wheels`
      caused by: Not a directory (os error 20)
    ");
    assert_snapshot!(repair(&context, &["-o", "file", WHEEL]), @r"
    exit: 7
    --- stderr
    error: failed to write [WORK]/file/greeter-1.0-py3-none-manylinux2014_i686.manylinux_2_17_i686.whl
      caused by: cannot create `[WORK]/file`
      caused by: File exists (os error 17)
    ");
    // As where the disk is full.
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" repair --sysroot system \"$1\"";
    let shell = CommandContext::new("/bin/sh");
    let command = shell.command(["-c", script]).arg(env!("CARGO_BIN_EXE_hwb")).arg(WHEEL);
    let outcome = command.folder(context.work()).run().exit(7);
    assert!(outcome.stderr.contains("File too large"), "{outcome}");
    assert!(wheelhouse(&context).is_empty(), "{:?}", wheelhouse(&context));
}

#[test]
fn the_folder_of_the_wheel_will_do() {
    let context = needing();
    let before = fs::read(context.work().join(WHEEL)).unwrap();
    repair(&context, &["-w", ".", WHEEL]).success();
    assert!(fs::read(context.work().join(WHEEL)).unwrap() == before);
    let repaired = fs::read(context.work().join(REPAIRED)).unwrap();
    repair(&context, &["--wheel-dir", ".", REPAIRED]).success();
    assert!(fs::read(context.work().join(REPAIRED)).unwrap() == repaired);
}

#[test]
fn files_without_a_change_stay_and_what_is_no_code_too() {
    let wheel = wheel(&[("greeter/fast.so", extension())])
        .file("greeter/data.bin", b"ELF is how this begins".repeat(9))
        .unlisted("greeter/hidden.so", extension().needs("libfar.so.2").build())
        .dist_info_file("RECORD.jws", "{}");
    let context = place(&wheel);
    put(&context, "system/usr/lib/libfar.so.2", library("libfar.so.2").build());
    repair(&context, &[WHEEL]).success();
    let (before, after) = (fs::read(context.work().join(WHEEL)).unwrap(), bytes(&context));
    assert!(read_member(&before, "data.bin") == read_member(&after, "data.bin"));
    // Their signature is of another RECORD.
    assert!(read_member(&before, ".jws").is_some() && read_member(&after, ".jws").is_none());
    assert!(
        member(&context.work().join("wheelhouse").join(REPAIRED), "RECORD").contains("greeter/hidden.so,")
    );
}

#[test]
fn a_build_number_stays() {
    let context = place(&Wheel::new("greeter", "1.0"));
    let numbered = wheel(&[("greeter/fast.so", extension())]).build();
    put(&context, "greeter-1.0-7-py3-none-linux_i686.whl", &numbered.bytes);
    repair(&context, &["greeter-1.0-7-py3-none-linux_i686.whl"]);
    assert_eq!(wheelhouse(&context), [REPAIRED.replace("1.0-", "1.0-7-")]);
}
