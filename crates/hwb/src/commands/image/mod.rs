//! `hwb image`

mod files;
mod kept;
mod registry;
mod run;

use std::process::ExitCode;

use anstyle::Style;
use hwb_lib::Error;
use hwb_lib::image::{self, ImageDetails, ImageReport, PullRequest, StepReport};

use self::files::line;
use super::Context;
use crate::arguments::{
    ImageCommand, ListArguments, Output, PullArguments, RemoveArguments, ShowArguments, TagArguments,
};
use crate::render::{self, table, text};

const TITLE: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
/// As many digits of a digest tell images apart.
const DIGITS: usize = 12;

/// Does something with images.
pub(crate) fn run(context: &Context, command: ImageCommand) -> Result<ExitCode, Error> {
    match command {
        ImageCommand::Pull(arguments) => pull(context, &arguments)?,
        ImageCommand::Push(arguments) => registry::push(context, &arguments)?,
        ImageCommand::Login(arguments) => registry::login(context, arguments)?,
        ImageCommand::Logout(arguments) => registry::logout(context, &arguments)?,
        ImageCommand::Import(arguments) => files::import(context, arguments)?,
        ImageCommand::Export(arguments) => files::export(context, &arguments)?,
        ImageCommand::Run(arguments) => return Ok(run::run(context, &arguments)),
        ImageCommand::Commit(arguments) => kept::commit(context, arguments)?,
        ImageCommand::Ls(ListArguments { runs: true, .. }) => kept::list(context)?,
        ImageCommand::Ls(arguments) => list(context, &arguments)?,
        ImageCommand::Inspect(arguments) => inspect(context, &arguments)?,
        ImageCommand::History(arguments) => history(context, &arguments)?,
        ImageCommand::Tag(arguments) => tag(context, &arguments)?,
        ImageCommand::Rm(arguments) => remove(context, &arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn pull(context: &Context, arguments: &PullArguments) -> Result<(), Error> {
    let settings = context.general_settings()?;
    let cancel = context.cancel()?;
    let request = PullRequest { images: arguments.images.clone(), platform: arguments.platform.clone() };
    let progress = context.progress();
    let show = |event| progress.show(&event);
    let pulled = image::pull(&settings, &context.ambient, &cancel, &request, &show)?;
    show_all(context, &pulled, |ImageReport { name, digest, .. }| line(name, digest));
    Ok(())
}

fn list(context: &Context, arguments: &ListArguments) -> Result<(), Error> {
    let images = image::list(&context.general_settings()?)?;
    let digits = |digest: &str| if arguments.no_trunc { digest.to_owned() } else { short(digest) };
    let heading = ["IMAGE", "ID", "PLATFORM", "CREATED", "SIZE"];
    let row = |image: &ImageReport| {
        [
            text::row(&image.name),
            digits(&image.id),
            image.platform.clone(),
            text::row(image.created.as_deref().unwrap_or("-")),
            text::size(image.size),
        ]
    };
    match context.output() {
        Output::Json => render::print_json(&images),
        Output::Text => {
            let heading = heading.map(|word| format!("{DIM}{word}{DIM:#}"));
            let rows: Vec<[String; 5]> = std::iter::once(heading).chain(images.iter().map(row)).collect();
            render::print(&table::columns(&rows));
        }
    }
    Ok(())
}

fn inspect(context: &Context, arguments: &ShowArguments) -> Result<(), Error> {
    let platform = arguments.platform.as_deref();
    let details = image::inspect(&context.general_settings()?, &arguments.image, platform)?;
    match context.output() {
        Output::Json => render::print_json(&details),
        Output::Text => render::print(&describe(&details)),
    }
    Ok(())
}

fn describe(details: &ImageDetails) -> String {
    let ImageDetails { image, layers, config } = details;
    let mut rows = vec![
        ["id".to_owned(), image.id.clone()],
        ["digest".to_owned(), image.digest.clone()],
        ["platform".to_owned(), image.platform.clone()],
    ];
    rows.extend(image.created.iter().map(|created| ["created".to_owned(), created.clone()]));
    let settings = config.get("config").and_then(|settings| settings.as_object()).into_iter().flatten();
    rows.extend(settings.flat_map(|(name, value)| setting(name, value)));
    rows.extend(
        layers
            .iter()
            .map(|layer| ["layer".to_owned(), format!("{} {}", layer.digest, text::size(layer.size))]),
    );
    let mut last = String::new();
    for [label, value] in &mut rows {
        *value = text::row(value);
        let shown = if *label == last { String::new() } else { format!("{DIM}{label}{DIM:#}") };
        last = std::mem::replace(label, shown);
    }
    format!("{TITLE}{}{TITLE:#}\n\n{}", text::row(&image.name), table::columns(&rows))
}

/// A line for each value: `Env PATH=…`, `Cmd ["sh"]`.
fn setting(name: &str, value: &serde_json::Value) -> Vec<[String; 2]> {
    let lines: Vec<String> = match value {
        serde_json::Value::Array(variables) if name == "Env" => {
            variables.iter().filter_map(|variable| variable.as_str().map(str::to_owned)).collect()
        }
        serde_json::Value::Object(members) => members
            .iter()
            .map(|(key, value)| match value.as_str() {
                Some(text) => format!("{key}={text}"),
                None => key.clone(),
            })
            .collect(),
        serde_json::Value::String(text) => vec![text.clone()],
        value => vec![value.to_string()],
    };
    lines.into_iter().map(|line| [name.to_lowercase(), line]).collect()
}

fn history(context: &Context, arguments: &ShowArguments) -> Result<(), Error> {
    let platform = arguments.platform.as_deref();
    let steps = image::history(&context.general_settings()?, &arguments.image, platform)?;
    match context.output() {
        Output::Json => render::print_json(&steps),
        Output::Text => render::print(&table::columns(&steps.iter().map(step).collect::<Vec<_>>())),
    }
    Ok(())
}

fn step(step: &StepReport) -> [String; 3] {
    [
        text::row(step.created.as_deref().unwrap_or("-")),
        step.size.map_or_else(|| "-".to_owned(), text::size),
        text::row(step.created_by.as_deref().or(step.comment.as_deref()).unwrap_or("-")),
    ]
}

fn tag(context: &Context, arguments: &TagArguments) -> Result<(), Error> {
    let images = image::tag(&context.general_settings()?, &arguments.image, &arguments.name)?;
    show_all(context, &images, |ImageReport { name, digest, .. }| line(name, digest));
    Ok(())
}

fn remove(context: &Context, arguments: &RemoveArguments) -> Result<(), Error> {
    let settings = context.general_settings()?;
    let mut removed = image::remove(&settings, &arguments.images)?;
    removed.extend(image::remove_runs(&settings, &context.ambient, &arguments.run)?);
    show_all(context, &removed, |name| format!("{name}\n"));
    Ok(())
}

/// A line for each, or one document.
fn show_all<T: serde::Serialize>(context: &Context, all: &[T], line: impl Fn(&T) -> String) {
    match context.output() {
        Output::Json => render::print_json(&all),
        Output::Text => render::print(&all.iter().map(line).collect::<String>()),
    }
}

/// Lines for people, or one document.
fn show<T: serde::Serialize>(context: &Context, report: &T, lines: impl Fn(&T) -> String) {
    match context.output() {
        Output::Json => render::print_json(report),
        Output::Text => render::print(&lines(report)),
    }
}

fn short(digest: &str) -> String {
    digest.strip_prefix("sha256:").unwrap_or(digest).chars().take(DIGITS).collect()
}
