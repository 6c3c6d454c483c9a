//! One transcode role with real backends, a clock of its own, and its clients.

use std::{sync::Arc, time::Duration};

use reelmill_mesh::{Channel, MeshKey, headers, reason_of, server};
use reelmill_platform::{
    clock::Clock,
    objects::{Objects, ObjectsConfig},
    queue::{self, Message, Queue, QueueConfig},
    shared_state::{self, PubSub},
};
use reelmill_proto::transcode::{
    CreateJobRequest, GetJobRequest, Job, StartTaskRequest, StartTaskResponse, WatchJobsRequest,
    WatchJobsResponse, transcode_service_client::TranscodeServiceClient,
    worker_service_client::WorkerServiceClient,
};
use reelmill_testkit::Postgres;
use reelmill_transcode::{Transcode, TranscodeConfig};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport,
};

const KEY: &str = "a-key-for-tests-only";

/// The system under test.
pub struct World {
    pub transcode: Transcode,
    pub queue: Arc<dyn Queue>,
    pub objects: Objects,
    pub clock: Clock,
    database_url: String,
    pub_sub: Arc<dyn PubSub>,
    address: String,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
    _postgres: Option<Postgres>,
}

/// Shows the mesh key and speaks for one user.
#[derive(Clone)]
pub struct As(String);

impl Interceptor for As {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let caller = format!("user {} session", self.0);
        request.metadata_mut().insert(headers::KEY, KEY.parse().unwrap());
        request.metadata_mut().insert(headers::CALLER, caller.parse().unwrap());
        Ok(request)
    }
}

