//! Queues waiting tasks, as many of each owner as the limits allow, and wakes workers for them.

use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream::FuturesUnordered};
use reelmill_platform::shared_state::PubSub;
use tokio::sync::Notify;

use crate::{
    db::{Db, QueuedTask},
    domain::{OwnerLimits, TaskClass},
    error::TranscodeError,
    wake_ups::WakeUps,
};

/// Pub/sub topic on which every process learns that EXPRESS tasks were queued. The payloads are empty.
const EXPRESS_TOPIC: &str = "express-tasks";
/// Owners whose tasks are queued at the same time.
const CONCURRENT_OWNERS: usize = 8;
/// Pause before tasks of an owner are queued after that failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Pause before a new subscription after the last one ended.
const SUBSCRIBE_INTERVAL: Duration = Duration::from_secs(1);

/// Queues tasks. Call [`Scheduler::request`] after a commit that adds waiting tasks, starts one or ends one.
pub(crate) struct Scheduler {
    db: Db,
    pub_sub: Arc<dyn PubSub>,
    wake_ups: WakeUps,
    limits: OwnerLimits,
    requests: Requests,
    express_queued: Notify,
}

/// Owners whose waiting tasks are to be queued.
#[derive(Default)]
struct Requests {
    owners: Mutex<BTreeSet<String>>,
    added: Notify,
}

impl Requests {
    fn add(&self, owner: &str) {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).insert(owner.to_owned());
        self.added.notify_one();
    }

    fn take(&self) -> Option<String> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).pop_first()
    }
}

impl Scheduler {
    pub(crate) fn new(db: Db, pub_sub: Arc<dyn PubSub>, wake_ups: WakeUps, limits: OwnerLimits) -> Self {
        Self { db, pub_sub, wake_ups, limits, requests: Requests::default(), express_queued: Notify::new() }
    }

    /// Requests that waiting tasks of an owner are queued.
    pub(crate) fn request(&self, owner: &str) {
        self.requests.add(owner);
    }

    /// Wakes workers for tasks that were queued.
    pub(crate) async fn announce(&self, tasks: &[QueuedTask]) {
        let express = tasks.iter().filter(|task| task.class == TaskClass::Express).count();
        for _ in 0..express {
            self.express_queued.notify_one();
            // The wake-ups follow; and a waiting call asks again by itself after some seconds.
            if let Err(error) = self.pub_sub.publish(EXPRESS_TOPIC, Bytes::new()).await {
                tracing::debug!(%error, "other processes were not notified of a queued task");
            }
        }
        self.wake_ups.send(tasks).await;
    }

    /// Waits until an EXPRESS task was queued. Create it before looking for a task.
    pub(crate) fn express_task(&self) -> impl Future<Output = ()> + '_ {
        let mut queued: Pin<Box<_>> = Box::pin(self.express_queued.notified());
        queued.as_mut().enable();
        queued
    }

    /// Queues tasks as requested, for ever.
    pub(crate) async fn run(&self) {
        tokio::join!(self.queue_requested(), self.follow_express_topic());
    }

    async fn queue_requested(&self) {
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < CONCURRENT_OWNERS
                && let Some(owner) = self.requests.take()
            {
                running.push(async move {
                    if let Err(error) = self.queue(&owner).await {
                        tracing::warn!(owner, %error, "waiting tasks were not queued: retrying");
                        tokio::time::sleep(RETRY_INTERVAL).await;
                        self.request(&owner);
                    }
                });
            }
            tokio::select! {
                Some(()) = running.next(), if !running.is_empty() => {}
                () = self.requests.added.notified() => {}
            }
        }
    }

    /// Wakes waiting calls of this process when another process has queued an EXPRESS task.
    async fn follow_express_topic(&self) {
        loop {
            match self.pub_sub.subscribe(EXPRESS_TOPIC).await {
                Ok(mut notifications) => {
                    while notifications.next().await.is_some() {
                        self.express_queued.notify_one();
                    }
                }
                Err(error) => tracing::debug!(%error, "queued tasks of other processes cannot be followed"),
            }
            tokio::time::sleep(SUBSCRIBE_INTERVAL).await;
        }
    }

    /// Queues the tasks of all requested owners, now.
    pub(crate) async fn sweep(&self) -> Result<(), TranscodeError> {
        while let Some(owner) = self.requests.take() {
            self.queue(&owner).await?;
        }
        Ok(())
    }

    /// Requests all owners with waiting tasks; returns how many. A process may have been killed between a commit and its
    /// request.
    pub(crate) async fn request_all(&self) -> Result<usize, TranscodeError> {
        let mut last = String::new();
        let mut owners = 0;
        while let Some(owner) = self.db.next_waiting_owner(&last).await? {
            self.request(&owner);
            last = owner;
            owners += 1;
        }
        Ok(owners)
    }

    /// Replaces wake-ups that were lost; returns how many.
    pub(crate) async fn replenish_wake_ups(&self) -> Result<usize, TranscodeError> {
        self.wake_ups.replenish(&self.db).await
    }

    async fn queue(&self, owner: &str) -> Result<(), TranscodeError> {
        let queued = self.db.queue_tasks(owner, self.limits).await?;
        if !queued.is_empty() {
            self.announce(&queued).await;
        }
        Ok(())
    }
}
