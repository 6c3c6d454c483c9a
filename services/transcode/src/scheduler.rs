//! Queues waiting tasks, as many of each owner as the limits allow, and wakes workers for them.

use std::{
    collections::{HashSet, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
pub(crate) const RETRY_INTERVAL: Duration = Duration::from_secs(1);
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

/// Owners whose waiting tasks are to be queued, and queued tasks that are to be announced.
#[derive(Default)]
struct Requests {
    state: Mutex<RequestState>,
    owner_added: Notify,
    task_added: Notify,
}

#[derive(Default)]
struct RequestState {
    /// In the order of their requests.
    owners: VecDeque<String>,
    /// Owners whose tasks are being queued.
    running: HashSet<String>,
    announcements: Vec<QueuedTask>,
}

impl Requests {
    fn add(&self, owner: &str) {
        let mut state = self.state();
        if !state.owners.iter().any(|known| known == owner) {
            state.owners.push_back(owner.to_owned());
        }
        drop(state);
        self.owner_added.notify_one();
    }

    /// The next owner that is not running; it is running until [`Requests::finish`].
    fn start_next(&self) -> Option<String> {
        let mut state = self.state();
        let index = state.owners.iter().position(|owner| !state.running.contains(owner))?;
        let owner = state.owners.remove(index)?;
        state.running.insert(owner.clone());
        Some(owner)
    }

    fn finish(&self, owner: &str) {
        self.state().running.remove(owner);
        self.owner_added.notify_one();
    }

    fn announce(&self, tasks: &[QueuedTask]) {
        self.state().announcements.extend_from_slice(tasks);
        self.task_added.notify_one();
    }

    fn take_announcements(&self) -> Vec<QueuedTask> {
        std::mem::take(&mut self.state().announcements)
    }

    fn state(&self) -> MutexGuard<'_, RequestState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Wakes workers for tasks that were queued: at once those that wait in this process, the others in the background,
    /// because the queue may be slow.
    pub(crate) fn announce(&self, tasks: &[QueuedTask]) {
        for _ in tasks.iter().filter(|task| task.class == TaskClass::Express) {
            self.express_queued.notify_one();
        }
        self.requests.announce(tasks);
    }

    async fn send_announcements(&self) {
        let tasks = self.requests.take_announcements();
        for _ in tasks.iter().filter(|task| task.class == TaskClass::Express) {
            // The wake-ups follow; and a waiting call asks again by itself after some seconds.
            if let Err(error) = self.pub_sub.publish(EXPRESS_TOPIC, Bytes::new()).await {
                tracing::debug!(%error, "other processes were not notified of a queued task");
            }
        }
        self.wake_ups.send(&tasks).await;
    }

    /// Waits until an EXPRESS task was queued. Create it before looking for a task.
    pub(crate) fn express_task(&self) -> impl Future<Output = ()> + '_ {
        let mut queued: Pin<Box<_>> = Box::pin(self.express_queued.notified());
        queued.as_mut().enable();
        queued
    }

    /// Queues and announces tasks as requested, for ever.
    pub(crate) async fn run(&self) {
        let announce = async {
            loop {
                self.requests.task_added.notified().await;
                self.send_announcements().await;
            }
        };
        tokio::join!(self.queue_requested(), announce, self.follow_express_topic());
    }

    async fn queue_requested(&self) {
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < CONCURRENT_OWNERS
                && let Some(owner) = self.requests.start_next()
            {
                running.push(async move {
                    if let Err(error) = self.queue(&owner).await {
                        tracing::warn!(owner, %error, "waiting tasks were not queued: retrying");
                        tokio::time::sleep(RETRY_INTERVAL).await;
                        self.request(&owner);
                    }
                    self.requests.finish(&owner);
                });
            }
            tokio::select! {
                Some(()) = running.next(), if !running.is_empty() => {}
                () = self.requests.owner_added.notified() => {}
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

    /// Queues and announces the tasks of all requested owners, now.
    pub(crate) async fn sweep(&self) -> Result<(), TranscodeError> {
        while let Some(owner) = self.requests.start_next() {
            let queued = self.queue(&owner).await;
            self.requests.finish(&owner);
            queued?;
        }
        self.send_announcements().await;
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
            self.announce(&queued);
        }
        Ok(())
    }

    /// Queues the queued tasks of an owner again, in the order that their priorities now have. They were announced before.
    pub(crate) async fn requeue(&self, owner: &str) -> Result<(), TranscodeError> {
        self.db.unqueue_tasks(owner).await?;
        self.db.queue_tasks(owner, self.limits).await.map(drop)
    }
}
