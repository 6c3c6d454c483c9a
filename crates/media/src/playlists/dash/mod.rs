//! The DASH manifest (ISO/IEC 23009-1), of the same segments as the HLS playlists.
//!
//! It has the main profile, because segments of one track have different prefixes: the on-demand profile requires one
//! file per track, the live profile URLs from a template.

mod manifest;
mod timeline;
mod xml;

pub use manifest::manifest;
