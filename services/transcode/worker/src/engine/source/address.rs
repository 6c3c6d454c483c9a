//! Address of an object that is read.

/// A file to transcode, or a segment to join.
#[derive(Clone, Debug)]
pub struct SourceAddress {
    /// URL for ranged GETs.
    pub uri: String,
    /// Size, bytes.
    pub size_bytes: u64,
}
