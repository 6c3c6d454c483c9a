//! A received queue message, hidden from other workers until it is deleted or returned.

use std::{sync::Arc, time::Duration};

use reelmill_platform::queue::{Message, Queue};
use tokio_util::task::AbortOnDropHandle;

/// Visibility timeout of a received message, unless it is extended.
pub(crate) const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(60);
/// Interval at which the visibility timeout is extended.
const EXTEND_INTERVAL: Duration = Duration::from_secs(20);

/// A message whose visibility timeout is extended until this is dropped.
pub(crate) struct HiddenMessage {
    queue: Arc<dyn Queue>,
    message: Message,
    extending: AbortOnDropHandle<()>,
}

impl HiddenMessage {
    pub(crate) fn new(queue: Arc<dyn Queue>, message: Message) -> Self {
        let extending = tokio::spawn(extend_visibility(Arc::clone(&queue), message.receipt.clone()));
        Self { queue, message, extending: AbortOnDropHandle::new(extending) }
    }

    /// Deletes the message: the database knows the task.
    pub(crate) async fn delete(self) {
        if let Err(error) = self.queue.delete(&self.message.receipt).await {
            tracing::debug!(%error, "the message was not deleted and will be received again");
        }
    }

    /// Makes the message visible to all workers after `delay`.
    pub(crate) async fn return_after(self, delay: Duration) {
        self.extending.abort();
        if let Err(error) = self.queue.extend(&self.message.receipt, delay).await {
            tracing::debug!(%error, "the message was not returned and reappears after its visibility timeout");
        }
    }
}

async fn extend_visibility(queue: Arc<dyn Queue>, receipt: String) {
    loop {
        tokio::time::sleep(EXTEND_INTERVAL).await;
        if let Err(error) = queue.extend(&receipt, VISIBILITY_TIMEOUT).await {
            // Harmless: the lease, not the message, keeps other workers from the task.
            tracing::debug!(%error, "the visibility timeout was not extended");
        }
    }
}
