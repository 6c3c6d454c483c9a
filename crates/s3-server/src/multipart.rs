//! Multipart uploads.

use std::collections::BTreeMap;

use s3s::dto::*;
use s3s::{S3Error, S3Request, s3_error};
use uuid::Uuid;

use crate::checksum::{
    Algorithm, Checksums, checksums_of, composite, full_object, multipart_etag, with_checksums,
};
use crate::conditions::WriteConditions;
use crate::error::Result;
use crate::headers::{headers_of, now_millis, timestamp};
use crate::index::{Completed, NewObject, NewPart, Part as StoredPart, Upload};
use crate::ingest::{Ingested, Promise, ingest};
use crate::list::page_size;
use crate::store::Store;

/// Every part but the last has at least this many bytes, as in S3.
const MIN_PART: u64 = 5 << 20;

/// The highest part number, as in S3.
const MAX_PART_NUMBER: i32 = 10_000;

pub(crate) async fn create(
    store: &Store,
    request: S3Request<CreateMultipartUploadInput>,
) -> Result<CreateMultipartUploadOutput> {
    let mut input = request.input;
    if input.sse_customer_algorithm.is_some() {
        return Err(s3_error!(NotImplemented, "Encryption with your keys is not offered.").into());
    }
    let algorithm = input.checksum_algorithm.as_ref().map(|a| Algorithm::parse(a.as_str())).transpose()?;
    let checksum_type = match algorithm {
        Some(algorithm) => Some(checksum_type(algorithm, input.checksum_type.as_ref())?.to_owned()),
        None => None,
    };
    let upload = Upload {
        // Sorts by time, which is the order in which uploads of a key are listed.
        id: Uuid::now_v7().simple().to_string(),
        bucket: input.bucket.clone(),
        key: input.key.clone(),
        initiated: now_millis(),
        headers: headers_of!(input),
        algorithm: algorithm.map(|a| a.name().to_owned()),
        checksum_type: checksum_type.clone(),
    };
    let id = upload.id.clone();
    store.change(|store| async move { store.index().create_upload(&upload).await }).await?;
    Ok(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(id),
        checksum_algorithm: algorithm.map(|a| ChecksumAlgorithm::from_static(a.name())),
        checksum_type: checksum_type.map(ChecksumType::from),
        ..Default::default()
    })
}

/// How the object's checksum shall be made. CRC-64/NVME has but one way, the SHAs the other.
fn checksum_type(
    algorithm: Algorithm,
    asked: Option<&ChecksumType>,
) -> std::result::Result<&'static str, S3Error> {
    match (asked.map(ChecksumType::as_str), algorithm) {
        (None, Algorithm::Crc64Nvme) => Ok(ChecksumType::FULL_OBJECT),
        (None, _) => Ok(ChecksumType::COMPOSITE),
        (Some(ChecksumType::COMPOSITE), a) if a != Algorithm::Crc64Nvme => Ok(ChecksumType::COMPOSITE),
        (Some(ChecksumType::FULL_OBJECT), a) if a.is_crc() => Ok(ChecksumType::FULL_OBJECT),
        (Some(_), a) => Err(s3_error!(InvalidRequest, "The checksum type can't be used with {}.", a.name())),
    }
}

pub(crate) async fn upload_part(
    store: &Store,
    request: S3Request<UploadPartInput>,
) -> Result<UploadPartOutput> {
    let S3Request { mut input, headers, trailing_headers, .. } = request;
    let number = input.part_number;
    if !(1..=MAX_PART_NUMBER).contains(&number) {
        return Err(s3_error!(InvalidArgument, "Part numbers are 1 to {MAX_PART_NUMBER}.").into());
    }
    let upload = store.index().upload(&input.bucket, &input.key, &input.upload_id).await?;
    let algorithm = upload.algorithm.as_deref().map(Algorithm::parse).transpose()?;
    let checksums = checksums_of!(input);
    let md5 = input.content_md5.as_deref();
    let promise = Promise::new(&headers, trailing_headers, input.content_length, md5, checksums, algorithm)?;
    let Ingested { blob, size, etag, checksums } = ingest(store.blobs(), input.body.take(), promise).await?;
    let answer = (etag.clone(), checksums.clone());
    store
        .publish(vec![blob], move |store, blobs| async move {
            for blob in blobs {
                let part = NewPart { number, size, etag: etag.clone(), checksums: checksums.clone(), blob };
                let replaced = store.index().put_part(&upload, part).await?;
                store.readers().remove(replaced.into_iter().collect());
            }
            Ok(())
        })
        .await?;
    let (etag, checksums) = answer;
    Ok(with_checksums!(UploadPartOutput { e_tag: Some(ETag::Strong(etag)), ..Default::default() }, checksums))
}

pub(crate) async fn list_parts(store: &Store, request: S3Request<ListPartsInput>) -> Result<ListPartsOutput> {
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
        checksum_type: upload.checksum_type.map(ChecksumType::from),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        parts: Some(parts.into_iter().map(listed_part).collect()),
        ..Default::default()
    })
}

fn listed_part(part: StoredPart) -> Part {
    with_checksums!(
        Part {
            part_number: Some(part.number),
            size: Some(part.size as i64),
            e_tag: Some(ETag::Strong(part.etag)),
            last_modified: Some(timestamp(part.modified)),
        },
        part.checksums
    )
}

