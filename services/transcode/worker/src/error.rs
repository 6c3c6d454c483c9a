//! Errors that keep a worker from running.

use std::{io, path::PathBuf};

/// An error that keeps a worker from running.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The scratch folder cannot be used.
    #[error("the scratch folder {path} cannot be used: {cause}")]
    Scratch {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// ffmpeg cannot be run.
    #[error("{program} cannot be run: {cause}")]
    Encoder {
        /// As configured.
        program: String,
        /// The system's error, or how the program exited.
        cause: String,
    },
    /// ffmpeg cannot be confined.
    #[error(transparent)]
    Jail(reelmill_jail::JailError),
    /// The HTTP client cannot be created.
    #[error("the HTTP client cannot be created: {0}")]
    Http(reqwest::Error),
    /// A slot panicked.
    #[error("a slot of the worker panicked: {0}")]
    Slot(tokio::task::JoinError),
}
