//! How an attempt ends: the attribution of a failure, and its report, as in the worker's `encoder_health.rs` and
//! `settle_task.rs`.

use reelmill_proto::transcode::FailureCause;

use super::{Activity, Io, Worker, attempt::Step};
use crate::simulation::events::{Request, Response};

impl Worker {
    /// Reports a failure. After one of an encoder or a file the worker tests itself; if that fails, too, the task is handed
    /// back, and the worker takes no other until the test succeeds.
    pub(super) fn fail(&mut self, index: usize, cause: FailureCause, io: &mut Io<'_>) {
        let is_own = matches!(cause, FailureCause::Encoder | FailureCause::File);
        let cause = if is_own && self.broken_until > io.context.now {
            self.is_healthy = false;
            FailureCause::Worker
        } else {
            cause
        };
        match cause {
            FailureCause::Dependency => {
                self.breaker.dependency_failed(io.context.now, &mut io.context.random);
            }
            FailureCause::Worker => {}
            _ => self.breaker.dependencies_answered(),
        }
        let address = self.address(index);
        let slot = &mut self.slots[index];
        let Activity::Running(attempt) = &mut slot.activity else { return };
        attempt.step = Step::Settle;
        let (lease, deadline, worker) = (attempt.lease, attempt.renewal.deadline(), address.worker);
        io.context.timeline.note(io.context.now, || {
            format!("worker {worker}: {} under token {} failed: {cause:?}", lease.task, lease.token)
        });
        slot.begin_call(address, Request::FailTask { lease, cause }, deadline, io.context);
    }

    /// Hands a task back, because the worker shuts down.
    pub(super) fn hand_back(&mut self, index: usize, io: &mut Io<'_>) {
        let Activity::Running(attempt) = &self.slots[index].activity else { return };
        if attempt.step != Step::Settle {
            self.fail(index, FailureCause::Worker, io);
        }
    }

    pub(super) fn complete_answered(&mut self, index: usize, response: Response, io: &mut Io<'_>) {
        match response {
            Response::SegmentsMissing => self.fail(index, FailureCause::Encoder, io),
            _ => self.end_attempt(index, io),
        }
    }

    /// Ends an attempt: its outcome was reported, or its lease was lost.
    pub(super) fn end_attempt(&mut self, index: usize, io: &mut Io<'_>) {
        let Activity::Running(attempt) = &mut self.slots[index].activity else { return };
        if let Some(wake_up) = attempt.wake_up.take() {
            io.wake_ups.delete(wake_up, io.context);
        }
        self.idle(index, 1, io.context);
    }
}
