//! The methods of WorkerService: validate, call, convert.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, stream};
use reelmill_platform::sessions::{Hint, Subscription};
use reelmill_proto::{
    duration, timestamp,
    transcode::{
        CompleteTaskRequest, CompleteTaskResponse, FailTaskRequest, FailTaskResponse, Job,
        Lease as LeaseMessage, ReportProgressRequest, ReportProgressResponse, SignOutputsRequest,
        SignOutputsResponse, StartTaskRequest, StartTaskResponse, WatchJobsResponse, WholeVideoTask,
        job::State, start_task_response::Work, worker_service_server::WorkerService,
    },
};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    convert::job_message,
    dispatch::Dispatch,
    domain::{Lease, LeaseRefusal, output_key, task_name},
    error::TranscodeError,
    leases::{Leased, shown},
    outputs::attempt_prefix,
};

/// How many addresses one call may ask for.
const MAX_NAMES: usize = 100;
/// How long an address to put an output at works.
const OUTPUT_TTL: Duration = Duration::from_secs(15 * 60);

/// WorkerService.
pub(crate) struct Workers {
    dispatch: Arc<Dispatch>,
}

impl Workers {
    pub(crate) fn new(dispatch: Arc<Dispatch>) -> Self {
        Self { dispatch }
    }

    async fn work(&self, leased: &Leased) -> Result<StartTaskResponse, TranscodeError> {
        let Leased { job, task } = leased;
        let ttl = self.dispatch.config.address_ttl;
        let source_uri = self.dispatch.objects.presign_get(&job.source_key, ttl, None).await?;
        Ok(StartTaskResponse {
            lease: Some(LeaseMessage {
                task: task_name(&task.job_id, &task.id),
                fencing_token: task.fencing_token,
            }),
            lease_expire_time: Some(timestamp(task.lease_expires_at)),
            attempt: i32::try_from(task.fencing_token).unwrap_or(i32::MAX),
            output_prefix: attempt_prefix(job, task.fencing_token),
            work: Some(Work::WholeVideo(WholeVideoTask {
                source_uri,
                source_size_bytes: job.source_size_bytes,
            })),
        })
    }

    async fn sign(&self, request: &SignOutputsRequest) -> Result<SignOutputsResponse, TranscodeError> {
        if request.names.is_empty() || request.names.len() > MAX_NAMES {
            return Err(TranscodeError::field("names", format!("must be 1 to {MAX_NAMES}")));
        }
        let (task, lease) = shown(request.lease.as_ref())?;
        let leased = self.dispatch.leased(&task, lease).await?;
        let prefix = attempt_prefix(&leased.job, lease.fencing_token);
        let mut uris = Vec::with_capacity(request.names.len());
        for name in &request.names {
            let key = output_key(&prefix, name)
                .ok_or_else(|| TranscodeError::field("names", format!("{name:?} is no output's name")))?;
            uris.push(self.dispatch.objects.presign_put(&key, OUTPUT_TTL, None, None, None).await?.uri);
        }
        let ttl = i64::try_from(OUTPUT_TTL.as_millis()).unwrap_or(0);
        let end = self.dispatch.clock.now_millis() + ttl;
        Ok(SignOutputsResponse { uris, expire_time: Some(timestamp(end)) })
    }
}

#[tonic::async_trait]
impl WorkerService for Workers {
    async fn start_task(
        &self,
        request: Request<StartTaskRequest>,
    ) -> Result<Response<StartTaskResponse>, Status> {
        let leased = self.dispatch.start_task(request.get_ref()).await?;
        Ok(Response::new(self.work(&leased).await?))
    }

    async fn sign_outputs(
        &self,
        request: Request<SignOutputsRequest>,
    ) -> Result<Response<SignOutputsResponse>, Status> {
        Ok(Response::new(self.sign(request.get_ref()).await?))
    }

    type ReportProgressStream = Pin<Box<dyn Stream<Item = Result<ReportProgressResponse, Status>> + Send>>;

