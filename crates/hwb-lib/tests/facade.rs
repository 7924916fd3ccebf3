//! Plans, builds and verifications, end to end: this binary has no test harness, so that it can be its own helper.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "without a harness these are no tests to clippy"
)]

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hwb_ident::{PathSource, SourceSpec, Timestamp};
use hwb_lib::build::{
    self, BuildReport, BuildRequest, Environments, HookPath, Isolation, Network, Outputs, Placement, Repairs,
};
use hwb_lib::build::{PlanReport, Requested, Selection};
use hwb_lib::image::{
    self, Capabilities, CommandChoices, ContainerChoices, ImportRequest, Limits, Platforms, PullPolicy,
    RootAccess, RunRequest, Streaming,
};
use hwb_lib::settings::{self, Overrides, Settings};
use hwb_lib::verify::{self, Verdict, VerifyReport, VerifyRequest};
use hwb_lib::{Ambient, Cancel, Error, ErrorKind, Event, history};
use hwb_testkit::{Index, Project, Tree, tiny_backend_wheel};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == hwb_lib::HELPER_ARGUMENT) {
        return hwb_lib::helper_main(args);
    }
    let tests: [(&str, fn()); 11] = [
        ("a_plan_says_what_and_why", a_plan_says_what_and_why),
        ("a_plan_knows_who_chose", a_plan_knows_who_chose),
        ("the_time_is_the_users_if_he_says_so", the_time_is_the_users_if_he_says_so),
        ("without_isolation_all_that_is_lacking_is_listed", without_isolation_all_that_is_lacking_is_listed),
        ("without_isolation_a_complete_interpreter_builds", without_isolation_a_complete_interpreter_builds),
        ("a_wheel_is_verified", a_wheel_is_verified),
        ("a_wheel_that_differs_is_explained", a_wheel_that_differs_is_explained),
        ("members_of_a_workspace_are_built", members_of_a_workspace_are_built),
        ("a_workspace_says_what_it_has", a_workspace_says_what_it_has),
        ("history_knows_failures", history_knows_failures),
        ("a_run_that_was_stopped_does_not_start", a_run_that_was_stopped_does_not_start),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

/// A place where nothing of this machine is seen but its Python.
struct Place {
    folder: tempfile::TempDir,
    _index: Index,
    ambient: Ambient,
    settings: Settings,
}

impl Place {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let index = Index::of([tiny_backend_wheel()]);
        let home = folder.path().join("home");
        fs_err::create_dir_all(folder.path().join("work")).unwrap();
        let python = hwb_testkit::command::python().parent().unwrap().display().to_string();
        let mut env = BTreeMap::from([
            ("PATH".to_owned(), format!("{python}:/usr/local/bin:/usr/bin:/bin")),
            ("UV_DEFAULT_INDEX".to_owned(), index.url()),
        ]);
        env.extend(variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
        let ambient = Ambient {
            env,
            cwd: folder.path().join("work"),
            home: Some(home),
            clock: Timestamp::from_seconds(1_700_000_000),
            executable: std::env::current_exe().unwrap(),
        };
        let overrides = Overrides { cache_dir: Some(folder.path().join("cache")), ..Overrides::default() };
        let settings = settings::load(&ambient, None, &overrides).unwrap();
        Self { folder, _index: index, ambient, settings }
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn request(&self) -> BuildRequest {
        BuildRequest {
            source: SourceSpec::Path(PathSource { path: self.work(), sha256: None, subdirectory: None }),
            subdirectory: None,
            selection: Selection::Root,
            outputs: Outputs::Wheel,
            pythons: vec![hwb_testkit::command::python().display().to_string()],
            config_settings: BTreeMap::new(),
            env: BTreeMap::new(),
            isolation: Isolation::Venv,
            repair: Repairs::Auto,
            network: Network::Host,
            placement: Placement::Snapshot,
            environments: Environments::Kept,
            hook_path: HookPath::Direct,
            extra_requirements: Vec::new(),
            out_dir: self.work().join("dist"),
            clean: Requested::No,
            timeout: None,
            dry_run: Requested::No,
        }
    }

    fn plan(&self, request: &BuildRequest) -> Result<PlanReport, Error> {
        let cancel = Cancel::new().unwrap();
        build::plan(request, &self.settings, &self.ambient, &cancel, &|_: Event| {})
    }

    fn build(&self, request: &BuildRequest) -> Result<BuildReport, Error> {
        let cancel = Cancel::new().unwrap();
        build::build(request, &self.settings, &self.ambient, &cancel, &|_: Event| {})
    }

    fn verify(&self, wheel: &Path, build: BuildRequest) -> Result<VerifyReport, Error> {
        let cancel = Cancel::new().unwrap();
        let request = VerifyRequest { wheel: wheel.to_path_buf(), build };
        verify::verify(&request, &self.settings, &self.ambient, &cancel, &|_: Event| {})
    }
}

/// The whole error, for comparisons and for people.
fn text(error: &Error) -> String {
    error.chain().collect::<Vec<_>>().join(": ")
}

fn a_plan_says_what_and_why() {
    let place = Place::with(&[("CFLAGS", "-O1"), ("SECRET_TOKEN", "x")]);
    Project::new("tiny", "1.0").write_to(&place.work());
    let plan = place.plan(&place.request()).unwrap();
    let [project] = plan.projects.as_slice() else { panic!("{plan:?}") };
    assert_eq!(project.backend.name, "tiny_backend");
    assert_eq!(project.interpreters[0].requirements.as_deref(), Some(&["tiny-backend==1.0".to_owned()][..]));
    assert_eq!(plan.influences, ["CFLAGS"]);
    let lines = plan.lines();
    for expect in [
        "source          ",
        "digest          sha256:",
        "isolation       venv: an environment of its own",
        "time            1980-01-01T00:00:00Z (315532800): a directory has no time of its own",
        "variables       CFLAGS can change what is built",
        "  backend       tiny_backend: `build-backend` says so",
        "  requires      tiny-backend",
        "  python        cpython ",
        "    installs    tiny-backend==1.0",
        "    then        what the backend asks for besides",
    ] {
        assert!(lines.iter().any(|line| line.starts_with(expect)), "{expect}\n{}", lines.join("\n"));
    }
    assert!(!place.work().join("dist").exists());
    assert!(history::list(&place.settings, 9).unwrap().is_empty());
}

fn a_plan_knows_who_chose() {
    let place = Place::new();
    fs_err::write(place.work().join("setup.py"), "").unwrap();
    let request = BuildRequest { isolation: Isolation::None, ..place.request() };
    let plan = place.plan(&request).unwrap();
    let lines = plan.lines().join("\n");
    assert!(lines.contains("setuptools.build_meta:__legacy__: nothing else is said"), "{lines}");
    assert!(lines.contains("    installs    nothing"), "{lines}");
    let error = place.plan(&BuildRequest { pythons: vec!["3.0".to_owned()], ..request }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Machine, "{}", text(&error));
}

fn the_time_is_the_users_if_he_says_so() {
    let place = Place::with(&[("SOURCE_DATE_EPOCH", "1000000000")]);
    Project::new("tiny", "1.0").write_to(&place.work());
    let mut request = place.request();
    assert_eq!(place.build(&request).unwrap().artifacts[0].source_date_epoch, 1_000_000_000);
    request.env.insert("SOURCE_DATE_EPOCH".to_owned(), "1100000000".to_owned());
    assert_eq!(place.plan(&request).unwrap().source_date_epoch, 1_100_000_000);
    request.env.insert("SOURCE_DATE_EPOCH".to_owned(), "soon".to_owned());
    assert_eq!(place.build(&request).unwrap_err().kind(), ErrorKind::Configuration);
}

fn without_isolation_all_that_is_lacking_is_listed() {
    let place = Place::new();
    Project::new("tiny", "1.0")
        .backend_in_tree()
        .build_requires("hwb-test-absent>=2")
        .option("requires-for-wheel", vec!["hwb-test-gone".to_owned()])
        .write_to(&place.work());
    let request = BuildRequest { isolation: Isolation::None, ..place.request() };
    let error = place.build(&request).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Machine);
    let message = text(&error);
    assert!(message.ends_with("lacks `hwb-test-absent>=2`, `hwb-test-gone`"), "{message}");
    assert_eq!(error.hints().len(), 2, "{:?}", error.hints());
    assert!(!place.work().join("dist").exists());
}

fn without_isolation_a_complete_interpreter_builds() {
    let place = Place::new();
    Project::new("tiny", "1.0").backend_in_tree().write_to(&place.work());
    let bare = place.build(&BuildRequest { isolation: Isolation::None, ..place.request() }).unwrap();
    let venv = place.build(&place.request()).unwrap();
    assert_eq!(bare.artifacts[0].sha256, venv.artifacts[0].sha256);
}

fn a_wheel_is_verified() {
    let place = Place::new();
    Project::new("tiny", "1.0").write_to(&place.work());
    let built = place.build(&place.request()).unwrap();
    let report = place.verify(&built.artifacts[0].path, place.request()).unwrap();
    assert_eq!(report.verdict, Verdict::Identical, "{}", report.lines().join("\n"));
    assert!(report.failure().is_none());
    assert_eq!(report.built.sha256, built.artifacts[0].sha256);
}

fn a_wheel_that_differs_is_explained() {
    let place = Place::new();
    Project::new("tiny", "1.0").option("random", true).write_to(&place.work());
    let built = place.build(&place.request()).unwrap();
    let report = place.verify(&built.artifacts[0].path, place.request()).unwrap();
    assert_eq!(report.verdict, Verdict::Different);
    assert_eq!(report.failure().unwrap().kind(), ErrorKind::Check);
    let paths: Vec<_> = report.members.iter().map(|member| member.path.as_deref().unwrap()).collect();
    assert_eq!(paths, ["tiny-1.0.dist-info/RECORD", "tiny_random.bin"]);
    let error = place.verify(&place.work().join("gone-1-py3-none-any.whl"), place.request()).unwrap_err();
    assert!(text(&error).contains("failed to read the wheel"), "{}", text(&error));
}

fn workspace(place: &Place) {
    Project::new("root", "1.0")
        .pyproject(
            "[project]\nname = 'root'\nversion = '1.0'\n[tool.uv.workspace]\nmembers = ['packages/*']\n",
        )
        .write_to(&place.work());
    for name in ["one", "two"] {
        Project::new(name, "2.0")
            .pyproject(&format!("[project]\nname = '{name}'\nversion = '2.0'\n"))
            .write_to(&place.work().join("packages").join(name));
    }
}

fn files(report: &BuildReport) -> Vec<&str> {
    report.artifacts.iter().map(|artifact| artifact.file.as_str()).collect()
}

fn members_of_a_workspace_are_built() {
    let place = Place::new();
    workspace(&place);
    let selected = |selection| place.build(&BuildRequest { selection, ..place.request() }).unwrap();
    assert_eq!(files(&selected(Selection::Root)), ["root-1.0-py3-none-any.whl"]);
    let packages = Selection::Packages(vec!["two".parse().unwrap()]);
    let two = selected(packages.clone());
    assert_eq!(files(&two), ["two-2.0-py3-none-any.whl"]);
    let all = selected(Selection::All);
    let names = ["one-2.0-py3-none-any.whl", "root-1.0-py3-none-any.whl", "two-2.0-py3-none-any.whl"];
    assert_eq!(files(&all), names);
    assert_eq!(all.artifacts[2].sha256, two.artifacts[0].sha256);
    let plan = place.plan(&BuildRequest { selection: packages, ..place.request() }).unwrap();
    assert_eq!(plan.projects[0].directory.as_deref(), Some("packages/two"));
}

fn a_workspace_says_what_it_has() {
    let place = Place::new();
    workspace(&place);
    let selection = Selection::Packages(vec!["three".parse().unwrap()]);
    let error = place.build(&BuildRequest { selection: selection.clone(), ..place.request() }).unwrap_err();
    assert_eq!(text(&error), "the workspace has no member `three`; its members are `one`, `root`, `two`");
    assert_eq!(error.kind(), ErrorKind::Usage);
    let from_inside = |selection| {
        let source =
            PathSource { path: place.work().join("packages/one/."), sha256: None, subdirectory: None };
        place.plan(&BuildRequest { source: SourceSpec::Path(source), selection, ..place.request() })
    };
    let two = from_inside(Selection::Packages(vec!["two".parse().unwrap()])).unwrap();
    assert_eq!(two.projects[0].directory.as_deref(), Some("packages/two"));
    fs_err::remove_file(place.work().join("pyproject.toml")).unwrap();
    let error = from_inside(selection).unwrap_err();
    assert!(text(&error).starts_with("the source is no uv workspace"), "{}", text(&error));
}

fn history_knows_failures() {
    let place = Place::new();
    Project::new("tiny", "1.0").option("fail", "build_wheel").write_to(&place.work());
    let error = place.build(&place.request()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Build);
    let records = history::list(&place.settings, 9).unwrap();
    let record = serde_json::to_value(&records[0]).unwrap();
    assert_eq!(record["result"]["outcome"], "failed");
    assert_eq!(record["result"]["kind"], "build");
    assert_eq!(records.len(), 1);
}

fn a_run_that_was_stopped_does_not_start() {
    let place = Place::new();
    let mut archive = std::io::Cursor::new(Tree::new().file("etc/motd", "hello").tar("."));
    let import = ImportRequest {
        source: "-".to_owned(),
        name: Some("app:1".to_owned()),
        platforms: Platforms::One(None),
        changes: Vec::new(),
        message: None,
    };
    image::import(&place.settings, &place.ambient, &import, &mut archive, &|_: Event| {}).unwrap();
    let network = image::Network::Denied;
    let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
    let request = RunRequest {
        image: "app:1".to_owned(),
        name: None,
        platform: None,
        pull: PullPolicy::Never,
        command: CommandChoices { command: vec!["/absent".to_owned()], ..CommandChoices::default() },
        container: ContainerChoices {
            hostname: None,
            network,
            hosts: Vec::new(),
            places: Vec::new(),
            root_access: RootAccess::ReadWrite,
            capabilities: Capabilities::usual(network),
            limits: Limits::default(),
            process_limits: Vec::new(),
        },
        streaming: Streaming::Given { stdin: None, stdout: stdout.as_fd(), stderr: stderr.as_fd() },
    };
    let run = |cancel: &Cancel| {
        image::run(&place.settings, &place.ambient, cancel, &request, &|_: Event| {})
            .map(|end| end.exit_code())
    };
    let unpacked = || {
        let snapshots = fs_err::read_dir(place.folder.path().join("cache/v1/snapshots")).unwrap();
        snapshots.filter(|place| place.as_ref().unwrap().path().join("snapshot.json").exists()).count()
    };
    let cancel = Cancel::new().unwrap();
    cancel.cancel();
    assert_eq!(run(&cancel).unwrap_err().kind(), ErrorKind::Interrupted);
    assert_eq!(unpacked(), 0, "no layer was read");
    assert_eq!(run(&Cancel::new().unwrap()).unwrap(), 127);
    assert_eq!(unpacked(), 1);
    assert_eq!(run(&cancel).unwrap_err().kind(), ErrorKind::Interrupted, "with all layers there");
}
