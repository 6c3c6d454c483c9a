//! Errors of the upload service, and their RPC form.

use std::time::Duration;

use reelmill_mesh::{RpcError, paging::PageError};
use reelmill_platform::{
    database::{DatabaseError, is_unavailable},
    objects::ObjectsError,
};
use reelmill_proto::Reason;
use sea_orm::DbErr;
use tonic::{Code, Status};

/// Error of the upload service.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// A request field is invalid.
    #[error("{field}: {message}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is required.
        message: String,
    },
    /// `page_size` or `page_token` is invalid.
    #[error(transparent)]
    Page(#[from] PageError),
    /// The declared size is 0.
    #[error("the file is empty")]
    FileEmpty,
    /// The declared size exceeds the limit, bytes.
    #[error("the file is larger than {0} bytes")]
    FileTooLarge(i64),
    /// The upload does not exist or belongs to another user.
    #[error("there is no such upload")]
    UploadNotFound,
    /// The video does not exist or belongs to another user.
    #[error("there is no such video")]
    VideoNotFound,
    /// The upload is not OPEN.
    #[error("the upload is no longer open")]
    UploadNotOpen,
    /// Another call is completing the upload.
    #[error("the upload is being completed by another call; retry")]
    UploadCompleting,
    /// The upload has no part with this number.
    #[error("there is no part {number}; parts are numbered 1 to {count}")]
    PartNumberInvalid {
        /// The requested number.
        number: i32,
        /// Number of parts.
        count: i32,
    },
    /// A part was not received or not listed.
    #[error("part {0} is missing")]
    PartMissing(i32),
    /// The ETag of a part differs from that of the received part.
    #[error("part {0} differs from the part that was received; send it again")]
    PartEtagMismatch(i32),
    /// The received parts do not have the declared size.
    #[error("the received parts are not a file of {declared} bytes")]
    SizeMismatch {
        /// Declared size, bytes.
        declared: i64,
    },
    /// The video has no playable segments (yet).
    #[error("the video cannot be played yet")]
    VideoNotReady,
    /// The object store is unavailable or rejected a request.
    #[error("object store: {0}")]
    Objects(#[from] ObjectsError),
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] DatabaseError),
    /// A query failed.
    #[error("database: {0}")]
    Database(#[from] DbErr),
    /// The transcode service is unavailable or returned an error.
    #[error("transcode: {0}")]
    Transcode(Status),
    /// A spawned task panicked or was cancelled.
    #[error("a spawned task failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl UploadError {
    pub(crate) fn field(field: &'static str, message: impl Into<String>) -> Self {
        Self::Field { field, message: message.into() }
    }

    /// Whether the client's parts are wrong, so that only the client can resolve the error.
    pub(crate) fn is_wrong_parts(&self) -> bool {
        matches!(
            self,
            Self::Field { .. } | Self::PartMissing(_) | Self::PartEtagMismatch(_) | Self::SizeMismatch { .. }
        )
    }
}

impl From<&UploadError> for RpcError {
    fn from(error: &UploadError) -> Self {
        let message = error.to_string();
        match error {
            UploadError::Field { field, message } => Self::field(Reason::FieldInvalid, field, message),
            UploadError::Page(error) => Self::from(*error),
            UploadError::FileEmpty => Self::field(Reason::FileEmpty, "size_bytes", message),
            UploadError::FileTooLarge(limit) => {
                Self::field(Reason::FileTooLarge, "size_bytes", message).with("limit_bytes", limit)
            }
            UploadError::UploadNotFound => Self::not_found(Reason::UploadNotFound, message),
            UploadError::VideoNotFound => Self::not_found(Reason::VideoNotFound, message),
            UploadError::UploadNotOpen => Self::precondition(Reason::UploadNotOpen, message),
            UploadError::UploadCompleting => Self::new(Code::Unavailable, Reason::UploadCompleting, message)
                .retry_after(Duration::from_secs(2)),
            UploadError::PartNumberInvalid { .. } => Self::field(Reason::PartNumberInvalid, "parts", message),
            UploadError::PartMissing(number) => {
                Self::precondition(Reason::PartMissing, message).with("part_number", number)
            }
            UploadError::PartEtagMismatch(number) => {
                Self::precondition(Reason::PartEtagMismatch, message).with("part_number", number)
            }
            UploadError::SizeMismatch { .. } => Self::precondition(Reason::SizeMismatch, message),
            UploadError::VideoNotReady => Self::precondition(Reason::VideoNotReady, message),
            UploadError::Objects(cause) => Self::unavailable(
                Reason::ObjectStoreUnavailable,
                "the object store is unavailable; retry",
                cause,
            ),
            UploadError::Database(cause) if is_unavailable(cause) => {
                Self::unavailable(Reason::DatabaseUnavailable, "the database is unavailable; retry", cause)
            }
            UploadError::Transcode(cause) => Self::unavailable(
                Reason::TranscodeUnavailable,
                "the transcode service is unavailable; retry",
                cause,
            ),
            UploadError::Open(_) | UploadError::Database(_) | UploadError::Task(_) => Self::internal(error),
        }
    }
}

impl From<UploadError> for Status {
    fn from(error: UploadError) -> Self {
        RpcError::from(&error).to_status()
    }
}
