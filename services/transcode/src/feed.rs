//! Publishes changes of jobs, and delivers them to the watchers of this process.
//!
//! One task per process receives all changes of all processes, decodes each once, and hands it to those who watch that job
//! and to those who watch all jobs. It compares the revisions with those of the database every few seconds, so that a
//! change whose publication was lost is late and not missed; that costs one small query however many watchers there are.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use prost::Message as _;
use reelmill_platform::shared_state::{Notification, PubSub, Subscription};
use reelmill_proto::transcode::{Job, WatchJobsResponse, job::State};
use tokio::{
    sync::{broadcast, watch},
    task::AbortHandle,
    time::{MissedTickBehavior, interval},
};

use crate::{
    db::{Db, JobDetails, ShardRevisions},
    domain::job_name,
    error::TranscodeError,
    progress::ProgressTracker,
};

/// Pub/sub topic of job changes; each payload is an encoded [`WatchJobsResponse`].
const JOBS_TOPIC: &str = "jobs";
/// Interval at which the revisions are compared with those of the database. A process can be killed between the commit of
/// a change and its publication.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Pause before a new subscription after the last one ended or failed.
const SUBSCRIBE_INTERVAL: Duration = Duration::from_secs(1);
/// Rows read at once.
const PAGE_SIZE: u64 = 200;
/// Changes kept for a slow watcher of all jobs.
const WATCHER_BUFFER: usize = 1024;

/// A change of a job, shared by its watchers.
pub(crate) type JobChange = Arc<WatchJobsResponse>;

/// The last change of one job: none before the first since the watch began.
pub(crate) type JobWatch = watch::Receiver<Option<JobChange>>;

/// Changes of jobs.
pub(crate) type JobChangeStream = Pin<Box<dyn Stream<Item = Result<JobChange, TranscodeError>> + Send>>;

/// Feed of job changes.
#[derive(Clone)]
pub(crate) struct JobFeed {
    hub: Arc<Hub>,
    /// Ends with the last clone.
    _delivery: Arc<AbortOnDrop>,
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The watchers of this process.
struct Hub {
    db: Db,
    pub_sub: Arc<dyn PubSub>,
    progress: Arc<ProgressTracker>,
    all: broadcast::Sender<JobChange>,
    /// By job name.
    jobs: Mutex<HashMap<String, WatchedJob>>,
}

/// A job with watchers.
struct WatchedJob {
    /// Highest revision that was seen of it.
    revision: i64,
    watchers: watch::Sender<Option<JobChange>>,
}

impl JobFeed {
    /// Starts to deliver.
    pub(crate) fn new(db: Db, pub_sub: Arc<dyn PubSub>, progress: Arc<ProgressTracker>) -> Self {
        let all = broadcast::Sender::new(WATCHER_BUFFER);
        let hub = Arc::new(Hub { db, pub_sub, progress, all, jobs: Mutex::default() });
        let delivering = Arc::clone(&hub);
        let delivery = tokio::spawn(async move { delivering.deliver().await });
        Self { hub, _delivery: Arc::new(AbortOnDrop(delivery.abort_handle())) }
    }

    /// Publishes a job with its progress. While pub/sub is unavailable watchers are late but miss nothing (the database is
    /// read), so a failure is only logged.
    pub(crate) async fn publish(&self, details: &JobDetails) {
        self.publish_message(&self.hub.progress.watch_jobs_response(details)).await;
    }

    /// Publishes the message of a job.
    pub(crate) async fn publish_message(&self, message: &WatchJobsResponse) {
        let payload = Bytes::from(message.encode_to_vec());
        if let Err(error) = self.hub.pub_sub.publish(JOBS_TOPIC, payload).await {
            tracing::warn!(%error, "a job change was not published; watchers see it at their next poll");
        }
    }

    /// Watches one job. Only its last change is kept for a slow watcher.
    pub(crate) fn watch_job(&self, job: &str) -> JobWatch {
        let mut jobs = self.hub.jobs();
        let new = || WatchedJob { revision: 0, watchers: watch::Sender::new(None) };
        jobs.entry(job_name(job)).or_insert_with(new).watchers.subscribe()
    }

