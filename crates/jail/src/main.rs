//! The helper as a separate program.

use std::process::ExitCode;

fn main() -> ExitCode {
    reelmill_jail::main(std::env::args_os().skip(1))
}
