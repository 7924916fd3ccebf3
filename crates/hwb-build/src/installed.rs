//! What an interpreter that is used as it is has installed, and what a build lacks there.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;

use hwb_ident::{ExtraName, GuestPath, MarkerEnvironment, PackageName, Requirement, Version, VersionOrUrl};
use hwb_sandbox::{Cancel, Control, ExecSpec, OutputSink, SandboxError, Session};
use serde::Deserialize;

/// The program that lists distributions.
const LISTER: &str = include_str!("installed.py");

/// The distributions that an interpreter finds, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installed {
    distributions: BTreeMap<PackageName, Distribution>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Distribution {
    version: Version,
    requires: Vec<Requirement>,
}

/// A requirement that is not satisfied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// What is required.
    pub requirement: Requirement,
    /// What is there of it in another version.
    pub found: Option<Version>,
    /// The installed distribution that requires it; `None` if the build itself does.
    pub needed_by: Option<PackageName>,
}

/// Why the distributions of an interpreter are not known.
#[derive(Debug, thiserror::Error)]
pub enum InstalledError {
    /// It could not be run.
    #[error("failed to ask `{python}` what is installed")]
    Run {
        /// Which interpreter.
        python: GuestPath,
        /// Why.
        #[source]
        source: SandboxError,
    },
    /// It did not say.
    #[error("`{python}` does not say what is installed")]
    Silent {
        /// Which interpreter.
        python: GuestPath,
    },
    /// What it said is no list of distributions.
    #[error("`{python}` does not list what is installed as it should")]
    Garbled {
        /// Which interpreter.
        python: GuestPath,
        /// Where it goes wrong.
        #[source]
        source: serde_json::Error,
    },
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    version: String,
    requires: Vec<String>,
}

/// The interpreter that is asked, and the environment in which it is.
#[derive(Debug, Clone, Copy)]
pub struct Interview<'a> {
    /// The interpreter.
    pub python: &'a GuestPath,
    /// The folder in which hooks run.
    pub folder: &'a GuestPath,
    /// The complete environment, which is that of the hooks: it decides where packages are looked for.
    pub env: &'a BTreeMap<String, String>,
}

/// Asks an interpreter what it has installed.
///
/// # Errors
///
/// [`InstalledError`]
pub fn list_installed(
    interview: Interview<'_>,
    session: &mut dyn Session,
    cancel: &Cancel,
    sink: &mut dyn OutputSink,
) -> Result<Installed, InstalledError> {
    let Interview { python, folder, env } = interview;
    let fail = |source| InstalledError::Run { python: python.clone(), source };
    let mut running = session
        .start(&ExecSpec {
            argv: vec![python.as_path().as_os_str().to_owned(), "-c".into(), LISTER.into()],
            cwd: folder.clone(),
            env: env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect(),
            control: Control::Pipe,
        })
        .map_err(fail)?;
    let answer = running.answer(cancel, None, sink).map_err(fail)?;
    running.wait(cancel, None, sink).map_err(fail)?;
    let answer = answer.ok_or_else(|| InstalledError::Silent { python: python.clone() })?;
    let listed: Vec<Listed> = serde_json::from_slice(&answer)
        .map_err(|source| InstalledError::Garbled { python: python.clone(), source })?;
    Ok(listed.into_iter().collect())
}

impl FromIterator<Listed> for Installed {
    /// What has no valid name or version is passed over: no requirement can mean it.
    fn from_iter<I: IntoIterator<Item = Listed>>(listed: I) -> Self {
        let mut distributions = BTreeMap::new();
        for Listed { name, version, requires } in listed {
            if let (Ok(name), Ok(version)) = (name.parse(), version.parse()) {
                let requires = requires.iter().filter_map(|text| text.parse().ok()).collect();
                distributions.entry(name).or_insert(Distribution { version, requires });
            }
        }
        Self { distributions }
    }
}

impl Installed {
    /// Everything that is installed, as `name==version`, by name.
    pub fn pins(&self) -> Vec<String> {
        let pins = self.distributions.iter();
        pins.map(|(name, distribution)| format!("{name}=={}", distribution.version)).collect()
    }

    /// What of `requirements`, and of what these require in turn, is not there; in order, each once.
    ///
    /// A requirement that names a URL is satisfied by any version: what is installed does not say where it is from.
    pub fn lacking(&self, requirements: &[Requirement], markers: &MarkerEnvironment) -> Vec<Lack> {
        let mut search = Search { installed: self, markers, seen: BTreeSet::new(), lacking: Vec::new() };
        search.visit(requirements, &[], None);
        search.lacking
    }
}

/// A walk over requirements.
struct Search<'a> {
    installed: &'a Installed,
    markers: &'a MarkerEnvironment,
    seen: BTreeSet<(PackageName, Vec<ExtraName>)>,
    lacking: Vec<Lack>,
}

