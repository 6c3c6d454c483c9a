//! ListParts.

use s3s::{
    S3Request,
    dto::{ChecksumAlgorithm, ChecksumType, ETag, ListPartsInput, ListPartsOutput, Part, StorageClass},
};

use super::{
    paging::page_size,
    uploads::{initiator, owner},
};
use crate::{
    checksum::with_checksums, error::Result, model, object_store::ObjectStore, timestamps::timestamp,
};

pub(crate) async fn parts(
    store: &ObjectStore,
    request: S3Request<ListPartsInput>,
) -> Result<ListPartsOutput> {
    let input = request.input;
    let upload = store.index().upload(&input.bucket, &input.key, &input.upload_id).await?;
    let max = page_size(input.max_parts)?;
    let after = input.part_number_marker.unwrap_or(0);
    let mut parts = store.index().parts_after(&upload.id, after, max as u64 + 1).await?;
    let truncated = parts.len() > max;
    parts.truncate(max);
    let next = parts.last().map_or(after, |part| part.number);
    Ok(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(upload.id),
        max_parts: Some(max as i32),
        part_number_marker: Some(after),
        next_part_number_marker: Some(next),
        is_truncated: Some(truncated),
        checksum_algorithm: upload.algorithm.map(ChecksumAlgorithm::from),
        checksum_type: upload.checksum_kind.map(ChecksumType::from),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        owner: Some(owner()),
        initiator: Some(initiator()),
        parts: Some(parts.into_iter().map(listed_part).collect()),
        ..Default::default()
    })
}

fn listed_part(part: model::Part) -> Part {
    with_checksums!(
        Part {
            part_number: Some(part.number),
            size: Some(part.size as i64),
            e_tag: Some(ETag::Strong(part.etag)),
            last_modified: Some(timestamp(part.modify_time)),
        },
        part.checksums
    )
}
