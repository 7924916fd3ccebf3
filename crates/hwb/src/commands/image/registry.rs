//! `hwb image push`, `login` and `logout`

use std::io::Read as _;

use hwb_lib::image::{self, LoginReport, LoginRequest, LogoutReport, PushReport, Secret};
use hwb_lib::{Error, ErrorKind};

use super::files::line;
use super::{Context, show, show_all};
use crate::arguments::{LoginArguments, LogoutArguments, PushArguments};

/// No password is longer.
const LONGEST: u64 = 1 << 16;

#[derive(Debug, thiserror::Error)]
enum PasswordError {
    #[error("no password was given, and hwb asks for none")]
    Missing,
    #[error("cannot read the password from standard input")]
    Read(#[source] std::io::Error),
    #[error("standard input goes on for longer than a password may be")]
    TooLong,
}

pub(super) fn push(context: &Context, arguments: &PushArguments) -> Result<(), Error> {
    let settings = context.general_settings()?;
    let cancel = context.cancel()?;
    let progress = context.progress();
    let told = |event| progress.show(&event);
    let pushed = image::push(&settings, &context.ambient, &cancel, &arguments.request(), &told)?;
    drop(progress);
    show_all(context, &pushed, |PushReport { name, digest, .. }| line(name, digest));
    Ok(())
}

pub(super) fn login(context: &Context, arguments: LoginArguments) -> Result<(), Error> {
    let LoginArguments { registry, username, password_stdin, password } = arguments;
    let password = match password {
        Some(password) => password,
        None if password_stdin => read_password()?,
        None => {
            return Err(Error::new(ErrorKind::Usage, PasswordError::Missing).hint(
                "send it to standard input with `--password-stdin`, from a file or a password manager",
            ));
        }
    };
    let settings = context.general_settings()?;
    let cancel = context.cancel()?;
    let request = LoginRequest { registry, user: username, password };
    let progress = context.progress();
    let told = |event| progress.show(&event);
    let report = image::login(&settings, &context.ambient, &cancel, request, &told)?;
    drop(progress);
    let line = |LoginReport { registry, user, kept }: &LoginReport| {
        format!("Logged in to {registry} as {user}; the credentials are in {kept}\n")
    };
    show(context, &report, line);
    Ok(())
}

pub(super) fn logout(context: &Context, arguments: &LogoutArguments) -> Result<(), Error> {
    let settings = context.general_settings()?;
    let cancel = context.cancel()?;
    let progress = context.progress();
    let told = |event| progress.show(&event);
    let report = image::logout(&settings, &context.ambient, &cancel, &arguments.registry, &told)?;
    drop(progress);
    let line = |LogoutReport { registry, removed }: &LogoutReport| match removed.as_slice() {
        [] => format!("There were no credentials for {registry}\n"),
        places => places.iter().map(|place| format!("Removed the credentials from {place}\n")).collect(),
    };
    show(context, &report, line);
    Ok(())
}

/// What stands on standard input, without the end of its line.
fn read_password() -> Result<Secret, Error> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(LONGEST + 1).read_to_string(&mut text);
    read.map_err(|error| Error::new(ErrorKind::Usage, PasswordError::Read(error)))?;
    if text.len() as u64 > LONGEST {
        return Err(Error::new(ErrorKind::Usage, PasswordError::TooLong));
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Secret::new(line.strip_suffix('\r').unwrap_or(line)))
}
