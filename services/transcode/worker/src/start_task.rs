//! StartTask: leases a task from the dispatcher.

use reelmill_proto::{
    Reason,
    transcode::{Lease, StartTaskRequest, StartTaskResponse, start_task_response::Work},
    unix_millis,
};
use tokio::time::Instant;
use tonic::Status;

use crate::{
    dispatcher_client::{DispatcherClient, is_claim_rejected, reason},
    queue_message::VISIBILITY_TIMEOUT,
};

/// Leases tasks in the name of this worker.
pub(crate) struct StartTaskClient {
    pub dispatcher: DispatcherClient,
    /// Name of the worker, for logs and operators.
    pub worker_name: String,
    /// Tasks of a job are only leased to workers of one encoder build.
    pub encoder_build: String,
}

/// Result of a request for a task.
pub(crate) enum Started {
    Leased(LeasedTask),
    /// No task is waiting for this message.
    NothingToDo,
    /// The task needs another encoder build.
    OtherBuild,
    /// For a moment only other workers can start the task: this one found its file faulty.
    Reserved,
}

/// A task that this worker holds the lease of.
pub(crate) struct LeasedTask {
    pub lease: Lease,
    /// Unix time, milliseconds.
    pub expire_millis: i64,
    pub work: Work,
}

impl StartTaskClient {
    /// Leases the most urgent task of any job. `hinted_task`, the name in the message, is only a hint that there
    /// is work.
    pub(crate) async fn start(&self, hinted_task: &str) -> Result<Started, Status> {
        let request = StartTaskRequest {
            task: hinted_task.to_owned(),
            worker: self.worker_name.clone(),
            encoder_build: self.encoder_build.clone(),
            // Of all attempts of this call.
            nonce: format!("{:032x}", rand::random::<u128>()),
        };
        let deadline = Instant::now() + VISIBILITY_TIMEOUT / 2;
        match self.dispatcher.start_task(request, deadline).await {
            Ok(StartTaskResponse { lease: Some(lease), lease_expire_time, work: Some(work), .. }) => {
                tracing::info!(task = lease.task, token = lease.fencing_token, "task started");
                let expire_millis = lease_expire_time.as_ref().map_or(0, unix_millis);
                Ok(Started::Leased(LeasedTask { lease, expire_millis, work }))
            }
            Ok(_) => Err(Status::internal("the dispatcher's response has no lease or no work")),
            Err(status) if reason(&status) == Some(Reason::TaskOtherBuild) => Ok(Started::OtherBuild),
            Err(status) if reason(&status) == Some(Reason::TaskReserved) => Ok(Started::Reserved),
            Err(status) if is_claim_rejected(&status) => {
                tracing::debug!(hinted_task, %status, "nothing to do");
                Ok(Started::NothingToDo)
            }
            Err(status) => Err(status),
        }
    }
}
