//! The state of the fake server, which scenarios prepare and inspect.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use reelmill_proto::{
    auth::RefreshSessionRequest,
    transcode::{ListJobsRequest, Rendition, RetryJobRequest, TranscodeOptions},
    upload::{UploadSession, Video},
};
use tokio::sync::{Notify, watch};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::support::helpers::WAIT_TIMEOUT;

/// Result of a unary call.
pub type RpcResult<T> = Result<Response<T>, Status>;

/// What happens to the next PUT of a part.
#[derive(Debug, Clone, Copy)]
pub enum PutFault {
    /// The response has this HTTP status.
    Status(u16),
    /// The connection is closed without a response.
    ConnectionClosed,
    /// The signed address has expired: only a new one is accepted.
    AddressExpired,
}

/// A download response that breaks off.
pub struct Cut {
    /// Bytes that are sent.
    pub bytes: usize,
    /// The connection breaks when this file has received them.
    pub received_in: PathBuf,
}

/// One PUT of a part.
#[derive(Debug, Clone)]
pub struct Put {
    pub part: i32,
    pub signature: u64,
    pub content_length: Option<u64>,
    pub is_chunked: bool,
}

/// An upload session with the parts that are stored.
#[derive(Default)]
pub struct Upload {
    pub session: UploadSession,
    pub parts: BTreeMap<i32, Vec<u8>>,
}

#[derive(Default)]
pub struct State {
    /// The password of the only account; empty before it is created.
    pub password: String,
    /// Valid access tokens.
    pub access_tokens: HashSet<String>,
    /// The valid refresh token.
    pub refresh_token: Option<String>,
    /// Number of RefreshSession calls.
    pub refreshes: u32,
    /// Number of RefreshSession calls with a token that was used before.
    pub replays: u32,
    /// The last exchange: the used token, its request id, and its successor.
    pub last_refresh: Option<(RefreshSessionRequest, String)>,
    /// Number of RefreshSession calls whose response is lost.
    pub lost_refreshes: u32,
    /// Number of issued pairs of tokens.
    pub issued_tokens: u32,
    /// Lifetime of the access token of a sign-in.
    pub access_token_seconds: i64,
    /// Errors that the next authenticated calls return.
    pub errors: VecDeque<Status>,

    /// Bytes of a part in new upload sessions.
    pub part_size: i64,
    /// Whether signed parts are returned in reverse order.
    pub reverses_parts: bool,
    pub uploads: HashMap<String, Upload>,
    /// Names of upload sessions, by the request id that created them.
    pub request_ids: HashMap<String, String>,
    /// Responses to CreateUploadSession that are replaced by an error after the session was created.
    pub lost_creations: u32,
    /// Number of signed addresses.
    pub signatures: u64,
    /// Signatures that are no longer accepted.
    pub expired_signatures: HashSet<u64>,
    /// Faults by part number.
    pub put_faults: HashMap<i32, VecDeque<PutFault>>,
    pub puts: Vec<Put>,
    /// The encoding options of each upload session, in order of creation.
    pub options: Vec<Option<TranscodeOptions>>,

    /// What ListVideos returns.
    pub videos: Vec<Video>,
    /// What each next WatchVideo sends before its stream ends; without one it sends a READY video.
    pub watch_streams: VecDeque<Vec<Result<Video, Code>>>,
    /// The revision of each WatchVideo request.
    pub watch_revisions: Vec<i64>,
    /// Additional renditions of every video.
    pub audio_renditions: Vec<Rendition>,
    /// Whether videos have no rungs.
    pub is_audio_only: bool,
    /// Whether videos are playable and still being encoded.
    pub is_encoding: bool,
    /// Whether videos have FAILED, until their job is retried.
    pub is_failed: bool,
    /// RetryJob requests.
    pub retried: Vec<RetryJobRequest>,
    /// ListJobs requests.
    pub listed_jobs: Vec<ListJobsRequest>,

    /// What downloads return.
    pub file: Vec<u8>,
    /// How the next downloads break off.
    pub cuts: VecDeque<Cut>,
    /// The Range header of each download.
    pub ranges: Vec<String>,
}

