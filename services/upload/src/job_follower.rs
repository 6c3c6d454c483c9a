//! Follows all transcode jobs on one stream and applies their revisions to the videos.
//!
//! Every replica follows. A revision is still applied once, because only a higher revision of a job is accepted.

use std::{collections::HashMap, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use reelmill_platform::clock::Clock;
use reelmill_proto::transcode::{Job, WatchJobsResponse};
use tonic::{Code, Status};

use crate::{
    change_feed::ChangeFeed,
    db::{ApplyOutcome, Db, VideoRow},
    domain::{
        job_revision::JobRevision, resource_name, video_progress::VideoProgress, video_state::VideoState,
    },
    error::UploadError,
    progress_cache::ProgressCache,
    sweep_signal::SweepSignal,
    transcode_client::TranscodeClient,
};

const RECONNECT_BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(250))
    .with_max_delay(Duration::from_secs(5))
    .with_jitter()
    .without_max_times();

/// Follows transcode jobs.
pub(crate) struct JobFollower {
    db: Db,
    transcode: TranscodeClient,
    progress: ProgressCache,
    changes: ChangeFeed,
    sweep: SweepSignal,
    clock: Clock,
    /// Running jobs by video id. Progress of these without a new revision needs no database access.
    running: HashMap<String, RunningJob>,
}

struct RunningJob {
    owner: String,
    /// Highest applied revision of the job.
    revision: i64,
}

impl JobFollower {
    pub(crate) fn new(
        db: Db,
        transcode: TranscodeClient,
        progress: ProgressCache,
        changes: ChangeFeed,
        sweep: SweepSignal,
        clock: Clock,
    ) -> Self {
        Self { db, transcode, progress, changes, sweep, clock, running: HashMap::new() }
    }

    /// Follows jobs and reconnects. Never returns.
    pub(crate) async fn run(mut self) {
        let mut delays = RECONNECT_BACKOFF.build();
        loop {
            let mut has_received = false;
            match self.follow(&mut has_received).await {
                Ok(()) => tracing::debug!("the job stream ended"),
                Err(error) => tracing::warn!(%error, "the job stream failed; reconnecting"),
            }
            if has_received {
                delays = RECONNECT_BACKOFF.build();
            }
            tokio::time::sleep(delays.next().unwrap_or_default()).await;
        }
    }

    async fn follow(&mut self, has_received: &mut bool) -> Result<(), UploadError> {
        let revisions = self.db.applied_revisions().await?;
        let mut job_changes = self.transcode.watch_jobs(revisions).await.map_err(UploadError::Transcode)?;
        loop {
            match job_changes.message().await {
                Ok(Some(response)) => {
                    *has_received = true;
                    self.process(&response).await?;
                }
                Ok(None) => return Ok(()),
                Err(status) => return stream_end(status),
            }
        }
    }

    async fn process(&mut self, response: &WatchJobsResponse) -> Result<(), UploadError> {
        let Some(job) = &response.job else { return Ok(()) };
        let Some(video) = resource_name::video_id(&job.video) else { return Ok(()) };
        let applied_revision = self.running.get(video).map_or(0, |running| running.revision);
        if job.revision > applied_revision
            && let Some(reported) = JobRevision::parse(response)
        {
            self.apply(&reported).await?;
        }
        self.update_progress(video, job);
        Ok(())
    }

    /// Publishes progress, unless it belongs to an older revision of the job.
    fn update_progress(&self, video: &str, job: &Job) {
        let running = self.running.get(video).filter(|running| running.revision == job.revision);
        if let Some(running) = running {
            self.progress.update(video, VideoProgress::of(job));
            self.changes.publish_progress(&running.owner, video);
        }
    }

    async fn apply(&mut self, reported: &JobRevision) -> Result<(), UploadError> {
        match self.db.apply_job_revision(reported, self.clock.now_millis()).await? {
            ApplyOutcome::Changed(video) => {
                self.track(&video);
                self.changes.publish_row_change(&video.owner, &video.id).await;
                if video.cleanup_time.is_some() {
                    self.sweep.request();
                }
            }
            ApplyOutcome::Unchanged(video) => {
                self.track(&video);
                // Perhaps another replica applied it: watchers of this replica wait for the notification.
                self.changes.publish_row_change_locally(&video.owner, &video.id);
                if video.delete_time.is_some() {
                    self.sweep.request();
                }
            }
            ApplyOutcome::VideoNotFound => {
                self.running.remove(&reported.video);
            }
        }
        Ok(())
    }

    fn track(&mut self, video: &VideoRow) {
        if video.state == VideoState::Processing && video.delete_time.is_none() {
            let running = RunningJob { owner: video.owner.clone(), revision: video.job_revision };
            self.running.insert(video.id.clone(), running);
        } else {
            self.running.remove(&video.id);
            self.progress.remove(&video.id);
        }
    }
}

/// UNAVAILABLE is the normal end: transcode stops or restarts.
fn stream_end(status: Status) -> Result<(), UploadError> {
    if status.code() == Code::Unavailable { Ok(()) } else { Err(UploadError::Transcode(status)) }
}
