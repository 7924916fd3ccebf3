//! Who runs hwb.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::ordinary_user::Account;
use crate::programs::{capture, program};

/// Only what every user of the machine has.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// How many ids the system gives to an account that is given any.
const IDS: u32 = 65536;

/// Who that is to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// Root.
    Root,
    /// An ordinary user with ranges of ids in `/etc/subuid` and `/etc/subgid`.
    Ranges,
    /// An ordinary user who is given no other ids.
    OneId,
}

impl Who {
    /// Everybody.
    pub(crate) const ALL: [Self; 3] = [Self::Root, Self::Ranges, Self::OneId];

    /// In words.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Ranges => "a user with ranges",
            Self::OneId => "a user with one id",
        }
    }
}

/// Somebody with a home, an account of the machine if need be, and a copy of hwb that they may run; all of it ends with
/// this value.
#[derive(Debug)]
pub(crate) struct Person {
    account: Option<Account>,
    place: TempDir,
}

impl Person {
    /// Makes an account where an ordinary user is wanted (needs root).
    pub(crate) fn create(who: Who, hwb: &Path) -> anyhow::Result<Self> {
        let account = match who {
            Who::Root => None,
            Who::Ranges => Some(Account::with_ids(IDS)?),
            Who::OneId => Some(Account::with_ids(0)?),
        };
        let place = tempfile::Builder::new().prefix("hwb-image-").tempdir().context("no temporary folder")?;
        let person = Self { account, place };
        person.check_ids(who)?;
        capture(program("chmod").arg("755").arg(person.place.path()))?;
        fs_err::copy(hwb, person.hwb())?;
        person.folder(&person.home())?;
        Ok(person)
    }

    /// Whether the account has the ids that it is to have.
    fn check_ids(&self, who: Who) -> anyhow::Result<()> {
        let Some(account) = &self.account else { return Ok(()) };
        let start = format!("{}:", account.name);
        for file in ["/etc/subuid", "/etc/subgid"] {
            let text = fs_err::read_to_string(file).unwrap_or_default();
            let found = text.lines().any(|line| line.starts_with(&start));
            ensure!(
                found == (who == Who::Ranges),
                "useradd does not give ids as it was told: look at {file}"
            );
        }
        Ok(())
    }

    fn home(&self) -> PathBuf {
        self.place.path().join("home")
    }

    /// Their hwb.
    pub(crate) fn hwb(&self) -> PathBuf {
        self.place.path().join("hwb")
    }

    /// Makes a folder that is theirs.
    pub(crate) fn folder(&self, path: &Path) -> anyhow::Result<()> {
        fs_err::create_dir_all(path)?;
        if let Some(account) = &self.account {
            capture(program("chown").arg(format!("{}:", account.name)).arg(path))?;
        }
        Ok(())
    }

    /// Begins a command of theirs, with nothing of this environment.
    pub(crate) fn command(&self, executable: &Path) -> Command {
        let mut command = match &self.account {
            None => program(executable),
            Some(account) => {
                let mut command = program("setpriv");
                command.args(["--reuid", &account.name, "--regid", &account.name, "--clear-groups", "--"]);
                command.arg(executable);
                command
            }
        };
        let home = self.home();
        command
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", &home)
            .env("TMPDIR", &home)
            .env("LC_ALL", "C.UTF-8");
        command.env("NO_COLOR", "1").current_dir(home);
        command
    }
}
