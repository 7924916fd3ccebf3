//! `hwb image run --name` and `hwb image commit`: what a run leaves, and what becomes of it.

use fs_err as fs;
use hwb_testkit::{CommandContext, Outcome};
use insta::assert_snapshot;
use serde_json::{Value, json};

use super::run::Place;

/// When everything happened, for images that are to be the same.
const EPOCH: &str = "1000000000";

fn keep(place: &Place, name: &str, script: &str) {
    place.run(&["--name", name], &["sh", "-ec", script]).success();
}

fn commit(place: &Place, arguments: &[&str]) -> Outcome {
    let commit = place.context.command(["image", "commit"].iter().chain(arguments));
    commit.env("SOURCE_DATE_EPOCH", EPOCH).run()
}

/// What `commit --json` says.
fn report(place: &Place, arguments: &[&str]) -> Value {
    commit(place, &[&["--json"], arguments].concat()).success().json()
}

/// The entries of a layer that is not compressed.
fn entries(place: &Place, report: &Value) -> Vec<String> {
    let digest = report["layer"]["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let blob = place.context.cache().join("v1/blobs").join(&digest[..2]).join(&digest[2..]);
    let mut archive = tar::Archive::new(fs::File::open(blob).unwrap());
    let line = |entry: tar::Entry<'_, fs::File>| {
        let header = entry.header();
        let (mode, uid, gid) = (header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap());
        format!("{} {mode:o} {uid}:{gid} @{}", entry.path().unwrap().display(), header.mtime().unwrap())
    };
    archive.entries().unwrap().map(|entry| line(entry.unwrap())).collect()
}

