//! Records outputs as they are put, in batches: one call is on its way at a time, and the next takes all that came
//! meanwhile.

use super::sink::{Output, OutputSink};
use super::store_unavailable;
use crate::patience::Patience;
use reelmill_media::Failure;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// The most outputs of one call.
const BATCH: usize = 500;

/// The recorder of a task. Dropping it stops it.
pub(super) struct Recorder {
    put: mpsc::UnboundedSender<Output>,
    running: AbortOnDropHandle<Result<(), Failure>>,
}

/// Tells the recorder what was put.
#[derive(Clone)]
pub(super) struct Recording(mpsc::UnboundedSender<Output>);

impl Recording {
    /// Records an output soon. Its failure is told when the recorder is finished.
    pub fn record(&self, output: Output) {
        // A recorder that has failed takes nothing more, and says so at the end.
        let _failed = self.0.send(output);
    }
}

impl Recorder {
    pub fn start(sink: Arc<dyn OutputSink>, patience: Duration) -> Self {
        let (put, outputs) = mpsc::unbounded_channel();
        Self { put, running: AbortOnDropHandle::new(tokio::spawn(run(sink, outputs, patience))) }
    }

    pub fn handle(&self) -> Recording {
        Recording(self.put.clone())
    }

    /// Waits until all is recorded. Every [`Recording`] must have been dropped.
    ///
    /// # Errors
    /// When something could not be recorded.
    pub async fn finish(self) -> Result<(), Failure> {
        drop(self.put);
        self.running.await.map_err(|error| super::crashed(&error))?
    }
}

async fn run(
    sink: Arc<dyn OutputSink>,
    mut outputs: mpsc::UnboundedReceiver<Output>,
    lasts: Duration,
) -> Result<(), Failure> {
    let mut batch = Vec::new();
    while outputs.recv_many(&mut batch, BATCH).await > 0 {
        let mut patience = Patience::new(lasts);
        while let Err(error) = sink.record(&batch).await {
            if !patience.try_again().await {
                return Err(store_unavailable(&error));
            }
        }
        batch.clear();
    }
    Ok(())
}
