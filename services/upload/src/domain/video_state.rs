//! State machine of a video.

use reelmill_proto::{Reason, transcode::Failure};
use sea_orm::{DeriveActiveEnum, EnumIter, prelude::StringLen};

/// State of a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))")]
pub(crate) enum VideoState {
    /// The file is being uploaded.
    #[sea_orm(string_value = "UPLOADING")]
    Uploading,
    /// The file is complete; the video is being transcoded.
    #[sea_orm(string_value = "PROCESSING")]
    Processing,
    /// Transcoding succeeded.
    #[sea_orm(string_value = "READY")]
    Ready,
    /// Transcoding failed.
    #[sea_orm(string_value = "FAILED")]
    Failed,
}

/// An event in the life of a video.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum VideoEvent {
    /// The upload was completed.
    Uploaded,
    /// The job is queued or running.
    JobAdvanced,
    /// The job recorded all outputs.
    JobSucceeded,
    /// The job ended without outputs.
    JobFailed(Failure),
}

/// An event that is not allowed in a state.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{event:?} is not allowed for a video that is {state:?}")]
pub(crate) struct VideoTransitionError {
    state: VideoState,
    event: VideoEvent,
}

impl VideoState {
    /// The state after an event.
    pub(crate) fn on(self, event: &VideoEvent) -> Result<Self, VideoTransitionError> {
        match (self, event) {
            (Self::Uploading, VideoEvent::Uploaded) => Ok(Self::Processing),
            // The job of a FAILED video may be retried.
            (Self::Processing | Self::Failed, VideoEvent::JobAdvanced) => Ok(Self::Processing),
            (Self::Processing | Self::Failed, VideoEvent::JobSucceeded) => Ok(Self::Ready),
            (Self::Processing | Self::Failed, VideoEvent::JobFailed(_)) => Ok(Self::Failed),
            (state, event) => Err(VideoTransitionError { state, event: event.clone() }),
        }
    }

    /// Whether the job has ended. A FAILED video changes again if its job is retried.
    pub(crate) fn has_ended(self) -> bool {
        matches!(self, Self::Ready | Self::Failed)
    }
}

/// A failure with a stable reason and a message for users.
pub(crate) fn failure(reason: Reason, message: &str) -> Failure {
    Failure { reason: reason.as_str_name().to_owned(), message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    fn events() -> Vec<VideoEvent> {
        vec![
            VideoEvent::Uploaded,
            VideoEvent::JobAdvanced,
            VideoEvent::JobSucceeded,
            VideoEvent::JobFailed(failure(Reason::JobFailed, "x")),
        ]
    }

    proptest! {
        #[test]
        fn on_any_events_state_advances_in_order_until_ready(
            events in prop::collection::vec(select(events()), 0..30)
        ) {
            let rank = |state| match state {
                VideoState::Uploading => 0,
                VideoState::Processing => 1,
                VideoState::Ready | VideoState::Failed => 2,
            };
            let mut state = VideoState::Uploading;
            for event in events {
                let Ok(next) = state.on(&event) else { continue };
                prop_assert!(state != VideoState::Ready);
                let is_retry = state == VideoState::Failed;
                prop_assert!(is_retry || rank(next) >= rank(state) && rank(next) <= rank(state) + 1);
                state = next;
            }
        }
    }
}
