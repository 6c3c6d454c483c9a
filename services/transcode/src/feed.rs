//! Publishes and watches job changes, across all processes of the role.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use prost::Message as _;
use reelmill_platform::shared_state::{Notification, PubSub, Subscription};
use reelmill_proto::transcode::WatchJobsResponse;

use crate::{
    db::{Db, JobDetails},
    error::TranscodeError,
    progress::ProgressTracker,
};

/// Pub/sub topic of job changes; each payload is an encoded [`WatchJobsResponse`].
const JOBS_TOPIC: &str = "jobs";
/// Longest time without a notification before the database is read. A process can be killed between the commit of a
/// change and its publication.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Rows read at once when a watch begins.
const BACKLOG_PAGE: u64 = 200;

/// Feed of job changes.
#[derive(Clone)]
pub(crate) struct JobFeed {
    db: Db,
    pub_sub: Arc<dyn PubSub>,
    progress: Arc<ProgressTracker>,
}

/// Changes of jobs.
pub(crate) type JobChangeStream =
    Pin<Box<dyn Stream<Item = Result<WatchJobsResponse, TranscodeError>> + Send>>;

impl JobFeed {
    pub(crate) fn new(db: Db, pub_sub: Arc<dyn PubSub>, progress: Arc<ProgressTracker>) -> Self {
        Self { db, pub_sub, progress }
    }

    /// Publishes a job with its progress. While pub/sub is unavailable watchers are late but miss nothing (they read the
    /// database), so a failure is only logged.
    pub(crate) async fn publish(&self, details: &JobDetails) {
        self.publish_message(&self.progress.watch_jobs_response(details)).await;
    }

    /// Publishes the message of a job.
    pub(crate) async fn publish_message(&self, message: &WatchJobsResponse) {
        let payload = Bytes::from(message.encode_to_vec());
        if let Err(error) = self.pub_sub.publish(JOBS_TOPIC, payload).await {
            tracing::warn!(%error, "a job change was not published; watchers see it at their next poll");
        }
    }

    /// Subscribes to what is published from now on.
    pub(crate) async fn subscribe(&self) -> Result<Subscription, TranscodeError> {
        Ok(self.pub_sub.subscribe(JOBS_TOPIC).await?)
    }

    /// Every job changed since `revision`, in order, then every change and progress.
    ///
    /// A change may be repeated, and an older change may follow a newer one of the same job: skip those with a lower
    /// revision than the job's last one.
    pub(crate) async fn changes_since(&self, revision: i64) -> Result<JobChangeStream, TranscodeError> {
        self.follow(revision, false).await
    }

    /// Every running job, for its progress, then as [`JobFeed::changes_since`].
    pub(crate) async fn running_and_changes_since(
        &self,
        revision: i64,
    ) -> Result<JobChangeStream, TranscodeError> {
        self.follow(revision, true).await
    }

    async fn follow(&self, revision: i64, with_running: bool) -> Result<JobChangeStream, TranscodeError> {
        // Subscribe before reading the backlog: duplicates are possible, gaps are not.
        let notifications = self.subscribe().await?;
        let backlog =
            if with_running { self.db.running_jobs_unchanged_since(revision).await? } else { Vec::new() };
        let follower = Follower {
            db: self.db.clone(),
            progress: Arc::clone(&self.progress),
            notifications,
            last_revision: revision,
            backlog,
            is_reading_backlog: true,
        };
        Ok(Box::pin(stream::try_unfold(follower, |mut follower| async move {
            Ok(follower.next().await?.map(|message| (message, follower)))
        })))
    }
}

/// Position of one watcher in the feed.
struct Follower {
    db: Db,
    progress: Arc<ProgressTracker>,
    notifications: Subscription,
    /// Highest revision sent.
    last_revision: i64,
    /// Read but not sent, the latest first.
    backlog: Vec<JobDetails>,
    is_reading_backlog: bool,
}

impl Follower {
    /// The next change; none when pub/sub ends the subscription.
    async fn next(&mut self) -> Result<Option<WatchJobsResponse>, TranscodeError> {
        loop {
            if let Some(details) = self.backlog.pop() {
                self.last_revision = self.last_revision.max(details.row.revision);
                return Ok(Some(self.progress.watch_jobs_response(&details)));
            }
            if self.is_reading_backlog {
                self.backlog = self.db.jobs_changed_since(self.last_revision, BACKLOG_PAGE).await?;
                self.backlog.reverse();
                self.is_reading_backlog = !self.backlog.is_empty();
                continue;
            }
            match tokio::time::timeout(POLL_INTERVAL, self.notifications.next()).await {
                Ok(None) => return Ok(None),
                Err(_) | Ok(Some(Notification::Lagged)) => self.is_reading_backlog = true,
                Ok(Some(Notification::Payload(bytes))) => {
                    let message = WatchJobsResponse::decode(bytes)?;
                    let revision = message.job.as_ref().map_or(0, |job| job.revision);
                    // A gap means a missed change: read the rows instead.
                    if revision > self.last_revision.saturating_add(1) {
                        self.is_reading_backlog = true;
                    } else {
                        self.last_revision = self.last_revision.max(revision);
                        return Ok(Some(message));
                    }
                }
            }
        }
    }
}
