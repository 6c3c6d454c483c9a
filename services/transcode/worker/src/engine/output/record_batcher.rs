//! Records uploaded outputs in batches: one call is in flight at a time, and the next one takes all outputs that
//! were uploaded since. The first outputs are recorded at once, because they make the video playable.

use std::{sync::Arc, time::Duration};

use reelmill_media::{Failure, FailureCause};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
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

/// Outputs of a task that are recorded without delay.
const UNDELAYED_OUTPUTS: usize = 8;
/// Shortest interval between the calls that follow. Playlists are not written more often than each second.
const CALL_INTERVAL: Duration = Duration::from_millis(500);

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
    let (mut recorded, mut next_call) = (0, Instant::now());
    while outputs.recv_many(&mut batch, MAX_BATCH_OUTPUTS).await > 0 {
        if recorded >= UNDELAYED_OUTPUTS {
            receive_until(next_call, &mut outputs, &mut batch).await;
        }
        let mut retries = RetryWindow::new(retry_window);
        while let Err(error) = sink.record(&batch).await {
            let is_transient = error.kind.cause() == FailureCause::Dependency;
            if !is_transient || !retries.wait_for_retry().await {
                return Err(output_failed(&error));
            }
        }
        recorded += batch.len();
        next_call = Instant::now() + CALL_INTERVAL;
        batch.clear();
    }
    Ok(())
}

/// Receives more outputs until a time; not longer when none follow, or the batch is full.
async fn receive_until(end: Instant, outputs: &mut mpsc::UnboundedReceiver<Output>, batch: &mut Vec<Output>) {
    while batch.len() < MAX_BATCH_OUTPUTS {
        let limit = MAX_BATCH_OUTPUTS - batch.len();
        match timeout_at(end, outputs.recv_many(batch, limit)).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn receive_until_collects_up_to_the_time_or_the_end() {
        let output = || Output {
            name: String::new(),
            rendition: String::new(),
            size_bytes: 0,
            kind: crate::engine::output::sink::OutputKind::Poster,
        };
        let (sender, mut outputs) = mpsc::unbounded_channel();
        let mut batch = Vec::new();
        let began = Instant::now();
        let end = began + CALL_INTERVAL;
        let _ = sender.send(output());
        let sending = async {
            tokio::time::sleep(CALL_INTERVAL / 2).await;
            let _ = sender.send(output());
        };
        tokio::join!(receive_until(end, &mut outputs, &mut batch), sending);
        assert!(batch.len() == 2 && began.elapsed() >= CALL_INTERVAL, "until the time");
        drop(sender);
        let later = Instant::now() + CALL_INTERVAL * 100;
        receive_until(later, &mut outputs, &mut batch).await;
        assert!(Instant::now() < later, "no output follows");
    }
}