fn runs(place: &Place) -> Vec<String> {
    let runs = place.context.run(["image", "ls", "--runs", "--json"]).success().json();
    runs.as_array().unwrap().iter().map(|run| run["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_a_run_wrote_becomes_an_image() {
    let place = Place::new();
    keep(&place, "one", "echo new > /etc/new; rm /etc/second; chmod 600 /etc/kept; echo out > /job/out");
    let context = &place.context;
    assert_snapshot!(context.run(["image", "ls", "--runs"]), @r"
    exit: 0
    --- stdout
    RUN  IMAGE                    CREATED               EXIT  COMMAND
    one  [REGISTRY]/shell:1  [DATE]  0     sh -ec echo new > /etc/new; rm /etc/second; chmod 600 /etc/kept; echo out > /job/out
    ");
    let refused = place.run(&["--name", "one"], &["true"]);
    assert_snapshot!(refused, @r"
    exit: 125
    --- stderr
    error: there is a run called `one` already
    hint: `hwb image rm --run one` removes it
    ");
    let arguments = ["one", "mine:1", "--compression", "none", "-m", "why", "-a", "me", "-c", "ENV A=b"];
    let first = report(&place, &arguments);
    assert_eq!(
        entries(&place, &first),
        [
            "etc/ 755 0:0 @1000000000",
            "etc/kept 600 0:0 @1000000000",
            "etc/new 644 0:0 @1000000000",
            "etc/.wh.second 600 0:0 @0",
            "job/ 755 0:0 @1000000000",
            "job/out 644 0:0 @1000000000",
        ]
    );
    assert_eq!(report(&place, &arguments), first, "the same changes make the same image");
    assert_eq!(first["layer"]["entries"], 6);
    let says = |script: &str| {
        place.run_image("mine:1", &["--pull", "never"], &["sh", "-c", script]).success().stdout
    };
    assert_eq!(
        says("cat /etc/new /job/out; ls /etc; stat -c %a /etc/kept; echo $FROM $A"),
        "new\nout\ngroup\nhostname\nhosts\nkept\nnew\npasswd\nresolv.conf\n600\nimage b\n"
    );
    assert_snapshot!(context.run(["image", "history", "mine:1"]), @r"
    exit: 0
    --- stdout
    [DATE]  [SIZE]  sh -ec echo new > /etc/new; rm /etc/second; chmod 600 /etc/kept; echo out > /job/out
    [DATE]  [SIZE]    COPY
    [DATE]  [SIZE]    COPY
    ");
    let details = context.run(["image", "inspect", "--json", "mine:1"]).success().json();
    assert_eq!(details["created"], "2001-09-09T01:46:40Z");
    assert_eq!(details["config"]["author"], "me");
    assert_eq!(details["config"]["config"]["Cmd"], json!(["cat", "/etc/second"]), "as it was");
    assert_snapshot!(context.run(["image", "rm", "--run", "one"]), @r"
    exit: 0
    --- stdout
    one
    ");
    assert_eq!(runs(&place), [""; 0]);
    assert_eq!(CommandContext::files_below(&context.cache().join("v1/tmp")), [""; 0]);
}

#[test]
fn directories_that_were_made_anew_hide_what_was_there() {
    let place = Place::new();
    keep(&place, "opaque", "rm -r /opt; mkdir /opt; echo new > /opt/new");
    let first = report(&place, &["opaque", "mine", "--compression", "none"]);
    assert_eq!(
        entries(&place, &first),
        ["opt/ 755 0:0 @1000000000", "opt/.wh..wh..opq 755 0:0 @1000000000", "opt/new 644 0:0 @1000000000",]
    );
    assert_eq!(place.run_image("mine", &[], &["ls", "/opt"]).success().stdout, "new\n");
}

/// Where there is one id, owners are noted beside the files, and nothing of that is seen in the image.
#[test]
fn owners_are_those_that_the_run_gave() {
    let place = Place::new();
    keep(
        &place,
        "owners",
        "echo > /etc/new; chown 33:34 /etc/new; mkdir /srv; chown 5 /srv; chown 7:8 /etc/kept",
    );
    let committed = report(&place, &["owners", "mine", "--compression", "none"]);
    assert_eq!(
        entries(&place, &committed),
        [
            "etc/ 755 0:0 @1000000000",
            "etc/kept 644 7:8 @1000000000",
            "etc/new 644 33:34 @1000000000",
            "srv/ 755 5:0 @1000000000",
        ]
    );
    // And again, on top of that.
    place.run_image("mine", &["--name", "more"], &["sh", "-c", "echo more >> /etc/new"]).success();
    let committed = report(&place, &["more", "mine:2", "--compression", "none"]);
    assert_eq!(entries(&place, &committed), ["etc/ 755 0:0 @1000000000", "etc/new 644 33:34 @1000000000",]);
}

#[test]
fn layers_are_compressed_as_one_likes() {
    let place = Place::new();
    keep(&place, "run", "seq 10000 > /etc/numbers");
    let mut diff_ids = Vec::new();
    let mut sizes = Vec::new();
    for options in [
        &[][..],
        &["--compression-level", "9"],
        &["--compression", "zstd"],
        &["--compression", "zstd", "--compression-level", "19"],
        &["--compression", "none"],
    ] {
        let committed = report(&place, &[&["run", "mine"], options].concat());
        diff_ids.push(committed["layer"]["diff_id"].clone());
        sizes.push(committed["layer"]["size"].as_u64().unwrap());
        assert_eq!(place.run_image("mine", &[], &["tail", "-1", "/etc/numbers"]).success().stdout, "10000\n");
    }
    diff_ids.dedup();
    assert_eq!(diff_ids.len(), 1);
    assert!(sizes[1] < sizes[0] && sizes[3] < sizes[2] && sizes[0] < sizes[4], "{sizes:?}");
    assert_snapshot!(commit(&place, &["run", "mine", "--compression", "none", "--compression-level", "1"]), @r"
    exit: 2
    --- stderr
    error: what is not compressed has no level
    ");
    assert_snapshot!(commit(&place, &["run", "mine", "--compression-level", "13"]), @r"
    exit: 2
    --- stderr
    error: there is no compression level 13, only 1 to 12
    ");
    assert_snapshot!(commit(&place, &["run", "mine", "--change", "RUN make"]), @r"
    exit: 2
    --- stderr
    error: invalid value 'RUN make' for '--change <INSTRUCTION>': `RUN` cannot be changed; CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR can

    For more information, try '--help'.
    ");
}

#[test]
fn nothing_changed_is_no_layer() {
    let place = Place::new();
    keep(&place, "idle", "cat /etc/kept; touch /etc/x /x; rm /etc/x /x");
    let committed = report(&place, &["idle", "mine", "-c", "CMD [\"id\", \"-u\"]"]);
    assert_eq!(committed["layer"], Value::Null);
    assert_eq!(place.run_image("mine", &[], &[]).success().stdout, "0\n");
    let details = place.context.run(["image", "inspect", "--json", "mine"]).success().json();
    assert_eq!(details["layers"].as_array().unwrap().len(), 2);
}

#[test]
fn what_cannot_be_kept_says_why() {
    let place = Place::new();
    place.run(&["--name", "absent"], &["/absent"]).exit(127);
    assert_eq!(runs(&place), [""; 0], "what did not start has changed nothing");
    place.run(&["--name", "failed"], &["sh", "-c", "echo > /etc/new; exit 3"]).exit(3);
    assert_eq!(runs(&place), ["failed"]);
    assert_snapshot!(place.run(&["--name", "a/b"], &["true"]), @r"
    exit: 2
    --- stderr
    error: invalid value 'a/b' for '--name <NAME>': a run is called by at most 100 of `a-z A-Z 0-9 _ . -`, the first a letter or a digit

    For more information, try '--help'.
    ");
    assert_snapshot!(place.run(&["--name", "a", "--rm"], &["true"]), @r"
    exit: 2
    --- stderr
    error: the argument '--name <NAME>' cannot be used with '--rm'

    Usage: hwb image run --volume <SRC:DST[:ro]> --name <NAME> <IMAGE> <COMMAND>...

    For more information, try '--help'.
    ");
    assert_snapshot!(commit(&place, &["other", "mine"]), @r"
    exit: 4
    --- stderr
    error: no run is called `other`
    hint: `hwb image ls --runs` lists what is there
    ");
    assert_snapshot!(commit(&place, &["failed", "Mine"]), @r"
    exit: 2
    --- stderr
    error: `Mine` is not an image name: repositories are in lower case
    ");
    assert_snapshot!(place.context.run(["image", "rm", "--run", "other"]), @r"
    exit: 4
    --- stderr
    error: no run is called `other`
    hint: `hwb image ls --runs` lists what is there
    ");
    fs::write(place.context.cache().join("v1/runs/failed/run.json"), "{").unwrap();
    assert_snapshot!(place.context.run(["image", "ls", "--runs"]), @r"
    exit: 4
    --- stderr
    error: what is known of the run `failed` is malformed
      caused by: EOF while parsing an object at line 1 column 1
    hint: `hwb image rm --run failed` removes it
    ");
    place.context.run(["image", "rm", "--run", "failed"]).success();
    assert_eq!(runs(&place), [""; 0]);
}

/// As an ordinary user with ranges of ids, what others own in a container is not even this user's to look at.
#[test]
fn what_belongs_to_others_is_measured_and_removed() {
    let place = Place::new();
    let script = "mkdir -m 700 /secret; echo > /secret/file; chown -R 33:34 /secret; chmod 0 /etc/kept";
    keep(&place, "one", script);
    keep(&place, "two", script);
    report(&place, &["one", "mine"]);
    assert_eq!(place.run_image("mine", &[], &["ls", "/secret"]).success().stdout, "file\n");
    let context = &place.context;
    let files = |kind: &str| {
        let usage = context.run(["cache", "du", "--json"]).success().json();
        let kinds = usage["kinds"].as_array().unwrap();
        kinds.iter().find(|usage| usage["kind"] == kind).map_or(0, |usage| usage["files"].as_u64().unwrap())
    };
    let both = files("runs");
    assert!(both > 2);
    assert_snapshot!(context.run(["image", "rm", "--run", "one"]), @r"
    exit: 0
    --- stdout
    one
    ");
    assert_eq!(files("runs") * 2, both);
    context.run(["cache", "prune", "--all", "--kind", "runs", "--kind", "snapshots"]).success();
    assert_eq!((files("runs"), files("snapshots")), (0, 0));
    assert_eq!(place.run_image("mine", &[], &["ls", "/secret"]).success().stdout, "file\n");
    context.run(["cache", "clean"]).success();
    assert_eq!(files("snapshots"), 0);
}

/// Unpacked layers may go: they are made again.
#[test]
fn a_run_outlives_what_can_be_had_again() {
    let place = Place::new();
    keep(&place, "run", "echo new > /etc/new");
    let first = report(&place, &["run", "mine"]);
    place.context.run(["cache", "prune", "--all"]).success();
    let kinds = place.context.run(["cache", "du"]).success().stdout;
    assert!(kinds.contains("\nblobs ") && !kinds.contains("\nsnapshots  0 B  0"), "{kinds}");
    assert_eq!(report(&place, &["run", "mine"]), first);
    fs::remove_dir_all(place.context.cache().join("v1/blobs")).unwrap();
    assert_snapshot!(commit(&place, &["run", "mine"]), @r"
    exit: 4
    --- stderr
    error: the image [REGISTRY]/shell:1 that was run is not in the store any more
    hint: `hwb image pull [REGISTRY]/shell:1` gets it, if it is still the same
    ");
}
