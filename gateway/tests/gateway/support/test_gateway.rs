//! A gateway on a free port, with fake roles and an object store.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use axum::Router;
use reelmill_gateway::{Gateway, GatewayConfig, Limits, ProxyHeader};
use reelmill_mesh::{
    MeshKey,
    server::{Listener, serve},
};
use reelmill_platform::{
    clock::Clock,
    objects::{Objects, ObjectsConfig},
    shared_state::{self, RateLimit, SharedState},
    signed_path::PrefixSigner,
};
use reelmill_proto::{
    auth::{
        auth_service_client::AuthServiceClient, auth_service_server::AuthServiceServer,
        session_service_server::SessionServiceServer,
    },
    upload::{video_service_client::VideoServiceClient, video_service_server::VideoServiceServer},
};
use reelmill_s3_server::ObjectServerConfig;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{Channel, Endpoint},
};

use super::{
    echo_role,
    fake_roles::{FakeRoles, RoleState},
    token_signer::TokenSigner,
};

pub const BUCKET: &str = "reelmill";
const ACCESS_KEY_ID: &str = "test-key";
const SECRET_ACCESS_KEY: &str = "test-secret-of-the-object-store";
const PLAYBACK_SECRET: &str = "a secret of the tests, thirty-two";

/// A running gateway. Stops on drop.
pub struct TestGateway {
    pub url: String,
    pub address: SocketAddr,
    pub http: reqwest::Client,
    pub state: SharedState,
    pub roles: Arc<RoleState>,
    pub signer: TokenSigner,
    pub objects: Objects,
    pub gateway: Arc<Gateway>,
    pub shutdown: CancellationToken,
    pub serving: JoinHandle<()>,
    roles_shutdown: CancellationToken,
    _object_store_folder: Option<TempDir>,
}

