//! The first tier's test programs, run once more as an ordinary user.
//!
//! The programs are taken as cargo built them: paths of the checkout and of the target folder are compiled in. Where a
//! folder above them is closed to others (a checkout below root's home), the user is given a view of its own in a
//! mount namespace, in which that folder holds nothing else.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::programs::{self, capture, program, succeeds};
use crate::tiers::Tally;
use crate::workspace::Workspace;

/// Only what every user of the machine has.
pub(crate) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// How the names of home folders begin.
const PREFIX: &str = "hwb-user-";

/// A test program, and the package it belongs to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TestProgram {
    package: String,
    manifest: PathBuf,
    /// Its path.
    pub(crate) executable: PathBuf,
}

/// Who runs the tests, and where that user may write.
#[derive(Debug)]
pub(crate) struct User {
    /// The account's name.
    pub(crate) name: String,
    /// Its home folder.
    pub(crate) home: PathBuf,
}

/// A user account that ends with this value.
#[derive(Debug)]
pub(crate) struct Account {
    /// Its name, and that of its group.
    pub(crate) name: String,
    /// Its home folder, the only one it may write to.
    pub(crate) home: tempfile::TempDir,
}

impl Account {
    /// Makes an account as the machine makes them (needs root).
    pub(crate) fn create() -> anyhow::Result<Self> {
        Self::with("", &[])
    }

    /// Makes an account that is given this many ids of its own (needs root).
    pub(crate) fn with_ids(count: u32) -> anyhow::Result<Self> {
        let (users, groups) = (format!("SUB_UID_COUNT={count}"), format!("SUB_GID_COUNT={count}"));
        Self::with(&format!("-{count}"), &["--key", &users, "--key", &groups])
    }

    fn with(suffix: &str, options: &[&str]) -> anyhow::Result<Self> {
        let home = tempfile::Builder::new().prefix(PREFIX).tempdir().context("no temporary folder")?;
        // In a namespace of its own every process has the same number; that of the folder is drawn.
        let drawn = home.path().file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let name = format!("hwb-ci-{}{suffix}", drawn.trim_start_matches(PREFIX));
        capture(
            program("useradd")
                .args(options)
                .args(["--no-create-home", "--no-log-init", "--shell", "/bin/sh", "--home-dir"])
                .arg(home.path())
                .arg(&name),
        )?;
        let account = Self { name, home };
        fs_err::set_permissions(account.home.path(), std::fs::Permissions::from_mode(0o755))?;
        capture(program("chown").arg(format!("{}:", account.name)).arg(account.home.path()))?;
        Ok(account)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if !succeeds(program("userdel").arg(&self.name)) {
            println!("the account {} could not be removed", self.name);
        }
    }
}

/// Makes the account and runs [`inside`] in a mount namespace.
pub(crate) fn run(packages: &[String]) -> anyhow::Result<()> {
    if !capture(program("id").arg("-u"))?.trim().eq("0") {
        bail!("ci-user needs root: as an ordinary user `cargo xtask test` is the same thing");
    }
    let itself = fs_err::read_link("/proc/self/exe")?;
    let account = Account::create()?;
    let mut command = program("unshare");
    command.args(["--mount", "--propagation", "private", "--"]).arg(itself);
    command.arg("ci-user-inside").arg(&account.name).arg(account.home.path()).args(packages);
    programs::run(&mut command)
}

/// Opens the way to the test programs and runs each of them as `user`.
pub(crate) fn inside(workspace: &Workspace, user: &User, packages: &[String]) -> anyhow::Result<()> {
    let User { name: user, home } = user;
    let tests = test_programs(workspace, packages)?;
    open_the_way(&[&workspace.root, &workspace.target])?;
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    for test in &tests {
        println!("\nas {user}: {} ({})", test.executable.display(), test.package);
        let folder = test.manifest.parent().context("a manifest lies in a folder")?;
        let mut command = program("setpriv");
        command.args(["--reuid", user, "--regid", user, "--clear-groups", "--"]).arg(&test.executable);
        command.current_dir(folder).env_clear().env("PATH", PATH).env("HOME", home).env("USER", user);
        command.env("TMPDIR", home).env("CARGO_MANIFEST_DIR", folder).env("CARGO_PKG_NAME", &test.package);
        command.env("INSTA_UPDATE", "no").env("INSTA_WORKSPACE_ROOT", &workspace.root);
        if !programs::watch(&mut command, |line| tally.take(line))?.success() {
            failures.push(test.package.as_str());
        }
    }
    tally.report();
    if !failures.is_empty() {
        bail!("as an ordinary user these failed: {}", failures.join(", "));
    }
    Ok(())
}

