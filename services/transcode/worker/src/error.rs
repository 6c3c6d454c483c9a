//! Why a worker does not run.

use std::io;
use std::path::PathBuf;

/// Why a worker does not run.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The scratch folder cannot be used.
    #[error("scratch folder {path}: {cause}")]
    Scratch {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// ffmpeg cannot be run.
    #[error("{program} cannot be run: {cause}")]
    Encoder {
        /// As configured.
        program: String,
        /// What happened.
        cause: String,
    },
    /// ffmpeg cannot be confined.
    #[error(transparent)]
    Jail(reelmill_jail::JailError),
    /// The HTTP client cannot be made.
    #[error("HTTP client: {0}")]
    Http(reqwest::Error),
    /// A slot ended by itself.
    #[error("a slot of the worker died: {0}")]
    Slot(tokio::task::JoinError),
}
