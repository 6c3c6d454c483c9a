//! Systems without Landlock and seccomp: nothing can be confined.

use crate::{Confinement, JailError, Support};
use std::path::Path;

pub(crate) fn confine(confinement: &Confinement, _program: &Path) -> Result<(), JailError> {
    let missing = Support::default().missing().unwrap_or_default();
    Err(JailError::Unsupported { mode: confinement.mode, missing })
}

/// What this kernel can confine.
#[must_use]
pub fn support() -> Support {
    Support::default()
}
