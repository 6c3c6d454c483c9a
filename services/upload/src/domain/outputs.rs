//! What of a video can be played, and where it lies.

use std::collections::BTreeMap;

use reelmill_proto::{
    transcode::{Job, WatchJobsResponse},
    unix_millis,
};

use super::video::{State, below_prefix};

/// Where a video's outputs lie, as far as there are any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outputs {
    /// When its first segments could be played, Unix milliseconds.
    pub playable_time: Option<i64>,
    pub master_playlist_key: Option<String>,
    pub poster_key: Option<String>,
    pub dash_manifest_key: Option<String>,
    pub thumbnails_key: Option<String>,
    /// Keys of the progressive MP4s by rendition.
    pub download_keys: BTreeMap<String, String>,
}

impl Outputs {
    /// What a job tells of its video's outputs. Keys that are not the video's own are left out.
    pub(crate) fn told(video: &str, update: &WatchJobsResponse, job: &Job) -> Self {
        let own = |key: &String| below_prefix(video, key).is_some().then(|| key.clone());
        let downloads = update.download_keys.iter();
        Self {
            playable_time: job.playable_time.as_ref().map(unix_millis),
            master_playlist_key: own(&update.master_playlist_key),
            poster_key: own(&update.poster_key),
            dash_manifest_key: own(&update.dash_manifest_key),
            thumbnails_key: own(&update.thumbnails_key),
            download_keys: downloads.filter_map(|(id, key)| Some((id.clone(), own(key)?))).collect(),
        }
    }

    /// The outputs of a video that is `next` from now on, by what was known and what its job tells at `now`.
    ///
    /// A job that is planned again moves its outputs, and may have none for a while: a video that was playable
    /// stays so, from where it was, until there is something else.
    pub(crate) fn then(self, told: Self, next: State, now: i64) -> Self {
        match next {
            // The outputs of a FAILED video are removed.
            State::Uploading | State::Failed => Self::default(),
            State::Processing => {
                let playable_time =
                    self.playable_time.or(told.playable_time.filter(|_| told.master_playlist_key.is_some()));
                let master = told.master_playlist_key.or(self.master_playlist_key);
                Self {
                    master_playlist_key: master.filter(|_| playable_time.is_some()),
                    playable_time,
                    poster_key: told.poster_key.or(self.poster_key),
                    ..Self::default()
                }
            }
            State::Ready => {
                Self { playable_time: self.playable_time.or(told.playable_time).or(Some(now)), ..told }
            }
        }
    }
}

/// Whether a video plays, by the moment since when it does.
pub(crate) fn is_playable(state: State, playable_time: Option<i64>) -> bool {
    match state {
        // Those made before there was such a moment have none.
        State::Ready => true,
        State::Processing => playable_time.is_some(),
        State::Uploading | State::Failed => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::{option, prelude::*};
    use reelmill_proto::timestamp;

    use super::*;

    fn key() -> impl Strategy<Value = Option<String>> {
        option::of("outputs/v1/[1-3]/x".prop_map(String::from))
    }

    fn told() -> impl Strategy<Value = Outputs> {
        (option::of(1..100_i64), key(), key()).prop_map(|(playable_time, master_playlist_key, poster_key)| {
            Outputs { playable_time, master_playlist_key, poster_key, ..Outputs::default() }
        })
    }

    proptest! {
        #[test]
        fn what_plays_goes_on_playing_until_the_end(
            news in prop::collection::vec(told(), 1..12), fails: bool
        ) {
            let mut known = Outputs::default();
            for told in &news {
                let next = known.clone().then(told.clone(), State::Processing, 1000);
                let may_play = told.playable_time.is_some() && told.master_playlist_key.is_some();
                prop_assert_eq!(next.playable_time.is_some(), known.playable_time.is_some() || may_play);
                prop_assert_eq!(next.playable_time.is_some(), next.master_playlist_key.is_some());
                prop_assert!(known.playable_time.is_none() || next.playable_time == known.playable_time);
                if next.playable_time.is_some() && told.master_playlist_key.is_some() {
                    prop_assert_eq!(&next.master_playlist_key, &told.master_playlist_key);
                }
                known = next;
            }
            let end = if fails { State::Failed } else { State::Ready };
            let last = news[0].clone();
            let ended = known.clone().then(last.clone(), end, 1000);
            if fails {
                prop_assert_eq!(ended, Outputs::default());
            } else {
                prop_assert_eq!(ended.playable_time, known.playable_time.or(last.playable_time).or(Some(1000)));
                prop_assert_eq!(ended.master_playlist_key, last.master_playlist_key);
            }
        }
    }

    #[test]
    fn keys_of_other_videos_are_no_outputs() {
        let key = |key: &str| key.to_owned();
        let update = WatchJobsResponse {
            master_playlist_key: key("outputs/v2/1/master.m3u8"),
            poster_key: key("outputs/v1/1/poster.jpg"),
            dash_manifest_key: key("outputs/v1/"),
            download_keys: [(key("720p"), key("outputs/v1/1/720p.mp4")), (key("x"), key("sources/v1/u"))]
                .into(),
            ..WatchJobsResponse::default()
        };
        let job = Job { playable_time: Some(timestamp(5)), ..Job::default() };
        let told = Outputs::told("v1", &update, &job);
        assert_eq!((told.playable_time, told.master_playlist_key.as_deref()), (Some(5), None));
        assert_eq!(told.poster_key.as_deref(), Some("outputs/v1/1/poster.jpg"));
        assert_eq!(told.dash_manifest_key, None);
        assert_eq!(told.download_keys.into_keys().collect::<Vec<_>>(), ["720p"]);
    }
}
