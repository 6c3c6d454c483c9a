//! The life of an upload session.

use sea_orm::{DeriveActiveEnum, EnumIter, prelude::StringLen};

/// How far an upload session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))")]
pub(crate) enum State {
    /// Takes parts.
    #[sea_orm(string_value = "OPEN")]
    Open,
    /// Its parts are being joined.
    #[sea_orm(string_value = "COMPLETING")]
    Completing,
    /// Its file is whole.
    #[sea_orm(string_value = "COMPLETED")]
    Completed,
    /// Given up.
    #[sea_orm(string_value = "ABORTED")]
    Aborted,
}

/// What happens to an upload session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The client says that all parts were sent, or a call that was cut short is taken over.
    Complete,
    /// The parts turned out not to be the file, or the store was away.
    Reopen,
    /// The file is whole.
    Finish,
    /// The client gives up, or came too late.
    Abort,
    /// The video is deleted.
    Delete,
}

/// An event that a state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} does not happen to an upload that is {state:?}")]
pub(crate) struct Refused {
    state: State,
    event: Event,
}

impl State {
    /// The state after an event.
    pub(crate) fn on(self, event: Event) -> Result<Self, Refused> {
        match (self, event) {
            (Self::Open | Self::Completing, Event::Complete) => Ok(Self::Completing),
            (Self::Completing, Event::Reopen) => Ok(Self::Open),
            (Self::Completing, Event::Finish) => Ok(Self::Completed),
            (Self::Open | Self::Aborted, Event::Abort) => Ok(Self::Aborted),
            (Self::Completed, Event::Delete) => Ok(Self::Completed),
            (_, Event::Delete) => Ok(Self::Aborted),
            (state, event) => Err(Refused { state, event }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    const EVENTS: [Event; 5] = [Event::Complete, Event::Reopen, Event::Finish, Event::Abort, Event::Delete];

    proptest! {
        #[test]
        fn ends_are_ends_and_a_file_is_whole_only_after_completing(
            events in prop::collection::vec(select(&EVENTS[..]), 0..30)
        ) {
            let mut state = State::Open;
            for event in events {
                let Ok(next) = state.on(event) else { continue };
                if matches!(state, State::Completed | State::Aborted) {
                    prop_assert_eq!(next, state);
                }
                if next == State::Completed && state != State::Completed {
                    prop_assert_eq!((state, event), (State::Completing, Event::Finish));
                }
                if event == Event::Abort {
                    prop_assert_ne!(state, State::Completing);
                }
                state = next;
            }
        }
    }
}
