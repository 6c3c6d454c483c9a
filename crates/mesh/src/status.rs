//! Errors as `google.rpc` rich status: always an ErrorInfo with a stable reason, and the details that apply.

use std::{collections::HashMap, fmt::Display, time::Duration};

use reelmill_proto::Reason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The `domain` of every `google.rpc.ErrorInfo` that Reelmill sends.
pub const DOMAIN: &str = "reelmill";

/// Length limit of an error message, bytes: it is sent as a header, and may quote the request.
const MAX_MESSAGE_BYTES: usize = 1024;

/// An error returned to a caller: gRPC code, stable reason, message and details. Boxed because every handler's result
/// holds one.
#[derive(Debug, Clone)]
pub struct RpcError(Box<Fields>);

#[derive(Debug, Clone)]
struct Fields {
    code: Code,
    reason: Reason,
    message: String,
    violations: Vec<(String, String)>,
    metadata: HashMap<String, String>,
    retry_after: Option<Duration>,
    quota: Option<(String, String)>,
}

impl RpcError {
    /// An error with a message of at most 1,024 bytes; a longer one is truncated.
    pub fn new(code: Code, reason: Reason, message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
        Self(Box::new(Fields {
            code,
            reason,
            message,
            violations: Vec::new(),
            metadata: HashMap::new(),
            retry_after: None,
            quota: None,
        }))
    }

    /// INVALID_ARGUMENT about one field.
    pub fn field(reason: Reason, field: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let mut error = Self::new(Code::InvalidArgument, reason, format!("{field}: {message}"));
        let description = error.0.message.strip_prefix(field).unwrap_or(&message);
        let description = description.trim_start_matches(": ").to_owned();
        error.0.violations.push((field.to_owned(), description));
        error
    }

    /// UNAUTHENTICATED.
    pub fn unauthenticated(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(Code::Unauthenticated, reason, message)
    }

    /// NOT_FOUND.
    pub fn not_found(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, reason, message)
    }

    /// FAILED_PRECONDITION.
    pub fn precondition(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(Code::FailedPrecondition, reason, message)
    }

    /// UNAVAILABLE: a dependency is unavailable. The cause is logged here, once.
    pub fn unavailable(reason: Reason, message: &str, cause: &dyn Display) -> Self {
        tracing::warn!(reason = reason.as_str_name(), %cause, "{message}");
        Self::new(Code::Unavailable, reason, message).retry_after(Duration::from_secs(1))
    }

    /// INTERNAL. The cause is logged here, once, and never returned: the caller quotes the header
    /// `x-request-id` of the response.
    pub fn internal(cause: &dyn Display) -> Self {
        tracing::error!(%cause, "internal error");
        Self::new(
            Code::Internal,
            Reason::Internal,
            "internal error; quote the x-request-id when you report it",
        )
    }

    /// Adds RetryInfo: when to retry.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    /// Adds QuotaFailure: which quota is exhausted.
    #[must_use]
    pub fn quota(mut self, subject: impl Into<String>, description: impl Into<String>) -> Self {
        self.0.quota = Some((subject.into(), description.into()));
        self
    }

    /// Adds a key and value to the ErrorInfo metadata.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Display) -> Self {
        self.0.metadata.insert(key.to_owned(), value.to_string());
        self
    }

    /// The stable reason.
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The rich status.
    pub fn to_status(&self) -> Status {
        let mut details = ErrorDetails::new();
        details.set_error_info(self.0.reason.as_str_name(), DOMAIN, self.0.metadata.clone());
        for (field, description) in &self.0.violations {
            details.add_bad_request_violation(field, description);
        }
        if let Some(delay) = self.0.retry_after {
            details.set_retry_info(Some(delay));
        }
        if let Some((subject, description)) = &self.0.quota {
            details.add_quota_failure_violation(subject, description);
        }
        Status::with_error_details(self.0.code, self.0.message.clone(), details)
    }
}

impl From<RpcError> for Status {
    fn from(error: RpcError) -> Self {
        error.to_status()
    }
}

