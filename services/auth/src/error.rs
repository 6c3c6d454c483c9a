//! Errors of the auth service, and their RPC form.

use std::time::Duration;

use reelmill_mesh::RpcError;
use reelmill_platform::{
    database::{DatabaseError, is_unavailable},
    shared_state::SharedStateError,
};
use reelmill_proto::Reason;
use sea_orm::DbErr;
use tonic::{Code, Status};

/// Error of the auth service.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The configured signing key is invalid.
    #[error("the signing key is not an Ed25519 private key as PKCS#8 in PEM: {0}")]
    SigningKey(String),
    /// The configured hashing cost is invalid.
    #[error("password hashing: {0}")]
    PasswordHashing(String),
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] DatabaseError),
    /// A query failed.
    #[error("database: {0}")]
    Database(#[from] DbErr),
    /// The session cache could not be updated. In the database the sessions have ended.
    #[error("session cache: {0}")]
    SessionCache(#[from] SharedStateError),
    /// The e-mail address is invalid.
    #[error("must be an e-mail address of at most 254 characters")]
    EmailInvalid,
    /// The password is too short, too long or easily guessed.
    #[error("{0}")]
    PasswordTooWeak(&'static str),
    /// A request field is invalid.
    #[error("{field}: {message}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is required.
        message: &'static str,
    },
    /// Another account has this e-mail address.
    #[error("an account with this e-mail address exists")]
    EmailTaken,
    /// Unknown e-mail address or wrong password.
    #[error("the e-mail address or the password is wrong")]
    CredentialsWrong,
    /// The refresh token is malformed or unknown.
    #[error("the refresh token is not valid; sign in again")]
    RefreshTokenInvalid,
    /// A used refresh token was presented again: its session was ended.
    #[error("the refresh token was used before; its session was ended, sign in again")]
    RefreshTokenReplayed,
    /// The refresh token was used within the grace period, perhaps by another tab of the same browser.
    #[error("the refresh token was used a few seconds ago; use its successor")]
    RefreshTokenSpent,
    /// The session was ended or has expired.
    #[error("the session has ended; sign in again")]
    SessionEnded,
    /// The caller has no such session.
    #[error("no such session")]
    SessionNotFound,
    /// The account does not exist or is not the caller's.
    #[error("no such account")]
    UserNotFound,
    /// Too many passwords are waiting to be hashed.
    #[error("too many sign-ins at the same time; try again")]
    Overloaded,
    /// An internal error.
    #[error("{0}")]
    Internal(String),
}

impl AuthError {
    pub(crate) fn internal(cause: impl std::fmt::Display) -> Self {
        Self::Internal(cause.to_string())
    }
}

impl From<&AuthError> for RpcError {
    fn from(error: &AuthError) -> Self {
        let message = error.to_string();
        match error {
            AuthError::EmailInvalid => Self::field(Reason::EmailInvalid, "email", message),
            AuthError::PasswordTooWeak(_) => Self::field(Reason::PasswordTooWeak, "password", message),
            AuthError::Field { field, message } => Self::field(Reason::FieldInvalid, field, *message),
            AuthError::EmailTaken => Self::new(Code::AlreadyExists, Reason::EmailTaken, message),
            AuthError::CredentialsWrong => Self::unauthenticated(Reason::CredentialsWrong, message),
            AuthError::RefreshTokenInvalid => Self::unauthenticated(Reason::RefreshTokenInvalid, message),
            AuthError::RefreshTokenReplayed => Self::unauthenticated(Reason::RefreshTokenReplayed, message),
            AuthError::RefreshTokenSpent => Self::unauthenticated(Reason::RefreshTokenSpent, message),
            AuthError::SessionEnded => Self::unauthenticated(Reason::SessionEnded, message),
            AuthError::SessionNotFound => Self::not_found(Reason::SessionNotFound, message),
            AuthError::UserNotFound => Self::not_found(Reason::UserNotFound, message),
            AuthError::Overloaded => Self::new(Code::ResourceExhausted, Reason::Overloaded, message)
                .retry_after(Duration::from_secs(2)),
            AuthError::SessionCache(cause) => Self::unavailable(
                Reason::SessionCacheUnavailable,
                "the session cache is unavailable; sign out again to be sure",
                cause,
            ),
            AuthError::Database(cause) if is_unavailable(cause) => {
                Self::unavailable(Reason::DatabaseUnavailable, "the database is unavailable; retry", cause)
            }
            AuthError::SigningKey(_)
            | AuthError::PasswordHashing(_)
            | AuthError::Open(_)
            | AuthError::Database(_)
            | AuthError::Internal(_) => Self::internal(error),
        }
    }
}

impl From<AuthError> for Status {
    fn from(error: AuthError) -> Self {
        RpcError::from(&error).to_status()
    }
}
