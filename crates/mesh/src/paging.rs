//! Pagination of list methods (AIP-158): page size, opaque page token, keyset cursor.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reelmill_proto::Reason;

use crate::status::RpcError;

/// Rows of a page when the request names no size.
pub const DEFAULT_PAGE_SIZE: u64 = 50;
/// Largest page; larger sizes are reduced to it.
pub const MAX_PAGE_SIZE: u64 = 200;
const MAX_ID_BYTES: usize = 64;

/// The requested page: how many rows, and after which one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    list: &'static str,
    size: u64,
    /// Position of the previous page's last row; `None` for the first page.
    pub after: Option<Cursor>,
}

/// Position in a list that is sorted by creation time, then id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Creation time of the row, Unix milliseconds.
    pub create_time: i64,
    /// Id of the row: 1 to 64 ASCII letters and digits.
    pub id: String,
}

/// Why a page request is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// `page_size` is negative.
    #[error("must not be negative")]
    SizeNegative,
    /// `page_token` was not returned by the same method.
    #[error("must be the next_page_token of a previous response of this method")]
    TokenInvalid,
}

impl Page {
    /// Parses `page_size` (0 means [`DEFAULT_PAGE_SIZE`]) and `page_token` (empty for the first page). A token of another list
    /// is invalid; `list` is its name, which has no `:`.
    pub fn parse(list: &'static str, page_size: i32, page_token: &str) -> Result<Self, PageError> {
        let size = match u64::try_from(page_size).map_err(|_| PageError::SizeNegative)? {
            0 => DEFAULT_PAGE_SIZE,
            size => size.min(MAX_PAGE_SIZE),
        };
        let after = match page_token {
            "" => None,
            token => Some(Cursor::parse(list, token).ok_or(PageError::TokenInvalid)?),
        };
        Ok(Self { list, size, after })
    }

    /// Rows to query: one more than the page has, which shows whether another page follows.
    pub fn query_limit(&self) -> u64 {
        self.size + 1
    }

    /// Removes the extra row, if there is one, and returns `next_page_token`: empty on the last page.
    pub fn finish<Row>(&self, rows: &mut Vec<Row>, cursor: impl Fn(&Row) -> Cursor) -> String {
        let has_more = rows.len() as u64 > self.size;
        rows.truncate(usize::try_from(self.size).unwrap_or(usize::MAX));
        rows.last().filter(|_| has_more).map(|last| cursor(last).to_token(self.list)).unwrap_or_default()
    }
}

impl Cursor {
    /// Creation time (Unix milliseconds) and id.
    pub fn position(&self) -> (i64, &str) {
        (self.create_time, &self.id)
    }

    fn to_token(&self, list: &str) -> String {
        URL_SAFE_NO_PAD.encode(format!("{list}:{}:{}", self.create_time, self.id))
    }

    fn parse(list: &str, token: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let (create_time, id) = text.strip_prefix(list)?.strip_prefix(':')?.split_once(':')?;
        let is_id = (1..=MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric());
        Some(Self { create_time: create_time.parse().ok()?, id: is_id.then(|| id.to_owned())? })
    }
}

impl From<PageError> for RpcError {
    fn from(error: PageError) -> Self {
        match error {
            PageError::SizeNegative => Self::field(Reason::FieldInvalid, "page_size", error.to_string()),
            PageError::TokenInvalid => Self::field(Reason::PageTokenInvalid, "page_token", error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parse_applies_default_and_maximum_size() {
        assert_eq!(Page::parse("videos", 0, "").unwrap().query_limit(), 51);
        assert_eq!(Page::parse("videos", 7, "").unwrap().query_limit(), 8);
        assert_eq!(Page::parse("videos", 1000, "").unwrap().query_limit(), 201);
    }

    #[test]
    fn parse_negative_size_returns_error() {
        assert_eq!(Page::parse("videos", -1, ""), Err(PageError::SizeNegative));
    }

    #[test]
    fn parse_invalid_token_returns_error() {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let of_another_list = Cursor { create_time: 1, id: "a".to_owned() }.to_token("jobs");
        let tokens = [encode("videos:1:a\0"), encode("videos:1:"), encode("1:a"), of_another_list];
        assert!(Page::parse("videos", 1, &encode("videos:1:a")).is_ok());
        for token in tokens.iter().map(String::as_str).chain(["nonsense!", "bm9uc2Vuc2U"]) {
            assert_eq!(Page::parse("videos", 1, token), Err(PageError::TokenInvalid), "{token}");
        }
    }

    #[test]
    fn finish_returns_token_only_if_another_page_follows() {
        let page = Page::parse("videos", 2, "").unwrap();
        let cursor = |id: &u8| Cursor { create_time: 5, id: id.to_string() };
        let mut rows = vec![1, 2, 3];
        let token = page.finish(&mut rows, cursor);
        assert_eq!(rows, [1, 2]);
        assert_eq!(Page::parse("videos", 2, &token).unwrap().after, Some(cursor(&2)));
        assert_eq!(page.finish(&mut vec![3], cursor), "");
        assert_eq!(page.finish(&mut vec![3, 4], cursor), "");
    }

    proptest! {
        #[test]
        fn parse_token_of_cursor_returns_the_cursor(create_time: i64, id in "[0-9a-f]{32}") {
            let cursor = Cursor { create_time, id };
            prop_assert_eq!(Page::parse("videos", 1, &cursor.to_token("videos")).unwrap().after, Some(cursor));
        }
    }
}
