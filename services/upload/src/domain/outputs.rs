//! Outputs of a video: which exist, under which object keys, and since when they can be played.

use std::collections::BTreeMap;

use reelmill_proto::{
    transcode::{Job, WatchJobsResponse},
    unix_millis,
};

use super::{object_key::path_in_outputs, video_state::VideoState};

/// Object keys of a video's outputs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outputs {
    /// When the first segments could be played, Unix milliseconds.
    pub playable_time: Option<i64>,
    pub master_playlist_key: Option<String>,
    pub poster_key: Option<String>,
    pub dash_manifest_key: Option<String>,
    pub thumbnails_key: Option<String>,
    /// Keys of the progressive MP4s by rendition id.
    pub download_keys: BTreeMap<String, String>,
}

impl Outputs {
    /// The outputs in a revision of a job, without keys outside the video's prefix.
    pub(crate) fn reported(video: &str, response: &WatchJobsResponse, job: &Job) -> Self {
        let own = |key: &String| path_in_outputs(video, key).is_some().then(|| key.clone());
        let downloads = response.download_keys.iter();
        Self {
            playable_time: job.playable_time.as_ref().map(unix_millis),
            master_playlist_key: own(&response.master_playlist_key),
            poster_key: own(&response.poster_key),
            dash_manifest_key: own(&response.dash_manifest_key),
            thumbnails_key: own(&response.thumbnails_key),
            download_keys: downloads.filter_map(|(id, key)| Some((id.clone(), own(key)?))).collect(),
        }
    }

    /// The outputs after a revision of the job that moves the video to `next` at `now`.
    ///
    /// A job that is planned again moves its outputs and has none for a while. A video that was playable stays so, from
    /// its previous outputs, until there are new ones.
    pub(crate) fn updated(self, reported: Self, next: VideoState, now: i64) -> Self {
        match next {
            // The outputs of a FAILED video are deleted.
            VideoState::Uploading | VideoState::Failed => Self::default(),
            VideoState::Processing => {
                let reported_time = reported.playable_time.filter(|_| reported.master_playlist_key.is_some());
                let playable_time = self.playable_time.or(reported_time);
                let master = reported.master_playlist_key.or(self.master_playlist_key);
                Self {
                    master_playlist_key: master.filter(|_| playable_time.is_some()),
                    playable_time,
                    poster_key: reported.poster_key.or(self.poster_key),
                    ..Self::default()
                }
            }
            VideoState::Ready => Self {
                playable_time: self.playable_time.or(reported.playable_time).or(Some(now)),
                ..reported
            },
        }
    }
}

/// Whether a video can be played.
pub(crate) fn is_playable(state: VideoState, playable_time: Option<i64>) -> bool {
    matches!(state, VideoState::Processing | VideoState::Ready) && playable_time.is_some()
}

#[cfg(test)]
mod tests {
    use proptest::{option, prelude::*};
    use reelmill_proto::timestamp;

    use super::*;

    fn key() -> impl Strategy<Value = Option<String>> {
        option::of("outputs/v1/[1-3]/x".prop_map(String::from))
    }

    fn reported() -> impl Strategy<Value = Outputs> {
        (option::of(1..100_i64), key(), key()).prop_map(|(playable_time, master_playlist_key, poster_key)| {
            Outputs { playable_time, master_playlist_key, poster_key, ..Outputs::default() }
        })
    }

    proptest! {
        #[test]
        fn updated_keeps_a_playable_video_playable_until_it_ends(
            reports in prop::collection::vec(reported(), 1..12), fails: bool
        ) {
            let mut known = Outputs::default();
            for report in &reports {
                let next = known.clone().updated(report.clone(), VideoState::Processing, 1000);
                let can_play = report.playable_time.is_some() && report.master_playlist_key.is_some();
                prop_assert_eq!(next.playable_time.is_some(), known.playable_time.is_some() || can_play);
                prop_assert_eq!(next.playable_time.is_some(), next.master_playlist_key.is_some());
                prop_assert!(known.playable_time.is_none() || next.playable_time == known.playable_time);
                if next.playable_time.is_some() && report.master_playlist_key.is_some() {
                    prop_assert_eq!(&next.master_playlist_key, &report.master_playlist_key);
                }
                known = next;
            }
            let end = if fails { VideoState::Failed } else { VideoState::Ready };
            let last = reports[0].clone();
            let ended = known.clone().updated(last.clone(), end, 1000);
            if fails {
                prop_assert_eq!(ended, Outputs::default());
            } else {
                prop_assert_eq!(ended.playable_time, known.playable_time.or(last.playable_time).or(Some(1000)));
                prop_assert_eq!(ended.master_playlist_key, last.master_playlist_key);
            }
        }
    }

    #[test]
    fn reported_drops_keys_of_other_videos() {
        let key = |key: &str| key.to_owned();
        let response = WatchJobsResponse {
            master_playlist_key: key("outputs/v2/1/master.m3u8"),
            poster_key: key("outputs/v1/1/poster.jpg"),
            dash_manifest_key: key("outputs/v1/"),
            download_keys: [(key("720p"), key("outputs/v1/1/720p.mp4")), (key("x"), key("sources/v1/u"))]
                .into(),
            ..WatchJobsResponse::default()
        };
        let job = Job { playable_time: Some(timestamp(5)), ..Job::default() };
        let reported = Outputs::reported("v1", &response, &job);
        assert_eq!((reported.playable_time, reported.master_playlist_key.as_deref()), (Some(5), None));
        assert_eq!(reported.poster_key.as_deref(), Some("outputs/v1/1/poster.jpg"));
        assert_eq!(reported.dash_manifest_key, None);
        assert_eq!(reported.download_keys.into_keys().collect::<Vec<_>>(), ["720p"]);
    }
}
