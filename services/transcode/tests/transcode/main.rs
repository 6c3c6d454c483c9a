//! The transcode role through its own port, on every database it runs on.

mod jobs;
mod tasks;
mod world;
