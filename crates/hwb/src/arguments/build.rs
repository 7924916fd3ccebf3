//! `hwb build` and `hwb verify`: what was typed, and the request that it means.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValue;
use hwb_ident::{ArchivePath, PackageName, SourceSpec};
use hwb_lib::build::{
    BuildRequest, ConfigValue, Environments, HookPath, Isolation, Network, Outputs, Placement, Repairs,
    Requested, Selection,
};
use hwb_lib::settings::BuildSettings;
use hwb_lib::{Ambient, Error, ErrorKind};

use super::IndexArguments;
use super::parse::{self, Pair};

const BUILD_EXAMPLES: &str = "\
Examples:
  hwb build                                        A wheel of this directory
  hwb build -p 3.11 -p 3.12 --out-dir wheels       One wheel for each interpreter
  hwb build flask==3.1.0                           The sdist of the index
  hwb build https://example.org/pkg-1.0.tar.gz#sha256=…
  hwb build git+https://example.org/owner/repo@v2.0#subdirectory=python
  hwb build -C setup-args=-Dblas=openblas --env MAX_JOBS=4
  hwb build --offline --find-links wheels --dry-run";

const VERIFY_EXAMPLES: &str = "\
Examples:
  hwb verify dist/greeter-1.0-py3-none-any.whl --source .
  hwb verify flask-3.1.0-py3-none-any.whl --source flask==3.1.0 -b constraints.txt

Exit code 0 says that both wheels are the same bytes, 6 that they differ.";

/// `hwb build`
#[derive(Debug, Args)]
#[command(after_help = BUILD_EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "flags as they were typed; `request` says what they mean")]
pub(crate) struct BuildArguments {
    /// A directory, an archive, a URL, `git+URL[@REF]`, or a requirement such as `name==1.0`
    #[arg(default_value = ".")]
    source: String,
    /// Build a wheel, straight from the source (the default)
    #[arg(short, long)]
    wheel: bool,
    /// Build an sdist; with --wheel the wheel is then built from it
    #[arg(short, long)]
    sdist: bool,
    /// Build a PEP 660 editable wheel
    #[arg(long, conflicts_with_all = ["wheel", "sdist"])]
    editable: bool,
    /// Where artifacts go
    #[arg(short, long, visible_alias = "outdir", value_name = "DIR", default_value = "dist")]
    out_dir: PathBuf,
    /// Remove earlier artifacts of the same project from there
    #[arg(long)]
    clean: bool,
    /// Build this member of the uv workspace; repeatable
    #[arg(long = "package", value_name = "NAME", conflicts_with = "all_packages")]
    packages: Vec<PackageName>,
    /// Build every member of the uv workspace
    #[arg(long, alias = "all")]
    all_packages: bool,
    /// Show what would be done and why, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Write the JSON document of --json to a file too
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    #[command(flatten)]
    backend: BackendArguments,
    #[command(flatten)]
    pub(crate) index: IndexArguments,
}

/// `hwb verify`
#[derive(Debug, Args)]
#[command(after_help = VERIFY_EXAMPLES)]
pub(crate) struct VerifyArguments {
    /// The wheel that is there
    pub(crate) wheel: PathBuf,
    /// What it was built from, as `hwb build` takes it
    #[arg(long, value_name = "SOURCE")]
    source: String,
    #[command(flatten)]
    backend: BackendArguments,
    #[command(flatten)]
    pub(crate) index: IndexArguments,
}

