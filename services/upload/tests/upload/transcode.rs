//! A transcode service that follows a script: jobs change when a test says so.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{StreamExt as _, stream::BoxStream};
use reelmill_proto::transcode::{
    CancelJobRequest, CancelJobResponse, CreateJobRequest, CreateJobResponse, GetJobRequest, GetJobResponse,
    Job, ListJobsRequest, ListJobsResponse, WatchJobRequest, WatchJobResponse, WatchJobsRequest,
    WatchJobsResponse, job, transcode_service_server::TranscodeService,
};
use tokio::sync::broadcast;
use tonic::{Request, Response, Status};

/// The script's stage; clones share it.
#[derive(Clone)]
pub struct FakeTranscode {
    stage: Arc<Mutex<Stage>>,
    updates: broadcast::Sender<WatchJobsResponse>,
}

#[derive(Default)]
struct Stage {
    away: bool,
    revision: i64,
    /// By request id.
    jobs: HashMap<String, WatchJobsResponse>,
    created: Vec<CreateJobRequest>,
    cancelled: Vec<String>,
    /// The revisions that WatchJobs was called with.
    followed_from: Vec<i64>,
}

impl FakeTranscode {
    pub fn new() -> Self {
        Self { stage: Arc::default(), updates: broadcast::Sender::new(4096) }
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses everything with UNAVAILABLE, or comes back.
    pub fn set_away(&self, away: bool) {
        self.stage().away = away;
    }

    /// Every CreateJob that was let in.
    pub fn created(&self) -> Vec<CreateJobRequest> {
        self.stage().created.clone()
    }

    /// The jobs that CancelJob named.
    pub fn cancelled(&self) -> Vec<String> {
        self.stage().cancelled.clone()
    }

    /// The revisions that WatchJobs was called with.
    pub fn followed_from(&self) -> Vec<i64> {
        self.stage().followed_from.clone()
    }

    /// The present state of a video's job (`videos/{video}`).
    pub fn job_of(&self, video: &str) -> WatchJobsResponse {
        let stage = self.stage();
        let request_id = video.trim_start_matches("videos/");
        stage.jobs.get(request_id).cloned().unwrap_or_else(|| panic!("{video} has no job"))
    }

    /// Changes a video's job, as a stored change: with a new revision.
    pub fn change(&self, video: &str, change: impl FnOnce(&mut WatchJobsResponse)) -> WatchJobsResponse {
        let mut update = self.job_of(video);
        change(&mut update);
        let mut stage = self.stage();
        stage.revision += 1;
        update.job.as_mut().unwrap().revision = stage.revision;
        stage.jobs.insert(video.trim_start_matches("videos/").to_owned(), update.clone());
        drop(stage);
        self.send(update.clone());
        update
    }

    /// Sends an update just so, without keeping it.
    pub fn send(&self, update: WatchJobsResponse) {
        let _ = self.updates.send(update);
    }

    fn there(&self) -> Result<MutexGuard<'_, Stage>, Status> {
        let stage = self.stage();
        if stage.away { Err(Status::unavailable("away, as the script says")) } else { Ok(stage) }
    }
}

fn not_in_the_script<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("the script has no such call"))
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
        let mut stage = self.there()?;
        if let Some(update) = stage.jobs.get(&request.request_id) {
            return Ok(Response::new(CreateJobResponse { job: update.job.clone() }));
        }
        stage.revision += 1;
        let job = Job {
            name: format!("jobs/j{}", stage.jobs.len()),
            video: request.video.clone(),
            state: job::State::Queued.into(),
            revision: stage.revision,
            ..Job::default()
        };
        let update = WatchJobsResponse { job: Some(job.clone()), ..Default::default() };
        stage.jobs.insert(request.request_id.clone(), update.clone());
        stage.created.push(request);
        drop(stage);
        self.send(update);
        Ok(Response::new(CreateJobResponse { job: Some(job) }))
    }

    async fn cancel_job(
        &self,
        request: Request<CancelJobRequest>,
    ) -> Result<Response<CancelJobResponse>, Status> {
        let mut stage = self.there()?;
        stage.cancelled.push(request.into_inner().name);
        Ok(Response::new(CancelJobResponse { job: None }))
    }

    async fn watch_jobs(
        &self,
        request: Request<WatchJobsRequest>,
    ) -> Result<Response<Self::WatchJobsStream>, Status> {
        let from = request.into_inner().revision;
        let mut stage = self.there()?;
        stage.followed_from.push(from);
        let later = self.updates.subscribe();
        let mut earlier: Vec<WatchJobsResponse> = stage.jobs.values().cloned().collect();
        earlier.retain(|update| update.job.as_ref().is_some_and(|job| job.revision > from));
        let later = futures::stream::unfold(later, |mut later| async move {
            let update = later.recv().await.ok()?;
            Some((update, later))
        });
        Ok(Response::new(futures::stream::iter(earlier).chain(later).map(Ok).boxed()))
    }

    async fn get_job(&self, _: Request<GetJobRequest>) -> Result<Response<GetJobResponse>, Status> {
        not_in_the_script()
    }

    async fn list_jobs(&self, _: Request<ListJobsRequest>) -> Result<Response<ListJobsResponse>, Status> {
        not_in_the_script()
    }

    async fn watch_job(&self, _: Request<WatchJobRequest>) -> Result<Response<Self::WatchJobStream>, Status> {
        not_in_the_script()
    }
}
