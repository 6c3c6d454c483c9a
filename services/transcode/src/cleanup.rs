//! Removes the objects of ended jobs that their attempts left: what no playlist refers to.

use std::{collections::HashSet, sync::Arc, time::Duration};

use reelmill_platform::{clock::Clock, objects::Objects};
use tokio::sync::Notify;

use crate::{
    db::{Db, Generation, JobDetails, RenditionRow},
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

/// Delay of the next attempt after a failed one, milliseconds: the jobs behind it come first.
const RETRY_DELAY_MS: i64 = 30_000;

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
                self.db.set_cleanup_time(&job.row, Some(now + RETRY_DELAY_MS)).await?;
            }
        }
        Ok(())
    }

    async fn clean(&self, details: &JobDetails, now: i64) -> Result<(), TranscodeError> {
        let job = &details.row;
        let folder = job_folder(&job.output_prefix, &job.id);
        if job.state == JobState::Succeeded {
            // Without it, all would count as garbage.
            let Some(outputs) = self.db.manifest(&job.id).await? else { return Ok(()) };
            let referenced: HashSet<String> = outputs.into_iter().map(|output| output.uri).collect();
            let is_kept = |path: &str| !is_of_attempt(path, job.generation) || referenced.contains(path);
            self.delete_unless(&folder, is_kept).await?;
        } else {
            // The job may be retried during the cleanup.
            let playlists = playlist_names(&details.renditions);
            let is_ended = self.db.job(&job.id).await?.is_some_and(|row| row.end_time == job.end_time);
            let is_kept = |path: &str| {
                let is_playlist = is_ended && playlists.contains(path);
                !is_of_attempt(path, job.generation) && !is_playlist
            };
            self.delete_unless(&folder, is_kept).await?;
            self.db.delete_work(&Generation::of(job)).await?;
        }
        let second = job.end_time.map(|time| time + SECOND_CLEANUP_DELAY_MS);
        let is_first = job.cleanup_time.zip(second).is_some_and(|(time, second)| time < second);
        self.db.set_cleanup_time(job, is_first.then_some(now + SECOND_CLEANUP_DELAY_MS)).await
    }

    async fn delete_unless(
        &self,
        folder: &str,
        is_kept: impl Fn(&str) -> bool,
    ) -> Result<(), TranscodeError> {
        let is_kept = |key: &str| key.strip_prefix(folder).is_none_or(&is_kept);
        self.objects.delete_unless(folder, is_kept).await?;
        Ok(())
    }
}

/// Whether an object in a job's folder is an output of an attempt of this generation or an earlier one. What is neither
/// that nor a playlist stays: a newer release may have written it.
fn is_of_attempt(path: &str, generation: i32) -> bool {
    path_generation(path).is_some_and(|number| number <= generation)
}

/// File names of a job's playlists.
fn playlist_names(renditions: &[RenditionRow]) -> HashSet<String> {
    let mut names: HashSet<String> =
        [HLS_MASTER_PLAYLIST, DASH_MANIFEST, THUMBNAILS_INDEX].map(str::to_owned).into();
    for RenditionRow { rendition_id, .. } in renditions {
        names.extend([media_playlist_name(rendition_id), iframe_playlist_name(rendition_id)]);
    }
    names
}
