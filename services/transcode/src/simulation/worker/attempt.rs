//! An attempt at a task: probes, encodes segment by segment, and records what is encoded, as in the worker's
//! `task_runner.rs` and `engine/`.

use reelmill_proto::transcode::FailureCause;

use super::{Activity, Io, Worker, renewal::Renewal};
use crate::{
    domain::TaskKind,
    simulation::{
        context::EncodedSegment,
        event_queue::Millis,
        events::{Event, Grant, Received, Request, Response},
        job_spec::{FileFault, JobSpec},
        ledger::{EncodeGrant, Presented},
    },
};

/// How long an unavailable dependency is retried, as in the worker's `engine/limits.rs`.
const RETRY_WINDOW: Millis = 100_000;
/// Interval at which the object store is retried while it is unavailable.
const OBJECT_STORE_RETRY: Millis = 2000;
/// Time to join a rendition.
const PACKAGE_MS: (Millis, Millis) = (300, 2000);
/// Time to probe a source.
const PROBE_MS: (Millis, Millis) = (200, 1500);

/// What an attempt does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Probe,
    /// PlanJob is open.
    Plan,
    Encode,
    Package,
    /// The outcome is being reported.
    Settle,
}

/// An attempt at a leased task.
pub(super) struct Attempt {
    pub(super) lease: Presented,
    pub(super) step: Step,
    pub(super) renewal: Renewal,
    /// The wake-up that is hidden while it runs.
    pub(super) wake_up: Option<Received>,
    /// Segments of the task, those that are encoded, and those that are recorded.
    work: EncodeGrant,
    encoded: u32,
    /// Since when the object store is unavailable for it.
    blocked_since: Option<Millis>,
    /// Whether its encoder will crash.
    crashes: bool,
}

impl Worker {
    pub(super) fn begin_attempt(
        &mut self,
        index: usize,
        grant: &Grant,
        wake_up: Option<Received>,
        io: &mut Io<'_>,
    ) {
        let now = io.context.now;
        let step = match grant.kind {
            TaskKind::Prepare => Step::Probe,
            TaskKind::Encode => Step::Encode,
            TaskKind::Package => Step::Package,
        };
        let crashes =
            now < self.encoder_crashes_until && io.context.random.chance(self.encoder_crash_probability);
        let attempt = Attempt {
            lease: grant.lease,
            step,
            renewal: Renewal::new(now, grant.expire_time, self.clock_skew),
            wake_up,
            work: grant.encode,
            encoded: grant.encode.recorded,
            blocked_since: None,
            crashes,
        };
        let (worker, lease) = (self.index, grant.lease);
        io.context
            .timeline
            .note(now, || format!("worker {worker}: started {} under token {}", lease.task, lease.token));
        let slot = &mut self.slots[index];
        slot.activity = Activity::Running(Box::new(attempt));
        slot.epoch += 1;
        self.report_soon(index, io.context);
        self.next_step(index, io);
    }

    fn attempt(&mut self, index: usize) -> Option<&mut Attempt> {
        match &mut self.slots[index].activity {
            Activity::Running(attempt) => Some(attempt),
            _ => None,
        }
    }

    /// Waits until the current step has taken its time.
    fn next_step(&mut self, index: usize, io: &mut Io<'_>) {
        let (address, epoch) = (self.address(index), self.slots[index].epoch);
        let Some(attempt) = self.attempt(index) else { return };
        let spec = job_of(io.jobs, attempt.lease);
        let duration = match attempt.step {
            Step::Probe => io.context.random.between(PROBE_MS.0, PROBE_MS.1),
            Step::Package => io.context.random.between(PACKAGE_MS.0, PACKAGE_MS.1),
            Step::Encode if attempt.encoded >= attempt.work.segments => {
                return self.record_or_complete(index, io);
            }
            Step::Encode => {
                let mean = spec.map_or(1000, |spec| spec.segment_ms);
                io.context.random.between(mean / 2, mean * 3 / 2)
            }
            Step::Plan | Step::Settle => return,
        };
        io.context.after(duration, Event::SlotTimer { slot: address, epoch });
    }

