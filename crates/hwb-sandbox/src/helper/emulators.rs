//! The emulators of a holder: a register of its user namespace, in place of the machine's.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::container::file_system;
use super::holder::Mapping;
use crate::container::Emulator;

/// What is registered so far.
#[derive(Debug)]
pub(super) struct Emulators {
    mapping: Mapping,
    /// What was registered is forgotten when nobody has this open any more.
    register: Option<OwnedFd>,
    known: Vec<Emulator>,
}

impl Emulators {
    pub(super) const fn new(mapping: Mapping) -> Self {
        Self { mapping, register: None, known: Vec::new() }
    }

    /// Registers `emulator`, if one is wanted that is not there yet.
    pub(super) fn have(&mut self, emulator: Option<&Emulator>) -> io::Result<()> {
        let Some(emulator) = emulator.filter(|emulator| !self.known.contains(emulator)) else {
            return Ok(());
        };
        // The register would be the machine's.
        if self.mapping == Mapping::None {
            return Err(Errno::PERM.into());
        }
        let register = match self.register.take() {
            Some(register) => register,
            None => file_system("binfmt_misc", &[], MountAttrFlags::MOUNT_ATTR_NOEXEC)?,
        };
        let register = self.register.insert(register);
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(register, "register", flags, Mode::empty())?);
        file.write_all(&emulator.registration())?;
        self.known.push(emulator.clone());
        Ok(())
    }
}
