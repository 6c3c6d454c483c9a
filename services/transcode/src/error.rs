//! What can go wrong in dispatch, and how callers are told.

use reelmill_mesh::RpcError;
use reelmill_platform::{
    database::{self, DatabaseError},
    objects::ObjectsError,
    queue::QueueError,
    shared_state::SharedStateError,
};
use reelmill_proto::Reason;
use sea_orm::DbErr;
use tonic::Status;

use crate::domain::LeaseError;

/// Why the transcode role could not do something.
#[derive(Debug, thiserror::Error)]
pub enum TranscodeError {
    /// There is no such job for this caller.
    #[error("there is no such job")]
    JobNotFound(String),
    /// There is no such task.
    #[error("there is no such task")]
    TaskNotFound(String),
    /// The task can't be worked at under this lease.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// A field of the request is wrong.
    #[error("{field}: {message}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong.
        message: String,
    },
    /// The page token is not one of ours.
    #[error("the page token is not valid")]
    PageToken,
    /// The database can't be opened.
    #[error(transparent)]
    Open(#[from] DatabaseError),
    /// The database failed.
    #[error("database: {0}")]
    Database(#[from] DbErr),
    /// The object store failed.
    #[error("object store: {0}")]
    Objects(#[from] ObjectsError),
    /// The queue failed.
    #[error("queue: {0}")]
    Queue(#[from] QueueError),
    /// The hub failed.
    #[error("pub/sub: {0}")]
    PubSub(#[from] SharedStateError),
    /// A stored message can't be read.
    #[error("stored message: {0}")]
    Stored(#[from] prost::DecodeError),
    /// A stored plan can't be read.
    #[error("stored plan: {0}")]
    StoredPlan(#[from] serde_json::Error),
    /// The plan of a job that was planned is not there.
    #[error("the plan of job {0} is missing")]
    PlanMissing(String),
    /// The object store did not answer in time.
    #[error("object store: no answer in time")]
    StoreSlow,
}

impl TranscodeError {
    pub(crate) fn field(field: &'static str, message: impl Into<String>) -> Self {
        Self::Field { field, message: message.into() }
    }
}

impl From<TranscodeError> for Status {
    fn from(error: TranscodeError) -> Self {
        let refusal = match &error {
            TranscodeError::JobNotFound(_) => RpcError::not_found(Reason::JobNotFound, error.to_string()),
            TranscodeError::TaskNotFound(_) => RpcError::not_found(Reason::TaskNotFound, error.to_string()),
            TranscodeError::Lease(lease) => RpcError::precondition(lease.reason(), error.to_string()),
            TranscodeError::Field { field, message } => RpcError::field(Reason::FieldInvalid, field, message),
            TranscodeError::PageToken => {
                RpcError::field(Reason::PageTokenInvalid, "page_token", "not from a former answer")
            }
            TranscodeError::Objects(cause) => {
                RpcError::unavailable(Reason::ObjectStoreUnavailable, "the object store is away", cause)
            }
            TranscodeError::Queue(cause) => {
                RpcError::unavailable(Reason::QueueUnavailable, "the queue is away", cause)
            }
            TranscodeError::PubSub(cause) => {
                RpcError::unavailable(Reason::SharedStateUnavailable, "the shared state is away", cause)
            }
            TranscodeError::Database(cause) if database::is_unavailable(cause) => {
                RpcError::unavailable(Reason::DatabaseUnavailable, "the database is away", cause)
            }
            TranscodeError::StoreSlow => {
                RpcError::unavailable(Reason::ObjectStoreUnavailable, "the object store is away", &error)
            }
            TranscodeError::Open(_)
            | TranscodeError::Database(_)
            | TranscodeError::Stored(_)
            | TranscodeError::StoredPlan(_)
            | TranscodeError::PlanMissing(_) => RpcError::internal(&error),
        };
        refusal.into()
    }
}
