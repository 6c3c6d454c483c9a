//! Untrusted text in playlists: URLs and names.

/// The longest display name of a track, characters.
const MAX_NAME_CHARS: usize = 80;

/// A relative URL with every character that RFC 3986 does not allow percent-encoded, so that it contains no quote or line
/// break.
pub(super) fn escape_uri(uri: &str) -> String {
    let mut text = String::with_capacity(uri.len());
    for byte in uri.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/!$&()*+,;=:@%?".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// A name from the source in a form that is safe to display. Quotes and control characters would end a playlist's
/// attribute, braces are read as variables, and some characters reverse or hide text.
pub(super) fn display_name(name: &str) -> String {
    let plain = |c: char| match c {
        '"' => '\'',
        '{' => '(',
        '}' => ')',
        '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => ' ',
        '\u{feff}' | '\u{fffe}' | '\u{ffff}' => ' ',
        c if c.is_control() => ' ',
        c => c,
    };
    let spaced: String = name.chars().map(plain).collect();
    let joined = spaced.split_whitespace().collect::<Vec<_>>().join(" ");
    joined.chars().take(MAX_NAME_CHARS).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{display_name, escape_uri};

    #[test]
    fn names_and_uris_are_sanitised() {
        assert_eq!(
            display_name(" Director's \"cut\"\r\n#EXT-X-ENDLIST {$a}\u{0}"),
            "Director's 'cut' #EXT-X-ENDLIST ($a)"
        );
        assert_eq!(display_name("a\u{202e}b\u{85}c\u{2028}d"), "a b c d");
        assert_eq!(display_name(&"é".repeat(300)).chars().count(), 80);
        assert_eq!(escape_uri("3f2a.1/720p/seg_00001.m4s"), "3f2a.1/720p/seg_00001.m4s");
        assert_eq!(escape_uri("a b\n\"#<é"), "a%20b%0A%22%23%3C%C3%A9");
    }
}
