//! The queue of wake-ups. Messages can be lost, late, duplicated, in any order, and purged.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    context::Context,
    event_queue::Millis,
    events::{Event, Received, SlotAddress},
    ledger::Build,
};

/// Visibility timeout of a received message, as in the worker's `queue_message.rs`.
pub(super) const VISIBILITY_TIMEOUT: Millis = 60_000;
/// Deliveries after which a message becomes a dead letter.
const MAX_RECEIVES: u32 = 10;

struct Message {
    required_build: Build,
    receives: u32,
    /// Increases with every delivery and extension; older timers have no effect.
    timer: u32,
    /// Of the last delivery.
    receipt: u32,
}

/// The queue, and the slots that wait for a message.
#[derive(Default)]
pub(super) struct WakeUpQueue {
    messages: BTreeMap<u64, Message>,
    visible: BTreeSet<u64>,
    receivers: VecDeque<(SlotAddress, u64)>,
    last_message: u64,
}

impl WakeUpQueue {
    /// Sends a wake-up.
    pub(super) fn send(&mut self, required_build: Build, context: &mut Context) {
        let now = context.now;
        if context.outages.queue > now || context.network.loses_notification(now, &mut context.random) {
            return;
        }
        let copies = 1 + u32::from(context.network.duplicates_notification(now, &mut context.random));
        for _ in 0..copies {
            let delay = context.network.delay(now, &mut context.random);
            context.after(delay, Event::WakeUpIsSent { required_build });
        }
    }

    /// A wake-up has arrived in the queue.
    pub(super) fn arrive(&mut self, required_build: Build, context: &mut Context) {
        self.last_message += 1;
        let message = Message { required_build, receives: 0, timer: 0, receipt: 0 };
        self.messages.insert(self.last_message, message);
        self.show(self.last_message, context);
    }

    /// A visibility timeout has ended.
    pub(super) fn timer_ended(&mut self, message: u64, timer: u32, context: &mut Context) {
        if self.messages.get(&message).is_some_and(|message| message.timer == timer) {
            self.show(message, context);
        }
    }

    fn show(&mut self, message: u64, context: &mut Context) {
        self.visible.insert(message);
        if context.outages.queue > context.now {
            return;
        }
        if let Some((slot, epoch)) = self.receivers.pop_front() {
            self.deliver(slot, epoch, context);
        }
    }

    /// Delivers a visible message, in any order, to a slot.
    fn deliver(&mut self, to: SlotAddress, epoch: u64, context: &mut Context) {
        let received = self.take(context);
        let delay = context.network.delay(context.now, &mut context.random);
        context.after(delay, Event::WakeUpArrives { to, epoch, received });
    }

    /// Takes a visible message, if there is one, and hides it.
    pub(super) fn take(&mut self, context: &mut Context) -> Option<Received> {
        if context.outages.queue > context.now {
            return None;
        }
        while !self.visible.is_empty() {
            let skipped = context.random.below(self.visible.len().min(8));
            let id = self.visible.iter().nth(skipped).copied()?;
            self.visible.remove(&id);
            let Some(message) = self.messages.get_mut(&id) else { continue };
            message.receives += 1;
            if message.receives > MAX_RECEIVES {
                self.messages.remove(&id);
                continue;
            }
            message.receipt += 1;
            let (receipt, required_build) = (message.receipt, message.required_build);
            self.hide(id, VISIBILITY_TIMEOUT, context);
            return Some(Received { message: id, receipt, required_build });
        }
        None
    }

    fn hide(&mut self, id: u64, timeout: Millis, context: &mut Context) {
        let Some(message) = self.messages.get_mut(&id) else { return };
        message.timer += 1;
        context.after(timeout, Event::WakeUpIsVisible { message: id, receipt: message.timer });
    }

    /// Receives a message for a slot, or waits for one.
    pub(super) fn receive(&mut self, slot: SlotAddress, epoch: u64, wait: Millis, context: &mut Context) {
        if self.visible.is_empty() || context.outages.queue > context.now {
            self.receivers.push_back((slot, epoch));
            context.after(wait, Event::ReceiveEnds { slot, epoch });
        } else {
            self.deliver(slot, epoch, context);
        }
    }

    /// The wait of a slot for a message is over.
    pub(super) fn end_receive(&mut self, slot: SlotAddress, epoch: u64, context: &mut Context) {
        let Some(position) = self.receivers.iter().position(|waiting| *waiting == (slot, epoch)) else {
            return;
        };
        self.receivers.remove(position);
        context.after(1, Event::WakeUpArrives { to: slot, epoch, received: None });
    }

    /// Hides a message for longer, or makes it visible after `timeout`.
    pub(super) fn extend(&mut self, received: Received, timeout: Millis, context: &mut Context) {
        let is_current =
            self.messages.get(&received.message).is_some_and(|message| message.receipt == received.receipt);
        if is_current && !self.visible.contains(&received.message) && context.outages.queue <= context.now {
            self.hide(received.message, timeout, context);
        }
    }

    /// Deletes a message.
    pub(super) fn delete(&mut self, received: Received, context: &Context) {
        let is_current =
            self.messages.get(&received.message).is_some_and(|message| message.receipt == received.receipt);
        if is_current && context.outages.queue <= context.now {
            self.messages.remove(&received.message);
            self.visible.remove(&received.message);
        }
    }

    /// Number of visible messages.
    pub(super) fn visible(&self) -> usize {
        self.visible.len()
    }

    /// Deletes all messages.
    pub(super) fn purge(&mut self) {
        self.messages.clear();
        self.visible.clear();
    }
}
