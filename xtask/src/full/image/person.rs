//! Who runs hwb.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::ordinary_user::{Account, PATH};
use crate::programs::{capture, program, succeeds};

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
    /// The number of its user and of its group.
    id: Option<u32>,
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
        let id = account.as_ref().map(number).transpose()?;
        let person = Self { account, id, place };
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

    /// Their home.
    pub(crate) fn home(&self) -> PathBuf {
        self.place.path().join("home")
    }

    /// Their hwb.
    pub(crate) fn hwb(&self) -> PathBuf {
        self.place.path().join("hwb")
    }

    /// Makes a folder that is theirs, or gives them one with everything in it.
    ///
    /// # Errors
    ///
    /// They cannot reach it.
    pub(crate) fn folder(&self, path: &Path) -> anyhow::Result<()> {
        fs_err::create_dir_all(path)?;
        if let Some(account) = &self.account {
            capture(program("chown").args(["-R", &format!("{}:", account.name)]).arg(path))?;
        }
        let is_open = succeeds(self.command(Path::new("test")).current_dir("/").arg("-w").arg(path));
        ensure!(is_open, "{} is closed to ordinary users", path.display());
        Ok(())
    }

    /// Begins a command of theirs, with nothing of this environment.
    pub(crate) fn command(&self, executable: &Path) -> Command {
        let mut command = program(executable);
        if let Some(id) = self.id {
            // Other groups go with it.
            command.uid(id).gid(id);
        }
        let home = self.home();
        command.env_clear().env("PATH", PATH).env("HOME", &home).env("TMPDIR", &home);
        command.env("LC_ALL", "C.UTF-8").env("NO_COLOR", "1").current_dir(home);
        command
    }
}

fn number(account: &Account) -> anyhow::Result<u32> {
    let ask = |what: &str| capture(program("id").args([what, &account.name]));
    let (user, group) = (ask("-u")?, ask("-g")?);
    ensure!(user == group, "useradd gives {} a group with another number", account.name);
    user.trim().parse().context("id tells no number")
}
