//! What a container may do and use, as it is typed: `--cap-add`, `--ulimit`, `--add-host`.

use std::net::IpAddr;

use hwb_lib::image::{Capability, ProcessLimit, Resource};

/// A capability, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cap {
    /// Every one.
    All,
    /// This one.
    One(Capability),
}

impl Cap {
    /// The one that it names.
    pub(crate) const fn named(&self) -> Option<Capability> {
        match self {
            Self::All => None,
            Self::One(capability) => Some(*capability),
        }
    }
}

/// `ALL`, `NET_RAW` or `CAP_NET_RAW`.
pub(crate) fn cap(text: &str) -> Result<Cap, String> {
    if text.eq_ignore_ascii_case("all") {
        return Ok(Cap::All);
    }
    text.parse().map(Cap::One).map_err(|error: hwb_lib::image::ParseCapabilityError| error.to_string())
}

/// `nofile=1024`, `nofile=1024:2048`, `core=unlimited`.
pub(crate) fn ulimit(text: &str) -> Result<ProcessLimit, String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=SOFT or NAME=SOFT:HARD")?;
    let resource: Resource =
        name.parse().map_err(|error: hwb_lib::image::ParseResourceError| error.to_string())?;
    let (soft, hard) = value.split_once(':').unwrap_or((value, value));
    let limit = |text: &str| match text {
        "unlimited" | "-1" => Ok(None),
        number => {
            number.parse().map(Some).map_err(|_| format!("`{number}` is no number and not `unlimited`"))
        }
    };
    let (soft, hard) = (limit(soft)?, limit(hard)?);
    match (soft, hard) {
        (None, Some(_)) => Err("the soft limit is above the hard one".to_owned()),
        (Some(soft), Some(hard)) if soft > hard => Err("the soft limit is above the hard one".to_owned()),
        _ => Ok(ProcessLimit { resource, soft, hard }),
    }
}

/// A name of a machine and its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostLine {
    pub(crate) name: String,
    pub(crate) address: IpAddr,
}

/// `HOST:IP` or `HOST=IP`; an address of version 6 may stand in brackets.
pub(crate) fn host(text: &str) -> Result<HostLine, String> {
    let (name, address) = text.split_once(['=', ':']).ok_or("expected HOST:IP")?;
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
    if name.is_empty() || !name.chars().all(is_name) {
        return Err(format!("`{name}` is no name of a machine"));
    }
    let address = bare.parse().map_err(|_| format!("`{address}` is no address"))?;
    Ok(HostLine { name: name.to_owned(), address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        let check = |text: &str, expect: Result<(Option<u64>, Option<u64>), &str>| {
            let found = ulimit(text).map(|limit| (limit.soft, limit.hard));
            assert_eq!(found, expect.map_err(str::to_owned), "{text}");
        };
        check("nofile=5", Ok((Some(5), Some(5))));
        check("nofile=5:9", Ok((Some(5), Some(9))));
        check("core=unlimited", Ok((None, None)));
        check("nofile=5:-1", Ok((Some(5), None)));
        check("nofile=9:5", Err("the soft limit is above the hard one"));
        check("nofile", Err("expected NAME=SOFT or NAME=SOFT:HARD"));
        check("files=5", Err("`files` is no resource of a process"));
        check("nofile=x", Err("`x` is no number and not `unlimited`"));
    }

    #[test]
    fn hosts() {
        let check = |text: &str, expect: Result<(&str, &str), &str>| {
            let found = host(text).map(|line| (line.name, line.address.to_string()));
            let expect = expect.map(|(name, address)| (name.to_owned(), address.to_owned()));
            assert_eq!(found, expect.map_err(str::to_owned), "{text}");
        };
        check("db:10.0.0.2", Ok(("db", "10.0.0.2")));
        check("db=[::1]", Ok(("db", "::1")));
        check("db:::1", Ok(("db", "::1")));
        check("a b:1.2.3.4", Err("`a b` is no name of a machine"));
        check("db:host-gateway", Err("`host-gateway` is no address"));
        check("db", Err("expected HOST:IP"));
    }

    #[test]
    fn capabilities() {
        assert_eq!(cap("all"), Ok(Cap::All));
        assert_eq!(cap("net_raw"), cap("CAP_NET_RAW"));
        assert_eq!(cap("ROOT"), Err("`ROOT` is no capability".to_owned()));
    }
}
