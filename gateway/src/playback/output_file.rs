//! HTTP metadata of an output, derived from its name.

use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything except `attr-char` of RFC 5987 is percent-encoded in `filename*`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Length limit of a download's file name.
const MAX_DOWNLOAD_NAME_CHARS: usize = 200;
/// Segments, files and images never change.
const IMMUTABLE_CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Playlists and text tracks may grow while their video is being encoded. Players poll them every few seconds; one
/// second lets a cache answer many of them at once. Complete ones have a longer `Cache-Control` stored with the object.
const GROWING_CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=1, must-revalidate");

/// An output file of a video.
#[derive(Debug)]
pub(super) struct OutputFile {
    pub content_type: HeaderValue,
    pub cache_control: HeaderValue,
    /// Set if the client asks to save the file.
    pub disposition: Option<HeaderValue>,
}

impl OutputFile {
    /// The output with a name below a signed prefix. `None` for a name that no output can have. The query
    /// `download=NAME` asks to save it under that name.
    pub(super) fn named(name: &str, query: Option<&str>) -> Option<Self> {
        if !is_output_name(name) {
            return None;
        }
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        // Ids of audio renditions begin with `audio` (`crates/media/src/plan/renditions.rs`). They name the folder of
        // the segments (`track_upload.rs` of the worker: `audio-0/seg_00001.m4s`) and the MP4 of a rendition.
        let audio = name.split('/').any(|part| part.starts_with("audio"));
        let content_type = match extension {
            "m3u8" => "application/vnd.apple.mpegurl",
            "mpd" => "application/dash+xml",
            "m4s" | "mp4" if audio => "audio/mp4",
            "m4s" | "mp4" => "video/mp4",
            "m4a" => "audio/mp4",
            "jpg" | "jpeg" => "image/jpeg",
            "png" => "image/png",
            "vtt" => "text/vtt; charset=utf-8",
            _ => "application/octet-stream",
        };
        Some(Self {
            content_type: HeaderValue::from_static(content_type),
            cache_control: if matches!(extension, "m3u8" | "mpd" | "vtt") {
                GROWING_CACHE_CONTROL
            } else {
                IMMUTABLE_CACHE_CONTROL
            },
            disposition: query.and_then(download_name).and_then(|name| attachment(&name)),
        })
    }
}

/// Whether the name has only folders of letters, digits, `-`, `_` and `.`: nothing that leaves the prefix or is
/// ambiguous.
fn is_output_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.len() <= 512
        && name.split('/').all(|part| !matches!(part, "" | "." | "..") && part.bytes().all(allowed))
}

/// Whether a `Range` is one range of bytes. Object stores differ in how they handle several, so those are ignored.
pub(super) fn is_single_range(range: &str) -> bool {
    range.strip_prefix("bytes=").is_some_and(|range| range.contains('-') && !range.contains(','))
}

fn download_name(query: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let (_, name) = pairs.find(|(key, _)| key == "download")?;
    let plain = name.chars().filter(|char| !char.is_control() && !"/\\".contains(*char));
    let name: String = plain.take(MAX_DOWNLOAD_NAME_CHARS).collect();
    Some(if name.trim().is_empty() { "video.mp4".to_owned() } else { name })
}

/// `Content-Disposition` with an ASCII fallback for old clients and the full name (RFC 6266, appendix D).
fn attachment(name: &str) -> Option<HeaderValue> {
    let plain = |char: char| char.is_ascii_graphic() && !"\"%;".contains(char) || char == ' ';
    let fallback: String = name.chars().map(|char| if plain(char) { char } else { '_' }).collect();
    let full = utf8_percent_encode(name, ENCODED);
    HeaderValue::from_str(&format!("attachment; filename=\"{fallback}\"; filename*=UTF-8''{full}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_output_name_rejects_names_that_leave_the_prefix() {
        for good in ["job/1/master.m3u8", "job/1.2.3/720p/seg_00001.m4s", "job/1.2.3/audio-0/init.mp4"] {
            assert!(is_output_name(good), "{good}");
        }
        let bad = ["", "/", "a//b", "../a", "a/..", "./a", "a%2fb", "a%2e%2e", "a b", "a\\b", "ä", "a/"];
        for bad in bad {
            assert!(!is_output_name(bad), "{bad}");
        }
    }

    #[test]
    fn named_sets_content_type_by_extension_and_folder() {
        let of = |name| OutputFile::named(name, None).unwrap();
        assert_eq!(of("master.m3u8").content_type, "application/vnd.apple.mpegurl");
        assert_eq!(of("1/manifest.mpd").content_type, "application/dash+xml");
        assert_eq!(of("1/thumbnails.vtt").content_type, "text/vtt; charset=utf-8");
        for audio in ["1/3/audio-0/seg_00001.m4s", "1/3/audio-0/init.mp4", "1/3/audio-0.mp4", "1/sound.m4a"] {
            assert_eq!(of(audio).content_type, "audio/mp4", "{audio}");
        }
        assert_eq!(of("1/3/720p/seg_00001.m4s").content_type, "video/mp4");
        assert_eq!(of("poster.jpg").content_type, "image/jpeg");
    }

    #[test]
    fn named_sets_cache_control_by_extension() {
        let of = |name| OutputFile::named(name, None).unwrap();
        for fixed in ["720p/init.mp4", "1/2/720p/seg_00001.m4s", "1/2/sheet-0.jpg", "1/2/720p.mp4"] {
            assert_eq!(of(fixed).cache_control, IMMUTABLE_CACHE_CONTROL, "{fixed}");
        }
        for growing in ["720p/index.m3u8", "1/master.m3u8", "1/manifest.mpd", "1/thumbnails.vtt"] {
            assert_eq!(of(growing).cache_control, GROWING_CACHE_CONTROL, "{growing}");
        }
    }

    #[test]
    fn named_with_a_hostile_download_name_escapes_it() {
        let disposition = |query| OutputFile::named("a.mp4", Some(query)).unwrap().disposition.unwrap();
        assert_eq!(
            disposition("download=%C3%9Cb%22er%0d%0a.mp4"),
            "attachment; filename=\"_b_er.mp4\"; filename*=UTF-8''%C3%9Cb%22er.mp4"
        );
        assert_eq!(
            disposition("download=..%2F..%2Fetc"),
            "attachment; filename=\"....etc\"; filename*=UTF-8''....etc"
        );
        assert!(disposition("download=").to_str().unwrap().contains("video.mp4"));
        assert!(OutputFile::named("a.mp4", Some("other=1")).unwrap().disposition.is_none());
    }

    #[test]
    fn is_single_range_rejects_several_ranges_and_other_units() {
        assert!(is_single_range("bytes=0-99") && is_single_range("bytes=-5") && is_single_range("bytes=5-"));
        assert!(
            !is_single_range("bytes=0-1,3-4") && !is_single_range("items=0-1") && !is_single_range("bytes=x")
        );
    }
}
