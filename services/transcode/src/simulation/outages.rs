//! Outages of dependencies: the database, the object store, the queue, pub/sub.

use super::event_queue::Millis;

/// Ends of the last outages.
#[derive(Debug, Default)]
pub(super) struct Outages {
    pub(super) database: Millis,
    pub(super) object_store: Millis,
    pub(super) queue: Millis,
    pub(super) pub_sub: Millis,
}
