//! `UploadService`: each method checks, calls, converts.

use std::sync::Arc;

use reelmill_mesh::{Caller, Origin};
use reelmill_proto::upload::{
    AbortUploadSessionRequest, AbortUploadSessionResponse, CompleteUploadSessionRequest,
    CompleteUploadSessionResponse, CreateUploadSessionRequest, CreateUploadSessionResponse,
    GetUploadSessionRequest, GetUploadSessionResponse, ListUploadSessionsRequest, ListUploadSessionsResponse,
    PartToSign, SignUploadPartsRequest, SignUploadPartsResponse, upload_service_server::UploadService,
};
use tonic::{Request, Response, Status};

use crate::{
    UploadError,
    convert::upload_session,
    core::{Core, millis},
    domain::{
        names::{self, Cursor},
        options,
        parts::PartPlan,
        upload, video,
    },
    store::{Created, upload_row, video_row},
};

/// Addresses that come with a new session.
const FIRST_BATCH: usize = 16;
const MAX_SIGNED: usize = 200;

pub(crate) struct Uploads(pub Arc<Core>);

/// Bare id of the user who calls.
pub(crate) fn owner_of<T>(request: &Request<T>) -> Result<String, UploadError> {
    let caller = Caller::of(request);
    caller.user().map(|user| user.user.clone()).map_err(|_| UploadError::SignInRequired)
}

#[tonic::async_trait]
impl UploadService for Uploads {
    async fn create_upload_session(
        &self,
        request: Request<CreateUploadSessionRequest>,
    ) -> Result<Response<CreateUploadSessionResponse>, Status> {
        let (owner, origin) = (owner_of(&request)?, Origin::of(&request));
        let (upload, is_new) = match self.write_rows(&owner, request.get_ref()).await? {
            Created::New(upload) => (upload, true),
            Created::Before(upload) => (self.same_video(upload, request.get_ref()).await?, false),
        };
        let opened = self.open(upload.clone(), origin.as_deref()).await;
        if is_new && opened.is_err() {
            // Without a store there is no upload, and nothing of it should show.
            self.0.store.take_back(&upload, self.0.now()).await.map_err(UploadError::from)?;
            self.0.unfinished.notify_one();
        }
        self.0.announce(&owner, &upload.video_id).await;
        Ok(Response::new(opened?))
    }

    async fn get_upload_session(
        &self,
        request: Request<GetUploadSessionRequest>,
    ) -> Result<Response<GetUploadSessionResponse>, Status> {
        let owner = owner_of(&request)?;
        let upload = self.0.upload_of(&owner, &request.get_ref().name).await?;
        let parts = match upload.state {
            upload::State::Open => self.0.received(&upload).await?,
            _ => Vec::new(),
        };
        Ok(Response::new(GetUploadSessionResponse { upload_session: Some(upload_session(&upload, parts)) }))
    }

    async fn list_upload_sessions(
        &self,
        request: Request<ListUploadSessionsRequest>,
    ) -> Result<Response<ListUploadSessionsResponse>, Status> {
        let owner = owner_of(&request)?;
        let asked = request.get_ref();
        let size = names::page_size(asked.page_size)?;
        let after = Cursor::from_token(&asked.page_token)?;
        let mut rows =
            self.0.store.open_uploads(&owner, after.as_ref(), size + 1).await.map_err(UploadError::from)?;
        let next_page_token = names::end_page(&mut rows, size, |row| Cursor {
            create_time: row.create_time,
            id: row.id.clone(),
        });
        let upload_sessions = rows.iter().map(|row| upload_session(row, Vec::new())).collect();
        Ok(Response::new(ListUploadSessionsResponse { upload_sessions, next_page_token }))
    }

    async fn sign_upload_parts(
        &self,
        request: Request<SignUploadPartsRequest>,
    ) -> Result<Response<SignUploadPartsResponse>, Status> {
        let (owner, origin) = (owner_of(&request)?, Origin::of(&request));
        let asked = request.get_ref();
        if asked.parts.is_empty() || asked.parts.len() > MAX_SIGNED {
            return Err(UploadError::field("parts", format!("must name 1 to {MAX_SIGNED} parts")).into());
        }
        let upload = self.0.upload_of(&owner, &asked.name).await?;
        let signed_parts = self.0.sign_parts(&upload, &asked.parts, origin.as_deref()).await?;
        Ok(Response::new(SignUploadPartsResponse { signed_parts }))
    }

