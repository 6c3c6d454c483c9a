//! What can go wrong in auth, and how callers are told.

use std::time::Duration;

use reelmill_mesh::RpcError;
use reelmill_platform::{
    database::{DatabaseError, is_unavailable},
    shared_state::SharedStateError,
};
use reelmill_proto::Reason;
use sea_orm::DbErr;
use tonic::{Code, Status};

/// Why the auth role could not do something.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The configured signing key can't sign.
    #[error("the signing key is no Ed25519 private key as PKCS#8 in PEM: {0}")]
    SigningKey(String),
    /// The configured cost can't be used.
    #[error("password hashing: {0}")]
    PasswordHashing(String),
    /// The database can't be opened.
    #[error(transparent)]
    Open(#[from] DatabaseError),
    /// The database failed.
    #[error("database: {0}")]
    Database(#[from] DbErr),
    /// The hub could not be told that sessions ended. In the database they have.
    #[error("session cache: {0}")]
    SessionCache(#[from] SharedStateError),
    /// The e-mail address is none.
    #[error("must be an e-mail address of at most 254 characters")]
    EmailInvalid,
    /// The password is too short, too long or easily guessed.
    #[error("{0}")]
    PasswordTooWeak(&'static str),
    /// A field of the request is wrong.
    #[error("{field}: {message}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong.
        message: &'static str,
    },
    /// Someone has this e-mail address already.
    #[error("an account with this e-mail address exists")]
    EmailTaken,
    /// No such account, or another password.
    #[error("the e-mail address or the password is wrong")]
    CredentialsWrong,
    /// Not a refresh token of ours.
    #[error("the refresh token is not valid; sign in again")]
    RefreshTokenInvalid,
    /// A refresh token was shown a second time: its session is over.
    #[error("the refresh token was used before; its session was ended, sign in again")]
    RefreshTokenReplayed,
    /// A refresh token was used a moment ago, perhaps by another tab of the same browser.
    #[error("the refresh token was used a moment ago; use the one that came of it")]
    RefreshTokenSpent,
    /// The session was ended or idle for too long.
    #[error("the session has ended; sign in again")]
    SessionEnded,
    /// The caller has no such session.
    #[error("no such session")]
    SessionNotFound,
    /// The caller may see no such account.
    #[error("no such account")]
    UserNotFound,
    /// Too many passwords wait to be hashed.
    #[error("too many sign-ins at once; try again")]
    Overloaded,
    /// Something that can't happen did.
    #[error("{0}")]
    Internal(String),
}

impl AuthError {
    pub(crate) fn internal(cause: impl std::fmt::Display) -> Self {
        Self::Internal(cause.to_string())
    }

    /// What the caller is told.
    fn refusal(&self) -> RpcError {
        let words = self.to_string();
        match self {
            Self::EmailInvalid => RpcError::field(Reason::EmailInvalid, "email", words),
            Self::PasswordTooWeak(_) => RpcError::field(Reason::PasswordTooWeak, "password", words),
            Self::Field { field, message } => RpcError::field(Reason::FieldInvalid, field, *message),
            Self::EmailTaken => RpcError::new(Code::AlreadyExists, Reason::EmailTaken, words),
            Self::CredentialsWrong => RpcError::unauthenticated(Reason::CredentialsWrong, words),
            Self::RefreshTokenInvalid => RpcError::unauthenticated(Reason::RefreshTokenInvalid, words),
            Self::RefreshTokenReplayed => RpcError::unauthenticated(Reason::RefreshTokenReplayed, words),
            Self::RefreshTokenSpent => RpcError::unauthenticated(Reason::RefreshTokenSpent, words),
            Self::SessionEnded => RpcError::unauthenticated(Reason::SessionEnded, words),
            Self::SessionNotFound => RpcError::not_found(Reason::SessionNotFound, words),
            Self::UserNotFound => RpcError::not_found(Reason::UserNotFound, words),
            Self::Overloaded => RpcError::new(Code::ResourceExhausted, Reason::Overloaded, words)
                .retry_after(Duration::from_secs(2)),
            Self::SessionCache(cause) => RpcError::unavailable(
                Reason::SessionCacheUnavailable,
                "the session store is away; sign out again to be sure",
                cause,
            ),
            Self::Database(cause) if is_unavailable(cause) => {
                RpcError::unavailable(Reason::DatabaseUnavailable, "the database is away", cause)
            }
            Self::SigningKey(_)
            | Self::PasswordHashing(_)
            | Self::Open(_)
            | Self::Database(_)
            | Self::Internal(_) => RpcError::internal(self),
        }
    }
}

impl From<AuthError> for Status {
    fn from(error: AuthError) -> Self {
        error.refusal().into()
    }
}
