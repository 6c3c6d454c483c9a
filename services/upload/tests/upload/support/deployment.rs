//! A deployment: upload servers, their database, object store and pub/sub, and a fake transcode service.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use reelmill_mesh::{Channel, MeshKey, headers, server};
use reelmill_platform::{
    clock::{Clock, now_millis},
    database::sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, Statement},
    objects::{Objects, PartToPresign},
    shared_state,
};
use reelmill_proto::{
    transcode::{TranscodeOptions, transcode_service_server::TranscodeServiceServer},
    upload::{
        CompleteUploadSessionRequest, CompletedPart, CreateUploadSessionRequest, CreateUploadSessionResponse,
        GetUploadSessionRequest, GetVideoRequest, SignedPart, UploadSession, Video,
        maintenance_service_client::MaintenanceServiceClient, upload_service_client::UploadServiceClient,
        video_service_client::VideoServiceClient,
    },
};
use reelmill_upload::{SERVICES, Upload, UploadConfig};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{
    Request, Status,
    service::{Interceptor, Routes, interceptor::InterceptedService},
    transport::{Channel as Transport, Endpoint},
};

use super::{
    content, eventually, fake_transcode::FakeTranscode, gated_object_store::GatedObjectStore, new_file,
};

/// Secret that signs playback URLs.
pub const PLAYBACK_SECRET: &str = "a playback secret of the tests, long enough";
/// Origin of all requests.
pub const ORIGIN: &str = "http://reelmill.test:8080";
const MESH_KEY: &str = "a-mesh-key-of-the-tests";

pub type UploadClient = UploadServiceClient<InterceptedService<Transport, GatewayHeaders>>;
pub type VideoClient = VideoServiceClient<InterceptedService<Transport, GatewayHeaders>>;

/// Database backend of a deployment.
#[derive(Clone, Copy)]
pub enum Backend {
    Sqlite,
    Postgres,
}

impl Backend {
    async fn create_database(self, folder: &TempDir) -> String {
        match self {
            Self::Sqlite => format!("sqlite://{}", folder.path().join("upload.db").display()),
            Self::Postgres => {
                let server = reelmill_testkit::shared::postgres().await;
                server.create_database(&unique_name()).await.unwrap()
            }
        }
    }
}

/// Adds the headers with which the gateway forwards calls of a signed-in user.
#[derive(Clone)]
pub struct GatewayHeaders {
    user: String,
}

impl Interceptor for GatewayHeaders {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let ascii = |text: &str| text.parse().map_err(|_| Status::internal("not ASCII"));
        request.metadata_mut().insert(headers::KEY, ascii(MESH_KEY)?);
        request.metadata_mut().insert(headers::CALLER, ascii(&format!("user {} s1", self.user))?);
        request.metadata_mut().insert(headers::ORIGIN, ascii(ORIGIN)?);
        Ok(request)
    }
}

/// A running upload service. Stops when it is dropped.
pub struct UploadServer {
    address: String,
    transport: Transport,
    _stop: DropGuard,
}

impl UploadServer {
    async fn start(
        config: UploadConfig,
        objects: &Objects,
        transcode: &str,
        shared_state_url: &str,
        clock: &Clock,
    ) -> Self {
        let transcode = Channel::lazy(transcode, &MeshKey::new(MESH_KEY).unwrap(), "upload").unwrap();
        let pub_sub = shared_state::connect(shared_state_url).await.unwrap().pub_sub;
        let upload = Upload::open(config, objects.clone(), transcode, pub_sub, clock.clone()).await.unwrap();
        let shutdown = CancellationToken::new();
        let address = serve(upload.routes(), SERVICES, &shutdown).await;
        let stop = shutdown.clone();
        tokio::spawn(async move { upload.run(stop).await });
        let transport = Endpoint::from_shared(address.clone()).unwrap().connect_lazy();
        Self { address, transport, _stop: shutdown.drop_guard() }
    }

    pub fn uploads(&self, user: &str) -> UploadClient {
        let headers = GatewayHeaders { user: user.to_owned() };
        UploadServiceClient::with_interceptor(self.transport.clone(), headers)
    }

    pub fn videos(&self, user: &str) -> VideoClient {
        let headers = GatewayHeaders { user: user.to_owned() };
        VideoServiceClient::with_interceptor(self.transport.clone(), headers)
    }
}

/// An upload server with its dependencies.
pub struct Deployment {
    pub server: UploadServer,
    pub transcode: FakeTranscode,
    pub object_store: GatedObjectStore,
    pub clock: Clock,
    http: reqwest::Client,
    database_url: String,
    transcode_address: String,
    shared_state_url: String,
    _stop_dependencies: DropGuard,
    _folder: TempDir,
}

fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("upload_test_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Deployment {
    pub async fn start(backend: Backend) -> Self {
        Self::start_with(backend, |_| {}).await
    }

    /// Starts a deployment with a changed configuration.
    pub async fn start_with(backend: Backend, change: impl FnOnce(&mut UploadConfig)) -> Self {
        // Fails if another test of this process has installed it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let database_url = backend.create_database(&folder).await;
        let stop = CancellationToken::new();
        let object_store = GatedObjectStore::start(folder.path(), &stop).await;
        let transcode = FakeTranscode::new();
        let routes = Routes::new(TranscodeServiceServer::new(transcode.clone()));
        let transcode_address = serve(routes, &["reelmill.transcode.v1.TranscodeService"], &stop).await;
        let clock = Clock::manual(now_millis());
        let shared_state_url = format!("memory:{}", unique_name());
        let mut config = config(&database_url);
        change(&mut config);
        let server =
            UploadServer::start(config, &object_store.objects, &transcode_address, &shared_state_url, &clock)
                .await;
        Self {
            server,
            transcode,
            object_store,
            clock,
            http: reqwest::Client::new(),
            database_url,
            transcode_address,
            shared_state_url,
            _stop_dependencies: stop.drop_guard(),
            _folder: folder,
        }
    }

    /// Starts another server on the same database and pub/sub.
    pub async fn start_replica(&self) -> UploadServer {
        self.start_server(config(&self.database_url), &self.shared_state_url).await
    }

    /// Starts another server that receives no notifications of the first, and polls often instead.
    pub async fn start_replica_without_notifications(&self) -> UploadServer {
        let mut config = config(&self.database_url);
        config.watch_poll_interval = Duration::from_millis(100);
        self.start_server(config, &format!("memory:{}", unique_name())).await
    }

    async fn start_server(&self, config: UploadConfig, shared_state_url: &str) -> UploadServer {
        let objects = &self.object_store.objects;
        UploadServer::start(config, objects, &self.transcode_address, shared_state_url, &self.clock).await
    }

    /// The operator's client.
    pub fn maintenance(&self) -> MaintenanceServiceClient<Channel> {
        let key = MeshKey::new(MESH_KEY).unwrap();
        MaintenanceServiceClient::new(Channel::lazy(&self.server.address, &key, "admin").unwrap())
    }

    /// A connection to the upload database.
    pub async fn database(&self) -> DatabaseConnection {
        Database::connect(&self.database_url).await.unwrap()
    }

    pub fn uploads(&self, user: &str) -> UploadClient {
        self.server.uploads(user)
    }

    pub fn videos(&self, user: &str) -> VideoClient {
        self.server.videos(user)
    }

    /// Creates an upload session.
    pub async fn create(&self, user: &str, size: usize) -> (UploadSession, Vec<SignedPart>) {
        let response = self.uploads(user).create_upload_session(new_file(size)).await.unwrap();
        let CreateUploadSessionResponse { upload_session, signed_parts } = response.into_inner();
        (upload_session.unwrap(), signed_parts)
    }

    pub async fn session(&self, user: &str, name: &str) -> UploadSession {
        let request = GetUploadSessionRequest { name: name.to_owned() };
        let response = self.uploads(user).get_upload_session(request).await.unwrap();
        response.into_inner().upload_session.unwrap()
    }

    /// Sends one part.
    pub async fn put(&self, part: &SignedPart, bytes: &[u8]) -> Result<CompletedPart, reqwest::StatusCode> {
        let mut put = self.http.put(&part.uri).body(bytes.to_vec());
        for (name, value) in &part.headers {
            put = put.header(name, value);
        }
        let response = put.send().await.unwrap();
        if !response.status().is_success() {
            return Err(response.status());
        }
        let etag = response.headers()["etag"].to_str().unwrap().to_owned();
        Ok(CompletedPart { part_number: part.part_number, etag })
    }

    /// Sends all parts of a file of at most 16 parts.
    pub async fn put_all(
        &self,
        session: &UploadSession,
        signed: &[SignedPart],
        bytes: &[u8],
    ) -> Vec<CompletedPart> {
        let part_size = usize::try_from(session.part_size_bytes).unwrap();
        let mut parts = Vec::new();
        for (part, bytes) in signed.iter().zip(bytes.chunks(part_size)) {
            parts.push(self.put(part, bytes).await.unwrap());
        }
        parts
    }

    pub async fn complete(&self, user: &str, name: &str, parts: &[CompletedPart]) -> Result<Video, Status> {
        let request = CompleteUploadSessionRequest { name: name.to_owned(), parts: parts.to_vec() };
        let response = self.uploads(user).complete_upload_session(request).await?;
        Ok(response.into_inner().video.unwrap())
    }

    /// Uploads a small file. The video is PROCESSING.
    pub async fn upload(&self, user: &str) -> Video {
        self.upload_with(user, None).await
    }

    /// Uploads a small file with encoding options.
    pub async fn upload_with(&self, user: &str, options: Option<TranscodeOptions>) -> Video {
        let bytes = content(1000);
        let request = CreateUploadSessionRequest { options, ..new_file(bytes.len()) };
        let created = self.uploads(user).create_upload_session(request).await.unwrap().into_inner();
        let session = created.upload_session.unwrap();
        let parts = self.put_all(&session, &created.signed_parts, &bytes).await;
        self.complete(user, &session.name, &parts).await.unwrap()
    }

    pub async fn video(&self, user: &str, name: &str) -> Result<Video, Status> {
        let response = self.videos(user).get_video(GetVideoRequest { name: name.to_owned() }).await?;
        Ok(response.into_inner().video.unwrap())
    }

    /// Waits until a video satisfies a condition.
    pub async fn wait_for_video(&self, user: &str, name: &str, condition: impl Fn(&Video) -> bool) -> Video {
        eventually(name, || async {
            let video = self.video(user, name).await.unwrap();
            condition(&video).then_some(video)
        })
        .await
    }

    /// Waits until transcode's report is applied that gives a video its renditions.
    pub async fn wait_for_renditions(&self, user: &str, name: &str) -> Video {
        self.wait_for_video(user, name, |video| !video.renditions.is_empty()).await
    }

    /// Keys of all objects with a prefix.
    pub async fn keys(&self, prefix: &str) -> Vec<String> {
        self.object_store.objects.list(prefix).await.unwrap().into_iter().map(|(key, _)| key).collect()
    }

    /// Waits until a call has assembled the source object.
    pub async fn wait_for_source(&self) {
        let is_there = || async { (self.keys("sources/").await.len() == 1).then_some(()) };
        eventually("the parts are assembled", is_there).await;
    }

    /// The bytes of an object.
    pub async fn read_object(&self, key: &str) -> Vec<u8> {
        let url = self.object_store.objects.presign_get(key, Duration::from_secs(60), None).await.unwrap();
        let response = self.http.get(url).send().await.unwrap().error_for_status().unwrap();
        response.bytes().await.unwrap().to_vec()
    }

    /// Puts a part of any size into the only open multipart upload.
    pub async fn put_part_directly(&self, bytes: &[u8], number: i32) -> CompletedPart {
        let objects = &self.object_store.objects;
        let upload = objects.list_multipart_uploads("").await.unwrap().remove(0);
        let size_bytes = bytes.len() as i64;
        let part = PartToPresign { upload_id: &upload.upload_id, number, size_bytes, crc32c_base64: None };
        let put = objects.presign_part(&upload.key, &part, Duration::from_secs(60), None).await.unwrap();
        let response = self.http.put(put.uri).body(bytes.to_vec()).send().await.unwrap();
        let etag = response.error_for_status().unwrap().headers()["etag"].to_str().unwrap().to_owned();
        CompletedPart { part_number: number, etag }
    }

    /// Number of open multipart uploads.
    pub async fn open_multipart_uploads(&self) -> usize {
        self.object_store.objects.list_multipart_uploads("").await.unwrap().len()
    }

    /// Waits until the only video's next cleanup is at this time, Unix milliseconds.
    pub async fn wait_for_cleanup_time(&self, expected: Option<i64>) {
        let database = self.database().await;
        let sql = "SELECT cleanup_time FROM videos";
        eventually("the cleanup is scheduled", || async {
            let statement = Statement::from_string(database.get_database_backend(), sql);
            let row = database.query_one_raw(statement).await.unwrap().expect("a video");
            let cleanup_time: Option<i64> = row.try_get_by_index(0).unwrap();
            (cleanup_time == expected).then_some(())
        })
        .await;
    }

    /// Waits until the object store has neither objects nor multipart uploads.
    pub async fn wait_for_empty_object_store(&self) {
        eventually("the object store is empty", || async {
            (self.keys("").await.is_empty() && self.open_multipart_uploads().await == 0).then_some(())
        })
        .await;
    }
}

fn config(database_url: &str) -> UploadConfig {
    let mut config = UploadConfig::new(database_url, PLAYBACK_SECRET);
    config.part_size_bytes = 5 << 20;
    config.sweep_interval = Duration::from_millis(50);
    config.reconcile_interval = Duration::from_millis(50);
    config
}

async fn serve(routes: Routes, services: &'static [&'static str], shutdown: &CancellationToken) -> String {
    let listener = server::Listener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.address().unwrap();
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        server::serve(listener, routes, services, MeshKey::new(MESH_KEY).unwrap(), shutdown).await.unwrap();
    });
    address
}
