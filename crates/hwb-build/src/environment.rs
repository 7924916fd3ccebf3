//! The variables that a hook sees: a documented list, never the user's whole environment.

use std::collections::BTreeMap;
use std::path::Path;

use hwb_ident::Timestamp;

/// Variables that are passed on by name.
const PASSED: &[&str] = &[
    "HOME",
    "USER",
    "LOGNAME",
    "TERM",
    // Reaching the network from a hook.
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    // Compilers and their flags.
    "CC",
    "CXX",
    "FC",
    "F77",
    "AR",
    "AS",
    "LD",
    "NM",
    "RANLIB",
    "STRIP",
    "LDSHARED",
    "LDCXXSHARED",
    "ARCHFLAGS",
    "CROSS_COMPILE",
    "MACOSX_DEPLOYMENT_TARGET",
    "SDKROOT",
    "DEVELOPER_DIR",
    "CPATH",
    "C_INCLUDE_PATH",
    "CPLUS_INCLUDE_PATH",
    "LIBRARY_PATH",
    "LD_LIBRARY_PATH",
    "LD_RUN_PATH",
    "MAKE",
    "MAKEFLAGS",
    "MAX_JOBS",
    "NINJA",
    "NINJAFLAGS",
    "CUDA_HOME",
    "CUDA_PATH",
    // Windows cannot start a program without these.
    "SYSTEMROOT",
    "WINDIR",
    "COMSPEC",
    "PATHEXT",
    "NUMBER_OF_PROCESSORS",
    "PROCESSOR_ARCHITECTURE",
];

/// Families of variables that are passed on.
const PASSED_PREFIXES: &[&str] = &[
    "PKG_CONFIG",
    "CMAKE_",
    "SKBUILD_",
    "CARGO_",
    "RUSTUP_",
    "GO",
    "CGO_",
    "CCACHE_",
    "SCCACHE_",
    "SETUPTOOLS_SCM_PRETEND_VERSION",
];

/// Members of those families that hold secrets, or belong to the program that started hwb.
const WITHHELD: &[&str] = &[
    "CARGO_REGISTRY",
    "CARGO_REGISTRIES",
    "CARGO_PKG_",
    "CARGO_MANIFEST_",
    "GOAUTH",
    "GOOGLE_",
    "CARGO_PRIMARY",
    "CARGO_BIN_",
    "CARGO_CRATE_",
    "CARGO_MAKEFLAGS",
];

/// Passed variables that cannot change what is built, or not without changing something else that is recorded.
const HARMLESS: &[&str] = &[
    "HOME",
    "USER",
    "LOGNAME",
    "TERM",
    "MAKEFLAGS",
    "MAX_JOBS",
    "NINJAFLAGS",
    "PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
];

/// What the variables of a hook are made from.
#[derive(Debug, Clone, Copy)]
pub struct Ingredients<'a> {
    /// The user's environment.
    pub ambient: &'a BTreeMap<String, String>,
    /// `--env` and `[tool.hwb.build.env]`: these win over everything.
    pub added: &'a BTreeMap<String, String>,
    /// `SOURCE_DATE_EPOCH`.
    pub epoch: Timestamp,
    /// The virtual environment, if there is one: its root and where its programs are.
    pub virtual_environment: Option<(&'a Path, &'a Path)>,
    /// Where cargo is to find and keep what it downloads, if that is known.
    pub cargo_home: Option<&'a Path>,
    /// A folder for temporary files of this build alone.
    pub temporary: &'a Path,
    /// Directories whose names must not end up in what is built, each with the name to use instead.
    pub renamed: &'a [(&'a Path, &'a str)],
}

/// The variables of a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookEnvironment {
    /// All of them.
    pub variables: BTreeMap<String, String>,
    /// Names of those that came from outside and can change what is built.
    pub influences: Vec<String>,
}

