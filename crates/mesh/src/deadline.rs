//! How long a call may take: `grpc-timeout` outside the mesh, [`headers::DEADLINE`] inside.

use std::time::Duration;

use http::HeaderMap;

use crate::headers;

/// What a unary call, or the opening of a stream, may take where its caller named no bound.
pub const DEFAULT: Duration = Duration::from_secs(60);

/// Takes `grpc-timeout` out of a request's headers. One that can't be read counts as none, as the
/// gRPC specification lets a server do.
pub fn take_grpc_timeout(headers: &mut HeaderMap) -> Option<Duration> {
    let value = headers.remove("grpc-timeout")?;
    let (digits, unit) = value.to_str().ok()?.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// Writes the bound for the next role.
pub fn put(headers: &mut HeaderMap, bound: Duration) {
    let millis = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
    headers.insert(headers::DEADLINE, http::HeaderValue::from(millis));
}

/// The bound that a role before this one set.
pub(crate) fn read(headers: &HeaderMap) -> Option<Duration> {
    headers.get(headers::DEADLINE)?.to_str().ok()?.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_the_specification() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            let timeout = take_grpc_timeout(&mut headers);
            assert!(headers.is_empty());
            timeout
        };
        assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for bad in ["", "S", "1", "123456789S", "-1S", "1x", "é"] {
            assert_eq!(bad.parse::<http::HeaderValue>().ok().and(read_bytes(bad)), None, "{bad}");
        }
    }

    fn read_bytes(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", http::HeaderValue::from_bytes(text.as_bytes()).unwrap());
        take_grpc_timeout(&mut headers)
    }
}
