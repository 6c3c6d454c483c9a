//! The upload service.

use std::collections::HashMap;

use reelmill_proto::upload::{upload_service_server::UploadService, *};
use tonic::{Code, Request, Status, async_trait};

use super::{
    object_store::etag,
    state::{FakeServer, RpcResult, error, not_implemented, ok},
};

impl FakeServer {
    fn sign_part(&self, upload: &str, part_number: i32, crc32c: &str) -> SignedPart {
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

    fn ordered(&self, mut parts: Vec<SignedPart>) -> Vec<SignedPart> {
        if self.state().reverses_parts {
            parts.reverse();
        }
        parts
    }
}

#[async_trait]
impl UploadService for FakeServer {
    async fn create_upload_session(
        &self,
        request: Request<CreateUploadSessionRequest>,
    ) -> RpcResult<CreateUploadSessionResponse> {
        self.authenticate(&request)?;
        let request = request.into_inner();
        assert!(!request.request_id.is_empty() && !request.file_name.contains('/'));
        let session = {
            let mut state = self.state();
            let new = format!("uploads/{}", state.uploads.len() + 1);
            let name = state.request_ids.entry(request.request_id).or_insert(new).clone();
            let existing = state.uploads.get(&name).map(|upload| upload.session.clone());
            let session = existing.unwrap_or_else(|| UploadSession {
                name: name.clone(),
                video: format!("videos/{}", state.uploads.len() + 1),
                state: upload_session::State::Open.into(),
                file_name: request.file_name,
                size_bytes: request.size_bytes,
                part_size_bytes: state.part_size,
                part_count: i32::try_from(request.size_bytes.div_euclid(state.part_size)).unwrap()
                    + i32::from(request.size_bytes % state.part_size > 0),
                ..UploadSession::default()
            });
            state.options.push(request.options);
            state.uploads.entry(name).or_default().session = session.clone();
            if state.lost_creations > 0 {
                state.lost_creations -= 1;
                return Err(Status::internal("the response was lost"));
            }
            session
        };
        let first =
            (1..=session.part_count.min(6)).map(|part| self.sign_part(&session.name, part, "")).collect();
        let signed_parts = self.ordered(first);
        ok(CreateUploadSessionResponse { upload_session: Some(session), signed_parts })
    }

    async fn get_upload_session(
        &self,
        request: Request<GetUploadSessionRequest>,
    ) -> RpcResult<GetUploadSessionResponse> {
        self.authenticate(&request)?;
        let state = self.state();
        let upload = state.uploads.get(&request.into_inner().name);
        let upload = upload.ok_or_else(|| error(Code::NotFound, "UPLOAD_NOT_FOUND"))?;
        let parts = upload.parts.iter().map(|(&part_number, bytes)| UploadPart {
            part_number,
            size_bytes: bytes.len().try_into().unwrap(),
            etag: etag(bytes),
        });
        let session = UploadSession { parts: parts.collect(), ..upload.session.clone() };
        ok(GetUploadSessionResponse { upload_session: Some(session) })
    }

    async fn sign_upload_parts(
        &self,
        request: Request<SignUploadPartsRequest>,
    ) -> RpcResult<SignUploadPartsResponse> {
        self.authenticate(&request)?;
        let request = request.into_inner();
        let signed =
            request.parts.iter().map(|part| self.sign_part(&request.name, part.part_number, &part.crc32c));
        let signed_parts = self.ordered(signed.collect());
        ok(SignUploadPartsResponse { signed_parts })
    }

    async fn complete_upload_session(
        &self,
        request: Request<CompleteUploadSessionRequest>,
    ) -> RpcResult<CompleteUploadSessionResponse> {
        self.authenticate(&request)?;
        let request = request.into_inner();
        let mut state = self.state();
        let upload = state.uploads.get_mut(&request.name).unwrap();
        let declared: Vec<_> =
            request.parts.iter().map(|part| (part.part_number, part.etag.clone())).collect();
        let stored: Vec<_> = upload.parts.iter().map(|(&number, bytes)| (number, etag(bytes))).collect();
        if declared != stored || stored.len() != usize::try_from(upload.session.part_count).unwrap() {
            return Err(error(Code::FailedPrecondition, "PART_MISSING"));
        }
        upload.session.state = upload_session::State::Completed.into();
        let video = Video { state: video::State::Processing.into(), ..video_of(&upload.session) };
        ok(CompleteUploadSessionResponse { video: Some(video) })
    }

    async fn list_upload_sessions(
        &self,
        _: Request<ListUploadSessionsRequest>,
    ) -> RpcResult<ListUploadSessionsResponse> {
        not_implemented()
    }

    async fn abort_upload_session(
        &self,
        request: Request<AbortUploadSessionRequest>,
    ) -> RpcResult<AbortUploadSessionResponse> {
        self.authenticate(&request)?;
        let mut state = self.state();
        let upload = state.uploads.get_mut(&request.into_inner().name);
        let upload = upload.ok_or_else(|| error(Code::NotFound, "UPLOAD_NOT_FOUND"))?;
        upload.session.state = upload_session::State::Aborted.into();
        ok(AbortUploadSessionResponse {})
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
