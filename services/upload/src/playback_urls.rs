//! Signed playback and download URLs of the gateway. The token is a path segment, so that relative URLs in playlists
//! are covered by it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reelmill_platform::{
    clock::{Clock, duration_millis},
    signed_path::PrefixSigner,
};

use crate::{
    db::VideoDetail,
    domain::object_key::{output_prefix, path_in_outputs},
};

/// Signs playback URLs.
#[derive(Clone)]
pub(crate) struct PlaybackUrls {
    pub signer: PrefixSigner,
    pub clock: Clock,
    /// Base of the URLs. `None`: the origin of each request.
    pub public_url: Option<Arc<str>>,
    pub default_ttl: Duration,
}

/// Permission to read the outputs of one video until a time.
pub(crate) struct PlaybackGrant {
    video: String,
    /// URL up to and including the token.
    base: String,
    /// Unix milliseconds.
    pub expire_time: i64,
}

impl PlaybackUrls {
    /// Grants access to a video's outputs for `ttl`, or for the default lifetime.
    pub(crate) fn grant(&self, video: &str, ttl: Option<Duration>, origin: Option<&str>) -> PlaybackGrant {
        let expire_time = self.clock.now_millis() + duration_millis(ttl.unwrap_or(self.default_ttl));
        let expire_seconds = u64::try_from(expire_time / 1000).unwrap_or_default();
        let token = self.signer.sign(&output_prefix(video), expire_seconds);
        let host = self.public_url.as_deref().or(origin).unwrap_or_default().trim_end_matches('/');
        PlaybackGrant { video: video.to_owned(), base: format!("{host}/play/{token}"), expire_time }
    }
}

impl PlaybackGrant {
    /// URL of an output. Empty if there is no key, or it is not an output of the video.
    pub(crate) fn url(&self, key: Option<&str>) -> String {
        let path = key.and_then(|key| path_in_outputs(&self.video, key));
        path.map(|path| format!("{}/{path}", self.base)).unwrap_or_default()
    }

    /// URLs of the progressive MP4s by rendition id. Browsers save them under the video's title.
    pub(crate) fn download_urls(&self, detail: &VideoDetail) -> HashMap<String, String> {
        let title = file_stem(&detail.video.display_name);
        let renditions = detail.renditions.iter().filter_map(|rendition| {
            let url = self.url(Some(rendition.download_key.as_deref()?));
            let file_name = format!("{title}-{}.mp4", rendition.rendition_id);
            let file_name = utf8_percent_encode(&file_name, NON_ALPHANUMERIC);
            Some((rendition.rendition_id.clone(), format!("{url}?download={file_name}")))
        });
        renditions.collect()
    }
}

/// The title as a file name without extension. Path separators and characters that are invalid in headers or on Windows
/// become `_`.
fn file_stem(title: &str) -> String {
    const MAX_CHARS: usize = 100;
    let stem = match title.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && extension.len() <= 5 && !extension.contains(' ') => {
            stem
        }
        _ => title,
    };
    let replace = |c: char| if c.is_control() || r#"/\":*?<>|"#.contains(c) { '_' } else { c };
    stem.chars().map(replace).take(MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::file_stem;

    #[test]
    fn file_stem_drops_extension_and_replaces_invalid_characters() {
        assert_eq!(file_stem("holiday.mov"), "holiday");
        assert_eq!(file_stem("Version 1. The end"), "Version 1. The end");
        assert_eq!(file_stem("a/b\"c"), "a_b_c");
        assert_eq!(file_stem(".mp4"), ".mp4");
    }
}
