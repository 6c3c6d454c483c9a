//! Calls to the dispatcher that are repeated until they are answered, as in the worker's `dispatcher_client.rs`.

use super::{Slot, backoff::Backoff};
use crate::simulation::{
    context::Context,
    event_queue::Millis,
    events::{Call, Event, Request, Response, SlotAddress},
};

/// Timeout of one attempt of a call.
const CALL_TIMEOUT: Millis = 10_000;
/// Timeout of one attempt of CompleteTask.
const COMPLETE_TASK_TIMEOUT: Millis = 60_000;

/// A call that is not answered yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpenCall {
    /// Of the current attempt.
    id: u64,
    pub(super) request: Request,
    deadline: Millis,
    backoff: Backoff,
}

impl Slot {
    /// Calls a replica, and again until there is an answer or the next attempt would begin after `deadline`.
    pub(super) fn begin_call(
        &mut self,
        address: SlotAddress,
        request: Request,
        deadline: Millis,
        context: &mut Context,
    ) {
        self.call = Some(OpenCall { id: 0, request, deadline, backoff: Backoff::of_calls() });
        self.attempt_call(address, context);
    }

    fn attempt_call(&mut self, address: SlotAddress, context: &mut Context) {
        let id = context.new_id();
        let Some(call) = &mut self.call else { return };
        call.id = id;
        let timeout = match call.request {
            Request::CompleteTask { .. } => COMPLETE_TASK_TIMEOUT,
            _ => CALL_TIMEOUT,
        };
        let replica = context.network.pick_replica(address.worker, context.now, &mut context.random);
        let attempt = Call { from: address, id, request: call.request, timeout: context.now + timeout };
        context.send_call(replica, attempt);
        context.after(timeout, Event::CallTimesOut { slot: address, call: id });
    }

    /// Repeats a call after its backoff.
    pub(super) fn repeat_call(&mut self, address: SlotAddress, id: u64, context: &mut Context) {
        if self.call.is_some_and(|call| call.id == id) {
            self.attempt_call(address, context);
        }
    }

    /// The call and its final answer, if `response` is that of the current attempt.
    pub(super) fn answered(
        &mut self,
        address: SlotAddress,
        id: u64,
        response: Response,
        context: &mut Context,
    ) -> Option<(Request, Response)> {
        let call = self.call.as_mut().filter(|call| call.id == id)?;
        if matches!(response, Response::Unavailable) {
            let delay = call.backoff.next_delay(&mut context.random);
            if context.now + delay < call.deadline {
                // A later response of this attempt is dropped.
                call.id = context.new_id();
                context.after(delay, Event::CallIsRepeated { slot: address, call: call.id });
                return None;
            }
        }
        let request = call.request;
        self.call = None;
        Some((request, response))
    }
}
