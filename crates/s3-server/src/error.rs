//! What can go wrong, and how it is told in S3's terms.

use std::io;
use std::path::PathBuf;

use http::StatusCode;
use s3s::{S3Error, S3ErrorCode, s3_error};
use sea_orm::DbErr;

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder can't be created, read or written.
    #[error("object store folder {}: {}", .0.display(), .1)]
    Io(PathBuf, #[source] io::Error),
    /// Another process has the folder open.
    #[error("object store folder {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The folder was written by a newer version of this program.
    #[error("object store format {found} is newer than {known}, the newest this version knows")]
    Newer {
        /// The format number found in the folder.
        found: i64,
        /// The newest format number this version reads.
        known: i64,
    },
    /// The index can't be opened or read.
    #[error("object store index: {0}")]
    Index(#[from] DbErr),
    /// The configured bucket's name breaks S3's rules.
    #[error("{0:?} is no valid bucket name")]
    BucketName(String),
}

/// Why an operation did not happen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// Refused for a reason of the request's own. Nothing was changed.
    #[error(transparent)]
    Refused(#[from] S3Error),
    /// The index failed. Whether a change was committed may be unknown.
    #[error("index: {0}")]
    Index(#[from] DbErr),
    /// A content file could not be written or read.
    #[error("object data: {0}")]
    Io(#[from] io::Error),
}

pub(crate) type Result<T> = std::result::Result<T, StoreError>;

impl From<tokio::task::JoinError> for StoreError {
    fn from(e: tokio::task::JoinError) -> Self {
        Self::Io(io::Error::other(e))
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(e: serde_json::Error) -> Self {
        Self::Index(DbErr::Custom(e.to_string()))
    }
}

impl StoreError {
    /// True when the disk, or the quota on it, has no room left.
    fn is_full(&self) -> bool {
        match self {
            Self::Refused(_) => false,
            // SQLITE_FULL; sqlx gives it as text only once it is wrapped by sea-orm.
            Self::Index(e) => e.to_string().contains("database or disk is full"),
            Self::Io(e) => {
                matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
        }
    }
}

impl From<StoreError> for S3Error {
    fn from(e: StoreError) -> Self {
        let full = e.is_full();
        match e {
            StoreError::Refused(e) => e,
            e if full => {
                tracing::error!(error = %e, "the object store's disk is full");
                let (code, status) = ("InsufficientStorage", StatusCode::INSUFFICIENT_STORAGE);
                refusal(code, status, "The object store has no space left.")
            }
            e => {
                tracing::error!(error = %e, "object store operation failed");
                s3_error!(InternalError, "The object store failed. Try again.")
            }
        }
    }
}

/// A refusal with a code that s3s has no name for.
pub(crate) fn refusal(code: &'static str, status: StatusCode, message: &'static str) -> S3Error {
    let mut e = S3Error::with_message(S3ErrorCode::Custom(code.into()), message);
    e.set_status_code(status);
    e
}
