//! Conditional requests: If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since, If-Range.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use s3s::{
    S3Error, S3ErrorCode,
    dto::{ETag, ETagCondition, Timestamp, TimestampFormat},
    s3_error,
};

use crate::{
    error::no_such_key,
    model::Object,
    timestamps::{timestamp, unix_seconds},
};

/// The conditions of a GET, a HEAD, or the source of a copy.
#[derive(Default)]
pub(crate) struct ReadConditions {
    pub(crate) if_match: Option<ETagCondition>,
    pub(crate) if_none_match: Option<ETagCondition>,
    pub(crate) if_modified_since: Option<Timestamp>,
    pub(crate) if_unmodified_since: Option<Timestamp>,
}

/// Takes the conditions for the source of a copy out of an s3s input.
macro_rules! copy_source_conditions {
    ($input:expr) => {
        $crate::conditions::ReadConditions {
            if_match: $input.copy_source_if_match.take(),
            if_none_match: $input.copy_source_if_none_match.take(),
            if_modified_since: $input.copy_source_if_modified_since.take(),
            if_unmodified_since: $input.copy_source_if_unmodified_since.take(),
        }
    };
}
pub(crate) use copy_source_conditions;

impl ReadConditions {
    /// Evaluates in the order of RFC 9110 section 13.2.2: an ETag takes precedence over a date.
    ///
    /// Errors: 412 if a precondition failed, 304 if the object has not changed.
    pub(crate) fn check(self, object: &Object) -> Result<(), S3Error> {
        // HTTP dates have whole seconds.
        let modified = object.modify_time.div_euclid(1000);
        let matched = match (&self.if_match, self.if_unmodified_since) {
            (Some(wanted), _) => matches(wanted, &object.etag),
            (None, Some(since)) => modified <= unix_seconds(since),
            (None, None) => true,
        };
        if !matched {
            return Err(precondition_failed());
        }
        let changed = match (&self.if_none_match, self.if_modified_since) {
            (Some(known), _) => !matches(known, &object.etag),
            (None, Some(since)) => modified > unix_seconds(since),
            (None, None) => true,
        };
        if changed { Ok(()) } else { Err(not_modified(object)) }
    }

    /// Like [`Self::check`] for the source of a copy, where S3 answers 412 instead of 304.
    pub(crate) fn check_copy_source(self, object: &Object) -> Result<(), S3Error> {
        self.check(object).map_err(|e| match e.code() {
            S3ErrorCode::NotModified => precondition_failed(),
            _ => e,
        })
    }
}

/// The conditions of a request that replaces or deletes an object.
#[derive(Clone, Default)]
pub(crate) struct WriteConditions {
    pub(crate) if_match: Option<ETagCondition>,
    pub(crate) if_none_match: Option<ETagCondition>,
}

impl WriteConditions {
    /// Evaluates against the ETag of the current object, if there is one.
    pub(crate) fn check(&self, current: Option<&str>) -> Result<(), S3Error> {
        match (&self.if_match, current) {
            (Some(_), None) => return Err(no_such_key()),
            (Some(wanted), Some(etag)) if !matches(wanted, etag) => return Err(precondition_failed()),
            _ => {}
        }
        match (&self.if_none_match, current) {
            (Some(known), Some(etag)) if matches(known, etag) => Err(precondition_failed()),
            _ => Ok(()),
        }
    }
}

/// True if the `Range` header applies: If-Range, if given, matches the current object.
pub(crate) fn range_applies(headers: &HeaderMap, object: &Object) -> bool {
    let Some(value) = headers.get(header::IF_RANGE).and_then(|v| v.to_str().ok()) else {
        return !headers.contains_key(header::IF_RANGE);
    };
    match Timestamp::parse(TimestampFormat::HttpDate, value) {
        Ok(date) => object.modify_time.div_euclid(1000) == unix_seconds(date),
        Err(_) => value.trim().strip_prefix('"').and_then(|v| v.strip_suffix('"')) == Some(&object.etag),
    }
}

/// True if one of the listed ETags is `etag`. s3s passes a list as one value that still contains the
/// quotes between its members.
fn matches(condition: &ETagCondition, etag: &str) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(given) => {
            given.value().split(',').any(|one| one.trim().trim_start_matches("W/").trim_matches('"') == etag)
        }
    }
}

fn precondition_failed() -> S3Error {
    s3_error!(PreconditionFailed, "At least one of the preconditions did not hold.")
}

/// 304 with the headers that RFC 9110 section 15.4.5 requires.
fn not_modified(object: &Object) -> S3Error {
    let mut headers = HeaderMap::new();
    if let Ok(etag) = ETag::Strong(object.etag.clone()).to_http_header() {
        headers.insert(header::ETAG, etag);
    }
    let mut date = Vec::new();
    if timestamp(object.modify_time).format(TimestampFormat::HttpDate, &mut date).is_ok()
        && let Ok(date) = HeaderValue::from_bytes(&date)
    {
        headers.insert(header::LAST_MODIFIED, date);
    }
    if let Some(cache) = &object.headers.cache_control
        && let Ok(cache) = HeaderValue::from_str(cache)
    {
        headers.insert(header::CACHE_CONTROL, cache);
    }
    let mut e = S3Error::new(S3ErrorCode::NotModified);
    e.set_status_code(StatusCode::NOT_MODIFIED);
    e.set_headers(headers);
    e
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(header: &str) -> ETagCondition {
        ETagCondition::parse_http_header(header.as_bytes()).unwrap()
    }

    #[test]
    fn matches_etag_single_listed_or_weak_returns_true() {
        assert!(matches(&tag("\"abc\""), "abc"));
        assert!(matches(&tag("W/\"abc\""), "abc"));
        assert!(matches(&tag("\"x\", \"abc\""), "abc"));
        assert!(matches(&tag("\"x\", W/\"abc\""), "abc"));
        assert!(matches(&tag("*"), "abc"));
    }

    #[test]
    fn matches_other_etag_returns_false() {
        assert!(!matches(&tag("\"abcd\""), "abc"));
    }

    #[test]
    fn write_check_if_none_match_any_rejects_existing_object() {
        let create_only = WriteConditions { if_none_match: Some(ETagCondition::Any), ..Default::default() };
        assert!(create_only.check(None).is_ok());
        assert_eq!(create_only.check(Some("a")).unwrap_err().code(), &S3ErrorCode::PreconditionFailed);
    }

    #[test]
    fn write_check_if_match_rejects_other_or_missing_object() {
        let same = WriteConditions { if_match: Some(tag("\"a\"")), ..Default::default() };
        assert!(same.check(Some("a")).is_ok());
        assert_eq!(same.check(Some("b")).unwrap_err().code(), &S3ErrorCode::PreconditionFailed);
        assert_eq!(same.check(None).unwrap_err().code(), &S3ErrorCode::NoSuchKey);
    }
}
