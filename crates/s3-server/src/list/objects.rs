//! ListObjects and ListObjectsV2: objects by prefix and delimiter.

use s3s::{
    S3Request,
    dto::{
        ChecksumAlgorithm, ChecksumType, CommonPrefix, ETag, ListObjectsInput, ListObjectsOutput,
        ListObjectsV2Input, ListObjectsV2Output, Object, ObjectStorageClass,
    },
};

use super::paging::{decode_token, encode_token, key_encoder, page_size};
use crate::{error::Result, model, object_store::ObjectStore, timestamps::timestamp};

/// Rows read from the index at a time.
const BATCH_ROWS: usize = 256;

/// Appended to a prefix, sorts after every key with that prefix: keys are UTF-8, compared as bytes.
const PREFIX_END: char = '\u{10ffff}';

/// One page of a listing of objects.
#[derive(Default)]
struct Page {
    objects: Vec<model::Object>,
    prefixes: Vec<String>,
    /// The next page starts after this key. `None` on the last page.
    next: Option<String>,
}

impl Page {
    fn len(&self) -> usize {
        self.objects.len() + self.prefixes.len()
    }
}

/// The parameters of a listing.
struct Listing<'a> {
    bucket: &'a str,
    prefix: &'a str,
    delimiter: Option<&'a str>,
    max: usize,
}

impl Listing<'_> {
    /// The common prefix that `key` is grouped under: up to the first delimiter after the listing's prefix.
    fn common_prefix<'k>(&self, key: &'k str) -> Option<&'k str> {
        let delimiter = self.delimiter?;
        let rest = key.strip_prefix(self.prefix)?;
        Some(&key[..self.prefix.len() + rest.find(delimiter)? + delimiter.len()])
    }

    /// Reads the page that starts after `after`. Skips all keys of a common prefix in one step.
    async fn page(&self, store: &ObjectStore, after: Option<String>) -> Result<Page> {
        let mut page = Page::default();
        // The common prefix listed last, also if it was the last entry of the previous page.
        let mut last_prefix = after.as_deref().and_then(|a| a.strip_suffix(PREFIX_END)).map(str::to_owned);
        let mut after = after;
        if self.max == 0 {
            return Ok(page);
        }
        loop {
            let limit = BATCH_ROWS.min(self.max - page.len() + 1);
            let rows =
                store.index().objects_after(self.bucket, self.prefix, after.as_deref(), limit as u64).await?;
            let ended = rows.len() < limit;
            for object in rows {
                if !object.key.starts_with(self.prefix) {
                    return Ok(page);
                }
                let prefix = self.common_prefix(&object.key).map(str::to_owned);
                if prefix.is_some() && prefix == last_prefix {
                    after = after.max(Some(object.key));
                    continue;
                }
                if page.len() == self.max {
                    page.next = after;
                    return Ok(page);
                }
                match prefix {
                    Some(prefix) => {
                        after = Some(format!("{prefix}{PREFIX_END}"));
                        page.prefixes.push(prefix.clone());
                        last_prefix = Some(prefix);
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
    store: &ObjectStore,
    request: S3Request<ListObjectsV2Input>,
) -> Result<ListObjectsV2Output> {
    let input = request.input;
    let prefix = input.prefix.clone().unwrap_or_default();
    let encode = key_encoder(input.encoding_type.as_ref());
    let listing = Listing {
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
    let page = listing.page(store, after).await?;
    Ok(ListObjectsV2Output {
        max_keys: Some(listing.max as i32),
        key_count: Some(page.len() as i32),
        is_truncated: Some(page.next.is_some()),
        next_continuation_token: page.next.map(encode_token),
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
    store: &ObjectStore,
    request: S3Request<ListObjectsInput>,
) -> Result<ListObjectsOutput> {
    let input = request.input;
    let prefix = input.prefix.clone().unwrap_or_default();
    let encode = key_encoder(input.encoding_type.as_ref());
    let listing = Listing {
        bucket: &input.bucket,
        prefix: &prefix,
        delimiter: input.delimiter.as_deref().filter(|d| !d.is_empty()),
        max: page_size(input.max_keys)?,
    };
    // A marker that is a common prefix includes all of its keys.
    let after =
        input.marker.clone().filter(|m| !m.is_empty()).map(|marker| match listing.common_prefix(&marker) {
            Some(prefix) if prefix == marker => format!("{marker}{PREFIX_END}"),
            _ => marker,
        });
    store.index().require_bucket(&input.bucket).await?;
    let page = listing.page(store, after).await?;
    let next = page.next.map(|next| next.strip_suffix(PREFIX_END).map(str::to_owned).unwrap_or(next));
    Ok(ListObjectsOutput {
        max_keys: Some(listing.max as i32),
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

fn listed(object: model::Object, encode: fn(String) -> String) -> Object {
    let algorithms = object.checksums.present().map(|(algorithm, _)| ChecksumAlgorithm::from(algorithm));
    Object {
        checksum_algorithm: Some(algorithms.collect()),
        checksum_type: object.checksum_kind.map(ChecksumType::from),
        e_tag: Some(ETag::Strong(object.etag)),
        key: Some(encode(object.key)),
        last_modified: Some(timestamp(object.modify_time)),
        size: Some(object.size as i64),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        ..Default::default()
    }
}

fn common_prefixes(prefixes: Vec<String>, encode: fn(String) -> String) -> Vec<CommonPrefix> {
    prefixes.into_iter().map(|prefix| CommonPrefix { prefix: Some(encode(prefix)) }).collect()
}
