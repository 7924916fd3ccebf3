//! hwb-testkit.
