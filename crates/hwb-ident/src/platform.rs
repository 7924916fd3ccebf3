//! What machines an image is for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An operating system and a processor, in Go's words: `linux/amd64`, `linux/arm/v7`.
///
/// Other words for the same are taken in (`x86_64`, `aarch64`, `armhf`), and a variant that every such processor has
/// is left out (`arm64/v8` is `arm64`, `amd64/v1` is `amd64`; `arm` is `arm/v7`): the same platform has one name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ImagePlatform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// A text that names no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseImagePlatformError {
    /// It is not of this form.
    #[error("`{0}` is not a platform such as `linux/amd64` or `linux/arm/v7`")]
    Malformed(String),
    /// It names a system and no processor.
    #[error("`{0}` is a platform without a processor; say `{0}/amd64` or another one")]
    NoArchitecture(String),
}

impl ImagePlatform {
    /// Takes the three fields that image formats have.
    ///
    /// # Errors
    ///
    /// If one of them is empty or has other characters than letters, digits, `_`, `.` and `-`.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Result<Self, ParseImagePlatformError> {
        let is_word = |word: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
            !word.is_empty() && word.bytes().all(fits)
        };
        // Some tools write an empty variant.
        let variant = variant.filter(|variant| !variant.is_empty());
        if ![Some(os), Some(architecture), variant].into_iter().flatten().all(is_word) {
            let variant = variant.map_or_else(String::new, |variant| format!("/{variant}"));
            return Err(ParseImagePlatformError::Malformed(format!("{os}/{architecture}{variant}")));
        }
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            os => os.to_owned(),
        };
        let variant = variant.map(str::to_ascii_lowercase);
        let (architecture, variant) = normal(&architecture.to_ascii_lowercase(), variant.as_deref());
        Ok(Self { os, architecture, variant })
    }

    /// The operating system: `linux`.
    pub fn os(&self) -> &str {
        &self.os
    }

    /// The processor: `amd64`.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// Which of its kind: `v7`.
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// How far an image for this platform is from what `wanted` would like best; `None` if it does not run there.
    ///
    /// Newer processors of a kind run what was made for older ones: `arm/v7` takes `arm/v6`, `amd64/v3` takes `amd64`.
    /// Another architecture never serves, not even the 32-bit one of the same machine: who wants it says so.
    pub fn distance_from(&self, wanted: &Self) -> Option<u32> {
        if (&self.os, &self.architecture) != (&wanted.os, &wanted.architecture) {
            return None;
        }
        if self.variant == wanted.variant {
            return Some(0);
        }
        let (own, most) = (self.version()?, wanted.version()?);
        // ARMv9.n has all of ARMv8.(n + 5).
        match (own, most) {
            ((8, own), (9, most)) if self.architecture == "arm64" => {
                (most + 5).checked_sub(own).map(|minor| most + 1 + minor)
            }
            _ if self.architecture == "arm64" && own.0 == most.0 => most.1.checked_sub(own.1),
            _ if self.architecture != "arm64" && own.1 == 0 && most.1 == 0 => most.0.checked_sub(own.0),
            _ => None,
        }
    }

    /// The variant as a number, where a greater one runs what is made for a lesser.
    fn version(&self) -> Option<(u32, u32)> {
        let least = match self.architecture.as_str() {
            "amd64" => "v1",
            "arm64" => "v8",
            "arm" => "v7",
            _ => return None,
        };
        let (major, minor) = {
            let version = self.variant.as_deref().unwrap_or(least).strip_prefix('v')?;
            version.split_once('.').unwrap_or((version, "0"))
        };
        let number = |text: &str| text.parse().ok().filter(|number| *number < 100);
        Some((number(major)?, number(minor)?))
    }
}

/// The one name of a processor and its variant, as containerd's `platforms` package has it.
fn normal(architecture: &str, variant: Option<&str>) -> (String, Option<String>) {
    let numbered = |variant: &str| match variant.as_bytes().first() {
        Some(first) if first.is_ascii_digit() => format!("v{variant}"),
        _ => variant.to_owned(),
    };
    let variant = variant.map(numbered);
    let (architecture, variant) = match (architecture, variant.as_deref()) {
        ("i386" | "i486" | "i586" | "i686" | "x86", _) => ("386", None),
        ("amd64" | "x86_64" | "x86-64", None | Some("v1")) => ("amd64", None),
        ("x86_64" | "x86-64", _) => ("amd64", variant),
        ("arm64" | "aarch64", None | Some("v8" | "v8.0")) => ("arm64", None),
        ("arm64" | "aarch64", Some("v9.0")) => ("arm64", Some("v9".to_owned())),
        ("aarch64", _) => ("arm64", variant),
        ("armhf", _) | ("arm", None) => ("arm", Some("v7".to_owned())),
        ("armel", _) => ("arm", Some("v6".to_owned())),
        ("armv6l" | "armv7l", None) => ("arm", Some(architecture[3..5].to_owned())),
        ("ppc64el", _) => ("ppc64le", variant),
        _ => (architecture, variant),
    };
    (architecture.to_owned(), variant)
}

