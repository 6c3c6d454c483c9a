//! Errors, and their conversion into S3's.

use std::{io, path::PathBuf};

use http::StatusCode;
use s3s::{S3Error, S3ErrorCode, s3_error};
use sea_orm::DbErr;

/// Why the object store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder can't be created, read or written.
    #[error("object store folder {}: {}", .0.display(), .1)]
    Io(PathBuf, #[source] io::Error),
    /// Another process has the folder open.
    #[error("object store folder {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The folder was written by a newer version of this program.
    #[error(
        "object store format {found} is newer than {supported}, the newest that this version of reelmill supports"
    )]
    NewerFormat {
        /// The format number found in the folder.
        found: i64,
        /// The newest format number that this version reads.
        supported: i64,
    },
    /// The folder was written by a version of this program from before its first release.
    #[error(
        "object store format {found} is older than {supported}, the oldest that this version of reelmill supports; \
         it was never released: remove the folder"
    )]
    OlderFormat {
        /// The format number found in the folder.
        found: i64,
        /// The oldest format number that this version reads.
        supported: i64,
    },
    /// The index can't be opened or read.
    #[error("object store index: {0}")]
    Index(#[from] DbErr),
    /// The configured bucket's name violates S3's rules.
    #[error("{0:?} is not a valid bucket name")]
    BucketName(String),
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObjectStoreError {
    /// The request was rejected. Nothing was changed.
    #[error(transparent)]
    Rejected(#[from] S3Error),
    /// The index failed. Whether a change was committed may be unknown.
    #[error("index: {0}")]
    Index(#[from] DbErr),
    /// A blob could not be written or read.
    #[error("object data: {0}")]
    Io(#[from] io::Error),
}

pub(crate) type Result<T> = std::result::Result<T, ObjectStoreError>;

impl From<tokio::task::JoinError> for ObjectStoreError {
    fn from(e: tokio::task::JoinError) -> Self {
        Self::Io(io::Error::other(e))
    }
}

impl From<serde_json::Error> for ObjectStoreError {
    fn from(e: serde_json::Error) -> Self {
        Self::Index(DbErr::Custom(e.to_string()))
    }
}

impl ObjectStoreError {
    /// True if the disk or its quota is full.
    fn is_disk_full(&self) -> bool {
        match self {
            Self::Rejected(_) => false,
            // SQLITE_FULL. sea-orm wraps sqlx's error, of which only the text is left.
            Self::Index(e) => e.to_string().contains("database or disk is full"),
            Self::Io(e) => {
                matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
        }
    }
}

impl From<ObjectStoreError> for S3Error {
    fn from(e: ObjectStoreError) -> Self {
        let disk_full = e.is_disk_full();
        match e {
            ObjectStoreError::Rejected(e) => e,
            e if disk_full => {
                tracing::error!(error = %e, "the object store's disk is full");
                let (code, status) = ("InsufficientStorage", StatusCode::INSUFFICIENT_STORAGE);
                custom_error(code, status, "The object store has no space left.")
            }
            e => {
                tracing::error!(error = %e, "object store operation failed");
                s3_error!(InternalError, "The object store failed. Try again.")
            }
        }
    }
}

/// An error whose code s3s does not define.
pub(crate) fn custom_error(code: &'static str, status: StatusCode, message: &'static str) -> S3Error {
    let mut e = S3Error::with_message(S3ErrorCode::Custom(code.into()), message);
    e.set_status_code(status);
    e
}

pub(crate) fn no_such_key() -> S3Error {
    s3_error!(NoSuchKey, "The specified key does not exist.")
}

/// The object has no part with the requested number.
pub(crate) fn no_such_part() -> S3Error {
    s3_error!(InvalidPart, "The object has no part with this number.")
}
