//! Sources and credentials that lie behind a network.
//!
//! - [`git`]: one commit of a git repository, as a tree with a working `.git`.

pub mod git;
