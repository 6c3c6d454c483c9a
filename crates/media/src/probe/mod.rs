//! Reads ffprobe's description of a file into the facts that the plan needs, or rejects the file.

mod contents;
mod description;
mod hdr_metadata;
mod numbers;
mod parse;
mod source;

pub use contents::{Contents, ProgramSummary, Track, TrackKind};
pub use hdr_metadata::{HdrMetadata, parse_hdr_metadata};
pub(crate) use numbers::{number, packet_times};
pub use parse::{
    Measured, follow_one_another, has_doubtful_duration, has_several_pictures, needs_deeper_probe,
    packet_counts, parse, parse_measured,
};
pub use source::{
    Audio, Crop, END_TOLERANCE_SECONDS, MAX_PIXELS, MAX_SECONDS, Mix, Source, Subtitles, Video, VideoRange,
};

#[cfg(test)]
mod tests;
