//! What all listings have in common: page sizes, continuation tokens and the encoding of keys.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::{S3Error, dto::EncodingType, s3_error};

/// The most entries in a page, as in S3.
const MAX_PAGE_SIZE: i32 = 1000;

/// The characters that `encoding-type=url` does not encode.
const UNENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// The page size for the requested one.
pub(crate) fn page_size(requested: Option<i32>) -> Result<usize, S3Error> {
    match requested.unwrap_or(MAX_PAGE_SIZE) {
        n if n < 0 => Err(s3_error!(InvalidArgument, "A page can't have fewer than 0 entries.")),
        n => Ok(n.min(MAX_PAGE_SIZE) as usize),
    }
}

/// The encoding of keys in the response: none, or percent-encoding for characters that XML does not allow.
pub(super) fn key_encoder(encoding: Option<&EncodingType>) -> fn(String) -> String {
    match encoding {
        Some(e) if e.as_str() == EncodingType::URL => |key| utf8_percent_encode(&key, UNENCODED).to_string(),
        _ => |key| key,
    }
}

/// The continuation token for the page that starts after `key`.
pub(super) fn encode_token(key: String) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

pub(super) fn decode_token(token: &str) -> Result<String, S3Error> {
    URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| s3_error!(InvalidArgument, "The continuation token is not valid."))
}
