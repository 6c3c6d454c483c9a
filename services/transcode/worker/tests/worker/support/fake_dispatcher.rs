//! The dispatcher that a worker under test calls: plans sources, hands out queued tasks and records requests.

use super::fake_services::{Event, FakeServices, QueuedTask, take_fault};
use futures::{Stream, StreamExt};
use reelmill_media::plan::plan;
use reelmill_media::probe::Source;
use reelmill_mesh::RpcError;
use reelmill_proto::transcode::worker_service_server::WorkerService;
use reelmill_proto::transcode::{
    CompleteTaskRequest, CompleteTaskResponse, EncodeTask, FailTaskRequest, FailTaskResponse, Lease,
    ListSegmentsRequest, ListSegmentsResponse, PackageTask, PlanJobRequest, PlanJobResponse, PrepareTask,
    RecordOutputsRequest, RecordOutputsResponse, RegisterWorkerRequest, RegisterWorkerResponse,
    ReportProgressRequest, ReportProgressResponse, SignOutputsRequest, SignOutputsResponse, SourceObject,
    StartTaskRequest, StartTaskResponse, TaskClass, output, start_task_response::Work,
};
use reelmill_proto::{Reason, duration, timestamp};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use tonic::{Code, Request, Response, Status, Streaming};

/// Segments in a response of ListSegments: fewer than there are, so that several pages are needed.
const PAGE_SIZE: usize = 4;
/// Fencing token of every lease; every call must carry it.
const FENCING_TOKEN: i64 = 7;

/// Report interval that a stream requests before it falls silent.
const SILENT_STREAM_INTERVAL: Duration = Duration::from_millis(500);
/// How long a call of an EXPRESS slot waits.
const EXPRESS_WAIT: Duration = Duration::from_millis(500);

/// See the module.
pub struct FakeDispatcher(Arc<FakeServices>);

fn in_seconds(seconds: u64) -> prost_types::Timestamp {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("time");
    timestamp(i64::try_from((now + Duration::from_secs(seconds)).as_millis()).expect("millis"))
}

fn refused(reason: Reason) -> Status {
    RpcError::new(Code::FailedPrecondition, reason, "refused").into()
}

impl FakeDispatcher {
    pub fn new(services: Arc<FakeServices>) -> Self {
        Self(services)
    }

    /// The task of a lease, after checking name and token. It is never the task that the message named.
    fn checked_task(&self, lease: Option<Lease>) -> Result<String, Status> {
        let lease = lease.ok_or_else(|| Status::invalid_argument("no lease"))?;
        assert!(lease.task.starts_with("jobs/j1/tasks/t"), "{lease:?}");
        assert_eq!(lease.fencing_token, FENCING_TOKEN);
        Ok(lease.task)
    }

    fn check_available(&self, method: &'static str) -> Result<(), Status> {
        let mut calls = self.0.unavailable_calls.lock().expect("lock");
        match calls.get_mut(method).filter(|left| **left > 0) {
            Some(left) => {
                *left -= 1;
                Err(Status::unavailable("simulated"))
            }
            None => Ok(()),
        }
    }

    fn source(&self) -> SourceObject {
        let size = self.0.source.lock().expect("lock").len();
        SourceObject { uri: self.0.url("source"), size_bytes: i64::try_from(size).expect("size") }
    }

    fn encode(&self, work_unit: usize, recorded: HashMap<String, i32>) -> EncodeTask {
        let plan = self.0.plan.lock().expect("lock").clone().expect("planned");
        EncodeTask {
            source: Some(self.source()),
            plan: serde_json::to_vec(&plan).expect("plan"),
            work_unit: serde_json::to_vec(&plan.work_units[work_unit]).expect("work unit"),
            recorded,
        }
    }

    fn work(&self, task: QueuedTask) -> Work {
        match task {
            QueuedTask::Prepare => Work::Prepare(PrepareTask { source: Some(self.source()), program: 0 }),
            QueuedTask::Encode(work_unit, recorded) => Work::Encode(self.encode(work_unit, recorded)),
            QueuedTask::Package => {
                let plan = self.0.plan.lock().expect("lock").clone().expect("planned");
                let rungs = plan.video.iter().flat_map(|video_plan| &video_plan.rungs);
                Work::Package(PackageTask {
                    rendition_ids: rungs.map(|rung| rung.id.clone()).collect(),
                    plan: serde_json::to_vec(&plan).expect("plan"),
                })
            }
        }
    }
}

#[tonic::async_trait]
impl WorkerService for FakeDispatcher {
    async fn register_worker(
        &self,
        request: Request<RegisterWorkerRequest>,
    ) -> Result<Response<RegisterWorkerResponse>, Status> {
        self.0.registered.lock().expect("lock").push(request.into_inner());
        let draining = self.0.draining.load(Ordering::SeqCst);
        let interval = Some(duration(Duration::from_secs(1)));
        Ok(Response::new(RegisterWorkerResponse { draining, interval }))
    }

    async fn start_task(
        &self,
        request: Request<StartTaskRequest>,
    ) -> Result<Response<StartTaskResponse>, Status> {
        let request = request.into_inner();
        // BULK slots run every task, so that the order of the tasks is known.
        if request.slot_class() == TaskClass::Express {
            tokio::time::sleep(EXPRESS_WAIT).await;
            return Ok(Response::new(StartTaskResponse::default()));
        }
        self.check_available("StartTask")?;
        self.0.started.lock().expect("lock").push(request);
        let task = {
            let mut tasks = self.0.tasks.lock().expect("lock");
            if tasks.is_empty() {
                return Ok(Response::new(StartTaskResponse::default()));
            }
            tasks.remove(0)
        };
        let count = self.0.started.lock().expect("lock").len();
        Ok(Response::new(StartTaskResponse {
            lease: Some(Lease { task: format!("jobs/j1/tasks/t{count}"), fencing_token: FENCING_TOKEN }),
            lease_expire_time: Some(in_seconds(30)),
            attempt: 1,
            output_prefix: "v/7/".into(),
            work: Some(self.work(task)),
        }))
    }

