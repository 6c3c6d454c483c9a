//! E-mail address and password, from options, files or prompts.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use crate::{args::Identity, console::Console, error::ClientError, prompt, reason::ClientReason};

/// A password has at most 1024 bytes; a much larger file is the wrong file.
const MAX_PASSWORD_FILE_BYTES: u64 = 4096;

/// E-mail address and password; prompts for what the options leave out. A new password is asked for twice.
pub fn read(
    console: Console,
    identity: &Identity,
    is_new_account: bool,
) -> Result<(String, String), ClientError> {
    let email = match &identity.email {
        Some(email) => email.trim().to_owned(),
        None => ask_email(console)?,
    };
    if email.is_empty() {
        return Err(ClientError::local(ClientReason::EmailMissing, "an e-mail address is required"));
    }
    let password = match &identity.password_file {
        Some(path) => read_password_file(path)?,
        None => ask_password(console, is_new_account)?,
    };
    Ok((email, password))
}

fn ask_email(console: Console) -> Result<String, ClientError> {
    require_terminal(console)?;
    prompt::line("E-mail: ")
}

fn ask_password(console: Console, is_new_account: bool) -> Result<String, ClientError> {
    require_terminal(console)?;
    let password = prompt::password("Password: ")?;
    if password.is_empty() {
        return Err(ClientError::local(ClientReason::PasswordEmpty, "the password is empty"));
    }
    if is_new_account && prompt::password("Password again: ")? != password {
        return Err(ClientError::local(ClientReason::PasswordsDiffer, "the two passwords differ"));
    }
    Ok(password)
}

fn require_terminal(console: Console) -> Result<(), ClientError> {
    if console.is_interactive() {
        return Ok(());
    }
    let message = "can't prompt without a terminal: give --email and --password-file";
    Err(ClientError::local(ClientReason::NotInteractive, message))
}

fn read_password_file(path: &Path) -> Result<String, ClientError> {
    let bytes = if path == Path::new("-") {
        read_limited(io::stdin().lock())
    } else {
        File::open(path).and_then(read_limited)
    };
    parse_password(bytes.map_err(|error| ClientError::unreadable_file(path, &error))?, path)
}

fn read_limited(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_PASSWORD_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse_password(bytes: Vec<u8>, path: &Path) -> Result<String, ClientError> {
    let invalid = |reason, what: &str| Err(ClientError::local(reason, format!("{}: {what}", path.display())));
    let Ok(content) = String::from_utf8(bytes) else {
        return invalid(ClientReason::PasswordFileInvalid, "the password file is not UTF-8");
    };
    let password =
        content.strip_suffix('\n').map_or(content.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    match password {
        "" => invalid(ClientReason::PasswordEmpty, "the password file is empty"),
        long if long.len() as u64 > MAX_PASSWORD_FILE_BYTES => {
            invalid(ClientReason::PasswordFileInvalid, "the password file is too large")
        }
        lines if lines.contains('\n') => {
            invalid(ClientReason::PasswordFileInvalid, "the password file has more than one line")
        }
        password => Ok(password.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(content: &[u8]) -> Result<String, ClientError> {
        parse_password(read_limited(content).unwrap(), Path::new("f"))
    }

    #[test]
    fn parse_password_single_line_is_returned_without_line_break() {
        assert_eq!(parse(b"secret word \n").unwrap(), "secret word ");
        assert_eq!(parse(b"secret\r\n").unwrap(), "secret");
        assert_eq!(parse("pässwort".as_bytes()).unwrap(), "pässwort");
    }

    #[test]
    fn parse_password_anything_but_a_single_line_is_usage_error() {
        for content in [b"".as_slice(), b"\n", b"one\ntwo\n", b"\xff\xfe", &[b'a'; 5000]] {
            assert_eq!(parse(content).unwrap_err().exit_code(), 2);
        }
    }

    #[test]
    fn read_password_file_missing_file_is_usage_error() {
        assert_eq!(read_password_file(Path::new("/nonexistent/file")).unwrap_err().exit_code(), 2);
    }
}