    async fn complete_upload_session(
        &self,
        request: Request<CompleteUploadSessionRequest>,
    ) -> Result<Response<CompleteUploadSessionResponse>, Status> {
        let (owner, origin) = (owner_of(&request)?, Origin::of(&request));
        let upload = self.0.upload_of(&owner, &request.get_ref().name).await?;
        let row = self.0.complete(upload, request.into_inner()).await?;
        let video = self.0.video_message(&row, origin.as_deref())?;
        Ok(Response::new(CompleteUploadSessionResponse { video: Some(video) }))
    }

    async fn abort_upload_session(
        &self,
        request: Request<AbortUploadSessionRequest>,
    ) -> Result<Response<AbortUploadSessionResponse>, Status> {
        let owner = owner_of(&request)?;
        let upload = self.0.upload_of(&owner, &request.get_ref().name).await?;
        if !self.0.store.abort(&upload, self.0.now()).await.map_err(UploadError::from)? {
            return Err(UploadError::UploadNotOpen.into());
        }
        self.0.announce(&owner, &upload.video_id).await;
        self.0.unfinished.notify_one();
        Ok(Response::new(AbortUploadSessionResponse {}))
    }
}

impl Uploads {
    async fn write_rows(
        &self,
        owner: &str,
        asked: &CreateUploadSessionRequest,
    ) -> Result<Created, UploadError> {
        let file_name = names::file_name(&asked.file_name)?;
        let display_name = names::display_name(&asked.display_name, &file_name)?;
        let request_id = names::request_id(&asked.request_id)?;
        let options = options::checked(asked.options.as_ref())?;
        let plan = PartPlan::new(asked.size_bytes, self.0.config.part_size_bytes)?;
        let (now, video_id, upload_id) = (self.0.now(), names::new_id(), names::new_id());
        let upload = upload_row::Model {
            id: upload_id.clone(),
            video_id: video_id.clone(),
            owner: owner.to_owned(),
            request_id,
            state: upload::State::Open,
            file_name,
            size_bytes: plan.size,
            part_size_bytes: plan.part_size,
            part_count: plan.count,
            store_upload_id: None,
            claimed_parts: None,
            complete_time: None,
            create_time: now,
            update_time: now,
            expire_time: now + millis(self.0.config.session_ttl),
        };
        let video = video_row::Model {
            id: video_id,
            owner: owner.to_owned(),
            display_name,
            state: video::State::Uploading,
            size_bytes: plan.size,
            upload_id,
            options,
            create_time: now,
            complete_time: None,
            playable_time: None,
            end_time: None,
            // Given by the store.
            revision: 0,
            job: None,
            job_revision: 0,
            outcome: None,
            master_playlist_key: None,
            poster_key: None,
            dash_manifest_key: None,
            thumbnails_key: None,
            download_keys: None,
            output_size_bytes: 0,
            delete_time: None,
            cleanup_time: None,
        };
        Ok(self.0.store.create(upload, video).await?)
    }

    /// An idempotency key stands for one file, encoded in one way.
    async fn same_video(
        &self,
        upload: upload_row::Model,
        asked: &CreateUploadSessionRequest,
    ) -> Result<upload_row::Model, UploadError> {
        let same_file = upload.size_bytes == asked.size_bytes
            && names::file_name(&asked.file_name).is_ok_and(|name| name == upload.file_name);
        if !same_file {
            return Err(UploadError::field("request_id", "was used for another file"));
        }
        let video = self.0.store.video(&upload.video_id).await?;
        let options = options::checked(asked.options.as_ref())?;
        if video.is_some_and(|video| video.options != options) {
            return Err(UploadError::field("request_id", "was used with other options"));
        }
        Ok(upload)
    }

    /// The session as it is, with addresses for the first parts that are not there yet.
    async fn open(
        &self,
        mut upload: upload_row::Model,
        origin: Option<&str>,
    ) -> Result<CreateUploadSessionResponse, UploadError> {
        if upload.state != upload::State::Open {
            let upload_session = Some(upload_session(&upload, Vec::new()));
            return Ok(CreateUploadSessionResponse { upload_session, signed_parts: Vec::new() });
        }
        let parts = self.0.received(&upload).await?;
        upload.store_upload_id = Some(self.0.multipart_of(&upload).await?);
        let there: std::collections::HashSet<i32> = parts.iter().map(|part| part.number).collect();
        let missing: Vec<PartToSign> = (1..=upload.part_count)
            .filter(|number| !there.contains(number))
            .take(FIRST_BATCH)
            .map(|part_number| PartToSign { part_number, crc32c: String::new() })
            .collect();
        let signed_parts = self.0.sign_parts(&upload, &missing, origin).await?;
        Ok(CreateUploadSessionResponse { upload_session: Some(upload_session(&upload, parts)), signed_parts })
    }
}
