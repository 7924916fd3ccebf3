//! Layers on disk, made and taken by whoever runs the tests. The same must come out for root, and for a user who may
//! do little: what a tree cannot hold for him stands in the ledger.

#![expect(clippy::unwrap_used, reason = "tests")]

mod diff;
mod hostile;
mod layer;
mod read;
mod snapshots;
mod unpack;
