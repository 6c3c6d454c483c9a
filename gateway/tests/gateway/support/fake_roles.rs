//! Fakes of the auth and upload roles, which record and return what they received.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{Stream, StreamExt as _, stream};
use reelmill_mesh::{Caller, Origin, RpcError};
use reelmill_proto::{
    Reason,
    auth::{
        CheckSessionRequest, CheckSessionResponse, CreateSessionRequest, CreateSessionResponse,
        CreateUserRequest, CreateUserResponse, DeleteAllSessionsRequest, DeleteAllSessionsResponse,
        DeleteSessionRequest, DeleteSessionResponse, GetUserRequest, GetUserResponse, ListSessionsRequest,
        ListSessionsResponse, ListSigningKeysRequest, ListSigningKeysResponse, RefreshSessionRequest,
        RefreshSessionResponse, SigningKey, User, auth_service_server::AuthService,
        session_service_server::SessionService,
    },
    upload::{
        CreatePlaybackRequest, CreatePlaybackResponse, DeleteVideoRequest, DeleteVideoResponse,
        GetVideoRequest, GetVideoResponse, ListVideosRequest, ListVideosResponse, Video, WatchVideoRequest,
        WatchVideoResponse, WatchVideosRequest, WatchVideosResponse, video_service_server::VideoService,
        watch_videos_response::Change,
    },
};
use tokio::sync::watch;
use tonic::{Code, Request, Response, Status, metadata::KeyAndValueRef};

/// Data of the fakes, and what they recorded.
#[derive(Default)]
pub struct RoleState {
    pub keys: Mutex<Vec<SigningKey>>,
    /// User of each session that has not ended.
    pub sessions: Mutex<HashMap<String, String>>,
    pub key_fetches: AtomicUsize,
    pub session_checks: AtomicUsize,
    pub get_video_calls: AtomicUsize,
    /// Number of calls and streams that a handler is serving.
    open: watch::Sender<usize>,
}

impl RoleState {
    /// Waits until handlers serve exactly `count` calls and streams, at most ten seconds.
    pub async fn wait_for_open_calls(&self, count: usize) {
        let mut open = self.open.subscribe();
        let reached = open.wait_for(|open| *open == count);
        let reached = tokio::time::timeout(Duration::from_secs(10), reached).await.is_ok();
        assert!(reached, "{} calls are open instead of {count}", *self.open.borrow());
    }
}

/// All fake roles, as services.
#[derive(Clone, Default)]
pub struct FakeRoles(pub Arc<RoleState>);

/// Counts a call as open until it is dropped.
struct OpenCall(Arc<RoleState>);

