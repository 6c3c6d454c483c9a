//! Helpers of the tests: sources, the engine under test, servers for it, and ways to examine outputs.

mod cache;
mod clip;
mod engine;
mod fake_dispatcher;
mod fake_services;
mod ffmpeg;
mod file_server;
mod job;
mod numbered_frames;
mod processes;
mod recorded_outputs;
mod reference;
mod running_worker;

pub use clip::Clip;
pub use engine::{engine, jail, jail_helper, sleeping_encoder, stub_encoder};
pub use fake_services::{Event, FIRST_MESSAGE, FakeServices, QueuedTask};
pub use ffmpeg::{
    assert_duration, combing, count_frames, decode, duration_seconds, ffprobe, first_gray_frame, gray_frames,
    mono_samples,
};
pub use file_server::FileServer;
pub use job::{Job, Run, options, transcode, transcode_with, transcoded};
pub use numbered_frames::{H264, frame_number_in, frame_numbers, numbered_clip, numbered_clip_filtered};
pub use processes::{count_processes_in, pids_in, terminate_processes_in, wait_until};
pub use recorded_outputs::Recorded;
pub use reference::Reference;
pub use running_worker::RunningWorker;

use std::path::PathBuf;

/// Folder of real media, named by `REELMILL_MEDIA`. `None`, with a note on standard error, skips the test.
pub fn real_media() -> Option<PathBuf> {
    let folder = std::env::var_os("REELMILL_MEDIA").map(PathBuf::from).filter(|folder| folder.is_dir());
    if folder.is_none() {
        #[expect(clippy::print_stderr, reason = "a skipped test must be reported")]
        {
            eprintln!("SKIPPED: REELMILL_MEDIA does not name the folder of real media");
        }
    }
    folder
}
