//! The encoding of recorded outputs in the `outputs` columns of parts and manifests. Fields may be added, never reused.

use super::{connection::Generation, entity::output};
use crate::domain::OutputKind;

/// An uploaded object, as recorded.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RecordedOutput {
    /// Empty for outputs of the whole video.
    #[prost(string, tag = "1")]
    pub(crate) rendition_id: String,
    #[prost(enumeration = "OutputKind", tag = "2")]
    pub(crate) kind: i32,
    /// Sequence number within the rendition and kind.
    #[prost(int32, tag = "3")]
    pub(crate) sequence: i32,
    /// Object key relative to the job's folder: its URI in the playlists.
    #[prost(string, tag = "4")]
    pub(crate) uri: String,
    #[prost(int64, tag = "5")]
    pub(crate) size_bytes: i64,
    #[prost(double, tag = "6")]
    pub(crate) start_seconds: f64,
    #[prost(double, tag = "7")]
    pub(crate) duration_seconds: f64,
    #[prost(int32, tag = "8")]
    pub(crate) frames: i32,
    /// Bytes up to the end of a segment's first keyframe.
    #[prost(int64, tag = "9")]
    pub(crate) keyframe_bytes: i64,
    /// RFC 6381 codec string of an init segment.
    #[prost(string, tag = "10")]
    pub(crate) codec: String,
    /// Set for a sheet of thumbnails.
    #[prost(message, optional, tag = "11")]
    pub(crate) sheet: Option<RecordedSheet>,
}

/// A sheet of thumbnails.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct RecordedSheet {
    /// Seconds from one thumbnail to the next.
    #[prost(double, tag = "1")]
    pub(crate) interval_seconds: f64,
    #[prost(uint32, tag = "2")]
    pub(crate) count: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) columns: u32,
    /// Size of a thumbnail, pixels.
    #[prost(uint32, tag = "4")]
    pub(crate) width: u32,
    #[prost(uint32, tag = "5")]
    pub(crate) height: u32,
}

/// The value of the `outputs` columns.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StoredOutputs {
    #[prost(message, repeated, tag = "1")]
    pub(super) outputs: Vec<RecordedOutput>,
}

impl RecordedOutput {
    /// Rendition and sequence number of a segment; none of another output.
    pub(crate) fn into_segment(self) -> Option<(String, i32)> {
        (self.kind() == OutputKind::Segment).then_some((self.rendition_id, self.sequence))
    }

    /// Whether there are many of its kind.
    pub(super) fn is_numerous(&self) -> bool {
        matches!(self.kind(), OutputKind::Segment | OutputKind::Thumbnails)
    }

    pub(super) fn into_row(self, generation: &Generation) -> output::Model {
        output::Model {
            job_id: generation.job.clone(),
            generation: generation.number,
            kind: self.kind(),
            rendition_id: self.rendition_id,
            uri: self.uri,
            size_bytes: self.size_bytes,
            codec: self.codec,
        }
    }
}

impl From<output::Model> for RecordedOutput {
    fn from(row: output::Model) -> Self {
        Self {
            rendition_id: row.rendition_id,
            kind: row.kind.into(),
            uri: row.uri,
            size_bytes: row.size_bytes,
            codec: row.codec,
            ..Self::default()
        }
    }
}
