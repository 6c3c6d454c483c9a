//! Linux: Landlock for files, ports and signals, seccomp for system calls, no capabilities.

mod calls;
mod files;

use crate::{Confinement, JailError, Mode, Support};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};
use std::path::Path;
use std::thread;

/// Takes from this thread, the only one, everything that `confinement` does not give.
pub(crate) fn confine(confinement: &Confinement, program: &Path) -> Result<(), JailError> {
    let required = confinement.mode == Mode::Required;
    set_no_new_privs(true).map_err(|error| JailError::refused("no new privileges", error))?;
    let landlock = files::restrict(&files::reach(confinement, program)?, required)?;
    drop_capabilities()?;
    let seccomp = match calls::restrict(confinement.connect.is_some()) {
        Ok(()) => true,
        Err(error) if required => return Err(error),
        Err(_) => false,
    };
    if !landlock.files && !seccomp {
        let missing = Support::default().missing().unwrap_or_default();
        return Err(JailError::Unsupported { mode: confinement.mode, missing });
    }
    Ok(())
}

/// Root without its capabilities is a user like any other, and stays one: without new privileges a
/// program started by user 0 gets none back. SVT-AV1, for one, takes real-time priority where it may.
fn drop_capabilities() -> Result<(), JailError> {
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, sets).map_err(|error| JailError::refused("capabilities", error))
}

/// What this kernel can confine. Tried on a thread that ends with it.
#[must_use]
pub fn support() -> Support {
    let attempt = || {
        let landlock = files::restrict(&files::Reach::default(), false).unwrap_or_default();
        let calls = calls::restrict(false).is_ok();
        Support { files: landlock.files, ports: landlock.ports, calls }
    };
    let thread = thread::Builder::new().name("jail-support".to_owned()).spawn(attempt);
    thread.ok().and_then(|thread| thread.join().ok()).unwrap_or_default()
}
