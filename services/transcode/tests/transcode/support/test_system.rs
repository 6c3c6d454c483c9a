//! A served transcode role with real backends and a manual clock, and its clients.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use reelmill_mesh::{Channel, MeshKey, headers, reason_of, server};
use reelmill_platform::{
    clock::Clock,
    objects::{Objects, ObjectsConfig},
    queue::{self, Message, Queue, QueueConfig},
    shared_state::{self, PubSub},
};
use reelmill_proto::transcode::{
    CancelJobRequest, CreateJobRequest, FailTaskRequest, Failure, FailureCause, GetJobRequest, Job, Lease,
    RegisterWorkerRequest, StartTaskRequest, StartTaskResponse, TaskClass, WatchJobsRequest,
    WatchJobsResponse, admin_service_client::AdminServiceClient,
    transcode_service_client::TranscodeServiceClient, worker_service_client::WorkerServiceClient,
};
use reelmill_testkit::Postgres;
use reelmill_transcode::{Transcode, TranscodeConfig};
use sea_orm::{ConnectionTrait as _, Database, Statement};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport,
};

/// Timeout of a response that is expected soon.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Wait after which a queue counts as empty.
pub const EMPTY_QUEUE_WAIT: Duration = Duration::from_millis(100);

const MESH_KEY: &str = "a-key-for-tests-only";
/// Start of the manual clock, Unix milliseconds.
pub const START_TIME_MS: i64 = 1_700_000_000_000;

/// Database backend of a test.
#[derive(Debug, Clone, Copy)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// The system under test.
pub struct TestSystem {
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

/// Presents the mesh key on behalf of a user, as the gateway does.
#[derive(Clone)]
pub struct UserCredential(String);

impl Interceptor for UserCredential {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let caller = format!("user {} session", self.0);
        request.metadata_mut().insert(headers::KEY, MESH_KEY.parse().unwrap());
        request.metadata_mut().insert(headers::CALLER, caller.parse().unwrap());
        Ok(request)
    }
}

impl TestSystem {
    /// Starts the role on a new database.
    pub async fn start(backend: Backend) -> Self {
        Self::start_with(backend, |_| {}).await
    }

