//! Output of the commands: the result on stdout, everything else on stderr.

use std::io::{self, IsTerminal as _, Write as _};

use prost::Message;

use crate::{error::ClientError, reason::ClientReason};

/// Columns of a table if stdout is not a terminal.
const COLUMNS_WITHOUT_TERMINAL: usize = 200;
const MIN_COLUMNS: usize = 60;

/// Where and in which form a command prints.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    json: bool,
    stderr_is_terminal: bool,
}

impl Console {
    /// A console that prints results as JSON or for people, and progress if stderr is a terminal.
    pub fn new(json: bool) -> Self {
        Self { json, stderr_is_terminal: io::stderr().is_terminal() }
    }

    /// Whether progress is shown.
    pub fn shows_progress(&self) -> bool {
        self.stderr_is_terminal
    }

    /// Whether the user can be asked: both stdin and stderr are terminals.
    pub fn is_interactive(&self) -> bool {
        self.stderr_is_terminal && io::stdin().is_terminal()
    }

    /// Whether results are printed as JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints an intermediate step to stderr if progress is shown.
    pub fn info(&self, text: &str) {
        if self.shows_progress() {
            self.stderr_line(text);
        }
    }

    /// Prints a line to stderr. Errors are ignored: there is no other channel to report them on.
    pub fn stderr_line(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Prints a command's result: the message as JSON, or the text for people.
    pub fn result<M: Message>(&self, full_name: &str, message: &M, text: &str) -> Result<(), ClientError> {
        if self.json { stdout_line(&reelmill_proto::to_json(full_name, message)) } else { stdout_line(text) }
    }

    /// Prints several results of one type as one JSON array, or the text for people.
    pub fn results<M: Message>(
        &self,
        full_name: &str,
        messages: &[M],
        text: &str,
    ) -> Result<(), ClientError> {
        if !self.json {
            return stdout_line(text);
        }
        let values: Vec<String> =
            messages.iter().map(|message| reelmill_proto::to_json(full_name, message)).collect();
        stdout_line(&format!("[{}]", values.join(",")))
    }
}

fn stdout_line(text: &str) -> Result<(), ClientError> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        // A reader that closes the pipe early, such as `head`, is not an error.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(ClientError::local(ClientReason::OutputFailed, format!("can't write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Width that tables on stdout are formatted for, columns.
pub fn columns() -> usize {
    match console::Term::stdout().size_checked() {
        Some((_, columns)) => usize::from(columns).max(MIN_COLUMNS),
        None => COLUMNS_WITHOUT_TERMINAL,
    }
}
