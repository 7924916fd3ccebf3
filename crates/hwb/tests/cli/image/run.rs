//! `hwb image run`, with the programs of this machine seen through a volume.

use hwb_testkit::registry::Registry;
use hwb_testkit::{CommandContext, Image, Outcome, Tree, tree::Entry};
use insta::assert_snapshot;

use super::name;

/// An image whose programs are those of this machine, once its `/usr` is there.
fn image() -> Image {
    let links = ["bin", "lib", "lib64", "sbin"];
    let layer =
        links.iter().fold(Tree::new(), |tree, link| tree.entry(link, Entry::Link(format!("usr/{link}"))));
    let users = "root:x:0:0::/root:/bin/sh\nwww:x:33:34::/var/www:/bin/sh\n";
    let layer =
        layer.file("etc/passwd", users).file("etc/group", "extra:x:50:www\n").file("etc/kept", "kept\n");
    let second = Tree::new().file("etc/.wh.gone", "").file("etc/second", "second\n");
    Image::new()
        .layer(&layer.file("etc/gone", "gone\n").file("opt/old", "old\n"))
        .layer(&second)
        .config("Env", vec!["PATH=/bin", "FROM=image"])
        .config("Cmd", vec!["cat", "/etc/second"])
        .config("WorkingDir", "/job")
}

pub(super) struct Place {
    pub(super) context: CommandContext,
    image: String,
    _registry: Registry,
}

impl Place {
    pub(super) fn new() -> Self {
        let registry = Registry::open();
        image().push(&registry, "shell", "1");
        let context = super::context(&registry)
            .filter(r"(?m)^warning: the container has one user: .*\n", "")
            .filter(r"/tmp/run/\d+", "/tmp/run/[N]");
        let image = name(&registry, "shell:1");
        context.run(["image", "pull", "-q", &image]).success();
        Self { context, image, _registry: registry }
    }

    pub(super) fn run(&self, options: &[&str], command: &[&str]) -> Outcome {
        self.run_image(&self.image, options, command)
    }

    pub(super) fn run_image(&self, image: &str, options: &[&str], command: &[&str]) -> Outcome {
        let volume = ["image", "run", "-v", "/usr:/usr:ro"];
        self.context.run(volume.iter().chain(options).chain(&[image]).chain(command))
    }

    /// What a shell in the image says.
    fn says(&self, options: &[&str], script: &str) -> String {
        self.run(options, &["sh", "-c", script]).success().stdout
    }
}

