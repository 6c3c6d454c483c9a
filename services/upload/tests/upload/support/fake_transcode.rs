//! A fake transcode service: jobs change when a test says so.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{StreamExt as _, stream::BoxStream};
use reelmill_proto::transcode::{
    CancelJobRequest, CancelJobResponse, CheckJobsRequest, CheckJobsResponse, CreateJobRequest,
    CreateJobResponse, DeleteJobsRequest, DeleteJobsResponse, GetJobRequest, GetJobResponse, Job,
    ListJobsRequest, ListJobsResponse, RetryJobRequest, RetryJobResponse, SetJobPriorityRequest,
    SetJobPriorityResponse, WatchJobRequest, WatchJobResponse, WatchJobsRequest, WatchJobsResponse, job,
    transcode_service_server::TranscodeService,
};
use tokio::sync::broadcast;
use tonic::{Request, Response, Status};

const WATCH_BUFFER: usize = 4096;

/// A transcode service without workers. Clones share its state.
#[derive(Clone)]
pub struct FakeTranscode {
    state: Arc<Mutex<State>>,
    reports: broadcast::Sender<WatchJobsResponse>,
}

#[derive(Default)]
struct State {
    is_unavailable: bool,
    revision: i64,
    /// By request id, which is the video's id.
    jobs: HashMap<String, WatchJobsResponse>,
    created: Vec<CreateJobRequest>,
    deleted: Vec<String>,
    is_silent: bool,
    watched_from: Vec<i64>,
}

impl FakeTranscode {
    pub fn new() -> Self {
        Self { state: Arc::default(), reports: broadcast::Sender::new(WATCH_BUFFER) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes every call fail with UNAVAILABLE, or succeed again.
    pub fn set_unavailable(&self, is_unavailable: bool) {
        self.lock().is_unavailable = is_unavailable;
    }

    /// The CreateJob requests that created a job.
    pub fn created(&self) -> Vec<CreateJobRequest> {
        self.lock().created.clone()
    }

    /// Names of the videos whose jobs were deleted.
    pub fn deleted(&self) -> Vec<String> {
        self.lock().deleted.clone()
    }

    /// The revisions of the WatchJobs requests.
    pub fn watched_from(&self) -> Vec<i64> {
        self.lock().watched_from.clone()
    }

    /// The latest report of a video's job.
    pub fn report_of(&self, video: &str) -> WatchJobsResponse {
        let state = self.lock();
        let request_id = video.trim_start_matches("videos/");
        state.jobs.get(request_id).cloned().unwrap_or_else(|| panic!("{video} has no job"))
    }

    /// Changes a video's job: stores and sends a new revision.
    pub fn change(&self, video: &str, change: impl FnOnce(&mut WatchJobsResponse)) -> WatchJobsResponse {
        let mut report = self.report_of(video);
        change(&mut report);
        let mut state = self.lock();
        state.revision += 1;
        report.job.as_mut().unwrap().revision = state.revision;
        state.jobs.insert(video.trim_start_matches("videos/").to_owned(), report.clone());
        let is_silent = state.is_silent;
        drop(state);
        if !is_silent {
            self.send(report.clone());
        }
        report
    }

    /// Stores changes without sending them.
    pub fn set_silent(&self) {
        self.lock().is_silent = true;
    }

    /// Changes a video's job and gives it a lower revision, without sending it, as after a restored backup.
    pub fn restore(&self, video: &str, change: impl FnOnce(&mut WatchJobsResponse)) {
        let mut report = self.report_of(video);
        change(&mut report);
        report.job.as_mut().unwrap().revision = 1;
        self.lock().jobs.insert(video.trim_start_matches("videos/").to_owned(), report);
    }

    /// Loses a video's job.
    pub fn lose(&self, video: &str) {
        self.lock().jobs.remove(video.trim_start_matches("videos/"));
    }

    /// Sends a report without storing it.
    pub fn send(&self, report: WatchJobsResponse) {
        let _ = self.reports.send(report);
    }

    fn available(&self) -> Result<MutexGuard<'_, State>, Status> {
        let state = self.lock();
        if state.is_unavailable { Err(Status::unavailable("unavailable, by the test")) } else { Ok(state) }
    }
}

fn unimplemented<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not implemented by the fake"))
}

