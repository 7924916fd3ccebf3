//! What is run in an image: its own settings, and what the user says otherwise.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use hwb_oci::RunConfig;

use super::ImageFault;
use super::account::Account;
use crate::error::{Error, ErrorKind};

/// Where programs are looked for if nobody says, as Docker has it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a user says of the command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandChoices {
    /// The program in place of the image's; the image's arguments go with it.
    pub entrypoint: Option<String>,
    /// The command in place of the image's.
    pub command: Vec<String>,
    /// Variables, the last of a name counts.
    pub env: Vec<(String, String)>,
    /// Where it is run.
    pub workdir: Option<String>,
    /// Who it is: `user[:group]`, by name or number.
    pub user: Option<String>,
}

/// The lines of a file of variables: `NAME=value`, or `NAME` for its value here; empty lines and those that begin with `#`
/// are left out.
///
/// # Errors
///
/// If it cannot be read.
pub fn read_variables(path: &Path) -> Result<Vec<String>, Error> {
    let text = fs_err::read_to_string(path).map_err(|source| {
        Error::new(ErrorKind::Usage, ImageFault::Variables { path: path.to_owned(), source })
    })?;
    let lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

impl CommandChoices {
    /// The program and its arguments; nothing if neither the image nor the user has any.
    pub(super) fn argv(&self, image: &RunConfig) -> Vec<OsString> {
        let (entrypoint, own) = match &self.entrypoint {
            Some(program) if program.is_empty() => (Vec::new(), &[][..]),
            Some(program) => (vec![program.clone()], &[][..]),
            None => (image.entrypoint.clone(), image.cmd.as_slice()),
        };
        let arguments = if self.command.is_empty() { own } else { self.command.as_slice() };
        entrypoint.iter().chain(arguments).map(OsString::from).collect()
    }

    /// Its environment.
    pub(super) fn environment(
        &self,
        image: &RunConfig,
        account: &Account,
        hostname: &str,
    ) -> BTreeMap<OsString, OsString> {
        let of_image = image.env.iter().map(|variable| variable.split_once('=').unwrap_or((variable, "")));
        let of_user = self.env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let basic = [("PATH", PATH), ("HOME", account.home.as_str()), ("HOSTNAME", hostname)];
        let all = basic.into_iter().chain(of_image).chain(of_user);
        all.map(|(name, value)| (name.into(), value.into())).collect()
    }

    /// Its working directory, absolute.
    pub(super) fn workdir(&self, image: &RunConfig) -> String {
        let chosen = self.workdir.as_deref().unwrap_or(&image.working_dir);
        if chosen.starts_with('/') { chosen.to_owned() } else { format!("/{chosen}") }
    }

    /// Who it is.
    pub(super) fn user<'a>(&'a self, image: &'a RunConfig) -> &'a str {
        self.user.as_deref().unwrap_or(&image.user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> RunConfig {
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        RunConfig { entrypoint: list(&["/entry", "-x"]), cmd: list(&["serve"]), ..RunConfig::default() }
    }

    fn argv(image: &RunConfig, entrypoint: Option<&str>, command: &[&str]) -> Vec<String> {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        let choices = CommandChoices {
            entrypoint: entrypoint.map(str::to_owned),
            command,
            ..CommandChoices::default()
        };
        choices.argv(image).into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn commands_are_put_together_as_docker_does() {
        assert_eq!(argv(&image(), None, &[]), ["/entry", "-x", "serve"]);
        assert_eq!(argv(&image(), None, &["stop"]), ["/entry", "-x", "stop"]);
        assert_eq!(argv(&image(), Some("sh"), &[]), ["sh"]);
        assert_eq!(argv(&image(), Some("sh"), &["-c", "x"]), ["sh", "-c", "x"]);
        assert_eq!(argv(&image(), Some(""), &["ls"]), ["ls"]);
        assert!(argv(&RunConfig::default(), None, &[]).is_empty());
    }

    #[test]
    fn variables_of_the_user_win() {
        let image = RunConfig { env: vec!["PATH=/bin".to_owned(), "A=1".to_owned()], ..image() };
        let choices =
            CommandChoices { env: vec![("A".to_owned(), "2".to_owned())], ..CommandChoices::default() };
        let account = Account { user: hwb_sandbox::container::User::ROOT, home: "/root".to_owned() };
        let environment = choices.environment(&image, &account, "box");
        let shown: Vec<String> = environment
            .iter()
            .map(|(name, value)| format!("{}={}", name.display(), value.display()))
            .collect();
        assert_eq!(shown, ["A=2", "HOME=/root", "HOSTNAME=box", "PATH=/bin"]);
        assert_eq!(choices.workdir(&image), "/");
    }
}
