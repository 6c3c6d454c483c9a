//! Errors as `google.rpc` rich status: always a stable reason, with the details that apply.

use std::{collections::HashMap, fmt::Display, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The `domain` of every `google.rpc.ErrorInfo` that Reelmill sends.
pub const DOMAIN: &str = "reelmill";

/// How long a refusal's sentence may be, bytes.
const MAX_MESSAGE: usize = 1024;

/// A call that is refused: what the caller is told. Boxed, since every handler's result holds one.
#[derive(Debug, Clone)]
pub struct Refusal(Box<Told>);

#[derive(Debug, Clone)]
struct Told {
    code: Code,
    reason: &'static str,
    message: String,
    violations: Vec<(String, String)>,
    metadata: HashMap<String, String>,
    retry_after: Option<Duration>,
    quota: Option<(String, String)>,
}

impl Refusal {
    /// A refusal with a code, a stable UPPER_SNAKE reason and a sentence for people.
    pub fn new(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        // It travels as a header, and what it quotes may be as long as a request.
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        Self(Box::new(Told {
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
    pub fn field(reason: &'static str, field: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let mut refusal = Self::new(Code::InvalidArgument, reason, format!("{field}: {message}"));
        let described = refusal.0.message.strip_prefix(field).unwrap_or(&message);
        let described = described.trim_start_matches(": ").to_owned();
        refusal.0.violations.push((field.to_owned(), described));
        refusal
    }

    /// UNAUTHENTICATED.
    pub fn unauthenticated(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Code::Unauthenticated, reason, message)
    }

    /// NOT_FOUND.
    pub fn not_found(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, reason, message)
    }

    /// FAILED_PRECONDITION.
    pub fn precondition(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Code::FailedPrecondition, reason, message)
    }

    /// UNAVAILABLE: something that Reelmill stands on is away. The cause is logged here, once.
    pub fn unavailable(reason: &'static str, message: &str, cause: &dyn Display) -> Self {
        tracing::warn!(reason, %cause, "{message}");
        Self::new(Code::Unavailable, reason, message).retry_after(Duration::from_secs(1))
    }

    /// INTERNAL. The cause is logged here, once, and never told: the caller gets the request id to
    /// quote, in the `x-request-id` header.
    pub fn internal(cause: &dyn Display) -> Self {
        tracing::error!(%cause, "internal error");
        Self::new(Code::Internal, "INTERNAL", "something went wrong inside; quote the request id")
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    /// Says which quota is used up.
    #[must_use]
    pub fn quota(mut self, subject: impl Into<String>, description: impl Into<String>) -> Self {
        self.0.quota = Some((subject.into(), description.into()));
        self
    }

    /// Adds a fact for programs.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Display) -> Self {
        self.0.metadata.insert(key.to_owned(), value.to_string());
        self
    }

    /// The stable reason.
    pub fn reason(&self) -> &'static str {
        self.0.reason
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The rich status.
    pub fn to_status(&self) -> Status {
        let mut details = ErrorDetails::new();
        details.set_error_info(self.0.reason, DOMAIN, self.0.metadata.clone());
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

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        refusal.to_status()
    }
}

/// The stable reason of a status, whoever made it.
pub fn reason_of(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

/// Gives a status that tonic made by itself the reason and code that our callers are promised.
/// Answers none where the status has details already.
pub fn describe_bare(status: &Status) -> Option<Refusal> {
    if !status.details().is_empty() || status.code() == Code::Ok {
        return None;
    }
    let message = status.message();
    let described = match status.code() {
        Code::Unimplemented if message.contains("compress") => Refusal::new(
            Code::Unimplemented,
            "ENCODING_UNSUPPORTED",
            "this message encoding is not supported",
        ),
        Code::Unimplemented => method_unknown(),
        Code::OutOfRange => Refusal::new(Code::ResourceExhausted, "MESSAGE_TOO_LARGE", message),
        Code::Internal | Code::InvalidArgument | Code::DataLoss if is_malformed(message) => malformed(),
        Code::Internal | Code::Unknown if message.contains("Missing request message") => malformed(),
        Code::Internal | Code::Unknown => Refusal::internal(&message),
        Code::Unavailable => {
            Refusal::new(Code::Unavailable, "UNAVAILABLE", "a part of the system is away; try again")
                .retry_after(Duration::from_secs(1))
        }
        Code::DeadlineExceeded => deadline_exceeded(),
        Code::Cancelled => Refusal::new(Code::Cancelled, "CANCELLED", "the call was cancelled"),
        code => Refusal::new(code, "UNSPECIFIED", message),
    };
    Some(described)
}

/// There is no such method.
pub(crate) fn method_unknown() -> Refusal {
    Refusal::new(Code::Unimplemented, "METHOD_UNKNOWN", "there is no such method")
}

/// The call took longer than its caller allowed.
pub(crate) fn deadline_exceeded() -> Refusal {
    Refusal::new(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "the call took longer than allowed")
}

fn malformed() -> Refusal {
    Refusal::new(
        Code::InvalidArgument,
        "REQUEST_MALFORMED",
        "the request is not a gRPC message of this method",
    )
}

/// tonic and prost tell of undecodable requests with INTERNAL and these words.
fn is_malformed(message: &str) -> bool {
    ["decode", "protocol error", "Unexpected EOF", "compression flag", "buffer underflow", "wire type"]
        .iter()
        .any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_travel() {
        let status = Refusal::field("FIELD_INVALID", "page_size", "must be 1 to 200")
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
    fn a_long_quotation_is_cut() {
        let refusal = Refusal::field("FIELD_INVALID", "name", "ü".repeat(1 << 20));
        assert!(refusal.0.message.len() <= MAX_MESSAGE);
        assert!(refusal.0.violations[0].1.len() <= MAX_MESSAGE);
        let mut headers = http::HeaderMap::new();
        refusal.to_status().add_header(&mut headers).unwrap();
        assert!(headers.values().map(http::HeaderValue::len).sum::<usize>() < 8 << 10);
    }

    #[test]
    fn bare_statuses_get_a_reason_and_internal_ones_lose_their_cause() {
        let garbage = Status::internal("failed to decode Protobuf message: invalid wire type");
        let described = describe_bare(&garbage).unwrap();
        assert_eq!((described.code(), described.reason()), (Code::InvalidArgument, "REQUEST_MALFORMED"));
        let leak = describe_bare(&Status::unknown("connection to 10.0.0.1 refused")).unwrap().to_status();
        assert!(!leak.message().contains("10.0.0.1"));
        assert!(describe_bare(&described.to_status()).is_none());
    }
}
