//! The life of a video.

use reelmill_proto::{
    Reason,
    transcode::{Failure, WatchJobsResponse, job},
};
use sea_orm::{DeriveActiveEnum, EnumIter, prelude::StringLen};

use super::names;

/// How far a video is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))")]
pub(crate) enum State {
    /// Its file is being uploaded.
    #[sea_orm(string_value = "UPLOADING")]
    Uploading,
    /// It is being transcoded.
    #[sea_orm(string_value = "PROCESSING")]
    Processing,
    /// It plays.
    #[sea_orm(string_value = "READY")]
    Ready,
    /// It can't be played.
    #[sea_orm(string_value = "FAILED")]
    Failed,
}

/// What happens to a video.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// Its file is whole.
    Uploaded,
    /// Its job waits or runs.
    JobAdvanced,
    /// Its job recorded the outputs.
    JobSucceeded,
    /// Its job ended without outputs.
    JobFailed(Failure),
}

/// An event that a state does not allow.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{event:?} does not happen to a video that is {state:?}")]
pub(crate) struct Refused {
    state: State,
    event: Event,
}

impl State {
    /// The state after an event.
    pub(crate) fn on(self, event: &Event) -> Result<Self, Refused> {
        match (self, event) {
            (Self::Uploading, Event::Uploaded) => Ok(Self::Processing),
            (Self::Processing, Event::JobAdvanced) => Ok(Self::Processing),
            (Self::Processing, Event::JobSucceeded) => Ok(Self::Ready),
            (Self::Processing, Event::JobFailed(_)) => Ok(Self::Failed),
            (state, event) => Err(Refused { state, event: event.clone() }),
        }
    }

    /// Whether nothing more will happen by itself.
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Ready | Self::Failed)
    }
}

/// What a job's present state means for its video.
pub(crate) fn event_of(
    video: &str,
    update: &WatchJobsResponse,
    job: &reelmill_proto::transcode::Job,
) -> Event {
    match job.state() {
        job::State::Unspecified | job::State::Queued | job::State::Running => Event::JobAdvanced,
        job::State::Succeeded if below_prefix(video, &update.master_playlist_key).is_some() => {
            Event::JobSucceeded
        }
        job::State::Succeeded => Event::JobFailed(failure(
            Reason::OutputsMissing,
            "the job recorded no playlist; upload the file again",
        )),
        job::State::Failed => Event::JobFailed(
            job.failure
                .clone()
                .unwrap_or_else(|| failure(Reason::JobFailed, "transcoding failed; upload again")),
        ),
        job::State::Cancelled => Event::JobFailed(failure(
            Reason::JobCancelled,
            "transcoding was cancelled; upload the file again",
        )),
    }
}

/// A failure with a stable reason and a sentence for people.
pub(crate) fn failure(reason: Reason, message: &str) -> Failure {
    Failure { reason: reason.as_str_name().to_owned(), message: message.to_owned() }
}

/// What of an output's key comes after the video's prefix.
pub(crate) fn below_prefix<'a>(video: &str, key: &'a str) -> Option<&'a str> {
    key.strip_prefix(&names::output_prefix(video)).filter(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};
    use reelmill_proto::transcode::Job;

    use super::*;

    fn events() -> Vec<Event> {
        vec![
            Event::Uploaded,
            Event::JobAdvanced,
            Event::JobSucceeded,
            Event::JobFailed(failure(Reason::JobFailed, "x")),
        ]
    }

    proptest! {
        #[test]
        fn a_video_goes_one_way_and_ends_once(events in prop::collection::vec(select(events()), 0..30)) {
            let rank = |state| match state {
                State::Uploading => 0,
                State::Processing => 1,
                State::Ready | State::Failed => 2,
            };
            let mut state = State::Uploading;
            for event in events {
                let Ok(next) = state.on(&event) else { continue };
                prop_assert!(!state.is_final());
                prop_assert!(rank(next) >= rank(state) && rank(next) <= rank(state) + 1);
                state = next;
            }
        }
    }

    #[test]
    fn a_job_without_outputs_never_makes_a_video_ready() {
        let job = Job { state: job::State::Succeeded.into(), ..Job::default() };
        for (key, ready) in
            [("outputs/v1/a1/master.m3u8", true), ("outputs/v2/master.m3u8", false), ("", false)]
        {
            let update = WatchJobsResponse { master_playlist_key: key.to_owned(), ..Default::default() };
            assert_eq!(event_of("v1", &update, &job) == Event::JobSucceeded, ready, "{key}");
        }
    }

    #[test]
    fn a_cancelled_job_fails_its_video_with_a_reason() {
        let job = Job { state: job::State::Cancelled.into(), ..Job::default() };
        let Event::JobFailed(failure) = event_of("v1", &WatchJobsResponse::default(), &job) else {
            panic!("expected a failure")
        };
        assert_eq!(failure.reason, "JOB_CANCELLED");
    }
}
