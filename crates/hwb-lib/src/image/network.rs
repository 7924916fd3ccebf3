//! The network of a run: what connects it, and what it knows of names.

use std::ffi::OsStr;
use std::net::IpAddr;

use hwb_sandbox::container::{FORWARDING_RESOLVER, NetworkProgram, probe_tap_device};
use hwb_sandbox::{Network, SandboxError};

use super::ImageFault;
use crate::ambient::Ambient;
use crate::error::{Error, ErrorKind};

/// What brings one of the programs.
pub(crate) const PROGRAM_HINT: &str = "Debian: apt install passt (or slirp4netns)";

/// What opens the device that the programs need.
pub(crate) const TAP_HINT: &str = "as root: modprobe tun; chmod 666 /dev/net/tun";

/// The program that is to connect `network`, if it takes one.
pub(super) fn program(ambient: &Ambient, network: Network) -> Result<Option<NetworkProgram>, Error> {
    match network {
        Network::Denied | Network::Host => Ok(None),
        Network::Isolated => installed(ambient)
            .ok_or_else(|| Error::new(ErrorKind::Machine, ImageFault::NoNetworkProgram).hint(PROGRAM_HINT))
            .map(Some),
    }
}

/// The best program of this machine that connects networks.
pub(crate) fn installed(ambient: &Ambient) -> Option<NetworkProgram> {
    NetworkProgram::find(OsStr::new(ambient.var("PATH").unwrap_or_default()))
}

/// Says what would mend it, if a network was not to be had because nobody may make interfaces.
pub(super) fn explain(error: SandboxError) -> Error {
    let may_mend = matches!(error, SandboxError::Network { .. }) && probe_tap_device().is_err();
    let error = Error::from(error);
    if may_mend { error.hint(TAP_HINT) } else { error }
}

/// The `/etc/resolv.conf` of a container, by that of the host.
pub(super) fn resolver(network: Network, host: &str) -> String {
    match network {
        Network::Denied => String::new(),
        Network::Host => host.to_owned(),
        Network::Isolated => reachable(host),
    }
}

/// Without the servers that only the host reaches; the one that asks them in its place is named if no other is left.
fn reachable(host: &str) -> String {
    let (own, others): (Vec<_>, Vec<_>) = host.lines().filter_map(server).partition(|server| is_own(server));
    let mut text = String::new();
    if !own.is_empty() && others.is_empty() {
        text = format!("nameserver {FORWARDING_RESOLVER}\n");
    }
    for line in host.lines().filter(|line| !server(line).is_some_and(is_own)) {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// The server that a line names; resolv.conf(5).
fn server(line: &str) -> Option<&str> {
    let mut words = line.split_ascii_whitespace();
    words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())
}

fn is_own(server: &str) -> bool {
    server.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_no_server_that_is_out_of_reach() {
        let check = |host: &str, expect: &str| assert_eq!(resolver(Network::Isolated, host), expect);
        check("", "");
        check("search a.example\n", "search a.example\n");
        check("nameserver 192.0.2.1\nnameserver ::1", "nameserver 192.0.2.1\n");
        check(
            "# stub\nnameserver 127.0.0.53\noptions edns0\n",
            "nameserver 10.0.2.3\n# stub\noptions edns0\n",
        );
        check("  nameserver\t127.0.0.1 # own\n", "nameserver 10.0.2.3\n");
        check("nameserver fe80::1%eth0\nnameserver 127.0.0.1\n", "nameserver fe80::1%eth0\n");
        check("nameserver\n#nameserver 127.0.0.1\n", "nameserver\n#nameserver 127.0.0.1\n");
    }

    #[test]
    fn says_what_other_networks_have() {
        let host = "nameserver 127.0.0.53\n";
        assert_eq!(resolver(Network::Host, host), host);
        assert_eq!(resolver(Network::Denied, host), "");
    }
}
