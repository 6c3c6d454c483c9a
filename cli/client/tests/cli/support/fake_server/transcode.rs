//! The transcode service.

use std::pin::Pin;

use futures::Stream;
use reelmill_proto::transcode::{transcode_service_server::TranscodeService, *};
use tonic::{Request, Status, async_trait};

use super::state::{FakeServer, RpcResult, not_implemented, ok};

type UpdateStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[async_trait]
impl TranscodeService for FakeServer {
    type WatchJobStream = UpdateStream<WatchJobResponse>;
    type WatchJobsStream = UpdateStream<WatchJobsResponse>;

    async fn list_jobs(&self, request: Request<ListJobsRequest>) -> RpcResult<ListJobsResponse> {
        self.authenticate(&request)?;
        let job = Job { name: "jobs/1".into(), state: job::State::Running.into(), ..Job::default() };
        self.state().listed_jobs.push(request.into_inner());
        ok(ListJobsResponse { jobs: vec![job], next_page_token: String::new() })
    }

    async fn create_job(&self, _: Request<CreateJobRequest>) -> RpcResult<CreateJobResponse> {
        not_implemented()
    }

    async fn get_job(&self, _: Request<GetJobRequest>) -> RpcResult<GetJobResponse> {
        not_implemented()
    }

    async fn check_jobs(&self, _: Request<CheckJobsRequest>) -> RpcResult<CheckJobsResponse> {
        not_implemented()
    }

    async fn delete_jobs(&self, _: Request<DeleteJobsRequest>) -> RpcResult<DeleteJobsResponse> {
        not_implemented()
    }

    async fn cancel_job(&self, request: Request<CancelJobRequest>) -> RpcResult<CancelJobResponse> {
        self.authenticate(&request)?;
        let name = request.into_inner().name;
        self.state().is_failed = true;
        ok(CancelJobResponse {
            job: Some(Job { name, state: job::State::Cancelled.into(), ..Job::default() }),
        })
    }

    async fn set_job_priority(
        &self,
        request: Request<SetJobPriorityRequest>,
    ) -> RpcResult<SetJobPriorityResponse> {
        self.authenticate(&request)?;
        let SetJobPriorityRequest { name, priority } = request.into_inner();
        ok(SetJobPriorityResponse { job: Some(Job { name, priority, ..Job::default() }) })
    }

    async fn retry_job(&self, request: Request<RetryJobRequest>) -> RpcResult<RetryJobResponse> {
        self.authenticate(&request)?;
        let request = request.into_inner();
        let job = Job { name: request.name.clone(), state: job::State::Queued.into(), ..Job::default() };
        self.state().retried.push(request);
        ok(RetryJobResponse { job: Some(job) })
    }

    async fn watch_job(&self, _: Request<WatchJobRequest>) -> RpcResult<Self::WatchJobStream> {
        not_implemented()
    }

    async fn watch_jobs(&self, _: Request<WatchJobsRequest>) -> RpcResult<Self::WatchJobsStream> {
        not_implemented()
    }
}
