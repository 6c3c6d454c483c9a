//! What players fetch, as text: HLS playlists, the DASH manifest and the index of thumbnails. All are at the root of the
//! presentation and name segments by relative URLs.

mod bandwidth;
pub mod dash;
pub mod hls;
mod labels;
mod language;
mod model;
mod text;
pub mod thumbnails;

pub use bandwidth::Bandwidth;
pub use model::{Presentation, Segment, Track, TrackKind};

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