/// Makes the environment of a hook.
pub fn hook_environment(ingredients: &Ingredients<'_>) -> HookEnvironment {
    let Ingredients { ambient, added, epoch, virtual_environment, cargo_home, temporary, renamed } =
        *ingredients;
    let mut variables: BTreeMap<String, String> = ambient
        .iter()
        .filter(|(name, _)| is_passed(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut influences: Vec<String> = variables
        .keys()
        .chain(added.keys())
        .filter(|name| !HARMLESS.contains(&name.as_str()))
        .cloned()
        .collect();
    influences.sort();
    influences.dedup();

    let path = ambient.get("PATH").map_or("/usr/local/bin:/usr/bin:/bin", String::as_str);
    variables.insert("PATH".to_owned(), path.to_owned());
    if let Some((root, scripts)) = virtual_environment {
        variables.insert("PATH".to_owned(), format!("{}:{path}", scripts.display()));
        variables.insert("VIRTUAL_ENV".to_owned(), root.display().to_string());
    }
    let epoch = epoch.to_string();
    let temporary = temporary.display().to_string();
    for (name, value) in [
        ("SOURCE_DATE_EPOCH", epoch.as_str()),
        ("PYTHONHASHSEED", "0"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("PYTHONIOENCODING", "utf-8"),
        ("TZ", "UTC"),
        ("LC_ALL", "C.UTF-8"),
        ("LANG", "C.UTF-8"),
        ("TMPDIR", &temporary),
        ("TEMP", &temporary),
        ("TMP", &temporary),
    ] {
        variables.insert(name.to_owned(), value.to_owned());
    }
    if let Some(cargo_home) = cargo_home {
        variables.insert("CARGO_HOME".to_owned(), cargo_home.display().to_string());
    }
    map_prefixes(&mut variables, renamed);
    variables.extend(added.iter().map(|(name, value)| (name.clone(), value.clone())));
    HookEnvironment { variables, influences }
}

fn is_passed(name: &str) -> bool {
    let in_family = PASSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        && !WITHHELD.iter().any(|prefix| name.starts_with(prefix));
    in_family || name.ends_with("FLAGS") && !name.starts_with("CARGO_") || PASSED.contains(&name)
}

/// Tells compilers to write other names for the folders of this build.
///
/// `CPPFLAGS` rather than `CFLAGS`: a `configure` script drops its `-O2` when `CFLAGS` is set. Where the user set
/// `CFLAGS`, it is extended as well, for those tools that ignore the other.
fn map_prefixes(variables: &mut BTreeMap<String, String>, renamed: &[(&Path, &str)]) {
    let renamed: Vec<_> = renamed.iter().filter(|(path, name)| *path != Path::new(name)).collect();
    if renamed.is_empty() {
        return;
    }
    let flags = |option: &str| {
        let flags: Vec<_> =
            renamed.iter().map(|(path, name)| format!("{option}={}={name}", path.display())).collect();
        flags.join(" ")
    };
    let c_flags = flags("-ffile-prefix-map");
    let append = |variables: &mut BTreeMap<String, String>, name: &str, flags: &str| {
        let value = match variables.get(name) {
            Some(value) if !value.is_empty() => format!("{value} {flags}"),
            _ => flags.to_owned(),
        };
        variables.insert(name.to_owned(), value);
    };
    append(variables, "CPPFLAGS", &c_flags);
    for name in ["CFLAGS", "CXXFLAGS"] {
        if variables.contains_key(name) {
            append(variables, name, &c_flags);
        }
    }
    // A variable of the target is added to a project's own flags; `RUSTFLAGS` would replace them.
    let rust_flags = flags("--remap-path-prefix");
    let rust_variable = if variables.contains_key("RUSTFLAGS") { "RUSTFLAGS" } else { HOST_RUSTFLAGS };
    append(variables, rust_variable, &rust_flags);
}

#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
const HOST_RUSTFLAGS: &str = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS";
#[cfg(all(target_arch = "aarch64", target_env = "gnu"))]
const HOST_RUSTFLAGS: &str = "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS";
#[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), target_env = "gnu")))]
const HOST_RUSTFLAGS: &str = "CARGO_BUILD_RUSTFLAGS";

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn environment(ambient: &[(&str, &str)], added: &[(&str, &str)]) -> HookEnvironment {
        hook_environment(&Ingredients {
            ambient: &map(ambient),
            added: &map(added),
            epoch: Timestamp::ZIP_EPOCH,
            virtual_environment: Some((Path::new("/env"), Path::new("/env/bin"))),
            cargo_home: Some(Path::new("/crates")),
            temporary: Path::new("/tmp/b"),
            renamed: &[(Path::new("/cache/src"), "/src")],
        })
    }

    #[test]
    fn passes_what_is_listed_and_nothing_else() {
        for (name, is_there) in [
            ("HOME", true),
            ("CC", true),
            ("CFLAGS", true),
            ("NUMPY_CFLAGS", true),
            ("CMAKE_ARGS", true),
            ("CARGO_HOME", true),
            ("GOPROXY", true),
            ("HTTPS_PROXY", true),
            ("SETUPTOOLS_SCM_PRETEND_VERSION_FOR_X", true),
            ("CARGO_REGISTRY_TOKEN", false),
            ("CARGO_REGISTRIES_X_TOKEN", false),
            ("GITHUB_TOKEN", false),
            ("TWINE_PASSWORD", false),
            ("UV_PUBLISH_TOKEN", false),
            ("PYTHONPATH", false),
            ("GOOGLE_APPLICATION_CREDENTIALS", false),
            ("LANGUAGE", false),
        ] {
            let found = environment(&[(name, "x")], &[]);
            assert_eq!(found.variables.contains_key(name), is_there, "{name}");
        }
    }

    #[test]
    fn fixes_what_differs_between_machines() {
        let found =
            environment(&[("TZ", "Mars"), ("LC_ALL", "tr_TR"), ("PATH", "/bin"), ("CARGO_HOME", "/me")], &[])
                .variables;
        assert_eq!(found["CARGO_HOME"], "/crates");
        assert_eq!(found["TZ"], "UTC");
        assert_eq!(found["LC_ALL"], "C.UTF-8");
        assert_eq!(found["PYTHONHASHSEED"], "0");
        assert_eq!(found["SOURCE_DATE_EPOCH"], "315532800");
        assert_eq!(found["PATH"], "/env/bin:/bin");
        assert_eq!(found["VIRTUAL_ENV"], "/env");
        assert_eq!(found["CPPFLAGS"], "-ffile-prefix-map=/cache/src=/src");
        assert!(!found.contains_key("CFLAGS"));
    }

    #[test]
    fn lets_the_user_decide() {
        let found =
            environment(&[("SOURCE_DATE_EPOCH", "7"), ("CFLAGS", "-O1")], &[("TZ", "Mars"), ("TOKEN", "t")]);
        assert_eq!(found.variables["SOURCE_DATE_EPOCH"], "315532800");
        assert_eq!(found.variables["TZ"], "Mars");
        assert_eq!(found.variables["CFLAGS"], "-O1 -ffile-prefix-map=/cache/src=/src");
        assert_eq!(found.influences, ["CFLAGS", "TOKEN", "TZ"]);
    }
}
