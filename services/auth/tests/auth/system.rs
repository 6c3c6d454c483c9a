//! The role on a port of its own, a clock moved by hand, a session_cache that can be away, and callers.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reelmill_auth::{Auth, AuthConfig, PasswordHashing, SERVICES, generate_signing_key};
use reelmill_mesh::{
    Caller, MeshKey, UserSession, headers, reason_of,
    server::{Listener, serve},
};
use reelmill_platform::{
    clock::Clock,
    shared_state::{PubSub, SessionCache, SessionState, SharedState, SharedStateError, connect},
};
use reelmill_proto::auth::{
    CreateSessionRequest, CreateSessionResponse, CreateUserRequest, auth_service_client::AuthServiceClient,
    session_service_client::SessionServiceClient,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{
    Code, Status,
    metadata::MetadataMap,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

pub const PASSWORD: &str = "correct horse";
const START_MILLIS: i64 = 1_800_000_000_123;
const CHEAP: PasswordHashing = PasswordHashing {
    memory_kib: 64,
    iterations: 1,
    parallelism: 1,
    concurrency: 2,
    longest_wait: Duration::from_secs(30),
};

pub type AuthClient = AuthServiceClient<InterceptedService<Channel, Says>>;
pub type SessionClient = SessionServiceClient<InterceptedService<Channel, Says>>;

/// A running auth role; dropped, it stops.
pub struct System {
    pub clock: Clock,
    pub session_cache: Arc<TestSessionCache>,
    pub config: AuthConfig,
    key: MeshKey,
    channel: Channel,
    _stop: DropGuard,
}

impl System {
    pub async fn open(database_url: &str) -> Self {
        let mut config = AuthConfig::new(database_url, generate_signing_key());
        config.password_hashing = CHEAP;
        Self::start(config, Clock::manual(START_MILLIS), TestSessionCache::open().await).await
    }

    /// A second replica beside this one, on the same database and session_cache.
    pub async fn replica(&self, change: impl FnOnce(&mut AuthConfig)) -> Self {
        let mut config = self.config.clone();
        change(&mut config);
        Self::start(config, self.clock.clone(), self.session_cache.clone()).await
    }

    async fn start(config: AuthConfig, clock: Clock, session_cache: Arc<TestSessionCache>) -> Self {
        let auth = Auth::open(config.clone(), session_cache.clone(), clock.clone()).await.unwrap();
        let key = MeshKey::new("a-key-for-this-test-only").unwrap();
        let listener = Listener::bind("127.0.0.1:0").await.unwrap();
        let channel = Endpoint::from_shared(listener.address().unwrap()).unwrap().connect_lazy();
        let shutdown = CancellationToken::new();
        tokio::spawn(serve(listener, auth.routes(), SERVICES, key.clone(), shutdown.clone()));
        Self { clock, session_cache, config, key, channel, _stop: shutdown.drop_guard() }
    }

    fn says(&self, caller: Caller, more: &[(&'static str, &str)]) -> Says {
        let mut says = vec![
            (headers::KEY, self.key.expose().to_owned()),
            (headers::CALLER, caller.to_header()),
            ("user-agent", "Stories/1.0".to_owned()),
        ];
        says.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        Says(says)
    }

    /// A caller with headers of their own.
    pub fn calling(&self, caller: Caller, more: &[(&'static str, &str)]) -> AuthClient {
        AuthServiceClient::with_interceptor(self.channel.clone(), self.says(caller, more))
    }

    pub fn anyone(&self) -> AuthClient {
        self.calling(Caller::Anonymous, &[])
    }

    pub fn as_user(&self, who: &CreateSessionResponse) -> AuthClient {
        self.calling(caller(who), &[])
    }

    /// SessionService, as `caller` reaches it.
    pub fn session_service(&self, caller: Caller) -> SessionClient {
        SessionServiceClient::with_interceptor(self.channel.clone(), self.says(caller, &[]))
    }

    pub fn gateway(&self) -> SessionClient {
        self.session_service(Caller::Service("gateway".to_owned()))
    }

    pub async fn sign_up(&self, email: &str) {
        self.anyone().create_user(sign_up(email)).await.unwrap();
    }

    pub async fn sign_in(&self, email: &str) -> CreateSessionResponse {
        self.anyone().create_session(credentials(email, PASSWORD)).await.unwrap().into_inner()
    }

    /// Signs up and in.
    pub async fn newcomer(&self, email: &str) -> CreateSessionResponse {
        self.sign_up(email).await;
        self.sign_in(email).await
    }

    /// The one text that a query of the database answers.
    pub async fn query(&self, sql: &str) -> String {
        use sea_orm::{ConnectionTrait as _, Database, Statement};
        let database = Database::connect(self.config.database_url.as_str()).await.unwrap();
        let statement = Statement::from_string(database.get_database_backend(), sql);
        let row = database.query_one_raw(statement).await.unwrap().unwrap();
        database.close().await.unwrap();
        row.try_get_by_index(0).unwrap()
    }
}

pub fn sign_up(email: &str) -> CreateUserRequest {
    CreateUserRequest { email: email.to_owned(), password: PASSWORD.to_owned(), display_name: String::new() }
}

pub fn credentials(email: &str, password: &str) -> CreateSessionRequest {
    CreateSessionRequest { email: email.to_owned(), password: password.to_owned(), refresh_token_delivery: 0 }
}

/// The bare id of the session.
pub fn session_id(who: &CreateSessionResponse) -> String {
    who.session.as_ref().unwrap().name.strip_prefix("sessions/").unwrap().to_owned()
}

/// The bare id of the user.
pub fn user_id(who: &CreateSessionResponse) -> String {
    who.user.as_ref().unwrap().name.strip_prefix("users/").unwrap().to_owned()
}

pub fn caller(who: &CreateSessionResponse) -> Caller {
    Caller::User(UserSession { user: user_id(who), session: session_id(who) })
}

pub fn alive(who: &CreateSessionResponse) -> Option<SessionState> {
    Some(SessionState::Alive { user: user_id(who) })
}

pub fn set_cookies(metadata: &MetadataMap) -> Vec<String> {
    metadata.get_all("set-cookie").iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

/// Asserts that a call was refused with this code and reason.
#[track_caller]
pub fn refused<T>(answer: Result<T, Status>, code: Code, reason: &str) -> Status {
    let Err(status) = answer else { panic!("not refused; expected {reason}") };
    assert_eq!((status.code(), reason_of(&status).as_deref()), (code, Some(reason)), "{status:?}");
    status
}

/// Adds headers to every call.
#[derive(Clone)]
pub struct Says(Vec<(&'static str, String)>);

impl Interceptor for Says {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        for (name, value) in &self.0 {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        Ok(request)
    }
}

/// An in-memory session cache that can be made unavailable, or lose all entries.
pub struct TestSessionCache {
    shared: Mutex<SharedState>,
    unavailable: AtomicBool,
}

impl TestSessionCache {
    async fn open() -> Arc<Self> {
        Arc::new(Self { shared: Mutex::new(Self::empty().await), unavailable: AtomicBool::new(false) })
    }

    async fn empty() -> SharedState {
        connect(&format!("memory:{}", uuid::Uuid::now_v7())).await.unwrap()
    }

    pub fn set_unavailable(&self, unavailable: bool) {
        self.unavailable.store(unavailable, Ordering::SeqCst);
    }

    pub async fn flush(&self) {
        let empty = Self::empty().await;
        *self.shared.lock().unwrap() = empty;
    }

    /// The pub/sub on which the ends of sessions are published.
    pub fn pub_sub(&self) -> Arc<dyn PubSub> {
        self.shared.lock().unwrap().pub_sub.clone()
    }

    fn inner(&self) -> Result<Arc<dyn SessionCache>, SharedStateError> {
        if self.unavailable.load(Ordering::SeqCst) {
            return Err(SharedStateError::Config("unavailable".to_owned()));
        }
        Ok(self.shared.lock().unwrap().session_cache.clone())
    }
}

#[async_trait::async_trait]
impl SessionCache for TestSessionCache {
    async fn put(&self, session: &str, user: &str, ttl: Duration) -> Result<(), SharedStateError> {
        self.inner()?.put(session, user, ttl).await
    }

    async fn restore(&self, session: &str, user: &str, ttl: Duration) -> Result<(), SharedStateError> {
        self.inner()?.restore(session, user, ttl).await
    }

    async fn end(&self, session: &str, ttl: Duration) -> Result<(), SharedStateError> {
        self.inner()?.end(session, ttl).await
    }

    async fn get(&self, session: &str) -> Result<Option<SessionState>, SharedStateError> {
        self.inner()?.get(session).await
    }
}
