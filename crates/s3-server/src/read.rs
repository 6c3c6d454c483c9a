//! Serving objects: GET and HEAD, whole or in part, conditional or not.

use std::ops::Range;

use http::{HeaderMap, HeaderValue, header};
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, s3_error};

use crate::checksum::{Checksums, with_checksums};
use crate::conditions::{ReadConditions, range_applies};
use crate::error::{Result, StoreError};
use crate::headers::timestamp;
use crate::index::Object;
use crate::readers;
use crate::store::Store;

/// What `Content-Type` is when the writer gave none, as in S3.
const DEFAULT_TYPE: &str = "binary/octet-stream";

/// Takes the conditions of a read from an input.
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

/// Builds the output of GET or HEAD, which describe an object with the same fields.
macro_rules! described {
    ($output:ident { $($field:tt)* }, $object:expr, $range:expr, $partial:expr, $mode:expr) => {{
        let object: Object = $object;
        let range: Range<u64> = $range;
        let checksums = served_checksums(&object, $partial, $mode);
        let headers = object.headers;
        let checksum_type = object.checksum_type.filter(|_| !checksums.is_empty());
        with_checksums!(
            $output {
                accept_ranges: Some("bytes".to_owned()),
                content_length: Some((range.end - range.start) as i64),
                content_range: $partial.then(|| content_range(&range, object.size)),
                checksum_type: checksum_type.map(ChecksumType::from),
                e_tag: Some(ETag::Strong(object.etag)),
                last_modified: Some(timestamp(object.modified)),
                content_type: Some(headers.content_type.unwrap_or_else(|| DEFAULT_TYPE.to_owned())),
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

pub(crate) async fn get(store: &Store, request: S3Request<GetObjectInput>) -> Result<GetObjectOutput> {
    let S3Request { input, headers, .. } = request;
    require_plain(input.version_id.as_deref(), input.part_number)?;
    let conditions = conditions_of!(input);
    let choose = |object: &Object| {
        conditions.check(object)?;
        choose_range(input.range, &headers, object)
    };
    let found = store.readers().open(store.index(), &input.bucket, &input.key, choose).await?;
    let (found, pin) = found.ok_or_else(no_such_key)?;
    let (object, range) = (found.object.clone(), found.range.clone());
    let partial = input.range.is_some() && range_applies(&headers, &object);
    let body = Some(readers::stream(found, pin));
    let mode = input.checksum_mode.as_ref();
    Ok(described!(GetObjectOutput { body, ..Default::default() }, object, range, partial, mode))
}

pub(crate) async fn head(store: &Store, request: S3Request<HeadObjectInput>) -> Result<HeadObjectOutput> {
    let S3Request { input, headers, .. } = request;
    require_plain(input.version_id.as_deref(), input.part_number)?;
    let object = store.index().object(&input.bucket, &input.key).await?.ok_or_else(no_such_key)?;
    conditions_of!(input).check(&object)?;
    let range = choose_range(input.range, &headers, &object)?;
    let partial = input.range.is_some() && range_applies(&headers, &object);
    let mode = input.checksum_mode.as_ref();
    Ok(described!(HeadObjectOutput { ..Default::default() }, object, range, partial, mode))
}

/// Refuses what this store does not keep: versions, and access to an object by its parts.
pub(crate) fn require_plain(version: Option<&str>, part_number: Option<i32>) -> Result<()> {
    if version.is_some_and(|v| v != "null") {
        return Err(s3_error!(NoSuchVersion, "The bucket has no versions.").into());
    }
    match part_number {
        Some(_) => Err(s3_error!(NotImplemented, "Objects can't be read by part number.").into()),
        None => Ok(()),
    }
}

/// The range to serve: that which was asked for, if it counts, or everything.
fn choose_range(asked: Option<s3s::dto::Range>, headers: &HeaderMap, object: &Object) -> Result<Range<u64>> {
    match asked {
        Some(range) if range_applies(headers, object) => {
            // s3s lets a suffix of nothing pass.
            let chosen = range.check(object.size).ok().filter(|r| !r.is_empty());
            chosen.ok_or_else(|| StoreError::Refused(not_satisfiable(object.size)))
        }
        _ => Ok(0..object.size),
    }
}

fn content_range(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end - 1)
}

/// 416, saying how long the object is.
fn not_satisfiable(size: u64) -> S3Error {
    let mut e = s3_error!(InvalidRange, "The requested range is not satisfiable.");
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
        e.set_headers(HeaderMap::from_iter([(header::CONTENT_RANGE, value)]));
    }
    e
}

/// The checksums to answer with: only if asked for, and only beside the whole content, since clients
/// check what they got against them.
fn served_checksums(object: &Object, partial: bool, mode: Option<&ChecksumMode>) -> Checksums {
    if !partial && mode.is_some_and(|m| m.as_str() == ChecksumMode::ENABLED) {
        object.checksums.clone()
    } else {
        Checksums::default()
    }
}

pub(crate) fn no_such_key() -> S3Error {
    S3Error::with_message(S3ErrorCode::NoSuchKey, "The specified key does not exist.")
}
