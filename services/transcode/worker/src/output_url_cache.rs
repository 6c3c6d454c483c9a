//! Presigned PUT URLs: requested from the dispatcher in batches and cached until they are used.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use reelmill_proto::{
    transcode::{Lease, SignOutputsRequest},
    unix_millis,
};
use tokio::sync::Mutex;
use tonic::Status;

use crate::dispatcher_client::DispatcherClient;

/// Segments of a rendition whose URLs are requested in one call.
const SEGMENTS_PER_CALL: u32 = 20;
/// A URL that expires sooner than this is not used: an upload takes time.
const MIN_REMAINING_VALIDITY: Duration = Duration::from_secs(120);

/// The URLs for the outputs of one lease.
pub(crate) struct OutputUrlCache {
    dispatcher: DispatcherClient,
    lease: Lease,
    unused: Mutex<HashMap<String, PresignedUrl>>,
}

struct PresignedUrl {
    uri: String,
    expires: SystemTime,
}

/// Why there is no URL.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PresignError {
    #[error("presigning: {0}")]
    Call(Status),
    #[error("presigning: the dispatcher returned no URL")]
    Missing,
}

impl OutputUrlCache {
    pub(crate) fn new(dispatcher: DispatcherClient, lease: Lease) -> Self {
        Self { dispatcher, lease, unused: Mutex::default() }
    }

    /// The URL to put `name` at. For a segment, the call also requests the URLs of the segments that follow.
    pub(crate) async fn take(&self, name: &str) -> Result<String, PresignError> {
        // Locked during the call, so that tracks do not request the same URLs twice.
        let mut unused = self.unused.lock().await;
        let is_fresh = |url: &PresignedUrl| url.expires > SystemTime::now() + MIN_REMAINING_VALIDITY;
        if let Some(url) = unused.remove(name).filter(is_fresh) {
            return Ok(url.uri);
        }
        let names = names_to_sign(name);
        let request = SignOutputsRequest { lease: Some(self.lease.clone()), names: names.clone() };
        let response = self.dispatcher.sign_outputs(request).await.map_err(PresignError::Call)?;
        let expire_millis = response.expire_time.as_ref().map_or(0, unix_millis);
        let expires =
            SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(expire_millis).unwrap_or(0));
        let urls = response.uris.into_iter().map(|uri| PresignedUrl { uri, expires });
        unused.extend(names.into_iter().zip(urls));
        unused.remove(name).map(|url| url.uri).ok_or(PresignError::Missing)
    }

    /// Discards a cached URL for `name`, so that the next attempt requests another one.
    pub(crate) async fn discard(&self, name: &str) {
        self.unused.lock().await.remove(name);
    }
}

/// `name` and, if it is a segment, the names of the segments that follow it: `engine/output/track_upload.rs` gives
/// segments these names.
fn names_to_sign(name: &str) -> Vec<String> {
    let parts = name.strip_suffix(".m4s").and_then(|stem| stem.rsplit_once("seg_"));
    let numbered = parts.and_then(|(folder, number)| Some((folder, number.parse::<u32>().ok()?)));
    match numbered {
        Some((folder, first)) => (first..first.saturating_add(SEGMENTS_PER_CALL))
            .map(|number| format!("{folder}seg_{number:05}.m4s"))
            .collect(),
        None => vec![name.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::names_to_sign;

    #[test]
    fn names_to_sign_of_segment_include_following_segments() {
        let names = names_to_sign("720p/seg_00007.m4s");
        assert_eq!(names.len(), 20);
        assert_eq!(names[0], "720p/seg_00007.m4s");
        assert_eq!(names[19], "720p/seg_00026.m4s");
        assert_eq!(names_to_sign("720p/init.mp4"), ["720p/init.mp4"]);
    }
}