impl fmt::Display for ImagePlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl FromStr for ImagePlatform {
    type Err = ParseImagePlatformError;

    /// A processor alone is one of Linux.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || ParseImagePlatformError::Malformed(text.to_owned());
        match *text.split('/').collect::<Vec<_>>().as_slice() {
            [os @ ("linux" | "windows" | "darwin")] => {
                Err(ParseImagePlatformError::NoArchitecture(os.to_owned()))
            }
            [architecture] => Self::new("linux", architecture, None).map_err(|_| malformed()),
            [os, architecture] => Self::new(os, architecture, None),
            [_, _, ""] => Err(malformed()),
            [os, architecture, variant] => Self::new(os, architecture, Some(variant)),
            _ => Err(malformed()),
        }
    }
}

impl From<ImagePlatform> for String {
    fn from(platform: ImagePlatform) -> Self {
        platform.to_string()
    }
}

impl TryFrom<String> for ImagePlatform {
    type Error = ParseImagePlatformError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_platform_has_one_name() {
        for (text, expect) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("Linux/X86-64/V1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/x86_64/3", "linux/amd64/v3"),
            ("aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/8", "linux/arm64"),
            ("linux/arm64/v8.2", "linux/arm64/v8.2"),
            ("linux/aarch64/v9.0", "linux/arm64/v9"),
            ("arm", "linux/arm/v7"),
            ("armhf", "linux/arm/v7"),
            ("armel", "linux/arm/v6"),
            ("linux/armv7l", "linux/arm/v7"),
            ("linux/arm/5", "linux/arm/v5"),
            ("i386", "linux/386"),
            ("i686", "linux/386"),
            ("linux/ppc64el", "linux/ppc64le"),
            ("s390x", "linux/s390x"),
            ("riscv64", "linux/riscv64"),
            ("macos/arm64", "darwin/arm64"),
            ("unknown/unknown", "unknown/unknown"),
        ] {
            let platform: ImagePlatform = text.parse().unwrap();
            assert_eq!(platform.to_string(), expect, "{text}");
            assert_eq!(expect.parse(), Ok(platform), "{text}");
        }
        for text in ["", "linux", "linux/", "/amd64", "linux/arm/", "linux/arm/v7/x", "linux/a b", "a\nb"] {
            assert!(text.parse::<ImagePlatform>().is_err(), "{text}");
        }
    }

    #[test]
    fn newer_processors_run_what_is_for_older_ones() {
        for (wanted, image, expect) in [
            ("amd64", "amd64", Some(0)),
            ("amd64", "amd64/v2", None),
            ("amd64/v3", "amd64/v3", Some(0)),
            ("amd64/v3", "amd64/v2", Some(1)),
            ("amd64/v3", "amd64", Some(2)),
            ("amd64", "386", None),
            ("amd64", "windows/amd64", None),
            ("arm/v7", "arm/v7", Some(0)),
            ("arm/v7", "arm/v6", Some(1)),
            ("arm/v7", "arm/v5", Some(2)),
            ("arm/v6", "arm/v7", None),
            ("arm", "arm/v8", None),
            ("arm64", "arm64/v8", Some(0)),
            ("arm64/v8", "arm64", Some(0)),
            ("arm64", "arm/v7", None),
            ("arm64/v8.2", "arm64/v8.1", Some(1)),
            ("arm64/v9", "arm64/v9", Some(0)),
            ("arm64/v9", "arm64/v8.5", Some(1)),
            ("arm64/v9", "arm64/v8.6", None),
            ("arm64/v9.1", "arm64/v9", Some(1)),
            ("arm64/v9.1", "arm64", Some(8)),
            ("arm64", "arm64/v9", None),
            ("riscv64", "riscv64/x", None),
            ("amd64/fast", "amd64", None),
            ("amd64", "unknown/unknown", None),
        ] {
            let platform = |text: &str| match text.contains("windows") || text.contains("unknown") {
                true => text.parse::<ImagePlatform>().unwrap(),
                false => format!("linux/{text}").parse().unwrap(),
            };
            assert_eq!(platform(image).distance_from(&platform(wanted)), expect, "{image} for {wanted}");
        }
    }
}
