//! Fixtures: a running auth service, its session cache, and clients.

mod server;
mod session_cache;

use reelmill_mesh::{Caller, UserSession, reason_of};
use reelmill_platform::shared_state::SessionState;
use reelmill_proto::auth::{CreateSessionRequest, CreateSessionResponse, CreateUserRequest};
use tonic::{Code, Status, metadata::MetadataMap};

pub use server::{AuthServer, Backend, USER_AGENT};

pub const PASSWORD: &str = "correct horse";

pub fn sign_up_request(email: &str) -> CreateUserRequest {
    CreateUserRequest { email: email.to_owned(), password: PASSWORD.to_owned(), display_name: String::new() }
}

pub fn sign_in_request(email: &str, password: &str) -> CreateSessionRequest {
    CreateSessionRequest { email: email.to_owned(), password: password.to_owned(), refresh_token_delivery: 0 }
}

/// Id of the session.
pub fn session_id(signed_in: &CreateSessionResponse) -> String {
    signed_in.session.as_ref().unwrap().name.strip_prefix("sessions/").unwrap().to_owned()
}

/// Id of the user.
pub fn user_id(signed_in: &CreateSessionResponse) -> String {
    signed_in.user.as_ref().unwrap().name.strip_prefix("users/").unwrap().to_owned()
}

/// The caller as the gateway passes it on.
pub fn caller(signed_in: &CreateSessionResponse) -> Caller {
    Caller::User(UserSession { user: user_id(signed_in), session: session_id(signed_in) })
}

/// Cache entry of the session while it is alive.
pub fn alive(signed_in: &CreateSessionResponse) -> Option<SessionState> {
    Some(SessionState::Alive { user: user_id(signed_in) })
}

pub fn set_cookies(metadata: &MetadataMap) -> Vec<String> {
    metadata.get_all("set-cookie").iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

/// Asserts that a call failed with this code and reason. Returns the status.
#[track_caller]
pub fn assert_error<T>(result: Result<T, Status>, code: Code, reason: &str) -> Status {
    let Err(status) = result else { panic!("the call succeeded; expected {reason}") };
    assert_eq!((status.code(), reason_of(&status).as_deref()), (code, Some(reason)), "{status:?}");
    status
}
