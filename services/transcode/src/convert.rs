//! Between rows and messages.

use prost::Message as _;
use reelmill_proto::{
    timestamp,
    transcode::{Failure, Job, Progress, Rendition, SourceInfo, WatchJobsResponse, job::State},
};

use crate::{
    domain::{JobState, job_name},
    error::TranscodeError,
    store::JobRow,
};

/// The job as its callers see it.
pub(crate) fn job_message(row: &JobRow) -> Result<Job, TranscodeError> {
    let detail = Job::decode(row.detail.as_slice())?;
    let state = JobState::from_stored(row.state).map_or(State::Unspecified, state_message);
    Ok(Job {
        name: job_name(&row.id),
        video: row.video.clone(),
        state: state.into(),
        create_time: Some(timestamp(row.created_at)),
        start_time: row.started_at.map(timestamp),
        end_time: row.ended_at.map(timestamp),
        progress: Some(Progress {
            percent: if state == State::Succeeded { 100.0 } else { 0.0 },
            ..Progress::default()
        }),
        renditions: detail.renditions,
        source: detail.source,
        failure: (!row.failure_reason.is_empty())
            .then(|| Failure { reason: row.failure_reason.clone(), message: row.failure_message.clone() }),
        revision: row.revision,
    })
}

/// The job as the upload service sees it.
pub(crate) fn feed_message(row: &JobRow) -> Result<WatchJobsResponse, TranscodeError> {
    let key = |name: &str| {
        if name.is_empty() { String::new() } else { format!("{}{name}", row.recorded_prefix) }
    };
    Ok(WatchJobsResponse {
        job: Some(job_message(row)?),
        master_playlist_key: key(&row.master_playlist),
        poster_key: key(&row.poster),
        output_size_bytes: row.output_size_bytes,
    })
}

/// What is stored of a probe and its rungs.
pub(crate) fn detail(renditions: Vec<Rendition>, source: Option<SourceInfo>) -> Vec<u8> {
    Job { renditions, source, ..Job::default() }.encode_to_vec()
}

fn state_message(state: JobState) -> State {
    match state {
        JobState::Queued => State::Queued,
        JobState::Running => State::Running,
        JobState::Succeeded => State::Succeeded,
        JobState::Failed => State::Failed,
        JobState::Cancelled => State::Cancelled,
    }
}
