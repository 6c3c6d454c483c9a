//! Systems without Landlock and seccomp: every attempt to confine a program fails.

use std::path::Path;

use crate::{confinement::Confinement, error::JailError, support::Support};

pub(crate) fn confine(confinement: &Confinement, _program: &Path) -> Result<(), JailError> {
    let missing = Support::default().missing().unwrap_or_default();
    Err(JailError::Unsupported { mode: confinement.mode, missing })
}

/// The confinement mechanisms of this kernel.
#[must_use]
pub fn support() -> Support {
    Support::default()
}
