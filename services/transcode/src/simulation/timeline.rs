//! The timeline of a run: its lines if it is replayed, and a hash of all events, by which two runs are compared.

use std::fmt::Write as _;

use super::event_queue::Millis;

#[derive(Debug)]
pub(super) struct Timeline {
    hash: u64,
    lines: Option<String>,
}

impl Timeline {
    /// A timeline that keeps its lines, or only their hash.
    pub(super) fn new(keeps_lines: bool) -> Self {
        Self { hash: 0xCBF2_9CE4_8422_2325, lines: keeps_lines.then(String::new) }
    }

    /// Adds numbers to the hash (FNV-1a by words).
    pub(super) fn add(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01B3);
    }

    /// Adds a line, if they are kept.
    pub(super) fn note(&mut self, now: Millis, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            let (seconds, millis) = (now / 1000, now % 1000);
            // Writing to a String does not fail.
            let _infallible = writeln!(lines, "{seconds:>6}.{millis:03} {}", line());
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn into_lines(self) -> String {
        self.lines.unwrap_or_default()
    }
}
