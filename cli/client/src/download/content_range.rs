//! The `Content-Range` header.

use reqwest::{Response, header::CONTENT_RANGE};

/// First byte and total size of a response's `Content-Range: bytes START-END/TOTAL`.
pub fn content_range(response: &Response) -> Option<(u64, u64)> {
    parse(response.headers().get(CONTENT_RANGE)?.to_str().ok()?)
}

fn parse(header: &str) -> Option<(u64, u64)> {
    let (range, total) = header.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_byte_range_returns_start_and_total() {
        assert_eq!(parse("bytes 5-9/10"), Some((5, 10)));
    }

    #[test]
    fn parse_incomplete_range_returns_none() {
        for header in ["bytes */10", "bytes 5-9/*", "items 5-9/10", ""] {
            assert_eq!(parse(header), None, "{header}");
        }
    }
}
