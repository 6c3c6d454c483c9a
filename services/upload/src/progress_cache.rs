//! Progress of running jobs, in memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::domain::video_progress::VideoProgress;

/// Latest progress by video id.
#[derive(Clone, Default)]
pub(crate) struct ProgressCache(Arc<Mutex<HashMap<String, VideoProgress>>>);

impl ProgressCache {
    /// Keeps reported progress in memory, raised to what was reported before.
    pub(crate) fn update(&self, video: &str, reported: VideoProgress) {
        let mut cache = self.lock();
        let progress = match cache.get(video) {
            Some(earlier) => reported.raised_to(earlier),
            None => reported,
        };
        cache.insert(video.to_owned(), progress);
    }

    /// The progress of a video's job, if any was reported.
    pub(crate) fn get(&self, video: &str) -> Option<VideoProgress> {
        self.lock().get(video).cloned()
    }

    /// Removes the progress of a video whose job has ended.
    pub(crate) fn remove(&self, video: &str) {
        self.lock().remove(video);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, VideoProgress>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
