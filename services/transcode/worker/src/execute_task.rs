//! Executes a leased task: the task runner and the lease renewal side by side, then the report of the
//! outcome.

use std::{sync::Arc, time::Duration};

use reelmill_proto::transcode::{Lease, start_task_response::Work};
use tokio::task::JoinError;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    convert,
    dependency_breaker::DependencyBreaker,
    dispatcher_client::DispatcherClient,
    encoder_health::{EncoderHealth, worker_stopped},
    engine::{Engine, ProgressPublisher, scratch_failed, worker_failed},
    lease_renewal::LeaseRenewal,
    scratch::Scratch,
    settle_task::{TaskOutcome, TaskSettler},
    start_task::LeasedTask,
    task_runner::TaskRunner,
};

/// Executes leased tasks.
pub(crate) struct TaskExecutor {
    pub dispatcher: DispatcherClient,
    pub engine: Engine,
    pub scratch: Arc<Scratch>,
    pub health: Arc<EncoderHealth>,
    pub breaker: Arc<DependencyBreaker>,
    pub shutdown: CancellationToken,
    /// How long a task may continue after the worker is asked to shut down.
    pub drain: Duration,
}

impl TaskExecutor {
    /// Executes a task until its outcome is reported or its lease is lost.
    pub(crate) async fn execute(&self, task: LeasedTask) {
        let LeasedTask { lease, expire_millis, work } = task;
        let (progress, snapshots) = ProgressPublisher::new();
        let renewal =
            LeaseRenewal::new(self.dispatcher.clone(), lease.clone(), expire_millis, snapshots.clone());
        let settler = TaskSettler { dispatcher: &self.dispatcher, lease: &lease, snapshots };
        let deadline = renewal.deadline();
        let run_and_settle = async {
            let mut outcome = self.run(&lease, work, progress).await;
            if let Err(failure) = outcome {
                outcome = Err(self.health.attribute(failure).await);
            }
            self.breaker.task_ended(&outcome);
            let deadline = *deadline.borrow();
            settler.settle(outcome, deadline).await;
        };
        tokio::select! {
            // A task that was completed has no lease any more.
            biased;
            () = run_and_settle => {}
            loss = renewal.run() => {
                tracing::info!(task = lease.task, ?loss, "the lease was lost: task dropped");
            }
        }
    }

    /// Runs the task until it ends or the worker's drain time is over.
    async fn run(&self, lease: &Lease, work: Work, progress: ProgressPublisher) -> TaskOutcome {
        let scratch = self.scratch.task().map_err(|error| {
            tracing::error!(%error, "no folder for the task can be created in the scratch folder");
            scratch_failed(&error)
        })?;
        let runner =
            TaskRunner::new(self.engine.clone(), self.dispatcher.clone(), lease.clone(), scratch, progress);
        // A tokio task of its own, so that a panic ends this task only.
        let running = AbortOnDropHandle::new(tokio::spawn(runner.run(work)));
        let drained = async {
            self.shutdown.cancelled().await;
            tokio::time::sleep(self.drain).await;
        };
        tokio::select! {
            joined = running => self.outcome(joined),
            () = drained => Err(worker_stopped()),
        }
    }

    fn outcome(&self, joined: Result<TaskOutcome, JoinError>) -> TaskOutcome {
        let failure = match joined {
            Ok(Ok(completion)) => return Ok(completion),
            Ok(Err(failure)) => failure,
            Err(panic) => {
                tracing::error!(%panic, "the task runner panicked");
                worker_failed()
            }
        };
        if !self.shutdown.is_cancelled() {
            return Err(failure);
        }
        // The signal that stops the worker may have stopped its encoder too: the source is not the cause.
        let reason = convert::reason(failure.kind).as_str_name();
        tracing::info!(reason, "the task failed during shutdown");
        Err(worker_stopped())
    }
}
