//! How this process gives memory back.

/// From this size on an allocation is the system's again as soon as it is free.
#[cfg(target_env = "gnu")]
const LARGE: i32 = 1 << 20;

/// Gives large allocations back to the system as soon as they are free. To be called first thing in `main`.
///
/// glibc raises the size from which it does so with each of them that is freed, up to 32 MiB: a library that was read,
/// packed and dropped would be held until the end, beside the next one.
pub fn give_back_early() {
    #[cfg(target_env = "gnu")]
    crate::os::return_allocations(LARGE);
}
