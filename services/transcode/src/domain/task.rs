//! The rules of a task's life: leasing with fencing tokens, retries, completion.

use reelmill_proto::transcode::FailureCause;
use sea_orm::{DeriveActiveEnum, EnumIter};

/// Delay before the second retry; it doubles with each further one. The first retry is immediate.
const RETRY_BACKOFF_MIN_MS: i64 = 1000;
/// Number of times the retry delay doubles.
const RETRY_BACKOFF_DOUBLINGS: i32 = 5;
/// Delay before the first retry after a dependency was unavailable; it doubles with each further one.
const DEPENDENCY_BACKOFF_MIN_MS: i64 = 1000;
/// Longest delay before a retry after a dependency was unavailable.
const DEPENDENCY_BACKOFF_MAX_MS: i64 = 120_000;
/// Attempts that must find the file faulty before the job fails.
const FILE_FAILURES_TO_FAIL: i32 = 2;
/// Time in which only other workers can start a task whose file was found faulty: longer than an idle worker needs to
/// receive its wake-up.
const CONFIRMATION_WAIT_MS: i64 = 2000;

/// Kind of work of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub(crate) enum TaskKind {
    /// Probe the source. Once the job is planned, this task becomes the first ENCODE task.
    #[sea_orm(string_value = "PREPARE")]
    Prepare,
    /// Encode a work unit of the plan.
    #[sea_orm(string_value = "ENCODE")]
    Encode,
    /// Join a rendition's segments into one file.
    #[sea_orm(string_value = "PACKAGE")]
    Package,
}

/// State of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub(crate) enum TaskState {
    /// Starts a job that waits for earlier jobs of its owner.
    #[sea_orm(string_value = "HELD")]
    Held,
    /// Waiting: its owner has enough queued tasks, or its retry delay has not passed.
    #[sea_orm(string_value = "WAITING")]
    Waiting,
    /// In the fair order: the next worker can lease it.
    #[sea_orm(string_value = "QUEUED")]
    Queued,
    /// Leased to a worker.
    #[sea_orm(string_value = "RUNNING")]
    Running,
    /// Completed: its outputs are recorded.
    #[sea_orm(string_value = "SUCCEEDED")]
    Succeeded,
    /// Failed permanently.
    #[sea_orm(string_value = "FAILED")]
    Failed,
    /// Cancelled with its job.
    #[sea_orm(string_value = "CANCELLED")]
    Cancelled,
}

impl TaskState {
    /// The states before the end.
    pub(crate) const OPEN: [Self; 4] = [Self::Held, Self::Waiting, Self::Queued, Self::Running];
}

/// The properties of a task that the rules depend on. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskRules {
    pub(crate) state: TaskState,
    /// Token of the current or last lease; 0 before the first.
    pub(crate) fencing_token: i64,
    /// Expiry of the current lease.
    pub(crate) lease_expire_time: i64,
    /// Failed attempts.
    pub(crate) failures: FailureCounts,
}

/// A worker's claim on a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) fencing_token: i64,
}

/// The task was leased to another worker or has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lease of the task was lost: another worker has leased it, or it has ended")]
pub struct LeaseLost;

/// Failed attempts of a task, by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct FailureCounts {
    /// Attempts that were lost with their worker, or whose encoder crashed or stalled.
    pub(crate) attempts: i32,
    /// Attempts that failed because a dependency was unavailable. They only lengthen the retry delay.
    pub(crate) dependency: i32,
    /// Attempts that found the file faulty.
    pub(crate) file: i32,
}

/// What happens to a task whose attempt was lost or failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RetryDecision {
    /// It is queued again.
    Retry {
        /// Failures of the task, including this one.
        failures: FailureCounts,
        /// Delay before the next attempt, milliseconds.
        delay_ms: i64,
        /// Whether the worker is excluded from the next attempt for [`CONFIRMATION_WAIT_MS`].
        excludes_worker: bool,
    },
    /// It has failed permanently.
    GiveUp,
}

/// How a task waits for its next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetryPlacement {
    pub(crate) state: TaskState,
    /// End of its retry delay; 0 without one.
    pub(crate) ready_time: i64,
    /// Until when its last worker is excluded; 0 if it is not.
    pub(crate) excluded_until: i64,
}

