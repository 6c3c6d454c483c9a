//! Where outputs go: one seam, so that the engine can be tried without a store.

use async_trait::async_trait;
use bytes::Bytes;
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

/// An output could not be put, after every attempt that made sense.
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
}
