//! The fake's services: as much of each as the client calls.

use std::{collections::HashMap, pin::Pin};

use futures::Stream;
use reelmill_proto::{
    auth::{auth_service_server::AuthService, *},
    transcode::{transcode_service_server::TranscodeService, *},
    upload::{upload_service_server::UploadService, video_service_server::VideoService, *},
};
use tonic::{Code, Request, Response, Status, async_trait};

use crate::{
    fake::{Fake, Upload, refusal},
    store::etag,
};

type Answer<T> = Result<Response<T>, Status>;
type Changes<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn answer<T>(message: T) -> Answer<T> {
    Ok(Response::new(message))
}

fn not_here<T>() -> Answer<T> {
    Err(Status::unimplemented("not part of the fake"))
}

fn user() -> Option<User> {
    Some(User { name: "users/u".into(), email: "a@b.c".into(), ..User::default() })
}

#[async_trait]
impl AuthService for Fake {
    async fn create_user(&self, request: Request<CreateUserRequest>) -> Answer<CreateUserResponse> {
        if !self.state().password.is_empty() {
            return Err(refusal(Code::AlreadyExists, "EMAIL_TAKEN"));
        }
        self.state().password = request.into_inner().password;
        answer(CreateUserResponse { user: user() })
    }

    async fn create_session(&self, request: Request<CreateSessionRequest>) -> Answer<CreateSessionResponse> {
        let request = request.into_inner();
        assert_eq!(request.refresh_token_delivery(), RefreshTokenDelivery::Body);
        if request.password != self.state().password {
            return Err(refusal(Code::Unauthenticated, "CREDENTIALS_WRONG"));
        }
        let seconds = self.state().first_token_seconds;
        let (access_token, expire, refresh_token) = self.issue(seconds);
        let session =
            Some(Session { name: "sessions/s".into(), user: "users/u".into(), ..Session::default() });
        let access_token_expire_time = Some(expire);
        answer(CreateSessionResponse {
            session,
            user: user(),
            access_token,
            access_token_expire_time,
            refresh_token,
        })
    }

    async fn refresh_session(
        &self,
        request: Request<RefreshSessionRequest>,
    ) -> Answer<RefreshSessionResponse> {
        let shown = request.into_inner().refresh_token;
        {
            let mut state = self.state();
            state.refreshes += 1;
            if state.refresh.as_ref() != Some(&shown) {
                state.replays += 1;
                state.refresh = None;
                return Err(refusal(Code::Unauthenticated, "REFRESH_TOKEN_REPLAYED"));
            }
        }
        let (access_token, expire, refresh_token) = self.issue(900);
        let session =
            Some(Session { name: "sessions/s".into(), user: "users/u".into(), ..Session::default() });
        let access_token_expire_time = Some(expire);
        answer(RefreshSessionResponse {
            session,
            user: user(),
            access_token,
            access_token_expire_time,
            refresh_token,
        })
    }

    async fn delete_session(&self, request: Request<DeleteSessionRequest>) -> Answer<DeleteSessionResponse> {
        let shown = self.admit(&request)?;
        assert_eq!(request.into_inner().name, "sessions/current");
        let mut state = self.state();
        state.access.remove(&shown);
        // The refresh token is the newest session's.
        if shown == format!("access-{}", state.issued) {
            state.refresh = None;
        }
        answer(DeleteSessionResponse {})
    }

    async fn get_user(&self, _: Request<GetUserRequest>) -> Answer<GetUserResponse> {
        not_here()
    }

    async fn list_sessions(&self, _: Request<ListSessionsRequest>) -> Answer<ListSessionsResponse> {
        not_here()
    }

    async fn delete_all_sessions(
        &self,
        _: Request<DeleteAllSessionsRequest>,
    ) -> Answer<DeleteAllSessionsResponse> {
        not_here()
    }

    async fn list_signing_keys(&self, _: Request<ListSigningKeysRequest>) -> Answer<ListSigningKeysResponse> {
        not_here()
    }
}

impl Fake {
    fn signed(&self, upload: &str, part_number: i32, crc32c: &str) -> SignedPart {
        let mut state = self.state();
        state.signatures += 1;
        let id = upload.trim_start_matches("uploads/");
        SignedPart {
            part_number,
            uri: format!("{}/store/{id}/{part_number}?signature={}", self.url(), state.signatures),
            headers: HashMap::from([("x-amz-checksum-crc32c".to_owned(), crc32c.to_owned())]),
            expire_time: None,
        }
    }

