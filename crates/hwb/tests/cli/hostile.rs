//! Archives and wheels that mean harm: one line of error, the right exit code, and nothing outside.

use fs_err as fs;
use hwb_testkit::hostile::{good_tree, handing_over, hostile};
use hwb_testkit::{CommandContext, Wheel};

use crate::{context, dist, remains};

/// Where some of them try to write: a path that fits the short fields of archives.
const OUTSIDE: &str = "/tmp/hwb-escaped";

#[test]
fn the_controls_are_built() {
    let context = context();
    let archive = good_tree().tar_gz("bad-1.0").write_to(&context.work());
    context.command(["build", "-q"]).arg(archive).run().success();
    assert_eq!(dist(&context), ["bad-1.0-py3-none-any.whl"]);
    let wheel = Wheel::new("good", "1.0").file("good.py", "").build();
    handing_over(&wheel).write_to(&context.work().join("good"));
    context.run(["build", "good", "-q"]).success();
    assert_eq!(dist(&context), ["bad-1.0-py3-none-any.whl", "good-1.0-py3-none-any.whl"]);
}

/// Offers each of these and makes sure that it is refused without a trace; what was said of them.
fn refuse(belongs: impl Fn(&str) -> bool) -> String {
    // Where the damage shows depends on how the rest was packed.
    let context = context()
        .filter(r"in the middle of `[^`]*`", "in the middle of [MEMBER]")
        .filter(r"header at \d+ is", "header at [OFFSET] is")
        .filter(r"cannot read on after .*(\n  caused by: .*)*", "cannot read on after […]");
    let mut wrong = Vec::new();
    let mut verdicts = String::new();
    for case in hostile(OUTSIDE).iter().filter(|case| belongs(case.what)) {
        let outcome = context.command(["build", "-q"]).arg(case.write_to(&context.work())).run();
        if !case.offer.is_refusal(&outcome) {
            wrong.push(format!("{}: {outcome}", case.what));
        }
        fs::remove_dir_all(context.work()).unwrap();
        fs::create_dir(context.work()).unwrap();
        let left = [context.temporary(), context.home()].map(|folder| CommandContext::files_below(&folder));
        let left = [left.concat(), remains(&context)].concat();
        if !left.is_empty() || fs::exists(OUTSIDE).unwrap() {
            wrong.push(format!("{}: left {left:?}, or something at {OUTSIDE}", case.what));
        }
        let said = context.filtered(&outcome.stderr).replace("\n  caused by: ", "; ");
        let said = said.trim_end().trim_start_matches("error: ").replace('\n', "\n  ");
        verdicts.push_str(&format!("{}\n  {said}\n", case.what));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    verdicts
}

#[test]
fn tars_are_refused() {
    let verdicts = refuse(|what| what.starts_with("tar: "));
    insta::assert_snapshot!(verdicts, @r#"
    tar: traversal
      failed to unpack `bad-1.0.tar.gz`; member `../escaped.py` leads out of the archive
    tar: traversal below the top folder
      failed to unpack `bad-1.0.tar.gz`; member `bad-1.0/../../../../../../../../../../../../../../../../../../../../tmp/hwb-escaped` leads out of the archive
    tar: absolute path
      failed to unpack `bad-1.0.tar.gz`; member `/tmp/hwb-escaped` has an absolute path
    tar: symbolic link that climbs out
      failed to unpack `bad-1.0.tar.gz`; link `bad-1.0/link` points out of the archive, to `../../../etc/passwd`
    tar: symbolic link to an absolute path
      failed to unpack `bad-1.0.tar.gz`; link `bad-1.0/link` points to the absolute path `/etc/passwd`
    tar: file below a symbolic link that leaves
      failed to unpack `bad-1.0.tar.gz`; link `bad-1.0/door` points to the absolute path `/tmp`
    tar: file below a symbolic link that stays
      failed to unpack `bad-1.0.tar.gz`; member `bad-1.0/door/tiny_backend.py` lies below `bad-1.0/door`, which is a symbolic link
    tar: hard link that climbs out
      failed to unpack `bad-1.0.tar.gz`; member `bad-1.0/link` is a hard link to `../../../etc/passwd`, which is no file that came before it
    tar: hard link to an absolute path
      failed to unpack `bad-1.0.tar.gz`; member `bad-1.0/link` is a hard link to `/etc/passwd`, which is no file that came before it
    tar: hard link to nothing
      failed to unpack `bad-1.0.tar.gz`; member `bad-1.0/link` is a hard link to `bad-1.0/absent`, which is no file that came before it
    tar: character device
      failed to unpack `bad-1.0.tar.gz`; member `bad-1.0/null` is a character device
    tar: block device
      failed to unpack `bad-1.0.tar.gz`; member `bad-1.0/disk` is a block device
    tar: named pipe
      failed to unpack `bad-1.0.tar.gz`; member `bad-1.0/pipe` is a named pipe
    tar: the same file twice
      failed to unpack `bad-1.0.tar.gz`; member `bad-1.0/bad.py` is there twice
    tar: a file below a file
      failed to unpack `bad-1.0.tar.gz`; member `bad-1.0/bad.py/below.py` lies below `bad-1.0/bad.py`, which is a file
    tar: a link where a file was
      failed to unpack `bad-1.0.tar.gz`; member `bad-1.0/pyproject.toml` is there twice
    tar: path in a PAX header that climbs out
      failed to unpack `bad-1.0.tar.gz`; member `bad-1.0/../../escaped.py` leads out of the archive
    tar: zero byte in a PAX path
      failed to unpack `bad-1.0.tar.gz`; member "bad-1.0/a\0b.py" has a character that no path may hold
    tar: size in a PAX header that is no size
      failed to unpack `bad-1.0.tar.gz`; the extended header at [OFFSET] is malformed
    tar: ends within a member
      failed to unpack `bad-1.0.tar.gz`; the archive ends in the middle of [MEMBER]
    tar: wrong checksum of a header
      failed to unpack `bad-1.0.tar.gz`; no member starts after 0 unpacked bytes, where one must
    "#);
}

#[test]
fn broken_files_are_refused() {
    let verdicts = refuse(|what| !["tar: ", "zip: ", "wheel: "].iter().any(|kind| what.starts_with(kind)));
    insta::assert_snapshot!(verdicts, @r#"
    gzip: ends half way
      failed to unpack `bad-1.0.tar.gz`; the archive ends in the middle of [MEMBER]
    gzip: a flipped bit
      failed to unpack `bad-1.0.tar.gz`; cannot read on after […]
    an empty file
      failed to unpack `bad-1.0.tar.gz`; the file is not an archive: neither zip nor tar, plain or compressed with gzip, xz, zstd or bzip2
    a text file
      failed to unpack `bad-1.0.tar.gz`; the file is not an archive: neither zip nor tar, plain or compressed with gzip, xz, zstd or bzip2
    a gzip of something else
      failed to unpack `bad-1.0.tar.gz`; the archive ends in the middle of a header
    a gzip bomb of one member
      failed to unpack `bad-1.0.tar.gz`; member `bad-1.0/zeros-0` unpacks to [SIZE], and at most 4294967296 are allowed
    a gzip bomb of many members
      failed to unpack `bad-1.0.tar.gz`; the archive unpacks to more than [SIZE]
    no project in it
      `bad-1.0.tar.gz` holds no Python project: neither `pyproject.toml` nor `setup.py` is there
    "#);
}

#[test]
fn zips_are_refused() {
    let verdicts = refuse(|what| what.starts_with("zip: "));
    insta::assert_snapshot!(verdicts, @r#"
    zip: traversal
      failed to unpack `bad-1.0.zip`; member `bad-1.0/../../escaped.py` leads out of the archive
    zip: absolute path
      failed to unpack `bad-1.0.zip`; member `/tmp/hwb-escaped` has an absolute path
    zip: backslashes that climb out
      failed to unpack `bad-1.0.zip`; member "bad-1.0\\..\\..\\escaped.py" has a character that no path may hold
    zip: drive letter
      failed to unpack `bad-1.0.zip`; member `C:/escaped.py` has an absolute path
    zip: zero byte in a name
      failed to unpack `bad-1.0.zip`; member "bad-1.0/a\0b.py" has a character that no path may hold
    zip: symbolic link that leaves
      failed to unpack `bad-1.0.zip`; link `bad-1.0/link` points to the absolute path `/etc/passwd`
    zip: the same file twice
      failed to unpack `bad-1.0.zip`; member `bad-1.0/bad.py` is there twice
    zip: a file below a file
      failed to unpack `bad-1.0.zip`; member `bad-1.0/bad.py/below.py` lies below `bad-1.0/bad.py`, which is a file
    zip: bomb
      failed to unpack `bad-1.0.zip`; the archive unpacks to more than [SIZE]
    zip: wrong checksum
      failed to unpack `bad-1.0.zip`; member `bad-1.0/extra.py` has the checksum 8bf6893b in place of 00000001
    zip: claims another size
      failed to unpack `bad-1.0.zip`; member `bad-1.0/extra.py` is not [SIZE] long, as its header says
    zip: encrypted
      failed to unpack `bad-1.0.zip`; member `bad-1.0/extra.py` is encrypted
    zip: unknown compression
      failed to unpack `bad-1.0.zip`; member `bad-1.0/extra.py` is packed with method 77, which is not supported
    zip: two names for one member
      failed to unpack `bad-1.0.zip`; the two headers of member `bad-1.0/extra.py` differ in its name
    zip: members that overlap
      failed to unpack `bad-1.0.zip`; member `bad-1.0/extra.py` overlaps what follows it in the archive
    zip: ends half way
      failed to unpack `bad-1.0.zip`; the zip archive has no end: it is cut off, or something follows it
    "#);
}

#[test]
fn wheels_are_refused() {
    let verdicts = refuse(|what| what.starts_with("wheel: "));
    insta::assert_snapshot!(verdicts, @r#"
    wheel: no RECORD
      `bad-1.0-py3-none-any.whl` is not a valid wheel; the wheel has no `bad-1.0.dist-info/RECORD`
    wheel: no METADATA
      `bad-1.0-py3-none-any.whl` is not a valid wheel; the wheel has no `bad-1.0.dist-info/METADATA`
    wheel: no WHEEL
      `bad-1.0-py3-none-any.whl` is not a valid wheel; the wheel has no `bad-1.0.dist-info/WHEEL`
    wheel: member that RECORD does not list
      `bad-1.0-py3-none-any.whl` fails its check and was not written to the output folder; RECORD does not list `extra.py`
    wheel: RECORD is not CSV
      `bad-1.0-py3-none-any.whl` is not a valid wheel; the wheel has an unusable RECORD; line 1 of RECORD has 1 fields in place of 3
    wheel: RECORD has wrong digests
      `bad-1.0-py3-none-any.whl` fails its check and was not written to the output folder; `bad.py` is not what RECORD says: its hash is sha256=nia_NpkRxFwkPGhBR7I_yeHc_PJX0pmhxjIBam_NM_Q, not sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU
    wheel: METADATA is of another project
      `bad-1.0-py3-none-any.whl` fails its check and was not written to the output folder; METADATA is of `other`, but the file name of `bad`
    wheel: METADATA is no metadata
      `bad-1.0-py3-none-any.whl` is not a valid wheel; the wheel has an unusable METADATA; the metadata has no `Metadata-Version`
    wheel: file name of another project
      `other-1.0-py3-none-any.whl` fails its check and was not written to the output folder; METADATA is of `bad`, but the file name of `other`
    wheel: file name of another version
      `bad-2.0-py3-none-any.whl` fails its check and was not written to the output folder; METADATA is of version 1.0, but the file name of version 2.0
    wheel: file name with another tag
      `bad-1.0-[CPYTHON]-[LINUX].whl` fails its check and was not written to the output folder; the file name has the tags [CPYTHON]-[LINUX], but WHEEL has py3-none-any
    wheel: file name that is none
      `bad.whl` is not a valid wheel; `bad.whl` is not the name of a wheel; The wheel filename "bad.whl" is invalid: Must have a version
    wheel: traversal
      `bad-1.0-py3-none-any.whl` is not a valid wheel; the wheel is not a sound zip archive; member `../escaped.py` leads out of the archive
    wheel: two metadata folders
      `bad-1.0-py3-none-any.whl` is not a valid wheel; the wheel has two `.dist-info` directories, `other-1.0.dist-info` and `bad-1.0.dist-info`
    wheel: native code for any platform
      `bad-1.0-py3-none-any.whl` fails its check and was not written to the output folder; `native.so` is native code (ELF), but the wheel is tagged `any`; its platform tag should be `[LINUX]`
    wheel: not a zip
      `bad-1.0-py3-none-any.whl` is not a valid wheel; the wheel is not a sound zip archive; the zip archive has no end: it is cut off, or something follows it
    "#);
}
