//! The transcode role through its own port, on every database it runs on.

mod fake;
mod finish;
mod jobs;
mod planning;
mod progress;
mod publish;
mod tasks;
mod world;
