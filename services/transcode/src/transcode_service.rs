//! RPC methods of TranscodeService: validate, call, convert.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use reelmill_mesh::{Caller, paging::Page};
use reelmill_platform::clock::Clock;
use reelmill_proto::{
    transcode::{
        CancelJobRequest, CancelJobResponse, CreateJobRequest, CreateJobResponse, GetJobRequest,
        GetJobResponse, Job, ListJobsRequest, ListJobsResponse, RetryJobRequest, RetryJobResponse,
        SetJobPriorityRequest, SetJobPriorityResponse, WatchJobRequest, WatchJobResponse, WatchJobsRequest,
        WatchJobsResponse, job::State, transcode_service_server::TranscodeService,
    },
    unix_millis,
};
use tonic::{Request, Response, Status};

use crate::{
    db::{JobFilter, NewJob},
    domain::JobPriority,
    error::TranscodeError,
    feed::{JobChangeStream, JobFeed},
    jobs::Jobs,
    messages, options,
    progress::{JobProgress, ProgressTracker},
};

type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// TranscodeService.
pub(crate) struct TranscodeRpc {
    pub(crate) jobs: Jobs,
    pub(crate) feed: JobFeed,
    pub(crate) progress: Arc<ProgressTracker>,
    pub(crate) clock: Clock,
}

impl TranscodeRpc {
    async fn list(&self, owner: &str, request: &ListJobsRequest) -> Result<ListJobsResponse, TranscodeError> {
        let page = Page::parse(request.page_size, &request.page_token)?;
        let (details, next_page_token) = self.jobs.list(owner, &job_filter(request)?, &page).await?;
        let mut jobs: Vec<Job> = details.iter().map(|details| self.progress.job(details)).collect();
        self.jobs.add_queue_positions(&details, &mut jobs).await?;
        Ok(ListJobsResponse { jobs, next_page_token })
    }
}

fn new_job(request: CreateJobRequest, now: i64) -> Result<NewJob, TranscodeError> {
    let require = |field: &'static str, value: &str| {
        if value.is_empty() { Err(TranscodeError::field(field, "is required")) } else { Ok(()) }
    };
    require("video", &request.video)?;
    require("request_id", &request.request_id)?;
    require("source_key", &request.source_key)?;
    let owner = request.owner.strip_prefix("users/").unwrap_or_default().to_owned();
    require("owner", &owner)?;
    if !request.output_prefix.ends_with('/') {
        return Err(TranscodeError::field("output_prefix", "must end with a slash"));
    }
    if request.source_size_bytes <= 0 {
        return Err(TranscodeError::field("source_size_bytes", "must be positive"));
    }
    if let Some(options) = &request.options {
        options::validate(options)?;
    }
    Ok(NewJob {
        id: uuid::Uuid::now_v7().simple().to_string(),
        video: request.video,
        owner,
        request_id: request.request_id,
        source_key: request.source_key,
        source_size_bytes: request.source_size_bytes,
        output_prefix: request.output_prefix,
        options: request.options,
        priority: JobPriority::Normal,
        now,
    })
}

fn job_filter(request: &ListJobsRequest) -> Result<JobFilter, TranscodeError> {
    let oldest_first = match request.order_by.as_str() {
        "" | "create_time desc" => false,
        "create_time" => true,
        _ => return Err(TranscodeError::field("order_by", "must be create_time or create_time desc")),
    };
    Ok(JobFilter {
        states: messages::requested_states(request.states())?,
        video: request.video.clone(),
        created_after: request.created_after.as_ref().map(unix_millis),
        created_before: request.created_before.as_ref().map(unix_millis),
        oldest_first,
    })
}

/// The changes of one job, in order, until it has ended.
fn changes_until_end(
    name: String,
    changes: JobChangeStream,
) -> impl Stream<Item = Result<WatchJobResponse, Status>> + Send {
    struct Watch {
        changes: JobChangeStream,
        name: String,
        last: Job,
        ended: bool,
    }
    let watch = Watch { changes, name, last: Job::default(), ended: false };
    stream::try_unfold(watch, |mut watch| async move {
        while !watch.ended {
            let Some(change) = watch.changes.try_next().await? else { break };
            let Some(mut job) = change.job else { continue };
            if job.name != watch.name || job.revision < watch.last.revision {
                continue;
            }
            watch.ended = has_ended(&job);
            if !watch.ended {
                // Progress of the same revision may arrive out of order.
                JobProgress::of(&job).raised(&JobProgress::of(&watch.last)).apply_to(&mut job);
            }
            watch.last.clone_from(&job);
            return Ok(Some((WatchJobResponse { job: Some(job) }, watch)));
        }
        Ok(None)
    })
}

