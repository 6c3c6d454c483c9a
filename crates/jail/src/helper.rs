//! The helper process: parses its command line, confines itself and becomes the program.

use std::{
    convert::Infallible,
    ffi::OsString,
    io::{self, Write},
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use crate::{
    arguments::{HelperCommand, parse},
    confinement::Mode,
    error::JailError,
    limits, platform, program,
};

/// The helper's exit code when it could not confine or start the program.
pub const EXIT_CODE_FAILED: u8 = 125;
/// The helper's exit code when there is no such program.
pub const EXIT_CODE_NOT_FOUND: u8 = 127;

/// Runs the helper: parses arguments built by [`crate::arguments`], drops every other right of this
/// process, and replaces it with the program. Returns only on failure, after one line on stderr, with
/// [`EXIT_CODE_NOT_FOUND`] or [`EXIT_CODE_FAILED`].
///
/// Call it before the process starts any thread: other threads would keep their rights.
#[must_use]
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let Err(error) = run(args);
    // If stderr is closed, the exit code is all that can be reported.
    let _ = writeln!(io::stderr(), "reelmill-jail: {error}");
    let not_found = matches!(error, JailError::NotFound(_));
    ExitCode::from(if not_found { EXIT_CODE_NOT_FOUND } else { EXIT_CODE_FAILED })
}

fn run(args: impl Iterator<Item = OsString>) -> Result<Infallible, JailError> {
    let HelperCommand { confinement, program, args } = parse(args)?;
    let path = program::find(&program)?;
    if confinement.mode != Mode::Off {
        platform::confine(&confinement, &path)?;
    }
    // Last: opening the files that the confinement names may need more than these limits.
    limits::apply(&confinement.limits, confinement.nice)?;
    // The path is absolute, so nothing is looked up; it is also the only one that may be executed now.
    let error = Command::new(&path).args(args).exec();
    Err(JailError::File { path, source: error })
}
