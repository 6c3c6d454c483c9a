//! The store's side of an upload: the multipart upload, its parts, and addresses for them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reelmill_platform::objects::{ObjectsError, Part, aws_sdk_s3::error::DisplayErrorContext};
use reelmill_proto::{
    timestamp,
    upload::{PartToSign, SignedPart},
};

use crate::{
    UploadError,
    core::{Core, millis},
    domain::{names, parts::PartPlan, upload::State},
    store::upload_row,
};

impl upload_row::Model {
    /// How the file is cut.
    pub(crate) fn plan(&self) -> PartPlan {
        PartPlan { size: self.size_bytes, part_size: self.part_size_bytes, count: self.part_count }
    }

    /// Key of the file.
    pub(crate) fn key(&self) -> String {
        names::source_key(&self.video_id, &self.id)
    }
}

impl Core {
    /// The store's id of an open upload's multipart upload. It is opened here where there is none yet:
    /// the row was written first, so that a crash between leaves nothing that nobody knows of.
    pub(crate) async fn multipart_of(&self, upload: &upload_row::Model) -> Result<String, UploadError> {
        if let Some(id) = &upload.store_upload_id {
            return Ok(id.clone());
        }
        let key = upload.key();
        let opened = self.objects.create_multipart(&key, None).await?;
        if self.store.set_store_upload(&upload.id, None, Some(&opened)).await? {
            return Ok(opened);
        }
        // Another call opened one too, or the upload has ended.
        self.objects.abort_multipart(&key, &opened).await?;
        let now = self.store.upload(&upload.id).await?;
        let open = now.filter(|now| now.state == State::Open);
        open.and_then(|now| now.store_upload_id).ok_or(UploadError::UploadNotOpen)
    }

    /// The whole parts that the store holds of an upload.
    pub(crate) async fn received(&self, upload: &upload_row::Model) -> Result<Vec<Part>, UploadError> {
        let Some(id) = &upload.store_upload_id else { return Ok(Vec::new()) };
        let plan = upload.plan();
        match self.objects.list_parts(&upload.key(), id).await {
            Ok(mut parts) => {
                parts.retain(|part| plan.is_whole(part));
                Ok(parts)
            }
            Err(ObjectsError::UploadNotFound) => self.received_without_multipart(upload).await,
            Err(error) => Err(error.into()),
        }
    }

    /// The multipart upload is gone. Either it was joined by a call whose answer was lost: then every part is
    /// there. Or the store dropped it: then it is begun anew.
    async fn received_without_multipart(&self, upload: &upload_row::Model) -> Result<Vec<Part>, UploadError> {
        let plan = upload.plan();
        match self.objects.head(&upload.key()).await? {
            Some(head) if head.size == plan.size => {
                let part = |number| Part {
                    number,
                    size: plan.size_of(number).unwrap_or_default(),
                    etag: head.etag.clone(),
                };
                Ok((1..=plan.count).map(part).collect())
            }
            _ => {
                self.store.set_store_upload(&upload.id, upload.store_upload_id.as_deref(), None).await?;
                Ok(Vec::new())
            }
        }
    }

    /// Key and id of every multipart upload that the store has open under a prefix.
    pub(crate) async fn multiparts_below(&self, prefix: &str) -> Result<Vec<(String, String)>, UploadError> {
        let listed = self
            .objects
            .client()
            .list_multipart_uploads()
            .bucket(self.objects.bucket())
            .prefix(prefix)
            .send()
            .await
            .map_err(|error| ObjectsError::Unavailable {
                operation: "ListMultipartUploads",
                message: DisplayErrorContext(&error).to_string(),
            })?;
        let open = listed.uploads.unwrap_or_default().into_iter();
        Ok(open.filter_map(|upload| Some((upload.key?, upload.upload_id?))).collect())
    }

    /// Signs addresses for parts, in the order of the file.
    pub(crate) async fn sign_parts(
        &self,
        upload: &upload_row::Model,
        wanted: &[PartToSign],
        origin: Option<&str>,
    ) -> Result<Vec<SignedPart>, UploadError> {
        if upload.state != State::Open {
            return Err(UploadError::UploadNotOpen);
        }
        let plan = upload.plan();
        let mut wanted: Vec<&PartToSign> = wanted.iter().collect();
        wanted.sort_by_key(|part| part.part_number);
        wanted.dedup_by_key(|part| part.part_number);
        for part in &wanted {
            let number = part.part_number;
            plan.size_of(number).ok_or(UploadError::PartNumberInvalid { number, count: plan.count })?;
            check_crc32c(&part.crc32c)?;
        }
        let key = upload.key();
        let multipart = self.multipart_of(upload).await?;
        let expire_time = timestamp(self.now() + millis(self.config.address_ttl));
        let mut signed = Vec::with_capacity(wanted.len());
        for part in wanted {
            let crc32c = (!part.crc32c.is_empty()).then_some(part.crc32c.as_str());
            let ttl = self.config.address_ttl;
            let put =
                self.objects.presign_part(&key, &multipart, part.part_number, ttl, origin, crc32c).await?;
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

fn check_crc32c(text: &str) -> Result<(), UploadError> {
    let well_formed = text.is_empty() || STANDARD.decode(text).is_ok_and(|bytes| bytes.len() == 4);
    if well_formed {
        Ok(())
    } else {
        Err(UploadError::field("parts.crc32c", "must be the base64 of four bytes"))
    }
}
