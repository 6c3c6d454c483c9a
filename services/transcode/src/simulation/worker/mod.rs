//! A worker: slots that lease and run tasks one after the other, as the product's worker does, without an encoder.

mod attempt;
mod backoff;
mod breaker;
mod calls;
mod outcome;
mod renewal;
mod slot;

use self::{attempt::Attempt, backoff::Backoff, breaker::Breaker, calls::OpenCall};
use super::{
    context::Context,
    event_queue::Millis,
    events::{Received, Request, Response, SlotAddress},
    job_spec::JobSpec,
    ledger::{Build, Presented},
    wake_up_queue::WakeUpQueue,
};

/// What a worker uses.
pub(super) struct Io<'a> {
    pub(super) wake_ups: &'a mut WakeUpQueue,
    pub(super) jobs: &'a [JobSpec],
    pub(super) context: &'a mut Context,
}

/// What a slot does.
enum Activity {
    /// It waits for the end of a timer, then looks for a task.
    Idle,
    /// It asks for a task.
    Starting {
        wake_up: Option<Received>,
    },
    /// It waits for a wake-up.
    Receiving,
    Running(Box<Attempt>),
}

/// A slot.
struct Slot {
    is_express: bool,
    activity: Activity,
    /// Increases with every activity; older timers have no effect.
    epoch: u64,
    call: Option<OpenCall>,
    backoff: Backoff,
    is_trial: bool,
}

/// A worker on its host: its processes, one after the other.
pub(super) struct Worker {
    index: usize,
    process: u32,
    build: Build,
    slots: Vec<Slot>,
    pub(super) is_up: bool,
    /// It hands back its tasks and takes no others.
    is_stopping: bool,
    /// It is stopped (SIGSTOP) until then.
    pub(super) paused_until: Millis,
    /// Its encoder fails until then.
    pub(super) broken_until: Millis,
    /// Its wall clock, relative to the database's.
    pub(super) clock_skew: Millis,
    /// Probability that the encoder crashes on a task, until the end of the faults.
    pub(super) encoder_crash_probability: f64,
    pub(super) encoder_crashes_until: Millis,
    is_healthy: bool,
    health_backoff: Backoff,
    breaker: Breaker,
}

impl Worker {
    pub(super) fn new(index: usize, build: Build, express_slots: usize, bulk_slots: usize) -> Self {
        let slot = |is_express: bool| Slot {
            is_express,
            activity: Activity::Idle,
            epoch: 0,
            call: None,
            backoff: Backoff::of_calls(),
            is_trial: false,
        };
        let express = (0..express_slots).map(|_| slot(true));
        Self {
            index,
            process: 0,
            build,
            slots: express.chain((0..bulk_slots).map(|_| slot(false))).collect(),
            is_up: false,
            is_stopping: false,
            paused_until: 0,
            broken_until: 0,
            clock_skew: 0,
            encoder_crash_probability: 0.0,
            encoder_crashes_until: 0,
            is_healthy: true,
            health_backoff: Backoff::of_calls(),
            breaker: Breaker::default(),
        }
    }

    fn address(&self, slot: usize) -> SlotAddress {
        SlotAddress { worker: self.index, process: self.process, slot }
    }

    /// Whether an event of this process concerns the one that runs now.
    pub(super) fn is_current(&self, address: SlotAddress) -> bool {
        self.is_up && address.process == self.process
    }

    /// Starts the process, under a new name.
    pub(super) fn start_process(&mut self, io: &mut Io<'_>) {
        if self.is_up {
            return;
        }
        self.is_up = true;
        self.paused_until = 0;
        self.is_stopping = false;
        self.is_healthy = true;
        self.breaker = Breaker::default();
        self.process += 1;
        for slot in 0..self.slots.len() {
            let delay = io.context.random.between(1, 500);
            self.idle(slot, delay, io.context);
        }
    }

    /// Kills the process; returns its report streams, with their replicas.
    pub(super) fn crash(&mut self) -> Vec<(usize, SlotAddress, u64)> {
        let mut streams = Vec::new();
        for index in 0..self.slots.len() {
            let address = self.address(index);
            let slot = &mut self.slots[index];
            if let Activity::Running(attempt) = &slot.activity
                && let Some((replica, stream)) = attempt.renewal.stream()
            {
                streams.push((replica, address, stream));
            }
            slot.activity = Activity::Idle;
            slot.call = None;
            slot.is_trial = false;
        }
        self.is_up = false;
        self.paused_until = 0;
        streams
    }

    /// The slots that have their report stream at a replica.
    pub(super) fn slots_with_stream(&self, replica: usize) -> Vec<SlotAddress> {
        let has_stream = |slot: &Slot| match &slot.activity {
            Activity::Running(attempt) => attempt.renewal.stream().is_some_and(|stream| stream.0 == replica),
            _ => false,
        };
        let slots = self.slots.iter().enumerate().filter(|(_, slot)| self.is_up && has_stream(slot));
        slots.map(|(index, _)| self.address(index)).collect()
    }

    /// Hands all tasks back: the process is asked to shut down.
    pub(super) fn stop(&mut self, io: &mut Io<'_>) {
        if !self.is_up {
            return;
        }
        self.is_stopping = true;
        for slot in 0..self.slots.len() {
            self.hand_back(slot, io);
        }
    }

    /// Whether the process runs the attempt of this lease and has a report stream for it.
    pub(super) fn has_stream_of(&self, lease: Presented) -> bool {
        let has_stream = |slot: &Slot| match &slot.activity {
            Activity::Running(attempt) => attempt.lease == lease && attempt.renewal.stream().is_some(),
            _ => false,
        };
        self.is_up && self.slots.iter().any(has_stream)
    }

    /// A response has arrived.
    pub(super) fn receive_response(
        &mut self,
        to: SlotAddress,
        call: u64,
        response: Response,
        io: &mut Io<'_>,
    ) {
        let Some((request, response)) = self.slots[to.slot].answered(to, call, response, io.context) else {
            return;
        };
        match request {
            Request::StartTask { .. } => self.start_answered(to.slot, response, io),
            Request::PlanJob(_) => self.plan_answered(to.slot, response, io),
            Request::RecordOutputs { end, .. } => self.record_answered(to.slot, end, response, io),
            Request::CompleteTask { .. } => self.complete_answered(to.slot, response, io),
            Request::FailTask { .. } | Request::Report { .. } => self.end_attempt(to.slot, io),
        }
    }

    /// Repeats a call after its backoff.
    pub(super) fn repeat_call(&mut self, slot: SlotAddress, call: u64, io: &mut Io<'_>) {
        self.slots[slot.slot].repeat_call(slot, call, io.context);
    }

    /// A timer of a slot has ended.
    pub(super) fn timer_ended(&mut self, address: SlotAddress, epoch: u64, io: &mut Io<'_>) {
        let slot = &self.slots[address.slot];
        if slot.epoch != epoch {
            return;
        }
        match &slot.activity {
            Activity::Idle => self.look_for_task(address.slot, io),
            Activity::Running(_) => self.continue_attempt(address.slot, io),
            Activity::Starting { .. } | Activity::Receiving => {}
        }
    }
}
