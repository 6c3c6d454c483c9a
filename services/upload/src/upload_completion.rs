//! Completes uploads: checks the parts, assembles the object, moves the video to PROCESSING.
//!
//! A call first *claims* the completion: the upload becomes COMPLETING, with the claimed parts and a unique update time.
//! An abandoned claim is taken over by a later call or by the sweeper. Two calls that work on the same upload are
//! harmless: assembling the parts twice gives the same object, and one transaction moves the video on.

use std::time::Duration;

use reelmill_platform::{
    clock::{Clock, duration_millis},
    objects::{Objects, ObjectsError},
};
use reelmill_proto::upload::CompletedPart;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use crate::{
    change_feed::ChangeFeed,
    db::{Db, UploadRow, VideoRow},
    domain::{object_key::source_key, part_plan::ClaimedParts, upload_state::UploadState},
    error::UploadError,
    job_requests::JobRequests,
};

/// Age after which a claim is considered abandoned.
const CLAIM_TTL: Duration = Duration::from_secs(30);
/// How long a call waits for another call that is completing the same upload.
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);
/// While waiting, interval between reads without a notification: the other call's process may have died.
const WAIT_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Completes uploads.
#[derive(Clone)]
pub(crate) struct UploadCompletion {
    pub db: Db,
    pub objects: Objects,
    pub jobs: JobRequests,
    pub changes: ChangeFeed,
    pub clock: Clock,
}

impl UploadCompletion {
    /// Completes an upload, or waits for the call that does. Continues even if the caller disconnects.
    pub(crate) async fn complete(
        &self,
        upload: UploadRow,
        parts: Vec<CompletedPart>,
    ) -> Result<VideoRow, UploadError> {
        let this = self.clone();
        let completion = async move { this.complete_or_wait(upload, &parts).await };
        tokio::spawn(completion.in_current_span()).await?
    }

    /// Uploads with an abandoned claim.
    pub(crate) async fn abandoned(&self, limit: u64) -> Result<Vec<UploadRow>, UploadError> {
        let claimed_before = self.clock.now_millis() - duration_millis(CLAIM_TTL);
        Ok(self.db.abandoned_claims(claimed_before, limit).await?)
    }

    /// Takes over an abandoned claim. If the object store is unavailable, the claim is kept and retried.
    pub(crate) async fn resume(&self, abandoned: &UploadRow) -> Result<(), UploadError> {
        let parts = self.db.claimed_parts(&abandoned.id).await?;
        let claimed = self.db.claim_completion(abandoned, &parts, self.clock.now_millis()).await?;
        let Some(claimed) = claimed else { return Ok(()) };
        match self.assemble(&claimed, &parts).await {
            Ok(()) => self.finish(&claimed).await.map(|_| ()),
            Err(error) if error.is_wrong_parts() => {
                self.db.reopen_upload(&claimed, self.clock.now_millis()).await?;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn complete_or_wait(
        &self,
        mut upload: UploadRow,
        parts: &[CompletedPart],
    ) -> Result<VideoRow, UploadError> {
        let deadline = Instant::now() + WAIT_TIMEOUT;
        loop {
            // Subscribe before reading: a change in between is then received.
            let mut changes = self.changes.subscribe_to_video(&upload.video_id);
            upload = self.db.upload(&upload.id).await?.ok_or(UploadError::UploadNotFound)?;
            let is_claimed = upload.state == UploadState::Completing && !self.is_abandoned(&upload);
            match upload.state {
                UploadState::Completed => return self.completed_video(&upload).await,
                UploadState::Aborted => return Err(UploadError::UploadNotOpen),
                _ if is_claimed && Instant::now() >= deadline => return Err(UploadError::UploadCompleting),
                _ if is_claimed => {
                    let next_poll = Instant::now() + WAIT_POLL_INTERVAL;
                    let _ = timeout_at(next_poll, changes.changed()).await;
                }
                UploadState::Open | UploadState::Completing => {
                    let parts = upload.plan().parse_claim(parts)?;
                    let claimed = self.db.claim_completion(&upload, &parts, self.clock.now_millis()).await?;
                    if let Some(claimed) = claimed {
                        return self.complete_claimed(&claimed, &parts).await;
                    }
                }
            }
        }
    }

    fn is_abandoned(&self, upload: &UploadRow) -> bool {
        upload.update_time <= self.clock.now_millis() - duration_millis(CLAIM_TTL)
    }

    async fn complete_claimed(
        &self,
        claimed: &UploadRow,
        parts: &ClaimedParts,
    ) -> Result<VideoRow, UploadError> {
        let assembled = self.assemble(claimed, parts).await;
        if assembled.is_err() {
            self.db.reopen_upload(claimed, self.clock.now_millis()).await?;
            self.changes.publish_row_change(&claimed.owner, &claimed.video_id).await;
        }
        assembled?;
        self.finish(claimed).await
    }

    /// Checks the parts and assembles the object.
    async fn assemble(&self, upload: &UploadRow, claimed: &ClaimedParts) -> Result<(), UploadError> {
        let (key, plan) = (source_key(&upload.video_id, &upload.id), upload.plan());
        let multipart = upload.multipart_upload_id.as_deref().ok_or(UploadError::PartMissing(1))?;
        match self.objects.list_parts(&key, multipart).await {
            Ok(stored) => {
                let parts = plan.check(claimed, &stored)?;
                match self.objects.complete_multipart(&key, multipart, &parts).await {
                    Err(ObjectsError::InvalidParts { .. }) => {
                        // A part was sent again between the two requests: find out which.
                        let stored = self.objects.list_parts(&key, multipart).await?;
                        plan.check(claimed, &stored)?;
                        return Err(UploadError::PartMissing(1));
                    }
                    completed => completed?,
                };
            }
            // Assembled before, by a call that did not finish: the object decides.
            Err(ObjectsError::UploadNotFound) => {}
            Err(error) => return Err(error.into()),
        }
        match self.objects.head(&key).await? {
            Some(head) if head.size == plan.size => Ok(()),
            Some(_) => Err(UploadError::SizeMismatch { declared: plan.size }),
            None => Err(UploadError::PartMissing(1)),
        }
    }

    /// Moves the video of an assembled upload to PROCESSING and requests its job. If transcode is unavailable, the
    /// sweeper requests it later.
    async fn finish(&self, upload: &UploadRow) -> Result<VideoRow, UploadError> {
        if !self.db.finish_upload(upload, self.clock.now_millis()).await? {
            let video = self.completed_video(upload).await?;
            let upload = self.db.upload(&upload.id).await?.ok_or(UploadError::UploadNotFound)?;
            return match upload.state {
                UploadState::Completed => Ok(video),
                UploadState::Aborted => Err(UploadError::UploadNotOpen),
                // A call that had taken over the claim reopened the upload: a retry finds the object assembled.
                UploadState::Open | UploadState::Completing => Err(UploadError::UploadCompleting),
            };
        }
        self.changes.publish_row_change(&upload.owner, &upload.video_id).await;
        let video = self.completed_video(upload).await?;
        if let Err(error) = self.jobs.ensure_job(&video).await {
            tracing::warn!(video = video.id, %error, "cannot create the job of a video; the sweeper retries");
        }
        self.completed_video(upload).await
    }

    async fn completed_video(&self, upload: &UploadRow) -> Result<VideoRow, UploadError> {
        let video = self.db.video(&upload.video_id).await?;
        video.filter(|video| video.delete_time.is_none()).ok_or(UploadError::UploadNotOpen)
    }
}
