//! Progress of a task: what ffmpeg reports of each frame (`frame:N`), or how far the audio of a source without
//! video has been encoded, as a snapshot that other tasks can watch.

pub(crate) mod frame_log;
pub(crate) mod publisher;
pub(crate) mod rate_meter;
pub(crate) mod snapshot;
