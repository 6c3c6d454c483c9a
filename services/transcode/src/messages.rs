//! Conversion of rows into messages of the contract.

use std::time::Duration;

use reelmill_proto::{
    duration, encode_source_contents, seconds, source_contents, timestamp,
    transcode::{
        Failure, Job, Progress, Rendition, SourceInfo, TranscodeOptions, Waiting, Warning, WatchJobsResponse,
        job::{Priority, State},
        rendition::{Kind, State as RenditionState},
        transcode_options::{Preset, Profile},
    },
};

use crate::{
    db::{JobDetails, JobRow, RenditionRow, WarningRow},
    domain::{JobState, job_name},
    error::TranscodeError,
};

/// The states of a request's filter.
pub(crate) fn requested_states(states: impl Iterator<Item = State>) -> Result<Vec<JobState>, TranscodeError> {
    let required = |state| {
        JobState::requested(state).ok_or_else(|| TranscodeError::field("states", "must not be unspecified"))
    };
    states.map(required).collect()
}

/// The job with its persisted progress, the watermark, which may exceed what was published.
/// `ProgressTracker::job` replaces it.
pub(crate) fn job_with_watermark(details: &JobDetails) -> Job {
    let JobDetails { row, renditions, warnings } = details;
    let warning = |row: &WarningRow| Warning { reason: row.reason.clone(), message: row.message.clone() };
    Job {
        name: job_name(&row.id),
        video: row.video.clone(),
        state: job_state(row.state).into(),
        create_time: Some(timestamp(row.create_time)),
        start_time: row.start_time.map(timestamp),
        end_time: row.end_time.map(timestamp),
        progress: Some(Progress {
            percent: if row.state == JobState::Succeeded { 100.0 } else { row.progress_percent },
            frames: row.progress_frames,
            segments_ready: row.progress_segments_ready,
            ..Progress::default()
        }),
        renditions: renditions.iter().map(rendition).collect(),
        source: source_info(row),
        failure: (!row.failure_reason.is_empty())
            .then(|| Failure { reason: row.failure_reason.clone(), message: row.failure_message.clone() }),
        revision: row.revision,
        playable_time: row.playable_time.map(timestamp),
        warnings: warnings.iter().map(warning).collect(),
        options: requested_options(row),
        waiting: row.waiting_since.map(|since| Waiting {
            reason: row.waiting_reason.clone(),
            message: row.waiting_message.clone(),
            since_time: Some(timestamp(since)),
        }),
        priority: Priority::from(row.priority).into(),
        queue_position: 0,
        estimated_start_time: None,
        estimated_end_time: None,
    }
}

/// The job as the upload service sees it: `job` with the object keys of its outputs.
pub(crate) fn watch_jobs_response(details: &JobDetails, job: Job) -> WatchJobsResponse {
    let JobDetails { row, renditions, .. } = details;
    let downloads = renditions.iter().filter(|row| !row.download_key.is_empty());
    WatchJobsResponse {
        job: Some(job),
        master_playlist_key: row.master_playlist_key.clone(),
        poster_key: row.poster_key.clone(),
        output_size_bytes: row.output_size_bytes,
        dash_manifest_key: row.dash_manifest_key.clone(),
        thumbnails_key: row.thumbnails_key.clone(),
        download_keys: downloads.map(|row| (row.rendition_id.clone(), row.download_key.clone())).collect(),
        shard: row.shard,
    }
}

/// The options of a job's request; none when it carried none.
pub(crate) fn requested_options(row: &JobRow) -> Option<TranscodeOptions> {
    let rungs = row.option_rungs.as_ref()?;
    let poster_time = row.option_poster_seconds.and_then(|length| Duration::try_from_secs_f64(length).ok());
    Some(TranscodeOptions {
        profile: row.option_profile.map_or(Profile::Unspecified, Profile::from).into(),
        preset: row.option_preset.map_or(Preset::Unspecified, Preset::from).into(),
        rungs: rungs.0.clone(),
        keep_hdr: row.option_keep_hdr.unwrap_or_default(),
        poster_time: poster_time.map(duration),
        source_program: row.option_source_program.unwrap_or_default(),
    })
}

fn source_info(row: &JobRow) -> Option<SourceInfo> {
    let length = row.source_duration_seconds.and_then(|length| Duration::try_from_secs_f64(length).ok());
    let contents = row.source_contents.as_deref().map(source_contents).unwrap_or_default();
    Some(SourceInfo {
        container: row.source_container.clone()?,
        video_codec: row.source_video_codec.clone().unwrap_or_default(),
        audio_codec: row.source_audio_codec.clone().unwrap_or_default(),
        width: row.source_width.unwrap_or_default(),
        height: row.source_height.unwrap_or_default(),
        rotation_degrees: row.source_rotation_degrees.unwrap_or_default(),
        frame_rate: row.source_frame_rate.unwrap_or_default(),
        duration: length.map(duration),
        pixel_format: row.source_pixel_format.clone().unwrap_or_default(),
        video_range: row.source_video_range.clone().unwrap_or_default(),
        interlaced: row.source_interlaced.unwrap_or_default(),
        audio_tracks: row.source_audio_tracks.unwrap_or_default(),
        subtitle_tracks: row.source_subtitle_tracks.unwrap_or_default(),
        tracks: contents.tracks,
        programs: contents.programs,
    })
}

/// Sets the source's columns of a job.
pub(crate) fn set_source_info(row: &mut JobRow, source: Option<&SourceInfo>) {
    row.source_container = source.map(|source| source.container.clone());
    row.source_video_codec = source.map(|source| source.video_codec.clone());
    row.source_audio_codec = source.map(|source| source.audio_codec.clone());
    row.source_width = source.map(|source| source.width);
    row.source_height = source.map(|source| source.height);
    row.source_rotation_degrees = source.map(|source| source.rotation_degrees);
    row.source_frame_rate = source.map(|source| source.frame_rate);
    row.source_duration_seconds = source.and_then(|source| source.duration.as_ref()).map(seconds);
    row.source_pixel_format = source.map(|source| source.pixel_format.clone());
    row.source_video_range = source.map(|source| source.video_range.clone());
    row.source_interlaced = source.map(|source| source.interlaced);
    row.source_audio_tracks = source.map(|source| source.audio_tracks);
    row.source_subtitle_tracks = source.map(|source| source.subtitle_tracks);
    row.source_contents = source.map(encode_source_contents);
}

fn rendition(row: &RenditionRow) -> Rendition {
    Rendition {
        rendition_id: row.rendition_id.clone(),
        state: RenditionState::from(row.state).into(),
        height: row.height,
        width: row.width,
        frame_rate: row.frame_rate,
        codecs: row.codecs.clone(),
        bandwidth_bps: row.bandwidth_bps,
        average_bandwidth_bps: row.average_bandwidth_bps,
        size_bytes: row.size_bytes,
        progress: Some(Progress {
            percent: row.progress_percent,
            frames: row.progress_frames,
            segments_ready: row.progress_segments_ready,
            ..Progress::default()
        }),
        kind: Kind::from(row.kind).into(),
        language: row.language.clone(),
        channels: row.channels,
        video_range: row.video_range.clone(),
    }
}

fn job_state(state: JobState) -> State {
    match state {
        JobState::Queued => State::Queued,
        JobState::Running => State::Running,
        JobState::Succeeded => State::Succeeded,
        JobState::Failed => State::Failed,
        JobState::Cancelled => State::Cancelled,
    }
}
