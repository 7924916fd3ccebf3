//! Capabilities, as a set of them is given to a command.

use std::fmt;
use std::str::FromStr;

use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};

use crate::spec::Network;

/// One capability, by its number in capabilities(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capability(u8);

/// No capability has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no capability")]
pub struct ParseCapabilityError(String);

impl FromStr for Capability {
    type Err = ParseCapabilityError;

    /// In either case, with or without `CAP_`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let known =
            CapabilitySet::from_name(name).and_then(|set| u8::try_from(set.bits().trailing_zeros()).ok());
        known.map(Self).ok_or_else(|| ParseCapabilityError(text.to_owned()))
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = CapabilitySet::from_bits_retain(1 << self.0);
        set.iter_names().try_for_each(|(name, _)| write!(f, "CAP_{name}"))
    }
}

/// A set of capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities(u64);

impl Capabilities {
    /// None at all.
    pub const NONE: Self = Self(0);

    /// Every one that has a name.
    pub const ALL: Self = Self((CapabilitySet::CHECKPOINT_RESTORE.bits() << 1) - 1);

    /// The fourteen that `docker run` gives: enough to install packages, not enough to touch the host.
    pub const DOCKER: Self = Self(
        CapabilitySet::CHOWN
            .union(CapabilitySet::DAC_OVERRIDE)
            .union(CapabilitySet::FOWNER)
            .union(CapabilitySet::FSETID)
            .union(CapabilitySet::KILL)
            .union(CapabilitySet::SETGID)
            .union(CapabilitySet::SETUID)
            .union(CapabilitySet::SETPCAP)
            .union(CapabilitySet::NET_BIND_SERVICE)
            .union(CapabilitySet::NET_RAW)
            .union(CapabilitySet::SYS_CHROOT)
            .union(CapabilitySet::MKNOD)
            .union(CapabilitySet::AUDIT_WRITE)
            .union(CapabilitySet::SETFCAP)
            .bits(),
    );

    /// What is given to a container with this network if nothing else is asked for. With the host's, not what takes the
    /// ports of its services. With either way out, not what reads and forges packets: a program that connects a network
    /// would take one to the loopback for one to the host's.
    #[must_use]
    pub fn usual(network: Network) -> Self {
        let raw = CapabilitySet::NET_RAW;
        match network {
            Network::Host => Self(Self::DOCKER.0 & !raw.union(CapabilitySet::NET_BIND_SERVICE).bits()),
            Network::Isolated => Self(Self::DOCKER.0 & !raw.bits()),
            Network::Denied => Self::DOCKER,
        }
    }

    /// With one more.
    #[must_use]
    pub fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability.0)
    }

    /// Without one.
    #[must_use]
    pub fn without(self, capability: Capability) -> Self {
        Self(self.0 & !(1 << capability.0))
    }

    /// Whether it is among them.
    pub fn contains(self, capability: Capability) -> bool {
        self.0 >> capability.0 & 1 == 1
    }

    /// Those of the kernel that are not among them, also such as have no name yet.
    pub(crate) fn others(self) -> impl Iterator<Item = CapabilitySet> {
        (0..u64::BITS)
            .map(|number| 1 << number)
            .filter(move |bit| self.0 & bit == 0)
            .map(CapabilitySet::from_bits_retain)
    }

    pub(crate) fn to_kernel(self) -> CapabilitySet {
        CapabilitySet::from_bits_retain(self.0)
    }

    pub(crate) fn from_kernel(set: CapabilitySet) -> Self {
        Self(set.bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_at_their_numbers() {
        let number = |text: &str| 1_u64 << text.parse::<Capability>().unwrap().0;
        assert_eq!(number("cap_sys_admin"), CapabilitySet::SYS_ADMIN.bits());
        assert_eq!(number("CHECKPOINT_RESTORE"), CapabilitySet::CHECKPOINT_RESTORE.bits());
        assert_eq!("net_raw".parse::<Capability>().unwrap().to_string(), "CAP_NET_RAW");
        for number in 0..Capabilities::ALL.0.count_ones() {
            let name = Capability(u8::try_from(number).unwrap()).to_string();
            assert_eq!(name.parse::<Capability>().map(|found| found.0.into()), Ok(number), "{name}");
        }
        for wrong in ["", "CAP_", "ROOT", "CAP_CAP_KILL"] {
            assert_eq!(
                wrong.parse::<Capability>().unwrap_err().to_string(),
                format!("`{wrong}` is no capability")
            );
        }
    }

    #[test]
    fn sets_are_changed_one_by_one() {
        let raw = "NET_RAW".parse().unwrap();
        assert!(Capabilities::DOCKER.contains(raw));
        assert!(!Capabilities::DOCKER.without(raw).contains(raw));
        assert_eq!(Capabilities::DOCKER.without(raw).with(raw), Capabilities::DOCKER);
        assert_eq!(Capabilities::DOCKER.0.count_ones(), 14);
        assert_eq!(Capabilities::ALL.others().count(), 23);
    }
}
