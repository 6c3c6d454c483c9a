//! What a revision of a job, as transcode reports it, means for its video.

use reelmill_proto::{
    Reason,
    transcode::{Failure, Job, Rendition, SourceInfo, Waiting, Warning, WatchJobsResponse, job},
};

use super::{
    encoding_options::EncodingOptions,
    object_key::path_in_outputs,
    outputs::Outputs,
    resource_name,
    video_state::{VideoEvent, failure},
};

/// One revision of a job. Has no progress, which changes without a new revision.
pub(crate) struct JobRevision {
    /// Id of the video.
    pub video: String,
    /// `jobs/{job}`
    pub job: String,
    /// Revision of the job, within its shard.
    pub revision: i64,
    pub shard: i32,
    pub event: VideoEvent,
    /// Options of the job: those of the last retry, if there was one.
    pub options: Option<EncodingOptions>,
    pub source: Option<SourceInfo>,
    pub renditions: Vec<Rendition>,
    pub warnings: Vec<Warning>,
    pub waiting: Option<Waiting>,
    pub outputs: Outputs,
    pub output_size_bytes: i64,
}

impl JobRevision {
    /// Reads a message of WatchJobs. `None` if it names no job or no valid video.
    pub(crate) fn parse(response: &WatchJobsResponse) -> Option<Self> {
        let job = response.job.as_ref()?;
        let video = resource_name::video_id(&job.video)?;
        Some(Self {
            video: video.to_owned(),
            job: job.name.clone(),
            revision: job.revision,
            shard: response.shard,
            event: event_of(video, response, job),
            options: job.options.as_ref().and_then(|options| EncodingOptions::parse(Some(options)).ok()),
            source: job.source.clone(),
            renditions: job.renditions.clone(),
            warnings: job.warnings.clone(),
            waiting: job.waiting.clone(),
            outputs: Outputs::reported(video, response, job),
            output_size_bytes: response.output_size_bytes,
        })
    }
}

fn event_of(video: &str, response: &WatchJobsResponse, job: &Job) -> VideoEvent {
    match job.state() {
        job::State::Unspecified | job::State::Queued | job::State::Running => VideoEvent::JobAdvanced,
        job::State::Succeeded if path_in_outputs(video, &response.master_playlist_key).is_some() => {
            VideoEvent::JobSucceeded
        }
        job::State::Succeeded => VideoEvent::JobFailed(failure(
            Reason::OutputsMissing,
            "the job recorded no playlist; it can be retried",
        )),
        job::State::Failed => VideoEvent::JobFailed(job_failure(job)),
        job::State::Cancelled => VideoEvent::JobFailed(failure(
            Reason::JobCancelled,
            "transcoding was cancelled; it can be retried",
        )),
    }
}

fn job_failure(job: &Job) -> Failure {
    let unknown = || failure(Reason::JobFailed, "transcoding failed; it can be retried");
    job.failure.clone().unwrap_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_of_succeeded_job_without_own_playlist_is_a_failure() {
        let job = Job { state: job::State::Succeeded.into(), ..Job::default() };
        for (key, is_ready) in
            [("outputs/v1/a1/master.m3u8", true), ("outputs/v2/master.m3u8", false), ("", false)]
        {
            let response = WatchJobsResponse { master_playlist_key: key.to_owned(), ..Default::default() };
            assert_eq!(event_of("v1", &response, &job) == VideoEvent::JobSucceeded, is_ready, "{key}");
        }
    }

    #[test]
    fn event_of_cancelled_job_is_a_failure_with_reason() {
        let job = Job { state: job::State::Cancelled.into(), ..Job::default() };
        let VideoEvent::JobFailed(failure) = event_of("v1", &WatchJobsResponse::default(), &job) else {
            panic!("expected a failure")
        };
        assert_eq!(failure.reason, "JOB_CANCELLED");
    }
}