/// How the backend is run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Build options")]
#[expect(clippy::struct_excessive_bools, reason = "flags as they were typed; `complete` says what they mean")]
struct BackendArguments {
    /// Where in the source the project is
    #[arg(long, value_name = "PATH")]
    subdirectory: Option<ArchivePath>,
    /// An interpreter: version, path or implementation; repeat it for several
    #[arg(short, long = "python", value_name = "PYTHON")]
    pythons: Vec<String>,
    /// A setting for the backend; a repeated key makes a list
    #[arg(short = 'C', long = "config-setting", visible_alias = "config-settings", value_name = "KEY=VALUE")]
    #[arg(value_parser = parse::config_setting, allow_hyphen_values = true)]
    config_settings: Vec<Pair>,
    /// All settings for the backend as one JSON object
    #[arg(long, value_name = "JSON", value_parser = parse::json_object, conflicts_with = "config_settings")]
    config_json: Option<serde_json::Value>,
    /// One more build requirement; repeatable
    #[arg(long = "with", value_name = "REQUIREMENT")]
    extra_requirements: Vec<String>,
    /// A variable for the backend; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::pair)]
    env: Vec<Pair>,
    /// How the build is kept apart: in an environment of its own, or not at all
    #[arg(long, value_name = "HOW", value_parser = IsolationParser)]
    isolation: Option<Isolation>,
    /// The same as --isolation none
    #[arg(short, long, conflicts_with = "isolation")]
    no_isolation: bool,
    /// Whether wheels with native code get the libraries of this system that they need, and a portable tag
    #[arg(long, value_name = "WHEN")]
    repair: Option<RepairChoice>,
    /// The network that the backend sees
    #[arg(long, value_name = "WHICH")]
    network: Option<NetworkChoice>,
    /// Build in the tree itself, not in a snapshot of it
    #[arg(long)]
    in_place: bool,
    /// Make the environment anew, instead of seeing a kept one of the same content through a private layer
    #[arg(long)]
    fresh_environment: bool,
    /// Call the hooks of `uv_build` too, instead of building in process
    #[arg(long)]
    force_pep517: bool,
    /// How long one hook may take: seconds, or `10m`, `1h30m`
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    timeout: Option<Duration>,
}

