//! PutObject, CopyObject, DeleteObject and DeleteObjects.

use std::{io, result, sync::Arc};

use s3s::{
    S3Error, S3Request,
    dto::{
        ChecksumType, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, DeleteObjectInput,
        DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETag, MetadataDirective,
        PutObjectInput, PutObjectOutput,
    },
    s3_error,
};

use crate::{
    checksum::{ChecksumKind, checksums_of, with_checksums},
    conditions::{WriteConditions, copy_source_conditions},
    error::{Result, no_such_key},
    headers::headers_of,
    ingest::{DeclaredBody, Ingested, ingest},
    model::{NewExtent, NewObject, Object, Selection},
    object_store::ObjectStore,
    timestamps::timestamp,
    unsupported::reject_version,
};

/// The most keys in one DeleteObjects request, as in S3.
const MAX_DELETED_KEYS: usize = 1000;

pub(crate) async fn put(store: &ObjectStore, request: S3Request<PutObjectInput>) -> Result<PutObjectOutput> {
    let S3Request { mut input, headers, trailing_headers, .. } = request;
    if input.sse_customer_algorithm.is_some() || input.write_offset_bytes.is_some() {
        return Err(
            s3_error!(NotImplemented, "Encryption with your keys and appending are not offered.").into()
        );
    }
    store.index().require_bucket(&input.bucket).await?;
    let checksums = checksums_of!(input);
    let md5 = input.content_md5.as_deref();
    let declared = DeclaredBody::new(&headers, trailing_headers, input.content_length, md5, checksums, None)?;
    let Ingested { blob, size, etag, checksums } = ingest(store.blobs(), input.body.take(), declared).await?;

    let conditions =
        WriteConditions { if_match: input.if_match.take(), if_none_match: input.if_none_match.take() };
    let checksum_kind = (!checksums.is_empty()).then_some(ChecksumKind::FullObject);
    let object_headers = headers_of!(input);
    let (bucket, key) = (input.bucket, input.key);
    let response = (etag.clone(), checksums.clone());
    store
        .commit_blobs(vec![blob], move |store, blobs| async move {
            let content = blobs.into_iter().map(|blob| NewExtent {
                blob,
                size,
                etag: etag.clone(),
                checksums: checksums.clone(),
            });
            let object = NewObject {
                content: content.collect(),
                etag,
                headers: object_headers,
                checksums,
                checksum_kind,
                upload: None,
                in_parts: false,
            };
            let (_, replaced) = store.index().put(&bucket, &key, object, &conditions).await?;
            store.readers().remove_objects(replaced).await;
            Ok(())
        })
        .await?;
    let (etag, checksums) = response;
    Ok(with_checksums!(
        PutObjectOutput {
            e_tag: Some(ETag::Strong(etag)),
            checksum_type: checksum_kind.map(ChecksumType::from),
            ..Default::default()
        },
        checksums
    ))
}

pub(crate) async fn copy(
    store: &ObjectStore,
    request: S3Request<CopyObjectInput>,
) -> Result<CopyObjectOutput> {
    let mut input = request.input;
    let (from_bucket, from_key) = copy_source(&input.copy_source)?;
    let conditions = copy_source_conditions!(input);
    let choose = |object: &Object| {
        conditions.check_copy_source(object)?;
        Ok(Selection::Whole)
    };
    let content = store.readers().open(store.index(), &from_bucket, &from_key, choose).await?;
    let (content, pin) = content.ok_or_else(no_such_key)?;
    let replaces =
        input.metadata_directive.as_ref().is_some_and(|d| d.as_str() == MetadataDirective::REPLACE);
    let headers = if replaces { headers_of!(input) } else { content.object.headers.clone() };
    if !replaces && from_bucket == input.bucket && from_key == input.key {
        return Err(
            s3_error!(InvalidRequest, "A copy of an object onto itself must change something.").into()
        );
    }

    let extents = content.extents.clone();
    let blobs = Arc::clone(store.blobs());
    let duplicates = tokio::task::spawn_blocking(move || {
        let _pin = pin;
        extents.iter().map(|e| blobs.duplicate(&e.blob)).collect::<io::Result<Vec<_>>>()
    });
    let (source, extents) = (content.object, content.extents);
    let etag = source.etag.clone();
    let modify_time = store
        .commit_blobs(duplicates.await??, move |store, blobs| async move {
            let copies = blobs.into_iter().zip(extents).map(|(blob, extent)| NewExtent {
                blob,
                size: extent.size,
                etag: extent.etag,
                checksums: extent.checksums,
            });
            let object = NewObject {
                etag: source.etag,
                headers,
                checksums: source.checksums,
                checksum_kind: source.checksum_kind,
                upload: None,
                in_parts: source.part_count.is_some(),
                content: copies.collect(),
            };
            let conditions = WriteConditions::default();
            let (modify_time, replaced) =
                store.index().put(&input.bucket, &input.key, object, &conditions).await?;
            store.readers().remove_objects(replaced).await;
            Ok(modify_time)
        })
        .await?;
    let result = CopyObjectResult {
        e_tag: Some(ETag::Strong(etag)),
        last_modified: Some(timestamp(modify_time)),
        ..Default::default()
    };
    Ok(CopyObjectOutput { copy_object_result: Some(result), ..Default::default() })
}