impl Search<'_> {
    fn visit(&mut self, requirements: &[Requirement], extras: &[ExtraName], needed_by: Option<&PackageName>) {
        for requirement in requirements {
            if !requirement.evaluate_markers(self.markers, extras) {
                continue;
            }
            let distribution = self.installed.distributions.get(&requirement.name);
            if !distribution.is_some_and(|distribution| admits(requirement, &distribution.version)) {
                let lack = Lack {
                    requirement: requirement.clone(),
                    found: distribution.map(|distribution| distribution.version.clone()),
                    needed_by: needed_by.cloned(),
                };
                if !self.lacking.iter().any(|known| known.requirement == lack.requirement) {
                    self.lacking.push(lack);
                }
                continue;
            }
            let mut wanted = requirement.extras.to_vec();
            wanted.sort();
            if let Some(distribution) = distribution
                && self.seen.insert((requirement.name.clone(), wanted.clone()))
            {
                self.visit(&distribution.requires, &wanted, Some(&requirement.name));
            }
        }
    }
}

fn admits(requirement: &Requirement, version: &Version) -> bool {
    match &requirement.version_or_url {
        Some(VersionOrUrl::VersionSpecifier(range)) => range.contains(version),
        Some(VersionOrUrl::Url(_)) | None => true,
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.requirement)?;
        match (&self.found, &self.needed_by) {
            (Some(found), Some(by)) => write!(f, " ({found} is installed; `{by}` needs it)"),
            (Some(found), None) => write!(f, " ({found} is installed)"),
            (None, Some(by)) => write!(f, " (`{by}` needs it)"),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use hwb_sandbox::{HostProcess, Network, Sandbox as _, SessionSpec, Stream};

    use super::*;

    struct Ignore;

    impl OutputSink for Ignore {
        fn write(&mut self, _stream: Stream, _bytes: &[u8]) {}
    }

    /// An interpreter that finds just what the folder holds.
    fn ask(folder: &std::path::Path) -> Installed {
        let path = GuestPath::new(folder);
        let env = BTreeMap::from([
            ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()),
            ("PYTHONPATH".to_owned(), path.to_string()),
        ]);
        let python = GuestPath::new("python3");
        let mut session =
            HostProcess::plain().start(&SessionSpec { mounts: Vec::new(), network: Network::Host }).unwrap();
        let cancel = Cancel::new().unwrap();
        let interview = Interview { python: &python, folder: &GuestPath::new("/"), env: &env };
        list_installed(interview, session.as_mut(), &cancel, &mut Ignore).unwrap()
    }

    fn distribution(folder: &std::path::Path, name: &str, lines: &str) {
        let directory = folder.join(format!("{name}.dist-info"));
        fs_err::create_dir(&directory).unwrap();
        fs_err::write(directory.join("METADATA"), format!("Metadata-Version: 2.1\n{lines}")).unwrap();
    }

    #[test]
    fn an_interpreter_says_what_it_has() {
        let folder = tempfile::tempdir().unwrap();
        distribution(
            folder.path(),
            "hwb_test_one-1.5",
            "Name: Hwb.Test_One\nVersion: 1.5\nRequires-Dist: hwb-test-two>=2; extra == 'more'\n",
        );
        distribution(folder.path(), "hwb_test_broken-1", "Summary: no name\n");
        let installed = ask(folder.path());
        assert!(installed.pins().contains(&"hwb-test-one==1.5".to_owned()), "{:?}", installed.pins());
        assert!(!installed.pins().iter().any(|pin| pin.contains("broken")));
        let one = &installed.distributions[&"hwb-test-one".parse().unwrap()];
        assert_eq!(one.requires.len(), 1);
    }

    fn check(requirements: &[&str], expect: &[&str]) {
        let listed = |name: &str, version: &str, requires: &[&str]| Listed {
            name: name.to_owned(),
            version: version.to_owned(),
            requires: requires.iter().map(|&text| text.to_owned()).collect(),
        };
        let installed: Installed = [
            listed("A", "1.0", &["b>=2", "c; extra == 'all'", "d; python_version < '3'"]),
            listed("b", "2.1", &["a", "e"]),
            listed("e", "0.9rc1", &[]),
            listed("a", "7", &[]),
            listed("odd", "no version", &[]),
        ]
        .into_iter()
        .collect();
        let requirements: Vec<Requirement> = requirements.iter().map(|text| text.parse().unwrap()).collect();
        let markers = hwb_ident_markers();
        let lacking: Vec<_> =
            installed.lacking(&requirements, &markers).iter().map(ToString::to_string).collect();
        assert_eq!(lacking, expect);
    }

    fn hwb_ident_markers() -> MarkerEnvironment {
        serde_json::from_str(
            r#"{"implementation_name": "cpython", "implementation_version": "3.11.7", "os_name": "posix",
                "platform_machine": "x86_64", "platform_python_implementation": "CPython",
                "platform_release": "", "platform_system": "Linux", "platform_version": "",
                "python_full_version": "3.11.7", "python_version": "3.11", "sys_platform": "linux"}"#,
        )
        .unwrap()
    }

    #[test]
    fn lists_all_that_is_lacking() {
        check(&["a", "b", "e"], &[]);
        check(&["a>=2"], &["`a>=2` (1.0 is installed)"]);
        check(&["z", "a[all]", "y>3", "z"], &["`z`", "`c ; extra == 'all'` (`a` needs it)", "`y>3`"]);
        check(&["z; sys_platform == 'win32'"], &[]);
        check(&["e>=0.9rc1", "e>=1"], &["`e>=1` (0.9rc1 is installed)"]);
        check(&["odd"], &["`odd`"]);
    }
}
