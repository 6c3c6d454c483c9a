//! The fairness of a run: when an owner with one video gets its first segment, and its share of the slots.

use super::{
    event_queue::Millis,
    invariants::{Invariant, Observer},
    ledger::Change,
};
use crate::domain::TaskClass;

/// Longest probe, with the calls around it.
const PROBE_MS: Millis = 2000;
/// Longest time until a waiting EXPRESS slot asks again without having been woken.
const POLL_MS: Millis = 4000;
/// Latency of messages, and of the queueing of tasks.
const LATENCY_MS: Millis = 1000;
/// Time that a lost message costs: the timeout of an attempt of a call, and the longest backoff.
const REPEATED_CALL_MS: Millis = 15_000;
/// Lost messages that are allowed for on the way to the first segment.
const REPEATED_CALLS: i64 = 2;
/// Segments of the largest EXPRESS task.
const EXPRESS_SEGMENTS: i64 = 2;
/// Segments of the largest BULK task.
const BULK_SEGMENTS: i64 = 8;

/// What the bounds depend on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// The owner with one video.
    pub(super) owner: u32,
    /// Owners of the others.
    pub(super) other_owners: i64,
    pub(super) express_slots: i64,
    /// Of both classes.
    pub(super) slots: i64,
    pub(super) segment_ms: i64,
    pub(super) has_faults: bool,
}

impl Bounds {
    /// The express bound: latest time of the first segment after the job's creation.
    ///
    /// The owner has no queued task, so that its first one starts at the virtual time of the class. At most two tasks of each
    /// other owner are then ahead of it in the fair order: the one whose virtual start time is that time, and the one after
    /// it if the virtual time has advanced while the new task was queued. They take the next slots that become free, each
    /// within one EXPRESS task's duration; then the task needs its own duration. A slot that is idle asks within the
    /// interval of its poll.
    fn first_segment_ms(&self) -> Millis {
        let longest = PROBE_MS + EXPRESS_SEGMENTS * self.segment_ms * 3 / 2;
        let ahead = 2 * self.other_owners;
        let rounds = 1 + (ahead + self.express_slots - 1) / self.express_slots;
        let repeated = if self.has_faults { REPEATED_CALLS * REPEATED_CALL_MS } else { 0 };
        (rounds + 1) * longest + POLL_MS + LATENCY_MS + repeated
    }

    /// How much less than the other owner this one may be served while it has queued BULK tasks, in cost: the largest task
    /// of each slot, and one of each owner, as in the property test of [`crate::domain::VirtualTime`].
    fn share_tolerance(&self) -> i64 {
        BULK_SEGMENTS * self.segment_ms * (self.slots + 2)
    }
}

/// The observer of an owner with one video.
pub(super) struct FairnessObserver {
    bounds: Bounds,
    created: Option<Millis>,
    job: Option<u32>,
    has_first_segment: bool,
    has_ended: bool,
    /// Queued BULK tasks of the owner.
    queued: i64,
    /// Cost of the BULK tasks that were leased while it had queued ones: its own, and the others'.
    served: i64,
    served_others: i64,
}

impl FairnessObserver {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            created: None,
            job: None,
            has_first_segment: false,
            has_ended: false,
            queued: 0,
            served: 0,
            served_others: 0,
        }
    }

    /// Whether the owner's video has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    pub(super) fn observe(&mut self, now: Millis, change: &Change, observer: &mut Observer) {
        match *change {
            Change::JobCreated { job, owner } if owner == self.bounds.owner => {
                (self.created, self.job) = (Some(now), Some(job));
            }
            Change::Queued { class: TaskClass::Bulk, owner, .. } if owner == self.bounds.owner => {
                self.queued += 1;
            }
            Change::Leased { class: TaskClass::Bulk, owner, cost, .. } => {
                if owner == self.bounds.owner {
                    self.served += cost;
                    self.queued -= 1;
                } else if self.queued > 0 {
                    self.served_others += cost;
                    self.check_share(now, observer);
                }
            }
            Change::Recorded { task, segment: 0, .. } if Some(task.job) == self.job && task.index == 0 => {
                self.check_first_segment(now, observer);
                self.has_first_segment = true;
            }
            Change::JobEnded { job, .. } if Some(job) == self.job => self.has_ended = true,
            _ => {}
        }
        self.check_first_segment(now, observer);
    }

    fn check_first_segment(&self, now: Millis, observer: &mut Observer) {
        let Some(created) = self.created.filter(|_| !self.has_first_segment) else { return };
        let bound = self.bounds.first_segment_ms();
        if now - created > bound {
            observer.violated(now, Invariant::FirstSegmentLate, || {
                format!("the first segment of a single video is not recorded after {bound} ms")
            });
        }
    }

    fn check_share(&self, now: Millis, observer: &mut Observer) {
        let tolerance = self.bounds.share_tolerance();
        if self.served_others - self.served > tolerance {
            observer.violated(now, Invariant::ShareTooSmall, || {
                format!(
                    "an owner with queued tasks was served {}, the other one {}: more than {tolerance} apart",
                    self.served, self.served_others
                )
            });
        }
    }
}