    fn in_order(&self, mut parts: Vec<SignedPart>) -> Vec<SignedPart> {
        if self.state().reversed {
            parts.reverse();
        }
        parts
    }
}

#[async_trait]
impl UploadService for Fake {
    async fn create_upload_session(
        &self,
        request: Request<CreateUploadSessionRequest>,
    ) -> Answer<CreateUploadSessionResponse> {
        self.admit(&request)?;
        let request = request.into_inner();
        assert!(!request.request_id.is_empty() && !request.file_name.contains('/'));
        let session = {
            let mut state = self.state();
            let name = format!("uploads/{}", state.uploads.len() + 1);
            let session = UploadSession {
                name: name.clone(),
                video: format!("videos/{}", state.uploads.len() + 1),
                state: upload_session::State::Open.into(),
                file_name: request.file_name,
                size_bytes: request.size_bytes,
                part_size_bytes: state.part_size,
                part_count: i32::try_from(request.size_bytes.div_euclid(state.part_size)).unwrap()
                    + i32::from(request.size_bytes % state.part_size > 0),
                ..UploadSession::default()
            };
            state.options.push(request.options);
            state.uploads.insert(name, Upload { session: session.clone(), ..Upload::default() });
            session
        };
        let first =
            (1..=session.part_count.min(6)).map(|part| self.signed(&session.name, part, "")).collect();
        let signed_parts = self.in_order(first);
        answer(CreateUploadSessionResponse { upload_session: Some(session), signed_parts })
    }

    async fn get_upload_session(
        &self,
        request: Request<GetUploadSessionRequest>,
    ) -> Answer<GetUploadSessionResponse> {
        self.admit(&request)?;
        let state = self.state();
        let upload = state.uploads.get(&request.into_inner().name);
        let upload = upload.ok_or_else(|| refusal(Code::NotFound, "UPLOAD_NOT_FOUND"))?;
        let parts = upload.parts.iter().map(|(&part_number, bytes)| UploadPart {
            part_number,
            size_bytes: bytes.len().try_into().unwrap(),
            etag: etag(bytes),
        });
        let session = UploadSession { parts: parts.collect(), ..upload.session.clone() };
        answer(GetUploadSessionResponse { upload_session: Some(session) })
    }

    async fn sign_upload_parts(
        &self,
        request: Request<SignUploadPartsRequest>,
    ) -> Answer<SignUploadPartsResponse> {
        self.admit(&request)?;
        let request = request.into_inner();
        let signed =
            request.parts.iter().map(|part| self.signed(&request.name, part.part_number, &part.crc32c));
        let signed_parts = self.in_order(signed.collect());
        answer(SignUploadPartsResponse { signed_parts })
    }

    async fn complete_upload_session(
        &self,
        request: Request<CompleteUploadSessionRequest>,
    ) -> Answer<CompleteUploadSessionResponse> {
        self.admit(&request)?;
        let request = request.into_inner();
        let mut state = self.state();
        let upload = state.uploads.get_mut(&request.name).unwrap();
        let told: Vec<_> = request.parts.iter().map(|part| (part.part_number, part.etag.clone())).collect();
        let held: Vec<_> = upload.parts.iter().map(|(&number, bytes)| (number, etag(bytes))).collect();
        if told != held || held.len() != usize::try_from(upload.session.part_count).unwrap() {
            return Err(refusal(Code::FailedPrecondition, "PART_MISSING"));
        }
        upload.session.state = upload_session::State::Completed.into();
        let video = Video { state: video::State::Processing.into(), ..video_of(&upload.session) };
        answer(CompleteUploadSessionResponse { video: Some(video) })
    }

    async fn list_upload_sessions(
        &self,
        _: Request<ListUploadSessionsRequest>,
    ) -> Answer<ListUploadSessionsResponse> {
        not_here()
    }

    async fn abort_upload_session(
        &self,
        _: Request<AbortUploadSessionRequest>,
    ) -> Answer<AbortUploadSessionResponse> {
        not_here()
    }
}

fn video_of(session: &UploadSession) -> Video {
    Video {
        name: session.video.clone(),
        display_name: session.file_name.clone(),
        upload_session: session.name.clone(),
        size_bytes: session.size_bytes,
        ..Video::default()
    }
}

/// A video that plays.
pub fn ready(name: &str) -> Video {
    let rendition =
        |height: i32| Rendition { rendition_id: format!("{height}p"), height, ..Rendition::default() };
    Video {
        name: name.to_owned(),
        state: video::State::Ready.into(),
        renditions: vec![rendition(720), rendition(360)],
        playback_uri: "http://h/play/t/master.m3u8".to_owned(),
        revision: 9,
        playable: true,
        ..Video::default()
    }
}

