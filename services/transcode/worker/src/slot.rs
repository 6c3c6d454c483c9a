//! A slot: runs one task after the other.

use std::{sync::Arc, time::Duration};

use reelmill_platform::queue::{Queue, QueueError};
use reelmill_proto::{WakeUp, transcode::TaskClass};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    dependency_breaker::DependencyBreaker,
    encoder_health::EncoderHealth,
    execute_task::TaskExecutor,
    queue_message::{HiddenMessage, VISIBILITY_TIMEOUT},
    registration::Registration,
    start_task::{LeasedTask, StartTaskClient},
};

/// How long an idle BULK slot waits for a wake-up before it asks for a task again: a wake-up can be lost.
const IDLE_POLL_INTERVAL: Duration = Duration::from_secs(5);
/// How long an EXPRESS slot's call waits for a task.
const EXPRESS_WAIT: Duration = Duration::from_secs(8);
/// How long an open call for a task is waited for after the shutdown has begun.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(2);
/// Delay before a wake-up for another encoder build is received again: time for the workers that have it, and long enough
/// that it is not received so often that it becomes a dead letter.
const OTHER_BUILD_RETURN_DELAY: Duration = Duration::from_secs(20);
/// Pause of a slot after it has received such a wake-up: there may be thousands of them.
const OTHER_BUILD_PAUSE: Duration = Duration::from_secs(1);

/// What every slot of a worker uses.
pub(crate) struct WorkerContext {
    pub queue: Arc<dyn Queue>,
    pub starter: StartTaskClient,
    pub executor: TaskExecutor,
    pub health: Arc<EncoderHealth>,
    pub breaker: Arc<DependencyBreaker>,
    pub registration: Arc<Registration>,
    pub shutdown: CancellationToken,
}

/// Runs tasks until the worker shuts down.
pub(crate) async fn run_slot(context: Arc<WorkerContext>, class: TaskClass) {
    let slot = Slot { context: &context, class };
    let mut backoff = Backoff::new();
    while !context.shutdown.is_cancelled() {
        let ready = async {
            context.health.wait_until_healthy().await;
            context.registration.wait_until_active().await;
            context.breaker.admit().await
        };
        let _admission = tokio::select! {
            admission = ready => admission,
            () = context.shutdown.cancelled() => return,
        };
        match slot.run_next().await {
            Ok(()) => backoff = Backoff::new(),
            Err(error) => {
                tracing::warn!(%error, "no task could be started");
                tokio::select! {
                    () = tokio::time::sleep(backoff.next_delay()) => {}
                    () = context.shutdown.cancelled() => return,
                }
            }
        }
    }
}

struct Slot<'a> {
    context: &'a WorkerContext,
    class: TaskClass,
}

/// What a slot has received from the queue.
enum Received {
    WakeUp(HiddenMessage),
    /// A wake-up for another encoder build, which was returned.
    OtherBuild,
    Nothing,
}

/// Why a slot has no task to run.
#[derive(Debug, thiserror::Error)]
enum SlotError {
    #[error("the dispatcher: {0}")]
    Dispatcher(#[from] tonic::Status),
    #[error("the queue: {0}")]
    Queue(#[from] QueueError),
}

impl Slot<'_> {
    /// Runs a task if there is one, or one that comes within some seconds.
    async fn run_next(&self) -> Result<(), SlotError> {
        match self.class {
            TaskClass::Express => self.run_next_express().await,
            TaskClass::Bulk | TaskClass::Unspecified => self.run_next_bulk().await,
        }
    }

    async fn run_next_express(&self) -> Result<(), SlotError> {
        let started = tokio::select! {
            started = self.context.starter.start(self.class, EXPRESS_WAIT) => started?,
            () = self.context.shutdown.cancelled() => None,
        };
        if let Some(task) = started {
            self.run_with_any_wake_up(task).await;
        }
        Ok(())
    }

    /// Starts a task if there is one. A call that is open at the shutdown may have been granted a lease, so it is dropped
    /// only if it is not answered soon: the dispatcher may be unavailable.
    async fn start_bulk(&self) -> Result<Option<LeasedTask>, tonic::Status> {
        let given_up = async {
            self.context.shutdown.cancelled().await;
            tokio::time::sleep(SHUTDOWN_WAIT).await;
        };
        tokio::select! {
            started = self.context.starter.start(self.class, Duration::ZERO) => started,
            () = given_up => Ok(None),
        }
    }

    async fn run_next_bulk(&self) -> Result<(), SlotError> {
        if let Some(task) = self.start_bulk().await? {
            self.run_with_any_wake_up(task).await;
            return Ok(());
        }
        let received = tokio::select! {
            received = self.receive_wake_up(IDLE_POLL_INTERVAL) => received?,
            () = self.context.shutdown.cancelled() => Received::Nothing,
        };
        let wake_up = match received {
            Received::WakeUp(wake_up) => wake_up,
            Received::OtherBuild => {
                tokio::select! {
                    () = tokio::time::sleep(OTHER_BUILD_PAUSE) => {}
                    () = self.context.shutdown.cancelled() => {}
                }
                return Ok(());
            }
            Received::Nothing => return Ok(()),
        };
        // Another slot's self-test may have failed after this wake-up was requested.
        if !self.context.health.is_healthy() {
            wake_up.return_after(Duration::ZERO).await;
            return Ok(());
        }
        match self.start_bulk().await {
            Ok(Some(task)) => self.context.executor.execute(task).await,
            Ok(None) => {}
            Err(error) => {
                wake_up.return_after(Duration::ZERO).await;
                return Err(error.into());
            }
        }
        wake_up.delete().await;
        Ok(())
    }

    /// Runs a task that was started without a wake-up. One is received, if there is one, and hidden until the task ends,
    /// so that the queue has as many visible messages as there are queued tasks.
    async fn run_with_any_wake_up(&self, task: LeasedTask) {
        let received = async {
            let wake_up = self.receive_wake_up(Duration::ZERO).await;
            wake_up.unwrap_or_else(|error| {
                tracing::debug!(%error, "no wake-up was taken from the queue");
                Received::Nothing
            })
        };
        let ((), wake_up) = tokio::join!(self.context.executor.execute(task), received);
        if let Received::WakeUp(wake_up) = wake_up {
            wake_up.delete().await;
        }
    }

    /// Receives a wake-up that this worker can serve.
    async fn receive_wake_up(&self, wait: Duration) -> Result<Received, QueueError> {
        let received = self.context.queue.receive(1, VISIBILITY_TIMEOUT, wait).await?;
        let Some(message) = received.into_iter().next() else { return Ok(Received::Nothing) };
        let is_served = WakeUp::from_body(&message.body).accepts(&self.context.starter.encoder_build);
        let message = HiddenMessage::new(Arc::clone(&self.context.queue), message);
        if is_served {
            return Ok(Received::WakeUp(message));
        }
        message.return_after(OTHER_BUILD_RETURN_DELAY).await;
        Ok(Received::OtherBuild)
    }
}
