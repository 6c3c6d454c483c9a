//! The helper's whole life.

use crate::arguments::{Order, parse};
#[cfg(not(target_os = "linux"))]
use crate::elsewhere::confine;
#[cfg(target_os = "linux")]
use crate::linux::confine;
use crate::{JailError, Mode, limits, program};
use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// The helper's exit code when it could not confine or start the program.
pub const FAILED: u8 = 125;
/// The helper's exit code when there is no such program.
pub const NOT_FOUND: u8 = 127;

/// Reads what [`crate::arguments`] wrote, takes every right but those from this process, and becomes the
/// program. Returns only if that fails, after one line on stderr: [`NOT_FOUND`] or [`FAILED`].
///
/// To be called before the process has started any thread: threads would keep their rights.
#[must_use]
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let Err(error) = run(args);
    // Nobody is left to tell if stderr is closed.
    let _unheard = writeln!(io::stderr(), "reelmill-jail: {error}");
    ExitCode::from(if matches!(error, JailError::NotFound(_)) { NOT_FOUND } else { FAILED })
}

fn run(args: impl Iterator<Item = OsString>) -> Result<Infallible, JailError> {
    let Order { confinement, program, args } = parse(args)?;
    let path = program::find(&program)?;
    if confinement.mode != Mode::Off {
        confine(&confinement, &path)?;
    }
    // Last, since opening what the confinement names takes more than a program may need.
    limits::set(&confinement.limits, confinement.nice)?;
    // No lookup of its own: the path is absolute, and the only one that may be executed now.
    let error = Command::new(&path).args(args).exec();
    Err(JailError::File { path, source: error })
}
