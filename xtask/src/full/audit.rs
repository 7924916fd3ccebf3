//! `hwb audit` beside `auditwheel show`, on the wheels that auditwheel is tested with and on public ones.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;

use super::AuditOptions;
use crate::corpus::{PYTHON, file_name, files_named};
use crate::evidence::Section;
use crate::fetch::Index;
use crate::peers::Peers;
use crate::programs::{capture, program, tail};
use crate::workspace::Workspace;

/// auditwheel's source distribution, which carries the wheels of its tests.
const SDIST: (&str, &str) =
    ("auditwheel-6.8.2.tar.gz", "d007c4fd8c9c4b5113690ab0b159e05c5aa9b2d31b69efc40875826cc095594b");
/// Projects whose newest wheels for Linux are audited too: of C, C++, Fortran, Rust and Cython, with grafted libraries.
const PUBLIC: [&str; 12] = [
    "cffi",
    "cryptography",
    "grpcio",
    "lxml",
    "markupsafe",
    "msgpack",
    "numpy",
    "orjson",
    "pillow",
    "psycopg2-binary",
    "pydantic-core",
    "pyzmq",
];

/// What both found out about a wheel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// Its tags, and the libraries from outside.
    Verdict { tag: String, symbol_tag: String, external: BTreeSet<String> },
    /// That it cannot be audited.
    Refused(String),
}

/// How the two compare.
#[derive(Debug)]
enum Comparison {
    Same,
    Known(&'static str),
    Different,
}

/// `auditwheel show --json`
#[derive(Debug, Deserialize)]
struct Shown {
    overall_tag: Option<String>,
    sym_tag: Option<String>,
    #[serde(default)]
    external_libs: serde_json::Map<String, Value>,
    #[serde(default)]
    pure: bool,
    error: Option<String>,
}

/// Audits all of them with both.
pub(super) fn run(workspace: &Workspace, options: &AuditOptions) -> anyhow::Result<Section> {
    let index = Index::configured()?;
    let peers = Peers::install(workspace, &index)?;
    let auditwheel = peers.auditwheel(&index)?;
    let hwb = workspace.hwb(options.program.binary.clone())?;
    let mut wheels = auditwheel_samples(workspace, &index)?;
    wheels.extend(public_wheels(workspace, &index)?);
    for folder in &options.wheels {
        wheels.extend(wheels_below(folder)?);
    }
    let (mut same, mut rows, mut failed) = (0, String::new(), Vec::new());
    for wheel in &wheels {
        let name = file_name(wheel);
        let (ours, theirs) = (by_hwb(&hwb, wheel)?, by_auditwheel(&auditwheel, wheel)?);
        let line = match compare(&name, &ours, &theirs) {
            Comparison::Same => {
                same += 1;
                println!("{name:90} agree");
                continue;
            }
            Comparison::Known(why) => why.to_owned(),
            Comparison::Different => {
                failed.push(name.clone());
                format!("DIFFERENT: hwb {ours:?}, auditwheel {theirs:?}")
            }
        };
        println!("{name:90} {line}");
        writeln!(rows, "- {name}: {line}").expect("writing to a string succeeds");
    }
    let body = format!(
        "**{same} of {} agree** on overall tag, symbol tag and libraries from outside, auditwheel 6.8.2 and CPython \
         {PYTHON}; hwb is told to take the libraries of this system for the outside, as auditwheel does by itself. The \
         others:\n\n{rows}",
        wheels.len()
    );
    Ok(Section { part: "audit", command: "cargo xtask full audit".to_owned(), body, failed })
}

fn compare(name: &str, ours: &Said, theirs: &Said) -> Comparison {
    match (ours, theirs) {
        (Said::Refused(_), Said::Refused(_)) => Comparison::Same,
        (ours, theirs) if ours == theirs => Comparison::Same,
        (_, Said::Refused(why)) if why.contains("InvalidLibcError") => Comparison::Known(
            "auditwheel ends with an exception: it wants to know the C library of a module that needs none",
        ),
        (Said::Verdict { tag, .. }, Said::Verdict { tag: other, .. })
            if name.contains("armv6l") && tag.replace("armv6l", "armv7l") == *other =>
        {
            Comparison::Known("auditwheel takes armv6l for armv7l")
        }
        (Said::Refused(_), _) if name.contains("-android_") => {
            Comparison::Known("wheels for Android are not audited by hwb")
        }
        _ => Comparison::Different,
    }
}

/// What auditwheel says of a wheel.
pub(super) fn by_auditwheel(auditwheel: &Path, wheel: &Path) -> anyhow::Result<Said> {
    let mut command = program(auditwheel);
    command.args(["show", "--json", "--allow-pure-python-wheel"]).arg(wheel);
    let output = command.output().context("could not start auditwheel")?;
    let refused = |why: &[u8]| Said::Refused(tail(&String::from_utf8_lossy(why), 2));
    let Ok(shown) = serde_json::from_slice::<Shown>(&output.stdout) else {
        return Ok(refused(&output.stderr));
    };
    Ok(match shown {
        Shown { error: Some(error), .. } => refused(error.as_bytes()),
        Shown { pure: true, .. } => {
            Said::Verdict { tag: "any".to_owned(), symbol_tag: "any".to_owned(), external: BTreeSet::new() }
        }
        Shown { overall_tag, sym_tag, external_libs, pure: false, error: None } => Said::Verdict {
            tag: overall_tag.context("auditwheel names no tag")?,
            symbol_tag: sym_tag.context("auditwheel names no symbol tag")?,
            external: external_libs.into_iter().map(|(library, _)| library).collect(),
        },
    })
}

/// What hwb says of a wheel, where it may look at the libraries of this system.
pub(super) fn by_hwb(hwb: &Path, wheel: &Path) -> anyhow::Result<Said> {
    let output = program(hwb).args(["audit", "--json", "--sysroot", "/"]).arg(wheel).output()?;
    let said: Value = serde_json::from_slice(&output.stdout).context("hwb says nothing in JSON")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let report = &said[0];
    if let Some(error) = said.get("error").or_else(|| report.get("error")) {
        return Ok(Said::Refused(text(&error["message"])));
    }
    let external = report["external_libraries"].as_array().context("hwb names no libraries")?;
    Ok(Said::Verdict {
        tag: text(&report["tag"]),
        symbol_tag: text(&report["symbol_tag"]),
        external: external.iter().map(text).collect(),
    })
}

/// The wheels in auditwheel's source distribution.
fn auditwheel_samples(workspace: &Workspace, index: &Index) -> anyhow::Result<Vec<PathBuf>> {
    let folder = workspace.target.join("full/audit");
    let (file, sha256) = SDIST;
    let sdist = index.file("auditwheel", file, sha256, &folder)?;
    capture(program("tar").arg("-xzf").arg(sdist).arg("-C").arg(&folder))?;
    wheels_below(&folder.join(file.trim_end_matches(".tar.gz")))
}

/// The newest wheels of some projects for x86-64.
fn public_wheels(workspace: &Workspace, index: &Index) -> anyhow::Result<Vec<PathBuf>> {
    let folder = workspace.target.join("full/audit/public");
    if !folder.is_dir() {
        fs_err::create_dir_all(&folder)?;
        let mut command = program(format!("python{PYTHON}"));
        command.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]);
        command.args(["--index-url", &index.url, "--python-version", "3.12", "--implementation", "cp"]);
        for platform in ["manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"] {
            command.args(["--platform", platform]);
        }
        let got = capture(command.arg("--dest").arg(&folder).args(PUBLIC));
        if got.is_err() {
            fs_err::remove_dir_all(&folder)?;
        }
        got.context("could not fetch the public wheels")?;
    }
    wheels_below(&folder)
}

