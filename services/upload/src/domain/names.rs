//! Names: of resources, files, objects and pages.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::UploadError;

const MAX_FILE_NAME: usize = 255;
const MAX_DISPLAY_NAME: usize = 200;
const MAX_REQUEST_ID: usize = 64;
const MAX_PAGE: i32 = 200;
const DEFAULT_PAGE: u64 = 50;

/// The id in `collection/{id}`; none where the name can't be one of ours.
pub(crate) fn id_of<'a>(collection: &str, name: &'a str) -> Option<&'a str> {
    let id = name.strip_prefix(collection)?.strip_prefix('/')?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (!id.is_empty() && id.len() <= 64 && id.bytes().all(plain)).then_some(id)
}

/// A new id: ordered by time, so that rows made together lie together.
pub(crate) fn new_id() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

/// Key of an uploaded file. Names that people gave never become part of a key.
pub(crate) fn source_key(video: &str, upload: &str) -> String {
    format!("{}{upload}", source_prefix(video))
}

/// What the keys of a video's uploaded files begin with.
pub(crate) fn source_prefix(video: &str) -> String {
    format!("sources/{video}/")
}

/// What the keys of a video's outputs begin with.
pub(crate) fn output_prefix(video: &str) -> String {
    format!("outputs/{video}/")
}

/// The file's own name: the last component, without characters that don't show or that reorder text.
pub(crate) fn file_name(given: &str) -> Result<String, UploadError> {
    let last = given.rsplit(['/', '\\']).next().unwrap_or_default();
    let name = visible(last);
    match name.chars().count() {
        0 => Err(UploadError::field("file_name", "must name a file")),
        count if count > MAX_FILE_NAME => {
            Err(UploadError::field("file_name", format!("must be at most {MAX_FILE_NAME} characters")))
        }
        _ => Ok(name),
    }
}

/// The title; the file's name serves where there is none.
pub(crate) fn display_name(given: &str, file_name: &str) -> Result<String, UploadError> {
    let name = visible(given);
    if name.is_empty() {
        return Ok(file_name.chars().take(MAX_DISPLAY_NAME).collect());
    }
    if name.chars().count() > MAX_DISPLAY_NAME {
        return Err(UploadError::field(
            "display_name",
            format!("must be at most {MAX_DISPLAY_NAME} characters"),
        ));
    }
    Ok(name)
}

/// The idempotency key, if there is one.
pub(crate) fn request_id(given: &str) -> Result<Option<String>, UploadError> {
    if given.chars().count() > MAX_REQUEST_ID || given.chars().any(char::is_control) {
        return Err(UploadError::field(
            "request_id",
            format!("must be at most {MAX_REQUEST_ID} printable characters"),
        ));
    }
    Ok((!given.is_empty()).then(|| given.to_owned()))
}

fn visible(text: &str) -> String {
    let hidden = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let kept: String = text.chars().filter(|c| !hidden(*c)).collect();
    kept.trim().to_owned()
}

/// How many rows a page has.
pub(crate) fn page_size(asked: i32) -> Result<u64, UploadError> {
    match asked {
        0 => Ok(DEFAULT_PAGE),
        asked => u64::try_from(asked.min(MAX_PAGE))
            .map_err(|_| UploadError::field("page_size", "must not be negative")),
    }
}

/// Cuts rows, of which one more than a page was asked for, to the page; answers the next page's token, empty
/// where nothing follows.
pub(crate) fn end_page<R>(rows: &mut Vec<R>, size: u64, cursor: impl Fn(&R) -> Cursor) -> String {
    let more = rows.len() as u64 > size;
    rows.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    rows.last().filter(|_| more).map(|last| cursor(last).to_token()).unwrap_or_default()
}

/// Where a page begins: after the row made at this time with this id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub create_time: i64,
    pub id: String,
}

impl Cursor {
    pub(crate) fn to_token(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}:{}", self.create_time, self.id))
    }

    pub(crate) fn from_token(token: &str) -> Result<Option<Self>, UploadError> {
        if token.is_empty() {
            return Ok(None);
        }
        let read = || {
            let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
            let text = String::from_utf8(bytes).ok()?;
            let (time, id) = text.split_once(':')?;
            Some(Self { create_time: time.parse().ok()?, id: id.to_owned() })
        };
        read().map(Some).ok_or(UploadError::PageTokenInvalid)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_name_is_never_a_path() {
        assert_eq!(file_name("../../etc/passwd").unwrap(), "passwd");
        assert_eq!(file_name("C:\\videos\\my clip.mp4").unwrap(), "my clip.mp4");
        assert_eq!(file_name("a\u{202e}4pm.exe\n").unwrap(), "a4pm.exe");
        for bad in ["", "/", "folder/", "\n\t", &"x".repeat(256)] {
            assert!(file_name(bad).is_err(), "{bad:?}");
        }
        assert_eq!(display_name("  ", "clip.mp4").unwrap(), "clip.mp4");
        assert!(display_name(&"é".repeat(201), "clip.mp4").is_err());
    }

    #[test]
    fn names_of_others_shapes_are_none() {
        assert_eq!(id_of("videos", "videos/0192abc"), Some("0192abc"));
        for bad in ["videos/", "video/1", "videos/a/b", "videos/../x", "uploads/1", "videos/A", ""] {
            assert_eq!(id_of("videos", bad), None, "{bad}");
        }
    }

    #[test]
    fn pages() {
        assert_eq!(page_size(0).unwrap(), 50);
        assert_eq!(page_size(1000).unwrap(), 200);
        assert!(page_size(-1).is_err());
        assert!(Cursor::from_token("nonsense!").is_err());
        assert!(Cursor::from_token("bm9uc2Vuc2U").is_err());
    }

    proptest! {
        #[test]
        fn a_cursor_survives_its_token(create_time: i64, id in "[0-9a-f]{32}") {
            let cursor = Cursor { create_time, id };
            prop_assert_eq!(Cursor::from_token(&cursor.to_token()).unwrap(), Some(cursor));
        }

        #[test]
        fn any_file_name_is_refused_or_plain(given in ".{0,300}") {
            if let Ok(name) = file_name(&given) {
                prop_assert!(!name.is_empty() && name.chars().count() <= 255);
                prop_assert!(!name.contains(['/', '\\']) && !name.chars().any(char::is_control));
            }
        }
    }
}
