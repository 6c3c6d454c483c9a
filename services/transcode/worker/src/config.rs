//! Configuration of a worker.

use std::{path::PathBuf, time::Duration};

use crate::engine::Jail;

/// Configuration of a worker.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Name of the worker, for logs and operators. Must be unique per process.
    pub name: String,
    /// Name of its host.
    pub host: String,
    /// Release of the program.
    pub version: String,
    /// Folder for temporary files. Workers may share it; each removes what crashed workers left behind.
    pub scratch_dir: PathBuf,
    /// BULK tasks that run at the same time.
    pub slots: usize,
    /// EXPRESS tasks that run at the same time, beside the others.
    pub express_slots: usize,
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
    /// A worker with one slot of each class and the ffmpeg in `PATH`.
    pub fn new(scratch_dir: PathBuf, jail: Jail) -> Self {
        Self {
            name: format!("worker-{:08x}", rand::random::<u32>()),
            host: String::new(),
            version: String::new(),
            scratch_dir,
            slots: 1,
            express_slots: 1,
            jail,
            ffmpeg: "ffmpeg".into(),
            ffprobe: "ffprobe".into(),
            drain: Duration::from_secs(5),
        }
    }
}

/// Default number of EXPRESS slots: one for the first segment of a video, one for its sound.
pub const DEFAULT_EXPRESS_SLOTS: usize = 2;

/// Default number of BULK slots: one per core. At least two, so that a single core is not idle while one task waits
/// for the source, the object store or its last frames.
pub fn default_slots(cores: usize) -> usize {
    cores.max(2)
}
