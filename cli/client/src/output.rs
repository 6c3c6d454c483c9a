//! What the program says, and where: the result on stdout, everything else on stderr.

use std::io::{self, IsTerminal as _, Write as _};

use prost::Message;

use crate::ClientError;

/// Where a command speaks to its caller.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    json: bool,
    live: bool,
}

impl Console {
    /// A console that prints results as JSON or for people, and progress where stderr is a terminal.
    pub fn new(json: bool) -> Self {
        Self { json, live: io::stderr().is_terminal() }
    }

    /// Whether somebody sees progress.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Whether somebody can be asked: there is a terminal to type on.
    pub fn can_ask(&self) -> bool {
        self.live && io::stdin().is_terminal()
    }

    /// Whether the result is for a program.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Tells a step on the way, where somebody sees it.
    pub fn note(&self, text: &str) {
        if self.live {
            self.always(text);
        }
    }

    /// Writes a line to stderr whoever reads it. That nobody does is no reason to fail.
    pub fn always(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Prints a command's result: the message in the contract's JSON form, or the words for people.
    pub fn result<M: Message>(&self, full_name: &str, message: &M, people: &str) -> Result<(), ClientError> {
        if self.json { line(&reelmill_proto::to_json(full_name, message)) } else { line(people) }
    }

    /// Prints several results of one kind as one JSON array, or the words for people.
    pub fn results<M: Message>(
        &self,
        full_name: &str,
        messages: &[M],
        people: &str,
    ) -> Result<(), ClientError> {
        if !self.json {
            return line(people);
        }
        let each: Vec<String> =
            messages.iter().map(|message| reelmill_proto::to_json(full_name, message)).collect();
        line(&format!("[{}]", each.join(",")))
    }
}

fn line(text: &str) -> Result<(), ClientError> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(ClientError::failed("OUTPUT_FAILED", format!("stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Columns of the terminal that tables are laid out for; plenty where stdout is none.
pub fn columns() -> usize {
    match console::Term::stdout().size_checked() {
        Some((_, columns)) => usize::from(columns).max(60),
        None => 200,
    }
}