    /// The same with a changed configuration.
    pub async fn start_with(backend: Backend, change: fn(&mut TranscodeConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        match backend {
            Backend::Sqlite => {
                let url = format!("sqlite://{}", folder.path().join("transcode.db").display());
                Self::start_on(url, folder, None, change).await
            }
            Backend::Postgres => {
                let postgres = Postgres::start().await.unwrap();
                let url = postgres.create_database("transcode").await.unwrap();
                Self::start_on(url, folder, Some(postgres), change).await
            }
        }
    }

    async fn start_on(
        database_url: String,
        folder: tempfile::TempDir,
        postgres: Option<Postgres>,
        change: fn(&mut TranscodeConfig),
    ) -> Self {
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
        let clock = Clock::manual(START_TIME_MS);
        let mut config = TranscodeConfig::new(&database_url);
        change(&mut config);
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

    /// Another process of the role on the same backends.
    pub async fn second_process(&self) -> Transcode {
        let config = TranscodeConfig::new(&self.database_url);
        let (queue, pub_sub) = (Arc::clone(&self.queue), Arc::clone(&self.pub_sub));
        Transcode::open(config, self.objects.clone(), queue, pub_sub, self.clock.clone()).await.unwrap()
    }

    /// Replaces the process that clients call.
    pub async fn restart(&mut self) {
        self.transcode = self.second_process().await;
        self.address = serve(&self.transcode, &self.stop).await;
    }

    /// A job as a new watch of the upload role receives it first.
    pub async fn watched_job(&self, name: &str) -> WatchJobsResponse {
        let mut feed =
            self.upload_client().watch_jobs(WatchJobsRequest::default()).await.unwrap().into_inner();
        loop {
            let change = tokio::time::timeout(RESPONSE_TIMEOUT, feed.message()).await;
            let change = change.expect("the job is published").unwrap().expect("the feed does not end");
            if change.job.as_ref().is_some_and(|job| job.name == name) {
                return change;
            }
        }
    }

    /// A job.
    pub async fn get_job(&self, name: &str) -> Job {
        let request = GetJobRequest { name: name.to_owned() };
        let owner = self.owner(name).await;
        self.user_client(&owner).get_job(request).await.unwrap().into_inner().job.unwrap()
    }

    /// Cancels a job for its owner.
    pub async fn cancel_job(&self, name: &str) {
        let owner = self.owner(name).await;
        let request = CancelJobRequest { name: name.to_owned() };
        self.user_client(&owner).cancel_job(request).await.unwrap();
    }

    /// Id of the user who owns a job.
    async fn owner(&self, name: &str) -> String {
        let id = name.rsplit('/').next().unwrap();
        let connection = Database::connect(&self.database_url).await.unwrap();
        let sql = format!("SELECT owner FROM jobs WHERE id = '{id}'");
        let statement = Statement::from_string(connection.get_database_backend(), sql);
        let row = connection.query_one_raw(statement).await.unwrap().expect("the job exists");
        let owner: String = row.try_get_by_index(0).unwrap();
        connection.close().await.unwrap();
        owner.trim_start_matches("users/").to_owned()
    }

    /// Expiry of a task's lease in the database, Unix milliseconds.
    pub async fn lease_expire_time(&self, task: &str) -> i64 {
        let id = task.rsplit('/').next().unwrap();
        let connection = Database::connect(&self.database_url).await.unwrap();
        let sql = format!("SELECT lease_expire_time FROM tasks WHERE id = '{id}'");
        let statement = Statement::from_string(connection.get_database_backend(), sql);
        let row = connection.query_one_raw(statement).await.unwrap().expect("the task exists");
        let expire_time = row.try_get_by_index(0).unwrap();
        connection.close().await.unwrap();
        expire_time
    }

    fn channel(&self, role: &str) -> Channel {
        Channel::lazy(&self.address, &MeshKey::new(MESH_KEY).unwrap(), role).unwrap()
    }

    /// Client of the upload role.
    pub fn upload_client(&self) -> TranscodeServiceClient<Channel> {
        TranscodeServiceClient::new(self.channel("upload"))
    }

    /// Client of a worker.
    pub fn worker_client(&self) -> WorkerServiceClient<Channel> {
        WorkerServiceClient::new(self.channel("worker"))
    }

    /// Client of the operator.
    pub fn admin_client(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel("admin"))
    }

    /// Client of the gateway on behalf of a user.
    pub fn user_client(
        &self,
        user: &str,
    ) -> TranscodeServiceClient<InterceptedService<transport::Channel, UserCredential>> {
        let channel = transport::Endpoint::from_shared(self.address.clone()).unwrap().connect_lazy();
        TranscodeServiceClient::with_interceptor(channel, UserCredential(user.to_owned()))
    }

    /// Creates a job of a user.
    pub async fn create_job(&self, owner: &str, request_id: &str) -> Job {
        let request = CreateJobRequest {
            video: format!("videos/{request_id}"),
            owner: format!("users/{owner}"),
            request_id: request_id.to_owned(),
            source_key: format!("sources/{request_id}/x"),
            source_size_bytes: 1000,
            output_prefix: format!("outputs/{request_id}/"),
            options: None,
        };
        self.upload_client().create_job(request).await.unwrap().into_inner().job.unwrap()
    }

    /// Puts a source object, which only RetryJob looks for.
    pub async fn put_source(&self, request_id: &str) {
        let key = format!("sources/{request_id}/x");
        self.objects.put(&key, Bytes::from_static(b"source"), "video/mp4").await.unwrap();
    }

    /// The next queue message; none when there is none within `wait`.
    pub async fn receive_message(&self, wait: Duration) -> Option<Message> {
        self.queue.receive(1, Duration::from_secs(60), wait).await.unwrap().pop()
    }

    /// Starts the task that is next for a BULK slot; none if there is none.
    pub async fn try_start_task(&self) -> Option<StartTaskResponse> {
        self.start_as(start_request()).await
    }

    /// Starts the task that is next for a BULK slot. While the role's background work queues it, this waits.
    pub async fn start_task(&self) -> StartTaskResponse {
        for _ in 0..100 {
            if let Some(started) = self.try_start_task().await {
                return started;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("there is a task");
    }

    /// Number of rows of all tables that belong to jobs, except the jobs.
    pub async fn job_rows(&self) -> i64 {
        let database = Database::connect(&self.database_url).await.unwrap();
        let mut rows = 0;
        for table in
            ["tasks", "plans", "outputs", "segment_parts", "manifests", "job_renditions", "job_warnings"]
        {
            let sql = format!("SELECT COUNT(*) AS count FROM {table}");
            let statement = Statement::from_string(database.get_database_backend(), sql);
            let row = database.query_one_raw(statement).await.unwrap().unwrap();
            rows += row.try_get::<i64>("", "count").unwrap();
        }
        rows
    }

    /// Starts the task that is next for an EXPRESS slot.
    pub async fn start_express_task(&self) -> StartTaskResponse {
        let request = StartTaskRequest { slot_class: TaskClass::Express.into(), ..start_request() };
        self.start_as(request).await.expect("there is an express task")
    }

    /// Queues what waits, and starts a task; none if there is none.
    pub async fn start_as(&self, request: StartTaskRequest) -> Option<StartTaskResponse> {
        self.transcode.queue_tasks().await.unwrap();
        let started = self.worker_client().start_task(request).await.unwrap().into_inner();
        started.lease.is_some().then_some(started)
    }

    /// Registers a worker, as it does every few seconds.
    pub async fn register_worker(&self, name: &str, encoder_build: &str) {
        let request = RegisterWorkerRequest {
            name: name.to_owned(),
            encoder_build: encoder_build.to_owned(),
            ..RegisterWorkerRequest::default()
        };
        self.worker_client().register_worker(request).await.unwrap();
    }

    /// Sweeps, and starts the next task.
    pub async fn start_next_task(&self) -> StartTaskResponse {
        self.transcode.sweep().await.unwrap();
        self.start_task().await
    }

    /// Fails a task because of its file, under `lease` and then by a second worker, which fails the job.
    pub async fn fail_task_twice(&self, lease: &Lease, failure: &Failure) {
        let mut lease = lease.clone();
        for will_retry in [true, false] {
            let request = FailTaskRequest {
                lease: Some(lease.clone()),
                failure: Some(failure.clone()),
                cause: FailureCause::File.into(),
            };
            let response = self.worker_client().fail_task(request).await.unwrap().into_inner();
            assert_eq!(response.will_retry, will_retry);
            if will_retry {
                let slots = [TaskClass::Express, TaskClass::Bulk];
                let other = slots.map(|slot| StartTaskRequest {
                    worker: "second".to_owned(),
                    slot_class: slot.into(),
                    ..start_request()
                });
                let [express, bulk] = other;
                let started = match self.start_as(express).await {
                    Some(started) => started,
                    None => self.start_as(bulk).await.expect("the task can be started"),
                };
                assert_eq!(started.lease.as_ref().unwrap().task, lease.task);
                lease = started.lease.unwrap();
            }
        }
    }

    pub fn advance_clock(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

impl Drop for TestSystem {
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
        MeshKey::new(MESH_KEY).unwrap(),
        stop.clone(),
    ));
    address
}

/// A worker's request for a task.
pub fn start_request() -> StartTaskRequest {
    StartTaskRequest {
        worker: "w".to_owned(),
        encoder_build: "ffmpeg test".to_owned(),
        nonce: uuid::Uuid::new_v4().to_string(),
        slot_class: TaskClass::Bulk.into(),
        wait: None,
    }
}

/// The reason of a failed call.
pub fn reason<T: std::fmt::Debug>(result: Result<T, Status>) -> String {
    reason_of(&result.expect_err("the call fails")).expect("the status has a reason")
}

async fn objects(folder: &std::path::Path, stop: &CancellationToken) -> Objects {
    let object_store = reelmill_s3_server::open(reelmill_s3_server::ObjectServerConfig {
        dir: folder.join("objects"),
        bucket: "reelmill".to_owned(),
        access_key_id: "test".to_owned(),
        secret_access_key: "test-secret".to_owned(),
    })
    .await
    .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback_service(object_store.service());
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