    async fn report_progress(
        &self,
        request: Request<Streaming<ReportProgressRequest>>,
    ) -> Result<Response<Self::ReportProgressStream>, Status> {
        // Without the hub a cancel is noticed at the next renewal only; leases are kept all the same.
        let changes = self.dispatch.feed.hints().await.inspect_err(|error| tracing::warn!(%error)).ok();
        let report = Report {
            dispatch: Arc::clone(&self.dispatch),
            reports: request.into_inner(),
            changes,
            held: None,
            renewed_at: 0,
            over: false,
        };
        let answers = stream::unfold(report, |mut report| async move {
            let answer = report.answer().await?;
            Some((answer.map_err(Status::from), report))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn complete_task(
        &self,
        request: Request<CompleteTaskRequest>,
    ) -> Result<Response<CompleteTaskResponse>, Status> {
        self.dispatch.complete_task(request.into_inner()).await?;
        Ok(Response::new(CompleteTaskResponse {}))
    }

    async fn fail_task(
        &self,
        request: Request<FailTaskRequest>,
    ) -> Result<Response<FailTaskResponse>, Status> {
        let will_retry = self.dispatch.fail_task(request.into_inner()).await?;
        Ok(Response::new(FailTaskResponse { will_retry }))
    }
}

/// The lease that a report stream keeps, and its job as last told.
struct Held {
    task: String,
    lease: Lease,
    job: Job,
}

/// One worker's report stream.
struct Report {
    dispatch: Arc<Dispatch>,
    reports: Streaming<ReportProgressRequest>,
    changes: Option<Subscription>,
    held: Option<Held>,
    renewed_at: i64,
    over: bool,
}

enum Heard {
    Report(Option<Result<ReportProgressRequest, Status>>),
    Change(Option<Hint>),
}

/// The next hint; for ever in coming where there is no subscription.
async fn next_of(changes: &mut Option<Subscription>) -> Option<Hint> {
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}

impl Report {
    /// The next thing to tell the worker; none when the stream is over.
    async fn answer(&mut self) -> Option<Result<ReportProgressResponse, TranscodeError>> {
        while !self.over {
            let heard = tokio::select! {
                report = self.reports.next() => Heard::Report(report),
                change = next_of(&mut self.changes) => Heard::Change(change),
            };
            let told = match heard {
                Heard::Report(Some(Ok(report))) => self.reported(report).await,
                Heard::Report(_) => return None,
                Heard::Change(hint) => self.changed(hint).await,
            };
            match told {
                Ok(None) => {}
                Ok(Some(answer)) => {
                    self.over = answer.cancel;
                    return Some(Ok(answer));
                }
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    async fn reported(
        &mut self,
        report: ReportProgressRequest,
    ) -> Result<Option<ReportProgressResponse>, TranscodeError> {
        let (task, lease) = shown(report.lease.as_ref())?;
        let now = self.dispatch.clock.now_millis();
        let fresh = self.held.as_ref().is_none_or(|held| held.task != task || held.lease != lease);
        if fresh {
            let job = job_message(&self.dispatch.leased(&task, lease).await?.job)?;
            self.held = Some(Held { task, lease, job });
        }
        let due = fresh || now >= self.renewed_at + self.dispatch.lease_ms() / 3;
        let Some(held) = self.held.as_mut() else { return Ok(None) };
        // The plan is stored once, when it is first told; how far it is lives in hints only.
        if held.job.renditions.is_empty() && !report.renditions.is_empty() {
            let plan = (report.renditions.clone(), report.source.clone());
            let row = self.dispatch.record_plan(&held.task, held.lease, plan.0, plan.1).await?;
            held.job = job_message(&row)?;
        }
        let mut told = held.job.clone();
        told.progress = report.progress;
        if !report.renditions.is_empty() {
            told.renditions = report.renditions;
        }
        self.dispatch.feed.progressed(told).await;
        if due { self.renewed(now).await.map(Some) } else { Ok(None) }
    }

    async fn renewed(&mut self, now: i64) -> Result<ReportProgressResponse, TranscodeError> {
        let Some(held) = &self.held else { return Err(LeaseRefusal::Lost.into()) };
        let until = self.dispatch.renew(&held.task, held.lease).await?;
        self.renewed_at = now;
        Ok(ReportProgressResponse {
            lease_expire_time: Some(timestamp(until)),
            report_interval: Some(duration(self.dispatch.config.lease / 3)),
            cancel: false,
        })
    }

    /// Hears of a job that changed: ours may have been cancelled.
    async fn changed(
        &mut self,
        hint: Option<Hint>,
    ) -> Result<Option<ReportProgressResponse>, TranscodeError> {
        let Some(held) = &self.held else {
            if hint.is_none() {
                self.changes = None;
            }
            return Ok(None);
        };
        let cancelled = match hint {
            None => {
                self.changes = None;
                false
            }
            Some(Hint::Payload(bytes)) => {
                let message: WatchJobsResponse = prost::Message::decode(bytes)?;
                message.job.is_some_and(|job| job.name == held.job.name && job.state() == State::Cancelled)
            }
            Some(Hint::Lagged) => {
                self.dispatch.leased(&held.task, held.lease).await?;
                false
            }
        };
        Ok(cancelled.then(|| ReportProgressResponse { cancel: true, ..ReportProgressResponse::default() }))
    }
}

impl Drop for Report {
    /// A stream that breaks usually means a dead worker: its lease ends soon, unless it comes back.
    fn drop(&mut self) {
        let Some(held) = self.held.take().filter(|_| !self.over) else { return };
        let dispatch = Arc::clone(&self.dispatch);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let wait = i64::try_from(dispatch.config.lease_after_disconnect.as_millis()).unwrap_or(0);
            let until = dispatch.clock.now_millis() + wait;
            match dispatch.store.shorten(&held.task, held.lease, until).await {
                Ok(_) => dispatch.woken.notify_one(),
                Err(error) => tracing::warn!(%error, "a lost worker's lease was not shortened"),
            }
        });
    }
}
