//! The coverage-guided fuzz targets, each run for a while.

use anyhow::{Context as _, bail};

use crate::corpus::{file_name, files_named};
use crate::evidence::Section;
use crate::programs::{capture, program, tail};
use crate::workspace::Workspace;

/// Runs each program of the `fuzz` package of the checkout.
///
/// The targets are built for libFuzzer by a nightly-only switch of the compiler, which the pinned toolchain accepts with
/// RUSTC_BOOTSTRAP for this build alone.
pub(super) fn run(workspace: &Workspace, seconds: u64, only: &[String]) -> anyhow::Result<Section> {
    let fuzz = workspace.root.join("fuzz");
    let targets = files_named(&fuzz.join("fuzz_targets"), ".rs")?;
    if targets.is_empty() {
        bail!("there is no fuzz target in {}", fuzz.display());
    }
    let names: Vec<String> =
        targets.iter().map(|target| file_name(target).trim_end_matches(".rs").to_owned()).collect();
    if let Some(unknown) = only.iter().find(|name| !names.contains(name)) {
        bail!("there is no fuzz target `{unknown}`; there are {}", names.join(", "));
    }
    let built = workspace.target.join("fuzz");
    let flags = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                 -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";
    let mut build = workspace.cargo(["build", "--release", "--manifest-path"]);
    build.arg(fuzz.join("Cargo.toml")).env("CARGO_TARGET_DIR", &built);
    // With a target, build scripts do not get the flags, which they could not link with.
    let host = host_triple()?;
    build.args(["--target", &host]);
    build.env("RUSTFLAGS", flags).env("RUSTC_BOOTSTRAP", "1");
    crate::programs::run(&mut build)?;

    let evidence = fs_err::read_to_string(workspace.root.join("docs/evidence.md")).unwrap_or_default();
    let mut rows = String::new();
    let mut crashed = Vec::new();
    for name in &names {
        if !only.is_empty() && !only.contains(name) {
            rows.extend(earlier(&evidence, name));
            continue;
        }
        let corpus = built.join("corpus").join(name);
        fs_err::create_dir_all(&corpus)?;
        let mut command = program(built.join(&host).join("release").join(name));
        command.arg(&corpus).arg(fuzz.join("seeds").join(name)).current_dir(&built);
        command.arg(format!("-max_total_time={seconds}")).arg("-print_final_stats=1");
        // libFuzzer reports on its standard error.
        let mut shell = program("sh");
        shell.args(["-c", "exec \"$@\" 2>&1", "sh"]).arg(command.get_program()).args(command.get_args());
        let line = match capture(shell.current_dir(&built)) {
            Ok(said) => {
                let runs = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
                format!("{} executions, nothing found", runs.unwrap_or("unknown").trim())
            }
            Err(error) => {
                crashed.push(name.clone());
                format!("CRASHED: {}", tail(&format!("{error:#}"), 3).replace('\n', " "))
            }
        };
        println!("{name:24} {line}");
        rows.push_str(&format!("- {name}: {line}\n"));
    }
    let mut command = format!("cargo xtask full fuzz --seconds {seconds}");
    if !only.is_empty() {
        command.push_str(&format!(" --only {}", only.join(",")));
    }
    Ok(Section { part: "fuzz", command, body: rows, failed: crashed })
}

/// What was found of a target before, with the run that it is of.
fn earlier(evidence: &str, name: &str) -> Option<String> {
    let (_, rest) = evidence.split_once("<!-- fuzz: begin -->\n")?;
    let (section, _) = rest.split_once("<!-- fuzz: end -->")?;
    let run = section.lines().find(|line| line.starts_with('`'))?;
    let row = section.lines().find(|line| line.starts_with(&format!("- {name}: ")))?;
    Some(if row.contains("; by `") { format!("{row}\n") } else { format!("{row}; by {run}\n") })
}

fn host_triple() -> anyhow::Result<String> {
    let said = capture(program("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("`rustc -vV` names no host")
}

#[cfg(test)]
mod tests {
    use super::earlier;

    #[test]
    fn rows_of_earlier_runs_say_which() {
        let section = |rows: &str| {
            format!(
                "x\n<!-- fuzz: begin -->\n## fuzz\n\n`cmd` (today)\n\n{rows}<!-- fuzz: end -->\n- a: other\n"
            )
        };
        let first = section("- a: 1 executions\n- ab: 2 executions\n");
        let row = earlier(&first, "a").unwrap();
        assert_eq!(row, "- a: 1 executions; by `cmd` (today)\n");
        assert_eq!(earlier(&section(&row), "a").unwrap(), row);
        assert_eq!(earlier(&first, "c"), None);
    }
}
