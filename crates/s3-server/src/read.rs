//! GetObject and HeadObject: whole or in part, conditional or not.

use std::{ops::Range, sync::Arc};

use http::{HeaderMap, HeaderValue, header};
use s3s::{
    S3Error, S3Request,
    dto::{
        self, ChecksumMode, ChecksumType, ETag, GetObjectInput, GetObjectOutput, HeadObjectInput,
        HeadObjectOutput,
    },
    s3_error,
};

use crate::{
    checksum::{Checksums, with_checksums},
    conditions::{ReadConditions, range_applies},
    content_stream::stream_content,
    error::{ObjectStoreError, Result, no_such_key},
    model::Object,
    object_store::ObjectStore,
    timestamps::timestamp,
    unsupported::{reject_part_number, reject_version},
};

/// The `Content-Type` of objects that were stored without one, as in S3.
const DEFAULT_CONTENT_TYPE: &str = "binary/octet-stream";

/// Takes the conditions of a read from an s3s input.
macro_rules! conditions_of {
    ($input:expr) => {
        ReadConditions {
            if_match: $input.if_match,
            if_none_match: $input.if_none_match,
            if_modified_since: $input.if_modified_since,
            if_unmodified_since: $input.if_unmodified_since,
        }
    };
}

/// Builds the output of GET or HEAD, which have the same fields for an object.
macro_rules! object_output {
    ($output:ident { $($field:tt)* }, $object:expr, $range:expr, $partial:expr, $mode:expr) => {{
        let object: Object = $object;
        let range: Range<u64> = $range;
        let checksums = sent_checksums(&object, $partial, $mode);
        let headers = object.headers;
        let checksum_kind = object.checksum_kind.filter(|_| !checksums.is_empty());
        with_checksums!(
            $output {
                accept_ranges: Some("bytes".to_owned()),
                content_length: Some((range.end - range.start) as i64),
                content_range: $partial.then(|| content_range(&range, object.size)),
                checksum_type: checksum_kind.map(ChecksumType::from),
                e_tag: Some(ETag::Strong(object.etag)),
                last_modified: Some(timestamp(object.modify_time)),
                content_type: Some(headers.content_type.unwrap_or_else(|| DEFAULT_CONTENT_TYPE.to_owned())),
                cache_control: headers.cache_control,
                content_disposition: headers.content_disposition,
                content_encoding: headers.content_encoding,
                content_language: headers.content_language,
                expires: headers.expires.map(|s| timestamp(s * 1000)),
                metadata: (!headers.metadata.is_empty()).then(|| headers.metadata.into_iter().collect()),
                $($field)*
            },
            checksums
        )
    }};
}

pub(crate) async fn get(store: &ObjectStore, request: S3Request<GetObjectInput>) -> Result<GetObjectOutput> {
    let S3Request { input, headers, .. } = request;
    reject_version(input.version_id.as_deref())?;
    reject_part_number(input.part_number)?;
    let conditions = conditions_of!(input);
    let choose = |object: &Object| {
        conditions.check(object)?;
        choose_range(input.range, &headers, object)
    };
    let content = store.readers().open(store.index(), &input.bucket, &input.key, choose).await?;
    let (content, pin) = content.ok_or_else(no_such_key)?;
    let (object, range) = (content.object.clone(), content.range.clone());
    let partial = input.range.is_some() && range_applies(&headers, &object);
    let body = Some(stream_content(Arc::clone(store.blobs()), content, pin));
    let mode = input.checksum_mode.as_ref();
    Ok(object_output!(GetObjectOutput { body, ..Default::default() }, object, range, partial, mode))
}

pub(crate) async fn head(
    store: &ObjectStore,
    request: S3Request<HeadObjectInput>,
) -> Result<HeadObjectOutput> {
    let S3Request { input, headers, .. } = request;
    reject_version(input.version_id.as_deref())?;
    reject_part_number(input.part_number)?;
    let object = store.index().object(&input.bucket, &input.key).await?.ok_or_else(no_such_key)?;
    conditions_of!(input).check(&object)?;
    let range = choose_range(input.range, &headers, &object)?;
    let partial = input.range.is_some() && range_applies(&headers, &object);
    let mode = input.checksum_mode.as_ref();
    Ok(object_output!(HeadObjectOutput { ..Default::default() }, object, range, partial, mode))
}

/// The range to send: the requested one if it applies, else everything.
fn choose_range(requested: Option<dto::Range>, headers: &HeaderMap, object: &Object) -> Result<Range<u64>> {
    match requested {
        Some(range) if range_applies(headers, object) => {
            // s3s accepts an empty suffix (`bytes=-0`).
            let chosen = range.check(object.size).ok().filter(|r| !r.is_empty());
            chosen.ok_or_else(|| ObjectStoreError::Rejected(not_satisfiable(object.size)))
        }
        _ => Ok(0..object.size),
    }
}

fn content_range(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end - 1)
}

/// 416 with the object's size in Content-Range.
fn not_satisfiable(size: u64) -> S3Error {
    let mut e = s3_error!(InvalidRange, "The requested range is not satisfiable.");
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
        e.set_headers(HeaderMap::from_iter([(header::CONTENT_RANGE, value)]));
    }
    e
}

/// The checksums to send: only if requested, and only with the whole content, since clients verify the
/// body against them.
fn sent_checksums(object: &Object, partial: bool, mode: Option<&ChecksumMode>) -> Checksums {
    if !partial && mode.is_some_and(|m| m.as_str() == ChecksumMode::ENABLED) {
        object.checksums.clone()
    } else {
        Checksums::default()
    }
}
