//! What only one operating system has; a port adds a sibling.

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
pub(crate) use self::linux::{Name, Reflink, list, open_below};
