//! The helper as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    reelmill_jail::main(std::env::args_os().skip(1))
}
