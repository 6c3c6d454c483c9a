//! Releases expired leases, ends retry delays, and sweeps over the backlog, as in `sweeper.rs`.

use reelmill_platform::clock::duration_millis;

use super::{AfterCommit, Io, Replica};
use crate::{
    domain::RetryDecision,
    simulation::{
        context::Context,
        event_queue::Millis,
        events::Event,
        guards::Guard,
        ledger::{GiveUpCause, Presented, TaskId},
    },
    sweeper::{BACKLOG_INTERVAL_MS, MAX_SLEEP, MIN_SLEEP},
    wake_ups::MAX_REPLENISHED,
};

impl Replica {
    /// Has the sweeper run at once.
    pub(super) fn wake_sweeper(&mut self, context: &mut Context) {
        self.sweep_at(context.now + 1, context);
    }

    fn sweep_at(&mut self, time: Millis, context: &mut Context) {
        if self.next_sweep <= time && self.next_sweep > context.now {
            return;
        }
        self.next_sweep = time;
        self.sweep_serial += 1;
        context.at(time, Event::SweepTasks { replica: self.address(), serial: self.sweep_serial });
    }

    pub(in crate::simulation) fn sweep_tasks(&mut self, serial: u64, io: &mut Io<'_>) {
        if serial != self.sweep_serial {
            return;
        }
        let now = self.now(io.context);
        let is_in_grace = self.grace.is_running(now);
        if !self.has_database(io.context) {
            self.grace.restart(now);
            return self.sweep_later(duration_millis(MAX_SLEEP), io);
        }
        if !is_in_grace || !self.guards.has(Guard::Grace) {
            for task in io.ledger.expired_tasks(now) {
                if !self.release(task, now, io) {
                    return;
                }
            }
        }
        for owner in io.ledger.end_retry_delays(io.context.now) {
            self.request(owner, io.context);
        }
        let sleep = io.ledger.next_task_time().map_or(duration_millis(MAX_SLEEP), |next| next - now);
        self.sweep_later(sleep.clamp(duration_millis(MIN_SLEEP), duration_millis(MAX_SLEEP)), io);
    }

    fn sweep_later(&mut self, sleep: Millis, io: &mut Io<'_>) {
        self.grace.sleeps(self.now(io.context), sleep);
        self.next_sweep = 0;
        self.sweep_at(io.context.now + sleep, io.context);
    }

    /// Releases an expired lease: the task is retried, or its job fails. Returns whether the replica still runs.
    fn release(&mut self, id: TaskId, now: Millis, io: &mut Io<'_>) -> bool {
        let Some(task) = io.ledger.task(id) else { return true };
        let (rules, owner) = (task.rules(), task.owner);
        if !rules.is_expired(now) {
            return true;
        }
        let decision = self.within_budget(rules.decide_lost(self.limits.max_failures), &rules);
        let presented = Presented { task: id, token: rules.fencing_token };
        self.apply(presented, owner, &decision, GiveUpCause::Attempts, true, io)
    }

    /// Applies the decision about an attempt that failed or was lost. Returns whether the replica still runs.
    pub(super) fn apply(
        &mut self,
        presented: Presented,
        owner: u32,
        decision: &RetryDecision,
        cause: GiveUpCause,
        has_expired: bool,
        io: &mut Io<'_>,
    ) -> bool {
        let now = self.now(io.context);
        let queued = io.ledger.apply(presented, decision, cause, has_expired, now);
        if !self.survives_commit(io.context) {
            return false;
        }
        let publication = matches!(decision, RetryDecision::GiveUp).then_some((presented.task.job, false));
        let after = AfterCommit { owner: Some(owner), queued, wakes_sweeper: queued.is_none(), publication };
        self.after_commit(&after, io);
        true
    }

    pub(in crate::simulation) fn sweep_backlog(&mut self, io: &mut Io<'_>) {
        let replica = self.address();
        io.context.after(duration_millis(MAX_SLEEP), Event::SweepBacklog { replica });
        let now = self.now(io.context);
        if !self.has_database(io.context) || !io.ledger.claim_backlog_sweep(now, now + BACKLOG_INTERVAL_MS) {
            return;
        }
        for owner in io.ledger.waiting_owners() {
            self.request(owner, io.context);
        }
        let limit = usize::try_from(MAX_REPLENISHED).unwrap_or(usize::MAX);
        let queued = io.ledger.queued_builds(limit);
        let missing = queued.len().saturating_sub(io.wake_ups.visible());
        for build in &queued[..missing] {
            io.wake_ups.send(*build, io.context);
        }
    }
}
