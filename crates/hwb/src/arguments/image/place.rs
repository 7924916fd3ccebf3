//! What stands over the root of a container, as it is typed: `--volume`, `--mount`, `--tmpfs`, and sizes.

use std::str::FromStr as _;

/// The mode of a file system in memory, as Docker has it.
const MODE: u32 = 0o1777;

/// A directory or file of this machine, or a file system in memory; paths of this machine may be relative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Of this machine.
    Host { source: String, target: String, read_only: bool },
    /// In memory.
    Memory { target: String, size: Option<u64>, mode: u32 },
}

/// `SRC:DST[:ro]`.
pub(crate) fn volume(text: &str) -> Result<Place, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [source, target] => (source, target, ""),
        [source, target, options] => (source, target, *options),
        _ => return Err("expected SRC:DST or SRC:DST:ro".to_owned()),
    };
    if source.is_empty() {
        return Err("the directory of this machine is missing".to_owned());
    }
    if !source.contains('/') && !source.starts_with('.') {
        return Err(format!("hwb keeps no named volumes; write `./{source}` for a directory"));
    }
    let mut read_only = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            // What the others do is done anyway: private mounts, and no labels to change.
            "rw" | "z" | "Z" | "private" | "rprivate" => {}
            other => return Err(format!("`{other}` is no option of a volume: ro, rw")),
        }
    }
    Ok(Place::Host { source: (*source).to_owned(), target: absolute(target)?, read_only })
}

/// `DST[:size=…,mode=…]`.
pub(crate) fn tmpfs(text: &str) -> Result<Place, String> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let (mut size, mut mode) = (None, MODE);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => size = Some(bytes(value)?),
            Some(("mode", value)) => mode = octal(value)?,
            // It has these anyway.
            None if ["rw", "nosuid", "nodev", "noexec"].contains(&option) => {}
            _ => return Err(format!("`{option}` is no option of a tmpfs: size=, mode=")),
        }
    }
    Ok(Place::Memory { target: absolute(target)?, size, mode })
}

/// `type=bind,source=…,target=…[,readonly]` or `type=tmpfs,target=…[,tmpfs-size=…][,tmpfs-mode=…]`.
pub(crate) fn mount(text: &str) -> Result<Place, String> {
    let (mut kind, mut source, mut target) = ("", None, None);
    let (mut read_only, mut size, mut mode) = (false, None, MODE);
    for option in text.split(',') {
        match option.split_once('=').unwrap_or((option, "")) {
            ("type", value) => kind = value,
            ("source" | "src", value) => source = Some(value.to_owned()),
            ("target" | "dst" | "destination", value) => target = Some(absolute(value)?),
            ("readonly" | "ro", value) => read_only = value.is_empty() || flag(value)?,
            ("tmpfs-size", value) => size = Some(bytes(value)?),
            ("tmpfs-mode", value) => mode = octal(value)?,
            (other, _) => return Err(format!("`{other}` is no option of a mount")),
        }
    }
    let target = target.ok_or("target= is missing")?;
    match (kind, source) {
        ("bind", Some(source)) => Ok(Place::Host { source, target, read_only }),
        ("bind", None) => Err("source= is missing".to_owned()),
        ("tmpfs", None) => Ok(Place::Memory { target, size, mode }),
        ("tmpfs", Some(_)) => Err("a tmpfs has no source".to_owned()),
        ("volume" | "", _) => Err("hwb keeps no named volumes; say type=bind or type=tmpfs".to_owned()),
        (other, _) => Err(format!("`{other}` is no type of a mount: bind, tmpfs")),
    }
}

