//! The task queue and the object store that a worker under test uses, and the state of its fake dispatcher.

use super::job::options;
use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path as UrlPath, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::{get, put};
use reelmill_media::plan::{Options, Plan, WorkUnit};
use reelmill_platform::queue::{Message, Queue, QueueDepth, QueueError};
use reelmill_proto::transcode::{
    CompleteTaskRequest, FailTaskRequest, Output, PlanJobRequest, RegisterWorkerRequest,
    ReportProgressRequest, StartTaskRequest, output,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Body of the first queue message.
pub const FIRST_MESSAGE: &str = "any";

/// A state-changing call to the dispatcher.
#[derive(Clone, Debug)]
pub enum Event {
    Planned(PlanJobRequest),
    /// Name of the task, and its outputs.
    Recorded(String, Vec<Output>),
    Completed(CompleteTaskRequest),
    Failed(FailTaskRequest),
}

/// A task that the dispatcher hands out.
#[derive(Clone, Debug)]
pub enum QueuedTask {
    Prepare,
    /// Index of the work unit, and the number of recorded segments by rendition.
    Encode(usize, HashMap<String, i32>),
    Package,
}

/// State of queue, object store and dispatcher: what the worker did, and the faults that they simulate.
#[derive(Default)]
pub struct FakeServices {
    pub options: Options,
    pub source: Mutex<Vec<u8>>,
    /// Tasks to hand out, in order.
    pub tasks: Mutex<Vec<QueuedTask>>,
    pub plan: Mutex<Option<Plan>>,
    pub objects: Mutex<BTreeMap<String, Bytes>>,
    pub messages: Mutex<Vec<String>>,
    pub deleted_messages: AtomicU64,
    /// New visibility timeouts of messages.
    pub visibility_changes: Mutex<Vec<Duration>>,
    pub started: Mutex<Vec<StartTaskRequest>>,
    pub events: Mutex<Vec<Event>>,
    pub reports: Mutex<Vec<ReportProgressRequest>>,
    pub registered: Mutex<Vec<RegisterWorkerRequest>>,
    /// Whether workers are asked to drain.
    pub draining: AtomicBool,
    /// The next progress report is answered with a request to cancel.
    pub cancel: AtomicBool,
    /// The next progress report fails with LEASE_LOST.
    pub lease_lost: AtomicBool,
    /// Number of progress streams that fail at their first report.
    pub failing_streams: AtomicU64,
    /// Number of progress streams of which only the first report is answered.
    pub silent_streams: AtomicU64,
    /// Number of progress streams so far.
    pub opened_streams: AtomicU64,
    /// Number of calls that fail with UNAVAILABLE, by method; ReportProgress excluded.
    pub unavailable_calls: Mutex<HashMap<&'static str, u64>>,
    /// Number of PUTs that return 503.
    pub failing_puts: AtomicU64,
    /// Port of the object store.
    pub port: AtomicU64,
}

impl FakeServices {
    /// Services whose plans have the given rungs.
    pub fn with_rungs(rungs: &[u32]) -> Self {
        Self { options: options(rungs), ..Self::default() }
    }

    /// Events so far, in order.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().expect("lock").clone()
    }

    pub fn add_event(&self, event: Event) {
        self.events.lock().expect("lock").push(event);
    }

    /// All recorded outputs.
    pub fn recorded(&self) -> Vec<Output> {
        let recorded = |event| if let Event::Recorded(_, outputs) = event { outputs } else { Vec::new() };
        self.events().into_iter().flat_map(recorded).collect()
    }

    /// The first FailTask request.
    pub fn failed(&self) -> Option<FailTaskRequest> {
        self.events()
            .into_iter()
            .find_map(|event| if let Event::Failed(failed) = event { Some(failed) } else { None })
    }

    /// Whether a task was completed or failed.
    pub fn is_settled(&self) -> bool {
        self.events().iter().any(|event| matches!(event, Event::Completed(_) | Event::Failed(_)))
    }

    /// Recorded segments of a rendition in order.
    pub fn segments(&self, rendition: &str) -> Vec<Output> {
        let sequence = |output: &Output| match &output.kind {
            Some(output::Kind::Segment(segment)) => Some(segment.sequence),
            _ => None,
        };
        let mut segments = self.recorded();
        segments.retain(|output| output.rendition_id == rendition && sequence(output).is_some());
        segments.sort_by_key(sequence);
        segments
    }

    /// URL of an object.
    pub fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}", self.port.load(Ordering::SeqCst))
    }

    /// Work units of the plan; none before PlanJob.
    pub fn work_units(&self) -> Vec<WorkUnit> {
        self.plan.lock().expect("lock").as_ref().map(|plan| plan.work_units.clone()).unwrap_or_default()
    }

    /// The object store's routes.
    pub fn object_store(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/source", get(get_source))
            .route("/{*name}", put(put_object).get(get_object))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(self))
    }
}

/// Decrements a counter of simulated faults. Returns whether the fault is due.
pub fn take_fault(counter: &AtomicU64) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

#[async_trait]
impl Queue for FakeServices {
    async fn send(&self, body: &str, _delay: Duration) -> Result<(), QueueError> {
        self.messages.lock().expect("lock").push(body.to_owned());
        Ok(())
    }

    async fn receive(&self, _: usize, _: Duration, wait: Duration) -> Result<Vec<Message>, QueueError> {
        let end = tokio::time::Instant::now() + wait;
        loop {
            if let Some(body) = self.messages.lock().expect("lock").pop() {
                return Ok(vec![Message { body, receipt: "r".into(), receive_count: 1 }]);
            }
            if tokio::time::Instant::now() >= end {
                return Ok(Vec::new());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn extend(&self, _receipt: &str, visibility: Duration) -> Result<(), QueueError> {
        self.visibility_changes.lock().expect("lock").push(visibility);
        Ok(())
    }

    async fn delete(&self, _receipt: &str) -> Result<(), QueueError> {
        self.deleted_messages.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn dead_letters(&self, _max: usize) -> Result<Vec<Message>, QueueError> {
        Ok(Vec::new())
    }

    async fn depth(&self) -> Result<QueueDepth, QueueError> {
        Ok(QueueDepth::default())
    }
}

async fn get_source(State(services): State<Arc<FakeServices>>, headers: HeaderMap) -> Response<Body> {
    let source = services.source.lock().expect("lock");
    let range = headers["range"].to_str().expect("range").trim_start_matches("bytes=").to_owned();
    let (first, last) = range.split_once('-').expect("range");
    let part = source[first.parse().expect("first")..=last.parse().expect("last")].to_vec();
    Response::builder().status(StatusCode::PARTIAL_CONTENT).body(part.into()).expect("response")
}

async fn get_object(
    State(services): State<Arc<FakeServices>>,
    UrlPath(name): UrlPath<String>,
) -> Response<Body> {
    let object = services.objects.lock().expect("lock").get(&name).cloned();
    let status = if object.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    Response::builder().status(status).body(object.unwrap_or_default().into()).expect("response")
}

async fn put_object(
    State(services): State<Arc<FakeServices>>,
    UrlPath(name): UrlPath<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    if take_fault(&services.failing_puts) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    assert!(headers.contains_key(header::CONTENT_TYPE), "{name}");
    services.objects.lock().expect("lock").insert(name, body);
    StatusCode::OK
}
