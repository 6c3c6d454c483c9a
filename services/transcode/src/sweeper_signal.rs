//! Wakes the sweeper of this process.

use std::sync::Arc;

use tokio::sync::Notify;

/// Wakes [`crate::sweeper::Sweeper`] before its sleep ends. Call it after a commit that gives it something to do earlier:
/// a retry delay or a lease has a new end.
#[derive(Clone, Default)]
pub(crate) struct SweeperSignal(Arc<Notify>);

impl SweeperSignal {
    /// Wakes the sweeper, or has its next sleep end at once.
    pub(crate) fn wake(&self) {
        self.0.notify_one();
    }

    /// Waits until the sweeper is to be woken.
    pub(crate) async fn woken(&self) {
        self.0.notified().await;
    }
}
