//! A running auth service and its clients.

use std::{sync::Arc, time::Duration};

use reelmill_auth::{Auth, AuthConfig, PasswordHashing, SERVICES, generate_signing_key};
use reelmill_mesh::{
    Caller, MeshKey, headers,
    server::{Listener, serve},
};
use reelmill_platform::clock::Clock;
use reelmill_proto::auth::{
    CreateSessionResponse, auth_service_client::AuthServiceClient,
    session_service_client::SessionServiceClient,
};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{
    Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use super::{PASSWORD, caller, session_cache::TestSessionCache, sign_in_request, sign_up_request};

/// User-Agent of all clients.
pub const USER_AGENT: &str = "AuthTests/1.0";
const START_MILLIS: i64 = 1_800_000_000_123;
const CHEAP_HASHING: PasswordHashing = PasswordHashing {
    memory_kib: 64,
    iterations: 1,
    parallelism: 1,
    concurrency: 2,
    max_wait: Duration::from_secs(30),
};

pub type AuthClient = AuthServiceClient<InterceptedService<Channel, CallHeaders>>;
pub type SessionClient = SessionServiceClient<InterceptedService<Channel, CallHeaders>>;

/// Database backend of a server.
#[derive(Clone, Copy)]
pub enum Backend {
    Sqlite,
    Postgres,
}

impl Backend {
    async fn create_database(self, folder: &TempDir) -> String {
        match self {
            Self::Sqlite => format!("sqlite://{}", folder.path().join("auth.db").display()),
            Self::Postgres => {
                let server = reelmill_testkit::shared::postgres().await;
                let name = format!("auth_test_{}", uuid::Uuid::now_v7().simple());
                server.create_database(&name).await.unwrap()
            }
        }
    }
}

/// Adds headers to every call.
#[derive(Clone)]
pub struct CallHeaders(Vec<(&'static str, String)>);

impl Interceptor for CallHeaders {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        for (name, value) in &self.0 {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        Ok(request)
    }
}

/// A running auth service with a manual clock. Stops when it is dropped.
pub struct AuthServer {
    pub clock: Clock,
    pub session_cache: Arc<TestSessionCache>,
    pub config: AuthConfig,
    mesh_key: MeshKey,
    channel: Channel,
    /// Of the SQLite database, shared by all replicas.
    folder: Arc<TempDir>,
    _stop: DropGuard,
}

impl AuthServer {
    /// Starts an auth service on a new database.
    pub async fn start(backend: Backend) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database_url = backend.create_database(&folder).await;
        let mut config = AuthConfig::new(database_url, generate_signing_key());
        config.password_hashing = CHEAP_HASHING;
        let session_cache = TestSessionCache::open().await;
        Self::serve(config, Clock::manual(START_MILLIS), session_cache, Arc::new(folder)).await
    }

    /// Starts another service on the same database and session cache.
    pub async fn start_replica(&self, change: impl FnOnce(&mut AuthConfig)) -> Self {
        let mut config = self.config.clone();
        change(&mut config);
        Self::serve(config, self.clock.clone(), self.session_cache.clone(), self.folder.clone()).await
    }

    async fn serve(
        config: AuthConfig,
        clock: Clock,
        session_cache: Arc<TestSessionCache>,
        folder: Arc<TempDir>,
    ) -> Self {
        let auth = Auth::open(config.clone(), session_cache.clone(), clock.clone()).await.unwrap();
        let mesh_key = MeshKey::new("a-key-for-this-test-only").unwrap();
        let listener = Listener::bind("127.0.0.1:0").await.unwrap();
        let channel = Endpoint::from_shared(listener.address().unwrap()).unwrap().connect_lazy();
        let shutdown = CancellationToken::new();
        tokio::spawn(serve(listener, auth.routes(), SERVICES, mesh_key.clone(), shutdown.clone()));
        Self { clock, session_cache, config, mesh_key, channel, folder, _stop: shutdown.drop_guard() }
    }

    fn headers(&self, caller: &Caller, additional: &[(&'static str, &str)]) -> CallHeaders {
        let mut headers = vec![
            (headers::KEY, self.mesh_key.expose().to_owned()),
            (headers::CALLER, caller.to_header()),
            ("user-agent", USER_AGENT.to_owned()),
        ];
        headers.extend(additional.iter().map(|(name, value)| (*name, (*value).to_owned())));
        CallHeaders(headers)
    }

    /// A client with additional headers.
    pub fn client(&self, caller: &Caller, additional: &[(&'static str, &str)]) -> AuthClient {
        AuthServiceClient::with_interceptor(self.channel.clone(), self.headers(caller, additional))
    }

    pub fn anonymous(&self) -> AuthClient {
        self.client(&Caller::Anonymous, &[])
    }

    pub fn as_user(&self, signed_in: &CreateSessionResponse) -> AuthClient {
        self.client(&caller(signed_in), &[])
    }

    /// A SessionService client.
    pub fn session_client(&self, caller: &Caller) -> SessionClient {
        SessionServiceClient::with_interceptor(self.channel.clone(), self.headers(caller, &[]))
    }

    /// The gateway's SessionService client.
    pub fn gateway(&self) -> SessionClient {
        self.session_client(&Caller::Service("gateway".to_owned()))
    }

    pub async fn sign_up(&self, email: &str) {
        self.anonymous().create_user(sign_up_request(email)).await.unwrap();
    }

    pub async fn sign_in(&self, email: &str) -> CreateSessionResponse {
        self.anonymous().create_session(sign_in_request(email, PASSWORD)).await.unwrap().into_inner()
    }

    pub async fn sign_up_and_in(&self, email: &str) -> CreateSessionResponse {
        self.sign_up(email).await;
        self.sign_in(email).await
    }

    /// The text in the only row and column of a query's result.
    pub async fn query_text(&self, sql: &str) -> String {
        use sea_orm::{ConnectionTrait as _, Database, Statement};
        let database = Database::connect(self.config.database_url.as_str()).await.unwrap();
        let statement = Statement::from_string(database.get_database_backend(), sql);
        let row = database.query_one_raw(statement).await.unwrap().unwrap();
        database.close().await.unwrap();
        row.try_get_by_index(0).unwrap()
    }
}
