//! seccomp: which system calls fail, and with which error.
//!
//! A deny list: everything is allowed except the listed calls and calls newer than the list. Landlock
//! restricts files and ports; the list covers what Landlock does not.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod filters;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod syscalls;

use crate::error::JailError;

/// Denies the listed calls to the calling thread and what it starts; also sockets, unless `connect`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) fn restrict(connect: bool) -> Result<(), JailError> {
    filters::install(connect).map_err(|error| JailError::step_failed("seccomp", error))
}

/// Fails: the deny list exists for x86-64 and AArch64 only.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) fn restrict(_connect: bool) -> Result<(), JailError> {
    Err(JailError::step_failed("seccomp", "there is no filter for this processor architecture"))
}
