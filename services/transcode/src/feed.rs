//! Tells watchers what changed: through the hub, so that every replica's watchers hear of it.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use prost::Message as _;
use reelmill_platform::shared_state::{Notification, PubSub, Subscription};
use reelmill_proto::transcode::WatchJobsResponse;

use crate::{
    convert::feed_message,
    error::TranscodeError,
    progress::Tracker,
    store::{JobRow, Store},
};

/// The hub's topic for jobs as they change; each hint is an encoded [`WatchJobsResponse`].
const JOBS: &str = "jobs";
/// How long silence is believed. A hint can be lost between a commit and its telling; if it told of the last
/// change for long, nobody would look again.
const LONGEST_TRUST: Duration = Duration::from_secs(5);
/// How many rows are read at once when a watch begins.
const PAGE: u64 = 200;

/// What the watchers of this process and of others hear.
#[derive(Clone)]
pub(crate) struct Feed {
    store: Store,
    pub_sub: Arc<dyn PubSub>,
    tracker: Arc<Tracker>,
}

/// A stream of jobs.
pub(crate) type Jobs = Pin<Box<dyn Stream<Item = Result<WatchJobsResponse, TranscodeError>> + Send>>;

impl Feed {
    pub(crate) fn new(store: Store, pub_sub: Arc<dyn PubSub>, tracker: Arc<Tracker>) -> Self {
        Self { store, pub_sub, tracker }
    }

    /// Says that a job was stored anew. A hub that is away costs watchers promptness, not truth, so
    /// that is logged only.
    pub(crate) async fn changed(&self, row: &JobRow) {
        self.tracker.stored(row);
        match told(row, &self.tracker) {
            Ok(message) => self.publish(&message).await,
            Err(error) => tracing::error!(job = row.id, %error, "a stored job can't be told"),
        }
    }

    /// Says how far a running job is.
    pub(crate) async fn progressed(&self, row: &JobRow) {
        match told(row, &self.tracker) {
            Ok(message) => self.publish(&message).await,
            Err(error) => tracing::error!(job = row.id, %error, "a stored job can't be told"),
        }
    }

    async fn publish(&self, message: &WatchJobsResponse) {
        if let Err(error) = self.pub_sub.publish(JOBS, Bytes::from(message.encode_to_vec())).await {
            tracing::warn!(%error, "watchers were not told");
        }
    }

    /// What is said of jobs from now on.
    pub(crate) async fn hints(&self) -> Result<Subscription, TranscodeError> {
        Ok(self.pub_sub.subscribe(JOBS).await?)
    }

    /// Every job changed after `revision`, in the order of their changes; then every change as it
    /// comes, and progress. A change may come twice, and an older one after a newer one of the same
    /// job: what has a lower revision than the job is known by is to be passed over.
    pub(crate) async fn jobs(&self, revision: i64) -> Result<Jobs, TranscodeError> {
        self.follow(revision, false).await
    }

    /// The same, after every job that is running, so that it is known how far it is.
    pub(crate) async fn all_jobs(&self, revision: i64) -> Result<Jobs, TranscodeError> {
        self.follow(revision, true).await
    }

    async fn follow(&self, revision: i64, running_first: bool) -> Result<Jobs, TranscodeError> {
        // First the ear, then the past: what happens between is heard twice rather than never.
        let hints = self.pub_sub.subscribe(JOBS).await?;
        let following = Following {
            store: self.store.clone(),
            tracker: Arc::clone(&self.tracker),
            hints,
            seen: revision,
            ready: if running_first { self.store.running_until(revision).await? } else { Vec::new() },
            catching_up: true,
        };
        Ok(Box::pin(stream::try_unfold(following, |mut following| async move {
            Ok(following.next().await?.map(|message| (message, following)))
        })))
    }
}

/// A job's row with how far it is.
fn told(row: &JobRow, tracker: &Tracker) -> Result<WatchJobsResponse, TranscodeError> {
    let mut message = feed_message(row)?;
    if let Some(job) = &mut message.job {
        tracker.overlay(&row.id, job);
    }
    Ok(message)
}

struct Following {
    store: Store,
    tracker: Arc<Tracker>,
    hints: Subscription,
    /// Highest revision sent.
    seen: i64,
    /// Read but not sent, the latest first.
    ready: Vec<JobRow>,
    catching_up: bool,
}

impl Following {
    async fn next(&mut self) -> Result<Option<WatchJobsResponse>, TranscodeError> {
        loop {
            if let Some(row) = self.ready.pop() {
                self.seen = self.seen.max(row.revision);
                return told(&row, &self.tracker).map(Some);
            }
            if self.catching_up {
                self.ready = self.store.jobs_since(self.seen, PAGE).await?;
                self.ready.reverse();
                self.catching_up = !self.ready.is_empty();
                continue;
            }
            match tokio::time::timeout(LONGEST_TRUST, self.hints.next()).await {
                Ok(None) => return Ok(None),
                Err(_) | Ok(Some(Notification::Lagged)) => self.catching_up = true,
                Ok(Some(Notification::Payload(bytes))) => {
                    let message = WatchJobsResponse::decode(bytes)?;
                    let revision = message.job.as_ref().map_or(0, |job| job.revision);
                    // A gap means that a change was missed, so the rows are read instead.
                    if revision > self.seen.saturating_add(1) {
                        self.catching_up = true;
                    } else {
                        self.seen = self.seen.max(revision);
                        return Ok(Some(message));
                    }
                }
            }
        }
    }
}
