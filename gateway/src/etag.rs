//! Comparison of ETags.

/// Whether an `If-None-Match` header matches an ETag. The comparison is weak (RFC 9110 section 13.1.2).
pub(crate) fn matches_etag(if_none_match: &str, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    if_none_match.trim() == "*" || if_none_match.split(',').any(|tag| opaque(tag) == opaque(etag))
}

/// Whether an `If-None-Match` header is one strong ETag: not a list, not `*`, not weak.
pub(crate) fn is_strong_etag(if_none_match: &str) -> bool {
    let opaque = if_none_match.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    opaque.is_some_and(|opaque| !opaque.contains('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_etag_compares_weakly() {
        assert!(matches_etag("\"a\", W/\"b\"", "\"b\""));
        assert!(matches_etag("*", "\"b\""));
        assert!(!matches_etag("\"a\"", "\"b\""));
    }

    #[test]
    fn is_strong_etag_rejects_lists_wildcards_and_weak_etags() {
        assert!(is_strong_etag("\"a\"") && is_strong_etag("\"a,b\"") && is_strong_etag("\"\""));
        for other in ["\"a\", \"b\"", "*", "W/\"a\"", "a", "\"", ""] {
            assert!(!is_strong_etag(other), "{other}");
        }
    }
}