#[tonic::async_trait]
impl TranscodeService for FakeTranscode {
    type WatchJobStream = BoxStream<'static, Result<WatchJobResponse, Status>>;
    type WatchJobsStream = BoxStream<'static, Result<WatchJobsResponse, Status>>;

    async fn create_job(
        &self,
        request: Request<CreateJobRequest>,
    ) -> Result<Response<CreateJobResponse>, Status> {
        let request = request.into_inner();
        let mut state = self.available()?;
        if let Some(report) = state.jobs.get(&request.request_id) {
            return Ok(Response::new(CreateJobResponse { job: report.job.clone() }));
        }
        state.revision += 1;
        let job = Job {
            name: format!("jobs/j{}", state.created.len()),
            video: request.video.clone(),
            state: job::State::Queued.into(),
            revision: state.revision,
            ..Job::default()
        };
        let report = WatchJobsResponse { job: Some(job.clone()), ..Default::default() };
        state.jobs.insert(request.request_id.clone(), report.clone());
        state.created.push(request);
        drop(state);
        self.send(report);
        Ok(Response::new(CreateJobResponse { job: Some(job) }))
    }

    async fn set_job_priority(
        &self,
        _: Request<SetJobPriorityRequest>,
    ) -> Result<Response<SetJobPriorityResponse>, Status> {
        unimplemented()
    }

    async fn retry_job(
        &self,
        _request: Request<RetryJobRequest>,
    ) -> Result<Response<RetryJobResponse>, Status> {
        unimplemented()
    }

    async fn cancel_job(&self, _: Request<CancelJobRequest>) -> Result<Response<CancelJobResponse>, Status> {
        unimplemented()
    }

    async fn check_jobs(
        &self,
        request: Request<CheckJobsRequest>,
    ) -> Result<Response<CheckJobsResponse>, Status> {
        let state = self.available()?;
        let mut response = CheckJobsResponse::default();
        for known in request.into_inner().jobs {
            let is_known_job =
                |report: &&WatchJobsResponse| report.job.as_ref().is_some_and(|job| job.name == known.name);
            match state.jobs.values().find(is_known_job) {
                None => response.missing.push(known.name),
                Some(report) if report.job.as_ref().unwrap().revision != known.revision => {
                    response.changed.push(report.clone());
                }
                Some(_) => {}
            }
        }
        Ok(Response::new(response))
    }

    async fn delete_jobs(
        &self,
        request: Request<DeleteJobsRequest>,
    ) -> Result<Response<DeleteJobsResponse>, Status> {
        let mut state = self.available()?;
        state.deleted.push(request.into_inner().video);
        Ok(Response::new(DeleteJobsResponse {}))
    }

    async fn watch_jobs(
        &self,
        request: Request<WatchJobsRequest>,
    ) -> Result<Response<Self::WatchJobsStream>, Status> {
        let from = request.into_inner().revisions.first().copied().unwrap_or(0);
        let mut state = self.available()?;
        state.watched_from.push(from);
        let later = self.reports.subscribe();
        let mut earlier: Vec<WatchJobsResponse> = state.jobs.values().cloned().collect();
        earlier.retain(|report| report.job.as_ref().is_some_and(|job| job.revision > from));
        let later = futures::stream::unfold(later, |mut later| async move {
            let report = later.recv().await.ok()?;
            Some((report, later))
        });
        Ok(Response::new(futures::stream::iter(earlier).chain(later).map(Ok).boxed()))
    }

    async fn get_job(&self, _: Request<GetJobRequest>) -> Result<Response<GetJobResponse>, Status> {
        unimplemented()
    }

    async fn list_jobs(&self, _: Request<ListJobsRequest>) -> Result<Response<ListJobsResponse>, Status> {
        unimplemented()
    }

    async fn watch_job(&self, _: Request<WatchJobRequest>) -> Result<Response<Self::WatchJobStream>, Status> {
        unimplemented()
    }
}
