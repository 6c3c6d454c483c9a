//! Listings: objects by prefix and delimiter, and uploads, page by page.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::*;
use s3s::{S3Error, S3Request, s3_error};

use crate::error::Result;
use crate::headers::timestamp;
use crate::index::Object as StoredObject;
use crate::store::Store;

/// The most entries in a page, as in S3.
const MAX_PAGE: i32 = 1000;

/// Rows read from the index at a time.
const BATCH: usize = 256;

/// Sorts after every key that begins with what is before it. Keys are UTF-8 and compared as bytes.
const LAST: char = '\u{10ffff}';

/// What `encoding-type=url` leaves as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// The page size to use for the one asked for.
pub(crate) fn page_size(asked: Option<i32>) -> std::result::Result<usize, S3Error> {
    match asked.unwrap_or(MAX_PAGE) {
        n if n < 0 => Err(s3_error!(InvalidArgument, "A page can't have fewer than 0 entries.")),
        n => Ok(n.min(MAX_PAGE) as usize),
    }
}

/// One page of a listing of objects.
#[derive(Default)]
struct Page {
    objects: Vec<StoredObject>,
    prefixes: Vec<String>,
    /// Where the next page starts: after this. `None` if there is no more.
    next: Option<String>,
}

impl Page {
    fn len(&self) -> usize {
        self.objects.len() + self.prefixes.len()
    }
}

/// A walk over a bucket's keys.
struct Walk<'a> {
    bucket: &'a str,
    prefix: &'a str,
    delimiter: Option<&'a str>,
    max: usize,
}

impl Walk<'_> {
    /// The common prefix that `key` is folded into, if the delimiter follows the listing's prefix.
    fn fold<'k>(&self, key: &'k str) -> Option<&'k str> {
        let delimiter = self.delimiter?;
        let rest = key.strip_prefix(self.prefix)?;
        Some(&key[..self.prefix.len() + rest.find(delimiter)? + delimiter.len()])
    }

    /// Collects the page after `after`. All keys of a common prefix are passed over in one step.
    async fn page(&self, store: &Store, after: Option<String>) -> Result<Page> {
        let mut page = Page::default();
        // A page that ended with a common prefix went on to just behind it.
        let mut folded = after.as_deref().and_then(|a| a.strip_suffix(LAST)).map(str::to_owned);
        let mut after = after;
        if self.max == 0 {
            return Ok(page);
        }
        loop {
            let limit = BATCH.min(self.max - page.len() + 1);
            let rows =
                store.index().objects_after(self.bucket, self.prefix, after.as_deref(), limit as u64).await?;
            let ended = rows.len() < limit;
            for object in rows {
                if !object.key.starts_with(self.prefix) {
                    return Ok(page);
                }
                let fold = self.fold(&object.key).map(str::to_owned);
                if fold.is_some() && fold == folded {
                    after = after.max(Some(object.key));
                    continue;
                }
                if page.len() == self.max {
                    page.next = after;
                    return Ok(page);
                }
                match fold {
                    Some(prefix) => {
                        after = Some(format!("{prefix}{LAST}"));
                        page.prefixes.push(prefix.clone());
                        folded = Some(prefix);
                    }
                    None => {
                        after = Some(object.key.clone());
                        page.objects.push(object);
                    }
                }
            }
            if ended {
                return Ok(page);
            }
        }
    }
}

pub(crate) async fn objects_v2(
    store: &Store,
    request: S3Request<ListObjectsV2Input>,
) -> Result<ListObjectsV2Output> {
    let input = request.input;
    let prefix = input.prefix.clone().unwrap_or_default();
    let encode = encoder(input.encoding_type.as_ref());
    let walk = Walk {
        bucket: &input.bucket,
        prefix: &prefix,
        delimiter: input.delimiter.as_deref().filter(|d| !d.is_empty()),
        max: page_size(input.max_keys)?,
    };
    let after = match &input.continuation_token {
        Some(token) => Some(decode_token(token)?),
        None => input.start_after.clone(),
    };
    store.index().require_bucket(&input.bucket).await?;
    let page = walk.page(store, after).await?;
    Ok(ListObjectsV2Output {
        max_keys: Some(walk.max as i32),
        key_count: Some(page.len() as i32),
        is_truncated: Some(page.next.is_some()),
        next_continuation_token: page.next.map(|next| URL_SAFE_NO_PAD.encode(next)),
        contents: Some(page.objects.into_iter().map(|object| listed(object, encode)).collect()),
        common_prefixes: Some(common_prefixes(page.prefixes, encode)),
        prefix: Some(encode(prefix)),
        delimiter: input.delimiter.map(encode),
        start_after: input.start_after.map(encode),
        continuation_token: input.continuation_token,
        encoding_type: input.encoding_type,
        name: Some(input.bucket),
        ..Default::default()
    })
}

