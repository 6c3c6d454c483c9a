//! Publishes a job that is being encoded: growing playlists, the first playback, the poster.

use std::sync::Arc;

use reelmill_media::playlists::Track;
use reelmill_platform::clock::Clock;

use super::{
    playlists::{PlaylistWriter, WrittenFiles},
    recorded_tracks::{RecordedTrack, RecordedTracks},
};
use crate::{
    db::{Db, JobDetails, JobRow, entity::RenditionKind},
    domain::{HLS_MASTER_PLAYLIST, OutputKind, job_folder},
    error::TranscodeError,
    job_changes::JobChanges,
    plans::JobPlan,
    progress::{JobProgress, ProgressTracker, raise_segments},
};

/// Publishes growing jobs.
pub(super) struct GrowingJobs {
    pub(super) db: Db,
    pub(super) playlists: PlaylistWriter,
    pub(super) changes: JobChanges,
    pub(super) progress: Arc<ProgressTracker>,
    pub(super) clock: Clock,
}

impl GrowingJobs {
    /// Writes the growing playlists, and announces what became playable.
    pub(super) async fn publish(
        &self,
        details: &JobDetails,
        plan: &JobPlan,
        tracks: &RecordedTracks,
        written: &mut WrittenFiles,
    ) -> Result<(), TranscodeError> {
        let presentation = tracks.presentation(false);
        let is_playable = self.is_playable(&details.row, plan, tracks).await?;
        self.playlists.write_hls(&details.row, written, &presentation, is_playable).await?;
        let segment_count = |track: &Track| i64::try_from(track.segments.len()).unwrap_or(i64::MAX);
        let published: Vec<_> =
            presentation.tracks.iter().map(|track| (track.id.clone(), segment_count(track))).collect();
        let poster = self.new_poster(details, tracks).await?;
        let became_playable =
            is_playable && (details.row.playable_time.is_none() || has_new_rendition(details, &published));
        let must_announce = became_playable || poster.is_some();
        let segments = JobProgress::of_published_segments(&published);
        if must_announce || segments.has_more_segments_than(details) {
            let mut transaction = self.db.lock_job(&details.row.id).await?;
            if !transaction.is_open() || transaction.job.generation != details.row.generation {
                return Ok(());
            }
            raise_segments(&mut transaction, &segments).await?;
            if is_playable {
                transaction.job.playable_time.get_or_insert(self.clock.now_millis());
                let folder = job_folder(&transaction.job.output_prefix, &transaction.job.id);
                transaction.job.master_playlist_key = format!("{folder}{HLS_MASTER_PLAYLIST}");
            }
            if let Some(poster) = poster {
                transaction.job.poster_key = poster;
            }
            if must_announce {
                self.changes.commit(transaction).await?;
            } else {
                transaction.commit_without_revision().await?;
            }
        }
        self.progress.segments_published(&details.row.id, &segments);
        Ok(())
    }

    /// Whether playback that starts now has video, or for an audio file audio, and the default audio track.
    async fn is_playable(
        &self,
        job: &JobRow,
        plan: &JobPlan,
        tracks: &RecordedTracks,
    ) -> Result<bool, TranscodeError> {
        let has_listed = |is_kind: fn(&RecordedTrack) -> bool| {
            tracks.tracks.iter().any(|track| track.is_listed() && is_kind(track))
        };
        let has_main_track = match plan.plan.video {
            Some(_) => has_listed(RecordedTrack::is_video),
            None => has_listed(RecordedTrack::is_audio),
        };
        if !has_main_track {
            return Ok(false);
        }
        let Some(audio) = plan.default_audio() else { return Ok(true) };
        if tracks.listed(&plan.plan.audio[audio].id).is_some() {
            return Ok(true);
        }
        // Audio that could not be encoded is not waited for.
        let completed = self.db.completed_work_units(job).await?;
        Ok(plan.work_unit_of_audio(audio).is_some_and(|work_unit| completed.contains(&work_unit)))
    }

    /// Key of the poster, if the job does not have one yet.
    async fn new_poster(
        &self,
        details: &JobDetails,
        tracks: &RecordedTracks,
    ) -> Result<Option<String>, TranscodeError> {
        if !details.row.poster_key.is_empty() {
            return Ok(None);
        }
        let posters = self.db.outputs(&tracks.generation, OutputKind::Poster).await?;
        let folder = job_folder(&details.row.output_prefix, &details.row.id);
        Ok(posters.first().map(|poster| format!("{folder}{}", poster.uri)))
    }
}

/// Whether the first segments of a video or audio rendition are published.
fn has_new_rendition(details: &JobDetails, published: &[(String, i64)]) -> bool {
    details.renditions.iter().any(|rendition| {
        let is_played = matches!(rendition.kind, RenditionKind::Video | RenditionKind::Audio);
        let is_published = published.iter().any(|(id, _)| *id == rendition.rendition_id);
        is_played && rendition.progress_segments_ready == 0 && is_published
    })
}
