//! Multipart uploads: CreateMultipartUpload, UploadPart, UploadPartCopy, CompleteMultipartUpload,
//! AbortMultipartUpload.

mod assembly;
mod copy;

use std::result;

use assembly::CompletionRequest;
pub(crate) use copy::upload_part_copy;
use s3s::{
    S3Error, S3Request,
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, ChecksumAlgorithm, ChecksumType,
        CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CreateMultipartUploadInput,
        CreateMultipartUploadOutput, ETag, UploadPartInput, UploadPartOutput,
    },
    s3_error,
};
use uuid::Uuid;

use crate::{
    checksum::{Algorithm, ChecksumKind, Checksums, checksums_of, with_checksums},
    conditions::WriteConditions,
    error::Result,
    headers::headers_of,
    ingest::{DeclaredBody, Ingested, ingest},
    model::{Completion, NewPart, Upload},
    object_store::ObjectStore,
    timestamps::now_millis,
};

/// The highest part number, as in S3.
pub(crate) const MAX_PART_NUMBER: i32 = 10_000;

pub(crate) async fn create(
    store: &ObjectStore,
    request: S3Request<CreateMultipartUploadInput>,
) -> Result<CreateMultipartUploadOutput> {
    let mut input = request.input;
    if input.sse_customer_algorithm.is_some() {
        return Err(s3_error!(NotImplemented, "Encryption with your keys is not offered.").into());
    }
    let algorithm = input.checksum_algorithm.as_ref().map(|a| Algorithm::parse(a.as_str())).transpose()?;
    let checksum_kind = match algorithm {
        Some(algorithm) => Some(checksum_kind(algorithm, input.checksum_type.as_ref())?),
        None => None,
    };
    let upload = Upload {
        // UUIDv7 sorts by time, the order in which the uploads of a key are listed.
        id: Uuid::now_v7().simple().to_string(),
        bucket: input.bucket.clone(),
        key: input.key.clone(),
        create_time: now_millis(),
        headers: headers_of!(input),
        algorithm,
        checksum_kind,
    };
    let id = upload.id.clone();
    store.change(|store| async move { store.index().create_upload(&upload).await }).await?;
    Ok(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(id),
        checksum_algorithm: algorithm.map(ChecksumAlgorithm::from),
        checksum_type: checksum_kind.map(ChecksumType::from),
        ..Default::default()
    })
}

/// The kind of the object's checksum. CRC-64/NVME supports full-object checksums only, SHAs composite
/// ones only.
fn checksum_kind(
    algorithm: Algorithm,
    requested: Option<&ChecksumType>,
) -> result::Result<ChecksumKind, S3Error> {
    match (requested.map(ChecksumType::as_str), algorithm) {
        (None, Algorithm::Crc64Nvme) => Ok(ChecksumKind::FullObject),
        (None, _) => Ok(ChecksumKind::Composite),
        (Some(ChecksumType::COMPOSITE), a) if a != Algorithm::Crc64Nvme => Ok(ChecksumKind::Composite),
        (Some(ChecksumType::FULL_OBJECT), a) if a.is_crc() => Ok(ChecksumKind::FullObject),
        (Some(_), a) => Err(s3_error!(InvalidRequest, "The checksum type can't be used with {}.", a.name())),
    }
}

pub(crate) async fn upload_part(
    store: &ObjectStore,
    request: S3Request<UploadPartInput>,
) -> Result<UploadPartOutput> {
    let S3Request { mut input, headers, trailing_headers, .. } = request;
    check_part_number(input.part_number)?;
    let upload = store.index().upload(&input.bucket, &input.key, &input.upload_id).await?;
    let checksums = checksums_of!(input);
    let md5 = input.content_md5.as_deref();
    let length = input.content_length;
    let declared = DeclaredBody::new(&headers, trailing_headers, length, md5, checksums, upload.algorithm)?;
    let content = ingest(store.blobs(), input.body.take(), declared).await?;
    let PutPart { etag, checksums, .. } = put_part(store, upload, input.part_number, content).await?;
    Ok(with_checksums!(UploadPartOutput { e_tag: Some(ETag::Strong(etag)), ..Default::default() }, checksums))
}

fn check_part_number(number: i32) -> result::Result<(), S3Error> {
    if !(1..=MAX_PART_NUMBER).contains(&number) {
        return Err(s3_error!(InvalidArgument, "Part numbers are 1 to {MAX_PART_NUMBER}."));
    }
    Ok(())
}

/// A part that is in the index.
struct PutPart {
    etag: String,
    checksums: Checksums,
    /// Unix milliseconds.
    modify_time: i64,
}

/// Inserts a part, replacing one with the same number.
async fn put_part(store: &ObjectStore, upload: Upload, number: i32, content: Ingested) -> Result<PutPart> {
    let Ingested { blob, size, etag, checksums } = content;
    let response = (etag.clone(), checksums.clone());
    let modify_time = store
        .commit_blobs(vec![blob], move |store, blobs| async move {
            let mut modify_time = 0;
            for blob in blobs {
                let part = NewPart { number, size, etag: etag.clone(), checksums: checksums.clone(), blob };
                let (time, replaced) = store.index().put_part(&upload, part).await?;
                store.readers().remove_blobs(replaced.into_iter().collect());
                modify_time = time;
            }
            Ok(modify_time)
        })
        .await?;
    let (etag, checksums) = response;
    Ok(PutPart { etag, checksums, modify_time })
}

pub(crate) async fn complete(
    store: &ObjectStore,
    request: S3Request<CompleteMultipartUploadInput>,
) -> Result<CompleteMultipartUploadOutput> {
    let input = request.input;
    let completion = CompletionRequest {
        checksums: checksums_of!(input),
        size: input.mpu_object_size,
        parts: input.multipart_upload.and_then(|m| m.parts).unwrap_or_default(),
    };
    completion.check_order()?;
    let conditions = WriteConditions { if_match: input.if_match, if_none_match: input.if_none_match };
    let (bucket, key, id) = (input.bucket.clone(), input.key.clone(), input.upload_id);
    let (etag, checksums, kind) = store
        .change(|store| async move {
            let assemble = |upload: &Upload, parts| completion.assemble(upload, parts);
            let done = store.index().complete_upload(&bucket, &key, &id, &conditions, assemble).await?;
            match done {
                Completion::Completed { etag, checksums, checksum_kind, replaced, unused } => {
                    store.readers().remove_objects(replaced).await;
                    store.readers().remove_blobs(unused);
                    Ok((etag, checksums, checksum_kind))
                }
                Completion::AlreadyCompleted(object) => {
                    Ok((object.etag, object.checksums, object.checksum_kind))
                }
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

pub(crate) async fn abort(
    store: &ObjectStore,
    request: S3Request<AbortMultipartUploadInput>,
) -> Result<AbortMultipartUploadOutput> {
    let AbortMultipartUploadInput { bucket, key, upload_id, .. } = request.input;
    store
        .change(|store| async move {
            let blobs = store.index().abort_upload(&bucket, &key, &upload_id).await?;
            store.readers().remove_blobs(blobs);
            Ok(AbortMultipartUploadOutput::default())
        })
        .await
}
