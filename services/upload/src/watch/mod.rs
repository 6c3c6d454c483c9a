//! Watch streams: the present state, then every change, at most four a second for each video.
//!
//! A notification only causes a read of the database, so a lost, repeated or reordered notification does no harm. Watches
//! also read at an interval without notifications: the last state always arrives.

mod library_watch;
mod sources;
mod video_watch;

pub(crate) use library_watch::watch_library;
pub(crate) use sources::{WatchSources, WatchStream};
pub(crate) use video_watch::watch_video;
