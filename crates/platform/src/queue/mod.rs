//! The queue seam: send, receive, extend, delete, dead letters.
//!
//! Delivery is at least once, late and in any order; what a message means is in the database of whoever sent it.
//! A received message is hidden for its visibility timeout and comes back unless it is deleted. One that was
//! received `max_receives` times without being deleted becomes a dead letter.

mod database;
mod migration;
mod sqs;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::DbErr;

use crate::database::DatabaseError;

/// The longest delay of a message (SQS's limit, the same on every backend). Longer ones are cut to it.
pub const MAX_DELAY: Duration = Duration::from_secs(15 * 60);
/// The most messages one `receive` or `dead_letters` hands out (SQS's limit, the same on every backend).
pub const MAX_BATCH: usize = 10;
/// How long a dead letter that was handed out stays hidden from other readers of dead letters.
pub const DEAD_LETTER_VISIBILITY: Duration = Duration::from_secs(30);

/// A message as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What was sent.
    pub body: String,
    /// Names this very receipt of it, for `extend` and `delete`.
    pub receipt: String,
    /// How often it was received, this time included.
    pub receive_count: u32,
}

/// Where the queue is.
#[derive(Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueConfig {
    /// `sqlite:///path/queue.db`, `postgres://…`, `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`, or for other
    /// servers that speak SQS `sqs+http://HOST/ACCOUNT/NAME` (`sqs+https:` likewise).
    pub url: String,
    /// SQS's dead-letter queue, in the form of `url`. AWS: required. Other servers: `url` with `-dead` appended.
    #[serde(default)]
    pub dead_letter_url: Option<String>,
    /// How often a message is handed out before it becomes a dead letter; at least 1. On AWS the queue's own
    /// redrive policy says this.
    pub max_receives: u32,
    /// SQS's region. AWS: taken from `url` when absent.
    #[serde(default)]
    pub region: Option<String>,
    /// SQS's access key; absent: AWS's default credential chain.
    #[serde(default)]
    pub access_key_id: Option<String>,
    /// The access key's secret.
    #[serde(default)]
    pub secret_access_key: Option<String>,
}

impl std::fmt::Debug for QueueConfig {
    /// Shows no secret, not even the password that a Postgres URL may hold.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let backend = self.url.split(':').next().unwrap_or_default();
        f.debug_struct("QueueConfig")
            .field("backend", &backend)
            .field("max_receives", &self.max_receives)
            .finish_non_exhaustive()
    }
}

/// Why a call on the queue failed.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The configuration cannot be meant.
    #[error("queue: {0}")]
    Config(String),
    /// The message was received again, was deleted, or its visibility timeout has run out.
    #[error("the message's receipt is stale")]
    ReceiptStale,
    /// The database that holds the queue cannot be opened.
    #[error("queue: {0}")]
    Open(#[from] DatabaseError),
    /// The database that holds the queue refused or failed.
    #[error("queue: {0}")]
    Database(#[from] DbErr),
    /// SQS refused, failed, or does not answer.
    #[error("queue: SQS {operation}: {code}: {message}")]
    Sqs {
        /// The SQS action.
        operation: &'static str,
        /// SQS's error code; empty when there was no answer.
        code: String,
        /// What it answered.
        message: String,
    },
}

/// A queue. Handles are shared; every method may be called at once from many tasks.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Puts a message on the queue, to be received after `delay` (at most [`MAX_DELAY`]).
    async fn send(&self, body: &str, delay: Duration) -> Result<(), QueueError>;

    /// Takes up to `max` messages (at most [`MAX_BATCH`]), each hidden from others for `visibility` (SQS: rounded
    /// up to seconds). Waits up to `wait` for the first one; empty when none came. A message whose `receive` is
    /// dropped while it is under way comes back after `visibility`.
    async fn receive(
        &self,
        max: usize,
        visibility: Duration,
        wait: Duration,
    ) -> Result<Vec<Message>, QueueError>;

    /// Hides a received message for `visibility` from now; zero hands it back at once.
    ///
    /// # Errors
    /// [`QueueError::ReceiptStale`] when it was received again, was deleted, or its visibility has run out.
    async fn extend(&self, receipt: &str, visibility: Duration) -> Result<(), QueueError>;

    /// Removes a received message or a dead letter. With a stale receipt it does nothing, without an error.
    async fn delete(&self, receipt: &str) -> Result<(), QueueError>;

    /// Up to `max` dead letters (at most [`MAX_BATCH`]), hidden from other readers of dead letters for
    /// [`DEAD_LETTER_VISIBILITY`]. Delete those that were dealt with.
    async fn dead_letters(&self, max: usize) -> Result<Vec<Message>, QueueError>;
}

/// Opens the queue that `config.url` names, and makes it where it does not exist (on AWS it must).
pub async fn connect(config: &QueueConfig) -> Result<Arc<dyn Queue>, QueueError> {
    if config.max_receives == 0 {
        return Err(QueueError::Config("max_receives must be at least 1".to_owned()));
    }
    match config.url.split(':').next().unwrap_or_default() {
        "sqlite" | "postgres" | "postgresql" => Ok(Arc::new(database::DatabaseQueue::open(config).await?)),
        "sqs+http" | "sqs+https" | "https" => Ok(Arc::new(sqs::SqsQueue::open(config).await?)),
        other => Err(QueueError::Config(format!("no queue backend has URLs that start with `{other}:`"))),
    }
}
