//! The methods of TranscodeService: validate, call, convert.

use std::{pin::Pin, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use reelmill_mesh::Caller;
use reelmill_proto::transcode::{
    CancelJobRequest, CancelJobResponse, CreateJobRequest, CreateJobResponse, GetJobRequest, GetJobResponse,
    Job, ListJobsRequest, ListJobsResponse, WatchJobRequest, WatchJobResponse, WatchJobsRequest,
    WatchJobsResponse, job::State, transcode_service_server::TranscodeService,
};
use tonic::{Request, Response, Status};

use crate::{
    convert::Detail,
    dispatch::Dispatch,
    domain::{JobEvent, TaskState, job_id},
    error::TranscodeError,
    feed::Jobs,
    options,
    reached::Reached,
    store::{JobRow, NewJob},
};

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// TranscodeService.
pub(crate) struct JobService {
    dispatch: Arc<Dispatch>,
}

impl JobService {
    pub(crate) fn new(dispatch: Arc<Dispatch>) -> Self {
        Self { dispatch }
    }

    /// A job that the caller may see; what they may not see is not there.
    async fn visible(&self, caller: &Caller, name: &str) -> Result<JobRow, TranscodeError> {
        let missing = || TranscodeError::JobNotFound(name.to_owned());
        let row = self.dispatch.store.job(job_id(name).ok_or_else(missing)?).await?;
        row.filter(|row| caller.may_act_for(&row.owner)).ok_or_else(missing)
    }

    async fn cancel(&self, row: JobRow) -> Result<JobRow, TranscodeError> {
        let mut unit = self.dispatch.store.hold(&row.id).await?;
        if !unit.advance(JobEvent::CancelRequested, self.dispatch.clock.now_millis()) {
            return Ok(unit.job.clone());
        }
        unit.end_tasks(TaskState::Cancelled).await?;
        self.dispatch.commit(unit).await
    }

    async fn page(&self, owner: &str, request: &ListJobsRequest) -> Result<ListJobsResponse, TranscodeError> {
        let size = match request.page_size {
            0 => 50,
            size if size < 0 => return Err(TranscodeError::field("page_size", "must not be negative")),
            size => u64::from(size.unsigned_abs().min(200)),
        };
        let before = page_token(&request.page_token)?;
        let mut rows = self.dispatch.store.jobs_of(owner, before.as_deref(), size + 1).await?;
        let more = rows.len() as u64 > size;
        rows.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        let next = rows.last().filter(|_| more).map(|row| URL_SAFE_NO_PAD.encode(&row.id));
        let jobs = rows.iter().map(|row| self.dispatch.told(row)).collect::<Result<_, _>>()?;
        Ok(ListJobsResponse { jobs, next_page_token: next.unwrap_or_default() })
    }
}

fn page_token(token: &str) -> Result<Option<String>, TranscodeError> {
    if token.is_empty() {
        return Ok(None);
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| TranscodeError::PageToken)?;
    let id = String::from_utf8(bytes).map_err(|_| TranscodeError::PageToken)?;
    if id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        Ok(Some(id))
    } else {
        Err(TranscodeError::PageToken)
    }
}

fn new_job(request: CreateJobRequest, now: i64) -> Result<NewJob, TranscodeError> {
    let required = |field: &'static str, value: &str| {
        if value.is_empty() { Err(TranscodeError::field(field, "is required")) } else { Ok(()) }
    };
    required("video", &request.video)?;
    required("request_id", &request.request_id)?;
    required("source_key", &request.source_key)?;
    let owner = request.owner.strip_prefix("users/").unwrap_or_default().to_owned();
    required("owner", &owner)?;
    if !request.output_prefix.ends_with('/') {
        return Err(TranscodeError::field("output_prefix", "must end in a slash"));
    }
    if request.source_size_bytes <= 0 {
        return Err(TranscodeError::field("source_size_bytes", "must be positive"));
    }
    if let Some(options) = &request.options {
        options::check(options)?;
    }
    Ok(NewJob {
        id: uuid::Uuid::now_v7().simple().to_string(),
        video: request.video,
        owner,
        request_id: request.request_id,
        source_key: request.source_key,
        source_size_bytes: request.source_size_bytes,
        output_prefix: request.output_prefix,
        detail: Detail::new(request.options).stored(),
        now,
    })
}

