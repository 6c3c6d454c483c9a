//! The life of a job.

/// How far a job is; the numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// Waiting for a worker.
    Queued = 1,
    /// A worker has, or had, one of its tasks.
    Running = 2,
    /// All its tasks succeeded.
    Succeeded = 3,
    /// One of its tasks failed for good.
    Failed = 4,
    /// Stopped on request.
    Cancelled = 5,
}

/// What can happen to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEvent {
    /// A worker took one of its tasks.
    TaskStarted,
    /// The last of its tasks succeeded.
    AllTasksSucceeded,
    /// One of its tasks failed for good.
    TaskFailed,
    /// Its owner wants it stopped.
    CancelRequested,
}

impl JobState {
    /// Whether nothing can change any more.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// From the stored number.
    pub fn from_stored(number: i32) -> Option<Self> {
        [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|state| *state as i32 == number)
    }
}

/// The state after an event; none when the event changes nothing.
pub fn advance(state: JobState, event: JobEvent) -> Option<JobState> {
    if state.has_ended() {
        return None;
    }
    let next = match event {
        JobEvent::TaskStarted => JobState::Running,
        JobEvent::AllTasksSucceeded => JobState::Succeeded,
        JobEvent::TaskFailed => JobState::Failed,
        JobEvent::CancelRequested => JobState::Cancelled,
    };
    (next != state).then_some(next)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event() -> impl Strategy<Value = JobEvent> {
        prop_oneof![
            Just(JobEvent::TaskStarted),
            Just(JobEvent::AllTasksSucceeded),
            Just(JobEvent::TaskFailed),
            Just(JobEvent::CancelRequested),
        ]
    }

    proptest! {
        #[test]
        fn an_ended_job_never_changes(events in prop::collection::vec(event(), 0..20)) {
            let mut state = JobState::Queued;
            let mut ended = None;
            for event in events {
                state = advance(state, event).unwrap_or(state);
                if let Some(end) = ended {
                    prop_assert_eq!(state, end);
                }
                if state.has_ended() {
                    ended = Some(state);
                }
                prop_assert_eq!(JobState::from_stored(state as i32), Some(state));
            }
        }
    }
}
