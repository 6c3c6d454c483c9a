//! What was done when, in seconds since the start.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use serde_json::{Value, json};

/// Events in the order in which they happened. Each is printed, too.
pub struct Timeline {
    start: Instant,
    events: Mutex<Vec<(f64, String)>>,
}

impl Timeline {
    pub fn new() -> Self {
        Self { start: Instant::now(), events: Mutex::default() }
    }

    /// Adds and prints an event.
    pub fn add(&self, event: impl Into<String>) {
        let (at, event) = (self.start.elapsed().as_secs_f64(), event.into());
        println!("{at:8.2} {event}");
        self.events().push((at, event));
    }

    /// All events: `[{"at": SECONDS, "event": TEXT}]`.
    pub fn json(&self) -> Value {
        self.events().iter().map(|(at, event)| json!({"at": at, "event": event})).collect()
    }

    fn events(&self) -> MutexGuard<'_, Vec<(f64, String)>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
