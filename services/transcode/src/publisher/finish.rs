//! Finishes a job whose work units are all encoded: the final check, the final playlists, PACKAGE tasks, and its end.

use reelmill_platform::clock::Clock;
use reelmill_proto::transcode::Warning;

use super::{
    final_columns::{self, Download, Downloads},
    playlists::{PlaylistWriter, WrittenFiles},
    recorded_tracks::RecordedTracks,
};
use crate::{
    db::{Db, Generation, JobRow, JobTransaction, TaskCounts, TaskRow, new_task},
    domain::{
        DASH_MANIFEST, HLS_MASTER_PLAYLIST, JobEvent, OutputKind, THUMBNAILS_INDEX, TaskKind, check_tracks,
        job_folder,
    },
    error::TranscodeError,
    job_changes::JobChanges,
    plans::JobPlan,
    warnings::not_yet_explained,
};

/// Position of PACKAGE tasks in their job: all its other tasks have ended.
const PACKAGE_POSITION: i32 = 0;

/// Finishes jobs.
pub(super) struct JobFinisher {
    pub(super) db: Db,
    pub(super) playlists: PlaylistWriter,
    pub(super) changes: JobChanges,
    pub(super) clock: Clock,
}

impl JobFinisher {
    /// Writes the final playlists; then creates the PACKAGE tasks, or ends the job once they have succeeded. Fails a
    /// job whose tracks do not play.
    pub(super) async fn finish(
        &self,
        job: &JobRow,
        plan: &JobPlan,
        tracks: &RecordedTracks,
        written: &mut WrittenFiles,
        counts: TaskCounts,
    ) -> Result<(), TranscodeError> {
        let warnings = match check_tracks(&plan.plan, &tracks.views()) {
            Ok(warnings) => warnings,
            Err(unplayable) => {
                if let Some(transaction) = self.lock(job).await? {
                    let (reason, now) = (unplayable.reason.as_str_name(), self.clock.now_millis());
                    self.changes.fail(transaction, reason, &unplayable.message, now).await?;
                }
                return Ok(());
            }
        };
        let sheets = tracks.sheets();
        self.playlists.write_final(job, written, &tracks.presentation(true), &sheets).await?;
        let downloads = self.downloads(job, &tracks.generation).await?;
        let unpackaged =
            if counts.packages == 0 { unpackaged_renditions(plan, tracks, &downloads) } else { Vec::new() };
        if !unpackaged.is_empty() {
            return self.create_package_tasks(job, plan, &unpackaged, &warnings).await;
        }
        if counts.packaging > 0 {
            return Ok(());
        }
        self.succeed(job, plan, tracks, &downloads, !sheets.is_empty(), &warnings).await
    }

    /// Locks a job, if it has neither ended nor been restarted.
    async fn lock(&self, job: &JobRow) -> Result<Option<JobTransaction>, TranscodeError> {
        let transaction = self.db.lock_job(&job.id).await?;
        let is_current = transaction.is_open() && transaction.job.generation == job.generation;
        Ok(is_current.then_some(transaction))
    }

    /// Creates a PACKAGE task for each rendition.
    async fn create_package_tasks(
        &self,
        job: &JobRow,
        plan: &JobPlan,
        renditions: &[String],
        warnings: &[Warning],
    ) -> Result<(), TranscodeError> {
        let Some(mut transaction) = self.lock(job).await? else { return Ok(()) };
        let counts = transaction.task_counts().await?;
        if counts.encoding + counts.packages > 0 {
            return Ok(());
        }
        let now = self.clock.now_millis();
        let first_index = i32::try_from(plan.plan.work_units.len()).unwrap_or(i32::MAX);
        let tasks = (0..).zip(renditions).map(|(offset, rendition)| TaskRow {
            job_position: PACKAGE_POSITION,
            rendition_id: rendition.clone(),
            ..new_task(&transaction.job, TaskKind::Package, first_index + offset)
        });
        transaction.add_tasks(tasks.collect()).await?;
        transaction.add_warnings(warnings, not_yet_explained).await?;
        set_playable(&mut transaction.job, now);
        self.changes.commit(transaction).await.map(drop)
    }

    /// Ends a job whose tasks have all succeeded.
    async fn succeed(
        &self,
        job: &JobRow,
        plan: &JobPlan,
        tracks: &RecordedTracks,
        downloads: &Downloads,
        has_thumbnails: bool,
        warnings: &[Warning],
    ) -> Result<(), TranscodeError> {
        let poster = self.db.outputs(&tracks.generation, OutputKind::Poster).await?.into_iter().next();
        let Some(mut transaction) = self.lock(job).await? else { return Ok(()) };
        let counts = transaction.task_counts().await?;
        if counts.encoding + counts.packaging > 0 {
            return Ok(());
        }
        let now = self.clock.now_millis();
        let folder = job_folder(&job.output_prefix, &job.id);
        let key = |name: &str| format!("{folder}{name}");
        let renditions = final_columns::renditions(transaction.renditions().await?, plan, tracks, downloads);
        set_playable(&mut transaction.job, now);
        final_columns::set_job(&mut transaction.job, &renditions, tracks);
        transaction.job.output_size_bytes = transaction.write_manifest().await?;
        transaction.job.poster_key = poster.map(|poster| key(&poster.uri)).unwrap_or_default();
        transaction.job.dash_manifest_key = key(DASH_MANIFEST);
        transaction.job.thumbnails_key = if has_thumbnails { key(THUMBNAILS_INDEX) } else { String::new() };
        transaction.replace_renditions(renditions).await?;
        transaction.add_warnings(warnings, not_yet_explained).await?;
        transaction.advance(JobEvent::AllTasksSucceeded, now);
        self.changes.commit(transaction).await.map(drop)
    }

    async fn downloads(&self, job: &JobRow, generation: &Generation) -> Result<Downloads, TranscodeError> {
        let folder = job_folder(&job.output_prefix, &job.id);
        let rows = self.db.outputs(generation, OutputKind::Progressive).await?;
        let downloads = rows.into_iter().map(|row| {
            let download = Download { key: format!("{folder}{}", row.uri), size_bytes: row.size_bytes };
            (row.rendition_id, download)
        });
        Ok(downloads.collect())
    }
}

/// Ids of the renditions that need a progressive file: the rungs, or of an audio file the audio track that is played.
fn unpackaged_renditions(plan: &JobPlan, tracks: &RecordedTracks, downloads: &Downloads) -> Vec<String> {
    let candidates: Vec<&str> = match &plan.plan.video {
        Some(video_plan) => video_plan.rungs.iter().map(|rung| rung.id.as_str()).collect(),
        None => tracks.played_audio(plan).map(|track| track.track.id.as_str()).into_iter().collect(),
    };
    let is_unpackaged = |id: &&str| tracks.listed(id).is_some() && !downloads.contains_key(*id);
    candidates.into_iter().filter(is_unpackaged).map(str::to_owned).collect()
}

fn set_playable(job: &mut JobRow, now: i64) {
    job.playable_time.get_or_insert(now);
    let folder = job_folder(&job.output_prefix, &job.id);
    job.master_playlist_key = format!("{folder}{HLS_MASTER_PLAYLIST}");
}
