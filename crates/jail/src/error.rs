//! Why a program was not started.

use std::{ffi::OsString, fmt, io, path::PathBuf};

use crate::confinement::Mode;

/// Why a program was not started.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// The kernel lacks a mechanism that the mode requires.
    #[error(
        "this system cannot confine ffmpeg as worker.jail = \"{mode}\" requires; it cannot restrict: {missing}. \
         Set worker.jail = \"partial\" to use what the kernel supports, or \"off\" for resource limits only, \
         which is safe only with files from a trusted source"
    )]
    Unsupported {
        /// The requested mode.
        mode: Mode,
        /// The missing mechanisms.
        missing: String,
    },
    /// The helper's command line has an unknown, repeated or malformed option.
    #[error("option {0:?} is unknown, repeated, or has an invalid value")]
    Argument(OsString),
    /// The helper's command line lacks a required option.
    #[error("{0} is missing from the command line")]
    NotGiven(&'static str),
    /// There is no such program.
    #[error("{0:?} is neither a program on PATH nor the absolute path of one")]
    NotFound(OsString),
    /// The program cannot be confined.
    #[error("{path}: {reason}")]
    Program {
        /// The program.
        path: PathBuf,
        /// Why it cannot be confined.
        reason: &'static str,
    },
    /// A file that the confinement names cannot be opened.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A step of the confinement failed.
    #[error("{step}: {reason}")]
    StepFailed {
        /// The step.
        step: &'static str,
        /// The system's error.
        reason: String,
    },
}

impl JailError {
    pub(crate) fn step_failed(step: &'static str, error: impl fmt::Display) -> Self {
        JailError::StepFailed { step, reason: error.to_string() }
    }
}
