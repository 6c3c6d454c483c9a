//! A slot: takes one queue message after the other and runs the task that the dispatcher leases for it.

use std::{sync::Arc, time::Duration};

use reelmill_platform::queue::{Message, Queue};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    dependency_breaker::DependencyBreaker,
    encoder_health::EncoderHealth,
    execute_task::TaskExecutor,
    queue_message::{HiddenMessage, VISIBILITY_TIMEOUT},
    start_task::{StartTaskClient, Started},
};

/// How long one receive call waits for a message.
const RECEIVE_WAIT: Duration = Duration::from_secs(20);
/// Delay before a message is received again when its task could not be started or settled.
const RETURN_DELAY: Duration = Duration::from_secs(2);
/// Delay before a message is received again when its task needs another encoder build: time for the workers
/// that have it.
const OTHER_BUILD_RETURN_DELAY: Duration = Duration::from_secs(5);

/// What every slot of a worker uses.
pub(crate) struct WorkerContext {
    pub queue: Arc<dyn Queue>,
    pub starter: StartTaskClient,
    pub executor: TaskExecutor,
    pub health: Arc<EncoderHealth>,
    pub breaker: Arc<DependencyBreaker>,
    pub shutdown: CancellationToken,
}

/// Runs tasks until the worker shuts down.
pub(crate) async fn run_slot(context: Arc<WorkerContext>) {
    let mut backoff = Backoff::new();
    while !context.shutdown.is_cancelled() {
        context.health.wait_until_healthy().await;
        let _admission = tokio::select! {
            admission = context.breaker.admit() => admission,
            () = context.shutdown.cancelled() => return,
        };
        let received = tokio::select! {
            received = context.queue.receive(1, VISIBILITY_TIMEOUT, RECEIVE_WAIT) => received,
            () = context.shutdown.cancelled() => return,
        };
        match received {
            Ok(messages) => {
                backoff = Backoff::new();
                for message in messages {
                    context.handle(message).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the queue is unavailable");
                tokio::select! {
                    () = tokio::time::sleep(backoff.next_delay()) => {}
                    () = context.shutdown.cancelled() => return,
                }
            }
        }
    }
}

impl WorkerContext {
    /// Handles one message: starts a task and runs it. The message is deleted once the dispatcher has
    /// recorded how the task ended, or has nothing to do.
    async fn handle(&self, message: Message) {
        let message = HiddenMessage::new(Arc::clone(&self.queue), message);
        // Another slot's self-test may have failed after this message was requested.
        if !self.health.is_healthy() {
            return message.return_after(RETURN_DELAY).await;
        }
        let return_delay = match self.starter.start(message.hinted_task()).await {
            Ok(Started::Leased(task)) => {
                let is_settled = self.executor.execute(task).await;
                (!is_settled).then_some(RETURN_DELAY)
            }
            Ok(Started::NothingToDo) => None,
            Ok(Started::OtherBuild) => Some(OTHER_BUILD_RETURN_DELAY),
            Ok(Started::Reserved) => Some(RETURN_DELAY),
            Err(status) => {
                tracing::warn!(hinted_task = message.hinted_task(), %status, "no task could be started");
                Some(RETURN_DELAY)
            }
        };
        match return_delay {
            None => message.delete().await,
            Some(delay) => message.return_after(delay).await,
        }
    }
}
