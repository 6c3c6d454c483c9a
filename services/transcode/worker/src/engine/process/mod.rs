//! ffmpeg and ffprobe as child processes in a jail.

pub(crate) mod child;
pub(crate) mod jail;
