//! Client of the transcode service's dispatcher (`WorkerService`): one method per call, with its timeout
//! and retries.

use std::time::Duration;

use reelmill_mesh::{Channel, reason_of};
use reelmill_proto::{
    Reason,
    transcode::{
        CompleteTaskRequest, CompleteTaskResponse, FailTaskRequest, FailTaskResponse, ListSegmentsRequest,
        ListSegmentsResponse, PlanJobRequest, PlanJobResponse, RecordOutputsRequest, RegisterWorkerRequest,
        RegisterWorkerResponse, ReportProgressRequest, ReportProgressResponse, SignOutputsRequest,
        SignOutputsResponse, StartTaskRequest, StartTaskResponse, worker_service_client::WorkerServiceClient,
    },
};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Response, Status, Streaming};

use crate::backoff::Backoff;

/// Timeout of one attempt of a call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of one attempt of CompleteTask: longer, because the call waits for the lock of its job, and a task whose
/// completion cannot be reported is executed again.
const COMPLETE_TASK_TIMEOUT: Duration = Duration::from_secs(60);

/// A client of the dispatcher. Methods with a deadline retry until then.
#[derive(Clone)]
pub(crate) struct DispatcherClient(WorkerServiceClient<Channel>);

impl DispatcherClient {
    pub(crate) fn new(client: WorkerServiceClient<Channel>) -> Self {
        Self(client)
    }

    /// Registers this worker. One attempt: it is repeated anyway.
    pub(crate) async fn register_worker(
        &self,
        request: RegisterWorkerRequest,
    ) -> Result<RegisterWorkerResponse, Status> {
        let mut client = self.0.clone();
        let response = tokio::time::timeout(CALL_TIMEOUT, client.register_worker(request)).await;
        let response = response.map_err(|_| Status::deadline_exceeded("no response in time"))?;
        response.map(Response::into_inner)
    }

    /// Requests a lease.
    pub(crate) async fn start_task(
        &self,
        request: StartTaskRequest,
        deadline: Instant,
    ) -> Result<StartTaskResponse, Status> {
        let call = || {
            let (mut client, request) = (self.0.clone(), request.clone());
            async move { client.start_task(request).await }
        };
        retry_until(deadline, CALL_TIMEOUT, call).await
    }

    /// Reports what the source is, and receives the plan.
    pub(crate) async fn plan_job(
        &self,
        request: PlanJobRequest,
        deadline: Instant,
    ) -> Result<PlanJobResponse, Status> {
        let call = || {
            let (mut client, request) = (self.0.clone(), request.clone());
            async move { client.plan_job(request).await }
        };
        retry_until(deadline, CALL_TIMEOUT, call).await
    }

    /// Lists one page of recorded segments.
    pub(crate) async fn list_segments(
        &self,
        request: ListSegmentsRequest,
        deadline: Instant,
    ) -> Result<ListSegmentsResponse, Status> {
        let call = || {
            let (mut client, request) = (self.0.clone(), request.clone());
            async move { client.list_segments(request).await }
        };
        retry_until(deadline, CALL_TIMEOUT, call).await
    }

    /// Presigns PUT URLs. One attempt: the sink has its own retries.
    pub(crate) async fn sign_outputs(
        &self,
        request: SignOutputsRequest,
    ) -> Result<SignOutputsResponse, Status> {
        self.0.clone().sign_outputs(request).await.map(Response::into_inner)
    }

    /// Records uploaded outputs. One attempt: the engine's `RecordBatcher` has its own retries.
    pub(crate) async fn record_outputs(&self, request: RecordOutputsRequest) -> Result<(), Status> {
        self.0.clone().record_outputs(request).await.map(drop)
    }

    /// Opens a progress stream, which also renews the lease.
    pub(crate) async fn report_progress(
        &self,
        reports: mpsc::Receiver<ReportProgressRequest>,
    ) -> Result<Streaming<ReportProgressResponse>, Status> {
        self.0.clone().report_progress(ReceiverStream::new(reports)).await.map(Response::into_inner)
    }

    /// Ends a task as completed.
    pub(crate) async fn complete_task(
        &self,
        request: CompleteTaskRequest,
        deadline: Instant,
    ) -> Result<CompleteTaskResponse, Status> {
        let call = || {
            let (mut client, request) = (self.0.clone(), request.clone());
            async move { client.complete_task(request).await }
        };
        retry_until(deadline, COMPLETE_TASK_TIMEOUT, call).await
    }

    /// Ends a task, or this attempt of it, as failed.
    pub(crate) async fn fail_task(
        &self,
        request: FailTaskRequest,
        deadline: Instant,
    ) -> Result<FailTaskResponse, Status> {
        let call = || {
            let (mut client, request) = (self.0.clone(), request.clone());
            async move { client.fail_task(request).await }
        };
        retry_until(deadline, CALL_TIMEOUT, call).await
    }
}

/// The reason that the dispatcher gave for an error.
fn reason(status: &Status) -> Option<Reason> {
    reason_of(status).and_then(|reason| Reason::from_str_name(&reason))
}

/// Whether the dispatcher rejected this worker's claim on the task: its lease was lost, or its job was restarted.
pub(crate) fn is_claim_rejected(status: &Status) -> bool {
    matches!(reason(status), Some(Reason::LeaseLost | Reason::TaskNotFound))
}

/// Whether the call failed for this reason.
pub(crate) fn has_reason(status: &Status, expected: Reason) -> bool {
    reason(status) == Some(expected)
}

/// Whether a retry of the same call can succeed.
pub(crate) fn is_transient(status: &Status) -> bool {
    let is_permanent = matches!(
        status.code(),
        Code::InvalidArgument
            | Code::NotFound
            | Code::FailedPrecondition
            | Code::Unimplemented
            | Code::PermissionDenied
    );
    !is_permanent && !is_claim_rejected(status)
}

/// Whether the dispatcher did not answer, as opposed to having rejected the call or failed in it.
pub(crate) fn is_unavailable(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::ResourceExhausted
    )
}

/// Calls until there is a response or a permanent error, or until the next attempt would begin after
/// `deadline`.
async fn retry_until<T, F>(deadline: Instant, timeout: Duration, call: impl Fn() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let mut backoff = Backoff::new();
    loop {
        let status = match tokio::time::timeout(timeout, call()).await {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            Ok(Err(status)) if !is_transient(&status) => return Err(status),
            Ok(Err(status)) => status,
            Err(_) => Status::deadline_exceeded("the dispatcher did not respond in time"),
        };
        let delay = backoff.next_delay();
        if Instant::now() + delay >= deadline {
            return Err(status);
        }
        tracing::debug!(%status, ?delay, "retrying a call to the dispatcher");
        tokio::time::sleep(delay).await;
    }
}
