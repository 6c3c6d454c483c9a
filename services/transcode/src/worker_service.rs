//! The methods of WorkerService: validate, call, convert.

use std::{collections::HashMap, pin::Pin, sync::Arc, time::Duration};

use futures::Stream;
use reelmill_proto::{
    timestamp,
    transcode::{
        CompleteTaskRequest, CompleteTaskResponse, EncodeTask, FailTaskRequest, FailTaskResponse,
        Lease as LeaseMessage, ListSegmentsRequest, ListSegmentsResponse, PackageTask, PlanJobRequest,
        PlanJobResponse, PrepareTask, RecordOutputsRequest, RecordOutputsResponse, ReportProgressRequest,
        ReportProgressResponse, SignOutputsRequest, SignOutputsResponse, SourceObject, StartTaskRequest,
        StartTaskResponse, start_task_response::Work, worker_service_server::WorkerService,
    },
};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    dispatch::Dispatch,
    domain::{Role, TaskKind, output_key, task_name},
    error::TranscodeError,
    leases::{Leased, shown},
    outputs::{attempt_prefix, folder},
    report,
    store::{Generation, RecordedRow},
};

/// How many addresses one call may ask for.
const MAX_NAMES: usize = 100;
/// How many segments one call answers.
const SEGMENTS: u64 = 500;
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

    async fn started(&self, leased: &Leased) -> Result<StartTaskResponse, TranscodeError> {
        let Leased { job, task } = leased;
        let work = match TaskKind::from_stored(task.kind) {
            Some(TaskKind::Encode) => Work::Encode(self.encode(leased).await?),
            Some(TaskKind::Package) => Work::Package(PackageTask {
                plan: self.dispatch.planned(&Generation::of(job)).await?.json.clone(),
                rendition_ids: vec![task.rendition.clone()],
            }),
            Some(TaskKind::Prepare) | None => {
                Work::Prepare(PrepareTask { source: Some(self.source(leased).await?) })
            }
        };
        Ok(StartTaskResponse {
            lease: Some(LeaseMessage {
                task: task_name(&task.job_id, &task.id),
                fencing_token: task.fencing_token,
            }),
            lease_expire_time: Some(timestamp(task.lease_expires_at)),
            attempt: i32::try_from(task.fencing_token).unwrap_or(i32::MAX),
            output_prefix: attempt_prefix(job, task, task.fencing_token),
            work: Some(work),
        })
    }

    async fn source(&self, leased: &Leased) -> Result<SourceObject, TranscodeError> {
        self.readable(&leased.job.source_key, leased.job.source_size_bytes).await
    }

    async fn encode(&self, leased: &Leased) -> Result<EncodeTask, TranscodeError> {
        let generation = Generation::of(&leased.job);
        let planned = self.dispatch.planned(&generation).await?;
        // A first attempt has recorded nothing.
        let recorded = match leased.task.fencing_token {
            ..=1 => HashMap::new(),
            _ => self.dispatch.recorded_counts(&generation, &planned, &leased.task).await?,
        };
        Ok(EncodeTask {
            source: Some(self.source(leased).await?),
            plan: planned.json.clone(),
            share: planned
                .work_unit(leased.task.ordinal)
                .map(serde_json::to_vec)
                .transpose()?
                .unwrap_or_default(),
            recorded,
        })
    }

    async fn readable(&self, key: &str, size_bytes: i64) -> Result<SourceObject, TranscodeError> {
        let ttl = self.dispatch.config.address_ttl;
        let uri = self.dispatch.objects.presign_get(key, ttl, None).await?;
        Ok(SourceObject { uri, size_bytes })
    }

    async fn sign(&self, request: &SignOutputsRequest) -> Result<SignOutputsResponse, TranscodeError> {
        if request.names.is_empty() || request.names.len() > MAX_NAMES {
            return Err(TranscodeError::field("names", format!("must be 1 to {MAX_NAMES}")));
        }
        let (task, lease) = shown(request.lease.as_ref())?;
        let leased = self.dispatch.leased(&task, lease).await?;
        let prefix = attempt_prefix(&leased.job, &leased.task, lease.fencing_token);
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

    async fn segments(&self, request: &ListSegmentsRequest) -> Result<ListSegmentsResponse, TranscodeError> {
        if request.from_sequence < 0 {
            return Err(TranscodeError::field("from_sequence", "must not be negative"));
        }
        let (task, lease) = shown(request.lease.as_ref())?;
        let leased = self.dispatch.leased(&task, lease).await?;
        let generation = Generation::of(&leased.job);
        let store = &self.dispatch.store;
        let folder = folder(&leased.job);
        let object =
            async |row: &RecordedRow| self.readable(&format!("{folder}{}", row.uri), row.size_bytes).await;
        let inits = store.recorded(&generation, Role::Init).await?;
        let init = match inits.iter().find(|row| row.rendition == request.rendition_id) {
            Some(init) => Some(object(init).await?),
            None => None,
        };
        let from = request.from_sequence;
        let mut segments = Vec::new();
        for row in store.segments(&generation, &request.rendition_id, from, SEGMENTS).await? {
            segments.push(object(&row).await?);
        }
        Ok(ListSegmentsResponse { init, segments })
    }
}

#[tonic::async_trait]
impl WorkerService for Workers {
    async fn start_task(
        &self,
        request: Request<StartTaskRequest>,
    ) -> Result<Response<StartTaskResponse>, Status> {
        let leased = self.dispatch.start_task(request.get_ref()).await?;
        Ok(Response::new(self.started(&leased).await?))
    }

    async fn plan_job(&self, request: Request<PlanJobRequest>) -> Result<Response<PlanJobResponse>, Status> {
        let leased = self.dispatch.plan_job(request.get_ref()).await?;
        Ok(Response::new(PlanJobResponse { encode: Some(self.encode(&leased).await?) }))
    }

    async fn sign_outputs(
        &self,
        request: Request<SignOutputsRequest>,
    ) -> Result<Response<SignOutputsResponse>, Status> {
        Ok(Response::new(self.sign(request.get_ref()).await?))
    }

    async fn record_outputs(
        &self,
        request: Request<RecordOutputsRequest>,
    ) -> Result<Response<RecordOutputsResponse>, Status> {
        self.dispatch.record_outputs(request.get_ref()).await?;
        Ok(Response::new(RecordOutputsResponse {}))
    }

    async fn list_segments(
        &self,
        request: Request<ListSegmentsRequest>,
    ) -> Result<Response<ListSegmentsResponse>, Status> {
        Ok(Response::new(self.segments(request.get_ref()).await?))
    }

    type ReportProgressStream = Pin<Box<dyn Stream<Item = Result<ReportProgressResponse, Status>> + Send>>;

    async fn report_progress(
        &self,
        request: Request<Streaming<ReportProgressRequest>>,
    ) -> Result<Response<Self::ReportProgressStream>, Status> {
        let answers = report::answers(Arc::clone(&self.dispatch), request.into_inner()).await;
        Ok(Response::new(answers))
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
