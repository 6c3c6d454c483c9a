//! Linux: Landlock for files, TCP ports and signals; seccomp for system calls; no capabilities.

mod elf;
mod landlock;
mod seccomp;

use std::{path::Path, thread};

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

use crate::{
    confinement::{Confinement, Mode},
    error::JailError,
    support::Support,
};

/// Restricts the calling thread, which must be the process's only one, to what `confinement` allows.
pub(crate) fn confine(confinement: &Confinement, program: &Path) -> Result<(), JailError> {
    let required = confinement.mode == Mode::Required;
    set_no_new_privs(true).map_err(|error| JailError::step_failed("no new privileges", error))?;
    let interpreter = elf::interpreter(program)?;
    let rules = landlock::rules(confinement, program, interpreter.as_deref())?;
    let landlock = landlock::restrict(&rules, required)?;
    drop_capabilities()?;
    let seccomp = match seccomp::restrict(confinement.connect.is_some()) {
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

/// Drops all capabilities, so that root has no more rights than any other user. `no_new_privs` keeps
/// `exec` from restoring them. Without this, SVT-AV1 for example would use real-time priority.
fn drop_capabilities() -> Result<(), JailError> {
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, sets).map_err(|error| JailError::step_failed("capabilities", error))
}

/// The confinement mechanisms of this kernel, detected by applying them to a short-lived thread.
#[must_use]
pub fn support() -> Support {
    let attempt = || {
        let landlock = landlock::restrict(&landlock::AccessRules::default(), false).unwrap_or_default();
        let syscalls = seccomp::restrict(false).is_ok();
        Support { files: landlock.files, ports: landlock.ports, syscalls }
    };
    let thread = thread::Builder::new().name("jail-support".to_owned()).spawn(attempt);
    thread.ok().and_then(|thread| thread.join().ok()).unwrap_or_default()
}
