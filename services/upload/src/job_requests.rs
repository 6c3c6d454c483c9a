//! Requests transcode jobs for uploaded videos.

use reelmill_platform::clock::Clock;
use reelmill_proto::{Reason, transcode::CreateJobRequest};
use tonic::Code;

use crate::{
    change_feed::ChangeFeed,
    db::{Db, VideoRow},
    domain::{
        object_key::{output_prefix, source_key},
        resource_name::{user_name, video_name},
        video_state::failure,
    },
    error::UploadError,
    sweep_signal::SweepSignal,
    transcode_client::TranscodeClient,
};

/// Requests transcode jobs for uploaded videos.
#[derive(Clone)]
pub(crate) struct JobRequests {
    pub db: Db,
    pub transcode: TranscodeClient,
    pub changes: ChangeFeed,
    pub sweep: SweepSignal,
    pub clock: Clock,
}

impl JobRequests {
    /// PROCESSING videos without a job.
    pub(crate) async fn missing(&self, limit: u64) -> Result<Vec<VideoRow>, UploadError> {
        Ok(self.db.videos_without_job(limit).await?)
    }

    /// Creates the job of a PROCESSING video. Idempotent: the video's id is the idempotency key (`request_id`).
    pub(crate) async fn ensure_job(&self, video: &VideoRow) -> Result<(), UploadError> {
        let request = CreateJobRequest {
            video: video_name(&video.id),
            owner: user_name(&video.owner),
            request_id: video.id.clone(),
            source_key: source_key(&video.id, &video.upload_id),
            source_size_bytes: video.size_bytes,
            output_prefix: output_prefix(&video.id),
            options: video.encoding_options().to_message(),
        };
        let now = self.clock.now_millis();
        let is_changed = match self.transcode.create_job(request).await {
            // The follower still has to apply this revision of the job and all later ones.
            Ok(job) => self.db.set_job(video, &job.name, job.revision - 1, now).await?,
            // A retry would be rejected again, and a video must not stay PROCESSING.
            Err(status) if status.code() == Code::InvalidArgument => {
                tracing::error!(video = video.id, %status, "transcode rejected the job of a video");
                let failure = failure(
                    Reason::JobRejected,
                    "this file could not be queued for transcoding; upload it again",
                );
                self.db.fail_without_job(video, failure, now).await?
            }
            Err(status) => return Err(UploadError::Transcode(status)),
        };
        if is_changed {
            self.changes.publish_row_change(&video.owner, &video.id).await;
        }
        self.sweep.request();
        Ok(())
    }
}
