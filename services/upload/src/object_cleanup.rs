//! Deletes the objects of deleted and failed videos.

use std::time::Duration;

use reelmill_platform::{
    clock::{Clock, duration_millis},
    objects::Objects,
};

use crate::{
    db::{Db, VideoRow},
    domain::{
        object_key::{output_prefix, source_key, source_prefix},
        video_state::VideoState,
    },
    error::UploadError,
    progress_cache::ProgressCache,
    transcode_client::TranscodeClient,
};

/// Time after deletion or failure of the last cleanup: a worker that has not been cancelled yet may still write outputs.
/// Also how long watchers can learn of a deletion.
const LAST_CLEANUP_DELAY: Duration = Duration::from_secs(3600);

/// Deletes the objects of deleted and failed videos.
#[derive(Clone)]
pub(crate) struct ObjectCleanup {
    pub db: Db,
    pub objects: Objects,
    pub transcode: TranscodeClient,
    pub progress: ProgressCache,
    pub clock: Clock,
}

impl ObjectCleanup {
    /// Videos whose cleanup is due.
    pub(crate) async fn due(&self, limit: u64) -> Result<Vec<VideoRow>, UploadError> {
        Ok(self.db.videos_to_clean_up(self.clock.now_millis(), limit).await?)
    }

    /// Deletes a video's objects and cancels its job, if it still runs. The last cleanup of a deleted video also removes
    /// its rows.
    pub(crate) async fn clean_up(&self, video: &VideoRow) -> Result<(), UploadError> {
        // Objects written during this cleanup may be missed: only one that started late enough is the last.
        let started = self.clock.now_millis();
        let cancelled = match &video.job {
            Some(job) if video.state == VideoState::Processing => self.transcode.cancel_job(job).await,
            _ => Ok(()),
        };
        self.delete_objects(video).await?;
        // Objects are deleted even if the job could not be cancelled, but then the cleanup is repeated.
        cancelled.map_err(UploadError::Transcode)?;
        let ended = video.delete_time.or(video.end_time).unwrap_or(video.create_time);
        let last_cleanup = ended.saturating_add(duration_millis(LAST_CLEANUP_DELAY));
        match video.delete_time {
            _ if started < last_cleanup => self.db.reschedule_cleanup(video, Some(last_cleanup)).await?,
            Some(_) => self.db.purge_video(&video.id).await?,
            None => self.db.reschedule_cleanup(video, None).await?,
        }
        self.progress.remove(&video.id);
        Ok(())
    }

    async fn delete_objects(&self, video: &VideoRow) -> Result<(), UploadError> {
        let sources = source_prefix(&video.id);
        if let Some(upload) = self.db.upload(&video.upload_id).await?
            && let Some(multipart) = &upload.multipart_upload_id
        {
            self.objects.abort_multipart(&source_key(&video.id, &upload.id), multipart).await?;
        }
        // Multipart uploads whose ids were not stored because of a crash.
        for orphan in self.objects.list_multipart_uploads(&sources).await? {
            self.objects.abort_multipart(&orphan.key, &orphan.upload_id).await?;
        }
        self.objects.delete_prefix(&sources).await?;
        self.objects.delete_prefix(&output_prefix(&video.id)).await?;
        Ok(())
    }
}
