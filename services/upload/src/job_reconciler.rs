//! Compares the PROCESSING videos with their jobs, a page at a time. Usually they agree: the follower applies every change.
//! They differ after one of the two databases was restored from a backup. Then missed changes are applied, and a video whose
//! job is gone gets a new one.

use std::time::Duration;

use reelmill_platform::clock::Clock;
use reelmill_proto::transcode::KnownJob;

use crate::{
    change_feed::ChangeFeed,
    db::{ApplyOutcome, Db, VideoRow},
    domain::job_revision::JobRevision,
    error::UploadError,
    sweep_signal::SweepSignal,
    transcode_client::TranscodeClient,
};

/// Videos compared at once.
const PAGE_SIZE: u64 = 500;

/// What a comparison found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reconciled {
    pub compared: usize,
    /// Videos of which a change was missed.
    pub changed: usize,
    /// Videos whose job was gone.
    pub without_job: usize,
}

/// Compares videos with jobs.
#[derive(Clone)]
pub(crate) struct JobReconciler {
    pub db: Db,
    pub transcode: TranscodeClient,
    pub changes: ChangeFeed,
    pub sweep: SweepSignal,
    pub clock: Clock,
    /// Interval between two pages.
    pub interval: Duration,
}

impl JobReconciler {
    /// Compares pages of videos, from the first to the last and again. Never returns.
    pub(crate) async fn run(self) {
        let mut after = String::new();
        loop {
            tokio::time::sleep(self.interval).await;
            match self.reconcile_page(&after, &mut Reconciled::default()).await {
                Ok(last) => after = last.unwrap_or_default(),
                Err(error) => {
                    tracing::warn!(%error, "videos could not be compared with their jobs: retrying")
                }
            }
        }
    }

    /// Compares all videos once.
    pub(crate) async fn reconcile_all(&self) -> Result<Reconciled, UploadError> {
        let mut reconciled = Reconciled::default();
        let mut after = String::new();
        while let Some(last) = self.reconcile_page(&after, &mut reconciled).await? {
            after = last;
        }
        Ok(reconciled)
    }

    /// Compares the videos after an id; returns the last one's id, none after the last page.
    async fn reconcile_page(
        &self,
        after: &str,
        reconciled: &mut Reconciled,
    ) -> Result<Option<String>, UploadError> {
        let videos = self.db.videos_with_running_job(after, PAGE_SIZE).await?;
        let Some(last) = videos.last().map(|video| video.id.clone()) else { return Ok(None) };
        reconciled.compared += videos.len();
        let known = videos
            .iter()
            .filter_map(|video| Some(KnownJob { name: video.job.clone()?, revision: video.job_revision }));
        let differences = self.transcode.check_jobs(known.collect()).await.map_err(UploadError::Transcode)?;
        for report in &differences.changed {
            let Some(reported) = JobRevision::parse(report) else { continue };
            let Some(known) = videos.iter().find(|video| video.id == reported.video) else { continue };
            if let ApplyOutcome::Changed(video) =
                self.db.apply_checked_job(&reported, known, self.clock.now_millis()).await?
            {
                reconciled.changed += 1;
                self.changes.publish_row_change(&video.owner, &video.id).await;
            }
        }
        for video in videos.iter().filter(|video| is_one_of(video, &differences.missing)) {
            if self.db.forget_job(video).await? {
                reconciled.without_job += 1;
                tracing::warn!(
                    video = video.id,
                    job = video.job,
                    "the job of a video is gone: it gets a new one"
                );
                self.sweep.request();
            }
        }
        Ok(Some(last))
    }
}

fn is_one_of(video: &VideoRow, missing: &[String]) -> bool {
    video.job.as_ref().is_some_and(|job| missing.contains(job))
}
