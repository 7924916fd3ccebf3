//! Two hosts that a repair must not be able to tell apart.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::corpus::{file_name, only_wheel};
use crate::ordinary_user::{Account, PATH};
use crate::programs::{capture, empty, program};

/// Where a repair takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Host {
    /// Root's, with the clock of the machine.
    First,
    /// Of another user, with another clock, time zone, umask and working directory.
    Second,
}

/// Both, with a copy of hwb that every user may run.
#[derive(Debug)]
pub(super) struct Hosts {
    place: TempDir,
    account: Account,
    hwb: PathBuf,
}

impl Hosts {
    /// Makes the second user (needs root).
    pub(super) fn open(hwb: &Path) -> anyhow::Result<Self> {
        let account = Account::create()?;
        // Outside of any folder that is closed to the other user.
        let place =
            tempfile::Builder::new().prefix("hwb-repair-").tempdir().context("no temporary folder")?;
        capture(program("chmod").arg("755").arg(place.path()))?;
        let binary = place.path().join("hwb");
        fs_err::copy(hwb, &binary)?;
        Ok(Self { place, account, hwb: binary })
    }

    /// Repairs a copy of a wheel with `--plat auto`; the result stands until the same host repairs again.
    pub(super) fn repair(&self, host: Host, wheel: &Path) -> anyhow::Result<PathBuf> {
        let folder = match host {
            Host::First => self.place.path().join("first"),
            Host::Second => self.account.home.path().join("a second place"),
        };
        empty(&folder)?;
        fs_err::copy(wheel, folder.join(file_name(wheel)))?;
        let mut command = program(match host {
            Host::First => "env",
            Host::Second => "setpriv",
        });
        command.current_dir(&folder).env_clear().env("PATH", PATH);
        match host {
            Host::First => {
                command.env("HOME", &folder).env("TZ", "UTC").env("LC_ALL", "C");
            }
            Host::Second => {
                let name = &self.account.name;
                capture(program("chown").args(["-R", &format!("{name}:")]).arg(&folder))?;
                command.args(["--reuid", name, "--regid", name, "--clear-groups", "--"]);
                command.args(["sh", "-c", "umask 077; exec \"$@\"", "sh", "faketime", "-m", "-f", "+400d"]);
                command.env("HOME", self.account.home.path()).env("TZ", "Asia/Kathmandu");
                command.env("LC_ALL", "C.UTF-8").env("TMPDIR", self.account.home.path());
            }
        }
        command.arg(&self.hwb).args(["repair", "--plat", "auto", "-o", "wheelhouse"]).arg(file_name(wheel));
        capture(&mut command)?;
        only_wheel(&folder.join("wheelhouse"))
    }
}
