//! How portable native code is: ELF files and the policies of platform tags, bytes in and a report out. No disk, no
//! network, no process.
//!
//! In reading order:
//!
//! - [`elf`]: ELF files, read with distrust, and changed.
//! - [`architecture`], [`version`], [`policy`]: what each platform tag promises, kept as data.
//! - [`object`]: what an audit keeps of an ELF file; [`walk`]: which libraries it needs from outside;
//!   [`sysroot`]: those libraries, as somebody found them; [`exceptions`]: those that need not be.
//! - [`code`]: native code that is judged together, with what it needs from outside.
//! - [`audit`]: the verdict, with what keeps a wheel from an older tag; [`floor`]: where it runs.
//! - [`wheel`]: the code of a whole wheel, and of files beside each other.
//! - [`repair`]: wheels that bring along what they need.

#![forbid(unsafe_code)]

pub mod architecture;
pub mod audit;
pub mod code;
pub mod elf;
pub mod exceptions;
pub mod floor;
pub mod object;
pub mod policy;
pub mod repair;
pub mod sysroot;
pub mod version;
pub mod walk;
pub mod wheel;

mod parallel;

pub use self::architecture::Architecture;
pub use self::audit::{Audit, Blocker, Note, Obstacle, PolicyAudit, Purelib};
pub use self::code::Code;
pub use self::exceptions::{Exceptions, PatternError, Provider};
pub use self::floor::Floor;
pub use self::object::Object;
pub use self::policy::{Libc, Policy};
pub use self::sysroot::{Library, Sysroot, Wanted};
pub use self::wheel::{AuditError, read_code, read_files, read_wheel};
