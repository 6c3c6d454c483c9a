//! Writing, copying and deleting single objects.

use std::io;
use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3Request, s3_error};

use crate::checksum::{checksums_of, with_checksums};
use crate::conditions::{ReadConditions, WriteConditions};
use crate::error::Result;
use crate::headers::{headers_of, timestamp};
use crate::index::{NewObject, Object};
use crate::ingest::{Ingested, Promise, ingest};
use crate::read::{no_such_key, require_plain};
use crate::store::Store;

/// The most keys in one DeleteObjects, as in S3.
const MAX_DELETES: usize = 1000;

pub(crate) async fn put(store: &Store, request: S3Request<PutObjectInput>) -> Result<PutObjectOutput> {
    let S3Request { mut input, headers, trailing_headers, .. } = request;
    if input.sse_customer_algorithm.is_some() || input.write_offset_bytes.is_some() {
        return Err(
            s3_error!(NotImplemented, "Encryption with your keys and appending are not offered.").into()
        );
    }
    store.index().require_bucket(&input.bucket).await?;
    let checksums = checksums_of!(input);
    let md5 = input.content_md5.as_deref();
    let promise = Promise::new(&headers, trailing_headers, input.content_length, md5, checksums, None)?;
    let Ingested { blob, size, etag, checksums } = ingest(store.blobs(), input.body.take(), promise).await?;

    let conditions =
        WriteConditions { if_match: input.if_match.take(), if_none_match: input.if_none_match.take() };
    let checksum_type = (!checksums.is_empty()).then(|| ChecksumType::FULL_OBJECT.to_owned());
    let object_headers = headers_of!(input);
    let (bucket, key) = (input.bucket, input.key);
    let (answer, answer_type) = ((etag.clone(), checksums.clone()), checksum_type.clone());
    store
        .publish(vec![blob], move |store, blobs| async move {
            let content = blobs.into_iter().map(|blob| (blob, size)).collect();
            let object =
                NewObject { etag, headers: object_headers, checksums, checksum_type, upload: None, content };
            let (_, retired) = store.index().put(&bucket, &key, object, &conditions).await?;
            store.readers().retire(retired.into_iter().collect()).await;
            Ok(())
        })
        .await?;
    let (etag, checksums) = answer;
    Ok(with_checksums!(
        PutObjectOutput {
            e_tag: Some(ETag::Strong(etag)),
            checksum_type: answer_type.map(ChecksumType::from),
            ..Default::default()
        },
        checksums
    ))
}

pub(crate) async fn copy(store: &Store, request: S3Request<CopyObjectInput>) -> Result<CopyObjectOutput> {
    let mut input = request.input;
    let CopySource::Bucket { bucket: from_bucket, key: from_key, version_id } = input.copy_source.clone()
    else {
        return Err(s3_error!(NotImplemented, "Only a bucket's key can be copied.").into());
    };
    require_plain(version_id.as_deref(), None)?;
    let conditions = ReadConditions {
        if_match: input.copy_source_if_match.take(),
        if_none_match: input.copy_source_if_none_match.take(),
        if_modified_since: input.copy_source_if_modified_since.take(),
        if_unmodified_since: input.copy_source_if_unmodified_since.take(),
    };
    let choose = |object: &Object| {
        conditions.check_copy_source(object)?;
        Ok(0..object.size)
    };
    let found = store.readers().open(store.index(), &from_bucket, &from_key, choose).await?;
    let (found, pin) = found.ok_or_else(no_such_key)?;
    let replaces =
        input.metadata_directive.as_ref().is_some_and(|d| d.as_str() == MetadataDirective::REPLACE);
    let headers = if replaces { headers_of!(input) } else { found.object.headers.clone() };
    if !replaces && *from_bucket == *input.bucket && *from_key == *input.key {
        return Err(
            s3_error!(InvalidRequest, "A copy of an object onto itself must change something.").into()
        );
    }

    let sizes: Vec<_> = found.extents.iter().map(|e| e.size).collect();
    let blobs = Arc::clone(store.blobs());
    let extents = found.extents;
    let duplicates = tokio::task::spawn_blocking(move || {
        let _pin = pin;
        extents.iter().map(|e| blobs.duplicate(&e.blob)).collect::<io::Result<Vec<_>>>()
    });
    let source = found.object;
    let etag = source.etag.clone();
    let modified = store
        .publish(duplicates.await??, move |store, blobs| async move {
            let object = NewObject {
                etag: source.etag,
                headers,
                checksums: source.checksums,
                checksum_type: source.checksum_type,
                upload: None,
                content: blobs.into_iter().zip(sizes).collect(),
            };
            let conditions = WriteConditions::default();
            let (modified, retired) =
                store.index().put(&input.bucket, &input.key, object, &conditions).await?;
            store.readers().retire(retired.into_iter().collect()).await;
            Ok(modified)
        })
        .await?;
    let result = CopyObjectResult {
        e_tag: Some(ETag::Strong(etag)),
        last_modified: Some(timestamp(modified)),
        ..Default::default()
    };
    Ok(CopyObjectOutput { copy_object_result: Some(result), ..Default::default() })
}

pub(crate) async fn delete(
    store: &Store,
    request: S3Request<DeleteObjectInput>,
) -> Result<DeleteObjectOutput> {
    let input = request.input;
    require_plain(input.version_id.as_deref(), None)?;
    let conditions = WriteConditions { if_match: input.if_match, if_none_match: None };
    remove(store, input.bucket, vec![input.key], conditions).await?;
    Ok(DeleteObjectOutput::default())
}

pub(crate) async fn delete_many(
    store: &Store,
    request: S3Request<DeleteObjectsInput>,
) -> Result<DeleteObjectsOutput> {
    let DeleteObjectsInput { bucket, delete, .. } = request.input;
    if delete.objects.is_empty() || delete.objects.len() > MAX_DELETES {
        return Err(s3_error!(MalformedXML, "1 to {MAX_DELETES} keys can be deleted at once.").into());
    }
    let mut keys = Vec::with_capacity(delete.objects.len());
    for object in delete.objects {
        require_plain(object.version_id.as_deref(), None)?;
        keys.push(object.key);
    }
    remove(store, bucket, keys.clone(), WriteConditions::default()).await?;
    let deleted = keys.into_iter().map(|key| DeletedObject { key: Some(key), ..Default::default() });
    let quiet = delete.quiet.unwrap_or(false);
    Ok(DeleteObjectsOutput { deleted: (!quiet).then(|| deleted.collect()), ..Default::default() })
}

async fn remove(store: &Store, bucket: String, keys: Vec<String>, conditions: WriteConditions) -> Result<()> {
    store
        .change(|store| async move {
            let retired = store.index().delete(&bucket, &keys, &conditions).await?;
            store.readers().retire(retired).await;
            Ok(())
        })
        .await
}
