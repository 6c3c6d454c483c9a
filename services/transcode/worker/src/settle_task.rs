//! CompleteTask and FailTask: reports how a task ended.

use reelmill_media::Failure;
use reelmill_proto::{
    Reason,
    transcode::{self as proto, CompleteTaskRequest, FailTaskRequest, Lease},
};
use tokio::{sync::watch, time::Instant};
use tonic::Status;

use crate::{
    convert,
    dispatcher_client::{DispatcherClient, has_reason},
    engine::{Completion, Snapshot, worker_failed},
};

/// How a task ended.
pub(crate) type TaskOutcome = Result<Completion, Failure>;

/// Reports the outcome of one task.
pub(crate) struct TaskSettler<'a> {
    pub dispatcher: &'a DispatcherClient,
    pub lease: &'a Lease,
    pub snapshots: watch::Receiver<Snapshot>,
}

impl TaskSettler<'_> {
    /// Reports the outcome, with retries until `deadline`.
    pub(crate) async fn settle(&self, outcome: TaskOutcome, deadline: Instant) {
        let reported = match outcome {
            Ok(completion) => self.complete(&completion, deadline).await,
            Err(failure) => self.fail(failure, deadline).await,
        };
        if let Err(status) = reported {
            tracing::warn!(task = self.lease.task, %status, "the task's outcome could not be reported");
        }
    }

    async fn complete(&self, completion: &Completion, deadline: Instant) -> Result<(), Status> {
        let warnings: Vec<_> =
            completion.warnings.iter().map(|warning| convert::reason(warning.kind).as_str_name()).collect();
        tracing::info!(task = self.lease.task, ?warnings, "task completed");
        let request = CompleteTaskRequest {
            lease: Some(self.lease.clone()),
            // The engine has recorded them all.
            outputs: Vec::new(),
            warnings: completion.warnings.iter().map(convert::warning).collect(),
            segments: completion.segments.iter().map(convert::segment_count).collect(),
        };
        match self.dispatcher.complete_task(request, deadline).await {
            Err(status) if has_reason(&status, Reason::SegmentsMissing) => {
                tracing::error!(task = self.lease.task, %status, "segments were not recorded");
                self.fail(worker_failed(), deadline).await
            }
            completed => completed.map(drop),
        }
    }

    async fn fail(&self, failure: Failure, deadline: Instant) -> Result<(), Status> {
        let reason = convert::reason(failure.kind).as_str_name();
        let percent = self.snapshots.borrow().percent;
        tracing::info!(task = self.lease.task, reason, percent, "task failed");
        let request = FailTaskRequest {
            lease: Some(self.lease.clone()),
            cause: convert::cause(failure.kind.cause()).into(),
            failure: Some(proto::Failure { reason: reason.into(), message: failure.message }),
        };
        self.dispatcher.fail_task(request, deadline).await.map(drop)
    }
}