pub(crate) async fn objects_v1(
    store: &Store,
    request: S3Request<ListObjectsInput>,
) -> Result<ListObjectsOutput> {
    let input = request.input;
    let prefix = input.prefix.clone().unwrap_or_default();
    let encode = encoder(input.encoding_type.as_ref());
    let walk = Walk {
        bucket: &input.bucket,
        prefix: &prefix,
        delimiter: input.delimiter.as_deref().filter(|d| !d.is_empty()),
        max: page_size(input.max_keys)?,
    };
    // A marker that is a common prefix stands for all of its keys.
    let after = input.marker.clone().filter(|m| !m.is_empty()).map(|marker| match walk.fold(&marker) {
        Some(fold) if fold == marker => format!("{marker}{LAST}"),
        _ => marker,
    });
    store.index().require_bucket(&input.bucket).await?;
    let page = walk.page(store, after).await?;
    let next = page.next.map(|next| next.strip_suffix(LAST).map(str::to_owned).unwrap_or(next));
    Ok(ListObjectsOutput {
        max_keys: Some(walk.max as i32),
        is_truncated: Some(next.is_some()),
        next_marker: next.map(encode),
        contents: Some(page.objects.into_iter().map(|object| listed(object, encode)).collect()),
        common_prefixes: Some(common_prefixes(page.prefixes, encode)),
        prefix: Some(encode(prefix)),
        delimiter: input.delimiter.map(encode),
        marker: Some(encode(input.marker.unwrap_or_default())),
        encoding_type: input.encoding_type,
        name: Some(input.bucket),
        ..Default::default()
    })
}

pub(crate) async fn uploads(
    store: &Store,
    request: S3Request<ListMultipartUploadsInput>,
) -> Result<ListMultipartUploadsOutput> {
    let input = request.input;
    if input.delimiter.as_deref().is_some_and(|d| !d.is_empty()) {
        return Err(s3_error!(NotImplemented, "Uploads can't be listed by delimiter.").into());
    }
    let max = page_size(input.max_uploads)?;
    let encode = encoder(input.encoding_type.as_ref());
    let prefix = input.prefix.clone().unwrap_or_default();
    let after = input.key_marker.clone().unwrap_or_default();
    // S3 ignores the one marker without the other.
    let after_upload = input.upload_id_marker.as_deref().filter(|id| !id.is_empty() && !after.is_empty());
    store.index().require_bucket(&input.bucket).await?;
    let index = store.index();
    let mut rows = index.uploads_after(&input.bucket, &prefix, &after, after_upload, max as u64 + 1).await?;
    rows.retain(|upload| upload.key.starts_with(&prefix));
    let truncated = rows.len() > max;
    rows.truncate(max);
    let last = rows.last().filter(|_| truncated).map(|upload| (upload.key.clone(), upload.id.clone()));
    let (next_key, next_upload) = last.unzip();
    let uploads = rows.into_iter().map(|upload| MultipartUpload {
        key: Some(encode(upload.key)),
        upload_id: Some(upload.id),
        initiated: Some(timestamp(upload.initiated)),
        checksum_algorithm: upload.algorithm.map(ChecksumAlgorithm::from),
        checksum_type: upload.checksum_type.map(ChecksumType::from),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        ..Default::default()
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

fn listed(object: StoredObject, encode: fn(String) -> String) -> Object {
    let algorithms = object.checksums.present().map(|(a, _)| ChecksumAlgorithm::from_static(a.name()));
    Object {
        checksum_algorithm: Some(algorithms.collect()),
        checksum_type: object.checksum_type.map(ChecksumType::from),
        e_tag: Some(ETag::Strong(object.etag)),
        key: Some(encode(object.key)),
        last_modified: Some(timestamp(object.modified)),
        size: Some(object.size as i64),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        ..Default::default()
    }
}

fn common_prefixes(prefixes: Vec<String>, encode: fn(String) -> String) -> Vec<CommonPrefix> {
    prefixes.into_iter().map(|prefix| CommonPrefix { prefix: Some(encode(prefix)) }).collect()
}

/// How keys are written: as they are, or percent-encoded for what XML can't say.
fn encoder(encoding: Option<&EncodingType>) -> fn(String) -> String {
    match encoding {
        Some(e) if e.as_str() == EncodingType::URL => |s| utf8_percent_encode(&s, PLAIN).to_string(),
        _ => |s| s,
    }
}

fn decode_token(token: &str) -> std::result::Result<String, S3Error> {
    URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| s3_error!(InvalidArgument, "The continuation token is not valid."))
}
