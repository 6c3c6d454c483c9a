//! A dispatch, a queue and a store of the tests' own, with the worker between them.

use crate::role_dispatch::Dispatch;
use crate::support::{jail, wait_until};
use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::get;
use reelmill_media::plan::{Options, Plan, WorkUnit};
use reelmill_mesh::{Channel, MeshKey};
use reelmill_platform::queue::{Message, Queue, QueueError};
use reelmill_proto::Reason;
use reelmill_proto::transcode::worker_service_client::WorkerServiceClient;
use reelmill_proto::transcode::worker_service_server::WorkerServiceServer;
use reelmill_proto::transcode::{
    CompleteTaskRequest, FailTaskRequest, Output, PlanJobRequest, ReportProgressRequest, StartTaskRequest,
    output,
};
use reelmill_worker::engine::Jail;
use reelmill_worker::{WorkerConfig, WorkerError, run};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

/// What the first message names.
pub const HINT: &str = "jobs/j1/tasks/hint";

/// What dispatch heard, in its order.
#[derive(Clone, Debug)]
pub enum Event {
    Planned(PlanJobRequest),
    Recorded(String, Vec<Output>),
    Completed(CompleteTaskRequest),
    Failed(FailTaskRequest),
}

/// What there is to do.
#[derive(Clone, Debug)]
pub enum Task {
    Prepare,
    Encode(usize, HashMap<String, i32>),
    Package,
}

/// What the worker did to the world.
#[derive(Default)]
pub struct World {
    pub options: Options,
    pub source: Mutex<Vec<u8>>,
    /// Tasks that are queued, the next one first.
    pub tasks: Mutex<Vec<Task>>,
    pub plan: Mutex<Option<Plan>>,
    pub objects: Mutex<BTreeMap<String, Bytes>>,
    pub messages: Mutex<Vec<String>>,
    pub deleted: AtomicU64,
    pub extended: Mutex<Vec<Duration>>,
    pub started: Mutex<Vec<StartTaskRequest>>,
    pub events: Mutex<Vec<Event>>,
    pub reports: Mutex<Vec<ReportProgressRequest>>,
    /// StartTask is refused with this reason.
    pub refuse_start: Mutex<Option<Reason>>,
    /// The next report is answered with an order to stop.
    pub cancel: AtomicBool,
    /// The next report is answered with LEASE_LOST.
    pub lease_lost: AtomicBool,
    /// So many report streams break at their first report.
    pub broken_streams: AtomicU64,
    /// So many calls of each other method are answered UNAVAILABLE.
    pub busy: Mutex<HashMap<&'static str, u64>>,
    /// So many PUTs are answered 503.
    pub failing_puts: AtomicU64,
    pub port: AtomicU64,
}

impl World {
    /// One in which a plan's rungs are these.
    pub fn with_rungs(rungs: &[u32]) -> Self {
        Self { options: crate::job::options(rungs), ..Self::default() }
    }

    /// What dispatch heard so far.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().expect("lock").clone()
    }

    pub fn hear(&self, event: Event) {
        self.events.lock().expect("lock").push(event);
    }

    /// All that was recorded.
    pub fn recorded(&self) -> Vec<Output> {
        let recorded = |event| if let Event::Recorded(_, outputs) = event { outputs } else { Vec::new() };
        self.events().into_iter().flat_map(recorded).collect()
    }

    /// The first failure.
    pub fn failed(&self) -> Option<FailTaskRequest> {
        self.events()
            .into_iter()
            .find_map(|event| if let Event::Failed(failed) = event { Some(failed) } else { None })
    }

    /// Whether a task was settled, either way.
    pub fn is_settled(&self) -> bool {
        self.events().iter().any(|event| matches!(event, Event::Completed(_) | Event::Failed(_)))
    }

    /// Recorded segments of a rendition, in their order.
    pub fn segments(&self, rendition: &str) -> Vec<Output> {
        let place = |output: &Output| match &output.kind {
            Some(output::Kind::Segment(segment)) => Some(segment.sequence),
            _ => None,
        };
        let mut segments = self.recorded();
        segments.retain(|output| output.rendition_id == rendition && place(output).is_some());
        segments.sort_by_key(place);
        segments
    }

    pub fn address(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}", self.port.load(Ordering::SeqCst))
    }

    /// Shares of the plan.
    pub fn work_units(&self) -> Vec<WorkUnit> {
        self.plan.lock().expect("lock").as_ref().map(|plan| plan.work_units.clone()).unwrap_or_default()
    }
}

pub fn counted_down(counter: &AtomicU64) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

#[async_trait]
impl Queue for World {
    async fn send(&self, body: &str, _delay: Duration) -> Result<(), QueueError> {
        self.messages.lock().expect("lock").push(body.to_owned());
        Ok(())
    }

