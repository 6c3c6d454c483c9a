//! The service and what it stands on, on free loopback ports.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::Request as HttpRequest,
    http::{Method, StatusCode},
    middleware,
    response::IntoResponse as _,
};
use reelmill_mesh::{Channel, MeshKey, headers, reason_of, server};
use reelmill_platform::{
    clock::{Clock, now_millis},
    objects::{Objects, ObjectsConfig},
    shared_state,
};
use reelmill_proto::{
    transcode::{TranscodeOptions, transcode_service_server::TranscodeServiceServer},
    upload::{
        CompleteUploadSessionRequest, CompletedPart, CreateUploadSessionRequest, CreateUploadSessionResponse,
        GetVideoRequest, SignedPart, UploadSession, Video, upload_service_client::UploadServiceClient,
        video_service_client::VideoServiceClient,
    },
};
use reelmill_upload::{SERVICES, Upload, UploadConfig};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    service::{Interceptor, Routes, interceptor::InterceptedService},
    transport::{Channel as Transport, Endpoint},
};

use crate::transcode::FakeTranscode;

/// What playback addresses are signed with.
pub const PLAYBACK_SECRET: &str = "a playback secret of the tests, long enough";
/// The host that the callers came by, as the gateway would say.
pub const ORIGIN: &str = "http://reelmill.test:8080";
const KEY: &str = "a-mesh-key-of-the-tests";
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub type Uploads = UploadServiceClient<InterceptedService<Transport, As>>;
pub type Videos = VideoServiceClient<InterceptedService<Transport, As>>;

/// Calls as a signed-in user, as the gateway would.
#[derive(Clone)]
pub struct As(String);

impl Interceptor for As {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let ascii = |text: &str| text.parse().map_err(|_| Status::internal("not ASCII"));
        request.metadata_mut().insert(headers::KEY, ascii(KEY)?);
        request.metadata_mut().insert(headers::CALLER, ascii(&format!("user {} s1", self.0))?);
        request.metadata_mut().insert(headers::ORIGIN, ascii(ORIGIN)?);
        Ok(request)
    }
}

/// One running upload service.
pub struct Replica {
    transport: Transport,
    shutdown: CancellationToken,
}

impl Replica {
    pub fn uploads(&self, user: &str) -> Uploads {
        UploadServiceClient::with_interceptor(self.transport.clone(), As(user.to_owned()))
    }