    /// Ignores earlier changes of a watched job, which was read in this revision.
    pub(crate) fn ignore_before(&self, job: &str, revision: i64) {
        if let Some(watched) = self.hub.jobs().get_mut(&job_name(job)) {
            watched.revision = watched.revision.max(revision);
        }
    }

    /// Every running job, for its progress, then every job changed since `revisions`, then every change and progress.
    ///
    /// A change may be repeated, and an older change may follow a newer one of the same job: skip those with a lower
    /// revision than the job's last one.
    pub(crate) async fn watch_all(
        &self,
        revisions: ShardRevisions,
    ) -> Result<JobChangeStream, TranscodeError> {
        let hub = Arc::clone(&self.hub);
        // Subscribe before reading the backlog: duplicates are possible, gaps are not.
        let changes = hub.all.subscribe();
        let watcher = AllJobsWatcher {
            hub,
            changes,
            revisions,
            backlog: Vec::new(),
            last_running: Some(String::new()),
            is_reading_backlog: true,
        };
        Ok(Box::pin(stream::try_unfold(watcher, |mut watcher| async move {
            let change = watcher.next().await?;
            Ok(change.map(|change| (change, watcher)))
        })))
    }
}

impl Hub {
    fn jobs(&self) -> MutexGuard<'_, HashMap<String, WatchedJob>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers changes, for ever.
    async fn deliver(&self) {
        let mut poll = interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Watchers read what was before their watch by themselves.
        let mut seen: Option<ShardRevisions> = None;
        let mut notifications: Option<Subscription> = None;
        loop {
            if notifications.is_none() {
                match self.pub_sub.subscribe(JOBS_TOPIC).await {
                    Ok(subscribed) => notifications = Some(subscribed),
                    Err(error) => {
                        tracing::warn!(%error, "changes of jobs are only seen by polling: retrying");
                        tokio::time::sleep(SUBSCRIBE_INTERVAL).await;
                    }
                }
            }
            let mut must_read = false;
            tokio::select! {
                notification = next_notification(&mut notifications) => match notification {
                    Some(Notification::Payload(bytes)) => match WatchJobsResponse::decode(bytes) {
                        Ok(message) => {
                            must_read = seen.as_mut().is_some_and(|seen| has_gap(seen, &message));
                            self.dispatch(Arc::new(message));
                        }
                        Err(error) => tracing::warn!(%error, "a job change could not be decoded"),
                    },
                    Some(Notification::Lagged) => must_read = true,
                    None => {
                        notifications = None;
                        tokio::time::sleep(SUBSCRIBE_INTERVAL).await;
                    }
                },
                _ = poll.tick() => {
                    must_read = true;
                    self.jobs().retain(|_, watched| watched.watchers.receiver_count() > 0);
                }
            }
            if must_read && let Err(error) = self.read_missed(&mut seen).await {
                tracing::warn!(%error, "changes of jobs could not be read: retrying");
            }
        }
    }

    /// Dispatches the jobs whose revisions are higher than those `seen`.
    async fn read_missed(&self, seen: &mut Option<ShardRevisions>) -> Result<(), TranscodeError> {
        let current = self.db.revisions().await?;
        let Some(seen) = seen else {
            *seen = Some(current);
            return Ok(());
        };
        for (shard, revision) in current.iter() {
            seen.lower(shard, revision);
            while seen.get(shard) < revision {
                let changed = self.db.jobs_changed_since(shard, seen.get(shard), PAGE_SIZE).await?;
                for details in &changed {
                    seen.raise(shard, details.row.revision);
                    self.dispatch(Arc::new(self.progress.watch_jobs_response(details)));
                }
                if changed.is_empty() {
                    // Revisions of jobs that were deleted.
                    seen.raise(shard, revision);
                }
            }
        }
        Ok(())
    }

