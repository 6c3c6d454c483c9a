//! Charset detection for text whose container does not state it.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::Encoding;

/// Decodes text line by line: as UTF-8 if a line is valid, otherwise in the charset that all the other lines are likely in.
/// Also returns the number of lines that are invalid in it, too.
pub(super) fn decode(bytes: &[u8]) -> (String, usize) {
    if let Ok(text) = str::from_utf8(bytes) {
        return (text.to_owned(), 0);
    }
    let lines = || bytes.split_inclusive(|&byte| byte == b'\n');
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    for line in lines().filter(|line| str::from_utf8(line).is_err()) {
        detector.feed(line, false);
    }
    detector.feed(&[], true);
    let encoding: &'static Encoding = detector.guess(None, Utf8Detection::Deny);
    let (mut text, mut undecodable) = (String::with_capacity(bytes.len() * 2), 0);
    for line in lines() {
        if let Ok(line) = str::from_utf8(line) {
            text.push_str(line);
            continue;
        }
        let (decoded, had_errors) = encoding.decode_without_bom_handling(line);
        text.push_str(&decoded);
        undecodable += usize::from(had_errors);
    }
    (text, undecodable)
}
