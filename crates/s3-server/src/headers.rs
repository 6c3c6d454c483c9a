//! The HTTP headers that are stored with an object and sent with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The headers and metadata from the object's PUT. Stored as JSON in the index.
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

/// Takes the header fields that s3s's inputs have in common out of an input.
macro_rules! headers_of {
    ($input:expr) => {
        $crate::headers::ObjectHeaders {
            content_type: $input.content_type.take(),
            cache_control: $input.cache_control.take(),
            content_disposition: $input.content_disposition.take(),
            content_encoding: $crate::headers::without_aws_chunked($input.content_encoding.take()),
            content_language: $input.content_language.take(),
            expires: $input.expires.take().map($crate::timestamps::unix_seconds),
            metadata: $input.metadata.take().unwrap_or_default().into_iter().collect(),
        }
    };
}
pub(crate) use headers_of;

/// Removes `aws-chunked`, which describes the transfer of the body, not the object.
pub(crate) fn without_aws_chunked(encoding: Option<String>) -> Option<String> {
    let kept: Vec<_> = encoding
        .as_deref()?
        .split(',')
        .map(str::trim)
        .filter(|e| !e.is_empty() && !e.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_aws_chunked_removes_only_aws_chunked() {
        let strip = |s: &str| without_aws_chunked(Some(s.to_owned()));
        assert_eq!(strip("aws-chunked"), None);
        assert_eq!(strip("gzip, aws-chunked").as_deref(), Some("gzip"));
        assert_eq!(strip("gzip").as_deref(), Some("gzip"));
        assert_eq!(without_aws_chunked(None), None);
    }
}
