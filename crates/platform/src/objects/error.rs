//! One error for all calls on the store.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

/// Why a call on the object store failed.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// The configuration, or what a caller passed, cannot be meant.
    #[error("objects: {0}")]
    Config(String),
    /// There is no such object (or bucket).
    #[error("objects: not found")]
    NotFound,
    /// The multipart upload was completed, aborted, or never was.
    #[error("objects: no such multipart upload")]
    UploadNotFound,
    /// The object is still the one whose ETag the caller has.
    #[error("objects: not modified")]
    NotModified,
    /// The range lies beyond the object's end.
    #[error("objects: the range cannot be satisfied")]
    RangeNotSatisfiable,
    /// The parts to complete an upload with are not those that the store has (missing, another ETag, too small).
    #[error("objects: {code}: {message}")]
    InvalidParts {
        /// S3's code: `InvalidPart`, `InvalidPartOrder` or `EntityTooSmall`.
        code: String,
        /// What the store said.
        message: String,
    },
    /// The store refused; asking again will not help.
    #[error("objects: {operation}: {code}: {message}")]
    Refused {
        /// The S3 action.
        operation: &'static str,
        /// S3's code, or the HTTP status where the answer had none.
        code: String,
        /// What the store said.
        message: String,
    },
    /// The store failed or does not answer, also after retries.
    #[error("objects: {operation}: {message}")]
    Unavailable {
        /// The S3 action.
        operation: &'static str,
        /// What is known of the cause.
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
                Self::Refused { operation, code, message }
            }
            _ => Self::Unavailable { operation, message: crate::error_chain::one_line(&error) },
        }
    }
}
