//! `hwb image run`

use std::io::{self, IsTerminal as _, Stderr, Stdin, Stdout};
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use hwb_ident::{GuestPath, HostPath};
use hwb_lib::image::{
    self, Access, Capabilities, CommandChoices, Console, ContainerChoices, Limits, Mount, Network,
    PullPolicy, RootAccess, RunEnd, RunRequest, Streaming,
};
use hwb_lib::{Ambient, Error, ErrorKind};

use crate::arguments::{Place, Pull, RunArguments, RunNetwork};
use crate::commands::Context;
use crate::error;

/// What hwb's own failure ends with, as Docker has it: 1 to 124 are the command's.
const OWN_FAILURE: u8 = 125;

#[derive(Debug, thiserror::Error)]
#[error("a terminal was asked for, and standard input is none")]
struct NoTerminal;

/// Runs a command in an image.
pub(super) fn run(context: &Context, arguments: &RunArguments) -> ExitCode {
    match attempt(context, arguments) {
        Ok(end) => {
            if let RunEnd::NotStarted { error, .. } = &end {
                error::report(error, context.output());
            }
            ExitCode::from(end.exit_code())
        }
        Err(error) => {
            error::report(&error, context.output());
            ExitCode::from(OWN_FAILURE)
        }
    }
}

fn attempt(context: &Context, arguments: &RunArguments) -> Result<RunEnd, Error> {
    let settings = context.general_settings()?;
    let own = (io::stdin(), io::stdout(), io::stderr());
    let request = request(&context.ambient, arguments, streaming(arguments, &own)?)?;
    let cancel = context.cancel()?;
    let progress = context.progress();
    image::run(&settings, &context.ambient, &cancel, &request, &|event| progress.show(&event))
}

/// What of hwb's own streams the command gets.
fn streaming<'a>(
    arguments: &RunArguments,
    (stdin, stdout, stderr): &'a (Stdin, Stdout, Stderr),
) -> Result<Streaming<'a>, Error> {
    if !arguments.tty {
        let stdin = arguments.interactive.then(|| stdin.as_fd());
        return Ok(Streaming::Given { stdin, stdout: stdout.as_fd(), stderr: stderr.as_fd() });
    }
    if !stdin.is_terminal() {
        return Err(Error::new(ErrorKind::Usage, NoTerminal).hint("without -t its streams are those of hwb"));
    }
    Ok(Streaming::Terminal(Console { input: Some(stdin.as_fd()), output: stdout.as_fd() }))
}

fn request<'a>(
    ambient: &Ambient,
    arguments: &RunArguments,
    streaming: Streaming<'a>,
) -> Result<RunRequest<'a>, Error> {
    Ok(RunRequest {
        image: arguments.image.clone(),
        name: arguments.name.clone(),
        platform: arguments.platform.clone(),
        pull: match arguments.pull {
            Pull::Always => PullPolicy::Always,
            Pull::Missing => PullPolicy::Missing,
            Pull::Never => PullPolicy::Never,
        },
        command: CommandChoices {
            entrypoint: arguments.entrypoint.clone(),
            command: arguments.command.clone(),
            env: environment(ambient, arguments)?,
            workdir: arguments.workdir.clone(),
            user: arguments.user.clone(),
        },
        container: container(ambient, arguments),
        streaming,
    })
}

/// Variables of files first, so that those that are typed win. A name alone stands for the variable as it is here.
fn environment(ambient: &Ambient, arguments: &RunArguments) -> Result<Vec<(String, String)>, Error> {
    let mut lines = Vec::new();
    for file in &arguments.env_file {
        lines.extend(image::read_variables(&ambient.absolute(file))?);
    }
    lines.extend(arguments.env.iter().cloned());
    let variable = |line: String| match line.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => Some((line.clone(), ambient.var(&line)?.to_owned())),
    };
    Ok(lines.into_iter().filter_map(variable).collect())
}

fn container(ambient: &Ambient, arguments: &RunArguments) -> ContainerChoices {
    let network = match arguments.network {
        RunNetwork::Host => Network::Host,
        RunNetwork::None => Network::Denied,
        RunNetwork::Isolated => Network::Isolated,
    };
    let typed = arguments.volume.iter().chain(&arguments.mount).chain(&arguments.tmpfs);
    ContainerChoices {
        hostname: arguments.hostname.clone(),
        network,
        hosts: arguments.add_host.iter().map(|host| (host.name.clone(), host.address.to_string())).collect(),
        places: typed.map(|place| stand(ambient, place)).collect(),
        root_access: if arguments.read_only { RootAccess::ReadOnly } else { RootAccess::ReadWrite },
        capabilities: capabilities(arguments, network),
        limits: Limits {
            memory: arguments.memory,
            cpu_thousandths: arguments.cpus,
            pids: arguments.pids_limit,
        },
        process_limits: arguments.ulimit.clone(),
    }
}

fn stand(ambient: &Ambient, place: &Place) -> image::Place {
    match place {
        Place::Host { source, target, read_only } => image::Place::Host(Mount {
            host: HostPath::new(ambient.absolute(source.as_ref())),
            guest: GuestPath::new(target),
            access: if *read_only { Access::ReadOnly } else { Access::ReadWrite },
        }),
        Place::Memory { target, size, mode } => {
            image::Place::Memory { guest: GuestPath::new(target), size: *size, mode: *mode }
        }
    }
}

/// What is usual, and what was asked for on top; what is dropped goes unless it was asked for by name.
fn capabilities(arguments: &RunArguments, network: Network) -> Capabilities {
    use crate::arguments::Cap;
    let named = |caps: &[Cap]| caps.iter().filter_map(Cap::named).collect::<Vec<_>>();
    let has_all = |caps: &[Cap]| caps.contains(&Cap::All);
    let base = if has_all(&arguments.cap_drop) {
        Capabilities::NONE
    } else if has_all(&arguments.cap_add) {
        Capabilities::ALL
    } else {
        Capabilities::usual(network)
    };
    let dropped = named(&arguments.cap_drop).into_iter().fold(base, Capabilities::without);
    named(&arguments.cap_add).into_iter().fold(dropped, Capabilities::with)
}
