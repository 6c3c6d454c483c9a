//! The commands `sign-up`, `sign-in` and `sign-out`.

use std::time::Duration;

use reelmill_proto::auth::{
    CreateSessionRequest, CreateUserRequest, DeleteSessionRequest, DeleteSessionResponse,
    RefreshTokenDelivery, User, auth_service_client::AuthServiceClient,
};
use tonic::Request;

use crate::{
    args::{Identity, SignUpArgs},
    console::Console,
    credentials::{Credentials, Tokens, now_millis},
    error::ClientError,
    identity,
    server::Server,
    text,
};

const USER_MESSAGE: &str = "reelmill.auth.v1.User";
/// The name by which a caller addresses its own session.
const CURRENT_SESSION: &str = "sessions/current";
/// Time limit for ending the session that a new sign-in replaced.
const END_SESSION_TIMEOUT: Duration = Duration::from_secs(5);

/// `sign-up`: creates an account and signs in.
pub async fn sign_up(server: &Server, console: Console, args: SignUpArgs) -> Result<(), ClientError> {
    let (email, password) = identity::read(console, &args.identity, true)?;
    let request = CreateUserRequest {
        email: email.clone(),
        password: password.clone(),
        display_name: args.display_name.clone(),
    };
    server
        .call_anonymous(async |channel| AuthServiceClient::new(channel).create_user(request.clone()).await)
        .await?;
    let user = create_session(server, email, password).await?;
    console.result(
        USER_MESSAGE,
        &user,
        &format!("account created, signed in as {}", text::sanitize(&user.email)),
    )
}

/// `sign-in`: creates a session and saves its tokens in the profile folder.
pub async fn sign_in(server: &Server, console: Console, identity: Identity) -> Result<(), ClientError> {
    let (email, password) = identity::read(console, &identity, false)?;
    let user = create_session(server, email, password).await?;
    console.result(USER_MESSAGE, &user, &format!("signed in as {}", text::sanitize(&user.email)))
}

/// `sign-out`: ends the session and removes its tokens. Succeeds if the caller is not signed in.
pub async fn sign_out(server: &Server, console: Console) -> Result<(), ClientError> {
    let print = |text: &str| {
        console.result("reelmill.auth.v1.DeleteSessionResponse", &DeleteSessionResponse {}, text)
    };
    if server.credentials().load()?.is_none() {
        return print("not signed in");
    }
    let request = DeleteSessionRequest { name: CURRENT_SESSION.to_owned() };
    let deleted =
        server.call(async |channel| AuthServiceClient::new(channel).delete_session(request.clone()).await);
    match deleted.await {
        Ok(_) => {}
        // The session has ended already.
        Err(error) if error.is_unauthenticated() || error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    server.credentials().remove().await?;
    print("signed out")
}

async fn create_session(server: &Server, email: String, password: String) -> Result<User, ClientError> {
    let request =
        CreateSessionRequest { email, password, refresh_token_delivery: RefreshTokenDelivery::Body.into() };
    let response = server
        .call_anonymous(async |channel| AuthServiceClient::new(channel).create_session(request.clone()).await)
        .await?;
    let replaced = server.credentials().load()?;
    let tokens = Tokens {
        access: response.access_token,
        access_expire: response.access_token_expire_time,
        refresh: response.refresh_token,
    };
    let user = response.user.clone().unwrap_or_default();
    let credentials = Credentials::new(response.session, response.user, tokens, now_millis());
    server.credentials().save(credentials).await?;
    if let Some(replaced) = replaced {
        end_session(server, &replaced).await;
    }
    Ok(user)
}

/// Ends the session whose tokens were just replaced. Errors are ignored: an idle session expires by itself.
async fn end_session(server: &Server, credentials: &Credentials) {
    let Ok(channel) = server.authenticated_channel(credentials) else { return };
    let mut request = Request::new(DeleteSessionRequest { name: CURRENT_SESSION.to_owned() });
    request.set_timeout(END_SESSION_TIMEOUT);
    let _ = AuthServiceClient::new(channel).delete_session(request).await;
}