/// Every wheel below a folder.
pub(super) fn wheels_below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut wheels = files_named(folder, ".whl")?;
    let mut folders = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    for folder in folders {
        wheels.extend(wheels_below(&folder)?);
    }
    Ok(wheels)
}

#[cfg(test)]
mod tests {
    use super::{Comparison, Said, compare};

    fn verdict(tag: &str) -> Said {
        Said::Verdict { tag: tag.to_owned(), symbol_tag: tag.to_owned(), external: [].into() }
    }

    #[test]
    fn what_is_known_is_no_excuse_for_the_rest() {
        let check = |name: &str, ours: Said, theirs: Said, expect: &str| {
            let found = match compare(name, &ours, &theirs) {
                Comparison::Same => "same",
                Comparison::Known(_) => "known",
                Comparison::Different => "different",
            };
            assert_eq!(found, expect, "{name}: {ours:?}, {theirs:?}");
        };
        let refused = |why: &str| Said::Refused(why.to_owned());
        check("a", verdict("x"), verdict("x"), "same");
        check("a", verdict("x"), verdict("y"), "different");
        check("a", refused("one"), refused("other"), "same");
        check("a", refused("one"), verdict("x"), "different");
        check("a", verdict("x"), refused("InvalidLibcError: …"), "known");
        check("a", verdict("x"), refused("TypeError: …"), "different");
        check("a-linux_armv6l.whl", verdict("m_armv6l"), verdict("m_armv7l"), "known");
        check("a-linux_armv6l.whl", verdict("m_armv6l"), verdict("n_armv7l"), "different");
    }
}
