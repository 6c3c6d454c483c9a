//! Addresses to play and download at: the gateway's, signed, with the token in the path so that what playlists
//! name relative to themselves is covered by it.

use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reelmill_proto::transcode::Rendition;

use crate::{
    core::{Core, millis},
    domain::{names, video::below_prefix},
    store::video_row,
};

/// Leave to read the outputs of one video for a while.
pub(crate) struct Pass {
    /// Everything before an output's path.
    base: String,
    /// When it ends, Unix milliseconds.
    pub expire_time: i64,
}

impl Core {
    /// Signs a pass for a video's outputs.
    pub(crate) fn pass(&self, video: &str, ttl: Duration, origin: Option<&str>) -> Pass {
        let expire_time = self.now() + millis(ttl);
        let seconds = u64::try_from(expire_time / 1000).unwrap_or_default();
        let token = self.signer.sign(&names::output_prefix(video), seconds);
        let host = self.config.public_url.as_deref().or(origin).unwrap_or_default().trim_end_matches('/');
        Pass { base: format!("{host}/play/{token}"), expire_time }
    }
}

impl Pass {
    /// Address of an output; none where the key is not one of the video's.
    pub(crate) fn uri(&self, video: &str, key: &str) -> Option<String> {
        Some(format!("{}/{}", self.base, below_prefix(video, key)?))
    }

    /// Address of a rendition's progressive MP4, which lies beside the master playlist, to be saved under the
    /// video's title.
    pub(crate) fn download_uri(&self, row: &video_row::Model, rendition: &Rendition) -> Option<String> {
        let (folder, _) = row.master_playlist_key.as_deref()?.rsplit_once('/')?;
        let address = self.uri(&row.id, &format!("{folder}/{}.mp4", rendition.rendition_id))?;
        let name = format!("{}-{}.mp4", file_title(&row.display_name), rendition.rendition_id);
        Some(format!("{address}?download={}", utf8_percent_encode(&name, NON_ALPHANUMERIC)))
    }
}

/// The title as a file's name: without what separates paths or ends a header, and without its old extension.
fn file_title(title: &str) -> String {
    let stem = match title.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && extension.len() <= 5 && !extension.contains(' ') => {
            stem
        }
        _ => title,
    };
    let plain = |c: char| if c.is_control() || r#"/\":*?<>|"#.contains(c) { '_' } else { c };
    stem.chars().map(plain).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::file_title;

    #[test]
    fn titles_as_file_names() {
        assert_eq!(file_title("holiday.mov"), "holiday");
        assert_eq!(file_title("Version 1. The end"), "Version 1. The end");
        assert_eq!(file_title("a/b\"c"), "a_b_c");
        assert_eq!(file_title(".mp4"), ".mp4");
    }
}
