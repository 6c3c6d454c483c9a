//! Sends wake-ups to the queue: one for each queued task. A wake-up only says that there is work: the database decides who
//! gets it. Workers take one from the queue for each task that they run, so that the number of wake-ups follows the number
//! of queued tasks, which an autoscaler can read.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use reelmill_platform::queue::Queue;
use reelmill_proto::WakeUp;

use crate::{
    db::{Db, QueuedTask},
    error::TranscodeError,
};

/// Wake-ups that are replenished at most.
pub(crate) const MAX_REPLENISHED: u64 = 100;
/// Wake-ups sent concurrently.
const CONCURRENT_SENDS: usize = 8;

/// Sender of wake-ups.
#[derive(Clone)]
pub(crate) struct WakeUps {
    queue: Arc<dyn Queue>,
}

impl WakeUps {
    pub(crate) fn new(queue: Arc<dyn Queue>) -> Self {
        Self { queue }
    }

    /// Sends a wake-up for each task. If one cannot be sent, workers find its task when they ask the next time.
    pub(crate) async fn send(&self, tasks: &[QueuedTask]) {
        let wake_ups = tasks.iter().map(|task| WakeUp { required_build: task.required_build.clone() });
        let wake_ups: Vec<WakeUp> = wake_ups.collect();
        let sends = stream::iter(wake_ups).map(|wake_up| async move {
            if let Err(error) = self.queue.send(&wake_up.to_body(), Duration::ZERO).await {
                tracing::warn!(%error, "a wake-up was not sent: workers find the task by themselves");
            }
        });
        sends.buffer_unordered(CONCURRENT_SENDS).collect::<()>().await;
    }

    /// Sends wake-ups until there are as many as queued tasks, up to [`MAX_REPLENISHED`]; returns how many. An autoscaler
    /// that starts the first worker may have nothing else to go by, and messages can be lost.
    pub(crate) async fn replenish(&self, db: &Db) -> Result<usize, TranscodeError> {
        let queued = db.queued_tasks(MAX_REPLENISHED).await?;
        if queued.is_empty() {
            return Ok(0);
        }
        let visible = usize::try_from(self.queue.depth().await?.visible).unwrap_or(usize::MAX);
        let missing = queued.len().saturating_sub(visible);
        self.send(&queued[..missing]).await;
        Ok(missing)
    }
}