fn has_ended(job: &Job) -> bool {
    matches!(job.state(), State::Succeeded | State::Failed | State::Cancelled)
}

#[tonic::async_trait]
impl TranscodeService for TranscodeRpc {
    async fn create_job(
        &self,
        request: Request<CreateJobRequest>,
    ) -> Result<Response<CreateJobResponse>, Status> {
        let details = self.jobs.create(new_job(request.into_inner(), self.clock.now_millis())?).await?;
        Ok(Response::new(CreateJobResponse { job: Some(self.progress.job(&details)) }))
    }

    async fn get_job(&self, request: Request<GetJobRequest>) -> Result<Response<GetJobResponse>, Status> {
        let details = self.jobs.get(&Caller::of(&request), &request.get_ref().name).await?;
        let mut jobs = [self.progress.job(&details)];
        self.jobs.add_queue_positions(&[details], &mut jobs).await?;
        let [job] = jobs;
        Ok(Response::new(GetJobResponse { job: Some(job) }))
    }

    async fn list_jobs(
        &self,
        request: Request<ListJobsRequest>,
    ) -> Result<Response<ListJobsResponse>, Status> {
        let caller = Caller::of(&request);
        Ok(Response::new(self.list(&caller.user()?.user, request.get_ref()).await?))
    }

    async fn cancel_job(
        &self,
        request: Request<CancelJobRequest>,
    ) -> Result<Response<CancelJobResponse>, Status> {
        let details = self.jobs.cancel(&Caller::of(&request), &request.get_ref().name).await?;
        Ok(Response::new(CancelJobResponse { job: Some(self.progress.job(&details)) }))
    }

    async fn set_job_priority(
        &self,
        request: Request<SetJobPriorityRequest>,
    ) -> Result<Response<SetJobPriorityResponse>, Status> {
        let priority = JobPriority::requested(request.get_ref().priority());
        let priority = priority.ok_or_else(|| TranscodeError::field("priority", "is required"))?;
        let name = &request.get_ref().name;
        let details = self.jobs.set_priority(&Caller::of(&request), name, priority).await?;
        Ok(Response::new(SetJobPriorityResponse { job: Some(self.progress.job(&details)) }))
    }

    async fn retry_job(
        &self,
        request: Request<RetryJobRequest>,
    ) -> Result<Response<RetryJobResponse>, Status> {
        let RetryJobRequest { name, options } = request.get_ref();
        if let Some(options) = options {
            options::validate(options)?;
        }
        let details = self.jobs.retry(&Caller::of(&request), name, options.as_ref()).await?;
        Ok(Response::new(RetryJobResponse { job: Some(self.progress.job(&details)) }))
    }

    type WatchJobStream = ResponseStream<WatchJobResponse>;

    async fn watch_job(
        &self,
        request: Request<WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        let details = self.jobs.get(&Caller::of(&request), &request.get_ref().name).await?;
        let revision = details.row.revision;
        let is_current = request.get_ref().revision == revision;
        let job = self.progress.job(&details);
        if is_current && has_ended(&job) {
            return Ok(Response::new(Box::pin(stream::empty())));
        }
        // From the revision below its own, the feed begins with the job itself.
        let since = if is_current { revision } else { revision - 1 };
        let changes = self.feed.changes_since(since).await?;
        Ok(Response::new(Box::pin(changes_until_end(job.name, changes))))
    }

    type WatchJobsStream = ResponseStream<WatchJobsResponse>;

    async fn watch_jobs(
        &self,
        request: Request<WatchJobsRequest>,
    ) -> Result<Response<Self::WatchJobsStream>, Status> {
        let changes = self.feed.running_and_changes_since(request.get_ref().revision).await?;
        Ok(Response::new(Box::pin(changes.map(|change| change.map_err(Status::from)))))
    }
}