/// `512`, `64k`, `1.5g`: bytes, by powers of 1024.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size such as 512m or 2g");
    let lower = text.to_ascii_lowercase();
    let trimmed = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let unit = |letter: char| "kmgt".find(letter).and_then(|power| u32::try_from(power).ok());
    let (number, shift) = match trimmed.chars().last().and_then(unit) {
        Some(power) => (&trimmed[..trimmed.len() - 1], 10 * (power + 1)),
        None => (trimmed, 0),
    };
    let thousandths = thousandths(number).ok_or_else(wrong)?;
    thousandths
        .checked_shl(shift)
        .filter(|size| size >> shift == thousandths)
        .map(|size| size / 1000)
        .ok_or_else(wrong)
}

/// `1.5` as 1500.
pub(crate) fn cpus(text: &str) -> Result<u64, String> {
    thousandths(text).filter(|number| *number > 0).ok_or_else(|| format!("`{text}` is no number such as 1.5"))
}

fn thousandths(text: &str) -> Option<u64> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(rest) {
        return None;
    }
    let rest: String = rest.chars().chain("000".chars()).take(3).collect();
    u64::from_str(whole).ok()?.checked_mul(1000)?.checked_add(rest.parse().ok()?)
}

fn octal(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| format!("`{text}` is no mode such as 1777"))
}

fn flag(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("`{text}` is neither true nor false")),
    }
}

fn absolute(target: &str) -> Result<String, String> {
    if target.starts_with('/') {
        Ok(target.to_owned())
    } else {
        Err(format!("`{target}` is no absolute path"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(source: &str, target: &str, read_only: bool) -> Result<Place, String> {
        Ok(Place::Host { source: source.to_owned(), target: target.to_owned(), read_only })
    }

    fn memory(target: &str, size: Option<u64>, mode: u32) -> Result<Place, String> {
        Ok(Place::Memory { target: target.to_owned(), size, mode })
    }

    fn refused(why: &str) -> Result<Place, String> {
        Err(why.to_owned())
    }

    #[test]
    fn volumes() {
        assert_eq!(volume(".:/src"), host(".", "/src", false));
        assert_eq!(volume("/a:/b:ro,z"), host("/a", "/b", true));
        assert_eq!(volume("/a"), refused("expected SRC:DST or SRC:DST:ro"));
        assert_eq!(volume("/a:b"), refused("`b` is no absolute path"));
        assert_eq!(
            volume("cache:/b"),
            refused("hwb keeps no named volumes; write `./cache` for a directory")
        );
        assert_eq!(volume("/a:/b:shared"), refused("`shared` is no option of a volume: ro, rw"));
    }

    #[test]
    fn mounts() {
        assert_eq!(mount("type=bind,source=/a,target=/b,readonly"), host("/a", "/b", true));
        assert_eq!(mount("type=bind,src=a,dst=/b,ro=false"), host("a", "/b", false));
        assert_eq!(
            mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700"),
            memory("/t", Some(1 << 20), 0o700)
        );
        assert_eq!(mount("type=bind,target=/b"), refused("source= is missing"));
        assert_eq!(mount("type=tmpfs"), refused("target= is missing"));
        assert_eq!(
            mount("target=/b,source=x"),
            refused("hwb keeps no named volumes; say type=bind or type=tmpfs")
        );
        assert_eq!(mount("type=bind,target=/b,color=red"), refused("`color` is no option of a mount"));
    }

    #[test]
    fn file_systems_in_memory() {
        assert_eq!(tmpfs("/t"), memory("/t", None, 0o1777));
        assert_eq!(tmpfs("/t:rw,size=64k,mode=0755"), memory("/t", Some(65536), 0o755));
        assert_eq!(tmpfs("/t:uid=3"), refused("`uid=3` is no option of a tmpfs: size=, mode="));
    }

    #[test]
    fn sizes() {
        for (text, size) in
            [("512", 512), ("1k", 1024), ("1.5m", 1_572_864), ("2GiB", 2 << 30), ("10b", 10), ("1t", 1 << 40)]
        {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for wrong in ["", "m", "-1", "1x", "1.", ".5", "99999999999t", "1..5m"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        assert_eq!((cpus("1.5"), cpus("2")), (Ok(1500), Ok(2000)));
        assert!(cpus("0").is_err());
    }
}