/// `--repair`
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum RepairChoice {
    /// Where a portable tag is asked for; without a container none is
    Auto,
    /// Every wheel, or the build fails
    Require,
    /// No wheel
    Never,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum NetworkChoice {
    Host,
    None,
}

impl BuildArguments {
    /// Where the project's settings are looked for: the source if it is a directory, else the working directory.
    pub(crate) fn project(&self, ambient: &Ambient) -> PathBuf {
        self.backend.project(&self.source, ambient)
    }

    /// What is asked for; what was not typed comes from `settings`.
    pub(crate) fn request(self, ambient: &Ambient, settings: &BuildSettings) -> Result<BuildRequest, Error> {
        let Self {
            source,
            wheel,
            sdist,
            editable,
            out_dir,
            clean,
            packages,
            all_packages,
            dry_run,
            report: _,
            backend,
            index: _,
        } = self;
        let mut request = backend.request(&source, ambient, settings)?;
        request.outputs = match (editable, sdist, wheel) {
            (true, _, _) => Outputs::Editable,
            (false, true, true) => Outputs::SdistAndWheel,
            (false, true, false) => Outputs::Sdist,
            (false, false, _) => Outputs::Wheel,
        };
        request.selection = match (all_packages, packages) {
            (true, _) => Selection::All,
            (false, packages) if packages.is_empty() => Selection::Root,
            (false, packages) => Selection::Packages(packages),
        };
        request.out_dir = ambient.absolute(&out_dir);
        request.clean = requested(clean);
        request.dry_run = requested(dry_run);
        Ok(request)
    }
}

impl VerifyArguments {
    /// Where the project's settings are looked for.
    pub(crate) fn project(&self, ambient: &Ambient) -> PathBuf {
        self.backend.project(&self.source, ambient)
    }

    /// The build that is to give the same wheel.
    pub(crate) fn request(self, ambient: &Ambient, settings: &BuildSettings) -> Result<BuildRequest, Error> {
        self.backend.request(&self.source, ambient, settings)
    }
}

impl BackendArguments {
    fn project(&self, source: &str, ambient: &Ambient) -> PathBuf {
        let path = ambient.absolute(Path::new(source));
        match &self.subdirectory {
            _ if !path.is_dir() => ambient.cwd.clone(),
            Some(subdirectory) => path.join(subdirectory.to_string()),
            None => path,
        }
    }

    /// A request for a wheel in `dist`.
    fn request(
        self,
        source: &str,
        ambient: &Ambient,
        settings: &BuildSettings,
    ) -> Result<BuildRequest, Error> {
        let Self {
            subdirectory,
            pythons,
            config_settings,
            config_json,
            extra_requirements,
            env,
            isolation,
            no_isolation,
            repair,
            network,
            in_place,
            fresh_environment,
            force_pep517,
            timeout,
        } = self;
        let source = SourceSpec::parse(source, &|path| ambient.absolute(path).exists())
            .map_err(|error| Error::new(ErrorKind::Source, error))?;
        let isolation = if no_isolation { Some(Isolation::None) } else { isolation };
        let network = network.map(|network| match network {
            NetworkChoice::Host => Network::Host,
            NetworkChoice::None => Network::None,
        });
        let repair = repair.map(|repair| match repair {
            RepairChoice::Auto => Repairs::Auto,
            RepairChoice::Require => Repairs::Require,
            RepairChoice::Never => Repairs::Never,
        });
        Ok(BuildRequest {
            source,
            subdirectory,
            selection: Selection::Root,
            outputs: Outputs::Wheel,
            pythons,
            config_settings: merge_config_settings(config_settings, config_json),
            env: merge_env(&settings.env, env),
            isolation: isolation.or(settings.isolation).unwrap_or_default(),
            network: network.or(settings.network).unwrap_or_default(),
            repair: repair.or(settings.repair).unwrap_or_default(),
            placement: if in_place { Placement::InPlace } else { Placement::Snapshot },
            environments: if fresh_environment { Environments::Fresh } else { Environments::Kept },
            hook_path: if force_pep517 { HookPath::Pep517 } else { HookPath::Direct },
            extra_requirements,
            out_dir: ambient.absolute(Path::new("dist")),
            clean: Requested::No,
            timeout: timeout.or(settings.timeout),
            dry_run: Requested::No,
        })
    }
}

fn requested(flag: bool) -> Requested {
    if flag { Requested::Yes } else { Requested::No }
}

/// What the settings say, and what was typed over it.
fn merge_env(settings: &BTreeMap<String, String>, typed: Vec<Pair>) -> BTreeMap<String, String> {
    let mut env = settings.clone();
    env.extend(typed.into_iter().map(|pair| (pair.key, pair.value)));
    env
}

/// Repeated keys become lists, in their order.
fn merge_config_settings(pairs: Vec<Pair>, json: Option<serde_json::Value>) -> BTreeMap<String, ConfigValue> {
    let mut settings = BTreeMap::new();
    if let Some(serde_json::Value::Object(object)) = json {
        settings.extend(object.into_iter().map(|(key, value)| (key, ConfigValue::Json(value))));
    }
    for Pair { key, value } in pairs {
        let merged = match settings.remove(&key) {
            Some(ConfigValue::One(first)) => ConfigValue::Many(vec![first, value]),
            Some(ConfigValue::Many(mut values)) => {
                values.push(value);
                ConfigValue::Many(values)
            }
            Some(ConfigValue::Json(_)) | None => ConfigValue::One(value),
        };
        settings.insert(key, merged);
    }
    settings
}

/// Knows what is planned, so that asking for it is told from a slip.
#[derive(Debug, Clone)]
struct IsolationParser;

impl clap::builder::TypedValueParser for IsolationParser {
    type Value = Isolation;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<Self::Value, clap::Error> {
        match value.to_str() {
            Some("venv") => Ok(Isolation::Venv),
            Some("none") => Ok(Isolation::None),
            Some("docker") => Err(clap::Error::raw(
                clap::error::ErrorKind::InvalidValue,
                "`--isolation docker` is not available in this version\n",
            )
            .with_cmd(command)),
            _ => clap::builder::PossibleValuesParser::new(["venv", "none"])
                .parse_ref(command, argument, value)
                .map(|_| Isolation::Venv),
        }
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(["venv", "none"].into_iter().map(PossibleValue::new)))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use hwb_ident::Timestamp;

    use super::*;
    use crate::arguments::{Cli, Command};

    fn request(arguments: &[&str], settings: &BuildSettings) -> Result<BuildRequest, String> {
        let ambient = Ambient {
            env: BTreeMap::new(),
            cwd: "/".into(),
            home: None,
            clock: Timestamp::from_seconds(0),
            executable: "/usr/bin/hwb".into(),
        };
        let typed = ["hwb", "build"].iter().chain(arguments);
        let cli = Cli::try_parse_from(typed).map_err(|error| error.to_string())?;
        let Some(Command::Build(arguments)) = cli.command else { panic!("another command") };
        arguments.request(&ambient, settings).map_err(|error| error.to_string())
    }

    fn typed(arguments: &[&str]) -> BuildRequest {
        request(arguments, &BuildSettings::default()).unwrap()
    }

    #[test]
    fn outputs() {
        let check =
            |arguments: &[&str], expect| assert_eq!(typed(arguments).outputs, expect, "{arguments:?}");
        check(&[], Outputs::Wheel);
        check(&["-w"], Outputs::Wheel);
        check(&["--sdist"], Outputs::Sdist);
        check(&["-sw"], Outputs::SdistAndWheel);
        check(&["--editable"], Outputs::Editable);
    }

    #[test]
    fn config_settings() {
        let check = |arguments: &[&str], expect: &str| {
            let settings = typed(arguments).config_settings;
            assert_eq!(serde_json::to_string(&settings).unwrap(), expect, "{arguments:?}");
        };
        check(&["-C", "a=1"], r#"{"a":"1"}"#);
        check(&["-Ca=1", "-C", "a=2", "--config-setting", "a=3"], r#"{"a":["1","2","3"]}"#);
        check(&["-C--build-option=--x=y"], r#"{"--build-option":"--x=y"}"#);
        check(&["-C", "--flag"], r#"{"--flag":""}"#);
        check(&["--config-json", r#"{"a":[1,{"b":null}]}"#], r#"{"a":[1,{"b":null}]}"#);
    }

    #[test]
    fn arguments_win_over_settings() {
        let settings = BuildSettings {
            network: Some(Network::None),
            isolation: Some(Isolation::None),
            timeout: Some(Duration::from_secs(5)),
            ..BuildSettings::default()
        };
        let request = |arguments: &[&str]| request(arguments, &settings).unwrap();
        let settled = request(&[]);
        assert_eq!((settled.network, settled.isolation), (Network::None, Isolation::None));
        assert_eq!(settled.timeout, Some(Duration::from_secs(5)));
        let typed = request(&["--network", "host", "--isolation", "venv", "--timeout", "10m"]);
        assert_eq!((typed.network, typed.isolation), (Network::Host, Isolation::Venv));
        assert_eq!(typed.timeout, Some(Duration::from_secs(600)));
        assert_eq!(request(&["-n"]).isolation, Isolation::None);
    }

    #[test]
    fn names_of_the_output_folder() {
        for name in ["-o", "--out-dir", "--outdir"] {
            assert_eq!(typed(&[name, "x"]).out_dir, Path::new("/x"));
        }
        assert_eq!(typed(&[]).out_dir, Path::new("/dist"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let check = |arguments: &[&str], part: &str| {
            let error = request(arguments, &BuildSettings::default()).unwrap_err();
            assert!(error.contains(part), "{arguments:?}: {error}");
        };
        check(&["--isolation", "docker"], "not available in this version");
        check(&["--isolation", "jail"], "invalid value 'jail'");
        check(&["--editable", "-s"], "cannot be used with");
        check(&["--package", "a", "--all-packages"], "cannot be used with");
        check(&["-n", "--isolation", "venv"], "cannot be used with");
        check(&["--timeout", "soon"], "not a duration");
        check(&["--env", "A"], "expected KEY=VALUE");
        check(&["--package", "-"], "invalid value");
        check(&["./gone"], "is neither a file or directory");
        check(&["--platform", "manylinux"], "unexpected argument");
    }
}