#[test]
fn a_command_runs_in_the_layers_of_its_image() {
    let place = Place::new();
    assert_snapshot!(place.run(&[], &[]), @r"
    exit: 0
    --- stdout
    second
    ");
    assert_eq!(place.says(&[], "cat /etc/kept; test -e /etc/gone || echo gone; pwd"), "kept\ngone\n/job\n");
    assert_eq!(place.says(&[], "echo $FROM $HOME $$; id -u"), "image /root 2\n0\n");
    // Nothing of a run is there in the next one.
    place.run(&[], &["sh", "-c", "echo changed > /etc/kept; rm /etc/second"]).success();
    assert_eq!(place.says(&[], "cat /etc/kept /etc/second"), "kept\nsecond\n");
    assert_eq!(CommandContext::files_below(&place.context.cache().join("v1/tmp")), [""; 0]);
}

#[test]
fn an_isolated_network_needs_a_program() {
    let place = Place::new();
    let run = |path: &str| {
        let script = "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '";
        let options = ["image", "run", "-v", "/usr:/usr:ro", "--network", "isolated"];
        let command = [place.image.as_str(), "sh", "-c", script];
        let command = options.iter().chain(&command);
        place.context.command(command).env("PATH", path).run()
    };
    assert_snapshot!(run("/nowhere"), @r"
    exit: 125
    --- stderr
    error: no program of this machine connects an isolated network
    hint: Debian: apt install passt (or slirp4netns)
    ");
    let folder = place.context.work();
    let program = folder.join("pasta");
    fs_err::write(&program, "#!/bin/sh\nexit 0\n").unwrap();
    fs_err::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert_snapshot!(run(folder.to_str().unwrap()), @r"
    exit: 0
    --- stdout
    lo
    ");
}

#[test]
fn exit_codes_are_those_that_docker_users_expect() {
    let place = Place::new();
    place.run(&[], &["sh", "-c", "exit 7"]).exit(7);
    place.run(&[], &["sh", "-c", "kill -9 $$"]).exit(137);
    assert_snapshot!(place.run(&[], &["absent"]), @r"
    exit: 127
    --- stderr
    error: failed to start `absent`
      caused by: No such file or directory (os error 2)
    ");
    assert_snapshot!(place.run(&[], &["/etc/kept"]), @r"
    exit: 126
    --- stderr
    error: failed to start `/etc/kept`
      caused by: Permission denied (os error 13)
    ");
    assert_snapshot!(place.context.run(["image", "run", "--pull", "never", "absent"]), @r"
    exit: 125
    --- stderr
    error: no image in the store is called `absent`
    hint: `hwb image ls` lists what is there, and `hwb image pull` gets more
    ");
    assert_snapshot!(place.run(&["-d"], &["true"]), @r"
    exit: 2
    --- stderr
    error: invalid value '' for '--detach': a command ends with hwb: start hwb in the background

    For more information, try '--help'.
    ");
    assert_snapshot!(place.run(&["-p", "80:80"], &["true"]), @r"
    exit: 2
    --- stderr
    error: invalid value '80:80' for '--publish <PUBLISH>': with --network host its ports are this machine's

    For more information, try '--help'.
    ");
    assert_snapshot!(place.run(&["--privileged"], &["true"]), @r"
    exit: 2
    --- stderr
    error: invalid value '' for '--privileged': no command is without walls: see --cap-add

    For more information, try '--help'.
    ");
    assert_snapshot!(place.run(&["-u", "nobody"], &["true"]), @r"
    exit: 125
    --- stderr
    error: cannot run a command of [REGISTRY]/shell:1
      caused by: the image has no user `nobody`
    ");
    assert_snapshot!(place.run(&["-t"], &["true"]), @r"
    exit: 125
    --- stderr
    error: a terminal was asked for, and standard input is none
    hint: without -t its streams are those of hwb
    ");
}

/// What a process in the container would read, though it is read before there is one.
#[test]
fn users_are_those_of_the_uppermost_list() {
    let registry = Registry::open();
    let links = ["bin", "lib", "lib64", "sbin"];
    let programs =
        links.iter().fold(Tree::new(), |tree, link| tree.entry(link, Entry::Link(format!("usr/{link}"))));
    let users = |name: &str| format!("root:x:0:0::/root:/bin/sh\n{name}:x:0:0::/home/{name}:/bin/sh\n");
    let linked = Tree::new()
        .file("opt/users", users("new"))
        .file("etc/.wh..wh..opq", "")
        .entry("etc/passwd", Entry::Link("../opt/users".to_owned()));
    Image::new()
        .layer(&programs.file("etc/passwd", users("old")))
        .layer(&linked)
        .push(&registry, "linked", "1");
    let hidden = Tree::new().file("etc/.wh..wh..opq", "");
    Image::new()
        .layer(&Tree::new().file("etc/passwd", users("old")))
        .layer(&hidden)
        .push(&registry, "hidden", "1");
    let context = super::context(&registry).filter(r"(?m)^warning: the container has one user: .*\n", "");
    let run = |image: &str, user: &str| {
        let (image, volume) = (name(&registry, image), ["image", "run", "-q", "-v", "/usr:/usr:ro"]);
        context.run(volume.iter().chain(&["-u", user, &image, "/usr/bin/env", "sh", "-c", "echo $HOME"]))
    };
    assert_eq!(run("linked:1", "new").success().stdout, "/home/new\n");
    assert_snapshot!(run("linked:1", "old"), @r"
    exit: 125
    --- stderr
    error: cannot run a command of [REGISTRY]/linked:1
      caused by: the image has no user `old`
    ");
    assert!(run("hidden:1", "old").exit(125).stderr.contains("has no user `old`"));
}

#[test]
fn what_is_typed_reaches_the_container() {
    let place = Place::new();
    fs_err::write(place.context.work().join("variables"), "# one\nA=file\nB=file\n").unwrap();
    let options = ["--env-file", "variables", "-e", "B=typed", "--hostname", "box", "-w", "/made/here"];
    assert_eq!(place.says(&options, "echo $A $B; hostname; pwd"), "file typed\nbox\n/made/here\n");
    let options = ["--network", "none", "--add-host", "db:10.0.0.2"];
    assert_eq!(place.says(&options, "tail -1 /etc/hosts; grep -c : /proc/net/dev"), "10.0.0.2\tdb\n1\n");
    assert_eq!(place.says(&["--ulimit", "nofile=100:200"], "ulimit -Sn; ulimit -Hn"), "100\n200\n");
    let mask = "grep CapBnd /proc/self/status | cut -f2";
    assert_eq!(place.says(&["--cap-drop", "all", "--cap-add", "kill"], mask), "0000000000000020\n");
    assert_eq!(place.says(&["--tmpfs", "/t:size=64k"], "stat -f -c %b*%S /t | sed 's/.*/&/' | wc -l"), "1\n");
    assert_eq!(place.says(&["--entrypoint", "echo"], "").trim(), "sh -c");
}

#[test]
fn volumes_are_read_or_written() {
    let place = Place::new();
    let work = place.context.work();
    fs_err::create_dir(work.join("shared")).unwrap();
    place.run(&["-v", "./shared:/s"], &["sh", "-c", "echo out > /s/file"]).success();
    assert_eq!(fs_err::read_to_string(work.join("shared/file")).unwrap(), "out\n");
    let refused = place.run(&["-v", "./shared:/s:ro"], &["sh", "-c", "echo no > /s/file"]);
    assert!(refused.stderr.contains("Read-only file system"), "{refused}");
    let refused = place.run(&["--read-only"], &["sh", "-c", "echo no > /etc/kept"]);
    assert!(refused.stderr.contains("Read-only file system"), "{refused}");
    assert_snapshot!(place.run(&["-v", "./absent:/s"], &["true"]), @r"
    exit: 125
    --- stderr
    error: failed to mount `[WORK]/absent` at `/s` for `true`
      caused by: No such file or directory (os error 2)
    ");
    assert_snapshot!(place.run(&["-v", "named:/s"], &["true"]), @r"
    exit: 2
    --- stderr
    error: invalid value 'named:/s' for '--volume <SRC:DST[:ro]>': hwb keeps no named volumes; write `./named` for a directory

    For more information, try '--help'.
    ");
}