    async fn plan_job(&self, request: Request<PlanJobRequest>) -> Result<Response<PlanJobResponse>, Status> {
        self.check_available("PlanJob")?;
        let request = request.into_inner();
        self.checked_task(request.lease.clone())?;
        let source: Source = serde_json::from_slice(&request.source)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let plan = plan(&source, &self.0.options);
        let mut tasks: Vec<_> = (1..plan.work_units.len())
            .map(|work_unit| QueuedTask::Encode(work_unit, HashMap::new()))
            .collect();
        if !plan.is_single() {
            tasks.push(QueuedTask::Package);
        }
        self.0.messages.lock().expect("lock").extend(tasks.iter().map(|_| "any".to_owned()));
        *self.0.tasks.lock().expect("lock") = tasks;
        *self.0.plan.lock().expect("lock") = Some(plan);
        self.0.add_event(Event::Planned(request));
        Ok(Response::new(PlanJobResponse { encode: Some(self.encode(0, HashMap::new())) }))
    }

    async fn sign_outputs(
        &self,
        request: Request<SignOutputsRequest>,
    ) -> Result<Response<SignOutputsResponse>, Status> {
        self.check_available("SignOutputs")?;
        let request = request.into_inner();
        self.checked_task(request.lease)?;
        let uris = request.names.iter().map(|name| self.0.url(name)).collect();
        Ok(Response::new(SignOutputsResponse { uris, expire_time: Some(in_seconds(900)) }))
    }

    async fn record_outputs(
        &self,
        request: Request<RecordOutputsRequest>,
    ) -> Result<Response<RecordOutputsResponse>, Status> {
        self.check_available("RecordOutputs")?;
        let request = request.into_inner();
        let task = self.checked_task(request.lease)?;
        let objects = self.0.objects.lock().expect("lock").clone();
        for output in &request.outputs {
            let size = objects.get(&output.name).map(|object| object.len() as i64);
            assert_eq!(size, Some(output.size_bytes), "{}: recorded size is the uploaded one", output.name);
        }
        self.0.add_event(Event::Recorded(task, request.outputs));
        Ok(Response::new(RecordOutputsResponse {}))
    }

    async fn list_segments(
        &self,
        request: Request<ListSegmentsRequest>,
    ) -> Result<Response<ListSegmentsResponse>, Status> {
        self.check_available("ListSegments")?;
        let request = request.into_inner();
        self.checked_task(request.lease)?;
        let object = |output: &reelmill_proto::transcode::Output| SourceObject {
            uri: self.0.url(&output.name),
            size_bytes: output.size_bytes,
        };
        let is_init = |output: &&reelmill_proto::transcode::Output| {
            output.rendition_id == request.rendition_id && matches!(output.kind, Some(output::Kind::Init(_)))
        };
        let init = self.0.recorded().iter().find(is_init).map(object);
        let from = usize::try_from(request.from_sequence).expect("sequence");
        let segments = self.0.segments(&request.rendition_id);
        let segments = segments.iter().skip(from).take(PAGE_SIZE).map(object).collect();
        Ok(Response::new(ListSegmentsResponse { init, segments }))
    }

    type ReportProgressStream = Pin<Box<dyn Stream<Item = Result<ReportProgressResponse, Status>> + Send>>;

    async fn report_progress(
        &self,
        request: Request<Streaming<ReportProgressRequest>>,
    ) -> Result<Response<Self::ReportProgressStream>, Status> {
        let services = Arc::clone(&self.0);
        services.opened_streams.fetch_add(1, Ordering::SeqCst);
        if take_fault(&services.silent_streams) {
            let interval = Some(duration(SILENT_STREAM_INTERVAL));
            let response = ReportProgressResponse {
                lease_expire_time: Some(in_seconds(30)),
                report_interval: interval,
                ..ReportProgressResponse::default()
            };
            let silence = futures::stream::pending();
            return Ok(Response::new(Box::pin(futures::stream::iter([Ok(response)]).chain(silence))));
        }
        let responses = request.into_inner().map(move |report| {
            services.reports.lock().expect("lock").push(report?);
            if take_fault(&services.failing_streams) {
                return Err(Status::unavailable("simulated"));
            }
            if services.lease_lost.load(Ordering::SeqCst) {
                return Err(refused(Reason::LeaseLost));
            }
            Ok(ReportProgressResponse {
                lease_expire_time: Some(in_seconds(30)),
                report_interval: Some(duration(Duration::from_secs(10))),
                cancel: services.cancel.load(Ordering::SeqCst),
            })
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn complete_task(
        &self,
        request: Request<CompleteTaskRequest>,
    ) -> Result<Response<CompleteTaskResponse>, Status> {
        self.check_available("CompleteTask")?;
        let request = request.into_inner();
        self.checked_task(request.lease.clone())?;
        self.0.add_event(Event::Completed(request));
        Ok(Response::new(CompleteTaskResponse {}))
    }

    async fn fail_task(
        &self,
        request: Request<FailTaskRequest>,
    ) -> Result<Response<FailTaskResponse>, Status> {
        self.check_available("FailTask")?;
        let request = request.into_inner();
        self.checked_task(request.lease.clone())?;
        self.0.add_event(Event::Failed(request));
        Ok(Response::new(FailTaskResponse { will_retry: true }))
    }
}
