//! Backoff with jitter, as in the worker's `backoff.rs`.

use crate::simulation::{event_queue::Millis, random::Random};

/// Shortest and longest delay of a call or slot, without jitter.
const CALL: (Millis, Millis) = (100, 2500);
/// Those of the dependency breaker.
const TRIAL: (Millis, Millis) = (1000, 30_000);

/// Delays that double; jitter adds up to the delay itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    next: Millis,
    max: Millis,
}

impl Backoff {
    pub(super) fn of_calls() -> Self {
        Self { next: CALL.0, max: CALL.1 }
    }

    pub(super) fn of_trials() -> Self {
        Self { next: TRIAL.0, max: TRIAL.1 }
    }

    pub(super) fn next_delay(&mut self, random: &mut Random) -> Millis {
        let delay = self.next + random.between(0, self.next);
        self.next = (self.next * 2).min(self.max);
        delay
    }
}
