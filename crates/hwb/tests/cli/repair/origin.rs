//! Where libraries come from, and which stay there.

use std::os::unix::fs::symlink;

use fs_err as fs;
use hwb_testkit::wheel::Wheel;
use hwb_testkit::{CommandContext, Elf};
use insta::assert_snapshot;

use super::{REPAIRED, WHEEL, extension, library, member, native, place, put, repair, wheel, wheelhouse};

/// A wheel with a file that needs a library.
fn needing(elf: Elf) -> CommandContext {
    place(&wheel(&[("greeter/fast.so", elf.needs("libfar.so.2"))]))
}

/// The libraries that would come along, by where they are.
fn sources(context: &CommandContext, arguments: &[&str]) -> Vec<String> {
    let report = repair(context, &[&["--dry-run", "--json", WHEEL], arguments].concat()).success().json();
    let grafted = report[0]["grafted"].as_array().unwrap();
    let sources = grafted.iter().map(|graft| graft["source"].as_str().unwrap());
    sources.map(|source| source.replace(&context.work().to_string_lossy().into_owned(), "")).collect()
}

#[test]
fn libraries_are_looked_for_as_the_loader_would() {
    let far = |name: &str| library("libfar.so.2").exports(name).build();
    let full = |elf: Elf| {
        let context = needing(elf);
        put(&context, "system/etc/ld.so.conf", "/opt/configured\n");
        for folder in ["usr/lib", "opt/configured", "opt/path", "opt/listed"] {
            put(&context, &format!("system/{folder}/libfar.so.2"), far(folder));
        }
        put(&context, "lib/libfar.so.2", far("lib"));
        context
    };
    let context = full(extension());
    assert_eq!(sources(&context, &[]), ["/opt/configured/libfar.so.2"]);
    assert_eq!(sources(&context, &["--lib-dir", "absent", "--lib-dir", "lib"]), ["/lib/libfar.so.2"]);
    assert_eq!(
        sources(&context, &["--ldpaths", "/absent:/opt/listed:/usr/lib"]),
        ["/opt/listed/libfar.so.2"]
    );
    // By the run path of the file; what is named on the command line comes before it.
    for elf in [extension().runpath("/opt/path"), extension().rpath("/opt/path")] {
        let context = full(elf);
        assert_eq!(sources(&context, &[]), ["/opt/path/libfar.so.2"]);
        assert_eq!(sources(&context, &["--ldpaths", "/opt/listed"]), ["/opt/path/libfar.so.2"]);
        assert_eq!(sources(&context, &["--lib-dir", "lib"]), ["/lib/libfar.so.2"]);
    }
    // For this system `LD_LIBRARY_PATH` counts as well.
    let here = |sysroot: &str| {
        let command = context.command(["repair", "--dry-run", "--json", WHEEL, "--sysroot", sysroot]);
        let report = command.env("LD_LIBRARY_PATH", ":lib:/absent").run().success().json();
        report[0]["grafted"][0]["source"].as_str().unwrap().to_owned()
    };
    assert_eq!(here("/"), context.work().join("lib/libfar.so.2").to_string_lossy());
    assert_eq!(here("system"), "/opt/configured/libfar.so.2");
}

