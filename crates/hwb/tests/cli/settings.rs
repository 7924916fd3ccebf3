//! `hwb config show`: which value holds, and which place decided it.

use fs_err as fs;
use hwb_testkit::CommandContext;
use insta::assert_snapshot;

use crate::context;

/// The lines of these keys, with one space between their parts.
fn shown(context: &CommandContext, arguments: &[&str], keys: &[&str]) -> String {
    let outcome = context.run(["config", "show"].iter().chain(arguments)).success();
    let text = context.filtered(&outcome.stdout);
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let lines =
        lines.filter(|line| keys.is_empty() || keys.iter().any(|key| line.starts_with(&format!("{key} "))));
    lines.collect::<Vec<_>>().join("\n")
}

fn write(context: &CommandContext, path: &str, text: &str) {
    let path = context.work().parent().unwrap().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn what_is_built_in() {
    // No file of pip's is read then, not even that of the machine.
    let context =
        context().env("PIP_CONFIG_FILE", "/dev/null").filter(r#""https://.*/simple""#, "[DEFAULT INDEX]");
    assert_snapshot!(shown(&context.env_remove("UV_DEFAULT_INDEX"), &[], &[]), @r#"
    cache-dir "[CACHE]" HWB_CACHE_DIR
    index-url [DEFAULT INDEX] built in
    no-index false built in
    offline false built in
    index-strategy "first-index" built in
    keyring-provider "disabled" built in
    system-certs false built in
    build.require-hashes false built in
    build.network "host" built in
    build.isolation "venv" built in
    build.repair "auto" built in
    "#);
}

#[test]
fn each_place_wins_over_those_before() {
    const KEYS: &[&str] = &["index-url", "exclude-newer", "offline", "cache-dir"];
    let context = context().env_remove("UV_DEFAULT_INDEX");
    write(&context, "home/.config/pip/pip.conf", "[global]\nindex-url = https://pip.example.org/simple\n");
    assert_snapshot!(shown(&context, &[], KEYS), @r#"
    cache-dir "[CACHE]" HWB_CACHE_DIR
    index-url "https://pip.example.org/simple" [HOME]/.config/pip/pip.conf
    offline false built in
    "#);
    write(
        &context,
        "home/.config/uv/uv.toml",
        "index-url = 'https://uv.example.org/simple'\nexclude-newer = '2024-01-01'\n",
    );
    assert_snapshot!(shown(&context, &[], KEYS), @r#"
    cache-dir "[CACHE]" HWB_CACHE_DIR
    index-url "https://uv.example.org/simple" [HOME]/.config/uv/uv.toml
    offline false built in
    exclude-newer "2024-01-01" [HOME]/.config/uv/uv.toml
    "#);
    write(&context, "work/pyproject.toml", "[tool.uv]\nindex-url = 'https://project.example.org/simple'\n");
    assert_snapshot!(shown(&context, &[], KEYS), @r#"
    cache-dir "[CACHE]" HWB_CACHE_DIR
    index-url "https://project.example.org/simple" [WORK]/pyproject.toml
    offline false built in
    exclude-newer "2024-01-01" [HOME]/.config/uv/uv.toml
    "#);
    let context = context.env("UV_DEFAULT_INDEX", "https://variable.example.org/simple");
    assert_snapshot!(shown(&context, &[], KEYS), @r#"
    cache-dir "[CACHE]" HWB_CACHE_DIR
    index-url "https://variable.example.org/simple" UV_DEFAULT_INDEX
    offline false built in
    exclude-newer "2024-01-01" [HOME]/.config/uv/uv.toml
    "#);
    write(&context, "home/.config/hwb/hwb.toml", "index-url = 'https://user.example.org/simple'\n");
    assert_snapshot!(shown(&context, &[], KEYS), @r#"
    cache-dir "[CACHE]" HWB_CACHE_DIR
    index-url "https://user.example.org/simple" [HOME]/.config/hwb/hwb.toml
    offline false built in
    exclude-newer "2024-01-01" [HOME]/.config/uv/uv.toml
    "#);
    write(&context, "work/hwb.toml", "index-url = 'https://hwb.example.org/simple'\n");
    assert_snapshot!(shown(&context, &[], KEYS), @r#"
    cache-dir "[CACHE]" HWB_CACHE_DIR
    index-url "https://hwb.example.org/simple" [WORK]/hwb.toml
    offline false built in
    exclude-newer "2024-01-01" [HOME]/.config/uv/uv.toml
    "#);
    let context =
        context.env("HWB_INDEX_URL", "https://hwb-variable.example.org/simple").env("HWB_OFFLINE", "1");
    assert_snapshot!(shown(&context, &[], KEYS), @r#"
    cache-dir "[CACHE]" HWB_CACHE_DIR
    index-url "https://hwb-variable.example.org/simple" HWB_INDEX_URL
    offline true HWB_OFFLINE
    exclude-newer "2024-01-01" [HOME]/.config/uv/uv.toml
    "#);
    let typed = [
        "--index-url",
        "https://typed.example.org/simple",
        "--cache-dir",
        "cache",
        "--exclude-newer",
        "2020-01-01",
    ];
    assert_snapshot!(shown(&context, &typed, KEYS), @r#"
    cache-dir "[WORK]/cache" --cache-dir
    index-url "https://typed.example.org/simple" --index-url
    offline true HWB_OFFLINE
    exclude-newer "2020-01-01" --exclude-newer
    "#);
}

#[test]
fn settings_of_a_build() {
    let context = context();
    let text = "[tool.hwb.build]\nnetwork = 'none'\ntimeout = '10m'\nisolation = 'venv'\n[tool.hwb.build.env]\nA = 'b'\n";
    write(&context, "work/pyproject.toml", text);
    assert_snapshot!(shown(&context, &[], &["build.network", "build.timeout", "build.isolation", "build.env", "build.env.A"]), @r#"
    build.env.A "b" [WORK]/pyproject.toml
    build.network "none" [WORK]/pyproject.toml
    build.isolation "venv" [WORK]/pyproject.toml
    build.timeout 600 [WORK]/pyproject.toml
    "#);
    let document = context.run(["config", "show", "--json"]).success().json();
    let network = document.as_array().unwrap().iter().find(|setting| setting["key"] == "build.network");
    assert_snapshot!(context.filtered(&serde_json::to_string_pretty(network.unwrap()).unwrap()), @r#"
    {
      "key": "build.network",
      "value": "none",
      "origin": "[WORK]/pyproject.toml"
    }
    "#);
}

#[test]
fn what_is_wrong_is_an_error_with_its_place() {
    let fail = |path: &str, text: &str| {
        let context = context();
        write(&context, path, text);
        context.run(["config", "show"])
    };
    assert_snapshot!(fail("work/hwb.toml", "ofline = true\n"), @r"
    exit: 3
    --- stderr
    error: unknown key `ofline` in [WORK]/hwb.toml
    hint: did you mean `offline`?
    ");
    assert_snapshot!(fail("work/hwb.toml", "offline = 'perhaps'\n"), @r"
    exit: 3
    --- stderr
    error: `offline` ([WORK]/hwb.toml) has a wrong value
      caused by: expected true or false, found string
    ");
    assert_snapshot!(fail("work/hwb.toml", "offline = \n"), @r"
    exit: 3
    --- stderr
    error: [WORK]/hwb.toml is not valid TOML
      caused by: line 1: string values must be quoted, expected literal string
    ");
    assert_snapshot!(fail("work/hwb.toml", "[build]\nnetwork = 'half'\n"), @r"
    exit: 3
    --- stderr
    error: `build.network` ([WORK]/hwb.toml) has a wrong value
      caused by: `half` is none of host, none
    ");
    assert_snapshot!(fail("work/pyproject.toml", "[tool.hwb.bild]\nnetwork = 'none'\n"), @r"
    exit: 3
    --- stderr
    error: unknown key `bild` in [WORK]/pyproject.toml
    ");
    let context = context();
    write(&context, "work/hwb.toml", "offline = true\n");
    write(&context, "work/pyproject.toml", "[tool.hwb]\noffline = true\n");
    assert_snapshot!(context.run(["config", "show"]), @r"
    exit: 3
    --- stderr
    error: settings stand both in [WORK]/hwb.toml and in `[tool.hwb]` of [WORK]/pyproject.toml
    hint: keep one of the two
    ");
    assert_snapshot!(crate::context().env("HWB_OFFLINE", "perhaps").run(["config", "show"]), @r"
    exit: 3
    --- stderr
    error: `offline` (HWB_OFFLINE) has a wrong value
      caused by: `perhaps` is neither `true` nor `false`
    ");
}

#[test]
fn a_project_that_is_not_there_has_none() {
    let context = context();
    assert_snapshot!(context.run(["config", "show", "absent"]), @r"
    exit: 4
    --- stderr
    error: `[WORK]/absent` is not a directory, so there are no settings of a project
    ");
}

/// A build is refused for the same reasons.
#[test]
fn a_build_reads_them_too() {
    let context = context();
    write(&context, "work/greeter/hwb.toml", "ofline = true\n");
    assert_snapshot!(context.run(["build", "greeter"]), @r"
    exit: 3
    --- stderr
    error: unknown key `ofline` in [WORK]/greeter/hwb.toml
    hint: did you mean `offline`?
    ");
}
