//! Circuit breaker: while a dependency of tasks (object store, dispatcher, disk, memory) is unavailable, the worker starts
//! one task at a time, after delays that grow, instead of failing task after task.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reelmill_media::FailureCause;
use tokio::{sync::Notify, time::Instant};

use crate::{backoff::Backoff, settle_task::TaskOutcome};

/// Consecutive failures after which the breaker opens.
const FAILURES_TO_OPEN: u32 = 2;
/// Shortest and longest delay before a trial task while the breaker is open; up to twice as long with jitter.
const TRIAL_DELAY_MIN: Duration = Duration::from_secs(1);
const TRIAL_DELAY_MAX: Duration = Duration::from_secs(30);

/// The circuit breaker of a worker, shared by its slots.
#[derive(Default)]
pub(crate) struct DependencyBreaker {
    state: Mutex<State>,
    changed: Notify,
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
    is_trial_running: bool,
}

/// The permission to start a task. If it is dropped before the task ended, another slot may make the trial.
pub(crate) struct Admission<'a> {
    breaker: &'a DependencyBreaker,
    is_trial: bool,
}

impl DependencyBreaker {
    /// Waits until a task may be started.
    pub(crate) async fn admit(&self) -> Admission<'_> {
        loop {
            let changed = self.changed.notified();
            let wait = self.lock().try_admit(Instant::now());
            match wait {
                Wait::No { is_trial } => return Admission { breaker: self, is_trial },
                Wait::Until(time) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(time) => {}
                        () = changed => {}
                    }
                }
                Wait::ForTrial => changed.await,
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

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        if !self.is_trial {
            return;
        }
        if let Some(open) = &mut self.breaker.lock().open {
            open.is_trial_running = false;
        }
        self.breaker.changed.notify_waiters();
    }
}

/// How long a slot has to wait before it starts a task.
#[derive(Debug, PartialEq, Eq)]
enum Wait {
    No { is_trial: bool },
    Until(Instant),
    ForTrial,
}

impl State {
    fn try_admit(&mut self, now: Instant) -> Wait {
        let Some(open) = &mut self.open else { return Wait::No { is_trial: false } };
        if open.is_trial_running {
            return Wait::ForTrial;
        }
        if now < open.next_trial {
            return Wait::Until(open.next_trial);
        }
        open.is_trial_running = true;
        Wait::No { is_trial: true }
    }

    fn record_failure(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES_TO_OPEN {
            return;
        }
        let open = self.open.get_or_insert_with(|| {
            tracing::warn!("a dependency of tasks is unavailable: tasks are started one at a time");
            let delays = Backoff::between(TRIAL_DELAY_MIN, TRIAL_DELAY_MAX);
            Open { delays, next_trial: now, is_trial_running: false }
        });
        open.next_trial = now + open.delays.next_delay();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reelmill_media::{Failure, FailureKind};
    use tokio::time::Instant;

    use super::{DependencyBreaker, State, TRIAL_DELAY_MAX, TRIAL_DELAY_MIN, Wait};
    use crate::{engine::Completion, settle_task::TaskOutcome};

    const IMMEDIATE: Wait = Wait::No { is_trial: false };
    const TRIAL: Wait = Wait::No { is_trial: true };

    fn outcome(kind: FailureKind) -> TaskOutcome {
        Err(Failure::new(kind, "failed"))
    }

    fn wait_of(breaker: &DependencyBreaker) -> Wait {
        breaker.lock().try_admit(Instant::now())
    }

    #[test]
    fn task_ended_opens_after_consecutive_dependency_failures_only() {
        let breaker = DependencyBreaker::default();
        for _ in 0..5 {
            breaker.task_ended(&outcome(FailureKind::SourceUnreadable));
            breaker.task_ended(&outcome(FailureKind::FileNotVideo));
        }
        assert_eq!(wait_of(&breaker), IMMEDIATE);
        breaker.task_ended(&outcome(FailureKind::SourceUnreadable));
        breaker.task_ended(&outcome(FailureKind::WorkerStopped));
        breaker.task_ended(&outcome(FailureKind::ObjectStoreUnavailable));
        assert!(matches!(wait_of(&breaker), Wait::Until(_)));
    }

    #[test]
    fn try_admit_while_open_allows_one_trial_after_growing_delays() {
        let mut now = Instant::now();
        let mut state = State::default();
        state.record_failure(now);
        for round in 0..10_u32 {
            state.record_failure(now);
            let Wait::Until(time) = state.try_admit(now) else { panic!("open") };
            let min = (TRIAL_DELAY_MIN * (1 << round.min(5))).min(TRIAL_DELAY_MAX);
            let delay = time - now;
            assert!((min..=2 * TRIAL_DELAY_MAX).contains(&delay), "{round}: {delay:?}");
            now = time;
            assert_eq!(state.try_admit(now), TRIAL);
            assert_eq!(state.try_admit(now + Duration::from_secs(3600)), Wait::ForTrial);
            state.open.as_mut().expect("open").is_trial_running = false;
        }
    }

    #[tokio::test]
    async fn admit_after_successful_trial_is_immediate_for_all_slots() {
        let breaker = DependencyBreaker::default();
        for _ in 0..3 {
            breaker.task_ended(&outcome(FailureKind::SourceUnreadable));
        }
        if let Some(open) = &mut breaker.lock().open {
            open.next_trial = Instant::now();
        }
        let trial = breaker.admit().await;
        let waiting = async { breaker.admit().await.is_trial };
        let succeed = async { breaker.task_ended(&Ok(Completion::default())) };
        let (is_second_trial, ()) = tokio::join!(waiting, succeed);
        assert!(!is_second_trial);
        drop(trial);
        assert_eq!(wait_of(&breaker), IMMEDIATE);
    }

    #[tokio::test]
    async fn admit_after_dropped_trial_lets_another_slot_try() {
        let breaker = DependencyBreaker::default();
        for _ in 0..3 {
            breaker.task_ended(&outcome(FailureKind::SourceUnreadable));
        }
        if let Some(open) = &mut breaker.lock().open {
            open.next_trial = Instant::now();
        }
        drop(breaker.admit().await);
        assert!(breaker.admit().await.is_trial);
    }
}
