//! Notifications that a video changed, within this replica and between replicas.
//!
//! A notification says which video changed, not how: subscribers read the database.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use bytes::Bytes;
use futures::StreamExt as _;
use reelmill_platform::shared_state::{Notification, PubSub};
use tokio::sync::broadcast;

/// Pub/sub topic between replicas. The payload is `OWNER VIDEO`, both ids.
const TOPIC: &str = "videos";
/// Notifications buffered for a subscriber before it receives [`Change::Unknown`].
const SUBSCRIBER_BUFFER: usize = 1024;
const RESUBSCRIBE_BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_secs(1))
    .with_max_delay(Duration::from_secs(5))
    .with_jitter()
    .without_max_times();

/// What changed.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// The row of the video changed.
    Row { owner: Arc<str>, video: Arc<str> },
    /// Only the progress of its job changed.
    Progress { owner: Arc<str>, video: Arc<str> },
    /// Notifications were lost: anything may have changed.
    Unknown,
}

/// Publishes changes of videos to this replica and to the others.
#[derive(Clone)]
pub(crate) struct ChangeFeed {
    local: broadcast::Sender<Change>,
    pub_sub: Arc<dyn PubSub>,
}

impl ChangeFeed {
    pub(crate) fn new(pub_sub: Arc<dyn PubSub>) -> Self {
        Self { local: broadcast::Sender::new(SUBSCRIBER_BUFFER), pub_sub }
    }

    /// Subscribes to all changes published after this call.
    pub(crate) fn subscribe(&self) -> ChangeReceiver {
        ChangeReceiver(self.local.subscribe())
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
        self.send(Change::Row { owner: owner.into(), video: video.into() });
    }

    /// Publishes a change of progress to this replica. Every replica follows all jobs and needs no notification.
    pub(crate) fn publish_progress(&self, owner: &str, video: &str) {
        self.send(Change::Progress { owner: owner.into(), video: video.into() });
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
                    self.send(Change::Unknown);
                    while let Some(notification) = notifications.next().await {
                        self.send(parse(&notification));
                    }
                }
            }
            tokio::time::sleep(delays.next().unwrap_or_default()).await;
        }
    }

    fn send(&self, change: Change) {
        // Fails only if there is no subscriber.
        let _ = self.local.send(change);
    }
}

fn parse(notification: &Notification) -> Change {
    let Notification::Payload(payload) = notification else { return Change::Unknown };
    match std::str::from_utf8(payload).ok().and_then(|text| text.split_once(' ')) {
        Some((owner, video)) => Change::Row { owner: owner.into(), video: video.into() },
        None => Change::Unknown,
    }
}

/// Receives changes.
pub(crate) struct ChangeReceiver(broadcast::Receiver<Change>);

impl ChangeReceiver {
    /// Waits for the next change.
    pub(crate) async fn next(&mut self) -> Change {
        match self.0.recv().await {
            Ok(change) => change,
            Err(broadcast::error::RecvError::Lagged(_)) => Change::Unknown,
            // The service owns the sender and outlives its watchers.
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

    /// Waits until one video may have changed.
    pub(crate) async fn changed(&mut self, id: &str) {
        loop {
            match self.next().await {
                Change::Row { video, .. } | Change::Progress { video, .. } if *video != *id => {}
                _ => return,
            }
        }
    }
}
