//! The events of the future, in the order of their time.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Simulated time, milliseconds.
pub(super) type Millis = i64;

/// Events by time. Those of the same time are in the order in which they were added.
pub(super) struct EventQueue<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    added: u64,
}

struct Entry<E> {
    time: Millis,
    number: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.time, self.number) == (other.time, other.number)
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.time, self.number).cmp(&(other.time, other.number))
    }
}

impl<E> Default for EventQueue<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), added: 0 }
    }
}

impl<E> EventQueue<E> {
    pub(super) fn add(&mut self, time: Millis, event: E) {
        self.added += 1;
        self.heap.push(Reverse(Entry { time, number: self.added, event }));
    }

    /// The next event and its time.
    pub(super) fn pop(&mut self) -> Option<(Millis, E)> {
        self.heap.pop().map(|Reverse(entry)| (entry.time, entry.event))
    }
}
