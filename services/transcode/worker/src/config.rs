//! What a worker is told.

use crate::engine::Jail;
use std::path::PathBuf;
use std::time::Duration;

/// The configuration of a worker.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Its name, for people.
    pub name: String,
    /// Folder for what is being made. Workers may share it; each removes what dead ones left.
    pub scratch_dir: PathBuf,
    /// Tasks at once.
    pub slots: usize,
    /// How ffmpeg is confined.
    pub jail: Jail,
    /// The encoder: a name on the path, or a path.
    pub ffmpeg: String,
    /// The prober.
    pub ffprobe: String,
    /// How long running tasks may go on once the worker is told to stop. What is not done by then
    /// is handed back.
    pub drain: Duration,
}

impl WorkerConfig {
    /// A worker with one slot and the ffmpeg on the path.
    pub fn new(scratch_dir: PathBuf, jail: Jail) -> Self {
        Self {
            name: format!("worker-{}", std::process::id()),
            scratch_dir,
            slots: 1,
            jail,
            ffmpeg: "ffmpeg".into(),
            ffprobe: "ffprobe".into(),
            drain: Duration::from_secs(5),
        }
    }
}

/// Tasks at once on this machine: each keeps a core busy; and with a second one a single core is not idle while the first
/// waits for a source, a store or its last frames.
pub fn slots_of(cores: usize) -> usize {
    cores.max(2)
}
