//! The cycle of a slot between two tasks, as in the worker's `slot.rs`.

use super::{Activity, Io, Worker, backoff::Backoff, breaker::Admission};
use crate::simulation::{
    context::Context,
    event_queue::Millis,
    events::{Event, Received, Request, Response, SlotAddress},
};

/// How long an idle BULK slot waits for a wake-up before it asks for a task again.
const IDLE_POLL_INTERVAL: Millis = 5000;
/// How long an EXPRESS slot's call waits for a task.
const EXPRESS_WAIT: Millis = 8000;
/// How long a StartTask call is repeated.
const START_WINDOW: Millis = 30_000;
/// Delay before a wake-up for another encoder build is received again.
const OTHER_BUILD_RETURN_DELAY: Millis = 20_000;
/// Pause of a slot after it has received such a wake-up.
const OTHER_BUILD_PAUSE: Millis = 1000;

impl Worker {
    /// Has a slot look for a task after a delay.
    pub(super) fn idle(&mut self, slot: usize, delay: Millis, context: &mut Context) {
        if self.slots[slot].is_trial {
            self.slots[slot].is_trial = false;
            self.breaker.trial_ended();
        }
        let address = self.address(slot);
        let slot = &mut self.slots[slot];
        slot.activity = Activity::Idle;
        slot.call = None;
        slot.epoch += 1;
        context.after(delay, Event::SlotTimer { slot: address, epoch: slot.epoch });
    }

    /// Asks for a task once the worker is healthy and the breaker admits one.
    pub(super) fn look_for_task(&mut self, slot: usize, io: &mut Io<'_>) {
        if self.is_stopping {
            return;
        }
        if !self.is_healthy {
            // The self-test is repeated until it succeeds.
            if self.broken_until > io.context.now {
                let delay = self.health_backoff.next_delay(&mut io.context.random);
                return self.idle(slot, delay, io.context);
            }
            self.is_healthy = true;
            self.health_backoff = Backoff::of_calls();
        }
        match self.breaker.admit(slot, io.context.now) {
            Admission::After(delay) => self.idle(slot, delay, io.context),
            Admission::Admitted { is_trial } => {
                self.slots[slot].is_trial = is_trial;
                self.start_task(slot, None, io.context);
            }
        }
    }

    fn start_task(&mut self, index: usize, wake_up: Option<Received>, context: &mut Context) {
        let address = self.address(index);
        let build = self.build;
        let slot = &mut self.slots[index];
        slot.activity = Activity::Starting { wake_up };
        slot.epoch += 1;
        let wait = if slot.is_express { EXPRESS_WAIT } else { 0 };
        // Of all attempts of this call.
        let nonce = context.new_id();
        let request = Request::StartTask { nonce, is_express: slot.is_express, build, wait };
        slot.begin_call(address, request, context.now + START_WINDOW, context);
    }

    pub(super) fn start_answered(&mut self, index: usize, response: Response, io: &mut Io<'_>) {
        let Activity::Starting { wake_up } = self.slots[index].activity else { return };
        match response {
            Response::Granted(grant) => {
                self.slots[index].backoff = Backoff::of_calls();
                // While a task runs, its worker hides one message.
                let wake_up = wake_up.or_else(|| io.wake_ups.take(io.context));
                self.begin_attempt(index, &grant, wake_up, io);
            }
            Response::Unavailable => {
                if let Some(wake_up) = wake_up {
                    io.wake_ups.extend(wake_up, 0, io.context);
                }
                let delay = self.slots[index].backoff.next_delay(&mut io.context.random);
                self.idle(index, delay, io.context);
            }
            // There is no task, or the lease that an earlier attempt of this call was granted has expired.
            _ => {
                self.slots[index].backoff = Backoff::of_calls();
                self.no_task(index, wake_up, io);
            }
        }
    }

    fn no_task(&mut self, index: usize, wake_up: Option<Received>, io: &mut Io<'_>) {
        if let Some(wake_up) = wake_up {
            io.wake_ups.delete(wake_up, io.context);
            return self.idle(index, 1, io.context);
        }
        if self.slots[index].is_express {
            return self.idle(index, 1, io.context);
        }
        let address = self.address(index);
        let slot = &mut self.slots[index];
        slot.activity = Activity::Receiving;
        slot.epoch += 1;
        io.wake_ups.receive(address, slot.epoch, IDLE_POLL_INTERVAL, io.context);
    }

    /// A wake-up has arrived, or none within the wait.
    pub(in crate::simulation) fn wake_up_arrived(
        &mut self,
        address: SlotAddress,
        epoch: u64,
        received: Option<Received>,
        io: &mut Io<'_>,
    ) {
        let index = address.slot;
        let slot = &self.slots[index];
        if slot.epoch != epoch || !matches!(slot.activity, Activity::Receiving) {
            return;
        }
        let Some(received) = received else { return self.idle(index, 1, io.context) };
        if received.required_build != 0 && received.required_build != self.build {
            io.wake_ups.extend(received, OTHER_BUILD_RETURN_DELAY, io.context);
            return self.idle(index, OTHER_BUILD_PAUSE, io.context);
        }
        // Another slot's self-test may have failed after this wake-up was requested.
        if !self.is_healthy || self.is_stopping {
            io.wake_ups.extend(received, 0, io.context);
            return self.idle(index, 1, io.context);
        }
        self.start_task(index, Some(received), io.context);
    }
}
