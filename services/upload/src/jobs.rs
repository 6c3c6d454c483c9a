//! The transcode service, as far as this one needs it.

use std::time::Duration;

use reelmill_mesh::Channel;
use reelmill_proto::{
    Reason,
    transcode::{
        CancelJobRequest, CreateJobRequest, Job, WatchJobsRequest, WatchJobsResponse,
        transcode_service_client::TranscodeServiceClient,
    },
};
use tonic::{Code, Request, Status, Streaming};

use crate::{
    UploadError,
    convert::options,
    core::Core,
    domain::{names, video},
    store::video_row,
};

/// A neighbour that is away must not hold up the call that could do without it.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Jobs {
    client: TranscodeServiceClient<Channel>,
}

impl Jobs {
    pub(crate) fn new(transcode: Channel) -> Self {
        Self { client: TranscodeServiceClient::new(transcode) }
    }

    async fn create(&self, request: CreateJobRequest) -> Result<Job, Status> {
        let answer = self.client.clone().create_job(within(request)).await?.into_inner();
        answer.job.ok_or_else(|| Status::internal("the answer holds no job"))
    }

    /// Stops a job; one that ended or never was is fine.
    pub(crate) async fn cancel(&self, job: &str) -> Result<(), UploadError> {
        let request = CancelJobRequest { name: job.to_owned() };
        match self.client.clone().cancel_job(within(request)).await {
            Err(status) if status.code() != Code::NotFound => Err(UploadError::Transcode(status)),
            _ => Ok(()),
        }
    }

    /// Follows all jobs from a revision on.
    pub(crate) async fn watch(&self, revision: i64) -> Result<Streaming<WatchJobsResponse>, Status> {
        let request = within(WatchJobsRequest { revision });
        Ok(self.client.clone().watch_jobs(request).await?.into_inner())
    }
}

fn within<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
    request
}

impl Core {
    /// Asks for a PROCESSING video's job. Asking again for the same video gives the same job.
    pub(crate) async fn ensure_job(&self, row: &video_row::Model) -> Result<(), UploadError> {
        let request = CreateJobRequest {
            video: format!("videos/{}", row.id),
            owner: format!("users/{}", row.owner),
            request_id: row.id.clone(),
            source_key: names::source_key(&row.id, &row.upload_id),
            source_size_bytes: row.size_bytes,
            output_prefix: names::output_prefix(&row.id),
            options: options(row)?,
        };
        let changed = match self.jobs.create(request).await {
            // Its changes from this revision on, it included, are still to come to the follower.
            Ok(job) => self.store.set_job(&row.id, &job.name, job.revision - 1, self.now()).await?,
            // Asking again can't help: nothing may stay PROCESSING for ever.
            Err(status) if status.code() == Code::InvalidArgument => {
                tracing::error!(video = row.id, %status, "no job for this video");
                let failure =
                    video::failure(Reason::JobRejected, "this file could not be queued; upload it again");
                self.store.fail_jobless(&row.id, failure, self.now()).await?
            }
            Err(status) => return Err(UploadError::Transcode(status)),
        };
        if changed {
            self.announce(&row.owner, &row.id).await;
        }
        self.unfinished.notify_one();
        Ok(())
    }
}
