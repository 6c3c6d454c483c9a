//! StartTask, as in `tasks/start.rs`: leases a task, or waits for an EXPRESS task.

use reelmill_platform::clock::duration_millis;
use reelmill_proto::transcode::TaskClass as SlotClass;

use super::{AfterCommit, Io, Replica};
use crate::{
    domain::{JobEvent, JobState, TaskClass, TaskState},
    simulation::{
        event_queue::Millis,
        events::{Call, Event, Grant, Request, Response},
        guards::Guard,
        ledger::{LeaseRequest, Ledger, NonceUsed, Presented, TaskId, worker_name},
    },
    tasks::start::POLL_INTERVAL,
};

/// Longest time between reading a queued task and leasing it, without the guard on claims.
const UNGUARDED_WRITE_DELAY: Millis = 20;

/// A call that waits for an EXPRESS task.
pub(super) struct WaitingCall {
    call: Call,
    deadline: Millis,
}

impl Replica {
    pub(super) fn start_task(&mut self, call: Call, wait: Millis, io: &mut Io<'_>) {
        if let Some(response) = self.earlier_lease(&call, io.ledger) {
            io.context.respond(self.index, &call, response);
            return;
        }
        if self.start_next(&call, io) {
            return;
        }
        if wait == 0 {
            io.context.respond(self.index, &call, Response::NoTask);
            return;
        }
        let deadline = io.context.now + wait;
        self.waiting.push(WaitingCall { call, deadline });
        self.poll_later(&call, deadline, io);
    }

    fn poll_later(&self, call: &Call, deadline: Millis, io: &mut Io<'_>) {
        let poll = deadline.min(io.context.now + duration_millis(POLL_INTERVAL));
        io.context.at(poll, Event::WaitingCallPolls { replica: self.address(), call: call.id });
    }

    /// A waiting call asks again, or ends.
    pub(in crate::simulation) fn poll_waiting_call(&mut self, id: u64, io: &mut Io<'_>) {
        let Some(position) = self.waiting.iter().position(|waiting| waiting.call.id == id) else { return };
        let WaitingCall { call, deadline } = self.waiting[position];
        if !self.has_database(io.context) {
            self.waiting.remove(position);
            io.context.respond(self.index, &call, Response::Unavailable);
        } else if self.start_next(&call, io) {
            self.waiting.retain(|waiting| waiting.call.id != id);
        } else if io.context.now >= deadline {
            self.waiting.remove(position);
            io.context.respond(self.index, &call, Response::NoTask);
        } else {
            self.poll_later(&call, deadline, io);
        }
    }

    /// Wakes one waiting call: an EXPRESS task was queued.
    pub(in crate::simulation) fn express_task_queued(&mut self, io: &mut Io<'_>) {
        if self.waiting.is_empty() || !self.has_database(io.context) {
            return;
        }
        let waiting = self.waiting.remove(0);
        if !self.start_next(&waiting.call, io) {
            self.waiting.push(waiting);
        }
    }

    /// The response for the lease of an earlier call with the same nonce.
    fn earlier_lease(&self, call: &Call, ledger: &Ledger) -> Option<Response> {
        let Request::StartTask { nonce, .. } = call.request else { return None };
        if !self.guards.has(Guard::Nonce) {
            return None;
        }
        let task = ledger.task_of_nonce(nonce)?;
        if task.state != TaskState::Running || task.worker != worker_name(call.from) {
            return Some(Response::LeaseLost);
        }
        grant(ledger, task.id).map(Response::Granted)
    }

    /// Leases the next task of the first class that has one; returns whether the call is answered.
    fn start_next(&mut self, call: &Call, io: &mut Io<'_>) -> bool {
        let Request::StartTask { nonce, is_express, build, .. } = call.request else { return false };
        let slot = if is_express { SlotClass::Express } else { SlotClass::Bulk };
        for class in TaskClass::of_slot(slot).unwrap_or_default() {
            let lease = LeaseRequest {
                class: *class,
                worker: worker_name(call.from),
                encoder_build: build,
                nonce,
                lease_ttl_ms: self.limits.lease_ttl_ms,
            };
            if !self.guards.has(Guard::Claims) {
                let Some(task) = io.ledger.next_startable(&lease, io.context.now) else { continue };
                let delay = io.context.random.between(1, UNGUARDED_WRITE_DELAY);
                let event = Event::LeaseIsWritten { replica: self.address(), call: *call, task, lease };
                io.context.after(delay, event);
                return true;
            }
            match io.ledger.lease(&lease, io.context.now) {
                Ok(Some(task)) => {
                    self.started(call, task, io);
                    return true;
                }
                Ok(None) => {}
                // The repeated call overtook this one.
                Err(NonceUsed) => {
                    let response = self.earlier_lease(call, io.ledger).unwrap_or(Response::LeaseLost);
                    io.context.respond(self.index, call, response);
                    return true;
                }
            }
        }
        false
    }

    /// Writes a lease on a task that was selected before, without the guard on claims.
    pub(in crate::simulation) fn write_lease(
        &mut self,
        call: &Call,
        task: TaskId,
        lease: &LeaseRequest,
        io: &mut Io<'_>,
    ) {
        if io.ledger.start(task, lease, io.context.now) {
            self.started(call, task, io);
        } else {
            io.context.respond(self.index, call, Response::NoTask);
        }
    }

    /// Announces that a job is running, and responds.
    fn started(&mut self, call: &Call, id: TaskId, io: &mut Io<'_>) {
        let Some(grant) = grant(io.ledger, id) else { return };
        let Some(job) = io.ledger.job(id.job) else { return };
        let owner = job.spec.owner;
        let is_queued = job.state == JobState::Queued;
        if !self.survives_commit(io.context) {
            return;
        }
        let after = AfterCommit { owner: Some(owner), wakes_sweeper: true, ..AfterCommit::default() };
        self.after_commit(&after, io);
        if is_queued {
            io.ledger.advance(id.job, JobEvent::TaskStarted);
        }
        let after = AfterCommit { owner: Some(owner), ..AfterCommit::default() };
        self.finish(call, Response::Granted(grant), &after, io);
    }
}

/// What the worker needs to know of a leased task.
fn grant(ledger: &Ledger, id: TaskId) -> Option<Grant> {
    let task = ledger.task(id)?;
    Some(Grant {
        lease: Presented { task: id, token: task.fencing_token },
        kind: task.kind,
        expire_time: task.lease_expire_time,
        encode: ledger.encode_grant(id)?,
    })
}
