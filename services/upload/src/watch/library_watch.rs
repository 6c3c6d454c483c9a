//! WatchVideos.

use std::collections::{HashMap, HashSet, VecDeque};

use futures::StreamExt as _;
use reelmill_proto::upload::{WatchVideosResponse, watch_videos_response::Change as Response};
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::Status;

use super::sources::{MIN_UPDATE_INTERVAL, WatchSources, WatchStream};
use crate::{
    change_feed::{Change, OwnerChanges},
    db::VideoDetail,
    domain::{resource_name::video_name, video_state::VideoState},
    error::UploadError,
};

/// Videos in one read of the database.
const PAGE_SIZE: u64 = 200;

/// Watches all videos of an owner. `revision` is the highest one that the client has seen.
pub(crate) fn watch_library(
    sources: WatchSources,
    owner: String,
    revision: i64,
    origin: Option<String>,
) -> WatchStream<WatchVideosResponse> {
    let watch = LibraryWatch {
        changes: sources.changes.subscribe_to_owner(&owner),
        sources,
        owner,
        origin,
        cursor: revision,
        sends_deletions: revision > 0,
        caught_up: false,
        is_stale: true,
        next_poll: Instant::now(),
        progressed: HashSet::new(),
        processing: HashMap::new(),
        queue: VecDeque::new(),
        next_update: Instant::now(),
        failed: false,
        is_checked: false,
    };
    let stream = futures::stream::unfold(watch, |mut watch| async move {
        if watch.failed {
            return None;
        }
        let item = watch.next().await.map_err(|error| {
            watch.failed = true;
            Status::from(error)
        });
        let item = item.map(|change| WatchVideosResponse { change: Some(change) });
        Some((item, watch))
    });
    stream.boxed()
}

struct LibraryWatch {
    sources: WatchSources,
    changes: OwnerChanges,
    owner: String,
    origin: Option<String>,
    /// Every change up to this revision was queued.
    cursor: i64,
    /// False until a new watch has caught up: its client knows no video that could have been deleted.
    sends_deletions: bool,
    caught_up: bool,
    /// Videos may have changed after the cursor.
    is_stale: bool,
    /// When the database is read without a notification.
    next_poll: Instant,
    /// Videos whose progress changed.
    progressed: HashSet<String>,
    /// PROCESSING videos as last read.
    processing: HashMap<String, VideoDetail>,
    queue: VecDeque<Response>,
    /// Earliest time of the next round. A round queues each video at most once, so this limits the rate of each video.
    next_update: Instant,
    failed: bool,
    /// Whether the cursor was compared with the database.
    is_checked: bool,
}

impl LibraryWatch {
    async fn next(&mut self) -> Result<Response, UploadError> {
        loop {
            if let Some(response) = self.queue.pop_front() {
                return Ok(response);
            }
            if self.caught_up {
                self.wait().await;
            }
            self.queue_changes().await?;
        }
    }

    /// Waits for a change or the next poll.
    async fn wait(&mut self) {
        while !self.is_stale && self.progressed.is_empty() {
            match timeout_at(self.next_poll, self.changes.next()).await {
                Ok(change) => self.record(change),
                Err(_) => break,
            }
        }
        sleep_until(self.next_update).await;
        while let Some(change) = self.changes.try_next() {
            self.record(change);
        }
        self.is_stale |= Instant::now() >= self.next_poll;
        self.next_update = Instant::now() + MIN_UPDATE_INTERVAL;
    }

    fn record(&mut self, change: Change) {
        match change {
            Change::Row => self.is_stale = true,
            Change::Progress(video) => {
                self.progressed.insert(video.as_ref().to_owned());
            }
            Change::Unknown => {
                self.is_stale = true;
                self.progressed.extend(self.processing.keys().cloned());
            }
        }
    }

    /// Queues changed rows in the order of their revisions, then progress.
    async fn queue_changes(&mut self) -> Result<(), UploadError> {
        let mut progressed = std::mem::take(&mut self.progressed);
        if !std::mem::replace(&mut self.is_checked, true) {
            // A client that has seen more than there is: the database was restored.
            let last = self.sources.db.owner_revision(&self.owner).await?;
            if last < self.cursor {
                self.cursor = 0;
            }
        }
        if self.is_stale {
            let details = self.sources.db.videos_changed_after(&self.owner, self.cursor, PAGE_SIZE).await?;
            self.is_stale = details.len() as u64 == PAGE_SIZE;
            self.next_poll = Instant::now() + self.sources.poll_interval;
            for detail in details {
                progressed.remove(&detail.video.id);
                self.cursor = detail.video.revision;
                self.queue_row(detail);
            }
        }
        for id in progressed {
            if let Some(detail) = self.processing.get(&id) {
                let video = self.sources.messages.video(detail, self.origin.as_deref());
                self.queue.push_back(Response::Video(video));
            }
        }
        if !self.caught_up && !self.is_stale {
            self.caught_up = true;
            self.sends_deletions = true;
            self.queue.push_back(Response::CaughtUp(true));
        }
        Ok(())
    }

    fn queue_row(&mut self, detail: VideoDetail) {
        let id = detail.video.id.clone();
        if detail.video.delete_time.is_some() {
            self.processing.remove(&id);
            if self.sends_deletions {
                self.queue.push_back(Response::Deleted(video_name(&id)));
            }
            return;
        }
        let video = self.sources.messages.video(&detail, self.origin.as_deref());
        self.queue.push_back(Response::Video(video));
        if detail.video.state == VideoState::Processing {
            self.processing.insert(id, detail);
        } else {
            self.processing.remove(&id);
        }
    }
}
