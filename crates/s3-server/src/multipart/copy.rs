//! UploadPartCopy: a part from an object of this store.

use std::{io, ops::Range, result, sync::Arc};

use s3s::{
    S3Error, S3Request,
    dto::{CopyPartResult, ETag, UploadPartCopyInput, UploadPartCopyOutput},
    s3_error,
};

use super::{PutPart, check_part_number, put_part};
use crate::{
    checksum::{Algorithm, with_checksums},
    conditions::copy_source_conditions,
    content_stream::stream_content,
    error::{Result, no_such_key},
    ingest::{Ingested, MAX_BODY_BYTES, checksum, ingest_copy},
    model::{Object, ObjectContent, Selection},
    object_store::ObjectStore,
    readers::Pin,
    timestamps::timestamp,
    write::copy_source,
};

pub(crate) async fn upload_part_copy(
    store: &ObjectStore,
    request: S3Request<UploadPartCopyInput>,
) -> Result<UploadPartCopyOutput> {
    let mut input = request.input;
    check_part_number(input.part_number)?;
    if input.sse_customer_algorithm.is_some() || input.copy_source_sse_customer_algorithm.is_some() {
        return Err(s3_error!(NotImplemented, "Encryption with your keys is not offered.").into());
    }
    let (from_bucket, from_key) = copy_source(&input.copy_source)?;
    let requested = input.copy_source_range.as_deref().map(parse_range).transpose()?;
    let conditions = copy_source_conditions!(input);
    let upload = store.index().upload(&input.bucket, &input.key, &input.upload_id).await?;
    let choose = |object: &Object| {
        conditions.check_copy_source(object)?;
        Ok(Selection::Bytes(choose_range(requested, object.size)?))
    };
    let source = store.readers().open(store.index(), &from_bucket, &from_key, choose).await?;
    let (source, pin) = source.ok_or_else(no_such_key)?;
    let content = copy_content(store, source, pin, upload.algorithm).await?;
    let part = put_part(store, upload, input.part_number, content).await?;
    let PutPart { etag, checksums, modify_time } = part;
    let result = with_checksums!(
        CopyPartResult { e_tag: Some(ETag::Strong(etag)), last_modified: Some(timestamp(modify_time)) },
        checksums
    );
    Ok(UploadPartCopyOutput { copy_part_result: Some(result), ..Default::default() })
}

/// A new blob with the range of `source`, whose object `pin` pins, and with a checksum of the `algorithm`.
///
/// A range that is a whole blob is linked: its bytes are not copied, and only read if the checksum is not
/// known. Any other range is copied.
async fn copy_content(
    store: &ObjectStore,
    source: ObjectContent,
    pin: Pin,
    algorithm: Option<Algorithm>,
) -> Result<Ingested> {
    let blobs = Arc::clone(store.blobs());
    let whole = match source.extents.as_slice() {
        [extent] if extent.range() == source.range => extent.clone(),
        _ => return ingest_copy(store.blobs(), stream_content(blobs, source, pin), algorithm).await,
    };
    let linking = Arc::clone(&blobs);
    let link = tokio::task::spawn_blocking(move || {
        Ok::<_, io::Error>((linking.duplicate(&whole.blob)?, whole, pin))
    });
    let (blob, whole, pin) = link.await??;
    let mut checksums = whole.checksums;
    if let Some(algorithm) = algorithm
        && checksums.get(algorithm).is_none()
        && let Some(value) = checksum(stream_content(blobs, source, pin), algorithm).await?.get(algorithm)
    {
        checksums.set(algorithm, value.to_owned());
    }
    Ok(Ingested { blob, size: whole.size, etag: whole.etag, checksums })
}

/// The offsets of the first and the last byte in `x-amz-copy-source-range`. Unlike in Range, both are
/// required.
fn parse_range(header: &str) -> result::Result<(u64, u64), S3Error> {
    let offset = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    header
        .strip_prefix("bytes=")
        .and_then(|offsets| offsets.split_once('-'))
        .and_then(|(first, last)| Some((offset(first)?, offset(last)?)))
        .filter(|(first, last)| first <= last)
        .ok_or_else(|| s3_error!(InvalidArgument, "The x-amz-copy-source-range must be bytes=FIRST-LAST."))
}

/// The range to copy of an object of `size` bytes: the requested one, else everything.
fn choose_range(requested: Option<(u64, u64)>, size: u64) -> result::Result<Range<u64>, S3Error> {
    let range = match requested {
        Some((_, last)) if last >= size => {
            return Err(s3_error!(InvalidRange, "The copy source has {size} bytes only."));
        }
        Some((first, last)) => first..last + 1,
        None => 0..size,
    };
    if range.end - range.start > MAX_BODY_BYTES {
        return Err(s3_error!(InvalidRequest, "A copied part can't be larger than {MAX_BODY_BYTES} bytes."));
    }
    Ok(range)
}

#[cfg(test)]
mod tests {
    use s3s::S3ErrorCode;

    use super::*;

    #[test]
    fn parse_range_malformed_returns_invalid_argument() {
        for header in [
            "0-2",
            "bytes=0",
            "bytes=-2",
            "bytes=2-",
            "bytes=hello-world",
            "bytes=0-bar",
            "bytes=hello-",
            "bytes=0-2,3-5",
            "bytes=2-1",
            "bytes=+1-2",
            "bytes=0-18446744073709551616",
            "",
        ] {
            let error = parse_range(header).unwrap_err();
            assert_eq!(error.code(), &S3ErrorCode::InvalidArgument, "{header}");
        }
        assert_eq!(parse_range("bytes=0-0").unwrap(), (0, 0));
    }

    #[test]
    fn choose_range_outside_source_or_too_large_returns_error() {
        let code = |requested, size| choose_range(requested, size).unwrap_err().code().clone();
        assert_eq!(code(Some((0, 5)), 5), S3ErrorCode::InvalidRange);
        assert_eq!(code(Some((0, 0)), 0), S3ErrorCode::InvalidRange);
        assert_eq!(code(None, MAX_BODY_BYTES + 1), S3ErrorCode::InvalidRequest);
        assert_eq!(choose_range(Some((1, 4)), 5).unwrap(), 1..5);
        assert_eq!(choose_range(None, 0).unwrap(), 0..0);
        assert_eq!(choose_range(None, MAX_BODY_BYTES).unwrap(), 0..MAX_BODY_BYTES);
    }
}
