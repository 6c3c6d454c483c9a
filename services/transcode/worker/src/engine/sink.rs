//! Where outputs go: one seam, so that the engine can be tried without a store.

use async_trait::async_trait;
use bytes::Bytes;
use reelmill_media::geometry::Size;
use std::path::PathBuf;

/// What an output holds.
#[derive(Clone, Debug)]
pub enum Content {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A whole file of that many bytes.
    File(PathBuf, u64),
}

impl Content {
    /// Size, bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, size) => *size,
        }
    }
}

/// An object that was put.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Its size, bytes.
    pub size_bytes: u64,
    /// The rendition it belongs to; empty where it belongs to the whole video.
    pub rendition: String,
    /// What it is.
    pub role: Role,
}

/// What an output is.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// A rendition's initialisation segment.
    Init {
        /// RFC 6381 codec string.
        codec: String,
    },
    /// A media segment.
    Segment {
        /// Its place in the rendition, from 0.
        sequence: u32,
        /// When it begins, seconds.
        start: f64,
        /// How long it is, seconds.
        seconds: f64,
        /// Frames in it.
        frames: u32,
        /// Bytes up to the end of its first frame, when that is a keyframe; else 0.
        keyframe_bytes: u64,
    },
    /// A whole rendition as a progressive MP4.
    Progressive,
    /// The poster.
    Poster,
    /// A sheet of thumbnails.
    Thumbnails {
        /// Place among the sheets, from 0.
        sequence: u32,
        /// The moment of the first, seconds.
        start: f64,
        /// From one to the next, seconds.
        interval: f64,
        /// How many there are.
        count: u32,
        /// How many in a row.
        columns: u32,
        /// Pixels of one.
        tile: Size,
    },
}

/// An output could not be put or recorded, after every attempt that made sense.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{name} could not be put: {cause}")]
pub struct SinkError {
    /// Name of the output.
    pub name: String,
    /// What happened last.
    pub cause: String,
}

/// Takes outputs by name. Putting a name again replaces it.
#[async_trait]
pub trait OutputSink: Send + Sync {
    /// Puts one output; when this returns it is durable.
    async fn put(&self, name: &str, content: Content, content_type: &'static str) -> Result<(), SinkError>;

    /// Makes outputs count that were put. What counts already stays as it is.
    async fn record(&self, outputs: &[Output]) -> Result<(), SinkError>;
}
