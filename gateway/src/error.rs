//! Start-up errors, and errors of calls with their gRPC status.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use reelmill_mesh::RpcError;
use reelmill_proto::Reason;
use tonic::Code;

/// Why a gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The API's descriptor set is unusable.
    #[error("the API descriptors: {0}")]
    Contract(String),
    /// A setting is invalid.
    #[error("{setting}: {cause}")]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// What is wrong with it.
        cause: String,
    },
}

/// Error with which the gateway ends a call.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum CallError {
    #[error("there is no such method")]
    MethodUnknown,
    #[error("sign in first")]
    SignInRequired,
    #[error("the access token is not valid")]
    TokenInvalid,
    #[error("the access token has expired; refresh the session")]
    TokenExpired,
    #[error("the session has ended; sign in again")]
    SessionEnded,
    #[error("too many calls; slow down")]
    RateLimited { subject: &'static str, retry_after: Duration },
    #[error("the request is not a gRPC message of this method")]
    Malformed,
    #[error("a request message may have {limit} bytes at most")]
    TooLarge { limit: usize },
    #[error("the request body was sent too slowly")]
    RequestTooSlow,
    #[error("too many calls, or bytes of requests, are in progress; try again")]
    Overloaded,
    #[error("the call took longer than its deadline")]
    DeadlineExceeded,
    #[error("a service is unavailable; try again")]
    ServiceUnavailable,
    #[error("this process is shutting down; call again")]
    ShuttingDown,
    /// A bug, logged where it is found.
    #[error("internal error; quote the x-request-id when you report it")]
    Internal,
}

impl From<&CallError> for RpcError {
    fn from(error: &CallError) -> Self {
        let message = error.to_string();
        let (code, reason) = match error {
            CallError::MethodUnknown => (Code::Unimplemented, Reason::MethodUnknown),
            CallError::SignInRequired => (Code::Unauthenticated, Reason::SignInRequired),
            CallError::TokenInvalid => (Code::Unauthenticated, Reason::TokenInvalid),
            CallError::TokenExpired => (Code::Unauthenticated, Reason::TokenExpired),
            CallError::SessionEnded => (Code::Unauthenticated, Reason::SessionEnded),
            CallError::RateLimited { .. } => (Code::ResourceExhausted, Reason::RateLimited),
            CallError::Malformed => (Code::InvalidArgument, Reason::RequestMalformed),
            CallError::TooLarge { .. } => (Code::ResourceExhausted, Reason::MessageTooLarge),
            CallError::RequestTooSlow => (Code::DeadlineExceeded, Reason::RequestTooSlow),
            CallError::Overloaded => (Code::ResourceExhausted, Reason::Overloaded),
            CallError::DeadlineExceeded => (Code::DeadlineExceeded, Reason::DeadlineExceeded),
            CallError::ServiceUnavailable => (Code::Unavailable, Reason::ServiceUnavailable),
            CallError::ShuttingDown => (Code::Unavailable, Reason::ShuttingDown),
            CallError::Internal => (Code::Internal, Reason::Internal),
        };
        let rpc_error = RpcError::new(code, reason, message.as_str());
        match error {
            CallError::RateLimited { subject, retry_after } => {
                rpc_error.retry_after(*retry_after).quota(*subject, message)
            }
            CallError::TooLarge { limit } => rpc_error.with("limit_bytes", limit),
            CallError::Overloaded | CallError::ServiceUnavailable | CallError::ShuttingDown => {
                rpc_error.retry_after(Duration::from_secs(1))
            }
            _ => rpc_error,
        }
    }
}

impl CallError {
    pub(crate) fn to_status(&self) -> tonic::Status {
        RpcError::from(self).to_status()
    }

    /// Trailers that end a response whose headers are already sent.
    pub(crate) fn to_trailers(&self) -> http::HeaderMap {
        let mut trailers = http::HeaderMap::new();
        // Fails only for a message that is no header value, and these are ASCII.
        let _ = self.to_status().add_header(&mut trailers);
        trailers
    }
}

impl IntoResponse for CallError {
    fn into_response(self) -> Response {
        self.to_status().into_http()
    }
}
