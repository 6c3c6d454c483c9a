//! Lease renewal by reports on a stream, as in the worker's `lease_renewal.rs`.

use super::{Activity, Io, Worker, backoff::Backoff};
use crate::simulation::{
    context::Context,
    event_queue::Millis,
    events::{Call, Event, Request, Response, SlotAddress},
    wake_up_queue::VISIBILITY_TIMEOUT,
};

/// Interval of the reports: four fifths of the requested one, which is a third of a lease.
const REPORT_INTERVAL: Millis = 4000;
/// Time without an answer after which a stream is reopened: two and a half report intervals.
const ANSWER_TIMEOUT: Millis = 10_000;
/// Grace period after expiry before the worker gives up renewing.
const RENEWAL_GRACE: Millis = 120_000;
/// Longest lease that is accepted.
const MAX_LEASE_TTL: Millis = 3_600_000;
/// A stream that lasted longer than this resets the backoff.
const STABLE_STREAM: Millis = 10_000;
/// Interval at which the visibility timeout of the hidden wake-up is extended.
const EXTEND_INTERVAL: Millis = 20_000;

/// The report stream of an attempt.
pub(super) struct Renewal {
    stream: Option<Stream>,
    deadline: Millis,
    backoff: Backoff,
    /// Of the timer of the next report; older ones have no effect.
    serial: u64,
    next_extension: Millis,
}

#[derive(Clone, Copy)]
struct Stream {
    id: u64,
    replica: usize,
    opened: Millis,
    last_answer: Millis,
}

impl Renewal {
    pub(super) fn new(now: Millis, expire_time: Millis, clock_skew: Millis) -> Self {
        Self {
            stream: None,
            deadline: renewal_deadline(now, expire_time, clock_skew),
            backoff: Backoff::of_calls(),
            serial: 0,
            next_extension: now + EXTEND_INTERVAL,
        }
    }

    /// When renewal is given up.
    pub(super) fn deadline(&self) -> Millis {
        self.deadline
    }

    /// The replica and the id of the open stream.
    pub(super) fn stream(&self) -> Option<(usize, u64)> {
        self.stream.map(|stream| (stream.replica, stream.id))
    }
}

/// The expiry is the database's time; the worker compares it with its own clock.
fn renewal_deadline(now: Millis, expire_time: Millis, clock_skew: Millis) -> Millis {
    now + (expire_time - now - clock_skew).clamp(0, MAX_LEASE_TTL) + RENEWAL_GRACE
}

impl Worker {
    /// Opens the report stream of a new attempt.
    pub(super) fn report_soon(&mut self, index: usize, context: &mut Context) {
        self.report_after(index, 1, context);
    }

    fn report_after(&mut self, index: usize, delay: Millis, context: &mut Context) {
        let address = self.address(index);
        let slot = &mut self.slots[index];
        let Activity::Running(attempt) = &mut slot.activity else { return };
        attempt.renewal.serial += 1;
        let (epoch, serial) = (slot.epoch, attempt.renewal.serial);
        context.after(delay, Event::ReportIsDue { slot: address, epoch, serial });
    }

    /// Sends a report, on a new stream if there is none.
    pub(in crate::simulation) fn report(
        &mut self,
        address: SlotAddress,
        epoch: u64,
        serial: u64,
        io: &mut Io<'_>,
    ) {
        let now = io.context.now;
        let slot = &mut self.slots[address.slot];
        let Activity::Running(attempt) = &mut slot.activity else { return };
        if slot.epoch != epoch || attempt.renewal.serial != serial {
            return;
        }
        let renewal = &mut attempt.renewal;
        if renewal.stream.is_some_and(|stream| now - stream.last_answer >= ANSWER_TIMEOUT) {
            return self.stream_broken(address.slot, io);
        }
        if now >= renewal.deadline {
            return self.lose_lease(address.slot, "unreachable", io);
        }
        let stream = *renewal.stream.get_or_insert_with(|| {
            let context = &mut *io.context;
            let replica = context.network.pick_replica(address.worker, now, &mut context.random);
            Stream { id: io.context.new_id(), replica, opened: now, last_answer: now }
        });
        if now >= renewal.next_extension {
            renewal.next_extension = now + EXTEND_INTERVAL;
            if let Some(wake_up) = attempt.wake_up {
                io.wake_ups.extend(wake_up, VISIBILITY_TIMEOUT, io.context);
            }
        }
        let request = Request::Report { lease: attempt.lease, stream: stream.id };
        io.context.send_call(stream.replica, Call { from: address, id: 0, request, timeout: Millis::MAX });
        let answer_timeout = stream.last_answer + ANSWER_TIMEOUT - now;
        self.report_after(address.slot, REPORT_INTERVAL.min(answer_timeout), io.context);
    }

    /// A report was answered.
    pub(in crate::simulation) fn report_answered(
        &mut self,
        address: SlotAddress,
        stream: u64,
        response: Response,
        io: &mut Io<'_>,
    ) {
        let skew = self.clock_skew;
        let Activity::Running(attempt) = &mut self.slots[address.slot].activity else { return };
        let Some(stream) = attempt.renewal.stream.as_mut().filter(|open| open.id == stream) else { return };
        match response {
            Response::Renewed { expire_time } => {
                stream.last_answer = io.context.now;
                attempt.renewal.deadline = renewal_deadline(io.context.now, expire_time, skew);
            }
            Response::LeaseLost => self.lose_lease(address.slot, "superseded", io),
            _ => self.stream_broken(address.slot, io),
        }
    }

    /// The replica of a stream crashed.
    pub(in crate::simulation) fn stream_reset(
        &mut self,
        address: SlotAddress,
        replica: usize,
        io: &mut Io<'_>,
    ) {
        let Activity::Running(attempt) = &self.slots[address.slot].activity else { return };
        if attempt.renewal.stream().is_some_and(|stream| stream.0 == replica) {
            self.stream_broken(address.slot, io);
        }
    }

    /// Opens another stream after a backoff, unless the lease is given up.
    fn stream_broken(&mut self, index: usize, io: &mut Io<'_>) {
        let now = io.context.now;
        let address = self.address(index);
        let Activity::Running(attempt) = &mut self.slots[index].activity else { return };
        let renewal = &mut attempt.renewal;
        if let Some(stream) = renewal.stream.take() {
            if now - stream.opened > STABLE_STREAM {
                renewal.backoff = Backoff::of_calls();
            }
            let event = Event::StreamBroken { replica: stream.replica, from: address, stream: stream.id };
            io.context.send_on_stream(address.worker, stream.replica, event);
        }
        if now >= renewal.deadline {
            return self.lose_lease(index, "unreachable", io);
        }
        let delay = renewal.backoff.next_delay(&mut io.context.random);
        self.report_after(index, delay, io.context);
    }

    /// Drops the task.
    fn lose_lease(&mut self, index: usize, why: &str, io: &mut Io<'_>) {
        let worker = self.index;
        if let Activity::Running(attempt) = &self.slots[index].activity {
            let lease = attempt.lease;
            io.context.timeline.note(io.context.now, || {
                format!(
                    "worker {worker}: lost the lease of {} under token {}: {why}",
                    lease.task, lease.token
                )
            });
        }
        self.end_attempt(index, io);
    }
}
