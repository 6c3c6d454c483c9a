//! The headers an object was stored with and is served with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// What the writer said about an object. Kept as JSON in the index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ObjectHeaders {
    pub(crate) content_type: Option<String>,
    pub(crate) cache_control: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_language: Option<String>,
    /// Unix seconds.
    pub(crate) expires: Option<i64>,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// Takes the header fields that s3s's inputs have in common.
macro_rules! headers_of {
    ($input:expr) => {
        $crate::headers::ObjectHeaders {
            content_type: $input.content_type.take(),
            cache_control: $input.cache_control.take(),
            content_disposition: $input.content_disposition.take(),
            content_encoding: $crate::headers::without_aws_chunked($input.content_encoding.take()),
            content_language: $input.content_language.take(),
            expires: $input.expires.take().map($crate::headers::unix_seconds),
            metadata: $input.metadata.take().unwrap_or_default().into_iter().collect(),
        }
    };
}
pub(crate) use headers_of;

/// `aws-chunked` describes how the body travelled, not the object.
pub(crate) fn without_aws_chunked(encoding: Option<String>) -> Option<String> {
    let kept: Vec<_> = encoding
        .as_deref()?
        .split(',')
        .map(str::trim)
        .filter(|e| !e.is_empty() && !e.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// Seconds since 1970 of an S3 timestamp.
pub(crate) fn unix_seconds(at: s3s::dto::Timestamp) -> i64 {
    OffsetDateTime::from(at).unix_timestamp()
}

/// The S3 timestamp of milliseconds since 1970.
pub(crate) fn timestamp(unix_millis: i64) -> s3s::dto::Timestamp {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_millis) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .into()
}

/// Now, in milliseconds since 1970.
pub(crate) fn now_millis() -> i64 {
    (OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aws_chunked_is_not_stored() {
        let strip = |s: &str| without_aws_chunked(Some(s.to_owned()));
        assert_eq!(strip("aws-chunked"), None);
        assert_eq!(strip("gzip, aws-chunked").as_deref(), Some("gzip"));
        assert_eq!(strip("gzip").as_deref(), Some("gzip"));
        assert_eq!(without_aws_chunked(None), None);
    }
}
