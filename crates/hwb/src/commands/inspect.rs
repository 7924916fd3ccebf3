//! `hwb inspect`

use std::process::ExitCode;

use anstyle::Style;
use hwb_lib::Error;
use hwb_lib::inspect::{self, InspectReport, MetadataReport, WheelReport};

use super::Context;
use crate::arguments::{InspectArguments, Output};
use crate::render::{self, table, text};

const TITLE: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// Shows what is in an artifact.
pub(crate) fn run(context: &Context, arguments: &InspectArguments) -> Result<ExitCode, Error> {
    let report = inspect::inspect(&context.ambient.absolute(&arguments.artifact))?;
    match context.output() {
        Output::Json => render::print_json(&report),
        Output::Text => render::print(&describe(&report)),
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(report: &InspectReport) -> String {
    let InspectReport { kind: _, file, size, sha256, metadata, wheel, files } = report;
    let mut facts = Facts::default();
    add_metadata(&mut facts, metadata);
    if let Some(wheel) = wheel {
        add_wheel(&mut facts, wheel);
    }
    let unpacked = files.iter().map(|file| file.size).sum::<u64>();
    facts.add("files", [format!("{}, {} unpacked", files.len(), text::size(unpacked))]);
    let sizes = files.iter().map(|file| text::size(file.size)).collect::<Vec<_>>();
    let widest = sizes.iter().map(String::len).max().unwrap_or(0);
    let files = files
        .iter()
        .zip(&sizes)
        .map(|(file, size)| format!("{DIM}{size:>widest$}{DIM:#}  {}\n", text::row(&file.path)));
    format!(
        "{TITLE}{file}{TITLE:#} {DIM}({}, {sha256}){DIM:#}\n\n{}\n{}",
        text::size(*size),
        table::columns(&facts.0),
        files.collect::<String>()
    )
}

/// Labels with their values, one row for each value.
#[derive(Debug, Default)]
struct Facts(Vec<[String; 2]>);

impl Facts {
    /// Foreign text is kept from doing things to the terminal.
    fn add(&mut self, label: &str, values: impl IntoIterator<Item = String>) {
        for (index, value) in values.into_iter().enumerate() {
            let label = if index == 0 { format!("{DIM}{label}{DIM:#}") } else { String::new() };
            self.0.push([label, text::row(&value)]);
        }
    }
}

fn add_metadata(facts: &mut Facts, metadata: &MetadataReport) {
    let MetadataReport {
        metadata_version,
        name,
        version,
        summary,
        license,
        author,
        requires_python,
        requires_dist,
        provides_extra,
        project_urls,
    } = metadata;
    facts.add("name", [name.clone()]);
    facts.add("version", [version.clone()]);
    facts.add("summary", summary.clone());
    // The older field may hold the whole text of a licence.
    facts.add("license", license.as_ref().and_then(|license| license.lines().next()).map(str::to_owned));
    facts.add("author", author.clone());
    facts.add("requires python", requires_python.clone());
    facts.add("requires", requires_dist.clone());
    facts.add("extras", (!provides_extra.is_empty()).then(|| provides_extra.join(", ")));
    facts.add("links", project_urls.iter().map(|(label, url)| format!("{label}: {url}")));
    facts.add("metadata", [metadata_version.clone()]);
}

fn add_wheel(facts: &mut Facts, wheel: &WheelReport) {
    let WheelReport { tags, generator, root_is_purelib, build, entry_points } = wheel;
    facts.add("tags", tags.clone());
    facts.add("build", build.clone());
    facts.add("generator", generator.clone());
    facts.add("installs to", [if *root_is_purelib { "purelib" } else { "platlib" }.to_owned()]);
    for (group, points) in entry_points {
        facts.add(group, points.iter().map(|(name, object)| format!("{name} = {object}")));
    }
}

#[cfg(test)]
mod tests {
    use hwb_lib::build::ArtifactKind;
    use hwb_lib::inspect::FileReport;

    use super::*;

    #[test]
    fn shows_facts_and_files() {
        let metadata = MetadataReport {
            metadata_version: "2.4".to_owned(),
            name: "greeter".to_owned(),
            version: "1.0".to_owned(),
            summary: Some("Greets \x1b[31mpeople".to_owned()),
            license: Some("MIT".to_owned()),
            author: None,
            requires_python: Some(">=3.9".to_owned()),
            requires_dist: vec!["a>=1".to_owned(), "b".to_owned()],
            provides_extra: Vec::new(),
            project_urls: [].into(),
        };
        let points = [("greet".to_owned(), "greeter:main".to_owned())].into();
        let wheel = WheelReport {
            tags: vec!["py3-none-any".to_owned()],
            generator: Some("flit 3.12.0".to_owned()),
            root_is_purelib: true,
            build: None,
            entry_points: [("console_scripts".to_owned(), points)].into(),
        };
        let file = |path: &str, size| FileReport { path: path.to_owned(), size };
        let report = InspectReport {
            kind: ArtifactKind::Wheel,
            file: "greeter-1.0-py3-none-any.whl".to_owned(),
            size: 2048,
            sha256: "sha256:00".to_owned(),
            metadata,
            wheel: Some(wheel),
            files: vec![file("greeter/__init__.py", 12), file("greeter/data.bin", 4096)],
        };
        let expect = "\
greeter-1.0-py3-none-any.whl (2.0 KiB, sha256:00)

name             greeter
version          1.0
summary          Greets people
license          MIT
requires python  >=3.9
requires         a>=1
                 b
metadata         2.4
tags             py3-none-any
generator        flit 3.12.0
installs to      purelib
console_scripts  greet = greeter:main
files            2, 4.0 KiB unpacked

   12 B  greeter/__init__.py
4.0 KiB  greeter/data.bin
";
        assert_eq!(anstream::adapter::strip_str(&describe(&report)).to_string(), expect);
    }
}