impl World {
    /// On SQLite.
    pub async fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("transcode.db").display());
        Self::on(url, folder, None).await
    }

    /// On Postgres.
    pub async fn on_postgres() -> Self {
        let postgres = Postgres::start().await.unwrap();
        let url = postgres.create_database("transcode").await.unwrap();
        Self::on(url, tempfile::tempdir().unwrap(), Some(postgres)).await
    }

    async fn on(database_url: String, folder: tempfile::TempDir, postgres: Option<Postgres>) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let stop = CancellationToken::new();
        let objects = objects(folder.path(), &stop).await;
        let queue = queue::connect(&QueueConfig {
            url: format!("sqlite://{}", folder.path().join("queue.db").display()),
            dead_letter_url: None,
            max_receives: 20,
            region: None,
            access_key_id: None,
            secret_access_key: None,
        })
        .await
        .unwrap();
        let pub_sub =
            shared_state::connect(&format!("memory:{}", folder.path().display())).await.unwrap().pub_sub;
        let clock = Clock::manual(1_700_000_000_000);
        let config = TranscodeConfig::new(&database_url);
        let (same_queue, same_pub_sub) = (Arc::clone(&queue), Arc::clone(&pub_sub));
        let transcode =
            Transcode::open(config, objects.clone(), same_queue, same_pub_sub, clock.clone()).await.unwrap();
        let address = serve(&transcode, &stop).await;
        Self {
            transcode,
            queue,
            objects,
            clock,
            database_url,
            pub_sub,
            address,
            stop,
            _folder: folder,
            _postgres: postgres,
        }
    }

    /// Another process of the role, which knows nothing but what is stored.
    pub async fn replica(&self) -> Transcode {
        let config = TranscodeConfig::new(&self.database_url);
        let (queue, pub_sub) = (Arc::clone(&self.queue), Arc::clone(&self.pub_sub));
        Transcode::open(config, self.objects.clone(), queue, pub_sub, self.clock.clone()).await.unwrap()
    }

    /// From now on everybody calls another process.
    pub async fn restart(&mut self) {
        self.transcode = self.replica().await;
        self.address = serve(&self.transcode, &self.stop).await;
    }

    /// What the upload role is told of a job.
    pub async fn told(&self, name: &str) -> WatchJobsResponse {
        let mut feed = self.jobs().watch_jobs(WatchJobsRequest { revision: 0 }).await.unwrap().into_inner();
        loop {
            let next = tokio::time::timeout(Duration::from_secs(5), feed.message()).await;
            let told = next.expect("the job is told").unwrap().expect("the feed goes on");
            if told.job.as_ref().is_some_and(|job| job.name == name) {
                return told;
            }
        }
    }

    /// A job.
    pub async fn look(&self, name: &str) -> Job {
        let request = GetJobRequest { name: name.to_owned() };
        self.jobs().get_job(request).await.unwrap().into_inner().job.unwrap()
    }

    fn channel(&self) -> Channel {
        Channel::lazy(&self.address, &MeshKey::new(KEY).unwrap(), "upload").unwrap()
    }

    /// As the upload role calls.
    pub fn jobs(&self) -> TranscodeServiceClient<Channel> {
        TranscodeServiceClient::new(self.channel())
    }

    /// As a worker calls.
    pub fn worker(&self) -> WorkerServiceClient<Channel> {
        WorkerServiceClient::new(self.channel())
    }

    /// As a user calls, through the gateway.
    pub fn user(&self, user: &str) -> TranscodeServiceClient<InterceptedService<transport::Channel, As>> {
        let channel = transport::Endpoint::from_shared(self.address.clone()).unwrap().connect_lazy();
        TranscodeServiceClient::with_interceptor(channel, As(user.to_owned()))
    }

    /// A new job of a user.
    pub async fn job(&self, owner: &str, request_id: &str) -> Job {
        let request = CreateJobRequest {
            video: format!("videos/{request_id}"),
            owner: format!("users/{owner}"),
            request_id: request_id.to_owned(),
            source_key: format!("sources/{request_id}/x"),
            source_size_bytes: 1000,
            output_prefix: format!("outputs/{request_id}/"),
            options: None,
        };
        self.jobs().create_job(request).await.unwrap().into_inner().job.unwrap()
    }

    /// The next message, within a bound; none when the queue stays empty.
    pub async fn message(&self, wait: Duration) -> Option<Message> {
        self.queue.receive(1, Duration::from_secs(60), wait).await.unwrap().pop()
    }

    /// Takes the next task from the queue and starts it.
    pub async fn start(&self) -> StartTaskResponse {
        self.transcode.sweep().await.unwrap();
        let message = self.message(Duration::from_secs(5)).await.expect("a message");
        let started = self.worker().start_task(start(&message.body)).await.unwrap().into_inner();
        self.queue.delete(&message.receipt).await.unwrap();
        started
    }

    pub fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve(transcode: &Transcode, stop: &CancellationToken) -> String {
    let listener = server::Listener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.address().unwrap();
    tokio::spawn(server::serve(
        listener,
        transcode.routes(),
        reelmill_transcode::SERVICES,
        MeshKey::new(KEY).unwrap(),
        stop.clone(),
    ));
    address
}

/// A worker's request for a task.
pub fn start(task: &str) -> StartTaskRequest {
    StartTaskRequest {
        task: task.to_owned(),
        worker: "w".to_owned(),
        encoder_build: "ffmpeg test".to_owned(),
    }
}

/// The stable reason of a refusal.
pub fn reason<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    reason_of(&answer.expect_err("a refusal")).expect("a reason")
}

async fn objects(folder: &std::path::Path, stop: &CancellationToken) -> Objects {
    let store = reelmill_s3_server::open(reelmill_s3_server::ObjectServerConfig {
        dir: folder.join("objects"),
        bucket: "reelmill".to_owned(),
        access_key_id: "test".to_owned(),
        secret_access_key: "test-secret".to_owned(),
    })
    .await
    .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback_service(store.service());
    let stop = stop.clone().cancelled_owned();
    tokio::spawn(async move { axum::serve(listener, router).with_graceful_shutdown(stop).await });
    Objects::connect(&ObjectsConfig {
        endpoint: Some(endpoint),
        public_endpoint: None,
        region: "us-east-1".to_owned(),
        bucket: "reelmill".to_owned(),
        access_key_id: Some("test".to_owned()),
        secret_access_key: Some("test-secret".to_owned()),
        path_style: true,
    })
    .await
    .unwrap()
}
