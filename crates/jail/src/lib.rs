//! Confines programs that read hostile files. If a file exploits ffmpeg, it can waste the CPU, memory
//! and disk of one task, and access nothing else.
//!
//! A process is started as `HELPER [HELPER_ARGUMENTS] ARGUMENTS`, where [`arguments`] builds the
//! arguments and the helper only calls [`main`]. The helper irrevocably restricts *itself* and then
//! replaces itself with the program (`exec`). So there is no privileged part, no namespace and no
//! daemon, and the program inherits the helper's pipes unchanged.
//!
//! On a kernel with Landlock (ABI 4) and seccomp, the program is left with:
//! - Files: it reads itself, the system's libraries and some files that describe the machine; it reads,
//!   writes, creates and removes in one folder. Modes, owners, times and extended attributes cannot be
//!   changed anywhere. Inherited descriptors work.
//! - Network: TCP connections to one port, on any address, since Landlock has no address rules; or no
//!   socket at all. No UDP, no Unix sockets, no listening.
//! - Processes: threads, but no children; no other program; no signals to other processes.
//! - Limits: CPU time, address space, size of a file, open files, niceness, no core dump. The total size
//!   of the files in its folder is not limited: the folder's owner must watch it.
//! - Root's privileges: none, even if started by root. Files that only root may access are inaccessible.

mod arguments;
mod confinement;
mod error;
mod helper;
mod limits;
mod platform;
mod program;
mod support;

pub use arguments::arguments;
pub use confinement::{Confinement, Limits, Mode, UnknownMode};
pub use error::JailError;
pub use helper::{EXIT_CODE_FAILED, EXIT_CODE_NOT_FOUND, main};
pub use platform::support;
pub use support::Support;

/// Checks that this kernel supports what `mode` requires, and returns what it supports. Detected by
/// trying it on a thread, which also detects a container that forbids it.
///
/// # Errors
/// [`JailError::Unsupported`].
pub fn check(mode: Mode) -> Result<Support, JailError> {
    let support = support();
    let enough = match mode {
        Mode::Required => support.files && support.ports && support.syscalls,
        Mode::Partial => support.files || support.syscalls,
        Mode::Off => true,
    };
    if enough {
        return Ok(support);
    }
    Err(JailError::Unsupported { mode, missing: support.missing().unwrap_or_default() })
}
