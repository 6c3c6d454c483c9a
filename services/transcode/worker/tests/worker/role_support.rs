//! A dispatch, a queue and a store of the tests' own, with the worker between them.

use crate::support::wait_until;
use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::get;
use futures::{Stream, StreamExt};
use reelmill_mesh::{Channel, MeshKey, Refusal};
use reelmill_platform::queue::{Message, Queue, QueueError};
use reelmill_proto::transcode::worker_service_client::WorkerServiceClient;
use reelmill_proto::transcode::worker_service_server::{WorkerService, WorkerServiceServer};
use reelmill_proto::transcode::{
    CompleteTaskRequest, CompleteTaskResponse, FailTaskRequest, FailTaskResponse, Lease,
    ReportProgressRequest, ReportProgressResponse, SignOutputsRequest, SignOutputsResponse, StartTaskRequest,
    StartTaskResponse, WholeVideoTask, start_task_response::Work,
};
use reelmill_proto::{duration, timestamp};
use reelmill_worker::{WorkerConfig, WorkerError, run};
use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response as Answer, Status, Streaming};

pub const TASK: &str = "jobs/j1/tasks/t1";

/// What the worker did to the world.
#[derive(Default)]
pub struct World {
    pub source: Mutex<Vec<u8>>,
    pub objects: Mutex<BTreeMap<String, usize>>,
    pub messages: Mutex<Vec<String>>,
    pub deleted: AtomicU64,
    pub started: Mutex<Vec<StartTaskRequest>>,
    pub reports: Mutex<Vec<ReportProgressRequest>>,
    pub completed: Mutex<Option<CompleteTaskRequest>>,
    pub failed: Mutex<Option<FailTaskRequest>>,
    /// StartTask is refused with this reason.
    pub refuse_start: Mutex<Option<&'static str>>,
    /// The next report is answered with an order to stop.
    pub cancel: AtomicBool,
    /// The next report is answered with LEASE_LOST.
    pub lease_lost: AtomicBool,
    /// So many report streams break at their first report.
    pub broken_streams: AtomicU64,
    /// So many calls of CompleteTask are answered UNAVAILABLE.
    pub busy: AtomicU64,
    /// So many PUTs are answered 503.
    pub failing_puts: AtomicU64,
    port: AtomicU64,
}

fn counted_down(counter: &AtomicU64) -> bool {
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

    async fn extend(&self, _receipt: &str, _visibility: Duration) -> Result<(), QueueError> {
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

struct Dispatch(Arc<World>);

fn in_seconds(seconds: u64) -> prost_types::Timestamp {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("time");
    timestamp(i64::try_from((now + Duration::from_secs(seconds)).as_millis()).expect("millis"))
}

fn lease_lost() -> Status {
    Refusal::new(Code::FailedPrecondition, "LEASE_LOST", "another has it").into()
}

#[tonic::async_trait]
impl WorkerService for Dispatch {
    async fn start_task(
        &self,
        request: Request<StartTaskRequest>,
    ) -> Result<Answer<StartTaskResponse>, Status> {
        self.0.started.lock().expect("lock").push(request.into_inner());
        if let Some(reason) = *self.0.refuse_start.lock().expect("lock") {
            return Err(Refusal::new(Code::FailedPrecondition, reason, "refused").into());
        }
        let size = self.0.source.lock().expect("lock").len();
        Ok(Answer::new(StartTaskResponse {
            lease: Some(Lease { task: TASK.into(), fencing_token: 7 }),
            lease_expire_time: Some(in_seconds(30)),
            attempt: 1,
            output_prefix: "v/7/".into(),
            work: Some(Work::WholeVideo(WholeVideoTask {
                source_uri: format!("http://127.0.0.1:{}/source", self.0.port.load(Ordering::SeqCst)),
                source_size_bytes: i64::try_from(size).expect("size"),
            })),
        }))
    }

    async fn sign_outputs(
        &self,
        request: Request<SignOutputsRequest>,
    ) -> Result<Answer<SignOutputsResponse>, Status> {
        let port = self.0.port.load(Ordering::SeqCst);
        let names = request.into_inner().names;
        let uris = names.iter().map(|name| format!("http://127.0.0.1:{port}/{name}")).collect();
        Ok(Answer::new(SignOutputsResponse { uris, expire_time: Some(in_seconds(900)) }))
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
                return Err(lease_lost());
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
        if counted_down(&self.0.busy) {
            return Err(Status::unavailable("busy"));
        }
        *self.0.completed.lock().expect("lock") = Some(request.into_inner());
        Ok(Answer::new(CompleteTaskResponse {}))
    }

    async fn fail_task(&self, request: Request<FailTaskRequest>) -> Result<Answer<FailTaskResponse>, Status> {
        *self.0.failed.lock().expect("lock") = Some(request.into_inner());
        Ok(Answer::new(FailTaskResponse { will_retry: true }))
    }
}

async fn get_source(State(world): State<Arc<World>>, headers: HeaderMap) -> Response<Body> {
    let source = world.source.lock().expect("lock");
    let range = headers["range"].to_str().expect("range").trim_start_matches("bytes=").to_owned();
    let (first, last) = range.split_once('-').expect("range");
    let part = source[first.parse().expect("first")..=last.parse().expect("last")].to_vec();
    Response::builder().status(StatusCode::PARTIAL_CONTENT).body(part.into()).expect("response")
}

async fn put_object(
    State(world): State<Arc<World>>,
    UrlPath(name): UrlPath<String>,
    body: Bytes,
) -> StatusCode {
    if counted_down(&world.failing_puts) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    world.objects.lock().expect("lock").insert(name, body.len());
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
    /// Starts a worker that finds one message, about `source`.
    pub async fn start(source: &Path, world: World, drain: Duration) -> Self {
        // Another test of this process may have installed it.
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        *world.source.lock().expect("lock") = std::fs::read(source).expect("source");
        world.messages.lock().expect("lock").push(TASK.into());
        let world = Arc::new(world);

        let store = TcpListener::bind(("127.0.0.1", 0)).await.expect("port");
        world.port.store(store.local_addr().expect("address").port().into(), Ordering::SeqCst);
        let router = Router::new()
            .route("/source", get(get_source))
            .route("/{*name}", axum::routing::put(put_object))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(Arc::clone(&world));
        tokio::spawn(async move { axum::serve(store, router).await });

        let dispatch = TcpListener::bind(("127.0.0.1", 0)).await.expect("port");
        let address = format!("http://{}", dispatch.local_addr().expect("address"));
        let service = WorkerServiceServer::new(Dispatch(Arc::clone(&world)));
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(dispatch)));

        let key = MeshKey::new("a-key-of-the-tests-alone").expect("key");
        let channel = Channel::lazy(&address, &key, "worker").expect("channel");
        let scratch = TempDir::new().expect("scratch");
        let mut config = WorkerConfig::new(scratch.path().to_owned());
        config.drain = drain;
        let shutdown = CancellationToken::new();
        let queue: Arc<dyn Queue> = Arc::clone(&world) as Arc<dyn Queue>;
        let worker = tokio::spawn(run(config, queue, WorkerServiceClient::new(channel), shutdown.clone()));
        Self { world, shutdown, scratch, worker }
    }

    /// Waits until the message is deleted.
    pub async fn message_deleted(&self) {
        let deleted = || self.world.deleted.load(Ordering::SeqCst) == 1;
        wait_until(Duration::from_secs(60), "the message is deleted", deleted).await;
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
