//! What goes wrong here, and the one place where it becomes an answer.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use reelmill_mesh::RpcError;
use reelmill_proto::Reason;
use tonic::Code;

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The contract's descriptor set can't be used.
    #[error("the contract: {0}")]
    Contract(String),
    /// A setting can't be used.
    #[error("{setting}: {cause}")]
    Setting {
        /// Which one.
        setting: &'static str,
        /// What is wrong with it.
        cause: String,
    },
}

/// Why a call is refused.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Refused {
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
    #[error("the call took longer than allowed")]
    DeadlineExceeded,
    #[error("a part of the system is away; try again")]
    ServiceUnavailable,
    #[error("this process is stopping; call again")]
    ShuttingDown,
}

impl From<&Refused> for RpcError {
    fn from(refused: &Refused) -> Self {
        let message = refused.to_string();
        let (code, reason) = match refused {
            Refused::MethodUnknown => (Code::Unimplemented, Reason::MethodUnknown),
            Refused::SignInRequired => (Code::Unauthenticated, Reason::SignInRequired),
            Refused::TokenInvalid => (Code::Unauthenticated, Reason::TokenInvalid),
            Refused::TokenExpired => (Code::Unauthenticated, Reason::TokenExpired),
            Refused::SessionEnded => (Code::Unauthenticated, Reason::SessionEnded),
            Refused::RateLimited { .. } => (Code::ResourceExhausted, Reason::RateLimited),
            Refused::Malformed => (Code::InvalidArgument, Reason::RequestMalformed),
            Refused::TooLarge { .. } => (Code::ResourceExhausted, Reason::MessageTooLarge),
            Refused::DeadlineExceeded => (Code::DeadlineExceeded, Reason::DeadlineExceeded),
            Refused::ServiceUnavailable => (Code::Unavailable, Reason::ServiceUnavailable),
            Refused::ShuttingDown => (Code::Unavailable, Reason::ShuttingDown),
        };
        let refusal = RpcError::new(code, reason, message.as_str());
        match refused {
            Refused::RateLimited { subject, retry_after } => {
                refusal.retry_after(*retry_after).quota(*subject, message)
            }
            Refused::TooLarge { limit } => refusal.with("limit_bytes", limit),
            Refused::ServiceUnavailable | Refused::ShuttingDown => {
                refusal.retry_after(Duration::from_secs(1))
            }
            _ => refusal,
        }
    }
}

impl Refused {
    pub(crate) fn to_status(&self) -> tonic::Status {
        RpcError::from(self).to_status()
    }

    /// As the trailers that end a stream which had begun.
    pub(crate) fn to_trailers(&self) -> http::HeaderMap {
        let mut trailers = http::HeaderMap::new();
        // Fails for statuses that no header can carry, and ours are ASCII sentences.
        let _ = self.to_status().add_header(&mut trailers);
        trailers
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        self.to_status().into_http()
    }
}

/// An error of a plain HTTP route: a small JSON document with a stable reason.
pub(crate) fn http_error(status: StatusCode, reason: Reason, message: &str) -> Response {
    let body = serde_json::json!({ "error": { "reason": reason.as_str_name(), "message": message } });
    let headers =
        [(http::header::CONTENT_TYPE, "application/json"), (http::header::CACHE_CONTROL, "no-store")];
    (status, headers, body.to_string()).into_response()
}

/// There is nothing at this address.
pub(crate) fn not_found() -> Response {
    http_error(StatusCode::NOT_FOUND, Reason::NotFound, "there is nothing at this address")
}
