//! One gateway on a free port with everything around it.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use reelmill_gateway::{Gateway, GatewayConfig};
use reelmill_mesh::{
    MeshKey,
    server::{Listener, serve},
};
use reelmill_platform::{
    clock::Clock,
    objects::{Objects, ObjectsConfig},
    shared_state::{self, RateLimit, SharedState},
    signed_path::PathSigner,
};
use reelmill_proto::{
    auth::{
        auth_service_client::AuthServiceClient, auth_service_server::AuthServiceServer,
        session_service_server::SessionServiceServer,
    },
    upload::{video_service_client::VideoServiceClient, video_service_server::VideoServiceServer},
};
use reelmill_s3_server::ObjectServerConfig;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{Channel, Endpoint},
};

use crate::{
    far_end::{Far, FarEnd},
    tokens::Signer,
};

pub const BUCKET: &str = "reelmill";
const SECRET: &str = "a secret of the tests, thirty-two";

pub struct System {
    pub url: String,
    pub address: SocketAddr,
    pub http: reqwest::Client,
    pub state: SharedState,
    pub far: Arc<FarEnd>,
    pub signer: Signer,
    pub objects: Objects,
    pub shutdown: CancellationToken,
    pub gateway: JoinHandle<()>,
    roles: CancellationToken,
    _folder: tempfile::TempDir,
}

impl System {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut GatewayConfig)) -> Self {
        let state = shared_state::connect(&format!("memory:{}", uuid::Uuid::now_v7())).await.unwrap();
        Self::with_state(state, change).await
    }

    pub async fn with_state(state: SharedState, change: impl FnOnce(&mut GatewayConfig)) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let key = MeshKey::new("the-mesh-key-of-the-tests").unwrap();
        let roles = CancellationToken::new();
        let far = Arc::new(FarEnd::default());
        let signer = Signer::new("key-1");
        far.keys.lock().unwrap().push(signer.public());
        let auth = Routes::new(AuthServiceServer::new(Far(far.clone())))
            .add_service(SessionServiceServer::new(Far(far.clone())));
        let upload = Routes::new(VideoServiceServer::new(Far(far.clone())));
        let upstreams = BTreeMap::from([
            ("auth".to_owned(), role(auth, &key, &roles).await),
            ("upload".to_owned(), role(upload, &key, &roles).await),
            ("transcode".to_owned(), nobody().await),
        ]);
        let mut config = GatewayConfig {
            public_url: None,
            playback_secret: SECRET.to_owned(),
            upstreams,
            allowed_origins: Vec::new(),
            rate: RateLimit { units_per_second: 10_000.0, burst: 10_000 },
            anonymous_rate: RateLimit { units_per_second: 10_000.0, burst: 10_000 },
            object_store_url: None,
            trusted_proxies: false,
        };
        change(&mut config);

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}");
        let folder = tempfile::tempdir().unwrap();
        let (objects, routes) = store(&url, folder.path()).await;
        let gateway =
            Gateway::open(config, key, state.clone(), objects.clone(), Some(routes), Clock::system())
                .unwrap();
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let gateway = tokio::spawn(async move { gateway.serve(listener, stop).await.unwrap() });
        let http = reqwest::Client::new();
        Self { url, address, http, state, far, signer, objects, shutdown, gateway, roles, _folder: folder }
    }

    pub fn channel(&self) -> Channel {
        Endpoint::from_shared(self.url.clone()).unwrap().connect_lazy()
    }

    /// The video service through the gateway, by native gRPC.
    pub fn videos(&self) -> VideoServiceClient<Channel> {
        VideoServiceClient::new(self.channel())
            .max_decoding_message_size(16 << 20)
            .max_encoding_message_size(16 << 20)
    }

    /// The auth service through the gateway, by native gRPC.
    pub fn auth(&self) -> AuthServiceClient<Channel> {
        AuthServiceClient::new(self.channel())
    }

    /// Signs a user in and returns the token.
    pub async fn sign_in(&self, user: &str, session: &str) -> String {
        self.state.session_cache.put(session, user, Duration::from_secs(900)).await.unwrap();
        self.signer.token(user, session, 900)
    }

    /// Ends a session, as auth does.
    pub async fn end_session(&self, session: &str) {
        self.state.session_cache.end(session, Duration::from_secs(900)).await.unwrap();
    }

    pub fn playback_url(&self, prefix: &str, expires_unix: u64, name: &str) -> String {
        let token = PathSigner::new(SECRET.as_bytes()).sign(prefix, expires_unix);
        format!("{}/play/{token}/{name}", self.url)
    }
}

impl Drop for System {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.roles.cancel();
    }
}

/// A request with a token.
pub fn signed<T>(message: T, token: &str) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

async fn role(routes: Routes, key: &MeshKey, stop: &CancellationToken) -> String {
    let listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.address().unwrap();
    let serving = {
        let (key, stop) = (key.clone(), stop.clone());
        async move { serve(listener, routes, &[], key, stop).await.unwrap() }
    };
    tokio::spawn(serving);
    address
}

/// An address that nobody listens at.
pub async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// The embedded store, reached through the gateway itself.
async fn store(url: &str, folder: &std::path::Path) -> (Objects, axum::Router) {
    let (id, secret) = ("test-key".to_owned(), "test-secret-of-the-store".to_owned());
    let server = reelmill_s3_server::open(ObjectServerConfig {
        dir: folder.to_owned(),
        bucket: BUCKET.to_owned(),
        access_key_id: id.clone(),
        secret_access_key: secret.clone(),
    });
    let routes = axum::Router::new().fallback_service(server.await.unwrap().service());
    let config = ObjectsConfig {
        endpoint: Some(url.to_owned()),
        public_endpoint: None,
        region: "us-east-1".to_owned(),
        bucket: BUCKET.to_owned(),
        access_key_id: Some(id),
        secret_access_key: Some(secret),
        path_style: true,
    };
    (Objects::connect(&config).await.unwrap(), routes)
}
