//! Reads from Matroska and WebM files (RFC 9559) what ffmpeg does not report, by their first or last bytes.

mod elements;
mod geometry;
mod times;

pub use geometry::{TrackGeometry, video_tracks};
pub use times::{Timeline, timeline};
