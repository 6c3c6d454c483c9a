//! Deletes the objects of deleted videos, and the sources of failed ones after a configured time.

use std::time::Duration;

use reelmill_platform::{
    clock::{Clock, duration_millis},
    objects::Objects,
};

use crate::{
    db::{Db, VideoRow},
    domain::object_key::{output_prefix, source_key, source_prefix},
    error::UploadError,
    progress_cache::ProgressCache,
    transcode_client::TranscodeClient,
};

/// Time after deletion of the last cleanup: a worker that has not been cancelled yet may still write outputs.
/// Also how long watchers can learn of a deletion.
const LAST_CLEANUP_DELAY: Duration = Duration::from_secs(3600);

/// Deletes objects of videos.
#[derive(Clone)]
pub(crate) struct ObjectCleanup {
    pub db: Db,
    pub objects: Objects,
    pub transcode: TranscodeClient,
    pub progress: ProgressCache,
    pub clock: Clock,
    /// Time after which the source of a FAILED video is deleted; `None` keeps it, so that its job can be retried.
    pub failed_source_retention: Option<Duration>,
}

impl ObjectCleanup {
    /// Videos whose cleanup is due.
    pub(crate) async fn due(&self, limit: u64) -> Result<Vec<VideoRow>, UploadError> {
        Ok(self.db.videos_to_clean_up(self.clock.now_millis(), limit).await?)
    }

    /// Cleans up a deleted or failed video.
    pub(crate) async fn clean_up(&self, video: &VideoRow) -> Result<(), UploadError> {
        match video.delete_time {
            Some(delete_time) => self.clean_up_deleted(video, delete_time).await,
            None => self.clean_up_failed(video).await,
        }
    }

    /// Deletes the source once its retention time has passed. Outputs are deleted by the transcode role.
    async fn clean_up_failed(&self, video: &VideoRow) -> Result<(), UploadError> {
        let Some(retention) = self.failed_source_retention else {
            return Ok(self.db.reschedule_cleanup(video, None).await?);
        };
        let ended = video.end_time.unwrap_or(video.create_time);
        let expire_time = ended.saturating_add(duration_millis(retention));
        if self.clock.now_millis() < expire_time {
            return Ok(self.db.reschedule_cleanup(video, Some(expire_time)).await?);
        }
        self.objects.delete_prefix(&source_prefix(&video.id)).await?;
        Ok(self.db.reschedule_cleanup(video, None).await?)
    }

    /// Deletes the objects and the jobs of a deleted video. The last cleanup also removes its rows.
    async fn clean_up_deleted(&self, video: &VideoRow, delete_time: i64) -> Result<(), UploadError> {
        // Objects written during this cleanup may be missed: only one that started late enough is the last.
        let started = self.clock.now_millis();
        // Also without a known job: the answer to its creation may have been lost.
        let jobs_deleted = self.transcode.delete_jobs(&video.id).await;
        self.delete_objects(video).await?;
        // Objects are deleted even if the jobs could not be, but then the cleanup is repeated.
        jobs_deleted.map_err(UploadError::Transcode)?;
        let last_cleanup = delete_time.saturating_add(duration_millis(LAST_CLEANUP_DELAY));
        if started < last_cleanup {
            self.db.reschedule_cleanup(video, Some(last_cleanup)).await?;
        } else {
            self.db.purge_video(&video.id).await?;
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
