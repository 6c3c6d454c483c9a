//! Sends wake-ups for queued tasks to the queue. A wake-up only says that there is work: the database decides who gets
//! it.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use reelmill_platform::{clock::Clock, queue::Queue};

use crate::{
    db::{Db, TaskRow},
    domain::task_name,
    error::TranscodeError,
};

/// Delay before an unanswered wake-up is sent again, milliseconds; it doubles with each one.
const RESEND_BACKOFF_MIN_MS: i64 = 60_000;
/// Number of times the delay doubles.
const RESEND_BACKOFF_DOUBLINGS: i32 = 6;
/// Wake-ups sent concurrently: a long video has more than a thousand tasks.
const CONCURRENT_SENDS: usize = 8;
/// Tasks read at once.
const BATCH: u64 = 200;

/// Sender of wake-ups.
pub(crate) struct WakeUps {
    db: Db,
    queue: Arc<dyn Queue>,
    clock: Clock,
}

impl WakeUps {
    pub(crate) fn new(db: Db, queue: Arc<dyn Queue>, clock: Clock) -> Self {
        Self { db, queue, clock }
    }

    /// Sends all wake-ups that are due at `now`. Stops at the first failure: when the queue is unavailable for one, it
    /// is for all.
    pub(crate) async fn send_due(&self, now: i64) -> Result<(), TranscodeError> {
        loop {
            let due = self.db.tasks_to_wake_up(now, BATCH).await?;
            let is_last = (due.len() as u64) < BATCH;
            let sends = stream::iter(due).map(async |task| self.send(&task).await);
            sends.buffer_unordered(CONCURRENT_SENDS).try_collect::<()>().await?;
            if is_last {
                return Ok(());
            }
        }
    }

    async fn send(&self, task: &TaskRow) -> Result<(), TranscodeError> {
        self.queue.send(&task_name(&task.job_id, &task.id), Duration::ZERO).await?;
        let backoff = RESEND_BACKOFF_MIN_MS << task.wake_ups_sent.clamp(0, RESEND_BACKOFF_DOUBLINGS);
        self.db.wake_up_sent(task, self.clock.now_millis().saturating_add(backoff)).await
    }
}
