//! Addresses to play and download at: the gateway's, signed, with the token in the path so that what playlists
//! name relative to themselves is covered by it.

use std::{collections::HashMap, time::Duration};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use prost::Message as _;
use reelmill_proto::transcode::{WatchJobsResponse, rendition};

use crate::{
    UploadError,
    convert::outcome,
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
    /// Address of an output; empty where there is none, or its key is not one of the video's.
    pub(crate) fn address(&self, video: &str, key: Option<&str>) -> String {
        let rest = key.and_then(|key| below_prefix(video, key));
        rest.map(|rest| format!("{}/{rest}", self.base)).unwrap_or_default()
    }

    /// Addresses of the progressive MP4s of a READY video by rendition, to be saved under the video's title.
    pub(crate) fn downloads(&self, row: &video_row::Model) -> Result<HashMap<String, String>, UploadError> {
        let saved = |(rendition, key): (String, String)| {
            let address = self.address(&row.id, Some(&key));
            let name = format!("{}-{rendition}.mp4", file_title(&row.display_name));
            let address = format!("{address}?download={}", utf8_percent_encode(&name, NON_ALPHANUMERIC));
            (rendition, address)
        };
        Ok(download_keys(row)?.into_iter().map(saved).collect())
    }
}

fn download_keys(row: &video_row::Model) -> Result<HashMap<String, String>, UploadError> {
    if let Some(told) = row.download_keys.as_deref() {
        return Ok(WatchJobsResponse::decode(told)?.download_keys);
    }
    // Jobs did not always tell: those renditions have no kind, and lie beside the master playlist.
    let master = row.master_playlist_key.as_deref().unwrap_or_default();
    let Some((folder, _)) = master.rsplit_once('/') else { return Ok(HashMap::new()) };
    let mut renditions = outcome(row)?.renditions;
    renditions.retain(|rung| {
        rung.state() == rendition::State::Ready && rung.kind() == rendition::Kind::Unspecified
    });
    let key = |id: String| (id.clone(), format!("{folder}/{id}.mp4"));
    Ok(renditions.into_iter().map(|rung| key(rung.rendition_id)).collect())
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
