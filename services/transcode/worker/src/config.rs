//! Configuration of a worker.

use std::{path::PathBuf, time::Duration};

use crate::engine::Jail;

/// Configuration of a worker.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Name of the worker, for logs and operators.
    pub name: String,
    /// Folder for temporary files. Workers may share it; each removes what crashed workers left behind.
    pub scratch_dir: PathBuf,
    /// Tasks that run at the same time.
    pub slots: usize,
    /// How ffmpeg is confined.
    pub jail: Jail,
    /// ffmpeg: a path, or a name that is searched in `PATH`.
    pub ffmpeg: String,
    /// ffprobe, likewise.
    pub ffprobe: String,
    /// How long running tasks may continue after the worker is asked to shut down. Those that have not ended
    /// by then are handed back.
    pub drain: Duration,
}

impl WorkerConfig {
    /// A worker with one slot and the ffmpeg in `PATH`.
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

/// Default number of slots: one per core. At least two, so that a single core is not idle while one task waits
/// for the source, the object store or its last frames.
pub fn default_slots(cores: usize) -> usize {
    cores.max(2)
}
