//! The error of all object store calls.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

/// Why a call on the object store failed.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// The configuration or an argument is invalid.
    #[error("objects: {0}")]
    Config(String),
    /// No such object or bucket.
    #[error("objects: not found")]
    NotFound,
    /// The multipart upload was completed or aborted, or never existed.
    #[error("objects: no such multipart upload")]
    UploadNotFound,
    /// The ETag of the object matches `if_none_match`.
    #[error("objects: not modified")]
    NotModified,
    /// The range starts beyond the end of the object.
    #[error("objects: the range cannot be satisfied")]
    RangeNotSatisfiable,
    /// The listed parts differ from those in the object store: missing, another ETag, or too small.
    #[error("objects: {code}: {message}")]
    InvalidParts {
        /// S3's code: `InvalidPart`, `InvalidPartOrder` or `EntityTooSmall`.
        code: String,
        /// Message of the response.
        message: String,
    },
    /// The object store rejected the request. A retry does not help.
    #[error("objects: {operation}: {code}: {message}")]
    Rejected {
        /// The S3 action.
        operation: &'static str,
        /// S3's error code, or the HTTP status if the response has none.
        code: String,
        /// Message of the response.
        message: String,
    },
    /// The object store failed or is unreachable, also after retries.
    #[error("objects: {operation}: {message}")]
    Unavailable {
        /// The S3 action.
        operation: &'static str,
        /// The cause.
        message: String,
    },
}

impl ObjectsError {
    pub(super) fn from_sdk<E>(operation: &'static str, error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let code = error.code().unwrap_or_default().to_owned();
        let message = error.message().unwrap_or_default().to_owned();
        match (status, code.as_str()) {
            (_, "NoSuchUpload") => Self::UploadNotFound,
            (_, "InvalidPart" | "InvalidPartOrder" | "EntityTooSmall") => {
                Self::InvalidParts { code, message }
            }
            (Some(404), _) | (_, "NoSuchKey") => Self::NotFound,
            (Some(304), _) => Self::NotModified,
            (Some(416), _) | (_, "InvalidRange") => Self::RangeNotSatisfiable,
            (Some(status @ 400..=499), _) => {
                let code = if code.is_empty() { status.to_string() } else { code };
                Self::Rejected { operation, code, message }
            }
            _ => Self::Unavailable { operation, message: crate::error_chain::one_line(&error) },
        }
    }
}
