//! RPC methods of UploadService: authenticate, load, act, convert.

use reelmill_mesh::{Origin, paging::Page};
use reelmill_proto::upload::{
    AbortUploadSessionRequest, AbortUploadSessionResponse, CompleteUploadSessionRequest,
    CompleteUploadSessionResponse, CreateUploadSessionRequest, CreateUploadSessionResponse,
    GetUploadSessionRequest, GetUploadSessionResponse, ListUploadSessionsRequest, ListUploadSessionsResponse,
    SignUploadPartsRequest, SignUploadPartsResponse, upload_service_server::UploadService,
};
use tonic::{Request, Response, Status};

use crate::{
    caller::user_of,
    catalogue::Catalogue,
    change_feed::ChangeFeed,
    db::CreateOutcome,
    domain::{resource_name::video_name, upload_state::UploadState},
    error::UploadError,
    multipart_uploads::{MultipartUploads, OpenedUpload},
    session_messages::upload_session,
    upload_completion::UploadCompletion,
    upload_sessions::UploadSessions,
    video_messages::VideoMessages,
};

const MAX_SIGNED_PARTS: usize = 200;

/// Serves UploadService.
#[derive(Clone)]
pub(crate) struct UploadRpc {
    pub sessions: UploadSessions,
    pub multipart: MultipartUploads,
    pub completion: UploadCompletion,
    pub catalogue: Catalogue,
    pub messages: VideoMessages,
    pub changes: ChangeFeed,
}

#[tonic::async_trait]
impl UploadService for UploadRpc {
    async fn create_upload_session(
        &self,
        request: Request<CreateUploadSessionRequest>,
    ) -> Result<Response<CreateUploadSessionResponse>, Status> {
        let (owner, origin) = (user_of(&request)?, Origin::of(&request));
        let (upload, is_new) = match self.sessions.create(&owner, request.get_ref()).await? {
            CreateOutcome::Created(upload) => (upload, true),
            CreateOutcome::Existing(upload) => (upload, false),
        };
        let opened = match upload.state {
            UploadState::Open => self.multipart.open_and_sign(&upload, origin.as_deref()).await,
            _ => Ok(OpenedUpload::default()),
        };
        if is_new && opened.is_err() {
            self.sessions.discard(&upload).await?;
        }
        // Also after a failure: a watcher may have read the video before it was discarded. Also for an existing
        // session: the call that created it may have been cancelled before it published.
        self.changes.publish_row_change(&owner, &upload.video_id).await;
        let OpenedUpload { received, signed_parts } = opened?;
        let upload_session = Some(upload_session(&upload, received));
        Ok(Response::new(CreateUploadSessionResponse { upload_session, signed_parts }))
    }

    async fn get_upload_session(
        &self,
        request: Request<GetUploadSessionRequest>,
    ) -> Result<Response<GetUploadSessionResponse>, Status> {
        let owner = user_of(&request)?;
        let upload = self.sessions.find(&owner, &request.get_ref().name).await?;
        let parts = match upload.state {
            UploadState::Open => self.multipart.received_parts(&upload).await?,
            _ => Vec::new(),
        };
        Ok(Response::new(GetUploadSessionResponse { upload_session: Some(upload_session(&upload, parts)) }))
    }

    async fn list_upload_sessions(
        &self,
        request: Request<ListUploadSessionsRequest>,
    ) -> Result<Response<ListUploadSessionsResponse>, Status> {
        let owner = user_of(&request)?;
        let request = request.into_inner();
        let page =
            Page::parse("uploads", request.page_size, &request.page_token).map_err(UploadError::from)?;
        let (uploads, next_page_token) = self.sessions.list_open(&owner, &page).await?;
        let upload_sessions = uploads.iter().map(|upload| upload_session(upload, Vec::new())).collect();
        Ok(Response::new(ListUploadSessionsResponse { upload_sessions, next_page_token }))
    }

    async fn sign_upload_parts(
        &self,
        request: Request<SignUploadPartsRequest>,
    ) -> Result<Response<SignUploadPartsResponse>, Status> {
        let (owner, origin) = (user_of(&request)?, Origin::of(&request));
        let request = request.into_inner();
        if !(1..=MAX_SIGNED_PARTS).contains(&request.parts.len()) {
            let message = format!("must name 1 to {MAX_SIGNED_PARTS} parts");
            return Err(UploadError::field("parts", message).into());
        }
        let upload = self.sessions.find(&owner, &request.name).await?;
        let signed_parts = self.multipart.sign_parts(&upload, &request.parts, origin.as_deref()).await?;
        Ok(Response::new(SignUploadPartsResponse { signed_parts }))
    }

    async fn complete_upload_session(
        &self,
        request: Request<CompleteUploadSessionRequest>,
    ) -> Result<Response<CompleteUploadSessionResponse>, Status> {
        let (owner, origin) = (user_of(&request)?, Origin::of(&request));
        let request = request.into_inner();
        let upload = self.sessions.find(&owner, &request.name).await?;
        let video = self.completion.complete(upload, request.parts).await?;
        let detail = self.catalogue.find(&owner, &video_name(&video.id)).await?;
        let video = self.messages.video(&detail, origin.as_deref());
        Ok(Response::new(CompleteUploadSessionResponse { video: Some(video) }))
    }

    async fn abort_upload_session(
        &self,
        request: Request<AbortUploadSessionRequest>,
    ) -> Result<Response<AbortUploadSessionResponse>, Status> {
        let owner = user_of(&request)?;
        let upload = self.sessions.find(&owner, &request.get_ref().name).await?;
        self.sessions.abort(&upload).await?;
        Ok(Response::new(AbortUploadSessionResponse {}))
    }
}