/// The running server.
#[derive(Clone)]
pub struct FakeServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// Notified when a PUT arrives and when it is stored.
    pub changed: Arc<Notify>,
    /// PUTs of parts above this number wait.
    pub max_open_part: Arc<watch::Sender<i32>>,
    /// Number of PUTs that must have arrived before any is answered.
    pub min_concurrent_puts: Arc<watch::Sender<usize>>,
    /// Number of PUTs that have arrived.
    pub arrived_puts: Arc<watch::Sender<usize>>,
}

impl FakeServer {
    pub fn new(address: SocketAddr) -> Self {
        let state = State { access_token_seconds: 900, part_size: 70_000, ..State::default() };
        Self {
            address,
            state: Arc::new(Mutex::new(state)),
            changed: Arc::new(Notify::new()),
            max_open_part: Arc::new(watch::Sender::new(i32::MAX)),
            min_concurrent_puts: Arc::new(watch::Sender::new(1)),
            arrived_puts: Arc::new(watch::Sender::new(0)),
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the next PUTs of a part fail with this HTTP status.
    pub fn fail_puts(&self, part: i32, status: u16, times: usize) {
        let faults = std::iter::repeat_n(PutFault::Status(status), times).collect();
        self.state().put_faults.insert(part, faults);
    }

    /// The stored parts of an upload, joined.
    pub fn stored_bytes(&self, upload: &str) -> Vec<u8> {
        self.state().uploads[upload].parts.values().flatten().copied().collect()
    }

    /// The part numbers of all PUTs, in the order of their arrival.
    pub fn put_parts(&self) -> Vec<i32> {
        self.state().puts.iter().map(|put| put.part).collect()
    }

    /// Waits until a condition on the PUTs is met; panics after [`WAIT_TIMEOUT`].
    pub async fn wait_for(&self, what: &str, is_met: impl Fn(&State) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if is_met(&self.state()) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(WAIT_TIMEOUT, wait).await.unwrap_or_else(|_| panic!("timed out: {what}"));
    }

    /// Returns the access token of an authenticated call, or the next error from the state.
    pub fn authenticate<T>(&self, request: &Request<T>) -> Result<String, Status> {
        let mut state = self.state();
        let header = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let token = header.unwrap_or("").trim_start_matches("Bearer ").to_owned();
        if !state.access_tokens.contains(&token) {
            return Err(error(Code::Unauthenticated, "ACCESS_TOKEN_INVALID"));
        }
        state.errors.pop_front().map_or(Ok(token), Err)
    }

    /// Issues an access token with its expiry, and a refresh token.
    pub fn issue_tokens(&self, access_seconds: i64) -> (String, prost_types::Timestamp, String) {
        let mut state = self.state();
        state.issued_tokens += 1;
        let number = state.issued_tokens;
        let (access, refresh) = (format!("access-{number}"), format!("refresh-{number}"));
        state.access_tokens.insert(access.clone());
        state.refresh_token = Some(refresh.clone());
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
        (access, reelmill_proto::timestamp(now + access_seconds * 1000), refresh)
    }
}

/// A successful response.
pub fn ok<T>(message: T) -> RpcResult<T> {
    Ok(Response::new(message))
}

/// The response of methods that the client does not call.
pub fn not_implemented<T>() -> RpcResult<T> {
    Err(Status::unimplemented("not part of the fake server"))
}

/// An error with a reason in its details.
pub fn error(code: Code, reason: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "reelmill", HashMap::new());
    Status::with_error_details(code, format!("refused for {reason}"), details)
}

/// The error of an exhausted quota, to be retried after `retry_delay`.
pub fn rate_limited(retry_delay: Duration) -> Status {
    let mut details = ErrorDetails::with_error_info("RATE_LIMITED", "reelmill", HashMap::new());
    details.set_retry_info(Some(retry_delay));
    Status::with_error_details(Code::ResourceExhausted, "too many calls", details)
}
