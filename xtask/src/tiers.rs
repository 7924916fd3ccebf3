//! The two tiers of tests that CI runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::corpus::{self, Corpus};
use crate::fetch::Index;
use crate::programs::{self, capture, program, succeeds};
use crate::workspace::Workspace;

/// The feature that a test target of the second tier requires.
const SYSTEM_FEATURE: &str = "system-tests";

/// What to do about a thing that the second tier needs and that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// End with its name.
    Fail,
    /// Install it, where it is a Debian package.
    Install,
}

/// Runs every test of every crate that needs nothing but the toolchain and an interpreter.
pub(crate) fn first(workspace: &Workspace) -> anyhow::Result<()> {
    let mut command = workspace.cargo(["test", "--workspace", "--locked", "--no-fail-fast"]);
    let mut tally = Tally::default();
    let status = programs::watch(&mut command, |line| tally.take(line))?;
    tally.report();
    if !status.success() {
        bail!("the first tier failed ({status})");
    }
    Ok(())
}

/// Runs the tests that need root, Debian packages or the package index, and builds a part of the corpus.
pub(crate) fn second(workspace: &Workspace, missing: Missing, binary: Option<PathBuf>) -> anyhow::Result<()> {
    provide_packages(workspace, missing)?;
    let index = Index::configured().context("no package index is known")?;
    index.reach().context("the package index does not answer")?;
    let hwb = workspace.hwb(binary)?;

    let mut failures = Vec::new();
    for target in system_targets(workspace)? {
        let SystemTarget { package, name } = &target;
        let arguments = ["test", "--locked", "--no-fail-fast", "--features", SYSTEM_FEATURE];
        let mut command = workspace.cargo(arguments);
        command.args(["--package", package, "--test", name]);
        let mut tally = Tally::default();
        if !programs::watch(&mut command, |line| tally.take(line))?.success() {
            failures.push(format!("{package} --test {name}: {}", tally.failed()));
        }
    }
    let corpus = Corpus::load(&workspace.root)?;
    let rows: Vec<_> = corpus.rows.iter().filter(|row| row.tier == corpus::Tier::System).collect();
    for row in &rows {
        match corpus::smoke(workspace, &index, &hwb, row) {
            Ok(wheel) => println!("corpus: {} {} -> {wheel}", row.name, row.version),
            Err(error) => {
                println!("corpus: {} {} FAILED: {error:#}", row.name, row.version);
                failures.push(format!("corpus {} {}", row.name, row.version));
            }
        }
    }
    if !failures.is_empty() {
        bail!("the second tier failed:\n  {}", failures.join("\n  "));
    }
    println!("second tier: {} sdists of the corpus built, imported and checked", rows.len());
    Ok(())
}

/// A test target of the second tier.
#[derive(Debug, PartialEq, Eq)]
struct SystemTarget {
    package: String,
    name: String,
}

fn system_targets(workspace: &Workspace) -> anyhow::Result<Vec<SystemTarget>> {
    let said = capture(&mut workspace.cargo([
        "metadata",
        "--no-deps",
        "--locked",
        "--offline",
        "--format-version=1",
    ]))?;
    let metadata: serde_json::Value = serde_json::from_str(&said).context("cargo metadata is not JSON")?;
    let mut found = Vec::new();
    for package in list(&metadata["packages"]) {
        for target in list(&package["targets"]) {
            let required = list(&target["required-features"]);
            if required.iter().any(|feature| feature == SYSTEM_FEATURE) {
                found.push(SystemTarget { package: text(&package["name"]), name: text(&target["name"]) });
            }
        }
    }
    Ok(found)
}

fn list(value: &serde_json::Value) -> &[serde_json::Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The test results in the output of the test programs.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: usize,
    failed: BTreeSet<String>,
    ignored: BTreeSet<String>,
}

impl Tally {
    /// Takes one line of output into account.
    pub(crate) fn take(&mut self, line: &str) {
        let Some((name, result)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
        else {
            return;
        };
        match result.split_once(',').map_or(result, |(word, _)| word) {
            "ok" => self.passed += 1,
            "FAILED" => _ = self.failed.insert(name.to_owned()),
            "ignored" => _ = self.ignored.insert(name.to_owned()),
            _ => {}
        }
    }

    /// The names of the tests that failed, on one line.
    pub(crate) fn failed(&self) -> String {
        self.failed.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    /// Prints the counts, and the names of what did not pass.
    pub(crate) fn report(&self) {
        println!("\n{} passed, {} failed, {} ignored", self.passed, self.failed.len(), self.ignored.len());
        for name in &self.failed {
            println!("  failed: {name}");
        }
        for name in &self.ignored {
            println!("  ignored: {name}");
        }
    }
}

/// Sees to it that every Debian package of the second tier is there.
fn provide_packages(workspace: &Workspace, missing: Missing) -> anyhow::Result<()> {
    let wanted = debian_packages(&workspace.root, corpus::Tier::System)?;
    let absent = absent_packages(&wanted);
    if absent.is_empty() && python_is_complete() {
        return Ok(());
    }
    let names = absent.join(" ");
    match missing {
        Missing::Fail if !absent.is_empty() => {
            bail!("Debian packages are missing (--install installs them): {names}")
        }
        Missing::Fail => bail!("python3 lacks the modules venv, ensurepip or pip"),
        Missing::Install => {
            println!("installing: {names}");
            let apt = || {
                let mut command = program("apt-get");
                command.env("DEBIAN_FRONTEND", "noninteractive");
                command
            };
            programs::run(apt().args(["update", "-qq"]))?;
            programs::run(apt().args(["install", "-y", "-qq", "--no-install-recommends"]).args(&absent))?;
        }
    }
    let still = absent_packages(&wanted);
    if !still.is_empty() {
        bail!("apt-get did not install: {}", still.join(" "));
    }
    Ok(())
}

/// Reads the packages that a tier needs from `xtask/debian-packages.txt`: lines of a tier and a package.
pub(crate) fn debian_packages(root: &Path, tier: corpus::Tier) -> anyhow::Result<Vec<String>> {
    let text = fs_err::read_to_string(root.join("xtask/debian-packages.txt"))?;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let rows = lines.filter_map(|line| line.split_once(' '));
    Ok(rows.filter(|(of, _)| tier.includes(of)).map(|(_, package)| package.trim().to_owned()).collect())
}

/// Those of `packages` that dpkg does not know to be installed; all of them where there is no dpkg.
pub(crate) fn absent_packages(packages: &[String]) -> Vec<String> {
    let query =
        program("dpkg-query").args(["-W", "-f", "${db:Status-Status} ${Package}\n"]).args(packages).output();
    let said = query.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let present: BTreeSet<&str> = said.lines().filter_map(|line| line.strip_prefix("installed ")).collect();
    packages.iter().filter(|package| !present.contains(package.as_str())).cloned().collect()
}

fn python_is_complete() -> bool {
    succeeds(program("python3").args(["-c", "import venv, ensurepip, pip"]))
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn a_tally_reads_what_libtest_prints() {
        let mut tally = Tally::default();
        for line in [
            "running 4 tests",
            "test words::parse ... ok",
            "test words::print ... FAILED",
            "test crates/x/src/lib.rs - f (line 3) ... ok",
            "test slow ... ignored, needs a reason",
            "test result: FAILED. 2 passed; 1 failed",
        ] {
            tally.take(line);
        }
        assert_eq!((tally.passed, tally.failed().as_str()), (2, "words::print"));
        assert_eq!(tally.ignored.len(), 1);
    }
}
