//! Idempotency key of a create call (`request_id` in the contract); not the `x-request-id` of a call in the logs.

use crate::error::UploadError;

const MAX_CHARS: usize = 64;

/// Parses an optional idempotency key; empty means none.
pub(crate) fn parse(request_id: &str) -> Result<Option<String>, UploadError> {
    if request_id.chars().count() > MAX_CHARS || request_id.chars().any(char::is_control) {
        let message = format!("must be at most {MAX_CHARS} printable characters");
        return Err(UploadError::field("request_id", message));
    }
    Ok((!request_id.is_empty()).then(|| request_id.to_owned()))
}
