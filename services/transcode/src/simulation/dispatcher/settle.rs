//! PlanJob, RecordOutputs, CompleteTask and FailTask, as in `tasks/`.

use std::ops::Range;

use reelmill_proto::transcode::FailureCause;

use super::{AfterCommit, Io, Replica};
use crate::{
    domain::{LeaseLost, RetryDecision, TaskRules},
    simulation::{
        events::{Call, Response},
        guards::Guard,
        ledger::{CompleteError, GiveUpCause, Presented},
    },
};

impl Replica {
    pub(super) fn plan_job(&mut self, call: &Call, lease: Presented, io: &mut Io<'_>) {
        let planned = io.ledger.plan(lease);
        let (Ok(()), Some(encode)) = (planned, io.ledger.encode_grant(lease.task)) else {
            return io.context.respond(self.index, call, Response::LeaseLost);
        };
        let job = lease.task.job;
        let owner = io.ledger.job(job).map(|job| job.spec.owner);
        let after = AfterCommit { owner, publication: Some((job, false)), ..AfterCommit::default() };
        self.finish(call, Response::Planned(encode), &after, io);
    }

    pub(super) fn record_outputs(
        &mut self,
        call: &Call,
        lease: Presented,
        segments: Range<u32>,
        io: &mut Io<'_>,
    ) {
        let now = self.now(io.context);
        if io.ledger.record(lease, segments.start, segments.end, now) == Err(LeaseLost) {
            return io.context.respond(self.index, call, Response::LeaseLost);
        }
        let after = AfterCommit { publication: Some((lease.task.job, false)), ..AfterCommit::default() };
        self.finish(call, Response::Done, &after, io);
    }

    pub(super) fn complete_task(&mut self, call: &Call, lease: Presented, encoded: u32, io: &mut Io<'_>) {
        let now = self.now(io.context);
        let job = lease.task.job;
        let owner = io.ledger.job(job).map(|job| job.spec.owner);
        match io.ledger.complete(lease, encoded, now) {
            Ok(is_last) => {
                let after =
                    AfterCommit { owner, publication: Some((job, is_last)), ..AfterCommit::default() };
                self.finish(call, Response::Done, &after, io);
            }
            Err(CompleteError::LeaseLost) => io.context.respond(self.index, call, Response::LeaseLost),
            Err(CompleteError::SegmentsMissing) => {
                io.context.respond(self.index, call, Response::SegmentsMissing);
            }
        }
    }

    pub(super) fn fail_task(&mut self, call: &Call, lease: Presented, cause: FailureCause, io: &mut Io<'_>) {
        let Ok((rules, _)) = io.ledger.checked_rules(lease) else {
            return io.context.respond(self.index, call, Response::LeaseLost);
        };
        let Some(owner) = io.ledger.job(lease.task.job).map(|job| job.spec.owner) else { return };
        let jitter = io.context.random.unit();
        let decision = if cause == FailureCause::File && !self.guards.has(Guard::SecondOpinion) {
            RetryDecision::GiveUp
        } else {
            rules.decide_failed(cause, self.limits.max_failures, jitter)
        };
        let decision = self.within_budget(decision, &rules);
        let give_up = if cause == FailureCause::File { GiveUpCause::File } else { GiveUpCause::Attempts };
        if self.apply(lease, owner, &decision, give_up, false, io) {
            io.context.respond(self.index, call, Response::Done);
        }
    }

    /// The decision, or a retry if budgets are taken out.
    pub(super) fn within_budget(&self, decision: RetryDecision, rules: &TaskRules) -> RetryDecision {
        if decision == RetryDecision::GiveUp && !self.guards.has(Guard::Budgets) {
            return RetryDecision::Retry { failures: rules.failures, delay_ms: 1000, excludes_worker: false };
        }
        decision
    }
}
