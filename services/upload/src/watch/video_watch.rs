//! WatchVideo.

use futures::StreamExt as _;
use reelmill_proto::upload::{Video, WatchVideoResponse};
use tokio::time::{Instant, sleep_until, timeout};

use super::sources::{MIN_UPDATE_INTERVAL, WatchSources, WatchStream};
use crate::{change_feed::VideoChanges, domain::video_progress::VideoProgress, error::UploadError};

/// Watches one video, whose owner the caller has checked. `revision` is the last one that the client has seen.
pub(crate) fn watch_video(
    sources: WatchSources,
    id: String,
    revision: i64,
    origin: Option<String>,
) -> WatchStream<WatchVideoResponse> {
    let watch = VideoWatch {
        changes: sources.changes.subscribe_to_video(&id),
        sources,
        id,
        origin,
        is_due: true,
        sent: (revision, None),
        next_update: Instant::now(),
        ended: false,
    };
    let stream = futures::stream::unfold(watch, |mut watch| async move {
        let item = match watch.next().await {
            Ok(video) => Ok(WatchVideoResponse { video: Some(video?) }),
            Err(error) => {
                watch.ended = true;
                Err(error.into())
            }
        };
        Some((item, watch))
    });
    stream.boxed()
}

struct VideoWatch {
    sources: WatchSources,
    changes: VideoChanges,
    id: String,
    origin: Option<String>,
    /// The video may have changed since it was last read.
    is_due: bool,
    /// Revision and progress sent last.
    sent: (i64, Option<VideoProgress>),
    /// Earliest time of the next update.
    next_update: Instant,
    ended: bool,
}

impl VideoWatch {
    /// Waits for the next state. `None` after the final one.
    async fn next(&mut self) -> Result<Option<Video>, UploadError> {
        while !self.ended {
            if !self.is_due {
                // After the poll interval the video is read anyway.
                let _ = timeout(self.sources.poll_interval, self.changes.changed()).await;
            }
            sleep_until(self.next_update).await;
            self.changes.mark_seen();
            self.is_due = false;
            let detail = self.sources.db.video_detail(&self.id).await?;
            let detail = detail.filter(|detail| detail.video.delete_time.is_none());
            let Some(detail) = detail else { return Ok(None) };
            self.ended = detail.video.state.has_ended();
            let current = (detail.video.revision, self.sources.progress.get(&self.id));
            if current != self.sent {
                self.sent = current;
                self.next_update = Instant::now() + MIN_UPDATE_INTERVAL;
                return Ok(Some(self.sources.messages.video(&detail, self.origin.as_deref())));
            }
        }
        Ok(None)
    }
}