    /// The current step has taken its time.
    pub(super) fn continue_attempt(&mut self, index: usize, io: &mut Io<'_>) {
        let now = io.context.now;
        let (is_broken, worker) = (self.broken_until > now, self.address(index));
        let epoch = self.slots[index].epoch;
        let Some(attempt) = self.attempt(index) else { return };
        if matches!(attempt.step, Step::Plan | Step::Settle) {
            return;
        }
        if io.context.outages.object_store > now {
            let since = *attempt.blocked_since.get_or_insert(now);
            if now - since >= RETRY_WINDOW {
                return self.fail(index, FailureCause::Dependency, io);
            }
            io.context.after(OBJECT_STORE_RETRY, Event::SlotTimer { slot: worker, epoch });
            return;
        }
        attempt.blocked_since = None;
        let (lease, step) = (attempt.lease, attempt.step);
        if is_broken || attempt.crashes && step != Step::Package {
            // An encoder may fail once on an intact file as if that were faulty, and pass its test afterwards.
            let blames_file = io.context.random.chance(0.5) && io.context.blamed_files.insert(lease.task);
            let cause = if blames_file { FailureCause::File } else { FailureCause::Encoder };
            return self.fail(index, cause, io);
        }
        let fault = job_of(io.jobs, lease).map_or(FileFault::None, |spec| spec.fault);
        if let Some(cause) = failure_of(fault, step, lease.task.index) {
            return self.fail(index, cause, io);
        }
        match step {
            Step::Probe => {
                attempt.step = Step::Plan;
                self.slots[index].begin_call(worker, Request::PlanJob(lease), now + RETRY_WINDOW, io.context);
            }
            Step::Package => self.complete(index, io),
            _ => {
                let segment = attempt.encoded;
                attempt.encoded += 1;
                let encoded = EncodedSegment { task: lease.task, token: lease.token, segment };
                io.context.note_encoded(worker, encoded);
                if self.slots[index].call.is_none() {
                    self.record_or_complete(index, io);
                }
                let is_encoding = self.attempt(index).is_some_and(|run| run.encoded < run.work.segments);
                if is_encoding {
                    self.next_step(index, io);
                }
            }
        }
    }

    pub(super) fn plan_answered(&mut self, index: usize, response: Response, io: &mut Io<'_>) {
        let Some(attempt) = self.attempt(index) else { return };
        match response {
            Response::Planned(work) => {
                attempt.step = Step::Encode;
                attempt.work = work;
                attempt.encoded = work.recorded;
                self.next_step(index, io);
            }
            response => self.call_failed(index, response, io),
        }
    }

    /// Records what was encoded since the last call, or completes the task once all is recorded.
    fn record_or_complete(&mut self, index: usize, io: &mut Io<'_>) {
        let address = self.address(index);
        let Some(attempt) = self.attempt(index) else { return };
        let (lease, first, end) = (attempt.lease, attempt.work.recorded, attempt.encoded);
        if end > first {
            let request = Request::RecordOutputs { lease, first, end };
            let deadline = io.context.now + RETRY_WINDOW;
            self.slots[index].begin_call(address, request, deadline, io.context);
        } else if end == attempt.work.segments {
            self.complete(index, io);
        }
    }

    pub(super) fn record_answered(&mut self, index: usize, end: u32, response: Response, io: &mut Io<'_>) {
        let Some(attempt) = self.attempt(index) else { return };
        match response {
            Response::Done => {
                attempt.work.recorded = end;
                self.record_or_complete(index, io);
            }
            response => self.call_failed(index, response, io),
        }
    }

    /// A call of the running task was rejected or not answered.
    fn call_failed(&mut self, index: usize, response: Response, io: &mut Io<'_>) {
        let is_unavailable = matches!(response, Response::Unavailable);
        let cause = if is_unavailable { FailureCause::Dependency } else { FailureCause::Encoder };
        self.fail(index, cause, io);
    }

    fn complete(&mut self, index: usize, io: &mut Io<'_>) {
        let address = self.address(index);
        self.breaker.dependencies_answered();
        let Some(attempt) = self.attempt(index) else { return };
        attempt.step = Step::Settle;
        let (lease, deadline) = (attempt.lease, attempt.renewal.deadline());
        let request = Request::CompleteTask { lease, encoded: attempt.encoded };
        self.slots[index].begin_call(address, request, deadline, io.context);
    }
}

/// How a task of a faulty file fails in a step on a healthy worker; none if it does not.
fn failure_of(fault: FileFault, step: Step, index: u32) -> Option<FailureCause> {
    match (fault, step) {
        (FileFault::Probe, Step::Probe) => Some(FailureCause::File),
        (FileFault::WorkUnit(faulty), Step::Encode) if faulty == index => Some(FailureCause::File),
        (FileFault::Crashes(faulty), Step::Encode) if faulty == index => Some(FailureCause::Encoder),
        _ => None,
    }
}

/// The video of a lease.
fn job_of(jobs: &[JobSpec], lease: Presented) -> Option<&JobSpec> {
    jobs.get(usize::try_from(lease.task.job).ok()?)
}