/// The bucket and key of the source of a copy.
pub(crate) fn copy_source(source: &CopySource) -> result::Result<(String, String), S3Error> {
    match source {
        CopySource::Bucket { bucket, key, version_id } => {
            reject_version(version_id.as_deref())?;
            Ok((bucket.to_string(), key.to_string()))
        }
        _ => Err(s3_error!(NotImplemented, "Only a bucket's key can be copied.")),
    }
}

pub(crate) async fn delete(
    store: &ObjectStore,
    request: S3Request<DeleteObjectInput>,
) -> Result<DeleteObjectOutput> {
    let input = request.input;
    reject_version(input.version_id.as_deref())?;
    let conditions = WriteConditions { if_match: input.if_match, if_none_match: None };
    remove(store, input.bucket, vec![input.key], conditions).await?;
    Ok(DeleteObjectOutput::default())
}

pub(crate) async fn delete_many(
    store: &ObjectStore,
    request: S3Request<DeleteObjectsInput>,
) -> Result<DeleteObjectsOutput> {
    let DeleteObjectsInput { bucket, delete, .. } = request.input;
    if delete.objects.is_empty() || delete.objects.len() > MAX_DELETED_KEYS {
        return Err(s3_error!(MalformedXML, "1 to {MAX_DELETED_KEYS} keys can be deleted at once.").into());
    }
    let mut keys = Vec::with_capacity(delete.objects.len());
    for object in delete.objects {
        reject_version(object.version_id.as_deref())?;
        keys.push(object.key);
    }
    remove(store, bucket, keys.clone(), WriteConditions::default()).await?;
    let deleted = keys.into_iter().map(|key| DeletedObject { key: Some(key), ..Default::default() });
    let quiet = delete.quiet.unwrap_or(false);
    Ok(DeleteObjectsOutput { deleted: (!quiet).then(|| deleted.collect()), ..Default::default() })
}

async fn remove(
    store: &ObjectStore,
    bucket: String,
    keys: Vec<String>,
    conditions: WriteConditions,
) -> Result<()> {
    store
        .change(|store| async move {
            let removed = store.index().delete(&bucket, &keys, &conditions).await?;
            store.readers().remove_objects(removed).await;
            Ok(())
        })
        .await
}

#[cfg(test)]
mod tests {
    use std::{fs, fs::File, path::Path, time::Duration};

    use s3s::{Body, dto::StreamingBlob};

    use super::*;
    use crate::{blobs::BlobDir, index::Index};

    fn put_request(key: &str) -> S3Request<PutObjectInput> {
        let input = PutObjectInput {
            bucket: "bucket".to_owned(),
            key: key.to_owned(),
            body: Some(StreamingBlob::from(Body::from(vec![7; 1000]))),
            ..Default::default()
        };
        S3Request {
            input,
            method: http::Method::PUT,
            uri: http::Uri::default(),
            headers: http::HeaderMap::default(),
            extensions: http::Extensions::default(),
            credentials: None,
            region: None,
            service: None,
            trailing_headers: None,
        }
    }

    fn count_files(dir: &Path) -> usize {
        let count = |entry: fs::DirEntry| match entry.path() {
            path if path.is_dir() => count_files(&path),
            _ => 1,
        };
        fs::read_dir(dir).unwrap().map(|entry| count(entry.unwrap())).sum()
    }

    /// SQLite is limited to a few pages, which fails as a full disk does.
    #[tokio::test]
    async fn put_on_full_disk_returns_insufficient_storage_and_leaves_no_data() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Arc::new(BlobDir::open(dir.path()).unwrap());
        let lock = File::create(dir.path().join("lock")).unwrap();
        let index = Index::open(&dir.path().join("index.db")).await.unwrap();
        index.ensure_bucket("bucket").await.unwrap();
        index.limit_pages(30).await.unwrap();
        let store = ObjectStore::new(index, blobs, lock);

        let mut stored = 0;
        let error = loop {
            match put(&store, put_request(&format!("{stored:0900}"))).await {
                Ok(_) => stored += 1,
                Err(e) => break S3Error::from(e),
            }
        };
        assert_eq!(error.code().as_str(), "InsufficientStorage");
        assert_eq!(error.status_code(), Some(http::StatusCode::INSUFFICIENT_STORAGE));
        assert!(stored > 0);
        let cleanup = async {
            while count_files(&dir.path().join("blobs")) != stored
                || count_files(&dir.path().join("tmp")) != 0
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), cleanup).await.expect("the rejected body is removed");
    }
}
