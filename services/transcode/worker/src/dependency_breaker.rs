//! Circuit breaker: while a dependency of tasks (object store, dispatcher, disk, memory) is unavailable, the worker starts
//! one task at a time, after delays that grow, instead of failing task after task.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reelmill_media::FailureCause;
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit},
    time::{Instant, sleep_until},
};

use crate::{backoff::Backoff, settle_task::TaskOutcome};

/// Consecutive failures after which the breaker opens.
const FAILURES_TO_OPEN: u32 = 2;
/// Shortest and longest delay before a trial task while the breaker is open; up to twice as long with jitter.
const TRIAL_DELAY_MIN: Duration = Duration::from_secs(1);
const TRIAL_DELAY_MAX: Duration = Duration::from_secs(30);

/// The circuit breaker of a worker, shared by its slots.
pub(crate) struct DependencyBreaker {
    state: Mutex<State>,
    changed: Notify,
    /// One permit, which is given in the order of the requests: a slot that made a trial without finding a task is behind
    /// the others. The next task may be one that only they run.
    trials: Semaphore,
}

#[derive(Default)]
struct State {
    failures: u32,
    open: Option<Open>,
}

/// The breaker is open: a dependency is unavailable.
struct Open {
    delays: Backoff,
    next_trial: Instant,
}

/// The permission to start a task. If it is dropped before the task ended, another slot may make the trial.
pub(crate) struct Admission<'a> {
    _trial: Option<SemaphorePermit<'a>>,
}

impl Default for DependencyBreaker {
    fn default() -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), trials: Semaphore::new(1) }
    }
}

impl DependencyBreaker {
    /// Waits until a task may be started.
    pub(crate) async fn admit(&self) -> Admission<'_> {
        loop {
            let changed = self.changed.notified();
            let Some(next_trial) = self.lock().next_trial() else { return Admission { _trial: None } };
            let trial = async {
                let permit = self.trials.acquire().await.ok();
                sleep_until(next_trial).await;
                permit
            };
            tokio::select! {
                permit = trial => return Admission { _trial: permit },
                () = changed => {}
            }
        }
    }

    /// Counts the outcome of a task.
    pub(crate) fn task_ended(&self, outcome: &TaskOutcome) {
        let mut state = self.lock();
        match outcome {
            Err(failure) if failure.kind.cause() == FailureCause::Dependency => {
                state.record_failure(Instant::now());
            }
            // The worker cannot encode or shuts down: nothing is known about the dependencies.
            Err(failure) if failure.kind.cause() == FailureCause::Worker => {}
            // Any other outcome needed the dependencies.
            _ => {
                if state.open.is_some() {
                    tracing::info!("the dependencies of tasks are available again");
                }
                *state = State::default();
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// When a task may be started as a trial; none while the breaker is closed.
    fn next_trial(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.next_trial)
    }

    fn record_failure(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES_TO_OPEN {
            return;
        }
        let open = self.open.get_or_insert_with(|| {
            tracing::warn!("a dependency of tasks is unavailable: tasks are started one at a time");
            let delays = Backoff::between(TRIAL_DELAY_MIN, TRIAL_DELAY_MAX);
            Open { delays, next_trial: now }
        });
        open.next_trial = now + open.delays.next_delay();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;
    use reelmill_media::{Failure, FailureKind};
    use tokio::time::Instant;

    use super::{Admission, DependencyBreaker, State, TRIAL_DELAY_MAX, TRIAL_DELAY_MIN};
    use crate::{engine::Completion, settle_task::TaskOutcome};

    fn outcome(kind: FailureKind) -> TaskOutcome {
        Err(Failure::new(kind, "failed"))
    }

    fn is_open(breaker: &DependencyBreaker) -> bool {
        breaker.lock().next_trial().is_some()
    }

    /// An open breaker whose next trial is due.
    fn due_breaker() -> DependencyBreaker {
        let breaker = DependencyBreaker::default();
        for _ in 0..3 {
            breaker.task_ended(&outcome(FailureKind::SourceUnreadable));
        }
        if let Some(open) = &mut breaker.lock().open {
            open.next_trial = Instant::now();
        }
        breaker
    }

    fn is_trial(admission: &Admission<'_>) -> bool {
        admission._trial.is_some()
    }

    #[test]
    fn task_ended_opens_after_consecutive_dependency_failures_only() {
        let breaker = DependencyBreaker::default();
        for _ in 0..5 {
            breaker.task_ended(&outcome(FailureKind::SourceUnreadable));
            breaker.task_ended(&outcome(FailureKind::FileNotVideo));
        }
        assert!(!is_open(&breaker));
        breaker.task_ended(&outcome(FailureKind::SourceUnreadable));
        breaker.task_ended(&outcome(FailureKind::WorkerStopped));
        breaker.task_ended(&outcome(FailureKind::ObjectStoreUnavailable));
        assert!(is_open(&breaker));
    }

    #[test]
    fn next_trial_is_after_growing_delays() {
        let mut now = Instant::now();
        let mut state = State::default();
        state.record_failure(now);
        for round in 0..10_u32 {
            state.record_failure(now);
            let next_trial = state.next_trial().expect("open");
            let min = (TRIAL_DELAY_MIN * (1 << round.min(5))).min(TRIAL_DELAY_MAX);
            let delay = next_trial - now;
            assert!((min..=2 * TRIAL_DELAY_MAX).contains(&delay), "{round}: {delay:?}");
            now = next_trial;
        }
    }

    #[tokio::test]
    async fn admit_while_open_allows_one_trial_when_it_is_due() {
        let breaker = due_breaker();
        let trial = breaker.admit().await;
        assert!(is_trial(&trial));
        assert!(breaker.admit().now_or_never().is_none(), "a trial is running");
        drop(trial);
        if let Some(open) = &mut breaker.lock().open {
            open.next_trial = Instant::now() + Duration::from_secs(3600);
        }
        assert!(breaker.admit().now_or_never().is_none(), "it is not due");
    }

    #[tokio::test]
    async fn admit_after_successful_trial_is_immediate_for_all_slots() {
        let breaker = due_breaker();
        let trial = breaker.admit().await;
        let waiting = async { is_trial(&breaker.admit().await) };
        let succeed = async { breaker.task_ended(&Ok(Completion::default())) };
        let (is_second_trial, ()) = tokio::join!(waiting, succeed);
        assert!(!is_second_trial);
        drop(trial);
        assert!(!is_open(&breaker));
    }

    /// A slot that asks again at once, for example one whose class has no tasks, does not keep the others from trials.
    #[tokio::test]
    async fn admit_after_trial_without_task_is_another_slots() {
        let breaker = due_breaker();
        let trial = breaker.admit().await;
        let mut waiting = std::pin::pin!(breaker.admit());
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(trial);
        assert!(breaker.admit().now_or_never().is_none(), "another slot has waited for longer");
        assert!(is_trial(&waiting.await));
    }
}
