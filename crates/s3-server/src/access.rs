//! Access control: every request must be signed with the configured key.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, Method, header};
use percent_encoding::percent_decode_str;
use s3s::{
    S3Result,
    access::{S3Access, S3AccessContext},
    s3_error,
};

/// The longest time for which a presigned URL is valid, seconds: a week.
const MAX_EXPIRES_SECONDS: u64 = 604_800;

/// Allows requests signed by Signature Version 4 only. s3s also accepts version 2, whose header form
/// never expires.
pub(crate) struct SigV4Only;

#[async_trait::async_trait]
impl S3Access for SigV4Only {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        if context.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "A signature is required."));
        }
        let authorization = context.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        let authorization = authorization.filter(|value| value.starts_with("AWS4-HMAC-SHA256"));
        let query = context.uri().query().unwrap_or_default();
        check_query(context.method(), query, authorization.is_some())?;
        check_headers(context.headers(), query, authorization)
    }
}

/// Checks the query of a request; `in_header` if its signature is in a header.
fn check_query(method: &Method, query: &str, in_header: bool) -> S3Result<()> {
    let query = Parameters::of(query);
    // s3s tries version 2 first, and recognizes it by this parameter.
    let version_2 = query.has("Signature");
    if !(in_header || query.has("X-Amz-Signature")) || version_2 {
        return Err(s3_error!(InvalidRequest, "Please use AWS4-HMAC-SHA256 to sign."));
    }
    let expires = query.value("X-Amz-Expires").and_then(|value| value.parse::<u64>().ok());
    if expires.is_some_and(|seconds| seconds > MAX_EXPIRES_SECONDS) {
        return Err(s3_error!(AccessDenied, "X-Amz-Expires must be less than a week (in seconds)."));
    }
    // s3s would store the part as an object.
    if method == Method::PUT && query.has("uploadId") != query.has("partNumber") {
        return Err(s3_error!(InvalidRequest, "A part has both uploadId and partNumber."));
    }
    Ok(())
}

/// Refuses `x-amz-*` headers that the signature doesn't cover: they could change what the signed request does.
fn check_headers(headers: &HeaderMap, query: &str, authorization: Option<&str>) -> S3Result<()> {
    let query = Parameters::of(query);
    let in_header = authorization.and_then(|value| {
        let fields = value.trim_start_matches("AWS4-HMAC-SHA256").split(',');
        fields.filter_map(|field| field.trim().strip_prefix("SignedHeaders=")).next()
    });
    let signed = in_header.or_else(|| query.value("X-Amz-SignedHeaders")).unwrap_or_default();
    let is_signed = |name: &str| signed.split(';').any(|signed| signed.eq_ignore_ascii_case(name));
    let mut names = headers.keys().map(HeaderName::as_str);
    if names.any(|name| name.starts_with("x-amz-") && !is_signed(name)) {
        return Err(s3_error!(
            AccessDenied,
            "There were headers present in the request which were not signed."
        ));
    }
    Ok(())
}

/// Decoded names and values of a query.
struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    fn of(query: &'a str) -> Self {
        let decoded = |text: &'a str| percent_decode_str(text).decode_utf8_lossy();
        let pair = |pair: &'a str| pair.split_once('=').unwrap_or((pair, ""));
        Self(query.split('&').map(pair).map(|(name, value)| (decoded(name), decoded(value))).collect())
    }

    fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, Method};

    use super::{check_headers, check_query};

    fn code(method: &Method, query: &str, in_header: bool) -> Option<String> {
        check_query(method, query, in_header).err().map(|error| error.code().as_str().to_owned())
    }

    #[test]
    fn check_query_accepts_version_4_only() {
        let signed = "X-Amz-Signature=1&X-Amz-Expires=604800";
        assert_eq!((code(&Method::GET, signed, false), code(&Method::GET, "", true)), (None, None));
        for refused in ["", "Signature=1", "%53ignature=1&X-Amz-Signature=1", "x=X-Amz-Signature="] {
            assert_eq!(code(&Method::GET, refused, false).as_deref(), Some("InvalidRequest"), "{refused}");
        }
        assert_eq!(code(&Method::GET, "%53ignature=1", true).as_deref(), Some("InvalidRequest"));
    }

    #[test]
    fn check_query_refuses_more_than_a_week_and_half_a_part() {
        let long = "X-Amz-Signature=1&X-Amz-Expires=604801";
        assert_eq!(code(&Method::GET, long, false).as_deref(), Some("AccessDenied"));
        for half in ["uploadId=u", "partNumber=1", "part%4eumber=1"] {
            assert_eq!(code(&Method::PUT, half, true).as_deref(), Some("InvalidRequest"), "{half}");
        }
        assert_eq!(code(&Method::PUT, "uploadId=u&partNumber=1", true), None);
        assert_eq!(code(&Method::GET, "partNumber=1", true), None);
    }

    #[test]
    fn check_headers_refuses_those_that_are_not_signed() {
        let headers = |names: &[&'static str]| -> HeaderMap {
            names.iter().map(|name| (HeaderName::from_static(name), "1".parse().unwrap())).collect()
        };
        let presigned = "X-Amz-SignedHeaders=host%3Bx-amz-meta-a&X-Amz-Signature=1";
        let in_header = "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host;x-amz-date, Signature=1";
        let is_accepted = |names: &[&'static str], query: &str, authorization| {
            check_headers(&headers(names), query, authorization).is_ok()
        };
        assert!(is_accepted(&["host", "accept", "x-amz-meta-a"], presigned, None));
        assert!(!is_accepted(&["x-amz-copy-source"], presigned, None));
        assert!(is_accepted(&["x-amz-date", "range"], "", Some(in_header)));
        assert!(!is_accepted(&["x-amz-date", "x-amz-meta-a"], "", Some(in_header)));
        // The query of a request that is signed by its header does not count.
        assert!(!is_accepted(&["x-amz-meta-a"], presigned, Some(in_header)));
    }
}