    pub fn videos(&self, user: &str) -> Videos {
        VideoServiceClient::with_interceptor(self.transport.clone(), As(user.to_owned()))
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A replica, its neighbours, and what tests do to them.
pub struct World {
    pub replica: Replica,
    pub jobs: FakeTranscode,
    pub objects: Objects,
    pub clock: Clock,
    pub database_url: String,
    pub http: reqwest::Client,
    store_away: Arc<AtomicBool>,
    heads_held: watch::Sender<bool>,
    transcode_address: String,
    shared_state_url: String,
    neighbours: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        self.neighbours.cancel();
    }
}

fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("w{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl World {
    pub async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("upload.db").display());
        Self::start(folder, url).await
    }

    pub async fn postgres() -> Self {
        let server = reelmill_testkit::shared::postgres().await;
        let url = server.create_database(&unique()).await.unwrap();
        Self::start(tempfile::tempdir().unwrap(), url).await
    }

    async fn start(folder: tempfile::TempDir, database_url: String) -> Self {
        // A second world of this process finds it installed.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let neighbours = CancellationToken::new();
        let store_away = Arc::new(AtomicBool::new(false));
        let heads_held = watch::Sender::new(false);
        let gate = (Arc::clone(&store_away), heads_held.subscribe());
        let endpoint = serve_objects(&folder, gate, &neighbours).await;
        let objects = connect_objects(&endpoint).await;
        let jobs = FakeTranscode::new();
        let routes = Routes::new(TranscodeServiceServer::new(jobs.clone()));
        let transcode_address = serve(routes, &["reelmill.transcode.v1.TranscodeService"], &neighbours).await;
        let clock = Clock::manual(now_millis());
        let shared_state_url = format!("memory:{}", unique());
        let replica =
            replica(config(&database_url), &objects, &transcode_address, &shared_state_url, &clock).await;
        Self {
            replica,
            jobs,
            objects,
            clock,
            database_url,
            http: reqwest::Client::new(),
            store_away,
            heads_held,
            transcode_address,
            shared_state_url,
            neighbours,
            _folder: folder,
        }
    }

    /// Another replica on the same database and pub/sub.
    pub async fn another_replica(&self) -> Replica {
        let config = config(&self.database_url);
        replica(config, &self.objects, &self.transcode_address, &self.shared_state_url, &self.clock).await
    }

    /// Another replica that hears nothing of the first, whose watches look again soon.
    pub async fn deaf_replica(&self) -> Replica {
        let mut config = config(&self.database_url);
        config.watch_interval = Duration::from_millis(100);
        let shared_state_url = format!("memory:{}", unique());
        replica(config, &self.objects, &self.transcode_address, &shared_state_url, &self.clock).await
    }

    /// Makes the object store refuse everything with 503, or come back.
    pub fn set_store_away(&self, away: bool) {
        self.store_away.store(away, Ordering::SeqCst);
    }

    /// Makes the object store keep every HEAD waiting, or lets them all go on.
    pub fn hold_heads(&self, held: bool) {
        self.heads_held.send_replace(held);
    }

    pub fn uploads(&self, user: &str) -> Uploads {
        self.replica.uploads(user)
    }

    pub fn videos(&self, user: &str) -> Videos {
        self.replica.videos(user)
    }

    pub async fn create(&self, user: &str, size: usize) -> (UploadSession, Vec<SignedPart>) {
        let response = self.uploads(user).create_upload_session(new_file(size)).await.unwrap();
        let CreateUploadSessionResponse { upload_session, signed_parts } = response.into_inner();
        (upload_session.unwrap(), signed_parts)
    }

    /// Puts one part as a client would, and gives its ETag.
    pub async fn put(&self, part: &SignedPart, bytes: &[u8]) -> Result<CompletedPart, reqwest::StatusCode> {
        // The addresses name the host that the caller came by; here that is the store's own port.
        let mut put = self.http.put(&part.uri).body(bytes.to_vec());
        for (name, value) in &part.headers {
            put = put.header(name, value);
        }
        let answer = put.send().await.unwrap();
        if !answer.status().is_success() {
            return Err(answer.status());
        }
        let etag = answer.headers()["etag"].to_str().unwrap().to_owned();
        Ok(CompletedPart { part_number: part.part_number, etag })
    }

    /// Puts all parts of a small file.
    pub async fn put_all(
        &self,
        session: &UploadSession,
        signed: &[SignedPart],
        bytes: &[u8],
    ) -> Vec<CompletedPart> {
        let size = usize::try_from(session.part_size_bytes).unwrap();
        let mut parts = Vec::new();
        for (part, bytes) in signed.iter().zip(bytes.chunks(size)) {
            parts.push(self.put(part, bytes).await.unwrap());
        }
        parts
    }

    pub async fn complete(&self, user: &str, name: &str, parts: &[CompletedPart]) -> Result<Video, Status> {
        let request = CompleteUploadSessionRequest { name: name.to_owned(), parts: parts.to_vec() };
        let response = self.uploads(user).complete_upload_session(request).await?;
        Ok(response.into_inner().video.unwrap())
    }

    /// Uploads a small file: the video is PROCESSING.
    pub async fn upload(&self, user: &str) -> Video {
        self.upload_with(user, None).await
    }

    /// Uploads a small file to be encoded so.
    pub async fn upload_with(&self, user: &str, options: Option<TranscodeOptions>) -> Video {
        let bytes = content(1000);
        let request = CreateUploadSessionRequest { options, ..new_file(bytes.len()) };
        let opened = self.uploads(user).create_upload_session(request).await.unwrap().into_inner();
        let (session, signed) = (opened.upload_session.unwrap(), opened.signed_parts);
        let parts = self.put_all(&session, &signed, &bytes).await;
        self.complete(user, &session.name, &parts).await.unwrap()
    }

    pub async fn video(&self, user: &str, name: &str) -> Result<Video, Status> {
        let response = self.videos(user).get_video(GetVideoRequest { name: name.to_owned() }).await?;
        Ok(response.into_inner().video.unwrap())
    }

    /// Waits until a video is as `wanted`.
    pub async fn until_video(&self, user: &str, name: &str, wanted: impl Fn(&Video) -> bool) -> Video {
        eventually(name, || async {
            let video = self.video(user, name).await.unwrap();
            wanted(&video).then_some(video)
        })
        .await
    }

    /// Keys of all objects under a prefix.
    pub async fn keys(&self, prefix: &str) -> Vec<String> {
        self.objects.list(prefix).await.unwrap().into_iter().map(|(key, _)| key).collect()
    }

    /// How many multipart uploads the store has open.
    pub async fn open_multiparts(&self) -> usize {
        let list = self.objects.client().list_multipart_uploads().bucket(self.objects.bucket());
        list.send().await.unwrap().uploads.unwrap_or_default().len()
    }
}