#[test]
fn a_library_finds_others_where_it_lies() {
    let context = needing(extension());
    let far = library("libfar.so.2").needs("libnear.so.1").runpath("$ORIGIN/near");
    put(&context, "system/opt/far/libfar.so.2.0.1", far.build());
    put(&context, "system/opt/far/near/libnear.so.1", library("libnear.so.1").build());
    fs::create_dir_all(context.work().join("system/usr/lib")).unwrap();
    symlink("../../opt/far/libfar.so.2.0.1", context.work().join("system/usr/lib/libfar.so.2")).unwrap();
    assert_eq!(sources(&context, &[]), ["/opt/far/libfar.so.2.0.1", "/opt/far/near/libnear.so.1"]);
    repair(&context, &[WHEEL]).success();
    assert_snapshot!(native(&context, REPAIRED), @r"
    greeter.libs/libfar-[HASH].so.2.0.1 x: is libfar-[HASH].so.2.0.1, needs libc.so.6, needs libnear-[HASH].so.1, rpath $ORIGIN
    greeter.libs/libnear-[HASH].so.1 x: is libnear-[HASH].so.1, needs libc.so.6
    greeter/fast.so: needs libc.so.6, needs libfar-[HASH].so.2.0.1, rpath $ORIGIN/../greeter.libs
    ");
}

/// The run path of a file counts for itself alone, but what it loaded is there for what it loads later.
#[test]
fn a_library_that_was_loaded_before_is_found() {
    let context = needing(extension().needs("libnear.so.1").runpath("/opt/far"));
    put(&context, "system/opt/far/libfar.so.2", library("libfar.so.2").needs("libnear.so.1").build());
    put(&context, "system/opt/far/libnear.so.1", library("libnear.so.1").build());
    repair(&context, &[WHEEL]).success();
    assert_snapshot!(native(&context, REPAIRED), @r"
    greeter.libs/libfar-[HASH].so.2 x: is libfar-[HASH].so.2, needs libc.so.6, needs libnear-[HASH].so.1, rpath $ORIGIN
    greeter.libs/libnear-[HASH].so.1 x: is libnear-[HASH].so.1, needs libc.so.6
    greeter/fast.so: needs libc.so.6, needs libfar-[HASH].so.2, needs libnear-[HASH].so.1, rpath $ORIGIN/../greeter.libs
    ");
}

#[test]
fn two_libraries_of_one_name_stay_apart() {
    let one = extension().needs("libfar.so.2").runpath("/opt/one");
    let two = Elf::i686().exports("PyInit_other").needs("libfar.so.2").runpath("/opt/two");
    let context = place(&wheel(&[("greeter/fast.so", one), ("greeter/sub/other.so", two)]));
    put(&context, "system/opt/one/libfar.so.2", library("libfar.so.2").exports("one").build());
    put(&context, "system/opt/two/libfar.so.2", library("libfar.so.2").exports("two").build());
    repair(&context, &[WHEEL]).success();
    let native = native(&context, REPAIRED);
    let report = repair(&context, &["--json", WHEEL]).success().json();
    let mut names = Vec::new();
    for graft in report[0]["grafted"].as_array().unwrap() {
        let name = graft["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        names.push((graft["source"].as_str().unwrap().to_owned(), name, graft["needed_by"][0].to_string()));
    }
    names.sort();
    let [(one, first, by_one), (two, second, by_two)] = &names[..] else { panic!("{names:?}") };
    assert_eq!([one, two], ["/opt/one/libfar.so.2", "/opt/two/libfar.so.2"]);
    assert_eq!([by_one, by_two], ["\"greeter/fast.so\"", "\"greeter/sub/other.so\""]);
    assert_ne!(first, second);
    assert_snapshot!(native, @r"
    greeter.libs/libfar-[HASH].so.2 x: is libfar-[HASH].so.2, needs libc.so.6
    greeter.libs/libfar-[HASH].so.2 x: is libfar-[HASH].so.2, needs libc.so.6
    greeter/fast.so: needs libc.so.6, needs libfar-[HASH].so.2, rpath $ORIGIN/../greeter.libs
    greeter/sub/other.so: needs libfar-[HASH].so.2, rpath $ORIGIN/../../greeter.libs
    ");
}

#[test]
fn names_without_a_dot_and_paths_for_names() {
    let fast = extension().needs("libfar").needs("/opt/far/libnear.so");
    let context = place(&wheel(&[("greeter/fast.so", fast)]));
    put(&context, "system/usr/lib/libfar", Elf::i686().needs("libc.so.6").build());
    put(&context, "system/opt/far/libnear.so", library("libnear.so").build());
    repair(&context, &[WHEEL]).success();
    assert_snapshot!(native(&context, REPAIRED), @r"
    greeter.libs/libfar-[HASH] x: is libfar-[HASH], needs libc.so.6
    greeter.libs/libnear-[HASH].so x: is libnear-[HASH].so, needs libc.so.6
    greeter/fast.so: needs libc.so.6, needs libfar-[HASH], needs libnear-[HASH].so, rpath $ORIGIN/../greeter.libs
    ");
}

#[test]
fn libpython_is_needed_no_more() {
    let names = ["libpython3.12.so.1.0", "libpython3.13t.so.1.0", "libpython3.so"];
    let fast = names.iter().fold(extension(), |elf, name| elf.needs(name));
    let context = place(&wheel(&[("greeter/fast.so", fast)]));
    put(&context, "system/usr/lib/libpython3.12.so.1.0", library("libpython3.12.so.1.0").build());
    assert_snapshot!(repair(&context, &["-v", WHEEL]), @r"
    exit: 0
    --- stdout
    greeter-1.0-py3-none-linux_i686.whl

    repaired   wheelhouse/greeter-1.0-py3-none-manylinux2014_i686.manylinux_2_17_i686.whl
    tag        manylinux_2_17_i686
    platforms  manylinux2014_i686, manylinux_2_17_i686
    changes    greeter/fast.so needs libpython3.12.so.1.0 no more
               greeter/fast.so needs libpython3.13t.so.1.0 no more
               greeter/fast.so needs libpython3.so no more
    ");
    assert_snapshot!(native(&context, REPAIRED), @"greeter/fast.so: needs libc.so.6");
}

#[test]
fn what_is_excluded_stays_where_it_is() {
    let context =
        place(&wheel(&[("greeter/fast.so", extension().needs("libfar.so.2").needs("libgone.so.1"))]));
    put(&context, "system/opt/far/libreal.so", library("libfar.so.2").needs("libnear.so.1").build());
    put(&context, "system/usr/lib/libnear.so.1", library("libnear.so.1").build());
    symlink("/opt/far/libreal.so", context.work().join("system/usr/lib/libfar.so.2")).unwrap();
    let gone = ["--exclude", "libgone.*"];
    let with = |more: &[&'static str]| sources(&context, &[&gone[..], more].concat());
    assert_eq!(with(&[]), ["/usr/lib/libnear.so.1", "/opt/far/libreal.so"]);
    assert_eq!(with(&["--exclude", "libnear.so.1"]), ["/opt/far/libreal.so"]);
    for pattern in ["libfar.so.2", "lib[f]ar*", "/opt/*", "*/libreal.so"] {
        assert!(with(&["--exclude", pattern]).is_empty(), "{pattern}");
    }
    repair(&context, &["--exclude", "libgone.*", "--exclude", "/opt/*", WHEEL]).success();
    assert_snapshot!(native(&context, REPAIRED), @"greeter/fast.so: needs libc.so.6, needs libfar.so.2, needs libgone.so.1");
}

/// The wheel of another distribution, with a library in it.
fn provider() -> Wheel {
    let library = library("libfar.so.2").build();
    Wheel::new("far-away", "2.0").tag("py3-none-linux_i686").file("far_away/lib/libfar.so.2", library)
}

#[test]
fn libraries_of_required_distributions_stay_there() {
    let fast = extension().needs("libfar.so.2").build();
    let greeter = || wheel(&[]).file("greeter/deep/fast.so", &fast);
    let context = place(&greeter().requires("Far.Away>=2"));
    let other = provider().build();
    fs::create_dir(context.work().join("wheels")).unwrap();
    let other = other.write_to(&context.work().join("wheels"));
    let installed = "installed/far_away-2.0.dist-info";
    put(&context, &format!("{installed}/RECORD"), "far_away/lib/libfar.so.2,,\n");
    let other = other.to_string_lossy();
    assert_snapshot!(repair(&context, &["-v", "--find-links", "wheels", WHEEL]), @r"
    exit: 0
    --- stdout
    greeter-1.0-py3-none-linux_i686.whl

    repaired   wheelhouse/greeter-1.0-py3-none-manylinux2014_i686.manylinux_2_17_i686.whl
    tag        manylinux_2_17_i686
    platforms  manylinux2014_i686, manylinux_2_17_i686
    provided   libfar.so.2 by far-away
    changes    greeter/deep/fast.so gets the run path $ORIGIN/../../far_away/lib
    ");
    assert_snapshot!(native(&context, REPAIRED), @"greeter/deep/fast.so: needs libc.so.6, needs libfar.so.2, rpath $ORIGIN/../../far_away/lib");
    let first = fs::read(context.work().join("wheelhouse").join(REPAIRED)).unwrap();
    for arguments in [&["--find-links", &other][..], &["--find-links", "installed"], &[&other]] {
        repair(&context, &[&[WHEEL], arguments].concat()).success();
        let again = fs::read(context.work().join("wheelhouse").join(REPAIRED)).unwrap();
        assert!(first == again, "{arguments:?}");
    }
    let report = repair(&context, &["--json", "--find-links", "wheels", WHEEL]).success().json();
    assert_eq!(report[0]["provided"], serde_json::json!({"libfar.so.2": "far-away"}));
    // It must be required, whatever else is installed.
    for requirement in ["other", "far-away; extra == 'far'"] {
        let context = place(&greeter().requires(requirement));
        repair(&context, &[WHEEL, "--find-links", &other]).exit(6);
        put(&context, "system/usr/lib/libfar.so.2", library("libfar.so.2").build());
        assert_eq!(sources(&context, &["--find-links", &other]), ["/usr/lib/libfar.so.2"], "{requirement}");
    }
}

#[test]
fn a_library_that_comes_along_finds_one_that_is_provided() {
    let context = place(&wheel(&[("greeter/fast.so", extension().needs("libmine.so"))]).requires("far-away"));
    let mine = library("libmine.so").needs("libfar.so.2").needs("libown.so");
    put(&context, "system/lib/libmine.so", mine.build());
    put(&context, "system/lib/libown.so", library("libown.so").build());
    provider().build().write_to(&context.work());
    repair(&context, &["--find-links", ".", WHEEL]).success();
    assert_snapshot!(native(&context, REPAIRED), @r"
    greeter.libs/libmine-[HASH].so x: is libmine-[HASH].so, needs libc.so.6, needs libfar.so.2, needs libown-[HASH].so, rpath $ORIGIN/../far_away/lib:$ORIGIN
    greeter.libs/libown-[HASH].so x: is libown-[HASH].so, needs libc.so.6
    greeter/fast.so: needs libc.so.6, needs libmine-[HASH].so, rpath $ORIGIN/../greeter.libs
    ");
}

#[test]
fn the_wheel_says_which_packages_are_in_it() {
    let fast = extension().needs("libfar.so.2").needs("libnear.so.1").needs("libown.so");
    let context = place(&wheel(&[("greeter/fast.so", fast)]));
    put(&context, "system/usr/lib/x/libfar.so.2", library("libfar.so.2").build());
    put(&context, "system/usr/lib/libnear.so.1", library("libnear.so.1").build());
    put(&context, "system/usr/lib/libown.so", library("libown.so").build());
    put(&context, "system/etc/ld.so.conf", "/usr/lib/x\n");
    put(&context, "system/etc/os-release", "ID=mixed\n");
    put(&context, "system/var/lib/dpkg/info/libfar2:i386.list", "/.\n/lib/x/libfar.so.2\n");
    put(&context, "system/var/lib/dpkg/status", "Package: libfar2\nArchitecture: i386\nVersion: 1:2.0+b\n\n");
    put(&context, "system/lib/apk/db/installed", "P:near\nV:1.2-r3\nF:usr/lib\nR:libnear.so.1\n\n");
    assert_snapshot!(repair(&context, &[WHEEL]), @r"
    exit: 0
    --- stdout
    greeter-1.0-py3-none-linux_i686.whl

    repaired   wheelhouse/greeter-1.0-py3-none-manylinux2014_i686.manylinux_2_17_i686.whl
    tag        manylinux_2_17_i686
    platforms  manylinux2014_i686, manylinux_2_17_i686
    grafted    libfar-[HASH].so.2 pkg:deb/mixed/libfar2@1%3A2.0%2Bb
               libnear-[HASH].so.1 pkg:apk/mixed/near@1.2-r3
               libown-[HASH].so /usr/lib/libown.so
    ");
    let made = context.work().join("wheelhouse").join(REPAIRED);
    let text = context.filtered(&member(&made, ".dist-info/sboms/hwb.cdx.json"));
    let described: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&described["bomFormat"], &described["specVersion"]), (&"CycloneDX".into(), &"1.6".into()));
    let of_wheel = &described["metadata"]["component"];
    assert_eq!(of_wheel["purl"], "pkg:pypi/greeter@1.0");
    let components = described["components"].as_array().unwrap();
    assert_snapshot!(components.iter().map(|one| format!("{one}\n")).collect::<String>(), @r#"
    {"type":"library","bom-ref":"greeter.libs/libfar-[HASH].so.2","name":"libfar2","hashes":[{"alg":"SHA-256","content":"[DIGEST]"}],"version":"1:2.0+b","purl":"pkg:deb/mixed/libfar2@1%3A2.0%2Bb"}
    {"type":"library","bom-ref":"greeter.libs/libnear-[HASH].so.1","name":"near","hashes":[{"alg":"SHA-256","content":"[DIGEST]"}],"version":"1.2-r3","purl":"pkg:apk/mixed/near@1.2-r3"}
    {"type":"library","bom-ref":"greeter.libs/libown-[HASH].so","name":"libown.so","hashes":[{"alg":"SHA-256","content":"[DIGEST]"}]}
    "#);
    let references: Vec<_> = components.iter().map(|one| &one["bom-ref"]).collect();
    let depends = serde_json::json!([{"ref": of_wheel["bom-ref"], "dependsOn": references}]);
    assert_eq!(described["dependencies"], depends);
    assert_eq!(wheelhouse(&context), [REPAIRED]);
}
