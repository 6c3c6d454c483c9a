//! Errors of the transcode role and their gRPC status.

use reelmill_mesh::{RpcError, paging::PageError};
use reelmill_platform::{
    database::{self, DatabaseError},
    objects::ObjectsError,
    queue::QueueError,
    shared_state::SharedStateError,
};
use reelmill_proto::Reason;
use sea_orm::DbErr;
use tonic::Status;

use crate::domain::LeaseLost;

/// Error of the transcode role.
#[derive(Debug, thiserror::Error)]
pub enum TranscodeError {
    /// The caller has no job of this name.
    #[error("no such job: {0}")]
    JobNotFound(String),
    /// There is no task of this name.
    #[error("no such task: {0}")]
    TaskNotFound(String),
    /// No such worker was seen lately.
    #[error("no such worker: {0}")]
    WorkerNotFound(String),
    /// The worker may not run the task.
    #[error(transparent)]
    LeaseLost(#[from] LeaseLost),
    /// A job that has ended has no priority.
    #[error("the job has ended")]
    JobEnded,
    /// A job that succeeded cannot be retried.
    #[error("the job succeeded")]
    JobSucceeded,
    /// The source of a job that is to be retried was deleted.
    #[error("the source was deleted")]
    SourceDeleted,
    /// A field of the request is invalid.
    #[error("{field}: {message}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong.
        message: String,
    },
    /// `page_size` or `page_token` is invalid.
    #[error(transparent)]
    Page(#[from] PageError),
    /// The database could not be opened or migrated.
    #[error(transparent)]
    Open(#[from] DatabaseError),
    /// A query failed.
    #[error("database: {0}")]
    Database(#[from] DbErr),
    /// A request to the object store failed.
    #[error("object store: {0}")]
    Objects(#[from] ObjectsError),
    /// A request to the object store timed out.
    #[error("object store: request timed out")]
    ObjectStoreTimeout,
    /// Segments of this rendition are not recorded.
    #[error("segments of {0} are not recorded")]
    SegmentsMissing(String),
    /// Another process has written a playlist in the meantime.
    #[error("another process publishes the job")]
    PublishedByOther,
    /// A request to the queue failed.
    #[error("queue: {0}")]
    Queue(#[from] QueueError),
    /// Publishing or subscribing failed.
    #[error("pub/sub: {0}")]
    PubSub(#[from] SharedStateError),
    /// A published message is malformed.
    #[error("published message: {0}")]
    PublishedMessage(#[from] prost::DecodeError),
    /// A plan cannot be parsed or serialized.
    #[error("plan: {0}")]
    Plan(#[from] serde_json::Error),
    /// A planned job has no plan.
    #[error("the plan of job {0} is missing")]
    PlanMissing(String),
}

impl TranscodeError {
    pub(crate) fn field(field: &'static str, message: impl Into<String>) -> Self {
        Self::Field { field, message: message.into() }
    }
}

impl From<TranscodeError> for Status {
    fn from(error: TranscodeError) -> Self {
        let rpc_error = match &error {
            TranscodeError::JobNotFound(_) => RpcError::not_found(Reason::JobNotFound, "no such job"),
            TranscodeError::TaskNotFound(_) => RpcError::not_found(Reason::TaskNotFound, "no such task"),
            TranscodeError::WorkerNotFound(_) => {
                RpcError::not_found(Reason::WorkerNotFound, "no such worker was seen within the last day")
            }
            TranscodeError::LeaseLost(lease) => RpcError::precondition(Reason::LeaseLost, lease.to_string()),
            TranscodeError::SegmentsMissing(_) => {
                RpcError::precondition(Reason::SegmentsMissing, error.to_string())
            }
            TranscodeError::JobEnded => {
                RpcError::precondition(Reason::JobEnded, "the job has ended: there is nothing to put first")
            }
            TranscodeError::JobSucceeded => RpcError::precondition(
                Reason::JobSucceeded,
                "the video was transcoded successfully: there is nothing to retry",
            ),
            TranscodeError::SourceDeleted => RpcError::precondition(
                Reason::SourceDeleted,
                "the uploaded file was deleted: upload it again",
            ),
            TranscodeError::Field { field, message } => RpcError::field(Reason::FieldInvalid, field, message),
            TranscodeError::Page(page) => (*page).into(),
            TranscodeError::Objects(cause) => RpcError::unavailable(
                Reason::ObjectStoreUnavailable,
                "the object store is unavailable: retry",
                cause,
            ),
            TranscodeError::ObjectStoreTimeout => RpcError::unavailable(
                Reason::ObjectStoreUnavailable,
                "the object store is unavailable: retry",
                &error,
            ),
            TranscodeError::Queue(cause) => {
                RpcError::unavailable(Reason::QueueUnavailable, "the queue is unavailable: retry", cause)
            }
            TranscodeError::PubSub(cause) => {
                RpcError::unavailable(Reason::SharedStateUnavailable, "pub/sub is unavailable: retry", cause)
            }
            TranscodeError::Database(cause) if database::is_unavailable(cause) => RpcError::unavailable(
                Reason::DatabaseUnavailable,
                "the database is unavailable: retry",
                cause,
            ),
            TranscodeError::Open(_)
            | TranscodeError::Database(_)
            | TranscodeError::PublishedMessage(_)
            | TranscodeError::Plan(_)
            | TranscodeError::PublishedByOther
            | TranscodeError::PlanMissing(_) => RpcError::internal(&error),
        };
        rpc_error.into()
    }
}