    fn dispatch(&self, change: JobChange) {
        // Fails only if nobody watches.
        let _ = self.all.send(Arc::clone(&change));
        let Some(job) = &change.job else { return };
        let mut jobs = self.jobs();
        let Some(watched) = jobs.get_mut(&job.name) else { return };
        if job.revision < watched.revision {
            // Late: the job may have been retried since.
            return;
        }
        watched.revision = job.revision;
        let is_watched = watched.watchers.send(Some(Arc::clone(&change))).is_ok();
        if !is_watched || has_ended(job) {
            jobs.remove(&job.name);
        }
    }
}

/// Whether a job has ended.
pub(crate) fn has_ended(job: &Job) -> bool {
    matches!(job.state(), State::Succeeded | State::Failed | State::Cancelled)
}

/// Whether a message shows that an earlier change of its shard was missed. If not, it counts as seen.
fn has_gap(seen: &mut ShardRevisions, message: &WatchJobsResponse) -> bool {
    let revision = message.job.as_ref().map_or(0, |job| job.revision);
    if revision > seen.get(message.shard).saturating_add(1) {
        return true;
    }
    seen.raise(message.shard, revision);
    false
}

/// The next notification; pending for ever without a subscription.
async fn next_notification(notifications: &mut Option<Subscription>) -> Option<Notification> {
    match notifications {
        Some(notifications) => notifications.next().await,
        None => std::future::pending().await,
    }
}

/// A watcher of all jobs.
struct AllJobsWatcher {
    hub: Arc<Hub>,
    changes: broadcast::Receiver<JobChange>,
    /// Highest revisions sent.
    revisions: ShardRevisions,
    /// Read but not sent, the latest first.
    backlog: Vec<JobDetails>,
    /// Id of the last running job that was read; none when all were read.
    last_running: Option<String>,
    is_reading_backlog: bool,
}

impl AllJobsWatcher {
    /// The next change; none when the role stops.
    async fn next(&mut self) -> Result<Option<JobChange>, TranscodeError> {
        loop {
            if let Some(details) = self.backlog.pop() {
                return Ok(Some(Arc::new(self.hub.progress.watch_jobs_response(&details))));
            }
            if let Some(last) = self.last_running.take() {
                self.read_running_jobs(&last).await?;
                continue;
            }
            if self.is_reading_backlog {
                self.read_backlog().await?;
                continue;
            }
            match self.changes.recv().await {
                // Read from the database, in order: the watcher stores the highest revision that it has seen.
                Ok(change) if has_gap(&mut self.revisions, &change) => self.is_reading_backlog = true,
                Ok(change) => return Ok(Some(change)),
                Err(broadcast::error::RecvError::Lagged(_)) => self.is_reading_backlog = true,
                Err(broadcast::error::RecvError::Closed) => return Ok(None),
            }
        }
    }

    /// Reads the page of running jobs after an id. Those that have changed follow with the other changes.
    async fn read_running_jobs(&mut self, last: &str) -> Result<(), TranscodeError> {
        let mut running = self.hub.db.running_jobs(last, PAGE_SIZE).await?;
        self.last_running = running.last().map(|details| details.row.id.clone());
        running.retain(|details| details.row.revision <= self.revisions.get(details.row.shard));
        running.reverse();
        self.backlog = running;
        Ok(())
    }

    /// Reads a page of changes of the first shard that has any.
    async fn read_backlog(&mut self) -> Result<(), TranscodeError> {
        for (shard, revision) in self.hub.db.revisions().await?.iter() {
            self.revisions.lower(shard, revision);
            let sent = self.revisions.get(shard);
            if sent >= revision {
                continue;
            }
            self.backlog = self.hub.db.jobs_changed_since(shard, sent, PAGE_SIZE).await?;
            let last = self.backlog.last().map_or(revision, |details| details.row.revision);
            self.revisions.raise(shard, last);
            self.backlog.reverse();
            if !self.backlog.is_empty() {
                return Ok(());
            }
        }
        self.is_reading_backlog = false;
        Ok(())
    }
}
