//! The dispatch of the role's tests: plans for real, hands out what the world has queued, and notes what it hears.

use crate::role_support::{Event, Task, World, counted_down};
use futures::{Stream, StreamExt};
use reelmill_media::plan::plan;
use reelmill_media::probe::Source;
use reelmill_mesh::RpcError;
use reelmill_proto::transcode::worker_service_server::WorkerService;
use reelmill_proto::transcode::{
    CompleteTaskRequest, CompleteTaskResponse, EncodeTask, FailTaskRequest, FailTaskResponse, Lease,
    ListSegmentsRequest, ListSegmentsResponse, PackageTask, PlanJobRequest, PlanJobResponse, PrepareTask,
    RecordOutputsRequest, RecordOutputsResponse, ReportProgressRequest, ReportProgressResponse,
    SignOutputsRequest, SignOutputsResponse, SourceObject, StartTaskRequest, StartTaskResponse, output,
    start_task_response::Work,
};
use reelmill_proto::{Reason, duration, timestamp};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use tonic::{Code, Request, Response as Answer, Status, Streaming};

/// Segments of one answer of ListSegments: fewer than there are, so that pages are turned.
const PAGE: usize = 4;
/// The lease's token; every call must carry it.
pub const TOKEN: i64 = 7;

pub struct Dispatch(Arc<World>);

fn in_seconds(seconds: u64) -> prost_types::Timestamp {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("time");
    timestamp(i64::try_from((now + Duration::from_secs(seconds)).as_millis()).expect("millis"))
}

fn refused(reason: Reason) -> Status {
    RpcError::new(Code::FailedPrecondition, reason, "refused").into()
}

impl Dispatch {
    pub fn new(world: Arc<World>) -> Self {
        Self(world)
    }

    /// The task of a lease, which is never the one that the message named.
    fn held(&self, lease: Option<Lease>) -> Result<String, Status> {
        let lease = lease.ok_or_else(|| Status::invalid_argument("no lease"))?;
        assert!(lease.task.starts_with("jobs/j1/tasks/t"), "{lease:?}");
        assert_eq!(lease.fencing_token, TOKEN);
        Ok(lease.task)
    }

    fn busy(&self, method: &'static str) -> Result<(), Status> {
        let mut busy = self.0.busy.lock().expect("lock");
        match busy.get_mut(method).filter(|left| **left > 0) {
            Some(left) => {
                *left -= 1;
                Err(Status::unavailable("busy"))
            }
            None => Ok(()),
        }
    }

    fn source(&self) -> SourceObject {
        let size = self.0.source.lock().expect("lock").len();
        SourceObject { uri: self.0.address("source"), size_bytes: i64::try_from(size).expect("size") }
    }

    fn encode(&self, work_unit: usize, recorded: HashMap<String, i32>) -> EncodeTask {
        let plan = self.0.plan.lock().expect("lock").clone().expect("planned");
        EncodeTask {
            source: Some(self.source()),
            plan: serde_json::to_vec(&plan).expect("plan"),
            work_unit: serde_json::to_vec(&plan.work_units[work_unit]).expect("share"),
            recorded,
        }
    }

