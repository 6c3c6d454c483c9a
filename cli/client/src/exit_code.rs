//! Exit codes of the client commands.

/// A video could not be encoded, or an operation on this machine failed.
pub const FAILED: u8 = 1;
/// The command line, or a file that it names, can't be used.
pub const USAGE: u8 = 2;
/// The server or the object store is unreachable.
pub const UNREACHABLE: u8 = 3;
/// The server rejected the request.
pub const REJECTED: u8 = 4;
/// Ctrl-C: 128 + SIGINT, as shells report it.
pub const INTERRUPTED: u8 = 130;

/// Summary of the exit codes, printed at the end of every client command's `--help`.
pub const EXIT_CODES: &str = "Exit codes: 0 success, 1 the video or an operation on this machine failed, \
2 wrong usage, 3 server unreachable, 4 refused by the server, 130 interrupted";
