//! Finishes work that was interrupted: by a crash, an unavailable dependency, or a client that did not return.
//! The database lists the work; every step is idempotent.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use futures::StreamExt as _;
use tokio::time::Instant;

use crate::{
    db::{UploadRow, VideoRow},
    error::UploadError,
    job_requests::JobRequests,
    object_cleanup::ObjectCleanup,
    sweep_signal::SweepSignal,
    upload_completion::UploadCompletion,
    upload_sessions::UploadSessions,
};

/// Items of each kind in one sweep.
const BATCH_SIZE: u64 = 500;
const MAX_CONCURRENT_ITEMS: usize = 8;
/// Delay before an item that failed is tried again.
const ITEM_BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_secs(1))
    .with_max_delay(Duration::from_secs(60))
    .with_jitter()
    .without_max_times();

/// The kinds of work that a sweep finishes.
pub(crate) struct SweepWork {
    /// Aborts expired sessions.
    pub sessions: UploadSessions,
    /// Resumes abandoned completions.
    pub completion: UploadCompletion,
    /// Requests missing jobs.
    pub jobs: JobRequests,
    /// Deletes the objects of deleted and failed videos.
    pub cleanup: ObjectCleanup,
}

/// Finishes interrupted work, on request and at an interval.
pub(crate) struct Sweeper {
    work: SweepWork,
    signal: SweepSignal,
    interval: Duration,
    /// Items that failed, by upload or video id.
    retries: Mutex<HashMap<String, Retry>>,
}

struct Retry {
    delays: ExponentialBackoff,
    at: Instant,
}

enum Item {
    ExpiredUpload(UploadRow),
    AbandonedCompletion(UploadRow),
    VideoWithoutJob(VideoRow),
    Cleanup(VideoRow),
}

impl Item {
    fn id(&self) -> &str {
        match self {
            Self::ExpiredUpload(upload) | Self::AbandonedCompletion(upload) => &upload.id,
            Self::VideoWithoutJob(video) | Self::Cleanup(video) => &video.id,
        }
    }
}

impl Sweeper {
    pub(crate) fn new(work: SweepWork, signal: SweepSignal, interval: Duration) -> Self {
        Self { work, signal, interval, retries: Mutex::default() }
    }

    /// Sweeps on request and at the interval. Never returns.
    pub(crate) async fn run(self) {
        loop {
            self.sweep().await;
            let next = Instant::now() + self.interval;
            let next = self.next_retry().map_or(next, |retry| retry.min(next));
            tokio::select! {
                () = self.signal.requested() => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    async fn sweep(&self) {
        match self.due().await {
            Err(error) => tracing::warn!(%error, "the sweeper cannot list the work that is due"),
            Ok(items) => {
                let ready = items.into_iter().filter(|item| !self.is_backing_off(item.id()));
                let items = futures::stream::iter(ready);
                items.for_each_concurrent(MAX_CONCURRENT_ITEMS, |item| self.process(item)).await;
            }
        }
    }

    async fn due(&self) -> Result<Vec<Item>, UploadError> {
        let expired = self.work.sessions.expired(BATCH_SIZE).await?;
        let abandoned = self.work.completion.abandoned(BATCH_SIZE).await?;
        let without_job = self.work.jobs.missing(BATCH_SIZE).await?;
        let cleanups = self.work.cleanup.due(BATCH_SIZE).await?;
        let mut items: Vec<Item> = expired.into_iter().map(Item::ExpiredUpload).collect();
        items.extend(abandoned.into_iter().map(Item::AbandonedCompletion));
        items.extend(without_job.into_iter().map(Item::VideoWithoutJob));
        items.extend(cleanups.into_iter().map(Item::Cleanup));
        Ok(items)
    }

    /// Processes an item. A failure affects only this item.
    async fn process(&self, item: Item) {
        let result = match &item {
            Item::ExpiredUpload(upload) => self.work.sessions.try_abort(upload).await.map(|_| ()),
            Item::AbandonedCompletion(upload) => self.work.completion.resume(upload).await,
            Item::VideoWithoutJob(video) => self.work.jobs.ensure_job(video).await,
            Item::Cleanup(video) => self.work.cleanup.clean_up(video).await,
        };
        let mut retries = self.retries();
        match result {
            Ok(()) => {
                retries.remove(item.id());
            }
            Err(error) => {
                let new = || Retry { delays: ITEM_BACKOFF.build(), at: Instant::now() };
                let retry = retries.entry(item.id().to_owned()).or_insert_with(new);
                let delay = retry.delays.next().unwrap_or_default();
                retry.at = Instant::now() + delay;
                tracing::warn!(item = item.id(), %error, ?delay, "a sweep failed for an item; retrying later");
            }
        }
    }

    fn is_backing_off(&self, id: &str) -> bool {
        self.retries().get(id).is_some_and(|retry| retry.at > Instant::now())
    }

    fn next_retry(&self) -> Option<Instant> {
        let now = Instant::now();
        self.retries().values().map(|retry| retry.at).filter(|at| *at > now).min()
    }

    fn retries(&self) -> MutexGuard<'_, HashMap<String, Retry>> {
        self.retries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
