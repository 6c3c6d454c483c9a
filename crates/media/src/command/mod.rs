//! The ffmpeg and ffprobe command lines, as pure lists of arguments.
//!
//! Inputs are always opened with whitelists of protocols and formats: a playlist inside a video must not open anything
//! else.

mod args;
mod encode;
mod encoders;
mod graph;
mod input;
mod probing;
mod remux;
mod self_test;

pub use args::{InputFile, MAX_STREAMS, TRANSPORT_STREAM};
pub use encode::{EncodeCommand, FIRST_FD, Stream, encode};
pub use input::Input;
pub use probing::{
    ProbeDepth, hdr_metadata, last_packets, packet_samples, packets, packets_from, picture_samples, probe,
};
pub use remux::remux;
pub use self_test::self_test;

#[cfg(test)]
mod tests;
