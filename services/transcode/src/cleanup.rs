//! Removes the objects of ended jobs that no playlist refers to.

use std::{collections::HashSet, sync::Arc, time::Duration};

use reelmill_platform::{clock::Clock, objects::Objects};
use tokio::sync::Notify;

use crate::{
    db::{Db, Generation, JobDetails},
    domain::{
        DASH_MANIFEST, HLS_MASTER_PLAYLIST, JobState, THUMBNAILS_INDEX, iframe_playlist_name, job_folder,
        media_playlist_name, path_generation,
    },
    error::TranscodeError,
};

/// Longest interval between two cleanups.
const MAX_INTERVAL: Duration = Duration::from_secs(5);
/// Delay of a job's second cleanup, milliseconds: longer than a lost attempt's presigned URLs are valid.
const SECOND_CLEANUP_DELAY_MS: i64 = 20 * 60_000;

/// Cleans up after jobs. Apart from the sweeper: a slow object store must not delay tasks.
pub(crate) struct Cleanup {
    pub(crate) db: Db,
    pub(crate) objects: Objects,
    pub(crate) clock: Clock,
    pub(crate) jobs_ended: Arc<Notify>,
}

impl Cleanup {
    /// Cleans up whenever a job has ended, for ever.
    pub(crate) async fn run(&self) {
        loop {
            if let Err(error) = self.sweep().await {
                tracing::warn!(%error, "cleanup failed: retrying");
            }
            tokio::select! {
                () = self.jobs_ended.notified() => {}
                () = tokio::time::sleep(MAX_INTERVAL) => {}
            }
        }
    }

    /// Cleans up after all jobs that are due. A failure for one job is logged and repeated by the next call.
    pub(crate) async fn sweep(&self) -> Result<(), TranscodeError> {
        let now = self.clock.now_millis();
        for job in self.db.jobs_to_clean(now).await? {
            if let Err(error) = self.clean(&job, now).await {
                tracing::warn!(job = job.row.id, %error, "a job was not cleaned up: retrying later");
            }
        }
        Ok(())
    }

    async fn clean(&self, details: &JobDetails, now: i64) -> Result<(), TranscodeError> {
        let job = &details.row;
        let folder = job_folder(&job.output_prefix, &job.id);
        if job.state == JobState::Succeeded {
            let referenced = self.referenced_files(details).await?;
            let is_referenced =
                |key: &str| key.strip_prefix(&folder).is_some_and(|name| referenced.contains(name));
            self.objects.delete_unless(&folder, is_referenced).await?;
        } else {
            // The job may be retried during the cleanup.
            let is_of_retry = |key: &str| {
                let path = key.strip_prefix(&folder).unwrap_or_default();
                path_generation(path).is_some_and(|generation| generation > job.generation)
            };
            self.objects.delete_unless(&folder, is_of_retry).await?;
            self.db.delete_work(&Generation::of(job)).await?;
        }
        let is_first = job.cleanup_time.is_some_and(|time| Some(time) == job.end_time);
        self.db.set_cleanup_time(job, is_first.then_some(now + SECOND_CLEANUP_DELAY_MS)).await
    }

    /// The files in a job's folder that are played: the recorded outputs, and the playlists that refer to them.
    async fn referenced_files(&self, details: &JobDetails) -> Result<HashSet<String>, TranscodeError> {
        let outputs = self.db.manifest(&details.row.id).await?;
        let mut files: HashSet<String> = outputs.into_iter().map(|output| output.uri).collect();
        files.extend([HLS_MASTER_PLAYLIST, DASH_MANIFEST, THUMBNAILS_INDEX].map(str::to_owned));
        for rendition in &details.renditions {
            let id = &rendition.rendition_id;
            files.extend([media_playlist_name(id), iframe_playlist_name(id)]);
        }
        Ok(files)
    }
}