impl RetryPlacement {
    /// The placement after [`RetryDecision::Retry`]. Without a delay the task keeps its place in the order.
    pub(crate) fn of(delay_ms: i64, excludes_worker: bool, now: i64) -> Self {
        let (state, ready_time) =
            if delay_ms == 0 { (TaskState::Queued, 0) } else { (TaskState::Waiting, now + delay_ms) };
        let excluded_until = if excludes_worker { now + CONFIRMATION_WAIT_MS } else { 0 };
        Self { state, ready_time, excluded_until }
    }
}

/// Decision about a call that completes a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Completion {
    /// The lease is valid: the task can be completed.
    Now,
    /// The task was completed under this lease before: the call is a repetition.
    Repeated,
}

impl TaskRules {
    /// Whether its lease has expired.
    pub(crate) fn is_expired(&self, now: i64) -> bool {
        self.state == TaskState::Running && self.lease_expire_time <= now
    }

    /// Whether a lease is valid. An expired lease is valid until the task is leased again or queued: its worker may
    /// only be slow to report.
    pub(crate) fn check(&self, lease: Lease) -> Result<(), LeaseLost> {
        let is_valid = self.state == TaskState::Running && self.fencing_token == lease.fencing_token;
        if is_valid { Ok(()) } else { Err(LeaseLost) }
    }

    /// Whether a lease allows to complete the task.
    pub(crate) fn may_complete(&self, lease: Lease) -> Result<Completion, LeaseLost> {
        if self.state == TaskState::Succeeded && self.fencing_token == lease.fencing_token {
            return Ok(Completion::Repeated);
        }
        self.check(lease).map(|()| Completion::Now)
    }

    /// The decision about a task that its worker reports as failed. `jitter` is between 0 and 1.
    pub(crate) fn decide_failed(&self, cause: FailureCause, max_attempts: i32, jitter: f64) -> RetryDecision {
        let failures = self.failures;
        let retry = |failures, delay_ms| RetryDecision::Retry { failures, delay_ms, excludes_worker: false };
        match cause {
            FailureCause::Dependency => {
                let dependency = failures.dependency.saturating_add(1);
                retry(FailureCounts { dependency, ..failures }, dependency_delay_ms(dependency, jitter))
            }
            FailureCause::Worker => retry(failures, 0),
            FailureCause::File if failures.file + 1 < FILE_FAILURES_TO_FAIL => RetryDecision::Retry {
                failures: FailureCounts { file: failures.file + 1, ..failures },
                delay_ms: 0,
                excludes_worker: true,
            },
            FailureCause::File => RetryDecision::GiveUp,
            FailureCause::Unspecified | FailureCause::Encoder => self.decide_lost(max_attempts),
        }
    }

    /// The decision about a task whose attempt was lost, or whose encoder crashed.
    pub(crate) fn decide_lost(&self, max_attempts: i32) -> RetryDecision {
        let attempts = self.failures.attempts + 1;
        if attempts >= max_attempts {
            return RetryDecision::GiveUp;
        }
        let delay_ms = match attempts {
            1 => 0,
            _ => RETRY_BACKOFF_MIN_MS << (attempts - 2).min(RETRY_BACKOFF_DOUBLINGS),
        };
        let failures = FailureCounts { attempts, ..self.failures };
        RetryDecision::Retry { failures, delay_ms, excludes_worker: false }
    }
}

