//! State machine of an upload session.

use sea_orm::{DeriveActiveEnum, EnumIter, prelude::StringLen};

/// State of an upload session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))")]
pub(crate) enum UploadState {
    /// Accepts parts.
    #[sea_orm(string_value = "OPEN")]
    Open,
    /// The parts are being assembled.
    #[sea_orm(string_value = "COMPLETING")]
    Completing,
    /// The file is complete.
    #[sea_orm(string_value = "COMPLETED")]
    Completed,
    /// Aborted by the client, expired, or its video was deleted.
    #[sea_orm(string_value = "ABORTED")]
    Aborted,
}

/// An event in the life of an upload session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UploadEvent {
    /// A call claims the completion, perhaps taking over an abandoned claim.
    Claim,
    /// The completion failed: wrong parts, or the object store is unavailable.
    Reopen,
    /// The file is complete.
    Finish,
    /// The client aborts, or the session expires.
    Abort,
    /// The video is deleted.
    Delete,
}

/// An event that is not allowed in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} is not allowed for an upload session that is {state:?}")]
pub(crate) struct UploadTransitionError {
    state: UploadState,
    event: UploadEvent,
}

impl UploadState {
    /// The state after an event.
    pub(crate) fn on(self, event: UploadEvent) -> Result<Self, UploadTransitionError> {
        match (self, event) {
            (Self::Open | Self::Completing, UploadEvent::Claim) => Ok(Self::Completing),
            (Self::Completing, UploadEvent::Reopen) => Ok(Self::Open),
            (Self::Completing, UploadEvent::Finish) => Ok(Self::Completed),
            (Self::Open | Self::Aborted, UploadEvent::Abort) => Ok(Self::Aborted),
            (Self::Completed, UploadEvent::Delete) => Ok(Self::Completed),
            (_, UploadEvent::Delete) => Ok(Self::Aborted),
            (state, event) => Err(UploadTransitionError { state, event }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    const EVENTS: [UploadEvent; 5] = [
        UploadEvent::Claim,
        UploadEvent::Reopen,
        UploadEvent::Finish,
        UploadEvent::Abort,
        UploadEvent::Delete,
    ];

    proptest! {
        #[test]
        fn on_any_events_final_states_are_kept_and_only_completing_completes(
            events in prop::collection::vec(select(&EVENTS[..]), 0..30)
        ) {
            let mut state = UploadState::Open;
            for event in events {
                let Ok(next) = state.on(event) else { continue };
                if matches!(state, UploadState::Completed | UploadState::Aborted) {
                    prop_assert_eq!(next, state);
                }
                if next == UploadState::Completed && state != UploadState::Completed {
                    prop_assert_eq!((state, event), (UploadState::Completing, UploadEvent::Finish));
                }
                if event == UploadEvent::Abort {
                    prop_assert_ne!(state, UploadState::Completing);
                }
                state = next;
            }
        }
    }
}
