//! Registers this worker with the dispatcher again and again, and learns whether it shall drain.

use std::{sync::Arc, time::Duration};

use reelmill_proto::{std_duration, transcode::RegisterWorkerRequest};
use tokio::sync::watch;

use crate::{backoff::Backoff, dispatcher_client::DispatcherClient};

/// Shortest interval between two calls.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// The registration of this worker.
pub(crate) struct Registration {
    dispatcher: DispatcherClient,
    worker: RegisterWorkerRequest,
    /// False until the worker is registered.
    is_active: watch::Sender<bool>,
}

impl Registration {
    pub(crate) fn new(dispatcher: DispatcherClient, worker: RegisterWorkerRequest) -> Arc<Self> {
        Arc::new(Self { dispatcher, worker, is_active: watch::Sender::new(false) })
    }

    /// Calls the dispatcher at the interval that it asks for, for ever.
    pub(crate) async fn run(&self) {
        let mut backoff = Backoff::new();
        loop {
            let pause = match self.dispatcher.register_worker(self.worker.clone()).await {
                Ok(response) => {
                    backoff = Backoff::new();
                    self.set_active(!response.draining);
                    response.interval.as_ref().map_or(INTERVAL_MIN, std_duration).max(INTERVAL_MIN)
                }
                Err(status) => {
                    tracing::debug!(%status, "the worker was not registered: retrying");
                    backoff.next_delay()
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Waits until the worker is registered and may take tasks.
    pub(crate) async fn wait_until_active(&self) {
        let mut is_active = self.is_active.subscribe();
        // The sender is a field: it is not dropped.
        let _active = is_active.wait_for(|is_active| *is_active).await;
    }

    fn set_active(&self, is_active: bool) {
        if self.is_active.send_replace(is_active) != is_active {
            tracing::info!(
                is_active,
                worker = self.worker.name,
                "whether this worker takes tasks has changed"
            );
        }
    }
}
