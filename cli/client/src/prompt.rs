//! Questions to the user on the terminal.

use std::io::{self, BufRead as _, Write as _};

use crate::{error::ClientError, reason::ClientReason};

/// Asks for a line of text; surrounding white space is removed.
pub fn line(question: &str) -> Result<String, ClientError> {
    let mut line = String::new();
    write!(io::stderr(), "{question}")
        .and_then(|()| io::stdin().lock().read_line(&mut line))
        .map_err(|error| failed(&error))?;
    Ok(line.trim().to_owned())
}

/// Asks for a password, which is not echoed.
pub fn password(question: &str) -> Result<String, ClientError> {
    rpassword::prompt_password(question).map_err(|error| failed(&error))
}

/// Asks a yes-or-no question; anything but yes is no.
pub fn confirm(question: &str) -> Result<bool, ClientError> {
    Ok(matches!(line(question)?.to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn failed(error: &io::Error) -> ClientError {
    ClientError::local(ClientReason::PromptFailed, format!("can't ask on the terminal: {error}"))
}
