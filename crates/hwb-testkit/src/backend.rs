//! The backend that the projects of the tests are built by.

use crate::tree::Artifact;
use crate::wheel::Wheel;

/// The backend's source; its first lines say what `[tool.tiny]` may ask of it.
pub const fn tiny_backend() -> &'static str {
    include_str!("../python/tiny_backend.py")
}

/// The backend as a wheel, `tiny_backend-1.0-py3-none-any.whl`, without requirements.
pub fn tiny_backend_wheel() -> Artifact {
    Wheel::new("tiny_backend", "1.0").file("tiny_backend.py", tiny_backend()).build()
}
