//! The life of a task: leased with a fencing token, tried again, ended.

use reelmill_proto::Reason;

/// What a task is for; the numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    /// Find out what the source is; planned, it becomes the first ENCODE task. In the database of version 0.1 such
    /// a task did the whole video.
    Prepare = 1,
    /// Encode a share of the plan.
    Encode = 2,
    /// Join a rendition's segments into one file.
    Package = 3,
}

impl TaskKind {
    /// From the stored number.
    pub fn from_stored(number: i32) -> Option<Self> {
        [Self::Prepare, Self::Encode, Self::Package].into_iter().find(|kind| *kind as i32 == number)
    }
}

/// How far a task is; the numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// Waiting for a worker.
    Queued = 1,
    /// Leased to a worker.
    Running = 2,
    /// Its outputs are recorded.
    Succeeded = 3,
    /// Given up.
    Failed = 4,
    /// Stopped with its job.
    Cancelled = 5,
}

impl TaskState {
    /// From the stored number.
    pub fn from_stored(number: i32) -> Option<Self> {
        [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|state| *state as i32 == number)
    }
}

/// What the rules look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// How far it is.
    pub state: TaskState,
    /// Token of the present or last lease; 0 before the first.
    pub fencing_token: i64,
    /// When the present lease ends, Unix milliseconds.
    pub lease_expires_at: i64,
    /// How often it was lost or given up by a fault of the worker's.
    pub failures: i32,
    /// When it may be tried again, Unix milliseconds.
    pub ready_at: i64,
}

/// What a worker shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The token it was given.
    pub fencing_token: i64,
}

/// Why a worker may not work at a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Another worker holds it, or it waits for its next try.
    #[error("another worker has this task, or it waits for its next try")]
    Leased,
    /// It goes on only with the build of the encoder that its job began with, so that its segments fit the others.
    #[error("this task waits for a worker with the encoder build that its job began with")]
    OtherBuild,
    /// It has ended.
    #[error("this task has ended")]
    Ended,
    /// The lease was given to another, or the task ended under it.
    #[error("the lease of this task was lost")]
    Lost,
}

impl LeaseError {
    /// The stable reason.
    pub fn reason(self) -> Reason {
        match self {
            Self::Leased => Reason::TaskLeased,
            Self::OtherBuild => Reason::TaskOtherBuild,
            Self::Ended => Reason::TaskEnded,
            Self::Lost => Reason::LeaseLost,
        }
    }
}

/// What becomes of a task that a worker lost or gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is tried again, not before so many milliseconds have passed.
    Retry {
        /// How often it has failed now.
        failures: i32,
        /// Milliseconds to wait.
        delay_ms: i64,
    },
    /// It, and its job, failed.
    GiveUp,
}

impl Task {
    /// The next lease's token, if the task may be leased now.
    pub fn start(&self, now: i64) -> Result<Lease, LeaseError> {
        match self.state {
            TaskState::Queued if self.ready_at <= now => {}
            TaskState::Queued => return Err(LeaseError::Leased),
            TaskState::Running if self.lease_expires_at <= now => {}
            TaskState::Running => return Err(LeaseError::Leased),
            TaskState::Succeeded | TaskState::Failed | TaskState::Cancelled => {
                return Err(LeaseError::Ended);
            }
        }
        Ok(Lease { fencing_token: self.fencing_token + 1 })
    }

    /// Whether the holder of a lease may go on. A lease that ran out but was given to nobody yet
    /// still holds: its worker was only slow to report.
    pub fn check(&self, lease: Lease) -> Result<(), LeaseError> {
        let held = self.state == TaskState::Running && self.fencing_token == lease.fencing_token;
        if held { Ok(()) } else { Err(LeaseError::Lost) }
    }

    /// What follows when a worker that stops hands the task back: the next one starts at once, and
    /// nothing was anybody's fault.
    pub fn hand_back(&self) -> Verdict {
        Verdict::Retry { failures: self.failures, delay_ms: 0 }
    }

    /// What follows when the present lease is lost or given up for a reason that may pass.
    pub fn retry(&self, max_failures: i32) -> Verdict {
        let failures = self.failures + 1;
        if failures >= max_failures {
            return Verdict::GiveUp;
        }
        // The first successor starts at once; a task that keeps failing waits 1, 2, 4 … seconds.
        let delay_ms = if failures == 1 { 0 } else { 1000_i64 << (failures - 2).min(5) };
        Verdict::Retry { failures, delay_ms }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever workers do and whenever, tokens only grow and at most one of them is good.
        #[test]
        fn only_the_newest_lease_holds(steps in prop::collection::vec((0_i64..40, any::<bool>()), 1..60)) {
            let mut task =
                Task { state: TaskState::Queued, fencing_token: 0, lease_expires_at: 0, failures: 0, ready_at: 0 };
            let mut now = 0;
            let mut given: Vec<Lease> = Vec::new();
            for (passed, renews) in steps {
                now += passed;
                match task.start(now) {
                    Ok(lease) => {
                        prop_assert!(given.iter().all(|old| old.fencing_token < lease.fencing_token));
                        task = Task {
                            state: TaskState::Running,
                            fencing_token: lease.fencing_token,
                            lease_expires_at: now + 15,
                            ..task
                        };
                        given.push(lease);
                    }
                    Err(refusal) => prop_assert_eq!(refusal, LeaseError::Leased),
                }
                if renews {
                    task.lease_expires_at = now + 15;
                }
                let holding: Vec<_> = given.iter().filter(|lease| task.check(**lease).is_ok()).collect();
                prop_assert_eq!(holding, vec![given.last().unwrap()]);
            }
        }
    }

    #[test]
    fn a_task_that_waits_is_not_started_before_its_time() {
        let task = Task {
            state: TaskState::Queued,
            fencing_token: 1,
            lease_expires_at: 0,
            failures: 2,
            ready_at: 100,
        };
        assert_eq!(task.start(99), Err(LeaseError::Leased));
        assert_eq!(task.start(100), Ok(Lease { fencing_token: 2 }));
    }

    #[test]
    fn a_task_is_given_up_at_the_limit() {
        let task = |failures| Task {
            state: TaskState::Running,
            fencing_token: 3,
            lease_expires_at: 0,
            failures,
            ready_at: 0,
        };
        assert_eq!(task(0).retry(3), Verdict::Retry { failures: 1, delay_ms: 0 });
        assert_eq!(task(1).retry(3), Verdict::Retry { failures: 2, delay_ms: 1000 });
        assert_eq!(task(2).retry(3), Verdict::GiveUp);
        assert_eq!(task(2).hand_back(), Verdict::Retry { failures: 2, delay_ms: 0 });
    }
}