/// Delay before the next attempt after `failures` attempts failed because a dependency was unavailable: half to all of a
/// delay that doubles.
fn dependency_delay_ms(failures: i32, jitter: f64) -> i64 {
    let doublings = (failures - 1).clamp(0, 30);
    let delay = (DEPENDENCY_BACKOFF_MIN_MS << doublings).min(DEPENDENCY_BACKOFF_MAX_MS);
    #[allow(clippy::cast_possible_truncation)]
    let jittered = (delay as f64 * (0.5 + 0.5 * jitter.clamp(0.0, 1.0))) as i64;
    jittered
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn task(state: TaskState) -> TaskRules {
        TaskRules { state, fencing_token: 0, lease_expire_time: 0, failures: FailureCounts::default() }
    }

    proptest! {
        /// Whatever workers do and whenever, tokens only grow and exactly the newest one is valid.
        #[test]
        fn check_accepts_newest_lease_only(steps in prop::collection::vec((0_i64..40, any::<bool>()), 1..60)) {
            let mut task = task(TaskState::Queued);
            let mut now = 0;
            let mut leases: Vec<Lease> = Vec::new();
            for (passed, renews) in steps {
                now += passed;
                // The sweeper.
                if task.is_expired(now) {
                    let RetryDecision::Retry { failures, .. } = task.decide_lost(i32::MAX) else {
                        return Err(TestCaseError::fail("gave up"));
                    };
                    task = TaskRules { state: TaskState::Queued, failures, ..task };
                }
                if task.state == TaskState::Queued {
                    let lease = Lease { fencing_token: task.fencing_token + 1 };
                    task = TaskRules {
                        state: TaskState::Running,
                        fencing_token: lease.fencing_token,
                        lease_expire_time: now + 15,
                        ..task
                    };
                    leases.push(lease);
                }
                if renews {
                    task.lease_expire_time = now + 15;
                }
                let valid: Vec<_> = leases.iter().filter(|lease| task.check(**lease).is_ok()).collect();
                prop_assert_eq!(valid, vec![leases.last().unwrap()]);
                prop_assert_eq!(task.failures.attempts + 1, leases.len() as i32, "every lease but the last was lost");
            }
        }
    }

    fn attempts(attempts: i32) -> FailureCounts {
        FailureCounts { attempts, ..FailureCounts::default() }
    }

    fn retry(failures: FailureCounts, delay_ms: i64) -> RetryDecision {
        RetryDecision::Retry { failures, delay_ms, excludes_worker: false }
    }

    #[test]
    fn decide_lost_at_limit_gives_up() {
        let task = |failed| TaskRules { failures: attempts(failed), ..task(TaskState::Running) };
        assert_eq!(task(0).decide_lost(3), retry(attempts(1), 0));
        assert_eq!(task(1).decide_lost(3), retry(attempts(2), 1000));
        assert_eq!(task(2).decide_lost(3), RetryDecision::GiveUp);
        assert_eq!(task(2).decide_failed(FailureCause::Encoder, 3, 0.0), RetryDecision::GiveUp);
    }

    #[test]
    fn decide_failed_because_of_worker_is_not_counted() {
        let task = TaskRules { failures: attempts(2), ..task(TaskState::Running) };
        assert_eq!(task.decide_failed(FailureCause::Worker, 3, 0.0), retry(attempts(2), 0));
    }

    #[test]
    fn decide_failed_because_of_file_gives_up_when_confirmed() {
        let mut task = task(TaskState::Running);
        let RetryDecision::Retry { failures, delay_ms: 0, excludes_worker: true } =
            task.decide_failed(FailureCause::File, 5, 0.0)
        else {
            panic!("one worker does not decide")
        };
        task.failures = failures;
        assert_eq!(task.decide_failed(FailureCause::File, 5, 0.0), RetryDecision::GiveUp);
    }

    proptest! {
        /// However often and in whatever order: a dependency or a worker never ends a task.
        #[test]
        fn decide_failed_because_of_dependency_or_worker_never_gives_up(
            causes in prop::collection::vec(any::<bool>(), 1..200),
            jitter in 0.0f64..=1.0,
        ) {
            let mut task = TaskRules { failures: attempts(4), ..task(TaskState::Running) };
            for is_dependency in causes {
                let cause = if is_dependency { FailureCause::Dependency } else { FailureCause::Worker };
                let RetryDecision::Retry { failures, delay_ms, excludes_worker: false } =
                    task.decide_failed(cause, 5, jitter)
                else {
                    return Err(TestCaseError::fail("gave up"));
                };
                prop_assert!((0..=DEPENDENCY_BACKOFF_MAX_MS).contains(&delay_ms));
                prop_assert!(!is_dependency || delay_ms >= DEPENDENCY_BACKOFF_MIN_MS / 2);
                prop_assert_eq!((failures.attempts, failures.file), (4, 0));
                task.failures = failures;
            }
        }
    }

    #[test]
    fn complete_again_under_same_lease_is_repeated() {
        let task = TaskRules { fencing_token: 2, ..task(TaskState::Succeeded) };
        assert_eq!(task.may_complete(Lease { fencing_token: 2 }), Ok(Completion::Repeated));
        assert_eq!(task.may_complete(Lease { fencing_token: 1 }), Err(LeaseLost));
    }
}
