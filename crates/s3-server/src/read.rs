//! GetObject and HeadObject: whole, a range or a part, conditional or not.

use std::{ops::Range, result, sync::Arc};

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
    model::{Object, ObjectContent, Selection},
    multipart::MAX_PART_NUMBER,
    object_store::ObjectStore,
    timestamps::timestamp,
    unsupported::reject_version,
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
    ($output:ident { $($field:tt)* }, $object:expr, $sent:expr) => {{
        let object: Object = $object;
        let Sent { range, partial, checksums, parts_count } = $sent;
        let headers = object.headers;
        let checksum_kind = object.checksum_kind.filter(|_| !checksums.is_empty());
        with_checksums!(
            $output {
                accept_ranges: Some("bytes".to_owned()),
                content_length: Some((range.end - range.start) as i64),
                content_range: partial.then(|| content_range(&range, object.size)),
                checksum_type: checksum_kind.map(ChecksumType::from),
                parts_count,
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

/// What is sent of an object.
struct Sent {
    range: Range<u64>,
    /// True if the response is a partial one, with Content-Range.
    partial: bool,
    checksums: Checksums,
    /// The number of the object's parts, sent only if one of them was requested.
    parts_count: Option<i32>,
}

impl Sent {
    /// Everything or a range. Its checksums are sent only with the whole content, since clients verify the
    /// body against them.
    fn bytes(object: &Object, range: Range<u64>, partial: bool, mode: Option<&ChecksumMode>) -> Self {
        let checksums =
            if partial { Checksums::default() } else { requested_checksums(&object.checksums, mode) };
        Self { range, partial, checksums, parts_count: None }
    }

    /// The part that `content` consists of.
    fn part(content: &ObjectContent, mode: Option<&ChecksumMode>) -> Self {
        let part = content.extents.first().map(|extent| requested_checksums(&extent.checksums, mode));
        Self {
            range: content.range.clone(),
            // An empty range has no Content-Range.
            partial: !content.range.is_empty(),
            checksums: part.unwrap_or_default(),
            parts_count: content.object.part_count,
        }
    }
}

pub(crate) async fn get(store: &ObjectStore, request: S3Request<GetObjectInput>) -> Result<GetObjectOutput> {
    let S3Request { input, headers, .. } = request;
    reject_version(input.version_id.as_deref())?;
    let part = requested_part(input.part_number, input.range.as_ref())?;
    let conditions = conditions_of!(input);
    let choose = |object: &Object| {
        conditions.check(object)?;
        match part {
            Some(number) => Ok(Selection::Part(number)),
            None => choose_range(input.range, &headers, object).map(Selection::Bytes),
        }
    };
    let content = store.readers().open(store.index(), &input.bucket, &input.key, choose).await?;
    let (content, pin) = content.ok_or_else(no_such_key)?;
    let (object, mode) = (content.object.clone(), input.checksum_mode.as_ref());
    let sent = if part.is_some() {
        Sent::part(&content, mode)
    } else {
        let partial = input.range.is_some() && range_applies(&headers, &object);
        Sent::bytes(&object, content.range.clone(), partial, mode)
    };
    let body = Some(stream_content(Arc::clone(store.blobs()), content, pin));
    Ok(object_output!(GetObjectOutput { body, ..Default::default() }, object, sent))
}

pub(crate) async fn head(
    store: &ObjectStore,
    request: S3Request<HeadObjectInput>,
) -> Result<HeadObjectOutput> {
    let S3Request { input, headers, .. } = request;
    reject_version(input.version_id.as_deref())?;
    let part = requested_part(input.part_number, input.range.as_ref())?;
    let conditions = conditions_of!(input);
    let mode = input.checksum_mode.as_ref();
    let (object, sent) = if let Some(number) = part {
        let choose = |object: &Object| {
            conditions.check(object)?;
            Ok(Selection::Part(number))
        };
        let content = store.index().content(&input.bucket, &input.key, choose).await?;
        let content = content.ok_or_else(no_such_key)?;
        let sent = Sent::part(&content, mode);
        (content.object, sent)
    } else {
        let object = store.index().object(&input.bucket, &input.key).await?.ok_or_else(no_such_key)?;
        conditions.check(&object)?;
        let range = choose_range(input.range, &headers, &object)?;
        let partial = input.range.is_some() && range_applies(&headers, &object);
        let sent = Sent::bytes(&object, range, partial, mode);
        (object, sent)
    };
    Ok(object_output!(HeadObjectOutput { ..Default::default() }, object, sent))
}

/// The number of the requested part, if the request is for a part.
fn requested_part(number: Option<i32>, range: Option<&dto::Range>) -> result::Result<Option<i32>, S3Error> {
    match number {
        None => Ok(None),
        Some(_) if range.is_some() => {
            Err(s3_error!(InvalidRequest, "Range and partNumber can't be given together."))
        }
        Some(number) if (1..=MAX_PART_NUMBER).contains(&number) => Ok(Some(number)),
        Some(_) => Err(s3_error!(InvalidArgument, "Part numbers are 1 to {MAX_PART_NUMBER}.")),
    }
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

/// The checksums to send: only if requested.
fn requested_checksums(checksums: &Checksums, mode: Option<&ChecksumMode>) -> Checksums {
    if mode.is_some_and(|m| m.as_str() == ChecksumMode::ENABLED) {
        checksums.clone()
    } else {
        Checksums::default()
    }
}
