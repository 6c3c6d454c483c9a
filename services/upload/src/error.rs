//! What can go wrong, and what callers are told of it.

use reelmill_proto::Reason;
use std::time::Duration;

use reelmill_mesh::RpcError;
use reelmill_platform::{
    database::{DatabaseError, is_unavailable},
    objects::ObjectsError,
};
use sea_orm::DbErr;
use tonic::{Code, Status};

/// What can go wrong in the upload service.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The caller did not sign in.
    #[error("sign in first")]
    SignInRequired,
    /// A field of the request can't be.
    #[error("{field}: {message}")]
    Field {
        /// The field.
        field: &'static str,
        /// What it must be.
        message: String,
    },
    /// The file has no bytes.
    #[error("the file is empty")]
    FileEmpty,
    /// The file has more bytes than a store takes.
    #[error("the file is larger than {0} bytes")]
    FileTooLarge(i64),
    /// There is no such upload, or it is another's.
    #[error("there is no such upload")]
    UploadNotFound,
    /// There is no such video, or it is another's.
    #[error("there is no such video")]
    VideoNotFound,
    /// The upload has ended or is ending.
    #[error("the upload is not open any more")]
    UploadNotOpen,
    /// Another call is completing the upload.
    #[error("the upload is being completed by another call")]
    UploadCompleting,
    /// No such part.
    #[error("{number} is no part: they count from 1 to {count}")]
    PartNumberInvalid {
        /// As asked for.
        number: i32,
        /// How many parts there are.
        count: i32,
    },
    /// A part was not received or not named.
    #[error("part {0} is missing")]
    PartMissing(i32),
    /// A part is not the one the client sent.
    #[error("part {0} is not the one that was received: send it again")]
    PartEtagMismatch(i32),
    /// What was received is not as long as was said.
    #[error("what was received is not a file of {declared} bytes")]
    SizeMismatch {
        /// As declared, bytes.
        declared: i64,
    },
    /// A page token of another list, or made up.
    #[error("page_token: not one that was handed out")]
    PageTokenInvalid,
    /// The video does not play (yet).
    #[error("the video can't be played yet")]
    VideoNotReady,
    /// The object store is away or refuses.
    #[error("object store: {0}")]
    Objects(#[from] ObjectsError),
    /// The database can't be opened.
    #[error(transparent)]
    Open(#[from] DatabaseError),
    /// The database failed.
    #[error("database: {0}")]
    Database(#[from] DbErr),
    /// The transcode service refused or is away.
    #[error("transcode: {0}")]
    Transcode(Status),
    /// A record that can't be read.
    #[error("a record can't be read: {0}")]
    Record(#[from] prost::DecodeError),
    /// A task of ours ended early.
    #[error("a task ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl UploadError {
    pub(crate) fn field(field: &'static str, message: impl Into<String>) -> Self {
        Self::Field { field, message: message.into() }
    }

    /// Whether the client's parts are at fault, not the system.
    pub(crate) fn is_clients(&self) -> bool {
        matches!(
            self,
            Self::Field { .. } | Self::PartMissing(_) | Self::PartEtagMismatch(_) | Self::SizeMismatch { .. }
        )
    }
}

impl From<&UploadError> for RpcError {
    fn from(error: &UploadError) -> Self {
        let text = error.to_string();
        match error {
            UploadError::SignInRequired => Self::unauthenticated(Reason::SignInRequired, text),
            UploadError::Field { field, message } => Self::field(Reason::FieldInvalid, field, message),
            UploadError::FileEmpty => Self::field(Reason::FileEmpty, "size_bytes", text),
            UploadError::FileTooLarge(limit) => {
                Self::field(Reason::FileTooLarge, "size_bytes", text).with("limit_bytes", limit)
            }
            UploadError::UploadNotFound => Self::not_found(Reason::UploadNotFound, text),
            UploadError::VideoNotFound => Self::not_found(Reason::VideoNotFound, text),
            UploadError::UploadNotOpen => Self::precondition(Reason::UploadNotOpen, text),
            UploadError::UploadCompleting => Self::new(Code::Unavailable, Reason::UploadCompleting, text)
                .retry_after(Duration::from_secs(2)),
            UploadError::PartNumberInvalid { .. } => Self::field(Reason::PartNumberInvalid, "parts", text),
            UploadError::PartMissing(number) => {
                Self::precondition(Reason::PartMissing, text).with("part_number", number)
            }
            UploadError::PartEtagMismatch(number) => {
                Self::precondition(Reason::PartEtagMismatch, text).with("part_number", number)
            }
            UploadError::SizeMismatch { .. } => Self::precondition(Reason::SizeMismatch, text),
            UploadError::PageTokenInvalid => Self::field(Reason::PageTokenInvalid, "page_token", text),
            UploadError::VideoNotReady => Self::precondition(Reason::VideoNotReady, text),
            UploadError::Objects(cause) => Self::unavailable(
                Reason::ObjectStoreUnavailable,
                "the object store is away; try again",
                cause,
            ),
            UploadError::Database(cause) if is_unavailable(cause) => {
                Self::unavailable(Reason::DatabaseUnavailable, "the database is away; try again", cause)
            }
            UploadError::Transcode(cause) => {
                Self::unavailable(Reason::TranscodeUnavailable, "transcoding is away; try again", cause)
            }
            UploadError::Open(_)
            | UploadError::Database(_)
            | UploadError::Record(_)
            | UploadError::Task(_) => Self::internal(error),
        }
    }
}

impl From<UploadError> for Status {
    fn from(error: UploadError) -> Self {
        RpcError::from(&error).to_status()
    }
}
