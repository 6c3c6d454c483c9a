//! HLS playlists (RFC 8216 and its successor, draft-pantos-hls-rfc8216bis).
//!
//! `EXT-X-VERSION` is the lowest that RFC 8216, section 7 allows for the contents of a playlist.

mod groups;
mod master;
mod media;
mod variants;

pub use master::master;
pub use media::{iframes, media};

/// Appends formatted text. Writing to a string cannot fail.
fn put(text: &mut String, args: std::fmt::Arguments<'_>) {
    let _infallible = std::fmt::Write::write_fmt(text, args);
}