    fn work(&self, task: Task) -> Work {
        match task {
            Task::Prepare => Work::Prepare(PrepareTask { source: Some(self.source()) }),
            Task::Encode(work_unit, recorded) => Work::Encode(self.encode(work_unit, recorded)),
            Task::Package => {
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
impl WorkerService for Dispatch {
    async fn start_task(
        &self,
        request: Request<StartTaskRequest>,
    ) -> Result<Answer<StartTaskResponse>, Status> {
        self.busy("StartTask")?;
        self.0.started.lock().expect("lock").push(request.into_inner());
        if let Some(reason) = *self.0.refuse_start.lock().expect("lock") {
            return Err(refused(reason));
        }
        let task = {
            let mut tasks = self.0.tasks.lock().expect("lock");
            if tasks.is_empty() {
                return Err(refused(Reason::TaskEnded));
            }
            tasks.remove(0)
        };
        let number = self.0.started.lock().expect("lock").len();
        Ok(Answer::new(StartTaskResponse {
            lease: Some(Lease { task: format!("jobs/j1/tasks/t{number}"), fencing_token: TOKEN }),
            lease_expire_time: Some(in_seconds(30)),
            attempt: 1,
            output_prefix: "v/7/".into(),
            work: Some(self.work(task)),
        }))
    }

    async fn plan_job(&self, request: Request<PlanJobRequest>) -> Result<Answer<PlanJobResponse>, Status> {
        self.busy("PlanJob")?;
        let request = request.into_inner();
        self.held(request.lease.clone())?;
        let source: Source = serde_json::from_slice(&request.source)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let plan = plan(&source, &self.0.options);
        let mut tasks: Vec<_> =
            (1..plan.work_units.len()).map(|work_unit| Task::Encode(work_unit, HashMap::new())).collect();
        if !plan.is_single() {
            tasks.push(Task::Package);
        }
        self.0.messages.lock().expect("lock").extend(tasks.iter().map(|_| "jobs/j1/tasks/any".to_owned()));
        *self.0.tasks.lock().expect("lock") = tasks;
        *self.0.plan.lock().expect("lock") = Some(plan);
        self.0.hear(Event::Planned(request));
        Ok(Answer::new(PlanJobResponse { encode: Some(self.encode(0, HashMap::new())) }))
    }

    async fn sign_outputs(
        &self,
        request: Request<SignOutputsRequest>,
    ) -> Result<Answer<SignOutputsResponse>, Status> {
        self.busy("SignOutputs")?;
        let request = request.into_inner();
        self.held(request.lease)?;
        let uris = request.names.iter().map(|name| self.0.address(name)).collect();
        Ok(Answer::new(SignOutputsResponse { uris, expire_time: Some(in_seconds(900)) }))
    }

    async fn record_outputs(
        &self,
        request: Request<RecordOutputsRequest>,
    ) -> Result<Answer<RecordOutputsResponse>, Status> {
        self.busy("RecordOutputs")?;
        let request = request.into_inner();
        let task = self.held(request.lease)?;
        let objects = self.0.objects.lock().expect("lock").clone();
        for output in &request.outputs {
            let size = objects.get(&output.name).map(|object| object.len() as i64);
            assert_eq!(size, Some(output.size_bytes), "{} is recorded as it was put", output.name);
        }
        self.0.hear(Event::Recorded(task, request.outputs));
        Ok(Answer::new(RecordOutputsResponse {}))
    }

    async fn list_segments(
        &self,
        request: Request<ListSegmentsRequest>,
    ) -> Result<Answer<ListSegmentsResponse>, Status> {
        self.busy("ListSegments")?;
        let request = request.into_inner();
        self.held(request.lease)?;
        let address = |output: &reelmill_proto::transcode::Output| SourceObject {
            uri: self.0.address(&output.name),
            size_bytes: output.size_bytes,
        };
        let is_init = |output: &&reelmill_proto::transcode::Output| {
            output.rendition_id == request.rendition_id && matches!(output.kind, Some(output::Kind::Init(_)))
        };
        let init = self.0.recorded().iter().find(is_init).map(address);
        let from = usize::try_from(request.from_sequence).expect("place");
        let segments = self.0.segments(&request.rendition_id);
        let segments = segments.iter().skip(from).take(PAGE).map(address).collect();
        Ok(Answer::new(ListSegmentsResponse { init, segments }))
    }

    type ReportProgressStream = Pin<Box<dyn Stream<Item = Result<ReportProgressResponse, Status>> + Send>>;

    async fn report_progress(
        &self,
        request: Request<Streaming<ReportProgressRequest>>,
    ) -> Result<Answer<Self::ReportProgressStream>, Status> {
        let world = Arc::clone(&self.0);
        let answers = request.into_inner().map(move |report| {
            world.reports.lock().expect("lock").push(report?);
            if counted_down(&world.broken_streams) {
                return Err(Status::unavailable("gone"));
            }
            if world.lease_lost.load(Ordering::SeqCst) {
                return Err(refused(Reason::LeaseLost));
            }
            Ok(ReportProgressResponse {
                lease_expire_time: Some(in_seconds(30)),
                report_interval: Some(duration(Duration::from_secs(10))),
                cancel: world.cancel.load(Ordering::SeqCst),
            })
        });
        Ok(Answer::new(Box::pin(answers)))
    }

    async fn complete_task(
        &self,
        request: Request<CompleteTaskRequest>,
    ) -> Result<Answer<CompleteTaskResponse>, Status> {
        self.busy("CompleteTask")?;
        let request = request.into_inner();
        self.held(request.lease.clone())?;
        self.0.hear(Event::Completed(request));
        Ok(Answer::new(CompleteTaskResponse {}))
    }

    async fn fail_task(&self, request: Request<FailTaskRequest>) -> Result<Answer<FailTaskResponse>, Status> {
        self.busy("FailTask")?;
        let request = request.into_inner();
        self.held(request.lease.clone())?;
        self.0.hear(Event::Failed(request));
        Ok(Answer::new(FailTaskResponse { will_retry: true }))
    }
}
