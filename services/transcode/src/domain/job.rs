//! The state machine of a job.

use reelmill_proto::transcode::job::State;
use sea_orm::{DeriveActiveEnum, EnumIter};

/// State of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub(crate) enum JobState {
    /// Waiting for a worker.
    #[sea_orm(string_value = "QUEUED")]
    Queued,
    /// At least one of its tasks was started.
    #[sea_orm(string_value = "RUNNING")]
    Running,
    /// All its tasks succeeded and its outputs are published.
    #[sea_orm(string_value = "SUCCEEDED")]
    Succeeded,
    /// It failed permanently.
    #[sea_orm(string_value = "FAILED")]
    Failed,
    /// Cancelled on request.
    #[sea_orm(string_value = "CANCELLED")]
    Cancelled,
}

/// An event of a job's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobEvent {
    /// A worker started one of its tasks.
    TaskStarted,
    /// The last of its tasks succeeded.
    AllTasksSucceeded,
    /// It cannot be completed.
    Failed,
    /// Its owner cancelled it.
    CancelRequested,
    /// Its owner wants it transcoded again, after it failed or was cancelled.
    RetryRequested,
}

impl JobState {
    /// The state of a request; none if it is unspecified.
    pub(crate) fn requested(state: State) -> Option<Self> {
        match state {
            State::Unspecified => None,
            State::Queued => Some(Self::Queued),
            State::Running => Some(Self::Running),
            State::Succeeded => Some(Self::Succeeded),
            State::Failed => Some(Self::Failed),
            State::Cancelled => Some(Self::Cancelled),
        }
    }

    /// Whether the state is terminal.
    pub(crate) fn has_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// The state after an event; none when the event changes nothing.
    pub(crate) fn on(self, event: JobEvent) -> Option<Self> {
        let next = match event {
            JobEvent::RetryRequested => {
                return matches!(self, Self::Failed | Self::Cancelled).then_some(Self::Queued);
            }
            _ if self.has_ended() => return None,
            JobEvent::TaskStarted => Self::Running,
            JobEvent::AllTasksSucceeded => Self::Succeeded,
            JobEvent::Failed => Self::Failed,
            JobEvent::CancelRequested => Self::Cancelled,
        };
        (next != self).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sea_orm::ActiveEnum as _;

    use super::*;

    fn event() -> impl Strategy<Value = JobEvent> {
        prop_oneof![
            Just(JobEvent::TaskStarted),
            Just(JobEvent::AllTasksSucceeded),
            Just(JobEvent::Failed),
            Just(JobEvent::CancelRequested),
        ]
    }

    proptest! {
        #[test]
        fn on_ended_job_changes_nothing_but_by_retry(events in prop::collection::vec(event(), 0..20)) {
            let mut state = JobState::Queued;
            let mut ended = None;
            for event in events {
                state = state.on(event).unwrap_or(state);
                if let Some(end) = ended {
                    prop_assert_eq!(state, end);
                }
                if state.has_ended() {
                    ended = Some(state);
                }
                prop_assert_eq!(JobState::try_from_value(&state.to_value()), Ok(state));
            }
        }
    }

    #[test]
    fn on_retry_queues_failed_and_cancelled_jobs_only() {
        let after = |state: JobState| state.on(JobEvent::RetryRequested);
        assert_eq!(after(JobState::Failed), Some(JobState::Queued));
        assert_eq!(after(JobState::Cancelled), Some(JobState::Queued));
        assert_eq!(after(JobState::Succeeded), None);
        assert_eq!(after(JobState::Running), None);
        assert_eq!(after(JobState::Queued), None);
    }
}
