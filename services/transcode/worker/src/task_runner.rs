//! Task runner: what each kind of task does with the engine (prepare, encode, package).

use std::{collections::HashMap, fmt::Display, sync::Arc};

use reelmill_media::{
    Failure,
    plan::{Plan, WorkUnit},
};
use reelmill_proto::transcode::{
    EncodeTask, Lease, ListSegmentsRequest, PackageTask, PlanJobRequest, PrepareTask, SourceObject,
    start_task_response::Work,
};
use tempfile::TempDir;
use tokio::time::Instant;
use tonic::Status;

use crate::{
    convert,
    dispatcher_client::{DispatcherClient, is_unavailable},
    engine::{
        Completion, Engine, ProgressPublisher, SourceAddress, TaskIo, dispatcher_unavailable, worker_failed,
    },
    presigned_sink::PresignedSink,
};

/// Runs one leased task.
pub(crate) struct TaskRunner {
    engine: Engine,
    dispatcher: DispatcherClient,
    lease: Lease,
    scratch: TempDir,
    progress: ProgressPublisher,
}

impl TaskRunner {
    pub(crate) fn new(
        engine: Engine,
        dispatcher: DispatcherClient,
        lease: Lease,
        scratch: TempDir,
        progress: ProgressPublisher,
    ) -> Self {
        Self { engine, dispatcher, lease, scratch, progress }
    }

    pub(crate) async fn run(self, work: Work) -> Result<Completion, Failure> {
        match work {
            Work::Prepare(task) => self.prepare(task).await,
            Work::Encode(task) => self.encode(task).await,
            Work::Package(task) => self.package(task).await,
        }
    }

    /// Probes the source, has the job planned, and encodes the first work unit while the source is open.
    async fn prepare(self, task: PrepareTask) -> Result<Completion, Failure> {
        let session = self.engine.open(source_address(task.source)?).await?;
        let program = u32::try_from(task.program).ok().filter(|&number| number > 0);
        let source = self.engine.inspect(&session, program, self.scratch.path()).await?;
        let request = PlanJobRequest {
            lease: Some(self.lease.clone()),
            source: serde_json::to_vec(&source).map_err(|error| invalid_task(&error))?,
            source_info: Some(convert::source_info(&source)),
        };
        let planned = self
            .dispatcher
            .plan_job(request, self.call_deadline())
            .await
            .map_err(|status| call_failed(&status))?;
        let task = planned.encode.ok_or_else(|| invalid_task(&"PlanJob returned no encode task"))?;
        let (plan, work_unit) = parse(&task)?;
        self.engine.encode(&session, &plan, &work_unit, &HashMap::new(), self.task_io()).await
    }

    /// Encodes a work unit; its recorded segments are not uploaded again.
    async fn encode(self, task: EncodeTask) -> Result<Completion, Failure> {
        let (plan, work_unit) = parse(&task)?;
        let session = self.engine.open(source_address(task.source)?).await?;
        let recorded = task.recorded.into_iter();
        let recorded = recorded.map(|(id, count)| (id, u32::try_from(count).unwrap_or(0))).collect();
        self.engine.encode(&session, &plan, &work_unit, &recorded, self.task_io()).await
    }

    /// Joins each rendition's recorded segments with those of the default audio into a progressive MP4.
    async fn package(self, task: PackageTask) -> Result<Completion, Failure> {
        let plan: Plan = serde_json::from_slice(&task.plan).map_err(|error| invalid_task(&error))?;
        let default_audio = plan.audio.iter().find(|audio| audio.default);
        let mut completion = Completion::default();
        for rendition in &task.rendition_ids {
            let segments = self.segments(rendition).await?;
            let is_audio = plan.audio.iter().any(|audio| audio.id == *rendition);
            let (video, audio) = match default_audio {
                _ if is_audio => (None, segments),
                Some(audio) => (segments, self.segments(&audio.id).await?),
                None => (segments, None),
            };
            let packaged = self.engine.package(rendition, video, audio, self.task_io()).await?;
            completion.warnings.extend(packaged.warnings);
        }
        Ok(completion)
    }

    /// Addresses of a rendition's init segment and media segments; `None` if nothing is recorded.
    async fn segments(&self, rendition: &str) -> Result<Option<Vec<SourceAddress>>, Failure> {
        let mut addresses = Vec::new();
        loop {
            let listed = addresses.len().saturating_sub(1);
            let request = ListSegmentsRequest {
                lease: Some(self.lease.clone()),
                rendition_id: rendition.to_owned(),
                from_sequence: i32::try_from(listed).unwrap_or(i32::MAX),
            };
            let page = self.dispatcher.list_segments(request, self.call_deadline()).await;
            let page = page.map_err(|status| call_failed(&status))?;
            if page.segments.is_empty() {
                return Ok(Some(addresses).filter(|addresses| !addresses.is_empty()));
            }
            if addresses.is_empty() {
                addresses.push(source_address(page.init)?);
            }
            for segment in page.segments {
                addresses.push(source_address(Some(segment))?);
            }
        }
    }

    fn task_io(&self) -> TaskIo<'_> {
        let (http, retry_window) = (self.engine.http.clone(), self.engine.limits.retry_window);
        let sink = PresignedSink::new(http, self.dispatcher.clone(), self.lease.clone(), retry_window);
        TaskIo { scratch: self.scratch.path(), sink: Arc::new(sink), progress: &self.progress }
    }

    fn call_deadline(&self) -> Instant {
        Instant::now() + self.engine.limits.retry_window
    }
}

fn parse(task: &EncodeTask) -> Result<(Plan, WorkUnit), Failure> {
    let plan = serde_json::from_slice(&task.plan).map_err(|error| invalid_task(&error))?;
    let work_unit = serde_json::from_slice(&task.work_unit).map_err(|error| invalid_task(&error))?;
    Ok((plan, work_unit))
}

fn source_address(source: Option<SourceObject>) -> Result<SourceAddress, Failure> {
    let source = source.ok_or_else(|| invalid_task(&"no object to read is named"))?;
    Ok(SourceAddress { uri: source.uri, size_bytes: u64::try_from(source.size_bytes).unwrap_or(0) })
}

/// The dispatcher and this worker do not agree on the contract.
fn invalid_task(error: &dyn Display) -> Failure {
    tracing::error!(%error, "the dispatcher's message is invalid");
    worker_failed()
}

fn call_failed(status: &Status) -> Failure {
    tracing::warn!(%status, "a call to the dispatcher failed");
    if is_unavailable(status) { dispatcher_unavailable() } else { worker_failed() }
}
