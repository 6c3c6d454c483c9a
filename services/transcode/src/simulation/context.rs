//! What every part of a simulation uses: the time, random numbers, pending events, the network, the timeline.

use std::collections::BTreeSet;

use super::{
    event_queue::{EventQueue, Millis},
    events::{Call, Event, Request, Response, SlotAddress},
    ledger::TaskId,
    network::{Delivery, Network},
    outages::Outages,
    random::Random,
    timeline::Timeline,
};

/// A segment that an attempt has encoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct EncodedSegment {
    pub(super) task: TaskId,
    pub(super) token: i64,
    pub(super) segment: u32,
}

pub(super) struct Context {
    /// The database's time.
    pub(super) now: Millis,
    pub(super) random: Random,
    pub(super) network: Network,
    pub(super) outages: Outages,
    pub(super) timeline: Timeline,
    /// Segments that were encoded since they were last taken.
    pub(super) encoded: Vec<EncodedSegment>,
    /// Tasks of which an encoder has reported the file as faulty once, although it is not.
    pub(super) blamed_files: BTreeSet<TaskId>,
    events: EventQueue<Event>,
    last_id: u64,
}

impl Context {
    pub(super) fn new(random: Random, network: Network, timeline: Timeline) -> Self {
        Self {
            now: 0,
            random,
            network,
            outages: Outages::default(),
            timeline,
            encoded: Vec::new(),
            blamed_files: BTreeSet::new(),
            events: EventQueue::default(),
            last_id: 0,
        }
    }

    /// The next event. The time is then that of the event.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        let (time, event) = self.events.pop()?;
        self.now = time;
        Some(event)
    }

    /// Adds an event after a delay.
    pub(super) fn after(&mut self, delay: Millis, event: Event) {
        self.events.add(self.now + delay.max(0), event);
    }

    /// Adds an event at a time.
    pub(super) fn at(&mut self, time: Millis, event: Event) {
        self.events.add(time.max(self.now), event);
    }

    /// A number that was not returned before.
    pub(super) fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Sends a call to a replica.
    pub(super) fn send_call(&mut self, replica: usize, call: Call) {
        let event = Event::CallArrives { replica, call };
        if matches!(call.request, Request::Report { .. }) {
            self.send_on_stream(call.from.worker, replica, event);
        } else {
            self.send(call.from.worker, replica, event);
        }
    }

    /// Responds to a call.
    pub(super) fn respond(&mut self, replica: usize, call: &Call, response: Response) {
        let to = call.from;
        match call.request {
            Request::Report { stream, .. } => {
                let event = Event::ReportIsAnswered { to, stream, response };
                self.send_on_stream(to.worker, replica, event);
            }
            _ => self.send(to.worker, replica, Event::ResponseArrives { to, call: call.id, response }),
        }
    }

    /// Sends a message between a worker and a replica, in either direction. It can be lost, late or duplicated.
    fn send(&mut self, worker: usize, replica: usize, event: Event) {
        match self.network.deliver(worker, replica, self.now, &mut self.random) {
            Delivery::Lost => {}
            Delivery::After(delay) => self.after(delay, event),
            Delivery::Twice(first, second) => {
                self.after(first, event);
                self.after(second, event);
            }
        }
    }

    /// Sends a message on an open stream: it can be late, but neither lost nor duplicated, unless the link is cut.
    pub(super) fn send_on_stream(&mut self, worker: usize, replica: usize, event: Event) {
        if let Some(delay) = self.network.deliver_on_stream(worker, replica, self.now, &mut self.random) {
            self.after(delay, event);
        }
    }

    /// Notes a segment that an attempt has encoded.
    pub(super) fn note_encoded(&mut self, slot: SlotAddress, encoded: EncodedSegment) {
        self.timeline.note(self.now, || {
            let EncodedSegment { task, token, segment } = encoded;
            format!("worker {}: encoded segment {segment} of {task} under token {token}", slot.worker)
        });
        self.encoded.push(encoded);
    }
}
