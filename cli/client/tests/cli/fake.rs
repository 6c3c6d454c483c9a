//! A small server that speaks the contract and misbehaves on demand.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use reelmill_proto::{
    auth::auth_service_server::AuthServiceServer,
    transcode::{Rendition, TranscodeOptions, transcode_service_server::TranscodeServiceServer},
    upload::{
        UploadSession, Video, upload_service_server::UploadServiceServer,
        video_service_server::VideoServiceServer,
    },
};
use tokio::sync::{Notify, watch};
use tonic::{Code, Request, Status, service::Routes};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::store;

/// What happens to the next PUT of a part.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Answered with this HTTP status.
    Status(u16),
    /// The connection is dropped without an answer.
    Drop,
    /// The address no longer holds: only a fresh one is taken.
    Expired,
}

/// One PUT as it arrived.
#[derive(Debug, Clone)]
pub struct Put {
    pub part: i32,
    pub signature: u64,
    pub content_length: Option<u64>,
    pub chunked: bool,
}

#[derive(Default)]
pub struct Upload {
    pub session: UploadSession,
    pub parts: BTreeMap<i32, Vec<u8>>,
}

#[derive(Default)]
pub struct State {
    pub password: String,
    pub access: HashSet<String>,
    pub refresh: Option<String>,
    pub refreshes: u32,
    pub replays: u32,
    pub issued: u32,
    pub first_token_seconds: i64,
    pub part_size: i64,
    pub reversed: bool,
    pub uploads: HashMap<String, Upload>,
    pub signatures: u64,
    pub expired: HashSet<u64>,
    pub faults: HashMap<i32, VecDeque<Fault>>,
    pub puts: Vec<Put>,
    pub videos: Vec<Video>,
    /// What each further WatchVideo sends; the last one ends as the watch ends.
    pub watches: VecDeque<Vec<Result<Video, Code>>>,
    pub watch_revisions: Vec<i64>,
    /// How each new upload's video shall be encoded.
    pub options: Vec<Option<TranscodeOptions>>,
    /// Renditions that every video has beside its rungs, or instead of them.
    pub sound: Vec<Rendition>,
    pub audio_only: bool,
    /// Videos play, and are still being encoded.
    pub encoding: bool,
    pub refusals: VecDeque<Status>,
    pub file: Vec<u8>,
    pub cuts: VecDeque<usize>,
    pub ranges: Vec<String>,
}

/// The running server.
#[derive(Clone)]
pub struct Fake {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    pub changed: Arc<Notify>,
    /// PUTs of parts above this number wait.
    pub open_up_to: Arc<watch::Sender<i32>>,
    /// How many PUTs must be under way at once before any is answered.
    pub together: Arc<watch::Sender<usize>>,
    pub under_way: Arc<watch::Sender<usize>>,
}

impl Fake {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = State { first_token_seconds: 900, part_size: 70_000, ..State::default() };
        let fake = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::new(Mutex::new(state)),
            changed: Arc::new(Notify::new()),
            open_up_to: Arc::new(watch::Sender::new(i32::MAX)),
            together: Arc::new(watch::Sender::new(1)),
            under_way: Arc::new(watch::Sender::new(0)),
        };
        let grpc = Routes::new(AuthServiceServer::new(fake.clone()))
            .add_service(UploadServiceServer::new(fake.clone()))
            .add_service(VideoServiceServer::new(fake.clone()))
            .add_service(TranscodeServiceServer::new(fake.clone()))
            .into_axum_router();
        let router = store::routes(fake.clone()).merge(grpc);
        tokio::spawn(async move { axum::serve(listener, router).await });
        fake
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits until the state is as wanted; panics when it does not come to that.
    pub async fn wait_for(&self, what: &str, is: impl Fn(&State) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if is(&self.state()) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait)
            .await
            .unwrap_or_else(|_| panic!("{what} did not come"));
    }

    /// Lets a call of a signed-in user pass, unless a refusal is due. Answers its access token.
    pub fn admit<T>(&self, request: &Request<T>) -> Result<String, Status> {
        let mut state = self.state();
        let shown =
            request.metadata().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or("");
        let shown = shown.trim_start_matches("Bearer ").to_owned();
        if !state.access.contains(&shown) {
            return Err(refusal(Code::Unauthenticated, "ACCESS_TOKEN_INVALID"));
        }
        state.refusals.pop_front().map_or(Ok(shown), Err)
    }

    /// Makes the server's next pair of tokens, the access token good for so long.
    pub fn issue(&self, seconds: i64) -> (String, prost_types::Timestamp, String) {
        let mut state = self.state();
        state.issued += 1;
        let (access, refresh) = (format!("access-{}", state.issued), format!("refresh-{}", state.issued));
        state.access.insert(access.clone());
        state.refresh = Some(refresh.clone());
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
        (access, reelmill_proto::timestamp(now + seconds * 1000), refresh)
    }
}

pub fn refusal(code: Code, reason: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "reelmill", HashMap::new());
    Status::with_error_details(code, format!("refused for {reason}"), details)
}

pub fn quota(delay: Duration) -> Status {
    let mut details = ErrorDetails::with_error_info("RATE_LIMITED", "reelmill", HashMap::new());
    details.set_retry_info(Some(delay));
    Status::with_error_details(Code::ResourceExhausted, "too many calls", details)
}
