//! RPC methods of TranscodeService: validate, call, convert.

use std::{collections::HashMap, pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _, stream};
use reelmill_mesh::{Caller, paging::Page};
use reelmill_platform::clock::Clock;
use reelmill_proto::{
    transcode::{
        CancelJobRequest, CancelJobResponse, CheckJobsRequest, CheckJobsResponse, CreateJobRequest,
        CreateJobResponse, DeleteJobsRequest, DeleteJobsResponse, GetJobRequest, GetJobResponse, Job,
        KnownJob, ListJobsRequest, ListJobsResponse, RetryJobRequest, RetryJobResponse,
        SetJobPriorityRequest, SetJobPriorityResponse, WatchJobRequest, WatchJobResponse, WatchJobsRequest,
        WatchJobsResponse, transcode_service_server::TranscodeService,
    },
    unix_millis,
};
use tonic::{Request, Response, Status};

use crate::{
    db::{Db, JobDetails, JobFilter, NewJob, ShardRevisions},
    domain::{JobPriority, job_id, job_name},
    error::TranscodeError,
    feed::{JobChange, JobFeed, JobWatch, has_ended},
    jobs::Jobs,
    messages, options,
    progress::{JobProgress, ProgressTracker},
};

/// Most jobs of one CheckJobs call.
const MAX_CHECKED_JOBS: usize = 1000;

type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// TranscodeService.
pub(crate) struct TranscodeRpc {
    pub(crate) db: Db,
    pub(crate) jobs: Jobs,
    pub(crate) feed: JobFeed,
    pub(crate) progress: Arc<ProgressTracker>,
    pub(crate) clock: Clock,
}

impl TranscodeRpc {
    async fn list(&self, owner: &str, request: &ListJobsRequest) -> Result<ListJobsResponse, TranscodeError> {
        let page = Page::parse("jobs", request.page_size, &request.page_token)?;
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

/// A job, then its changes, in order, until it has ended.
fn changes_until_end(
    first: Option<Job>,
    last: Job,
    changes: JobWatch,
) -> impl Stream<Item = Result<WatchJobResponse, Status>> + Send {
    struct Watch {
        first: Option<Job>,
        last: Job,
        changes: JobWatch,
    }
    stream::unfold(Watch { first, last, changes }, |mut watch| async move {
        if let Some(first) = watch.first.take() {
            return Some((Ok(WatchJobResponse { job: Some(first) }), watch));
        }
        while !has_ended(&watch.last) {
            watch.changes.changed().await.ok()?;
            let change = watch.changes.borrow_and_update().clone();
            let Some(mut job) = change.and_then(|change| change.job.clone()) else { continue };
            if job.revision < watch.last.revision {
                continue;
            }
            if !has_ended(&job) {
                // Progress of the same revision may arrive out of order.
                JobProgress::of(&job).raised(&JobProgress::of(&watch.last)).apply_to(&mut job);
            }
            watch.last.clone_from(&job);
            return Some((Ok(WatchJobResponse { job: Some(job) }), watch));
        }
        None
    })
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

    async fn delete_jobs(
        &self,
        request: Request<DeleteJobsRequest>,
    ) -> Result<Response<DeleteJobsResponse>, Status> {
        let video = &request.get_ref().video;
        if video.is_empty() {
            return Err(TranscodeError::field("video", "is required").into());
        }
        self.jobs.delete_of_video(video).await?;
        Ok(Response::new(DeleteJobsResponse {}))
    }

    async fn check_jobs(
        &self,
        request: Request<CheckJobsRequest>,
    ) -> Result<Response<CheckJobsResponse>, Status> {
        let known = request.into_inner().jobs;
        if known.len() > MAX_CHECKED_JOBS {
            let message = format!("must be at most {MAX_CHECKED_JOBS}");
            return Err(TranscodeError::field("jobs", message).into());
        }
        let ids: Vec<&str> = known.iter().filter_map(|known| job_id(&known.name)).collect();
        let rows = self.db.jobs_by_id(&ids).await.map_err(Status::from)?;
        let rows: HashMap<String, JobDetails> =
            rows.into_iter().map(|details| (job_name(&details.row.id), details)).collect();
        let mut response = CheckJobsResponse::default();
        for KnownJob { name, revision } in known {
            match rows.get(&name) {
                None => response.missing.push(name),
                Some(details) if details.row.revision != revision => {
                    response.changed.push(self.progress.watch_jobs_response(details));
                }
                Some(_) => {}
            }
        }
        Ok(Response::new(response))
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
        let (caller, name) = (Caller::of(&request), &request.get_ref().name);
        let id = self.jobs.get(&caller, name).await?.row.id;
        // Watch before reading: duplicates are possible, gaps are not.
        let changes = self.feed.watch_job(&id);
        let job = self.progress.job(&self.jobs.get(&caller, name).await?);
        self.feed.ignore_before(&id, job.revision);
        let is_known = request.get_ref().revision == job.revision;
        let first = (!is_known).then(|| job.clone());
        Ok(Response::new(Box::pin(changes_until_end(first, job, changes))))
    }

    type WatchJobsStream = ResponseStream<WatchJobsResponse>;

    async fn watch_jobs(
        &self,
        request: Request<WatchJobsRequest>,
    ) -> Result<Response<Self::WatchJobsStream>, Status> {
        let seen = ShardRevisions::new(&request.get_ref().revisions);
        self.db.advance_revisions(&seen).await?;
        let changes = self.feed.watch_all(seen).await?;
        let response = |change: Result<JobChange, TranscodeError>| Ok(change?.as_ref().clone());
        Ok(Response::new(Box::pin(changes.map(response))))
    }
}
