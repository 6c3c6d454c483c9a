//! Client of the transcode service.

use std::time::Duration;

use reelmill_mesh::Channel;
use reelmill_proto::transcode::{
    CheckJobsRequest, CheckJobsResponse, CreateJobRequest, DeleteJobsRequest, Job, KnownJob,
    WatchJobsRequest, WatchJobsResponse, transcode_service_client::TranscodeServiceClient,
};
use tonic::{Request, Status, Streaming};

use crate::domain::resource_name::video_name;

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

    /// Cancels and deletes the jobs of a video.
    pub(crate) async fn delete_jobs(&self, video: &str) -> Result<(), Status> {
        let request = DeleteJobsRequest { video: video_name(video) };
        self.client.clone().delete_jobs(with_timeout(request)).await.map(drop)
    }

    /// Compares jobs with what is known of them.
    pub(crate) async fn check_jobs(&self, jobs: Vec<KnownJob>) -> Result<CheckJobsResponse, Status> {
        let request = with_timeout(CheckJobsRequest { jobs });
        Ok(self.client.clone().check_jobs(request).await?.into_inner())
    }

    /// Streams the changes of all jobs after these revisions, by shard.
    pub(crate) async fn watch_jobs(
        &self,
        revisions: Vec<i64>,
    ) -> Result<Streaming<WatchJobsResponse>, Status> {
        let request = with_timeout(WatchJobsRequest { revisions });
        Ok(self.client.clone().watch_jobs(request).await?.into_inner())
    }
}

fn with_timeout<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}
