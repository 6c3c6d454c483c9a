//! Notifications that a video changed, within this replica and between replicas.
//!
//! A notification says which video changed, not how: subscribers read the database.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use bytes::Bytes;
use futures::StreamExt as _;
use reelmill_platform::shared_state::{Notification, PubSub};
use tokio::sync::{broadcast, watch};

/// Pub/sub topic between replicas. The payload is `OWNER VIDEO`, both ids.
const TOPIC: &str = "videos";
/// Notifications buffered for the watchers of an owner before they receive [`Change::Unknown`].
const OWNER_BUFFER: usize = 64;
/// Watched videos or owners above which those that nobody watches any more are removed.
const MIN_SWEPT_LEN: usize = 1000;
const RESUBSCRIBE_BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_secs(1))
    .with_max_delay(Duration::from_secs(5))
    .with_jitter()
    .without_max_times();

/// What changed of an owner's videos.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// The row of a video.
    Row,
    /// Only the progress of the job of this video.
    Progress(Arc<str>),
    /// Notifications were lost: anything may have changed.
    Unknown,
}

/// Publishes changes of videos to this replica and to the others.
#[derive(Clone)]
pub(crate) struct ChangeFeed {
    local: Arc<Mutex<Watchers>>,
    pub_sub: Arc<dyn PubSub>,
}

/// The watchers of this replica.
#[derive(Default)]
struct Watchers {
    videos: HashMap<String, watch::Sender<()>>,
    owners: HashMap<String, broadcast::Sender<Change>>,
}

impl Watchers {
    fn send(&mut self, owner: &str, video: &str, change: Change) {
        if self.videos.get(video).is_some_and(|watchers| watchers.send(()).is_err()) {
            self.videos.remove(video);
        }
        if self.owners.get(owner).is_some_and(|watchers| watchers.send(change).is_err()) {
            self.owners.remove(owner);
        }
    }

    /// Notifies all watchers that anything may have changed.
    fn send_unknown(&mut self) {
        self.videos.retain(|_, watchers| watchers.send(()).is_ok());
        self.owners.retain(|_, watchers| watchers.send(Change::Unknown).is_ok());
    }

    /// Removes what nobody watches, when a map is about to grow.
    fn sweep(&mut self) {
        if self.videos.len() >= MIN_SWEPT_LEN && self.videos.len() == self.videos.capacity() {
            self.videos.retain(|_, watchers| watchers.receiver_count() > 0);
        }
        if self.owners.len() >= MIN_SWEPT_LEN && self.owners.len() == self.owners.capacity() {
            self.owners.retain(|_, watchers| watchers.receiver_count() > 0);
        }
    }
}

impl ChangeFeed {
    pub(crate) fn new(pub_sub: Arc<dyn PubSub>) -> Self {
        Self { local: Arc::default(), pub_sub }
    }

    /// Subscribes to changes of a video published after this call.
    pub(crate) fn subscribe_to_video(&self, video: &str) -> VideoChanges {
        let mut watchers = self.watchers();
        watchers.sweep();
        let video = watchers.videos.entry(video.to_owned());
        VideoChanges(video.or_insert_with(|| watch::Sender::new(())).subscribe())
    }

    /// Subscribes to changes of an owner's videos published after this call.
    pub(crate) fn subscribe_to_owner(&self, owner: &str) -> OwnerChanges {
        let mut watchers = self.watchers();
        watchers.sweep();
        let owner = watchers.owners.entry(owner.to_owned());
        OwnerChanges(owner.or_insert_with(|| broadcast::Sender::new(OWNER_BUFFER)).subscribe())
    }

    fn watchers(&self) -> MutexGuard<'_, Watchers> {
        self.local.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes a changed row to all replicas.
    pub(crate) async fn publish_row_change(&self, owner: &str, video: &str) {
        self.publish_row_change_locally(owner, video);
        // A lost notification only delays watchers of other replicas until they poll.
        if let Err(error) = self.pub_sub.publish(TOPIC, Bytes::from(format!("{owner} {video}"))).await {
            tracing::warn!(%error, "cannot notify other replicas of a changed video");
        }
    }

    /// Publishes a changed row to this replica only.
    pub(crate) fn publish_row_change_locally(&self, owner: &str, video: &str) {
        self.watchers().send(owner, video, Change::Row);
    }

    /// Publishes a change of progress to this replica. Every replica follows all jobs and needs no notification.
    pub(crate) fn publish_progress(&self, owner: &str, video: &str) {
        self.watchers().send(owner, video, Change::Progress(video.into()));
    }

    /// Forwards the changes published by other replicas. Never returns.
    pub(crate) async fn forward_remote(&self) {
        let mut delays = RESUBSCRIBE_BACKOFF.build();
        loop {
            match self.pub_sub.subscribe(TOPIC).await {
                Err(error) => tracing::warn!(%error, "cannot subscribe to changes of other replicas"),
                Ok(mut notifications) => {
                    delays = RESUBSCRIBE_BACKOFF.build();
                    // Changes before the subscription were missed.
                    self.watchers().send_unknown();
                    while let Some(notification) = notifications.next().await {
                        self.forward(&notification);
                    }
                }
            }
            tokio::time::sleep(delays.next().unwrap_or_default()).await;
        }
    }

    fn forward(&self, notification: &Notification) {
        let ids = match notification {
            Notification::Payload(payload) => std::str::from_utf8(payload).ok(),
            Notification::Lagged => None,
        };
        match ids.and_then(|ids| ids.split_once(' ')) {
            Some((owner, video)) => self.publish_row_change_locally(owner, video),
            None => self.watchers().send_unknown(),
        }
    }
}

/// Receives that a video may have changed.
pub(crate) struct VideoChanges(watch::Receiver<()>);

impl VideoChanges {
    /// Waits until the video may have changed since the last call.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // The service owns the sender as long as there is a receiver.
            std::future::pending().await
        }
    }

    /// Forgets changes so far.
    pub(crate) fn mark_seen(&mut self) {
        self.0.mark_unchanged();
    }
}

/// Receives changes of an owner's videos.
pub(crate) struct OwnerChanges(broadcast::Receiver<Change>);

impl OwnerChanges {
    /// Waits for the next change.
    pub(crate) async fn next(&mut self) -> Change {
        match self.0.recv().await {
            Ok(change) => change,
            Err(broadcast::error::RecvError::Lagged(_)) => Change::Unknown,
            // The service owns the sender as long as there is a receiver.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }

    /// A change that was received already.
    pub(crate) fn try_next(&mut self) -> Option<Change> {
        match self.0.try_recv() {
            Ok(change) => Some(change),
            Err(broadcast::error::TryRecvError::Lagged(_)) => Some(Change::Unknown),
            Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => None,
        }
    }
}