impl TestGateway {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A gateway that serves an embedded object store.
    pub async fn start_with_object_store() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let routes = object_store(folder.path()).await;
        Self::launch(empty_state().await, |_| {}, Some((folder, routes))).await
    }

    /// A gateway with another configuration than the default.
    pub async fn with(change: impl FnOnce(&mut GatewayConfig)) -> Self {
        Self::with_state(empty_state().await, change).await
    }

    /// A gateway with another shared state than an empty one.
    pub async fn with_state(state: SharedState, change: impl FnOnce(&mut GatewayConfig)) -> Self {
        Self::launch(state, change, None).await
    }

    async fn launch(
        state: SharedState,
        change: impl FnOnce(&mut GatewayConfig),
        object_store: Option<(TempDir, Router)>,
    ) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let key = MeshKey::new("the-mesh-key-of-the-tests").unwrap();
        let roles_shutdown = CancellationToken::new();
        let roles = FakeRoles::default();
        let signer = TokenSigner::new("key-1");
        roles.0.keys.lock().unwrap().push(signer.public_key());
        let auth = Routes::new(AuthServiceServer::new(roles.clone()))
            .add_service(SessionServiceServer::new(roles.clone()));
        let upload = Routes::new(VideoServiceServer::new(roles.clone()));
        let upstreams = BTreeMap::from([
            ("auth".to_owned(), serve_role(auth, &key, &roles_shutdown).await),
            ("upload".to_owned(), serve_role(upload, &key, &roles_shutdown).await),
            ("transcode".to_owned(), unused_address().await),
            ("echo".to_owned(), echo_role::serve(roles_shutdown.clone()).await),
        ]);
        let mut config = GatewayConfig {
            descriptors: echo_role::descriptors(),
            public_url: None,
            playback_secret: PLAYBACK_SECRET.to_owned(),
            upstreams,
            allowed_origins: Vec::new(),
            rate: RateLimit { units_per_second: 10_000.0, burst: 10_000 },
            anonymous_rate: RateLimit { units_per_second: 10_000.0, burst: 10_000 },
            object_store_url: None,
            limits: Limits::default(),
            trusted_proxies: Vec::new(),
            proxy_header: ProxyHeader::default(),
        };
        change(&mut config);

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}");
        let objects = Objects::connect(&objects_config(&url)).await.unwrap();
        let (object_store_folder, routes) = object_store.unzip();
        let gateway =
            Gateway::open(config, key, state.clone(), objects.clone(), routes, Clock::system()).unwrap();
        let gateway = Arc::new(gateway);
        let shutdown = CancellationToken::new();
        let serving = {
            let (gateway, shutdown) = (Arc::clone(&gateway), shutdown.clone());
            tokio::spawn(async move { gateway.serve(listener, shutdown).await.unwrap() })
        };
        let http = reqwest::Client::new();
        Self {
            url,
            address,
            http,
            state,
            roles: roles.0,
            signer,
            objects,
            gateway,
            shutdown,
            serving,
            roles_shutdown,
            _object_store_folder: object_store_folder,
        }
    }

    pub fn channel(&self) -> Channel {
        Endpoint::from_shared(self.url.clone()).unwrap().connect_lazy()
    }

    /// The video service through the gateway, by native gRPC.
    pub fn videos(&self) -> VideoServiceClient<Channel> {
        VideoServiceClient::new(self.channel())
    }

    /// The auth service through the gateway, by native gRPC.
    pub fn auth(&self) -> AuthServiceClient<Channel> {
        AuthServiceClient::new(self.channel())
    }

    /// Waits until request bodies have at least `bytes` of memory, or none for 0; at most ten seconds.
    pub async fn wait_for_body_bytes(&self, bytes: usize) {
        let is_reached = || {
            let reserved = self.gateway.load().body_bytes;
            if bytes == 0 { reserved == 0 } else { reserved >= bytes }
        };
        for _ in 0..1000 {
            if is_reached() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?} instead of {bytes}", self.gateway.load());
    }

    /// Signs a user in and returns the token.
    pub async fn sign_in(&self, user: &str, session: &str) -> String {
        self.state.session_cache.put(session, user, Duration::from_secs(900)).await.unwrap();
        self.signer.token(user, session, 900)
    }

    /// Ends a session as the auth service does.
    pub async fn end_session(&self, session: &str) {
        self.state.session_cache.end(session, Duration::from_secs(900)).await.unwrap();
    }

    /// The signed URL of an output.
    pub fn playback_url(&self, prefix: &str, expires_unix: u64, name: &str) -> String {
        let token = PrefixSigner::new(PLAYBACK_SECRET.as_bytes()).sign(prefix, expires_unix);
        format!("{}/play/{token}/{name}", self.url)
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.roles_shutdown.cancel();
    }
}

/// A request with an access token.
pub fn authorized<T>(message: T, token: &str) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

async fn serve_role(routes: Routes, key: &MeshKey, shutdown: &CancellationToken) -> String {
    let listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.address().unwrap();
    let serving = {
        let (key, shutdown) = (key.clone(), shutdown.clone());
        async move { serve(listener, routes, &[], key, shutdown).await.unwrap() }
    };
    tokio::spawn(serving);
    address
}

/// An address without a listener.
pub async fn unused_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

async fn empty_state() -> SharedState {
    shared_state::connect(&format!("memory:{}", uuid::Uuid::now_v7())).await.unwrap()
}

/// Routes of an embedded object store.
async fn object_store(folder: &Path) -> Router {
    let server = reelmill_s3_server::open(ObjectServerConfig {
        dir: folder.to_owned(),
        bucket: BUCKET.to_owned(),
        access_key_id: ACCESS_KEY_ID.to_owned(),
        secret_access_key: SECRET_ACCESS_KEY.to_owned(),
    });
    Router::new().fallback_service(server.await.unwrap().service())
}

/// The object store as the gateway at `url` serves it.
fn objects_config(url: &str) -> ObjectsConfig {
    ObjectsConfig {
        endpoint: Some(url.to_owned()),
        public_endpoint: None,
        region: "us-east-1".to_owned(),
        bucket: BUCKET.to_owned(),
        access_key_id: Some(ACCESS_KEY_ID.to_owned()),
        secret_access_key: Some(SECRET_ACCESS_KEY.to_owned()),
        path_style: true,
    }
}
