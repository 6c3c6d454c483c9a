//! The watch streams: the present state, then every change, at most four times a second.
//!
//! A watcher is told *that* something changed and then reads *what* is there, so news that is lost, repeated or
//! overtaken costs nothing, and the last state always arrives: it also reads when it was told nothing for long.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream::BoxStream};
use reelmill_proto::upload::{Video, WatchVideoResponse, WatchVideosResponse, watch_videos_response};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tonic::Status;

use crate::{
    UploadError,
    changes::{Change, Listener, Live},
    core::Core,
    domain::video::State,
    store::video_row,
};

/// The least time between two updates of one video.
const PACE: Duration = Duration::from_millis(250);
/// Videos read at once.
const PAGE: u64 = 200;

/// What one watch sends.
pub(crate) type Stream<T> = BoxStream<'static, Result<T, Status>>;

/// Follows one video of which `revision` was seen. The caller has checked whose it is.
pub(crate) fn video(
    core: Arc<Core>,
    id: String,
    revision: i64,
    origin: Option<String>,
) -> Stream<WatchVideoResponse> {
    let news = core.changes.listen();
    let watcher = OneVideo {
        core,
        id,
        origin,
        news,
        due: true,
        sent: (revision, None),
        earliest: Instant::now(),
        ended: false,
    };
    let stream = futures::stream::unfold(watcher, |mut watcher| async move {
        let item = match watcher.next().await {
            Ok(video) => Ok(WatchVideoResponse { video: Some(video?) }),
            Err(error) => {
                watcher.ended = true;
                Err(error.into())
            }
        };
        Some((item, watcher))
    });
    stream.boxed()
}

struct OneVideo {
    core: Arc<Core>,
    id: String,
    origin: Option<String>,
    news: Listener,
    /// Something may have changed since it was last read.
    due: bool,
    /// What was sent last.
    sent: (i64, Option<Live>),
    earliest: Instant,
    ended: bool,
}

impl OneVideo {
    /// The next state; none when there will be no other.
    async fn next(&mut self) -> Result<Option<Video>, UploadError> {
        while !self.ended {
            if !self.due {
                let heard = timeout(self.core.config.watch_interval, self.news.about(&self.id));
                // Silence is no proof that nothing changed.
                let _ = heard.await;
            }
            sleep_until(self.earliest).await;
            while self.news.try_next().is_some() {}
            self.due = false;
            let row = self.core.store.video(&self.id).await?;
            let Some(row) = row.filter(|row| row.delete_time.is_none()) else { return Ok(None) };
            self.ended = row.state.is_final();
            let now = (row.revision, self.core.changes.live(&row.id));
            if now != self.sent {
                self.sent = now;
                self.earliest = Instant::now() + PACE;
                return self.core.video_message(&row, self.origin.as_deref()).map(Some);
            }
        }
        Ok(None)
    }
}

/// Follows all videos of one owner, of which everything up to `revision` was seen.
pub(crate) fn library(
    core: Arc<Core>,
    owner: String,
    revision: i64,
    origin: Option<String>,
) -> Stream<WatchVideosResponse> {
    let library = Library {
        news: core.changes.listen(),
        core,
        owner,
        origin,
        cursor: revision,
        tells_deletions: revision > 0,
        caught_up: false,
        stale: true,
        read_again: Instant::now(),
        advanced: HashSet::new(),
        processing: HashMap::new(),
        queue: VecDeque::new(),
        earliest: Instant::now(),
        failed: false,
    };
    let stream = futures::stream::unfold(library, |mut library| async move {
        if library.failed {
            return None;
        }
        let item = library.next().await.map_err(|error| {
            library.failed = true;
            Status::from(error)
        });
        let item = item.map(|change| WatchVideosResponse { change: Some(change) });
        Some((item, library))
    });
    stream.boxed()
}

struct Library {
    core: Arc<Core>,
    owner: String,
    origin: Option<String>,
    news: Listener,
    /// Everything up to this revision was queued.
    cursor: i64,
    /// Whoever begins anew knows of no video that could be deleted.
    tells_deletions: bool,
    caught_up: bool,
    /// Records may have changed since the cursor.
    stale: bool,
    /// When records are read without any news.
    read_again: Instant,
    /// Videos whose progress changed.
    advanced: HashSet<String>,
    /// Videos that can have progress, as last read.
    processing: HashMap<String, video_row::Model>,
    queue: VecDeque<watch_videos_response::Change>,
    /// Each round tells each video at most once, so a pace of rounds is a pace of each video.
    earliest: Instant,
    failed: bool,
}

impl Library {
    async fn next(&mut self) -> Result<watch_videos_response::Change, UploadError> {
        loop {
            if let Some(change) = self.queue.pop_front() {
                return Ok(change);
            }
            if self.caught_up {
                self.wait().await;
            }
            self.round().await?;
        }
    }

    async fn wait(&mut self) {
        while !self.stale && self.advanced.is_empty() {
            match timeout_at(self.read_again, self.news.next()).await {
                Ok(change) => self.note(change),
                Err(_) => break,
            }
        }
        sleep_until(self.earliest).await;
        while let Some(change) = self.news.try_next() {
            self.note(change);
        }
        self.stale |= Instant::now() >= self.read_again;
        self.earliest = Instant::now() + PACE;
    }

    fn note(&mut self, change: Change) {
        match change {
            Change::Stored { owner, .. } if *owner == *self.owner => self.stale = true,
            Change::Live { owner, video } if *owner == *self.owner => {
                self.advanced.insert(video.as_ref().to_owned());
            }
            Change::Anything => {
                self.stale = true;
                self.advanced.extend(self.processing.keys().cloned());
            }
            _ => {}
        }
    }

    /// Queues what changed: records in the order of their revisions, then progress.
    async fn round(&mut self) -> Result<(), UploadError> {
        let mut advanced = std::mem::take(&mut self.advanced);
        if self.stale {
            let rows = self.core.store.changed_since(&self.owner, self.cursor, PAGE).await?;
            self.stale = rows.len() as u64 == PAGE;
            self.read_again = Instant::now() + self.core.config.watch_interval;
            for row in rows {
                advanced.remove(&row.id);
                self.cursor = row.revision;
                self.queue_row(row)?;
            }
        }
        for id in advanced {
            if let Some(row) = self.processing.get(&id) {
                let video = self.core.video_message(row, self.origin.as_deref())?;
                self.queue.push_back(watch_videos_response::Change::Video(video));
            }
        }
        if !self.caught_up && !self.stale {
            self.caught_up = true;
            self.tells_deletions = true;
            self.queue.push_back(watch_videos_response::Change::CaughtUp(true));
        }
        Ok(())
    }

    fn queue_row(&mut self, row: video_row::Model) -> Result<(), UploadError> {
        if row.delete_time.is_some() {
            self.processing.remove(&row.id);
            if self.tells_deletions {
                let name = format!("videos/{}", row.id);
                self.queue.push_back(watch_videos_response::Change::Deleted(name));
            }
            return Ok(());
        }
        let video = self.core.video_message(&row, self.origin.as_deref())?;
        self.queue.push_back(watch_videos_response::Change::Video(video));
        if row.state == State::Processing {
            self.processing.insert(row.id.clone(), row);
        } else {
            self.processing.remove(&row.id);
        }
        Ok(())
    }
}
