//! Signal that there is work for the sweeper.

use std::sync::Arc;

use tokio::sync::Notify;

/// Wakes the sweeper. Requests during a sweep cause one more sweep.
#[derive(Clone, Default)]
pub(crate) struct SweepSignal(Arc<Notify>);

impl SweepSignal {
    /// Requests a sweep.
    pub(crate) fn request(&self) {
        self.0.notify_one();
    }

    /// Waits for a request.
    pub(crate) async fn requested(&self) {
        self.0.notified().await;
    }
}
