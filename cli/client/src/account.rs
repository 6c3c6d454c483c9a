//! `sign-up`, `sign-in`, `sign-out`.

use std::{
    fs::File,
    io::{self, BufRead as _, Read, Write as _},
    path::Path,
};

use reelmill_proto::auth::{
    CreateSessionRequest, CreateUserRequest, DeleteSessionRequest, DeleteSessionResponse,
    RefreshTokenDelivery, User, auth_service_client::AuthServiceClient,
};
use tonic::Request;

use crate::{
    ClientError, Identity, SignUpArgs,
    credentials::{Credentials, Tokens, now_millis},
    output::Console,
    server::Server,
    text,
};

const USER: &str = "reelmill.auth.v1.User";
/// A password has at most 1024 bytes; a file far above that is another file.
const LARGEST_PASSWORD_FILE: u64 = 4096;

/// `sign-up`: makes an account and signs in.
pub async fn sign_up(server: &Server, console: Console, args: SignUpArgs) -> Result<(), ClientError> {
    let (email, password) = identify(console, &args.identity, true)?;
    let request = CreateUserRequest {
        email: email.clone(),
        password: password.clone(),
        display_name: args.display_name.clone(),
    };
    server.public(async |channel| AuthServiceClient::new(channel).create_user(request.clone()).await).await?;
    let user = open_session(server, email, password).await?;
    console.result(USER, &user, &format!("signed up and in as {}", text::harmless(&user.email)))
}

/// `sign-in`: opens a session and keeps its tokens in the profile.
pub async fn sign_in(server: &Server, console: Console, identity: Identity) -> Result<(), ClientError> {
    let (email, password) = identify(console, &identity, false)?;
    let user = open_session(server, email, password).await?;
    console.result(USER, &user, &format!("signed in as {}", text::harmless(&user.email)))
}

