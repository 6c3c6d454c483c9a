//! The queue interface: send, receive, extend, delete, dead letters.
//!
//! Delivery is at least once, may be late, and in any order. A received message is hidden for its visibility timeout and
//! is delivered again unless it is deleted. A message that was received `max_receives` times without being deleted
//! becomes a dead letter.

mod database;
mod migration;
mod sqs;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sea_orm::DbErr;

use crate::database::DatabaseError;

/// Maximum delay of a message (SQS's limit, the same on every backend). Longer delays are capped.
pub const MAX_DELAY: Duration = Duration::from_secs(15 * 60);
/// Maximum number of messages that `receive` or `dead_letters` returns (SQS's limit, the same on every backend).
pub const MAX_BATCH: usize = 10;
/// How long a returned dead letter is hidden from other readers of the dead-letter queue.
pub const DEAD_LETTER_VISIBILITY: Duration = Duration::from_secs(30);

/// A received message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The body as it was sent.
    pub body: String,
    /// Receipt handle of this delivery, for `extend` and `delete`.
    pub receipt: String,
    /// Number of deliveries, including this one.
    pub receive_count: u32,
}

/// Numbers of messages in a queue. SQS's are approximate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Messages that can be received.
    pub visible: u64,
    /// Messages that were received and not deleted, or are delayed.
    pub hidden: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

/// Location and credentials of a queue.
#[derive(Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueConfig {
    /// `sqlite:///path/queue.db`, `postgres://…`, `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`, or for other
    /// servers with the SQS protocol `sqs+http://HOST/ACCOUNT/NAME` (`sqs+https:` likewise).
    pub url: String,
    /// SQS's dead-letter queue, in the form of `url`. AWS: required. Other servers: `url` with `-dead` appended.
    #[serde(default)]
    pub dead_letter_url: Option<String>,
    /// Deliveries after which a message becomes a dead letter; at least 1. On AWS the redrive policy of the queue applies
    /// instead.
    pub max_receives: u32,
    /// SQS's region. AWS: taken from `url` if absent.
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
    /// Without secrets, including the password in a Postgres URL.
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
    /// The configuration is invalid.
    #[error("queue: {0}")]
    Config(String),
    /// The message was delivered again or deleted, or its visibility timeout has expired.
    #[error("the receipt of the message is stale")]
    ReceiptStale,
    /// The database of the queue cannot be opened.
    #[error("queue: {0}")]
    Open(#[from] DatabaseError),
    /// The database of the queue returned an error.
    #[error("queue: {0}")]
    Database(#[from] DbErr),
    /// SQS returned an error or is unreachable.
    #[error("queue: SQS {operation}: {code}: {message}")]
    Sqs {
        /// The SQS action.
        operation: &'static str,
        /// SQS's error code; empty if there was no response.
        code: String,
        /// Message of the response or of the transport error.
        message: String,
    },
}

impl QueueError {
    /// Whether the server is unreachable or temporarily unavailable.
    fn is_unavailable(&self) -> bool {
        const CODES: [&str; 4] = ["", "ServiceUnavailable", "InternalFailure", "InternalError"];
        matches!(self, Self::Sqs { code, .. } if CODES.contains(&code.as_str()))
    }
}

/// A queue. All methods may be called concurrently.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Sends a message, to be delivered after `delay` (at most [`MAX_DELAY`]).
    async fn send(&self, body: &str, delay: Duration) -> Result<(), QueueError>;

    /// Receives up to `max` messages (at most [`MAX_BATCH`]), each hidden from other receivers for `visibility` (SQS:
    /// rounded up to seconds). Waits up to `wait` for the first one; empty if none arrives. If the call is dropped, the
    /// messages that it received are delivered again after `visibility`.
    async fn receive(
        &self,
        max: usize,
        visibility: Duration,
        wait: Duration,
    ) -> Result<Vec<Message>, QueueError>;

    /// Changes the visibility timeout of a received message to `visibility` from now. Zero makes it visible at once.
    ///
    /// # Errors
    /// [`QueueError::ReceiptStale`] if it was delivered again or deleted, or its visibility timeout has expired.
    async fn extend(&self, receipt: &str, visibility: Duration) -> Result<(), QueueError>;

    /// Deletes a received message or a dead letter. Without effect, and no error, if the receipt is stale.
    async fn delete(&self, receipt: &str) -> Result<(), QueueError>;

    /// Receives up to `max` dead letters (at most [`MAX_BATCH`]), hidden from other readers for
    /// [`DEAD_LETTER_VISIBILITY`]. They stay until they are deleted.
    async fn dead_letters(&self, max: usize) -> Result<Vec<Message>, QueueError>;

    /// Counts the messages.
    async fn depth(&self) -> Result<QueueDepth, QueueError>;
}

/// Opens the queue at `config.url`. Creates it if it does not exist, except on AWS.
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
