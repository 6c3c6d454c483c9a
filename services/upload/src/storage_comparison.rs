//! Compares the videos with the objects in the object store, a page at a time. They differ after one of the two was restored
//! from a backup, or lost something. Differences are reported; objects of unknown videos are deleted on request only.

use std::{collections::BTreeSet, time::Duration};

use reelmill_platform::objects::Objects;

use crate::{
    db::{Db, VideoRow},
    domain::{
        object_key::{OUTPUTS, SOURCES},
        video_state::VideoState,
    },
    error::UploadError,
};

/// Videos and folders per page.
const PAGE_SIZE: usize = 500;

/// Compares videos with objects.
#[derive(Clone)]
pub(crate) struct StorageComparison {
    pub db: Db,
    pub objects: Objects,
}

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    /// [`OUTPUTS`] or [`SOURCES`].
    folder: &'static str,
    /// Id of the last video before it.
    after: String,
}

/// What differs on a page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    pub compared: usize,
    /// Prefixes of objects that belong to no video.
    pub unknown: Vec<String>,
    /// Ids of videos, and the prefixes under which they have no objects.
    pub missing: Vec<(String, String)>,
    /// The next page; none after the last one.
    pub next: Option<Position>,
}

impl Default for Position {
    fn default() -> Self {
        Self { folder: OUTPUTS, after: String::new() }
    }
}

impl Position {
    /// The position of a page token.
    pub(crate) fn parse(token: &str) -> Option<Self> {
        if token.is_empty() {
            return Some(Self::default());
        }
        let (folder, after) = token.split_once('/')?;
        let folder = [OUTPUTS, SOURCES].into_iter().find(|known| *known == folder)?;
        Some(Self { folder, after: after.to_owned() })
    }

    /// The page token.
    pub(crate) fn token(&self) -> String {
        format!("{}/{}", self.folder, self.after)
    }

    fn prefix(&self, video: &str) -> String {
        format!("{}/{video}/", self.folder)
    }

    /// The position after a page that ended with the video `last`; none after the last page of all.
    fn next(&self, last: Option<&str>) -> Option<Self> {
        match last {
            Some(last) => Some(Self { folder: self.folder, after: last.to_owned() }),
            None if self.folder == OUTPUTS => Some(Self { folder: SOURCES, after: String::new() }),
            None => None,
        }
    }

    /// Whether a video has objects in this folder.
    fn is_needed(&self, video: &VideoRow) -> bool {
        let is_complete = match video.state {
            VideoState::Ready => true,
            VideoState::Processing => self.folder == SOURCES,
            VideoState::Uploading | VideoState::Failed => false,
        };
        is_complete && video.delete_time.is_none()
    }
}

impl StorageComparison {
    /// Compares a page; deletes objects of unknown videos if `delete_unknown`.
    pub(crate) async fn page(
        &self,
        position: &Position,
        delete_unknown: bool,
    ) -> Result<Differences, UploadError> {
        // Before the database: the row of a video is older than its objects.
        let folders =
            self.objects.folders(&format!("{}/", position.folder), &position.after, PAGE_SIZE).await?;
        let videos = self.db.videos_by_id(&position.after, PAGE_SIZE as u64).await?;
        let mut differences = compare(position, &folders, &videos);
        let mut missing = Vec::new();
        for (video, prefix) in std::mem::take(&mut differences.missing) {
            // It may have become READY, or been deleted, since the objects were listed.
            let is_needed = self.db.video(&video).await?.is_some_and(|video| position.is_needed(&video));
            if is_needed && self.objects.find_under(&prefix).await?.is_none() {
                missing.push((video, prefix));
            }
        }
        differences.missing = missing;
        if delete_unknown {
            for prefix in &differences.unknown {
                self.objects.delete_prefix(prefix).await?;
            }
        }
        Ok(differences)
    }
}

/// Compares sorted pages of folders and of videos, as far as both reach.
fn compare(position: &Position, folders: &[String], videos: &[VideoRow]) -> Differences {
    let last_of = |length: usize, last: Option<&str>| last.filter(|_| length >= PAGE_SIZE).map(str::to_owned);
    let last_folder = last_of(folders.len(), folders.last().map(String::as_str));
    let last_video = last_of(videos.len(), videos.last().map(|video| video.id.as_str()));
    let last = last_folder.into_iter().chain(last_video).min();
    let is_on_page = |id: &str| last.as_deref().is_none_or(|last| id <= last);
    let folders: BTreeSet<&str> = folders.iter().map(String::as_str).filter(|id| is_on_page(id)).collect();
    let videos: Vec<&VideoRow> = videos.iter().filter(|video| is_on_page(&video.id)).collect();
    let known: BTreeSet<&str> = videos.iter().map(|video| video.id.as_str()).collect();
    let missing = videos.iter().filter(|video| position.is_needed(video));
    let missing = missing.filter(|video| !folders.contains(video.id.as_str()));
    Differences {
        compared: videos.len(),
        unknown: folders.difference(&known).map(|id| position.prefix(id)).collect(),
        missing: missing.map(|video| (video.id.clone(), position.prefix(&video.id))).collect(),
        next: position.next(last.as_deref()),
    }
}

/// Compares all videos with the object store continuously, and logs what differs.
pub(crate) struct StorageWatch {
    pub comparison: StorageComparison,
    /// Interval between two pages.
    pub interval: Duration,
}

impl StorageWatch {
    /// Compares pages, from the first to the last and again. Never returns.
    pub(crate) async fn run(self) {
        let mut position = Position::default();
        loop {
            tokio::time::sleep(self.interval).await;
            match self.comparison.page(&position, false).await {
                Ok(differences) => {
                    log(&differences);
                    position = differences.next.unwrap_or_default();
                }
                Err(error) => {
                    tracing::warn!(%error, "videos could not be compared with the object store: retrying");
                }
            }
        }
    }
}

fn log(differences: &Differences) {
    if let Some(first) = differences.unknown.first() {
        let count = differences.unknown.len();
        tracing::warn!(count, first, "objects that belong to no video: see `reelmill admin reconcile`");
    }
    for (video, prefix) in &differences.missing {
        tracing::error!(video, prefix, "the objects of a video are missing in the object store");
    }
}
