//! Client of the transcode service.

use std::time::Duration;

use reelmill_mesh::Channel;
use reelmill_proto::transcode::{
    CancelJobRequest, CreateJobRequest, Job, WatchJobsRequest, WatchJobsResponse,
    transcode_service_client::TranscodeServiceClient,
};
use tonic::{Code, Request, Status, Streaming};

/// Short: the calling request can succeed without transcode.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Client of the transcode service.
#[derive(Clone)]
pub(crate) struct TranscodeClient {
    client: TranscodeServiceClient<Channel>,
}

impl TranscodeClient {
    pub(crate) fn new(channel: Channel) -> Self {
        Self { client: TranscodeServiceClient::new(channel) }
    }

    /// Creates a job. The same `request_id` returns the same job.
    pub(crate) async fn create_job(&self, request: CreateJobRequest) -> Result<Job, Status> {
        let response = self.client.clone().create_job(with_timeout(request)).await?.into_inner();
        response.job.ok_or_else(|| Status::internal("CreateJobResponse contains no job"))
    }

    /// Cancels a job. An ended or unknown job is not an error.
    pub(crate) async fn cancel_job(&self, job: &str) -> Result<(), Status> {
        let request = CancelJobRequest { name: job.to_owned() };
        match self.client.clone().cancel_job(with_timeout(request)).await {
            Err(status) if status.code() != Code::NotFound => Err(status),
            _ => Ok(()),
        }
    }

    /// Streams the changes of all jobs after `revision`.
    pub(crate) async fn watch_jobs(&self, revision: i64) -> Result<Streaming<WatchJobsResponse>, Status> {
        let request = with_timeout(WatchJobsRequest { revision });
        Ok(self.client.clone().watch_jobs(request).await?.into_inner())
    }
}

fn with_timeout<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}