fn config(database_url: &str) -> UploadConfig {
    let mut config = UploadConfig::new(database_url, PLAYBACK_SECRET);
    config.part_size_bytes = 5 << 20;
    config.sweep_interval = Duration::from_millis(50);
    config
}

async fn replica(
    config: UploadConfig,
    objects: &Objects,
    transcode: &str,
    shared_state_url: &str,
    clock: &Clock,
) -> Replica {
    let transcode = Channel::lazy(transcode, &MeshKey::new(KEY).unwrap(), "upload").unwrap();
    let pub_sub = shared_state::connect(shared_state_url).await.unwrap().pub_sub;
    let upload = Upload::open(config, objects.clone(), transcode, pub_sub, clock.clone()).await.unwrap();
    let shutdown = CancellationToken::new();
    let address = serve(upload.routes(), SERVICES, &shutdown).await;
    let stop = shutdown.clone();
    tokio::spawn(async move { upload.run(stop).await });
    let transport = Endpoint::from_shared(address).unwrap().connect_lazy();
    Replica { transport, shutdown }
}

async fn serve(routes: Routes, services: &'static [&'static str], shutdown: &CancellationToken) -> String {
    let listener = server::Listener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.address().unwrap();
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        server::serve(listener, routes, services, MeshKey::new(KEY).unwrap(), shutdown).await.unwrap();
    });
    address
}

async fn serve_objects(
    folder: &tempfile::TempDir,
    (away, heads_held): (Arc<AtomicBool>, watch::Receiver<bool>),
    stop: &CancellationToken,
) -> String {
    let store = reelmill_s3_server::open(reelmill_s3_server::ObjectServerConfig {
        dir: folder.path().join("objects"),
        bucket: "reelmill".to_owned(),
        access_key_id: "key".to_owned(),
        secret_access_key: "secret".to_owned(),
    })
    .await
    .unwrap();
    let gate = move |request: HttpRequest, next: middleware::Next| {
        let (away, mut heads_held) = (away.load(Ordering::SeqCst), heads_held.clone());
        async move {
            if away {
                return StatusCode::SERVICE_UNAVAILABLE.into_response();
            }
            if request.method() == Method::HEAD {
                // The world that holds them may be gone.
                let _ = heads_held.wait_for(|held| !held).await;
            }
            next.run(request).await
        }
    };
    let app = Router::new().fallback_service(store.service()).layer(middleware::from_fn(gate));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            served = axum::serve(listener, app) => served.unwrap(),
            () = stop.cancelled() => {}
        }
    });
    endpoint
}

async fn connect_objects(endpoint: &str) -> Objects {
    let config = ObjectsConfig {
        endpoint: Some(endpoint.to_owned()),
        public_endpoint: Some(endpoint.to_owned()),
        region: "us-east-1".to_owned(),
        bucket: "reelmill".to_owned(),
        access_key_id: Some("key".to_owned()),
        secret_access_key: Some("secret".to_owned()),
        path_style: true,
    };
    Objects::connect(&config).await.unwrap()
}

pub fn new_file(size: usize) -> CreateUploadSessionRequest {
    CreateUploadSessionRequest {
        file_name: "clip.mov".to_owned(),
        size_bytes: i64::try_from(size).unwrap(),
        ..Default::default()
    }
}

/// Bytes that differ everywhere, so that a mix-up of parts shows.
pub fn content(size: usize) -> Vec<u8> {
    (0..size as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// The stable reason of a refused call.
pub fn reason<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    let status = answer.unwrap_err();
    reason_of(&status).unwrap_or_else(|| panic!("no reason in {status:?}"))
}

/// Asks until there is an answer.
pub async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{what}: it did not happen"))
}

/// The next item of a watch, within the time that anything here may take.
pub async fn next<T>(stream: &mut tonic::Streaming<T>) -> Option<T> {
    let next = tokio::time::timeout(PATIENCE, stream.message()).await;
    next.unwrap_or_else(|_| panic!("the watch is silent")).unwrap()
}
