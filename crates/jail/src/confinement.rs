//! What a confined program may do.

use std::{fmt, path::PathBuf, str::FromStr};

/// How much of the confinement the kernel must support.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Files, TCP ports and system calls (Landlock ABI 4 and seccomp), or the program is not started.
    Required,
    /// Whatever the kernel supports; the program is not started if that is nothing. Without Landlock
    /// ABI 4 (Linux 6.7) a program that may connect to one port may connect to every port; without
    /// Landlock at all it reads and writes every file that its user may.
    Partial,
    /// Resource limits only.
    Off,
}

/// No mode has this name.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not one of \"required\", \"partial\", \"off\"")]
pub struct UnknownMode(String);

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
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        match text {
            "required" => Ok(Mode::Required),
            "partial" => Ok(Mode::Partial),
            "off" => Ok(Mode::Off),
            other => Err(UnknownMode(other.to_owned())),
        }
    }
}

/// The rights of one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// How much of the confinement the kernel must support.
    pub mode: Mode,
    /// Files and folders that it may read, besides itself and the system's libraries. Must exist.
    pub read: Vec<PathBuf>,
    /// The one folder in which it may read, write, create and remove. Must exist.
    pub write: Option<PathBuf>,
    /// The one TCP port it may connect to. `None`: it may open no socket.
    pub connect: Option<u16>,
    /// Its resource limits.
    pub limits: Limits,
    /// Added to its niceness, 0 to 19.
    pub nice: i32,
}

/// Resource limits of one program. A lower limit that the process already has is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Seconds of CPU time. SIGXCPU at this limit, SIGKILL ten seconds of CPU time later.
    pub cpu_seconds: u64,
    /// Bytes of address space. Linux only.
    pub memory_bytes: u64,
    /// Bytes of any one file it writes. Pipes are not counted.
    pub file_bytes: u64,
    /// Open file descriptors, including the standard ones.
    pub open_files: u64,
}

#[cfg(test)]
mod tests {
    use super::Mode;

    #[test]
    fn parse_displayed_mode_returns_it() {
        for mode in [Mode::Required, Mode::Partial, Mode::Off] {
            assert_eq!(mode.to_string().parse::<Mode>().expect("parsed"), mode);
        }
    }

    #[test]
    fn parse_mode_in_wrong_case_returns_error() {
        assert!("Required".parse::<Mode>().is_err());
    }
}
