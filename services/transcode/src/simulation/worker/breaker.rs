//! Circuit breaker for the dependencies of tasks, as in the worker's `dependency_breaker.rs`.

use std::collections::VecDeque;

use super::backoff::Backoff;
use crate::simulation::{event_queue::Millis, random::Random};

/// Consecutive failures after which it opens.
const FAILURES_TO_OPEN: u32 = 2;
/// A slot that waits for the trial of another one asks again after this time; in the product it is notified.
const TRIAL_POLL: Millis = 500;

#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    delays: Backoff,
    next_trial: Millis,
    is_trial_running: bool,
    /// Slots that wait for a trial, in the order of their requests.
    waiting: VecDeque<usize>,
}

/// Whether a slot may start a task.
pub(super) enum Admission {
    Admitted { is_trial: bool },
    After(Millis),
}

impl Breaker {
    /// Whether `slot` may start a task.
    pub(super) fn admit(&mut self, slot: usize, now: Millis) -> Admission {
        let Some(open) = &mut self.open else { return Admission::Admitted { is_trial: false } };
        if !open.waiting.contains(&slot) {
            open.waiting.push_back(slot);
        }
        if open.is_trial_running || open.waiting.front() != Some(&slot) {
            return Admission::After(TRIAL_POLL);
        }
        if now < open.next_trial {
            return Admission::After(open.next_trial - now);
        }
        open.waiting.pop_front();
        open.is_trial_running = true;
        Admission::Admitted { is_trial: true }
    }

    /// A trial ended, perhaps without a task.
    pub(super) fn trial_ended(&mut self) {
        if let Some(open) = &mut self.open {
            open.is_trial_running = false;
        }
    }

    pub(super) fn dependency_failed(&mut self, now: Millis, random: &mut Random) {
        self.failures += 1;
        if self.failures < FAILURES_TO_OPEN {
            return;
        }
        let open = self.open.get_or_insert_with(|| Open {
            delays: Backoff::of_trials(),
            next_trial: now,
            is_trial_running: false,
            waiting: VecDeque::new(),
        });
        open.next_trial = now + open.delays.next_delay(random);
    }

    /// A task ended that needed the dependencies.
    pub(super) fn dependencies_answered(&mut self) {
        *self = Self::default();
    }
}
