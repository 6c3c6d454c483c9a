//! What is measured of a finished job and its renditions.

use std::collections::HashMap;

use reelmill_media::playlists::Bandwidth;

use super::recorded_tracks::{RecordedTrack, RecordedTracks};
use crate::{
    db::{JobRow, RenditionRow, entity::RenditionState},
    plans::JobPlan,
};

/// Difference between the file's stated duration and the encoded one up to which the stated one is kept, seconds.
const DURATION_TOLERANCE_SECONDS: f64 = 0.5;

/// A progressive file.
pub(super) struct Download {
    pub(super) key: String,
    pub(super) size_bytes: i64,
}

/// Progressive files by rendition id.
pub(super) type Downloads = HashMap<String, Download>;

/// The renditions that have segments, with what is measured of them.
pub(super) fn renditions(
    rows: Vec<RenditionRow>,
    plan: &JobPlan,
    tracks: &RecordedTracks,
    downloads: &Downloads,
) -> Vec<RenditionRow> {
    let audio = tracks.played_audio(plan);
    let measured = rows.into_iter().filter_map(|row| {
        let track = tracks.listed(&row.rendition_id)?;
        let download = downloads.get(&row.rendition_id);
        Some(measured_rendition(row, track, audio, download))
    });
    measured.collect()
}

/// A rendition with what is measured of it; of video together with the audio that is played with it.
fn measured_rendition(
    row: RenditionRow,
    track: &RecordedTrack,
    audio: Option<&RecordedTrack>,
    download: Option<&Download>,
) -> RenditionRow {
    let mut bandwidth = Bandwidth::of(&track.track.segments);
    let mut codecs = track.track.codec.clone();
    if let Some(audio) = audio.filter(|_| track.is_video()) {
        bandwidth = bandwidth.with(Bandwidth::of(&audio.track.segments));
        codecs = format!("{codecs},{}", audio.track.codec);
    }
    let integer = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    RenditionRow {
        state: RenditionState::Ready,
        codecs,
        bandwidth_bps: integer(bandwidth.peak),
        average_bandwidth_bps: integer(bandwidth.average),
        size_bytes: download.map_or_else(|| track.size_bytes(), |download| download.size_bytes),
        download_key: download.map(|download| download.key.clone()).unwrap_or_default(),
        progress_percent: 100.0,
        progress_frames: track.frames.iter().map(|frames| i64::from(*frames)).sum(),
        progress_segments_ready: integer(track.track.segments.len() as u64),
        ..row
    }
}

/// Sets a job's progress, and the encoded duration where the file stated none or another.
pub(super) fn set_job(job: &mut JobRow, renditions: &[RenditionRow], tracks: &RecordedTracks) {
    job.progress_percent = 100.0;
    job.progress_frames = renditions.iter().map(|row| row.progress_frames).max().unwrap_or(0);
    job.progress_segments_ready = renditions.iter().map(|row| row.progress_segments_ready).max().unwrap_or(0);
    let played = tracks.tracks.iter().filter(|track| track.is_listed() && !track.is_subtitles());
    let encoded_seconds = played.map(RecordedTrack::end_seconds).fold(0.0, f64::max);
    let is_stated = job
        .source_duration_seconds
        .is_some_and(|stated| (stated - encoded_seconds).abs() <= DURATION_TOLERANCE_SECONDS);
    if job.source_container.is_some() && !is_stated {
        job.source_duration_seconds = Some(encoded_seconds);
    }
}