    async fn receive(&self, _: usize, _: Duration, _: Duration) -> Result<Vec<Message>, QueueError> {
        loop {
            if let Some(body) = self.messages.lock().expect("lock").pop() {
                return Ok(vec![Message { body, receipt: "r".into(), receive_count: 1 }]);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn extend(&self, _receipt: &str, visibility: Duration) -> Result<(), QueueError> {
        self.extended.lock().expect("lock").push(visibility);
        Ok(())
    }

    async fn delete(&self, _receipt: &str) -> Result<(), QueueError> {
        self.deleted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn dead_letters(&self, _max: usize) -> Result<Vec<Message>, QueueError> {
        Ok(Vec::new())
    }
}

async fn get_source(State(world): State<Arc<World>>, headers: HeaderMap) -> Response<Body> {
    let source = world.source.lock().expect("lock");
    let range = headers["range"].to_str().expect("range").trim_start_matches("bytes=").to_owned();
    let (first, last) = range.split_once('-').expect("range");
    let part = source[first.parse().expect("first")..=last.parse().expect("last")].to_vec();
    Response::builder().status(StatusCode::PARTIAL_CONTENT).body(part.into()).expect("response")
}

async fn get_object(State(world): State<Arc<World>>, UrlPath(name): UrlPath<String>) -> Response<Body> {
    let object = world.objects.lock().expect("lock").get(&name).cloned();
    let status = if object.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    Response::builder().status(status).body(object.unwrap_or_default().into()).expect("response")
}

async fn put_object(
    State(world): State<Arc<World>>,
    UrlPath(name): UrlPath<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    if counted_down(&world.failing_puts) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    assert!(headers.contains_key(header::CONTENT_TYPE), "{name}");
    world.objects.lock().expect("lock").insert(name, body);
    StatusCode::OK
}

/// A worker at work in a world.
pub struct Role {
    pub world: Arc<World>,
    pub shutdown: CancellationToken,
    pub scratch: TempDir,
    worker: JoinHandle<Result<(), WorkerError>>,
}

impl Role {
    /// Starts a worker that finds one message, about `source`. What there is to do is to prepare it, unless the world
    /// says otherwise.
    pub async fn start(source: &Path, world: World, drain: Duration) -> Self {
        Self::start_in(jail(), source, world, drain).await
    }

    /// The same, with another jail.
    pub async fn start_in(jail: Jail, source: &Path, world: World, drain: Duration) -> Self {
        // Another test of this process may have installed it.
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        *world.source.lock().expect("lock") = std::fs::read(source).expect("source");
        world.messages.lock().expect("lock").push(HINT.into());
        if world.tasks.lock().expect("lock").is_empty() {
            world.tasks.lock().expect("lock").push(Task::Prepare);
        }
        let world = Arc::new(world);

        let store = TcpListener::bind(("127.0.0.1", 0)).await.expect("port");
        world.port.store(store.local_addr().expect("address").port().into(), Ordering::SeqCst);
        let router = Router::new()
            .route("/source", get(get_source))
            .route("/{*name}", axum::routing::put(put_object).get(get_object))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(Arc::clone(&world));
        tokio::spawn(async move { axum::serve(store, router).await });

        let dispatch = TcpListener::bind(("127.0.0.1", 0)).await.expect("port");
        let address = format!("http://{}", dispatch.local_addr().expect("address"));
        let service = WorkerServiceServer::new(Dispatch::new(Arc::clone(&world)));
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(dispatch)));

        let key = MeshKey::new("a-key-of-the-tests-alone").expect("key");
        let channel = Channel::lazy(&address, &key, "worker").expect("channel");
        let scratch = TempDir::new().expect("scratch");
        let mut config = WorkerConfig::new(scratch.path().to_owned(), jail);
        config.drain = drain;
        let shutdown = CancellationToken::new();
        let queue: Arc<dyn Queue> = Arc::clone(&world) as Arc<dyn Queue>;
        let worker = tokio::spawn(run(config, queue, WorkerServiceClient::new(channel), shutdown.clone()));
        Self { world, shutdown, scratch, worker }
    }

    /// Waits until so many messages are deleted.
    pub async fn messages_deleted(&self, count: u64) {
        let deleted = || self.world.deleted.load(Ordering::SeqCst) == count;
        wait_until(Duration::from_secs(60), "messages are deleted", deleted).await;
    }

    /// Waits until a report tells of encoded frames.
    pub async fn encoding(&self) {
        let encoding = || {
            let reports = self.world.reports.lock().expect("lock");
            reports.iter().any(|report| report.progress.as_ref().is_some_and(|progress| progress.frames > 0))
        };
        wait_until(Duration::from_secs(60), "frames are encoded", encoding).await;
    }

    /// Stops the worker, which must leave nothing in its scratch folder.
    pub async fn stop(self) -> Arc<World> {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(30), self.worker).await;
        ended.expect("the worker ends").expect("no panic").expect("no error");
        assert_eq!(std::fs::read_dir(self.scratch.path()).expect("scratch").count(), 0);
        self.world
    }
}
