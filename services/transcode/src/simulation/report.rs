//! What the simulation prints.

use std::fmt::Write as _;

use super::{
    invariants::Invariant,
    options::{Options, Size},
    system::Outcome,
};

/// Sums over all seeds.
#[derive(Debug, Default)]
pub(super) struct Totals {
    seeds: u64,
    /// That have ended.
    jobs: u64,
    /// That were completed.
    tasks: u64,
    faults: u64,
    ready: u64,
    failed_own_fault: u64,
    failed_lost_attempts: u64,
    cancelled: u64,
    events: u64,
    /// Of all timelines, in any order.
    hash: u64,
    /// Seeds, by the invariant that they violated.
    lost: u64,
    doubled: u64,
    re_encoded: u64,
    stuck: u64,
    unfair: u64,
}

impl Totals {
    pub(super) fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        let ends = &outcome.ends;
        self.jobs += ends.ready + ends.failed_own_fault + ends.failed_lost_attempts + ends.cancelled;
        self.tasks += outcome.completed_tasks;
        self.faults += outcome.faults;
        self.events += outcome.events;
        self.hash ^= outcome.hash;
        self.ready += outcome.ends.ready;
        self.failed_own_fault += outcome.ends.failed_own_fault;
        self.failed_lost_attempts += outcome.ends.failed_lost_attempts;
        self.cancelled += outcome.ends.cancelled;
        let violated = match outcome.violation.as_ref().map(|violation| violation.invariant) {
            None => return,
            Some(Invariant::Lost) => &mut self.lost,
            Some(Invariant::Doubled) => &mut self.doubled,
            Some(Invariant::ReEncoded) => &mut self.re_encoded,
            Some(Invariant::Stuck) => &mut self.stuck,
            Some(Invariant::FirstSegmentLate | Invariant::ShareTooSmall) => &mut self.unfair,
        };
        *violated += 1;
    }

    /// Whether no invariant was violated.
    pub(super) fn is_clean(&self) -> bool {
        self.lost + self.doubled + self.re_encoded + self.stuck + self.unfair == 0
    }

    /// The last two lines.
    pub(super) fn lines(&self) -> String {
        let Self {
            seeds,
            jobs,
            tasks,
            faults,
            ready,
            failed_own_fault,
            lost,
            doubled,
            re_encoded,
            stuck,
            unfair,
            ..
        } = self;
        format!(
            "simulate: events {} cancelled {} failed-lost-attempts {} hash {:016x}\n\
             simulate: seeds {seeds} jobs {jobs} tasks {tasks} faults {faults} ready {ready} \
             failed-own-fault {failed_own_fault} lost {lost} doubled {doubled} \
             re-encoded-chunks {re_encoded} stuck {stuck} unfair {unfair}\n",
            self.events, self.cancelled, self.failed_lost_attempts, self.hash
        )
    }
}

/// The line of a seed that failed; none if it did not.
pub(super) fn failure_line(outcome: &Outcome, options: &Options) -> Option<String> {
    let violation = outcome.violation.as_ref()?;
    let mut arguments = format!("seed={}", outcome.seed);
    let size = match options.size {
        None => "",
        Some(Size::Small) => " size=small",
        Some(Size::Large) => " size=large",
        Some(Size::Full) => " size=full",
    };
    arguments.push_str(size);
    if let Some(guard) = options.without {
        // Writing to a String does not fail.
        let _infallible = write!(arguments, " without={}", guard.name());
    }
    if options.lost_attempts_may_fail {
        arguments.push_str(" lost-attempts-may-fail=true");
    }
    Some(format!(
        "simulate: seed {} failed: {:?} at {} ms: {}; replay: make simulate ARGS=\"{arguments}\"\n",
        outcome.seed, violation.invariant, violation.time, violation.detail
    ))
}
