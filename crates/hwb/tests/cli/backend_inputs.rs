//! What a backend is given: settings, variables, the time.

use fs_err as fs;
use hwb_testkit::{CommandContext, Index, Project, Wheel, tiny_backend_wheel};
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::{context_with, greeter, index, indexed_greeter, member, only_wheel, seen};

fn recording() -> Project {
    greeter().option("record-environment", true)
}

#[test]
fn config_settings() {
    let context = context_with(&recording());
    let check = |arguments: &[&str], expect: Value| {
        context.run(["build", "greeter", "-q"].iter().chain(arguments)).success();
        assert_eq!(seen(&context)["config_settings"], expect, "{arguments:?}");
    };
    check(&[], Value::Null);
    check(
        &["-C", "a=1", "-Cb=x=y", "-C", "a=2", "-C--flag"],
        json!({"a": ["1", "2"], "b": "x=y", "--flag": ""}),
    );
    check(&["--config-json", r#"{"a": {"b": [1, null, true]}}"#], json!({"a": {"b": [1, null, true]}}));
    assert_snapshot!(context.run(["build", "greeter", "--config-json", "[]"]), @r"
    exit: 2
    --- stderr
    error: invalid value '[]' for '--config-json <JSON>': expected a JSON object

    For more information, try '--help'.
    ");
    assert_snapshot!(context.run(["build", "greeter", "-C", "=x"]), @r"
    exit: 2
    --- stderr
    error: invalid value '=x' for '--config-setting <KEY=VALUE>': expected KEY=VALUE

    For more information, try '--help'.
    ");
}

/// Variables of the user that a hook must not see, each with the value `secret-…`.
const SECRETS: [&str; 12] = [
    "GITHUB_TOKEN",
    "CARGO_REGISTRY_TOKEN",
    "TWINE_PASSWORD",
    "UV_PUBLISH_TOKEN",
    "UV_INDEX_PRIVATE_PASSWORD",
    "PIP_INDEX_URL",
    "AWS_SECRET_ACCESS_KEY",
    "SSH_AUTH_SOCK",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "LD_PRELOAD_NOT",
    "SOMETHING_ELSE",
];

/// Variables that are passed on as they are.
const PASSED: [&str; 10] = [
    "AR",
    "CARGO_BUILD_JOBS",
    "CMAKE_ARGS",
    "GOPROXY",
    "MAX_JOBS",
    "NO_PROXY",
    "PKG_CONFIG_PATH",
    "RUSTUP_HOME",
    "SETUPTOOLS_SCM_PRETEND_VERSION_FOR_GREETER",
    "SSL_CERT_DIR",
];

/// Scripts are not compiled: beside the bytecode of one, no wheel could be installed any more.
#[test]
fn a_requirement_may_have_scripts_of_python() {
    let script = "#!python\nprint('tool')\n";
    let tool = Wheel::new("tool", "1.0").file("tool-1.0.data/scripts/tool.py", script).build();
    let project = Project::new("greeter", "1.0").build_requires("tool");
    let index = Index::of([tiny_backend_wheel(), tool]);
    let context = context_with(&project).index(&index);
    context.run(["build", "greeter", "-q"]).success();
    context.run(["build", "greeter", "-q", "--fresh-environment"]).success();
}

#[test]
fn variables_come_from_a_list() {
    let context = context_with(&recording());
    let context = SECRETS.iter().fold(context, |context, name| context.env(name, "secret-value"));
    let context = PASSED.iter().fold(context, |context, name| context.env(name, "passed-value"));
    // The index needs no value that makes sense: nothing is asked of it.
    let context =
        context.env_remove("PIP_INDEX_URL").env("TZ", "Asia/Tokyo").env("LC_ALL", "C").env("CFLAGS", "-O1");
    let report = context.run(["build", "greeter", "--json", "-q"]).success().json();
    let seen = seen(&context);
    let variables = seen["environment"].as_object().unwrap();
    for name in PASSED {
        assert_eq!(variables.get(name), Some(&json!("passed-value")), "{name}");
    }
    let text = serde_json::to_string(variables).unwrap();
    assert!(!text.contains("secret-value"), "{text}");
    // Flags that map paths are there only where a build cannot stand at one path.
    let is_flags = |name: &str| name == "CPPFLAGS" || name.ends_with("RUSTFLAGS");
    let names = variables.keys().filter(|name| !PASSED.contains(&name.as_str()) && !is_flags(name));
    assert_snapshot!(names.cloned().collect::<Vec<_>>().join("\n"), @r"
    CARGO_HOME
    CFLAGS
    HOME
    LANG
    LC_ALL
    PATH
    PYTHONDONTWRITEBYTECODE
    PYTHONHASHSEED
    PYTHONIOENCODING
    SOURCE_DATE_EPOCH
    TEMP
    TMP
    TMPDIR
    TZ
    VIRTUAL_ENV
    ");
    for (name, value) in
        [("LC_ALL", "C.UTF-8"), ("PYTHONHASHSEED", "0"), ("SOURCE_DATE_EPOCH", "315532800"), ("TZ", "UTC")]
    {
        assert_eq!(variables[name], value, "{name}");
    }
    assert!(variables["CFLAGS"].as_str().unwrap().starts_with("-O1"), "{text}");
    assert_eq!(seen["umask"], 0o022);
    // What can change the wheel is named, never with its value.
    assert_snapshot!(report["artifacts"][0]["influences"], @r#"["AR","CARGO_BUILD_JOBS","CFLAGS","CMAKE_ARGS","GOPROXY","NO_PROXY","PKG_CONFIG_PATH","RUSTUP_HOME","SETUPTOOLS_SCM_PRETEND_VERSION_FOR_GREETER"]"#);
}

#[test]
fn variables_of_the_user_win() {
    let context = context_with(&recording());
    let check = |arguments: &[&str], name: &str, value: &str| {
        context.run(["build", "greeter", "-q"].iter().chain(arguments)).success();
        assert_eq!(seen(&context)["environment"][name], value, "{arguments:?}");
    };
    check(&["--env", "GREETING=hello=you", "--env", "TZ=Mars"], "GREETING", "hello=you");
    check(&["--env", "TZ=Mars"], "TZ", "Mars");
    recording()
        .pyproject("[tool.hwb.build]\nenv = { GREETING = \"file\" }\n")
        .write_to(&context.work().join("greeter"));
    check(&[], "GREETING", "file");
    check(&["--env", "GREETING=typed"], "GREETING", "typed");
    assert_snapshot!(context.run(["build", "greeter", "--env", "GREETING"]), @r"
    exit: 2
    --- stderr
    error: invalid value 'GREETING' for '--env <KEY=VALUE>': expected KEY=VALUE

    For more information, try '--help'.
    ");
}

#[test]
fn the_time_is_the_source_s_or_the_user_s() {
    let context = context_with(&recording());
    let epoch = |context: &CommandContext, source: &str| {
        let report = context.run(["build", source, "--json", "-q"]).success().json();
        let epoch = report["artifacts"][0]["source_date_epoch"].as_u64().unwrap();
        assert_eq!(seen(context)["environment"]["SOURCE_DATE_EPOCH"], epoch.to_string());
        epoch
    };
    assert_eq!(epoch(&context, "greeter"), 315_532_800);
    recording().sdist().write_to(&context.work());
    assert_eq!(epoch(&context, "greeter-1.0.tar.gz"), hwb_testkit::tree::TIME);
    let context = context.env("SOURCE_DATE_EPOCH", "1234567890");
    assert_eq!(epoch(&context, "greeter"), 1_234_567_890);
    assert_eq!(epoch(&context, "greeter-1.0.tar.gz"), 1_234_567_890);
    let context = context.env("SOURCE_DATE_EPOCH", "yesterday");
    assert_snapshot!(context.run(["build", "greeter"]), @r"
    exit: 3
    --- stderr
    error: the variable `SOURCE_DATE_EPOCH` is not a time
      caused by: `yesterday` is not a whole number of seconds since 1970-01-01
    ");
}

/// No secret is written anywhere: not to a log, a record, a report, a cache.
#[test]
fn secrets_do_not_land() {
    let index = Index::builder().file(tiny_backend_wheel()).credentials("me", "secret-value").serve();
    let url = index.url_for("me", "secret-value");
    let context =
        context_with(&indexed_greeter().option("print", 1)).index(&index).env("UV_DEFAULT_INDEX", url);
    let built = context.run(["build", "greeter", "-v", "--env", "TOKEN=secret-value", "--report", "r.json"]);
    let failing = indexed_greeter().option("fail", "build_wheel").option("print", 1);
    failing.write_to(&context.work().join("greeter"));
    let failed = context.run(["build", "greeter", "-v", "--env", "TOKEN=secret-value"]);
    let settings = context.run(["config", "show"]);
    for outcome in [built.success(), failed.exit(1), settings.success()] {
        assert!(!outcome.stdout.contains("secret-value"), "{outcome}");
        assert!(!outcome.stderr.contains("secret-value"), "{outcome}");
    }
    for folder in [context.cache(), context.home(), context.work(), context.temporary()] {
        for file in CommandContext::files_below(&folder) {
            let bytes = fs::read(folder.join(&file)).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&bytes).contains("secret-value"), "{file}");
        }
    }
}

/// More build requirements than the project names, and fewer versions of them.
#[test]
fn requirements_of_the_user() {
    let extra = |version| Wheel::new("extra", version).file("extra.py", "").build();
    let index = Index::of([tiny_backend_wheel(), extra("1.0"), extra("2.0")]);
    let context = context_with(&indexed_greeter().option("requires-for-wheel", vec!["extra"])).index(&index);
    let pins = |arguments: &[&str]| {
        let command = context.command(["build", "greeter", "--json", "-q"].iter().chain(arguments));
        let report = command.run().success().json();
        report["artifacts"][0]["requirements"].to_string()
    };
    assert_eq!(pins(&[]), r#"["extra==2.0","tiny-backend==1.0"]"#);
    assert_eq!(pins(&["--with", "extra<2"]), r#"["extra==1.0","tiny-backend==1.0"]"#);
    fs::write(context.work().join("constraints.txt"), "extra==1.0\n").unwrap();
    assert_eq!(pins(&["--build-constraint", "constraints.txt"]), r#"["extra==1.0","tiny-backend==1.0"]"#);
    assert_snapshot!(context.run(["build", "greeter", "-q", "--require-hashes"]), @r"
    exit: 3
    --- stderr
    error: `--require-hashes` is set, and `tiny-backend` has no hash among the build constraints
    hint: pin it with `==` and `--hash=sha256:…` in a file that `--build-constraint` names
    ");
    let backend = tiny_backend_wheel().sha256();
    let hashes = format!(
        "extra==1.0 --hash=sha256:{}\ntiny-backend==1.0 --hash=sha256:{backend}\n",
        extra("1.0").sha256()
    );
    fs::write(context.work().join("constraints.txt"), &hashes).unwrap();
    assert_eq!(pins(&["--require-hashes", "-b", "constraints.txt"]), r#"["extra==1.0","tiny-backend==1.0"]"#);
    let wrong = hashes.replace(&backend, &"0".repeat(64));
    fs::write(context.work().join("constraints.txt"), wrong).unwrap();
    // The environment of the good build is kept, and must not hide it.
    let arguments = ["build", "greeter", "-q", "--require-hashes", "-b", "constraints.txt"];
    assert_snapshot!(context.run(arguments), @r"
    exit: 5
    --- stderr
    error: the index offers `tiny-backend==1.0` with the digest sha256:[DIGEST], and the build constraints demand sha256:[DIGEST]
    ");
    assert_snapshot!(context.run(["build", "greeter", "-q", "--with", "not a requirement"]), @r"
    exit: 2
    --- stderr
    error: `not a requirement` is not a requirement
      caused by: Expected one of `@`, `(`, `<`, `=`, `>`, `~`, `!`, `;`, found `a`
        not a requirement
            ^
    ");
    assert_snapshot!(context.run(["build", "greeter", "-q", "-b", "absent.txt"]), @r"
    exit: 3
    --- stderr
    error: failed to read the build constraints of [WORK]/absent.txt
      caused by: the file cannot be read
      caused by: failed to open file `[WORK]/absent.txt`: No such file or directory (os error 2)
    ");
}

/// Where distributions come from, other than from the index.
#[test]
fn indexes_and_folders() {
    let context = context_with(&indexed_greeter());
    let wheels = context.work().join("wheels");
    fs::create_dir(&wheels).unwrap();
    tiny_backend_wheel().write_to(&wheels);
    let build = |arguments: &[&str]| context.run(["build", "greeter", "-q"].iter().chain(arguments));
    assert_snapshot!(build(&["--no-index", "--find-links", "wheels"]), @"exit: 0");
    assert_snapshot!(build(&["--offline", "--find-links", "wheels"]), @"exit: 0");
    assert_snapshot!(build(&["--no-index"]), @r"
    exit: 5
    --- stderr
    error: failed to resolve `tiny-backend`
      caused by: Because tiny-backend was not found in the provided package locations and you require tiny-backend, we can conclude that your requirements are unsatisfiable.
    hint: Packages were unavailable because index lookups were disabled and no additional package locations were provided (try: `--find-links <uri>`)
    ");
    let index = index();
    let url = index.url();
    assert_snapshot!(build(&["--index-url", &url, "--cache-dir", "second"]), @"exit: 0");
    // What was fetched once is there without the index.
    drop(index);
    assert_snapshot!(build(&["--offline", "--index-url", &url, "--cache-dir", "second"]), @"exit: 0");
    let metadata = member(&only_wheel(&context), "METADATA");
    assert!(metadata.contains("Name: greeter"), "{metadata}");
}

/// Credentials that are not in the URL, and versions that are too new.
#[test]
fn an_index_that_asks_who_is_there() {
    let backend = tiny_backend_wheel();
    let newer =
        Wheel::new("tiny_backend", "2.0").file("tiny_backend.py", "raise SystemExit('too new')\n").build();
    let index = Index::builder()
        .file_uploaded(backend, "2020-01-01T00:00:00Z")
        .file_uploaded(newer, "2024-01-01T00:00:00Z")
        .credentials("me", "secret-value")
        .serve();
    let context = context_with(&indexed_greeter()).index(&index);
    let build = |context: &CommandContext, cache: &str| {
        let arguments = ["build", "greeter", "-q", "--exclude-newer", "2022-01-01", "--cache-dir", cache];
        context.run(arguments).code
    };
    assert_eq!(build(&context, "first"), Some(5));
    let netrc = format!("machine {} login me password secret-value\n", index.address().ip());
    fs::write(context.home().join(".netrc"), netrc).unwrap();
    assert_eq!(build(&context, "second"), Some(0));
    assert_snapshot!(context.run(["build", "greeter", "-q"]), @r"
    exit: 1
    --- stderr
      │ Traceback […]
      │ SystemExit: too new
      the whole log: [CACHE]/v1/logs/[LOG]
    error: the backend `tiny_backend` cannot be imported: SystemExit: too new
    ");
    fs::remove_file(context.home().join(".netrc")).unwrap();
    let named = format!("named={}", index.url());
    let context = context.env("UV_INDEX", named).env("UV_INDEX_NAMED_USERNAME", "me");
    let context = context.env("UV_INDEX_NAMED_PASSWORD", "secret-value");
    assert_eq!(build(&context, "third"), Some(0));
}
