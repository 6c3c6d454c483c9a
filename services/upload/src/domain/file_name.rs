//! File names and titles given by users.

use crate::error::UploadError;

const MAX_FILE_NAME_CHARS: usize = 255;
const MAX_DISPLAY_NAME_CHARS: usize = 200;

/// Parses a file name: the last path component, without invisible characters.
pub(crate) fn parse(path: &str) -> Result<String, UploadError> {
    let name = without_invisible(path.rsplit(['/', '\\']).next().unwrap_or_default());
    match name.chars().count() {
        0 => Err(UploadError::field("file_name", "must name a file")),
        1..=MAX_FILE_NAME_CHARS => Ok(name),
        _ => {
            Err(UploadError::field("file_name", format!("must be at most {MAX_FILE_NAME_CHARS} characters")))
        }
    }
}

/// Parses a title, which defaults to the file name.
pub(crate) fn parse_display_name(display_name: &str, file_name: &str) -> Result<String, UploadError> {
    let name = without_invisible(display_name);
    match name.chars().count() {
        0 => Ok(file_name.chars().take(MAX_DISPLAY_NAME_CHARS).collect()),
        1..=MAX_DISPLAY_NAME_CHARS => Ok(name),
        _ => {
            let message = format!("must be at most {MAX_DISPLAY_NAME_CHARS} characters");
            Err(UploadError::field("display_name", message))
        }
    }
}

/// Removes surrounding white space, control characters and bidirectional overrides, which reorder text.
fn without_invisible(text: &str) -> String {
    let is_invisible =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let visible: String = text.chars().filter(|c| !is_invisible(*c)).collect();
    visible.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parse_removes_folders_and_invisible_characters() {
        assert_eq!(parse("../../etc/passwd").unwrap(), "passwd");
        assert_eq!(parse("C:\\videos\\my clip.mp4").unwrap(), "my clip.mp4");
        assert_eq!(parse("a\u{202e}4pm.exe\n").unwrap(), "a4pm.exe");
    }

    #[test]
    fn parse_empty_or_long_name_returns_error() {
        for path in ["", "/", "folder/", "\n\t", &"x".repeat(256)] {
            assert!(parse(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn parse_display_name_defaults_to_file_name_and_limits_length() {
        assert_eq!(parse_display_name("  ", "clip.mp4").unwrap(), "clip.mp4");
        assert!(parse_display_name(&"é".repeat(201), "clip.mp4").is_err());
    }

    proptest! {
        #[test]
        fn parse_any_text_returns_error_or_plain_name(path in ".{0,300}") {
            if let Ok(name) = parse(&path) {
                prop_assert!(!name.is_empty() && name.chars().count() <= 255);
                prop_assert!(!name.contains(['/', '\\']) && !name.chars().any(char::is_control));
            }
        }
    }
}
