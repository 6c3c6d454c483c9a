//! Conversions between S3's timestamps and Unix time.

use s3s::dto::Timestamp;
use time::OffsetDateTime;

/// Unix seconds of an S3 timestamp.
pub(crate) fn unix_seconds(at: Timestamp) -> i64 {
    OffsetDateTime::from(at).unix_timestamp()
}

/// The S3 timestamp of Unix milliseconds.
pub(crate) fn timestamp(unix_millis: i64) -> Timestamp {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_millis) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .into()
}

/// The current time in Unix milliseconds.
pub(crate) fn now_millis() -> i64 {
    (OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000) as i64
}