pub(crate) async fn complete(
    store: &Store,
    request: S3Request<CompleteMultipartUploadInput>,
) -> Result<CompleteMultipartUploadOutput> {
    let input = request.input;
    let claim = Claim {
        checksums: checksums_of!(input),
        size: input.mpu_object_size,
        parts: input.multipart_upload.and_then(|m| m.parts).unwrap_or_default(),
    };
    claim.check_order()?;
    let conditions = WriteConditions { if_match: input.if_match, if_none_match: input.if_none_match };
    let (bucket, key, id) = (input.bucket.clone(), input.key.clone(), input.upload_id);
    let (etag, checksums, kind) = store
        .change(|store| async move {
            let assemble = |upload: &Upload, parts| claim.assemble(upload, parts);
            let done = store.index().complete_upload(&bucket, &key, &id, &conditions, assemble).await?;
            match done {
                Completed::Now { etag, checksums, checksum_type, gone, unused } => {
                    store.readers().retire(gone).await;
                    store.readers().remove(unused);
                    Ok((etag, checksums, checksum_type))
                }
                Completed::Before(object) => Ok((object.etag, object.checksums, object.checksum_type)),
            }
        })
        .await?;
    Ok(with_checksums!(
        CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(ETag::Strong(etag)),
            checksum_type: kind.map(ChecksumType::from),
            ..Default::default()
        },
        checksums
    ))
}

/// What a Complete says the object is made of.
struct Claim {
    parts: Vec<CompletedPart>,
    checksums: Checksums,
    size: Option<i64>,
}

impl Claim {
    fn check_order(&self) -> std::result::Result<(), S3Error> {
        if self.parts.is_empty() || self.parts.iter().any(|p| p.part_number.is_none() || p.e_tag.is_none()) {
            return Err(s3_error!(MalformedXML, "Name at least one part, each by number and ETag."));
        }
        if !self.parts.is_sorted_by(|a, b| a.part_number < b.part_number) {
            return Err(s3_error!(InvalidPartOrder, "The parts are not in ascending order."));
        }
        Ok(())
    }

    /// Checks the claim against the parts received, and builds the object.
    fn assemble(&self, upload: &Upload, mut received: BTreeMap<i32, StoredPart>) -> Result<NewObject> {
        let mut parts = Vec::with_capacity(self.parts.len());
        for claimed in &self.parts {
            let number = claimed.part_number.unwrap_or_default();
            let part = received.remove(&number).filter(|part| is_same(claimed, part));
            parts.push(part.ok_or_else(|| {
                s3_error!(InvalidPart, "Part {number} was not uploaded, or is not the one you named.")
            })?);
        }
        let full = parts.len().saturating_sub(1);
        if parts[..full].iter().any(|part| part.size < MIN_PART) {
            return Err(s3_error!(EntityTooSmall, "A part other than the last is smaller than 5 MiB.").into());
        }
        let size: u64 = parts.iter().map(|part| part.size).sum();
        if self.size.is_some_and(|claimed| u64::try_from(claimed) != Ok(size)) {
            return Err(s3_error!(InvalidRequest, "The object is not of the size you named.").into());
        }
        let checksums = self.object_checksum(upload, &parts)?;
        Ok(NewObject {
            etag: multipart_etag(&parts.iter().filter_map(md5).collect::<Vec<_>>()),
            headers: upload.headers.clone(),
            checksum_type: upload.checksum_type.clone().filter(|_| !checksums.is_empty()),
            checksums,
            upload: Some(upload.id.clone()),
            content: parts.into_iter().map(|part| (part.blob, part.size)).collect(),
        })
    }

    /// The object's checksum, if the upload was created with an algorithm.
    fn object_checksum(&self, upload: &Upload, parts: &[StoredPart]) -> Result<Checksums> {
        let mut checksums = Checksums::default();
        let Some(algorithm) = upload.algorithm.as_deref().map(Algorithm::parse).transpose()? else {
            return Ok(checksums);
        };
        let value = if upload.checksum_type.as_deref() == Some(ChecksumType::FULL_OBJECT) {
            let parts: Vec<_> = parts.iter().map(|part| (&part.checksums, part.size)).collect();
            full_object(algorithm, &parts)
        } else {
            let parts: Vec<_> = parts.iter().map(|part| &part.checksums).collect();
            composite(algorithm, &parts)
        };
        if let Some(value) = value {
            checksums.set(algorithm, value);
        }
        // A composite may be named with or without its number of parts.
        let named = self.checksums.get(algorithm);
        let computed = checksums.get(algorithm);
        let bare = computed.map(|c| c.split('-').next().unwrap_or(c));
        if named.is_some() && named != computed && named != bare {
            return Err(
                s3_error!(BadDigest, "The {} you specified is not the object's.", algorithm.name()).into()
            );
        }
        Ok(checksums)
    }
}

/// True if the part received is the one that was named: by ETag, and by any checksum given.
fn is_same(claimed: &CompletedPart, part: &StoredPart) -> bool {
    let same_tag = claimed.e_tag.as_ref().is_some_and(|tag| tag.value() == part.etag);
    let named = checksums_of!(claimed);
    same_tag
        && named.present().all(|(algorithm, value)| part.checksums.get(algorithm).is_none_or(|c| c == value))
}

/// A part's MD5, which is what its ETag says.
fn md5(part: &StoredPart) -> Option<[u8; 16]> {
    hex::decode(&part.etag).ok()?.try_into().ok()
}

pub(crate) async fn abort(
    store: &Store,
    request: S3Request<AbortMultipartUploadInput>,
) -> Result<AbortMultipartUploadOutput> {
    let AbortMultipartUploadInput { bucket, key, upload_id, .. } = request.input;
    store
        .change(|store| async move {
            let blobs = store.index().abort_upload(&bucket, &key, &upload_id).await?;
            store.readers().remove(blobs);
            Ok(AbortMultipartUploadOutput::default())
        })
        .await
}