/// Asks cargo for the test programs of the first tier; they are built where they are not yet.
pub(crate) fn test_programs(workspace: &Workspace, packages: &[String]) -> anyhow::Result<Vec<TestProgram>> {
    let arguments = ["test", "--locked", "--no-run", "--message-format=json-render-diagnostics"];
    let mut command = workspace.cargo(arguments);
    match packages {
        [] => _ = command.arg("--workspace"),
        named => _ = command.args(named.iter().flat_map(|name| ["--package", name])),
    }
    let said = capture(&mut command)?;
    let tests: Vec<_> = said.lines().filter_map(parse_artifact).collect();
    if tests.is_empty() {
        bail!("cargo named no test program");
    }
    Ok(tests)
}

/// Reads one message of cargo; `None` where it is not about a test program.
fn parse_artifact(line: &str) -> Option<TestProgram> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    if message["profile"]["test"] != true {
        return None;
    }
    let manifest = PathBuf::from(message["manifest_path"].as_str()?);
    Some(TestProgram {
        package: manifest.parent()?.file_name()?.to_str()?.to_owned(),
        executable: PathBuf::from(message["executable"].as_str()?),
        manifest,
    })
}

/// Lets everybody reach `folders` by their paths, within this mount namespace only.
///
/// The topmost folder on the way that others may not pass is hidden below an empty one, which then holds the wanted
/// folders and nothing else.
fn open_the_way(folders: &[&Path]) -> anyhow::Result<()> {
    for folder in folders {
        let Some(closed) = closed_above(folder)? else { continue };
        println!("{} is closed to others: it gets a view of its own for this run", closed.display());
        let below: Vec<&Path> =
            folders.iter().copied().filter(|folder| folder.starts_with(&closed)).collect();
        let held = tempfile::tempdir().context("no temporary folder")?.keep();
        for (number, folder) in below.iter().enumerate() {
            let place = held.join(number.to_string());
            fs_err::create_dir(&place)?;
            capture(program("mount").arg("--bind").arg(folder).arg(&place))?;
        }
        capture(program("mount").args(["-t", "tmpfs", "-o", "mode=755", "hwb-view"]).arg(&closed))?;
        for (number, folder) in below.iter().enumerate() {
            fs_err::create_dir_all(folder)?;
            capture(program("mount").arg("--bind").arg(held.join(number.to_string())).arg(folder))?;
            capture(program("umount").arg(held.join(number.to_string())))?;
            fs_err::remove_dir(held.join(number.to_string()))?;
        }
        fs_err::remove_dir(&held)?;
    }
    Ok(())
}

/// The topmost folder on the way to `folder` (itself included) that others may not pass.
fn closed_above(folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    let mut way: Vec<&Path> = folder.ancestors().collect();
    way.reverse();
    for step in way {
        if fs_err::metadata(step)?.permissions().mode() & 0o001 == 0 {
            return Ok(Some(step.to_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::parse_artifact;

    #[test]
    fn test_programs_are_told_from_other_artifacts() {
        let line = |test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/x/crates/hwb-ident/Cargo.toml",
                "profile":{{"test":{test}}},"executable":"/x/target/debug/deps/hwb_ident-1"}}"#
            )
        };
        assert_eq!(parse_artifact(&line(true)).map(|test| test.package).as_deref(), Some("hwb-ident"));
        assert_eq!(parse_artifact(&line(false)), None);
        assert_eq!(parse_artifact("not a message"), None);
    }
}