/// `sign-out`: ends the session and forgets its tokens. Signing out twice is no error.
pub async fn sign_out(server: &Server, console: Console) -> Result<(), ClientError> {
    let done = |words: &str| {
        console.result("reelmill.auth.v1.DeleteSessionResponse", &DeleteSessionResponse {}, words)
    };
    if server.credentials().stored()?.is_none() {
        return done("not signed in");
    }
    let name = "sessions/current".to_owned();
    let request = DeleteSessionRequest { name };
    let ended = server
        .signed_in(async |channel| AuthServiceClient::new(channel).delete_session(request.clone()).await)
        .await;
    match ended {
        Ok(_) => {}
        // The session is over already, which is what was asked for.
        Err(error) if error.is_unauthenticated() || error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    server.credentials().forget().await?;
    done("signed out")
}

async fn open_session(server: &Server, email: String, password: String) -> Result<User, ClientError> {
    let request =
        CreateSessionRequest { email, password, refresh_token_delivery: RefreshTokenDelivery::Body.into() };
    let answer = server
        .public(async |channel| AuthServiceClient::new(channel).create_session(request.clone()).await)
        .await?;
    let former = server.credentials().stored()?;
    let tokens = Tokens {
        access: answer.access_token,
        access_expire: answer.access_token_expire_time,
        refresh: answer.refresh_token,
    };
    let user = answer.user.clone().unwrap_or_default();
    server.credentials().keep(Credentials::new(answer.session, answer.user, tokens, now_millis())).await?;
    if let Some(former) = former {
        end_former(server, &former).await;
    }
    Ok(user)
}

/// Ends the session whose tokens were just replaced: nobody can use it any more. Where that fails it
/// ends by itself when it has been idle for long enough.
async fn end_former(server: &Server, former: &Credentials) {
    let Ok(channel) = server.signed(former) else { return };
    let mut request = Request::new(DeleteSessionRequest { name: "sessions/current".to_owned() });
    request.set_timeout(std::time::Duration::from_secs(5));
    let _ = AuthServiceClient::new(channel).delete_session(request).await;
}

fn identify(console: Console, identity: &Identity, new: bool) -> Result<(String, String), ClientError> {
    let email = match &identity.email {
        Some(email) => email.trim().to_owned(),
        None => ask_email(console)?,
    };
    if email.is_empty() {
        return Err(ClientError::usage("EMAIL_MISSING", "an e-mail address is needed"));
    }
    let password = match &identity.password_file {
        Some(path) => password_of_file(path)?,
        None => ask_password(console, new)?,
    };
    Ok((email, password))
}

fn ask_email(console: Console) -> Result<String, ClientError> {
    if !console.can_ask() {
        return Err(nobody_to_ask());
    }
    let mut line = String::new();
    let asked = write!(io::stderr(), "E-mail: ").and_then(|()| io::stdin().lock().read_line(&mut line));
    asked.map_err(|error| ClientError::usage("PROMPT_FAILED", format!("the terminal: {error}")))?;
    Ok(line.trim().to_owned())
}

fn ask_password(console: Console, new: bool) -> Result<String, ClientError> {
    if !console.can_ask() {
        return Err(nobody_to_ask());
    }
    let ask = |prompt: &str| {
        rpassword::prompt_password(prompt)
            .map_err(|error| ClientError::usage("PROMPT_FAILED", format!("the terminal: {error}")))
    };
    let password = ask("Password: ")?;
    if password.is_empty() {
        return Err(ClientError::usage("PASSWORD_EMPTY", "the password is empty"));
    }
    if new && ask("Password again: ")? != password {
        return Err(ClientError::usage("PASSWORDS_DIFFER", "the two passwords differ"));
    }
    Ok(password)
}

fn nobody_to_ask() -> ClientError {
    ClientError::usage("NOT_INTERACTIVE", "there is nobody to ask: give --email and --password-file")
}

fn password_of_file(path: &Path) -> Result<String, ClientError> {
    let unreadable = |error: &io::Error| ClientError::local_file(path, error);
    if path == Path::new("-") {
        return password_of(io::stdin().lock(), path).map_err(|error| unreadable(&error))?;
    }
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    password_of(file, path).map_err(|error| unreadable(&error))?
}

fn password_of(reader: impl Read, path: &Path) -> io::Result<Result<String, ClientError>> {
    let mut bytes = Vec::new();
    reader.take(LARGEST_PASSWORD_FILE + 1).read_to_end(&mut bytes)?;
    let usage = |reason, what: &str| Err(ClientError::usage(reason, format!("{}: {what}", path.display())));
    let Ok(content) = String::from_utf8(bytes) else {
        return Ok(usage("PASSWORD_FILE_INVALID", "not UTF-8"));
    };
    let password =
        content.strip_suffix('\n').map_or(content.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    Ok(match password {
        "" => usage("PASSWORD_EMPTY", "the password file is empty"),
        long if long.len() as u64 > LARGEST_PASSWORD_FILE => {
            usage("PASSWORD_FILE_INVALID", "too long for a password")
        }
        lines if lines.contains('\n') => usage("PASSWORD_FILE_INVALID", "more than one line"),
        password => Ok(password.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8]) -> Result<String, ClientError> {
        password_of(content, Path::new("f")).unwrap()
    }

    #[test]
    fn a_password_file_is_one_line() {
        assert_eq!(read(b"secret word \n").unwrap(), "secret word ");
        assert_eq!(read(b"secret\r\n").unwrap(), "secret");
        assert_eq!(read("pässwort".as_bytes()).unwrap(), "pässwort");
        for content in [b"".as_slice(), b"\n", b"one\ntwo\n", b"\xff\xfe", &[b'a'; 5000]] {
            assert_eq!(read(content).unwrap_err().exit_code(), 2);
        }
        assert_eq!(password_of_file(Path::new("/nonexistent/file")).unwrap_err().exit_code(), 2);
    }
}