/// One job's changes out of everybody's, never going back, up to its end.
fn until_ended(name: String, changes: Jobs) -> impl Stream<Item = Result<WatchJobResponse, Status>> + Send {
    struct Watch {
        changes: Jobs,
        name: String,
        told: Job,
        ended: bool,
    }
    let watch = Watch { changes, name, told: Job::default(), ended: false };
    stream::try_unfold(watch, |mut watch| async move {
        while !watch.ended {
            let Some(change) = watch.changes.try_next().await? else { break };
            let Some(mut job) = change.job else { continue };
            if job.name != watch.name || job.revision < watch.told.revision {
                continue;
            }
            watch.ended = has_ended(&job);
            if !watch.ended {
                // Of one revision an older report may come after a newer one.
                Reached::of(&job).raised(&Reached::of(&watch.told)).show(&mut job);
            }
            watch.told.clone_from(&job);
            return Ok(Some((WatchJobResponse { job: Some(job) }, watch)));
        }
        Ok(None)
    })
}

fn has_ended(job: &Job) -> bool {
    matches!(job.state(), State::Succeeded | State::Failed | State::Cancelled)
}

#[tonic::async_trait]
impl TranscodeService for JobService {
    async fn create_job(
        &self,
        request: Request<CreateJobRequest>,
    ) -> Result<Response<CreateJobResponse>, Status> {
        let new = new_job(request.into_inner(), self.dispatch.clock.now_millis())?;
        let row = self.dispatch.create_job(new).await?;
        Ok(Response::new(CreateJobResponse { job: Some(self.dispatch.told(&row)?) }))
    }

    async fn get_job(&self, request: Request<GetJobRequest>) -> Result<Response<GetJobResponse>, Status> {
        let row = self.visible(&Caller::of(&request), &request.get_ref().name).await?;
        Ok(Response::new(GetJobResponse { job: Some(self.dispatch.told(&row)?) }))
    }

    async fn list_jobs(
        &self,
        request: Request<ListJobsRequest>,
    ) -> Result<Response<ListJobsResponse>, Status> {
        let caller = Caller::of(&request);
        let page = self.page(&caller.user()?.user, request.get_ref()).await?;
        Ok(Response::new(page))
    }

    async fn cancel_job(
        &self,
        request: Request<CancelJobRequest>,
    ) -> Result<Response<CancelJobResponse>, Status> {
        let row = self.visible(&Caller::of(&request), &request.get_ref().name).await?;
        let row = self.cancel(row).await?;
        Ok(Response::new(CancelJobResponse { job: Some(self.dispatch.told(&row)?) }))
    }

    type WatchJobStream = Streamed<WatchJobResponse>;

    async fn watch_job(
        &self,
        request: Request<WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        let row = self.visible(&Caller::of(&request), &request.get_ref().name).await?;
        // From just below this row's revision the feed begins with the row itself.
        let known = request.get_ref().revision;
        let since = if known == row.revision { known } else { row.revision - 1 };
        let job = self.dispatch.told(&row)?;
        if known == row.revision && has_ended(&job) {
            return Ok(Response::new(Box::pin(stream::empty())));
        }
        let changes = self.dispatch.feed.jobs(since).await?;
        Ok(Response::new(Box::pin(until_ended(job.name, changes))))
    }

    type WatchJobsStream = Streamed<WatchJobsResponse>;

    async fn watch_jobs(
        &self,
        request: Request<WatchJobsRequest>,
    ) -> Result<Response<Self::WatchJobsStream>, Status> {
        let changes = self.dispatch.feed.all_jobs(request.get_ref().revision).await?;
        Ok(Response::new(Box::pin(changes.map(|change| change.map_err(Status::from)))))
    }
}
