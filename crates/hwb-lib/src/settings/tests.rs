use super::*;
use crate::error::ErrorKind;
use hwb_ident::Timestamp;
use tempfile::TempDir;

/// A machine of its own: `etc`, `home` and `project` below one folder.
struct World {
    root: TempDir,
    ambient: Ambient,
}

impl World {
    fn new(files: &[(&str, &str)], env: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for directory in ["etc", "home", "project/member"] {
            fs_err::create_dir_all(root.path().join(directory)).unwrap();
        }
        for (path, text) in files {
            let path = root.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        let ambient = Ambient {
            env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            cwd: root.path().join("project"),
            home: Some(root.path().join("home")),
            clock: Timestamp::from_seconds(0),
            executable: "/usr/bin/hwb".into(),
        };
        Self { root, ambient }
    }

    fn load(&self, project: &str, overrides: &Overrides) -> Result<Settings, SettingsError> {
        let project = self.root.path().join(project);
        load_below(&self.root.path().join("etc"), &self.ambient, Some(&project), overrides)
    }

    /// What holds, one line each, without the built-in ones, `~` for the folder of the world.
    fn lines(&self, project: &str, overrides: &Overrides) -> String {
        let shown = match self.load(project, overrides) {
            Ok(settings) => settings
                .origins
                .iter()
                .filter(|setting| setting.origin != Origin::BuiltIn)
                .map(|setting| format!("{} = {} ({})\n", setting.key, setting.value, setting.origin))
                .collect::<String>(),
            Err(error) => {
                let error = crate::Error::from(error);
                assert_eq!(error.kind(), ErrorKind::Configuration);
                let hints = error.hints().iter().map(|hint| format!("hint: {hint}"));
                error.chain().chain(hints).map(|line| line + "\n").collect()
            }
        };
        shown.replace(&*self.root.path().to_string_lossy(), "~")
    }
}

#[track_caller]
fn check(files: &[(&str, &str)], env: &[(&str, &str)], expect: &str) {
    let world = World::new(files, env);
    assert_eq!(world.lines("project", &Overrides::default()), expect);
}

#[test]
fn stronger_places_win() {
    let files = [
        ("etc/hwb/hwb.toml", "offline = true\nhttp-timeout = 5\nexclude-newer = '2020-01-01'"),
        ("home/.config/hwb/hwb.toml", "http-timeout = 6\nexclude-newer = '2021-01-01'"),
        (
            "project/pyproject.toml",
            "[tool.hwb]\nexclude-newer = '2022-01-01'\n[tool.hwb.build]\nnetwork = 'none'\ntimeout = '10m'",
        ),
    ];
    let expect = "offline = true (~/etc/hwb/hwb.toml)\n\
        exclude-newer = \"2022-01-01\" (~/project/pyproject.toml)\n\
        http-timeout = 6 (~/home/.config/hwb/hwb.toml)\n\
        build.network = \"none\" (~/project/pyproject.toml)\n\
        build.timeout = 600 (~/project/pyproject.toml)\n";
    check(&files, &[], expect);
    check(
        &files,
        &[("HWB_OFFLINE", "0"), ("HWB_NETWORK", "host"), ("HWB_TIMEOUT", "90")],
        &expect
            .replace("offline = true (~/etc/hwb/hwb.toml)", "offline = false (HWB_OFFLINE)")
            .replace("\"none\" (~/project/pyproject.toml)", "\"host\" (HWB_NETWORK)")
            .replace("600 (~/project/pyproject.toml)", "90 (HWB_TIMEOUT)"),
    );
}

#[test]
fn arguments_win_over_everything() {
    let world = World::new(
        &[("project/hwb.toml", "index-url = 'https://file.example'")],
        &[("HWB_INDEX_URL", "https://variable.example"), ("UV_EXTRA_INDEX_URL", "https://extra.example")],
    );
    let overrides = Overrides {
        index_url: Some("https://argument.example".to_owned()),
        extra_index_urls: vec!["https://u:p@first.example".to_owned()],
        find_links: vec!["wheels".to_owned()],
        connectivity: Some(Connectivity::Offline),
        ..Overrides::default()
    };
    assert_eq!(
        world.lines("project", &overrides),
        "index-url = \"https://argument.example/\" (--index-url)\n\
        extra-index-url = \"https://first.example/\" (--extra-index-url)\n\
        extra-index-url = \"https://extra.example/\" (UV_EXTRA_INDEX_URL)\n\
        find-links = \"~/project/wheels\" (--find-links)\n\
        offline = true (--offline)\n"
    );
}

#[test]
fn pip_is_heard() {
    let files = [
        ("etc/pip.conf", "[global]\nindex-url = https://etc.example/simple\ntimeout = 20\n"),
        (
            "home/.config/pip/pip.conf",
            "[install]\nextra-index-url =\n  https://a.example\n  https://b.example\ntrusted-host = a.example\n[global]\nfind-links = wheels\n",
        ),
    ];
    check(
        &files,
        &[("PIP_NO_INDEX", "yes"), ("PIP_CERT", "/ca.pem")],
        "index-url = \"https://etc.example/simple\" (~/etc/pip.conf)\n\
        extra-index-url = \"https://a.example/\" (~/home/.config/pip/pip.conf)\n\
        extra-index-url = \"https://b.example/\" (~/home/.config/pip/pip.conf)\n\
        find-links = \"~/project/wheels\" (~/home/.config/pip/pip.conf)\n\
        no-index = true (PIP_NO_INDEX)\n\
        allow-insecure-host = \"a.example\" (~/home/.config/pip/pip.conf)\n\
        ca-certificates = \"/ca.pem\" (PIP_CERT)\n\
        http-timeout = 20 (~/etc/pip.conf)\n",
    );
    check(&files, &[("PIP_CONFIG_FILE", "/dev/null")], "");
}

#[test]
fn uv_is_heard() {
    let files = [
        ("etc/pip.conf", "[global]\nindex-url = https://pip.example/simple\n"),
        ("home/.config/uv/uv.toml", "index-strategy = 'unsafe-best-match'\npreview = true\n"),
        (
            "project/pyproject.toml",
            "[tool.uv]\nfind-links = ['links']\nbuild-constraint-dependencies = ['setuptools<80']\n\
            [[tool.uv.index]]\nname = 'torch-cpu'\nurl = 'https://torch.example'\n\
            [[tool.uv.index]]\nname = 'x'\nurl = 'https://x.example'\nexplicit = true\n\
            [[tool.uv.index]]\nname = 'main'\nurl = 'https://main.example'\ndefault = true\n",
        ),
    ];
    let settled = "index-url = \"https://main.example/\" (~/project/pyproject.toml)\n\
        extra-index-url = \"https://torch.example/\" (~/project/pyproject.toml)\n\
        find-links = \"~/project/links\" (~/project/pyproject.toml)\n\
        index-strategy = \"unsafe-best-match\" (~/home/.config/uv/uv.toml)\n\
        build.constraints = \"setuptools<80\" (~/project/pyproject.toml)\n";
    let credentials = [("UV_INDEX_TORCH_CPU_USERNAME", "me"), ("UV_INDEX_TORCH_CPU_PASSWORD", "hunter2")];
    check(&files, &credentials, settled);
    check(
        &files,
        &[("UV_NO_CONFIG", "1"), ("UV_INDEX", "a=https://a.example https://b.example")],
        "index-url = \"https://pip.example/simple\" (~/etc/pip.conf)\n\
        extra-index-url = \"https://a.example/\" (UV_INDEX)\n\
        extra-index-url = \"https://b.example/\" (UV_INDEX)\n",
    );
}

#[test]
fn credentials_reach_the_client_and_nobody_else() {
    let world = World::new(
        &[],
        &[
            ("UV_DEFAULT_INDEX", "corp=https://corp.example/simple"),
            ("UV_INDEX_CORP_PASSWORD", "hunter2"),
            ("UV_INDEX_CORP_USERNAME", "me"),
        ],
    );
    let settings = world.load("project", &Overrides::default()).unwrap();
    assert_eq!(settings.index.index_url.as_deref(), Some("https://me:hunter2@corp.example/simple"));
    assert!(!serde_json::to_string(&settings.origins).unwrap().contains("hunter2"));
}

#[test]
fn the_project_reaches_up_to_the_top_of_its_checkout() {
    let settings = ("project/hwb.toml", "offline = true");
    let world = World::new(&[settings, ("project/.git/HEAD", "")], &[]);
    assert_eq!(world.lines("project/member", &Overrides::default()), "offline = true (~/project/hwb.toml)\n");
    let world = World::new(&[settings], &[]);
    assert_eq!(world.lines("project/member", &Overrides::default()), "");
}

#[test]
fn variables_for_hooks_add_up_and_keep_secrets() {
    check(
        &[
            ("home/.config/hwb/hwb.toml", "[build.env]\nA = '1'\nB = 2\n"),
            ("project/hwb.toml", "[build.env]\nB = '3'\nMY_TOKEN = 'hunter2'\n"),
        ],
        &[],
        "build.env.B = \"3\" (~/project/hwb.toml)\n\
        build.env.MY_TOKEN = \"****\" (~/project/hwb.toml)\n\
        build.env.A = \"1\" (~/home/.config/hwb/hwb.toml)\n",
    );
}

#[test]
fn constraint_files_are_read() {
    let world = World::new(
        &[
            ("project/c.txt", "setuptools==80.9 --hash=sha256:00\n-c sub/d.txt\n"),
            ("project/sub/d.txt", "wheel<1\n"),
        ],
        &[],
    );
    let overrides = Overrides { build_constraint_files: vec!["c.txt".into()], ..Overrides::default() };
    let settings = world.load("project", &overrides).unwrap();
    let constraints = settings.index.build_constraints;
    assert_eq!(constraints.len(), 2);
    assert_eq!(constraints[0].hashes, ["sha256:00"]);
    assert_eq!(constraints[1].requirement, "wheel<1");
    let overrides = Overrides { build_constraint_files: vec!["gone.txt".into()], ..Overrides::default() };
    assert!(
        world
            .lines("project", &overrides)
            .starts_with("failed to read the build constraints of ~/project/gone.txt\n")
    );
}

#[test]
fn what_makes_no_sense_is_named() {
    check(
        &[("project/hwb.toml", "index_url = 'x'")],
        &[],
        "unknown key `index_url` in ~/project/hwb.toml\nhint: did you mean `index-url`?\n",
    );
    check(
        &[("project/hwb.toml", "[build]\nnetwrok = 'none'")],
        &[],
        "unknown key `build.netwrok` in ~/project/hwb.toml\nhint: did you mean `build.network`?\n",
    );
    check(
        &[("project/hwb.toml", "[bulid]\nnetwork = 'none'")],
        &[],
        "unknown key `bulid` in ~/project/hwb.toml\n",
    );
    check(
        &[("project/hwb.toml", "offline = true\n= 3")],
        &[],
        "~/project/hwb.toml is not valid TOML\nline 2: unquoted keys cannot be empty, expected letters, numbers, `-`, `_`\n",
    );
    check(
        &[("project/hwb.toml", "offline = 'maybe'")],
        &[],
        "`offline` (~/project/hwb.toml) has a wrong value\nexpected true or false, found string\n",
    );
    check(
        &[("project/hwb.toml", "[build]\nisolation = 'docker'")],
        &[],
        "`build.isolation` (~/project/hwb.toml) has a wrong value\n`docker` is none of venv, none\n",
    );
    check(
        &[],
        &[("HWB_OFFLINE", "maybe")],
        "`offline` (HWB_OFFLINE) has a wrong value\n`maybe` is neither `true` nor `false`\n",
    );
    check(
        &[],
        &[("UV_INDEX_STRATEGY", "best")],
        "`index-strategy` (UV_INDEX_STRATEGY) has a wrong value\n`best` is none of first-index, unsafe-first-match, unsafe-best-match\n",
    );
    check(
        &[("project/hwb.toml", ""), ("project/pyproject.toml", "[tool.hwb]\n")],
        &[],
        "settings stand both in ~/project/hwb.toml and in `[tool.hwb]` of ~/project/pyproject.toml\nhint: keep one of the two\n",
    );
}

#[test]
fn a_cache_needs_a_home() {
    let mut world = World::new(&[], &[]);
    let cache_dir =
        |world: &World| world.load("project", &Overrides::default()).map(|settings| settings.cache_dir);
    assert_eq!(cache_dir(&world).unwrap(), world.root.path().join("home/.cache/hwb"));
    world.ambient.home = None;
    assert!(matches!(cache_dir(&world), Err(SettingsError::NoCacheDir)));
    world.ambient.env.insert("HWB_CACHE_DIR".to_owned(), "here".to_owned());
    assert_eq!(cache_dir(&world).unwrap(), Path::new(&world.ambient.cwd).join("here"));
}