/// The stable reason in the ErrorInfo of a status, if it has one.
pub fn reason_of(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

/// Maps a status that tonic itself created to one with a reason and the code of our contract. `None` if the status
/// already has details.
pub(crate) fn add_reason(status: &Status) -> Option<RpcError> {
    if !status.details().is_empty() || status.code() == Code::Ok {
        return None;
    }
    let message = status.message();
    let described = match status.code() {
        Code::Unimplemented if message.contains("compress") => RpcError::new(
            Code::Unimplemented,
            Reason::EncodingUnsupported,
            "this message encoding is not supported",
        ),
        Code::Unimplemented => method_unknown(),
        Code::OutOfRange => RpcError::new(Code::ResourceExhausted, Reason::MessageTooLarge, message),
        Code::Internal | Code::InvalidArgument | Code::DataLoss if is_malformed(message) => malformed(),
        Code::Internal | Code::Unknown if message.contains("Missing request message") => malformed(),
        Code::Internal | Code::Unknown => RpcError::internal(&message),
        Code::Unavailable => {
            RpcError::new(Code::Unavailable, Reason::Unavailable, "a dependency is unavailable; retry")
                .retry_after(Duration::from_secs(1))
        }
        Code::DeadlineExceeded => deadline_exceeded(),
        Code::Cancelled => RpcError::new(Code::Cancelled, Reason::Cancelled, "the call was cancelled"),
        code => RpcError::new(code, Reason::Unspecified, message),
    };
    Some(described)
}

/// UNIMPLEMENTED: no such method.
pub(crate) fn method_unknown() -> RpcError {
    RpcError::new(Code::Unimplemented, Reason::MethodUnknown, "there is no such method")
}

/// DEADLINE_EXCEEDED: the call took longer than its deadline.
pub(crate) fn deadline_exceeded() -> RpcError {
    RpcError::new(Code::DeadlineExceeded, Reason::DeadlineExceeded, "the call took longer than its deadline")
}

fn malformed() -> RpcError {
    RpcError::new(
        Code::InvalidArgument,
        Reason::RequestMalformed,
        "the request is not a gRPC message of this method",
    )
}

/// Whether a message of tonic or prost is about an undecodable request: they report those as INTERNAL.
fn is_malformed(message: &str) -> bool {
    ["decode", "protocol error", "Unexpected EOF", "compression flag", "buffer underflow", "wire type"]
        .iter()
        .any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_status_carries_all_details() {
        let status = RpcError::field(Reason::FieldInvalid, "page_size", "must be 1 to 200")
            .with("limit", 200)
            .retry_after(Duration::from_millis(1500))
            .to_status();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(reason_of(&status).as_deref(), Some("FIELD_INVALID"));
        let details = status.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, "page_size");
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_millis(1500)));
        assert_eq!(details.error_info().unwrap().metadata["limit"], "200");
    }

    #[test]
    fn new_truncates_a_long_message() {
        let error = RpcError::field(Reason::FieldInvalid, "name", "ü".repeat(1 << 20));
        assert!(error.0.message.len() <= MAX_MESSAGE_BYTES);
        assert!(error.0.violations[0].1.len() <= MAX_MESSAGE_BYTES);
        let mut headers = http::HeaderMap::new();
        error.to_status().add_header(&mut headers).unwrap();
        assert!(headers.values().map(http::HeaderValue::len).sum::<usize>() < 8 << 10);
    }

    #[test]
    fn add_reason_maps_bare_statuses_and_hides_internal_causes() {
        let garbage = Status::internal("failed to decode Protobuf message: invalid wire type");
        let described = add_reason(&garbage).unwrap();
        assert_eq!((described.code(), described.reason()), (Code::InvalidArgument, Reason::RequestMalformed));
        let leak = add_reason(&Status::unknown("connection to 10.0.0.1 refused")).unwrap().to_status();
        assert!(!leak.message().contains("10.0.0.1"));
        assert!(add_reason(&described.to_status()).is_none());
    }
}
