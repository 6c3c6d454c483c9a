//! Storage form of the lists in a SourceInfo.

use prost::Message as _;

use crate::transcode::SourceInfo;

/// The tracks and programmes of a source, for a database: a SourceInfo with these two fields, Protobuf.
pub fn encode_source_contents(source: &SourceInfo) -> Vec<u8> {
    let (tracks, programs) = (source.tracks.clone(), source.programs.clone());
    SourceInfo { tracks, programs, ..SourceInfo::default() }.encode_to_vec()
}

/// What [`encode_source_contents`] wrote; empty for anything else.
pub fn source_contents(bytes: &[u8]) -> SourceInfo {
    SourceInfo::decode(bytes).unwrap_or_default()
}
