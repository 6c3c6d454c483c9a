//! Timeouts of calls: `grpc-timeout` from clients, [`headers::DEADLINE`] between roles.

use std::time::Duration;

use http::HeaderMap;

use crate::headers;

/// Timeout of a unary call, or of opening a stream, if the caller sets none.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Removes `grpc-timeout` from a request's headers and returns it. A malformed one counts as none, which the gRPC
/// specification allows.
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

/// Sets the timeout for the role that is called.
pub(crate) fn set(headers: &mut HeaderMap, timeout: Duration) {
    let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    headers.insert(headers::DEADLINE, http::HeaderValue::from(millis));
}

/// The timeout that the calling role set.
pub(crate) fn read(headers: &HeaderMap) -> Option<Duration> {
    headers.get(headers::DEADLINE)?.to_str().ok()?.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn take_grpc_timeout_reads_every_unit_of_the_specification() {
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
    }

    #[test]
    fn take_grpc_timeout_of_a_malformed_value_is_none() {
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
