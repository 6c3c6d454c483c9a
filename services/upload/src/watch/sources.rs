//! What every watch reads from.

use std::time::Duration;

use futures::stream::BoxStream;
use tonic::Status;

use crate::{change_feed::ChangeFeed, db::Db, progress_cache::ProgressCache, video_messages::VideoMessages};

/// Shortest interval between two updates of one video.
pub(super) const MIN_UPDATE_INTERVAL: Duration = Duration::from_millis(250);

/// Responses of a watch method.
pub(crate) type WatchStream<T> = BoxStream<'static, Result<T, Status>>;

/// What a watch reads from.
#[derive(Clone)]
pub(crate) struct WatchSources {
    pub db: Db,
    pub changes: ChangeFeed,
    pub progress: ProgressCache,
    pub messages: VideoMessages,
    /// Interval of reads without a notification.
    pub poll_interval: Duration,
}
