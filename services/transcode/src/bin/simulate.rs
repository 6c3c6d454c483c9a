//! Simulates the dispatcher: `make simulate ARGS="seeds=1000"`.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use reelmill_transcode::simulation::{self, Options};

/// Exit code for invalid arguments.
const INVALID_ARGUMENTS: u8 = 2;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => return exit(INVALID_ARGUMENTS, &message),
    };
    match simulation::run(&options, &mut io::stdout()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => exit(1, &format!("the output was not written: {error}")),
    }
}

fn exit(code: u8, message: &str) -> ExitCode {
    // There is nobody to report a failure to.
    let _unreported = writeln!(io::stderr(), "simulate: {message}");
    ExitCode::from(code)
}
