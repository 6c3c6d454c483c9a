//! What a gRPC status means to the user.

use std::error::Error as _;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    error::{ClientError, root_cause},
    text,
};

/// The error that a failed call to `server` is reported as.
pub fn to_error(server: &str, status: &Status) -> ClientError {
    if is_connection_failure(status) {
        let cause = status.source().map_or_else(|| status.message().to_owned(), root_cause);
        return ClientError::Unreachable { server: server.to_owned(), cause };
    }
    let code = status.code();
    let mut message = text::sanitize(status.message());
    if let Some(id) = status.metadata().get("x-request-id").and_then(|id| id.to_str().ok())
        && is_internal(code)
    {
        message = format!("{message} [x-request-id {}]", text::sanitize(id));
    }
    let info = status.get_details_error_info();
    let reason = info.map_or_else(|| code_name(code).to_owned(), |info| text::sanitize(&info.reason));
    match code {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => {
            ClientError::Unreachable { server: server.to_owned(), cause: format!("{message} ({reason})") }
        }
        Code::Ok => ClientError::Failed { reason, message },
        code if is_internal(code) => ClientError::Failed { reason, message },
        code => ClientError::Rejected { code, reason, message },
    }
}

/// Whether the status was generated locally, because the connection could not be established or broke,
/// rather than sent by the server.
pub fn is_connection_failure(status: &Status) -> bool {
    status.details().is_empty() && (status.source().is_some() || status.code() == Code::Unavailable)
}

fn is_internal(code: Code) -> bool {
    matches!(code, Code::Internal | Code::Unknown | Code::DataLoss)
}

/// The code's name in the gRPC specification.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    fn rich(code: Code, reason: &str) -> Status {
        let details = ErrorDetails::with_error_info(reason, "reelmill", HashMap::new());
        Status::with_error_details(code, "no", details)
    }

    #[test]
    fn to_error_rejected_call_exits_with_4_and_the_servers_reason() {
        for code in [
            Code::Unauthenticated,
            Code::NotFound,
            Code::InvalidArgument,
            Code::FailedPrecondition,
            Code::AlreadyExists,
            Code::PermissionDenied,
            Code::ResourceExhausted,
            Code::Unimplemented,
        ] {
            let error = to_error("http://h", &rich(code, "SOME_REASON"));
            assert_eq!(error.exit_code(), 4, "{code:?}");
            assert_eq!(error.to_string(), "no (SOME_REASON)");
        }
    }

    #[test]
    fn to_error_unavailable_server_exits_with_3() {
        assert_eq!(to_error("http://h", &Status::unavailable("tcp")).exit_code(), 3);
        let unavailable = rich(Code::Unavailable, "OBJECT_STORE_UNAVAILABLE");
        assert_eq!(to_error("http://h", &unavailable).exit_code(), 3);
    }

    #[test]
    fn to_error_internal_error_exits_with_1() {
        assert_eq!(to_error("http://h", &rich(Code::Internal, "INTERNAL")).exit_code(), 1);
    }

    #[test]
    fn to_error_message_with_escape_sequence_is_sanitized() {
        let error = to_error("http://h", &Status::not_found("\x1b[2Jgone"));
        assert!(!error.to_string().contains('\x1b'));
    }
}
