//! Conditional requests: If-Match and its kin, for readers and for writers.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use s3s::dto::{ETag, ETagCondition, Timestamp, TimestampFormat};
use s3s::{S3Error, S3ErrorCode, s3_error};

use crate::headers::{timestamp, unix_seconds};
use crate::index::Object;

/// What a reader asks of the object before it wants it.
#[derive(Default)]
pub(crate) struct ReadConditions {
    pub(crate) if_match: Option<ETagCondition>,
    pub(crate) if_none_match: Option<ETagCondition>,
    pub(crate) if_modified_since: Option<Timestamp>,
    pub(crate) if_unmodified_since: Option<Timestamp>,
}

impl ReadConditions {
    /// Checks in the order of RFC 9110 section 13.2.2: an ETag outweighs a date.
    pub(crate) fn check(self, object: &Object) -> Result<(), S3Error> {
        // HTTP dates have whole seconds.
        let modified = object.modified.div_euclid(1000);
        let held = match (&self.if_match, self.if_unmodified_since) {
            (Some(wanted), _) => matches(wanted, &object.etag),
            (None, Some(since)) => modified <= unix_seconds(since),
            (None, None) => true,
        };
        if !held {
            return Err(s3_error!(PreconditionFailed, "At least one of the preconditions did not hold."));
        }
        let changed = match (&self.if_none_match, self.if_modified_since) {
            (Some(known), _) => !matches(known, &object.etag),
            (None, Some(since)) => modified > unix_seconds(since),
            (None, None) => true,
        };
        if changed { Ok(()) } else { Err(not_modified(object)) }
    }

    /// The same for the source of a copy, where S3 has no "not modified".
    pub(crate) fn check_copy_source(self, object: &Object) -> Result<(), S3Error> {
        self.check(object).map_err(|e| match e.code() {
            S3ErrorCode::NotModified => {
                s3_error!(PreconditionFailed, "At least one of the preconditions did not hold.")
            }
            _ => e,
        })
    }
}

/// What a writer asks of the object that it is about to replace or delete.
#[derive(Clone, Default)]
pub(crate) struct WriteConditions {
    pub(crate) if_match: Option<ETagCondition>,
    pub(crate) if_none_match: Option<ETagCondition>,
}

impl WriteConditions {
    /// Checks against the ETag of the object that is there now, if any.
    pub(crate) fn check(&self, current: Option<&str>) -> Result<(), S3Error> {
        let refused = || s3_error!(PreconditionFailed, "At least one of the preconditions did not hold.");
        match (&self.if_match, current) {
            (Some(_), None) => return Err(s3_error!(NoSuchKey, "The specified key does not exist.")),
            (Some(wanted), Some(etag)) if !matches(wanted, etag) => return Err(refused()),
            _ => {}
        }
        match (&self.if_none_match, current) {
            (Some(known), Some(etag)) if matches(known, etag) => Err(refused()),
            _ => Ok(()),
        }
    }
}

/// Whether a `Range` still counts: If-Range must name the object as it is now.
pub(crate) fn range_applies(headers: &HeaderMap, object: &Object) -> bool {
    let Some(value) = headers.get(header::IF_RANGE).and_then(|v| v.to_str().ok()) else {
        return !headers.contains_key(header::IF_RANGE);
    };
    match Timestamp::parse(TimestampFormat::HttpDate, value) {
        Ok(date) => object.modified.div_euclid(1000) == unix_seconds(date),
        Err(_) => value.trim().strip_prefix('"').and_then(|v| v.strip_suffix('"')) == Some(&object.etag),
    }
}

/// True if one of the listed ETags is the object's. s3s hands over a list as one value, with the
/// quotes between its members still inside.
fn matches(condition: &ETagCondition, etag: &str) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(given) => {
            given.value().split(',').any(|one| one.trim().trim_start_matches("W/").trim_matches('"') == etag)
        }
    }
}

/// 304 with the headers that RFC 9110 section 15.4.5 wants on it.
fn not_modified(object: &Object) -> S3Error {
    let mut headers = HeaderMap::new();
    if let Ok(etag) = ETag::Strong(object.etag.clone()).to_http_header() {
        headers.insert(header::ETAG, etag);
    }
    let mut date = Vec::new();
    if timestamp(object.modified).format(TimestampFormat::HttpDate, &mut date).is_ok()
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
    fn etags_match_alone_in_lists_and_weakly() {
        assert!(matches(&tag("\"abc\""), "abc"));
        assert!(matches(&tag("W/\"abc\""), "abc"));
        assert!(matches(&tag("\"x\", \"abc\""), "abc"));
        assert!(matches(&tag("\"x\", W/\"abc\""), "abc"));
        assert!(matches(&tag("*"), "abc"));
        assert!(!matches(&tag("\"abcd\""), "abc"));
    }

    #[test]
    fn writers_see_what_is_there() {
        let absent = WriteConditions { if_none_match: Some(ETagCondition::Any), ..Default::default() };
        assert!(absent.check(None).is_ok());
        assert_eq!(absent.check(Some("a")).unwrap_err().code(), &S3ErrorCode::PreconditionFailed);
        let same = WriteConditions { if_match: Some(tag("\"a\"")), ..Default::default() };
        assert!(same.check(Some("a")).is_ok());
        assert_eq!(same.check(Some("b")).unwrap_err().code(), &S3ErrorCode::PreconditionFailed);
        assert_eq!(same.check(None).unwrap_err().code(), &S3ErrorCode::NoSuchKey);
    }
}
