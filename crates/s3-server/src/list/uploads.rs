//! ListMultipartUploads.

use s3s::{
    S3Request,
    dto::{
        ChecksumAlgorithm, ChecksumType, Initiator, ListMultipartUploadsInput, ListMultipartUploadsOutput,
        MultipartUpload, Owner, StorageClass,
    },
    s3_error,
};

use super::paging::{key_encoder, page_size};
use crate::{error::Result, object_store::ObjectStore, timestamps::timestamp};

/// The only account there is.
const ACCOUNT: &str = "reelmill";

pub(super) fn owner() -> Owner {
    Owner { id: Some(ACCOUNT.to_owned()), display_name: Some(ACCOUNT.to_owned()) }
}

pub(super) fn initiator() -> Initiator {
    Initiator { id: Some(ACCOUNT.to_owned()), display_name: Some(ACCOUNT.to_owned()) }
}

pub(crate) async fn uploads(
    store: &ObjectStore,
    request: S3Request<ListMultipartUploadsInput>,
) -> Result<ListMultipartUploadsOutput> {
    let input = request.input;
    if input.delimiter.as_deref().is_some_and(|d| !d.is_empty()) {
        return Err(s3_error!(NotImplemented, "Uploads can't be listed by delimiter.").into());
    }
    let max = page_size(input.max_uploads)?;
    let encode = key_encoder(input.encoding_type.as_ref());
    let prefix = input.prefix.clone().unwrap_or_default();
    let after = input.key_marker.clone().unwrap_or_default();
    // S3 ignores an upload id marker without a key marker.
    let after_upload = input.upload_id_marker.as_deref().filter(|id| !id.is_empty() && !after.is_empty());
    let index = store.index();
    index.require_bucket(&input.bucket).await?;
    let mut rows = index.uploads_after(&input.bucket, &prefix, &after, after_upload, max as u64 + 1).await?;
    rows.retain(|upload| upload.key.starts_with(&prefix));
    let truncated = rows.len() > max;
    rows.truncate(max);
    let last = rows.last().filter(|_| truncated).map(|upload| (upload.key.clone(), upload.id.clone()));
    let (next_key, next_upload) = last.unzip();
    let uploads = rows.into_iter().map(|upload| MultipartUpload {
        key: Some(encode(upload.key)),
        upload_id: Some(upload.id),
        initiated: Some(timestamp(upload.create_time)),
        checksum_algorithm: upload.algorithm.map(ChecksumAlgorithm::from),
        checksum_type: upload.checksum_kind.map(ChecksumType::from),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        owner: Some(owner()),
        initiator: Some(initiator()),
    });
    Ok(ListMultipartUploadsOutput {
        uploads: Some(uploads.collect()),
        max_uploads: Some(max as i32),
        is_truncated: Some(truncated),
        next_key_marker: next_key.map(encode),
        next_upload_id_marker: next_upload,
        key_marker: Some(encode(after)),
        upload_id_marker: input.upload_id_marker,
        prefix: Some(encode(prefix)),
        encoding_type: input.encoding_type,
        bucket: Some(input.bucket),
        ..Default::default()
    })
}
