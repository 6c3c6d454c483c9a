//! Outages of the whole dispatcher: no replica answers, or none has its database.

use super::event_queue::Millis;

/// Time within which a running worker renews its lease after an outage: the longest backoff, and the latency of late
/// messages. Shorter than the grace period by the longest sleep of the sweeper, which may have failed last so long before
/// the end of an outage.
const RECONNECT_MS: Millis = 8000;
/// A lease that was renewed so long before an outage, or later, was held by a running worker: the interval of reports,
/// and the latency of late messages.
const RENEWAL_MS: Millis = 7000;

/// The last outage.
#[derive(Debug, Default)]
pub(super) struct ServiceOutage {
    began: Option<Millis>,
    last: Option<(Millis, Millis)>,
}

impl ServiceOutage {
    /// Notes whether the dispatcher serves.
    pub(super) fn note(&mut self, serves: bool, now: Millis) {
        if !serves {
            self.began.get_or_insert(now);
        } else if let Some(began) = self.began.take() {
            self.last = Some((began, now));
        }
    }

    /// When the outage began that ended so recently that running workers may not have renewed their leases since.
    pub(super) fn that_ended_just_before(&self, now: Millis) -> Option<Millis> {
        let (began, ended) = self.last.filter(|_| self.began.is_none())?;
        (now - ended < RECONNECT_MS).then_some(began)
    }

    /// Whether a lease that was renewed last at `renewed` was held by a running worker when an outage began.
    pub(super) fn was_renewing(&self, renewed: Millis, began: Millis) -> bool {
        renewed >= began - RENEWAL_MS
    }
}