#[async_trait]
impl VideoService for Fake {
    type WatchVideoStream = Changes<WatchVideoResponse>;
    type WatchVideosStream = Changes<WatchVideosResponse>;

    async fn get_video(&self, request: Request<GetVideoRequest>) -> Answer<GetVideoResponse> {
        self.admit(&request)?;
        let mut video = ready(&request.into_inner().name);
        let state = self.state();
        if state.audio_only {
            video.renditions.clear();
        }
        if state.encoding {
            video.state = video::State::Processing.into();
        }
        video.renditions.splice(0..0, state.sound.clone());
        answer(GetVideoResponse { video: Some(video) })
    }

    async fn list_videos(&self, request: Request<ListVideosRequest>) -> Answer<ListVideosResponse> {
        self.admit(&request)?;
        let request = request.into_inner();
        let all = self.state().videos.clone();
        let at: usize = request.page_token.parse().unwrap_or(0);
        let next = at + 2;
        let next_page_token = if next < all.len() { next.to_string() } else { String::new() };
        let videos = all.into_iter().skip(at).take(2).collect();
        answer(ListVideosResponse { videos, next_page_token })
    }

    async fn delete_video(&self, request: Request<DeleteVideoRequest>) -> Answer<DeleteVideoResponse> {
        self.admit(&request)?;
        match request.into_inner().name.as_str() {
            "videos/there" => answer(DeleteVideoResponse {}),
            _ => Err(refusal(Code::NotFound, "VIDEO_NOT_FOUND")),
        }
    }

    async fn watch_video(&self, request: Request<WatchVideoRequest>) -> Answer<Self::WatchVideoStream> {
        self.admit(&request)?;
        let request = request.into_inner();
        let mut state = self.state();
        state.watch_revisions.push(request.revision);
        let script = state.watches.pop_front().unwrap_or_else(|| vec![Ok(ready(&request.name))]);
        let changes = script.into_iter().map(|step| match step {
            Ok(video) => Ok(WatchVideoResponse { video: Some(video) }),
            Err(code) => Err(refusal(code, "BROKEN_ON_PURPOSE")),
        });
        answer(Box::pin(futures::stream::iter(changes.collect::<Vec<_>>())))
    }

    async fn watch_videos(&self, _: Request<WatchVideosRequest>) -> Answer<Self::WatchVideosStream> {
        not_here()
    }

    async fn create_playback(
        &self,
        request: Request<CreatePlaybackRequest>,
    ) -> Answer<CreatePlaybackResponse> {
        self.admit(&request)?;
        let at = |id: &str| (id.to_owned(), format!("{}/file/{id}", self.url()));
        let state = self.state();
        if state.encoding {
            return answer(CreatePlaybackResponse::default());
        }
        let rungs = if state.audio_only { &[][..] } else { &["720p", "360p"] };
        let sound = state.sound.iter().map(|rendition| rendition.rendition_id.as_str());
        let download_uris: HashMap<_, _> = rungs.iter().copied().chain(sound).map(at).collect();
        answer(CreatePlaybackResponse { download_uris, ..CreatePlaybackResponse::default() })
    }
}

#[async_trait]
impl TranscodeService for Fake {
    type WatchJobStream = Changes<WatchJobResponse>;
    type WatchJobsStream = Changes<WatchJobsResponse>;

    async fn list_jobs(&self, request: Request<ListJobsRequest>) -> Answer<ListJobsResponse> {
        self.admit(&request)?;
        let job = Job { name: "jobs/1".into(), state: job::State::Running.into(), ..Job::default() };
        answer(ListJobsResponse { jobs: vec![job], next_page_token: String::new() })
    }

    async fn create_job(&self, _: Request<CreateJobRequest>) -> Answer<CreateJobResponse> {
        not_here()
    }

    async fn get_job(&self, _: Request<GetJobRequest>) -> Answer<GetJobResponse> {
        not_here()
    }

    async fn cancel_job(&self, _: Request<CancelJobRequest>) -> Answer<CancelJobResponse> {
        not_here()
    }

    async fn watch_job(&self, _: Request<WatchJobRequest>) -> Answer<Self::WatchJobStream> {
        not_here()
    }

    async fn watch_jobs(&self, _: Request<WatchJobsRequest>) -> Answer<Self::WatchJobsStream> {
        not_here()
    }
}
