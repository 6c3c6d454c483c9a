//! Records uploaded outputs in batches: one call is in flight at a time, and the next one takes all outputs that
//! were uploaded during it.

use std::{sync::Arc, time::Duration};

use reelmill_media::{Failure, FailureCause};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    backoff::RetryWindow,
    engine::{
        failure::{crashed, output_failed},
        output::sink::{Output, OutputSink},
    },
};

/// Most outputs of one call.
const MAX_BATCH_OUTPUTS: usize = 500;

/// Records the outputs of one task. Dropping it stops it.
pub(crate) struct RecordBatcher {
    uploaded: mpsc::UnboundedSender<Output>,
    running: AbortOnDropHandle<Result<(), Failure>>,
}

/// Passes uploaded outputs to the [`RecordBatcher`].
#[derive(Clone)]
pub(crate) struct RecordBatcherHandle(mpsc::UnboundedSender<Output>);

impl RecordBatcherHandle {
    /// Records an output in the background. Errors are returned by [`RecordBatcher::finish`].
    pub(crate) fn record(&self, output: Output) {
        // A batcher that has failed accepts no outputs; `finish` returns its error.
        let _failed = self.0.send(output);
    }
}

impl RecordBatcher {
    /// Starts a batcher that retries a failed call for `retry_window`.
    pub(crate) fn start(sink: Arc<dyn OutputSink>, retry_window: Duration) -> Self {
        let (uploaded, outputs) = mpsc::unbounded_channel();
        let running = tokio::spawn(record_batches(sink, outputs, retry_window));
        Self { uploaded, running: AbortOnDropHandle::new(running) }
    }

    pub(crate) fn handle(&self) -> RecordBatcherHandle {
        RecordBatcherHandle(self.uploaded.clone())
    }

    /// Waits until everything is recorded. All [`RecordBatcherHandle`]s must have been dropped.
    ///
    /// # Errors
    /// When an output could not be recorded.
    pub(crate) async fn finish(self) -> Result<(), Failure> {
        drop(self.uploaded);
        self.running.await.map_err(|error| crashed(&error))?
    }
}

async fn record_batches(
    sink: Arc<dyn OutputSink>,
    mut outputs: mpsc::UnboundedReceiver<Output>,
    retry_window: Duration,
) -> Result<(), Failure> {
    let mut batch = Vec::new();
    while outputs.recv_many(&mut batch, MAX_BATCH_OUTPUTS).await > 0 {
        let mut retries = RetryWindow::new(retry_window);
        while let Err(error) = sink.record(&batch).await {
            let is_transient = error.kind.cause() == FailureCause::Dependency;
            if !is_transient || !retries.wait_for_retry().await {
                return Err(output_failed(&error));
            }
        }
        batch.clear();
    }
    Ok(())
}
