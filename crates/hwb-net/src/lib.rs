//! Sources, images and credentials that lie behind a network.
//!
//! - [`git`]: one commit of a git repository, as a tree with a working `.git`.
//! - [`registry`]: container images and their parts, pulled and pushed.

pub mod git;
pub mod registry;
