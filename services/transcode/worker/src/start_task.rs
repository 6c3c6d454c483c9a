//! StartTask: leases a task from the dispatcher.

use std::time::Duration;

use reelmill_proto::{
    duration,
    transcode::{Lease, StartTaskRequest, StartTaskResponse, TaskClass, start_task_response::Work},
    unix_millis,
};
use tokio::time::Instant;
use tonic::Status;

use crate::dispatcher_client::{DispatcherClient, is_claim_rejected};

/// How long a call is repeated while the dispatcher does not answer.
const START_WINDOW: Duration = Duration::from_secs(30);

/// Leases tasks in the name of this worker.
pub(crate) struct StartTaskClient {
    pub dispatcher: DispatcherClient,
    /// Name of the worker, for logs and operators.
    pub worker_name: String,
    /// Tasks of a job are only leased to workers of one encoder build.
    pub encoder_build: String,
}

/// A task that this worker holds the lease of.
pub(crate) struct LeasedTask {
    pub lease: Lease,
    /// Unix time, milliseconds.
    pub expire_millis: i64,
    pub work: Work,
}

impl StartTaskClient {
    /// Leases the task that is next for a slot of this class; none if none comes within `wait`.
    pub(crate) async fn start(&self, slot: TaskClass, wait: Duration) -> Result<Option<LeasedTask>, Status> {
        let request = StartTaskRequest {
            worker: self.worker_name.clone(),
            encoder_build: self.encoder_build.clone(),
            // Of all attempts of this call.
            nonce: format!("{:032x}", rand::random::<u128>()),
            slot_class: slot.into(),
            wait: Some(duration(wait)),
        };
        match self.dispatcher.start_task(request, Instant::now() + START_WINDOW).await {
            Ok(StartTaskResponse { lease: Some(lease), lease_expire_time, work: Some(work), .. }) => {
                tracing::info!(task = lease.task, token = lease.fencing_token, "task started");
                let expire_millis = lease_expire_time.as_ref().map_or(0, unix_millis);
                Ok(Some(LeasedTask { lease, expire_millis, work }))
            }
            Ok(StartTaskResponse { lease: None, .. }) => Ok(None),
            Ok(_) => Err(Status::internal("the dispatcher's response has no work")),
            // The lease of an earlier attempt of this call has expired meanwhile.
            Err(status) if is_claim_rejected(&status) => Ok(None),
            Err(status) => Err(status),
        }
    }
}
