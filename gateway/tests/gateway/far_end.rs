//! What stands behind the gateway in these tests: auth and upload as tonic services on the mesh, which
//! tell what reached them.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
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
use tonic::{Code, Request, Response, Status, metadata::KeyAndValueRef};

/// What the far ends know and have seen.
#[derive(Default)]
pub struct FarEnd {
    pub keys: Mutex<Vec<SigningKey>>,
    /// Session to user, for sessions that are alive.
    pub sessions: Mutex<HashMap<String, String>>,
    pub key_lists: AtomicUsize,
    pub session_checks: AtomicUsize,
    pub videos_got: AtomicUsize,
    /// Calls and streams that are open in a handler.
    pub open: AtomicUsize,
}

#[derive(Clone)]
pub struct Far(pub Arc<FarEnd>);

/// Counts a call as open while it lives.
struct Opened(Arc<FarEnd>);

impl Far {
    fn opened(&self) -> Opened {
        self.0.open.fetch_add(1, Ordering::SeqCst);
        Opened(self.0.clone())
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a handler was told, a line each.
fn seen<T>(request: &Request<T>) -> String {
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

fn elsewhere<T>() -> Result<Response<T>, Status> {
    Err(Status::aborted("no test calls this"))
}

fn video(display_name: String) -> Video {
    Video { name: "videos/a".to_owned(), display_name, ..Video::default() }
}

pub fn detailed() -> RpcError {
    RpcError::new(Code::FailedPrecondition, Reason::VideoNotReady, "not yet, \u{fc}brigens")
        .with("state", "PROCESSING")
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl VideoService for Far {
    async fn get_video(
        &self,
        request: Request<GetVideoRequest>,
    ) -> Result<Response<GetVideoResponse>, Status> {
        self.0.videos_got.fetch_add(1, Ordering::SeqCst);
        let told = seen(&request);
        match request.into_inner().name.as_str() {
            "videos/detailed-error" => Err(detailed().to_status()),
            "videos/never" => {
                let _opened = self.opened();
                std::future::pending().await
            }
            name if name.len() > 100_000 => {
                Ok(Response::new(GetVideoResponse { video: Some(video(name.to_owned())) }))
            }
            _ => {
                let mut response = Response::new(GetVideoResponse { video: Some(video(told)) });
                response.metadata_mut().insert("set-cookie", "stolen=1".parse().unwrap());
                response.metadata_mut().insert("x-reelmill-inner", "1".parse().unwrap());
                Ok(response)
            }
        }
    }

    type WatchVideoStream = Answers<WatchVideoResponse>;

    async fn watch_video(
        &self,
        _: Request<WatchVideoRequest>,
    ) -> Result<Response<Self::WatchVideoStream>, Status> {
        let two = (1..=2)
            .map(|revision| Ok(WatchVideoResponse { video: Some(Video { revision, ..Video::default() }) }));
        let end = stream::iter([Err(detailed().to_status())]);
        Ok(Response::new(stream::iter(two).chain(end).boxed()))
    }

    type WatchVideosStream = Answers<WatchVideosResponse>;

    async fn watch_videos(
        &self,
        _: Request<WatchVideosRequest>,
    ) -> Result<Response<Self::WatchVideosStream>, Status> {
        let opened = self.opened();
        let first = stream::iter([Ok(WatchVideosResponse { change: Some(Change::CaughtUp(true)) })]);
        let silence = stream::pending().map(move |never| {
            let _held = &opened;
            never
        });
        Ok(Response::new(first.chain(silence).boxed()))
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
        elsewhere()
    }

    async fn create_playback(
        &self,
        _: Request<CreatePlaybackRequest>,
    ) -> Result<Response<CreatePlaybackResponse>, Status> {
        elsewhere()
    }
}

#[tonic::async_trait]
impl AuthService for Far {
    async fn list_signing_keys(
        &self,
        _: Request<ListSigningKeysRequest>,
    ) -> Result<Response<ListSigningKeysResponse>, Status> {
        self.0.key_lists.fetch_add(1, Ordering::SeqCst);
        let signing_keys = self.0.keys.lock().unwrap().clone();
        Ok(Response::new(ListSigningKeysResponse { signing_keys }))
    }

    async fn create_user(
        &self,
        request: Request<CreateUserRequest>,
    ) -> Result<Response<CreateUserResponse>, Status> {
        let user = User { display_name: seen(&request), ..User::default() };
        Ok(Response::new(CreateUserResponse { user: Some(user) }))
    }

    async fn create_session(
        &self,
        request: Request<CreateSessionRequest>,
    ) -> Result<Response<CreateSessionResponse>, Status> {
        let user = User { display_name: seen(&request), ..User::default() };
        let mut response =
            Response::new(CreateSessionResponse { user: Some(user), ..CreateSessionResponse::default() });
        response.metadata_mut().insert("set-cookie", "refresh=1; HttpOnly".parse().unwrap());
        Ok(response)
    }

    async fn delete_session(
        &self,
        _: Request<DeleteSessionRequest>,
    ) -> Result<Response<DeleteSessionResponse>, Status> {
        elsewhere()
    }

    async fn get_user(&self, _: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        elsewhere()
    }

    async fn refresh_session(
        &self,
        _: Request<RefreshSessionRequest>,
    ) -> Result<Response<RefreshSessionResponse>, Status> {
        elsewhere()
    }

    async fn list_sessions(
        &self,
        _: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        elsewhere()
    }

    async fn delete_all_sessions(
        &self,
        _: Request<DeleteAllSessionsRequest>,
    ) -> Result<Response<DeleteAllSessionsResponse>, Status> {
        elsewhere()
    }
}

#[tonic::async_trait]
impl SessionService for Far {
    async fn check_session(
        &self,
        request: Request<CheckSessionRequest>,
    ) -> Result<Response<CheckSessionResponse>, Status> {
        assert_eq!(Caller::of(&request), Caller::Service("gateway".to_owned()));
        self.0.session_checks.fetch_add(1, Ordering::SeqCst);
        let session = request.into_inner().name.replace("sessions/", "");
        let user = self.0.sessions.lock().unwrap().get(&session).cloned();
        let answer = CheckSessionResponse {
            alive: user.is_some(),
            user: user.map(|user| format!("users/{user}")).unwrap_or_default(),
        };
        Ok(Response::new(answer))
    }
}
