//! Health of this machine's encoder: decides by a self-test whether this machine caused a task's failure, and
//! keeps an unhealthy worker from taking tasks.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use reelmill_media::{Failure, FailureCause, FailureKind};
use tokio_util::sync::CancellationToken;

use crate::{backoff::Backoff, engine::Engine, scratch::Scratch};

/// Whether this machine can encode. Unhealthy, for example, while its disk is full.
pub(crate) struct EncoderHealth {
    engine: Engine,
    scratch: Arc<Scratch>,
    shutdown: CancellationToken,
    is_healthy: AtomicBool,
}

impl EncoderHealth {
    /// Healthy until a self-test fails.
    pub(crate) fn new(engine: Engine, scratch: Arc<Scratch>, shutdown: CancellationToken) -> Self {
        Self { engine, scratch, shutdown, is_healthy: AtomicBool::new(true) }
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.is_healthy.load(Ordering::Relaxed)
    }

    /// Attributes a failure to the source or to this machine. An encoder that failed may have done so on any
    /// source: if the self-test fails too, the task is handed back, which does not count as an attempt, and
    /// the worker takes no tasks until a self-test succeeds.
    pub(crate) async fn attribute(&self, failure: Failure) -> Failure {
        if !matches!(failure.kind.cause(), FailureCause::Encoder | FailureCause::File) {
            return failure;
        }
        match self.self_test().await {
            // The signal that stops the worker may have stopped its encoder first.
            Ok(()) if self.shutdown.is_cancelled() => worker_stopped(),
            Ok(()) => failure,
            Err(cause) => {
                tracing::error!(
                    cause,
                    "the encoder's self-test failed: no tasks are taken until it succeeds"
                );
                self.is_healthy.store(false, Ordering::Relaxed);
                worker_unhealthy()
            }
        }
    }

    /// Repeats the self-test until it succeeds or the worker shuts down.
    pub(crate) async fn wait_until_healthy(&self) {
        let mut backoff = Backoff::new();
        while !self.is_healthy() && !self.shutdown.is_cancelled() {
            tokio::select! {
                () = tokio::time::sleep(backoff.next_delay()) => {}
                () = self.shutdown.cancelled() => return,
            }
            match self.self_test().await {
                Ok(()) => {
                    tracing::info!("the encoder's self-test succeeded: tasks are taken again");
                    self.is_healthy.store(true, Ordering::Relaxed);
                }
                Err(cause) => tracing::debug!(cause, "the encoder's self-test failed again"),
            }
        }
    }

    /// Runs the self-test; skipped during shutdown.
    async fn self_test(&self) -> Result<(), String> {
        let scratch = self.scratch.task().map_err(|error| {
            format!("no folder for the self-test can be created in the scratch folder: {error}")
        })?;
        tokio::select! {
            tested = self.engine.self_test(scratch.path()) => tested,
            () = self.shutdown.cancelled() => Ok(()),
        }
    }
}

/// The task is handed back because the worker shuts down.
pub(crate) fn worker_stopped() -> Failure {
    Failure::new(FailureKind::WorkerStopped, "The worker was stopped. Another worker continues the task.")
}

fn worker_unhealthy() -> Failure {
    Failure::new(FailureKind::WorkerStopped, "The worker can't encode. Another worker continues the task.")
}
