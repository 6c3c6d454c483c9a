//! Confines programs that read hostile files. ffmpeg, once taken over by a file, can then waste one
//! task's CPU, memory and disk, and reach nothing else.
//!
//! A process is started as `HELPER [HELPER_ARGUMENTS] ARGUMENTS`, where the arguments come from
//! [`arguments`] and the helper does nothing but call [`main`]. The helper takes rights from *itself*,
//! for good, and then becomes the program. So there is no privileged part, no namespace and no daemon,
//! and pipes that it inherits go through to the program as they are.
//!
//! What a program is left with, on a kernel that has Landlock (ABI 4) and seccomp:
//! - Files: it reads itself, the system's libraries and a few facts about the machine; it reads,
//!   writes, makes and removes in one folder. Modes, owners, times and extended attributes change
//!   nowhere. Descriptors that it was handed work.
//! - Network: TCP connections to one port, on any address, since Landlock knows no addresses; or no
//!   socket at all. No UDP, no Unix sockets, no listening.
//! - Processes: threads, but no children; no other program; no signal to anyone but itself.
//! - Limits: CPU seconds, address space, bytes a file, open files, niceness, no core dump. The sum of
//!   the files in its folder is not limited: whoever owns the folder watches it.
//! - Root's privileges: none, even when started by root. Files that only those let it read are closed.

mod arguments;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
mod helper;
mod limits;
#[cfg(target_os = "linux")]
mod linux;
mod program;

pub use arguments::arguments;
#[cfg(not(target_os = "linux"))]
pub use elsewhere::support;
pub use helper::{FAILED, NOT_FOUND, main};
#[cfg(target_os = "linux")]
pub use linux::support;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

/// How much of the confinement must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Files, TCP ports and system calls (Landlock ABI 4 and seccomp), or the program is not started.
    Required,
    /// Whatever the kernel has; not started if it has nothing. Without Landlock ABI 4 (Linux 6.7) a
    /// program that may connect to one port may connect to every port; without Landlock at all it
    /// reads and writes every file that its user may.
    Partial,
    /// Limits only.
    Off,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Required => "required",
            Mode::Partial => "partial",
            Mode::Off => "off",
        })
    }
}

impl FromStr for Mode {
    type Err = JailError;

    fn from_str(text: &str) -> Result<Self, JailError> {
        match text {
            "required" => Ok(Mode::Required),
            "partial" => Ok(Mode::Partial),
            "off" => Ok(Mode::Off),
            other => Err(JailError::Mode(other.to_owned())),
        }
    }
}

/// What one program may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// How much of it must be there.
    pub mode: Mode,
    /// Files and folders that it may read beside itself and the system's libraries. Must exist.
    pub read: Vec<PathBuf>,
    /// The one folder in which it may read, write, make and remove. Must exist.
    pub write: Option<PathBuf>,
    /// The one TCP port it may connect to. Without it, it has no sockets.
    pub connect: Option<u16>,
    /// What it may use.
    pub limits: Limits,
    /// Added to its niceness, 0 to 19.
    pub nice: i32,
}

/// What one program may use. A lower limit that is already there stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Seconds of CPU. It gets SIGXCPU then, and SIGKILL ten seconds later.
    pub cpu_seconds: u64,
    /// Bytes of address space. Linux only.
    pub memory_bytes: u64,
    /// Bytes of any one file it writes. Pipes are not counted.
    pub file_bytes: u64,
    /// Open files, the standard ones counted.
    pub open_files: u64,
}

/// What this kernel can confine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Support {
    /// Files (Landlock ABI 1, Linux 5.13).
    pub files: bool,
    /// TCP ports (Landlock ABI 4, Linux 6.7).
    pub ports: bool,
    /// System calls (seccomp filters on x86-64 or AArch64).
    pub calls: bool,
}

impl Support {
    /// What is missing, in words, or nothing.
    fn missing(&self) -> Option<String> {
        let names = [
            (self.files, "files (Landlock, Linux 5.13)"),
            (self.ports, "TCP ports (Landlock ABI 4, Linux 6.7)"),
            (self.calls, "system calls (seccomp filters on x86-64 or AArch64)"),
        ];
        let missing: Vec<&str> = names.iter().filter(|(there, _)| !there).map(|(_, name)| *name).collect();
        (!missing.is_empty()).then(|| missing.join(", "))
    }
}

impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |there: bool| if there { "yes" } else { "no" };
        let (files, ports, calls) = (word(self.files), word(self.ports), word(self.calls));
        write!(f, "files: {files}, TCP ports: {ports}, system calls: {calls}")
    }
}

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// The kernel lacks what the mode asks for.
    #[error(
        "this system cannot confine ffmpeg as worker.jail = \"{mode}\" asks; it has nothing for: {missing}. \
         worker.jail = \"partial\" takes what there is; \"off\" takes nothing but limits, \
         and is for files that you trust"
    )]
    Unsupported {
        /// What was asked for.
        mode: Mode,
        /// What is not there.
        missing: String,
    },
    /// No mode has this name.
    #[error("{0:?} is none of \"required\", \"partial\", \"off\"")]
    Mode(String),
    /// The helper was started with something it does not understand.
    #[error("argument {0:?} is unknown, twice there, or has no fit value")]
    Argument(OsString),
    /// The helper was started without something it needs.
    #[error("{0} is not given")]
    NotGiven(&'static str),
    /// There is no such program.
    #[error("{0:?} is no program on PATH, and no absolute path of one")]
    NotFound(OsString),
    /// The program is not one that can be confined.
    #[error("{path}: {reason}")]
    Program {
        /// The program.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file that the confinement names cannot be opened.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The system refused a step.
    #[error("{step}: {reason}")]
    Refused {
        /// The step.
        step: &'static str,
        /// What it said.
        reason: String,
    },
}

impl JailError {
    fn refused(step: &'static str, error: impl fmt::Display) -> Self {
        JailError::Refused { step, reason: error.to_string() }
    }
}

/// Says what this kernel can confine, or why that is too little for `mode`. Tries it on a thread of its
/// own, so that a container that forbids it is found out, too.
///
/// # Errors
/// [`JailError::Unsupported`].
pub fn check(mode: Mode) -> Result<Support, JailError> {
    let support = support();
    let enough = match mode {
        Mode::Required => support.files && support.ports && support.calls,
        Mode::Partial => support.files || support.calls,
        Mode::Off => true,
    };
    if enough {
        return Ok(support);
    }
    Err(JailError::Unsupported { mode, missing: support.missing().unwrap_or_default() })
}