impl FakeRoles {
    fn open_call(&self) -> OpenCall {
        self.0.open.send_modify(|open| *open += 1);
        OpenCall(self.0.clone())
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

/// Caller, origin and headers of a request, one per line.
fn describe<T>(request: &Request<T>) -> String {
    let mut lines = vec![
        format!("caller: {}", Caller::of(request).to_header()),
        format!("origin: {:?}", Origin::of(request)),
    ];
    for entry in request.metadata().iter() {
        if let KeyAndValueRef::Ascii(key, value) = entry {
            lines.push(format!("{key}: {}", value.to_str().unwrap_or_default()));
        }
    }
    lines.join("\n")
}

fn not_called<T>() -> Result<Response<T>, Status> {
    Err(Status::aborted("no test calls this"))
}

fn video(display_name: String) -> Video {
    Video { name: "videos/a".to_owned(), display_name, ..Video::default() }
}

/// The error that the fakes return, with metadata and a message outside of ASCII.
pub fn error_with_details() -> RpcError {
    RpcError::new(Code::FailedPrecondition, Reason::VideoNotReady, "not yet, \u{fc}brigens")
        .with("state", "PROCESSING")
}

type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl VideoService for FakeRoles {
    async fn get_video(
        &self,
        request: Request<GetVideoRequest>,
    ) -> Result<Response<GetVideoResponse>, Status> {
        self.0.get_video_calls.fetch_add(1, Ordering::SeqCst);
        let description = describe(&request);
        match request.into_inner().name.as_str() {
            "videos/detailed-error" => Err(error_with_details().to_status()),
            "videos/never" => {
                let _open_call = self.open_call();
                std::future::pending().await
            }
            _ => {
                let mut response = Response::new(GetVideoResponse { video: Some(video(description)) });
                response.metadata_mut().insert("set-cookie", "stolen=1".parse().unwrap());
                response.metadata_mut().insert("x-reelmill-inner", "1".parse().unwrap());
                Ok(response)
            }
        }
    }

    type WatchVideoStream = ResponseStream<WatchVideoResponse>;

    async fn watch_video(
        &self,
        _: Request<WatchVideoRequest>,
    ) -> Result<Response<Self::WatchVideoStream>, Status> {
        let two = (1..=2)
            .map(|revision| Ok(WatchVideoResponse { video: Some(Video { revision, ..Video::default() }) }));
        let end = stream::iter([Err(error_with_details().to_status())]);
        Ok(Response::new(stream::iter(two).chain(end).boxed()))
    }

    type WatchVideosStream = ResponseStream<WatchVideosResponse>;

    async fn watch_videos(
        &self,
        _: Request<WatchVideosRequest>,
    ) -> Result<Response<Self::WatchVideosStream>, Status> {
        let open_call = self.open_call();
        let first = stream::iter([Ok(WatchVideosResponse { change: Some(Change::CaughtUp(true)) })]);
        let idle = stream::pending().map(move |never| {
            let _open_call = &open_call;
            never
        });
        Ok(Response::new(first.chain(idle).boxed()))
    }

    async fn list_videos(
        &self,
        _: Request<ListVideosRequest>,
    ) -> Result<Response<ListVideosResponse>, Status> {
        Ok(Response::new(ListVideosResponse::default()))
    }

    async fn delete_video(
        &self,
        _: Request<DeleteVideoRequest>,
    ) -> Result<Response<DeleteVideoResponse>, Status> {
        not_called()
    }

    async fn create_playback(
        &self,
        _: Request<CreatePlaybackRequest>,
    ) -> Result<Response<CreatePlaybackResponse>, Status> {
        not_called()
    }
}

#[tonic::async_trait]
impl AuthService for FakeRoles {
    async fn list_signing_keys(
        &self,
        _: Request<ListSigningKeysRequest>,
    ) -> Result<Response<ListSigningKeysResponse>, Status> {
        self.0.key_fetches.fetch_add(1, Ordering::SeqCst);
        let signing_keys = self.0.keys.lock().unwrap().clone();
        Ok(Response::new(ListSigningKeysResponse { signing_keys }))
    }

    async fn create_user(
        &self,
        request: Request<CreateUserRequest>,
    ) -> Result<Response<CreateUserResponse>, Status> {
        let user = User { display_name: describe(&request), ..User::default() };
        Ok(Response::new(CreateUserResponse { user: Some(user) }))
    }

    async fn create_session(
        &self,
        request: Request<CreateSessionRequest>,
    ) -> Result<Response<CreateSessionResponse>, Status> {
        let user = User { display_name: describe(&request), ..User::default() };
        let mut response =
            Response::new(CreateSessionResponse { user: Some(user), ..CreateSessionResponse::default() });
        response.metadata_mut().insert("set-cookie", "refresh=1; HttpOnly".parse().unwrap());
        Ok(response)
    }

    async fn delete_session(
        &self,
        _: Request<DeleteSessionRequest>,
    ) -> Result<Response<DeleteSessionResponse>, Status> {
        not_called()
    }

    async fn get_user(&self, _: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        not_called()
    }

    async fn refresh_session(
        &self,
        _: Request<RefreshSessionRequest>,
    ) -> Result<Response<RefreshSessionResponse>, Status> {
        not_called()
    }

    async fn list_sessions(
        &self,
        _: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        not_called()
    }

    async fn delete_all_sessions(
        &self,
        _: Request<DeleteAllSessionsRequest>,
    ) -> Result<Response<DeleteAllSessionsResponse>, Status> {
        not_called()
    }
}

#[tonic::async_trait]
impl SessionService for FakeRoles {
    async fn check_session(
        &self,
        request: Request<CheckSessionRequest>,
    ) -> Result<Response<CheckSessionResponse>, Status> {
        assert_eq!(Caller::of(&request), Caller::Service("gateway".to_owned()));
        self.0.session_checks.fetch_add(1, Ordering::SeqCst);
        let session = request.into_inner().name.replace("sessions/", "");
        let user = self.0.sessions.lock().unwrap().get(&session).cloned();
        let response = CheckSessionResponse {
            alive: user.is_some(),
            user: user.map(|user| format!("users/{user}")).unwrap_or_default(),
        };
        Ok(Response::new(response))
    }
}
