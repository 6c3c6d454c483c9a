//! Destination of outputs. A trait, so that the engine can be tested without an object store.

use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use reelmill_media::{FailureKind, geometry::Size};

/// Content of an output.
#[derive(Clone, Debug)]
pub enum Content {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A whole file and its size in bytes.
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

/// An uploaded object.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Name, relative to the task attempt's prefix.
    pub name: String,
    /// Size, bytes.
    pub size_bytes: u64,
    /// Rendition that it belongs to; empty if it belongs to the whole video.
    pub rendition: String,
    /// What it is.
    pub kind: OutputKind,
}

/// What an output is.
#[derive(Clone, Debug, PartialEq)]
pub enum OutputKind {
    /// Init segment of a rendition.
    Init {
        /// RFC 6381 codec string.
        codec: String,
    },
    /// Media segment of a rendition.
    Segment {
        /// Index in the rendition, from 0.
        sequence: u32,
        /// Start time, seconds.
        start: f64,
        /// Duration, seconds.
        seconds: f64,
        /// Number of frames.
        frames: u32,
        /// Bytes up to the end of its first frame if that is a keyframe; else 0.
        keyframe_bytes: u64,
    },
    /// A whole rendition as a progressive MP4.
    Progressive,
    /// The poster image.
    Poster,
    /// A sheet of thumbnails.
    Thumbnails {
        /// Index of the sheet, from 0.
        sequence: u32,
        /// Time of its first thumbnail, seconds.
        start: f64,
        /// Interval between thumbnails, seconds.
        interval: f64,
        /// Number of thumbnails.
        count: u32,
        /// Thumbnails in a row.
        columns: u32,
        /// Size of a thumbnail, pixels.
        tile: Size,
    },
}

/// An output could not be put or recorded: a permanent error, or the last one of the retries.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{name} could not be put or recorded: {cause}")]
pub struct SinkError {
    /// Name of the output.
    pub name: String,
    /// What failed: the object store, the dispatcher, or this worker.
    pub kind: FailureKind,
    /// The error.
    pub cause: String,
}

/// Uploads and records outputs. Putting a name again replaces the object.
#[async_trait]
pub trait OutputSink: Send + Sync {
    /// Puts one output. It is durable when this returns.
    async fn put(&self, name: &str, content: Content, content_type: &'static str) -> Result<(), SinkError>;

    /// Records outputs that were put: only recorded ones become part of the video. What is recorded already
    /// is not changed.
    async fn record(&self, outputs: &[Output]) -> Result<(), SinkError>;
}
