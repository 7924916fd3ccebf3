//! How registries are reached from here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr as _;

use hwb_ident::RedactedUrl;
use hwb_net::registry::{
    CredentialSources, Failure, Mirror, Patience, Proxies, Registry, RegistryError, RegistryEvent,
    RegistrySettings, Transport, Upload,
};
use hwb_sandbox::Cancel;

use super::ImageFault;
use crate::ambient::Ambient;
use crate::error::{Error, ErrorKind, causes};
use crate::event::{Event, EventSink};
use crate::settings::Settings;

/// The variables that credential helpers are given.
const HELPER_VARIABLES: [&str; 9] = [
    "PATH",
    "HOME",
    "LANG",
    "DBUS_SESSION_BUS_ADDRESS",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "AWS_PROFILE",
    "AWS_REGION",
    "GNUPGHOME",
];

/// Makes a client, which tells what takes longer than it should.
pub(super) fn open<'e>(
    settings: &Settings,
    ambient: &Ambient,
    cancel: &Cancel,
    events: EventSink<'e>,
) -> Result<Registry<'e>, Error> {
    let told = move |event: RegistryEvent<'_>| events(Event::Note { message: describe(&event) });
    Registry::open(registry_settings(settings, ambient)?, cancel, told).map_err(failed)
}

/// What happens, for people.
fn describe(event: &RegistryEvent<'_>) -> String {
    let why = |failure: &Failure| causes(failure).map(ToString::to_string).collect::<Vec<_>>().join(": ");
    match event {
        RegistryEvent::Again { failure, pause } => format!("{}; trying again in {pause:?}", why(failure)),
        RegistryEvent::Elsewhere { host, failure } => {
            format!("the mirror {host} does not serve the image: {}", why(failure))
        }
    }
}

/// Of which kind a failure is, and what may help.
pub(super) fn failed(error: RegistryError) -> Error {
    let kind = match error.failure() {
        Failure::Cancelled => ErrorKind::Interrupted,
        Failure::Place(_) => ErrorKind::Usage,
        Failure::Credentials(_) => ErrorKind::Configuration,
        Failure::Client { .. } | Failure::Write(_) | Failure::Read(_) => ErrorKind::Machine,
        _ => ErrorKind::Resolution,
    };
    let hint = error.hint();
    hint.into_iter().fold(Error::new(kind, error), Error::hint)
}

fn registry_settings(settings: &Settings, ambient: &Ambient) -> Result<RegistrySettings, Error> {
    let choices = &settings.registries;
    let mirror = |(prefix, location): (&String, &String)| {
        Mirror::new(prefix, location)
            .map_err(|error| Error::new(ErrorKind::Configuration, ImageFault::Mirror(error)))
    };
    let certificates = choices.certificates.iter();
    let authorities = certificates.map(|(host, file)| (host.clone(), Transport::Authority(file.clone())));
    let insecure = choices.insecure.iter().map(|host| (host.clone(), Transport::Insecure));
    Ok(RegistrySettings {
        mirrors: choices.mirrors.iter().map(mirror).collect::<Result<_, _>>()?,
        transports: authorities.chain(insecure).collect(),
        proxies: proxies(ambient),
        credentials: CredentialSources { files: credential_files(ambient), env: helper_environment(ambient) },
        patience: Patience::default(),
        upload: choices
            .upload_chunk
            .map_or(Upload::Whole, |size| Upload::Chunks(size.saturating_mul(1 << 20))),
        user_agent: concat!("hwb/", env!("CARGO_PKG_VERSION")).to_owned(),
    })
}

/// In small letters and in capitals; a program that is started by a web server may be given the latter by strangers.
fn proxies(ambient: &Ambient) -> Proxies {
    let variable = |names: &[&str]| names.iter().find_map(|name| ambient.var(name));
    let url = |names: &[&str]| variable(names).and_then(|text| RedactedUrl::from_str(text).ok());
    Proxies {
        http: url(&["http_proxy"]).or_else(|| url(&["all_proxy", "ALL_PROXY"])),
        https: url(&["https_proxy", "HTTPS_PROXY"]).or_else(|| url(&["all_proxy", "ALL_PROXY"])),
        none: variable(&["no_proxy", "NO_PROXY"]).map(str::to_owned),
    }
}

/// Where Docker keeps who asks, and where Podman and its kin do.
fn credential_files(ambient: &Ambient) -> Vec<PathBuf> {
    let chosen = ambient.var("REGISTRY_AUTH_FILE").map(PathBuf::from);
    let runtime =
        ambient.var("XDG_RUNTIME_DIR").map(|folder| PathBuf::from(folder).join("containers/auth.json"));
    let config = ambient.config_home().map(|folder| folder.join("containers/auth.json"));
    [chosen, Some(docker_config(ambient)), runtime, config].into_iter().flatten().collect()
}

/// Where `hwb image login` keeps who asks.
pub(super) fn docker_config(ambient: &Ambient) -> PathBuf {
    let chosen = ambient.var("DOCKER_CONFIG").map(PathBuf::from);
    let folder = chosen.or_else(|| ambient.home.as_ref().map(|home| home.join(".docker")));
    folder.unwrap_or_else(|| ambient.cwd.join(".docker")).join("config.json")
}

fn helper_environment(ambient: &Ambient) -> BTreeMap<OsString, OsString> {
    let known = HELPER_VARIABLES.iter().filter_map(|name| Some((*name, ambient.var(name)?)));
    known.map(|(name, value)| (name.into(), value.into())).collect()
}
