//! Multipart uploads in the object store: creation, received parts, presigned part URLs.

use std::{collections::HashSet, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reelmill_platform::{
    clock::{Clock, duration_millis},
    objects::{Objects, ObjectsError, Part, PartToPresign},
};
use reelmill_proto::{
    timestamp,
    upload::{PartToSign, SignedPart},
};

use crate::{
    db::{Db, UploadRow},
    domain::{object_key::source_key, upload_state::UploadState},
    error::UploadError,
};

/// Parts that [`MultipartUploads::open_and_sign`] signs.
const INITIAL_SIGNED_PARTS: usize = 16;

/// Result of [`MultipartUploads::open_and_sign`].
#[derive(Default)]
pub(crate) struct OpenedUpload {
    /// Complete parts in the object store.
    pub received: Vec<Part>,
    /// URLs of the first missing parts.
    pub signed_parts: Vec<SignedPart>,
}

/// Multipart uploads of the upload sessions.
#[derive(Clone)]
pub(crate) struct MultipartUploads {
    pub db: Db,
    pub objects: Objects,
    pub clock: Clock,
    pub part_url_ttl: Duration,
}

impl MultipartUploads {
    /// Opens the multipart upload of an OPEN upload, if there is none or the object store dropped it, and signs URLs
    /// for the first missing parts.
    pub(crate) async fn open_and_sign(
        &self,
        upload: &UploadRow,
        origin: Option<&str>,
    ) -> Result<OpenedUpload, UploadError> {
        let mut upload = upload.clone();
        let received = self.find_parts(&upload).await?;
        if received.is_none() {
            upload.multipart_upload_id = None;
        }
        let received = received.unwrap_or_default();
        let received_numbers: HashSet<i32> = received.iter().map(|part| part.number).collect();
        let missing: Vec<PartToSign> = (1..=upload.part_count)
            .filter(|number| !received_numbers.contains(number))
            .take(INITIAL_SIGNED_PARTS)
            .map(|part_number| PartToSign { part_number, crc32c: String::new() })
            .collect();
        let signed_parts = self.sign_parts(&upload, &missing, origin).await?;
        Ok(OpenedUpload { received, signed_parts })
    }

    /// The multipart upload id of an OPEN upload. Created here if there is none yet: the row is written first, so that
    /// a crash in between leaves no multipart upload without a row.
    async fn ensure_created(&self, upload: &UploadRow) -> Result<String, UploadError> {
        if let Some(id) = &upload.multipart_upload_id {
            return Ok(id.clone());
        }
        let key = source_key(&upload.video_id, &upload.id);
        let created = self.objects.create_multipart(&key, None).await?;
        if self.db.replace_multipart_upload(&upload.id, None, Some(&created)).await? {
            return Ok(created);
        }
        // A concurrent call has created one too, or the upload has ended.
        self.objects.abort_multipart(&key, &created).await?;
        let upload = self.db.upload(&upload.id).await?;
        let open = upload.filter(|upload| upload.state == UploadState::Open);
        open.and_then(|upload| upload.multipart_upload_id).ok_or(UploadError::UploadNotOpen)
    }

    /// The complete parts that the object store has of an upload.
    pub(crate) async fn received_parts(&self, upload: &UploadRow) -> Result<Vec<Part>, UploadError> {
        Ok(self.find_parts(upload).await?.unwrap_or_default())
    }

    /// The complete parts of an upload. `None` if no multipart upload was created, or the object store dropped it; its
    /// id is then cleared in the database, but not in `upload`.
    async fn find_parts(&self, upload: &UploadRow) -> Result<Option<Vec<Part>>, UploadError> {
        let Some(id) = &upload.multipart_upload_id else { return Ok(None) };
        let plan = upload.plan();
        match self.objects.list_parts(&source_key(&upload.video_id, &upload.id), id).await {
            Ok(mut parts) => {
                parts.retain(|part| plan.is_complete(part));
                Ok(Some(parts))
            }
            Err(ObjectsError::UploadNotFound) => self.parts_of_missing_upload(upload).await,
            Err(error) => Err(error.into()),
        }
    }

    /// The multipart upload does not exist any more. Either a call whose response was lost completed it, then all parts
    /// were received; or the object store dropped it, then it has to be created again.
    async fn parts_of_missing_upload(&self, upload: &UploadRow) -> Result<Option<Vec<Part>>, UploadError> {
        let plan = upload.plan();
        match self.objects.head(&source_key(&upload.video_id, &upload.id)).await? {
            Some(head) if head.size == plan.size => {
                let part = |number| Part {
                    number,
                    size: plan.size_of(number).unwrap_or_default(),
                    etag: head.etag.clone(),
                };
                Ok(Some((1..=plan.count).map(part).collect()))
            }
            _ => {
                let missing = upload.multipart_upload_id.as_deref();
                self.db.replace_multipart_upload(&upload.id, missing, None).await?;
                Ok(None)
            }
        }
    }

    /// Signs URLs for parts, in the order of the file. Creates the multipart upload if there is none.
    pub(crate) async fn sign_parts(
        &self,
        upload: &UploadRow,
        parts: &[PartToSign],
        origin: Option<&str>,
    ) -> Result<Vec<SignedPart>, UploadError> {
        if upload.state != UploadState::Open {
            return Err(UploadError::UploadNotOpen);
        }
        let plan = upload.plan();
        let mut parts: Vec<&PartToSign> = parts.iter().collect();
        parts.sort_by_key(|part| part.part_number);
        parts.dedup_by_key(|part| part.part_number);
        let mut sized = Vec::with_capacity(parts.len());
        for part in parts {
            let number = part.part_number;
            let size = plan.size_of(number);
            sized.push((part, size.ok_or(UploadError::PartNumberInvalid { number, count: plan.count })?));
            check_crc32c(&part.crc32c)?;
        }
        let key = source_key(&upload.video_id, &upload.id);
        let multipart = self.ensure_created(upload).await?;
        let expire_time = timestamp(self.clock.now_millis() + duration_millis(self.part_url_ttl));
        let mut signed = Vec::with_capacity(sized.len());
        for (part, size_bytes) in sized {
            let number = part.part_number;
            let crc32c_base64 = (!part.crc32c.is_empty()).then_some(part.crc32c.as_str());
            let to_presign = PartToPresign { upload_id: &multipart, number, size_bytes, crc32c_base64 };
            let put = self.objects.presign_part(&key, &to_presign, self.part_url_ttl, origin).await?;
            signed.push(SignedPart {
                part_number: part.part_number,
                uri: put.uri,
                headers: put.headers.into_iter().collect(),
                expire_time: Some(expire_time),
            });
        }
        Ok(signed)
    }
}

/// Checks an optional CRC-32C: base64 of four bytes.
fn check_crc32c(text: &str) -> Result<(), UploadError> {
    if text.is_empty() || STANDARD.decode(text).is_ok_and(|bytes| bytes.len() == 4) {
        Ok(())
    } else {
        Err(UploadError::field("parts.crc32c", "must be the base64 of four bytes"))
    }
}
