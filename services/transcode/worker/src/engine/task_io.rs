//! What a task of the engine writes to, and what it returns.

use std::{collections::HashMap, path::Path, sync::Arc};

use reelmill_media::Failure;

use crate::engine::{output::sink::OutputSink, progress::publisher::ProgressPublisher};

/// What a task writes to.
#[derive(Clone)]
pub struct TaskIo<'a> {
    /// An existing folder for temporary files. The caller removes it.
    pub scratch: &'a Path,
    /// Where outputs are uploaded and recorded.
    pub sink: Arc<dyn OutputSink>,
    /// Where progress is published.
    pub progress: &'a ProgressPublisher,
}

/// Result of a completed task. Its outputs are recorded already.
#[derive(Clone, Debug, Default)]
pub struct Completion {
    /// Warnings for the uploader.
    pub warnings: Vec<Failure>,
    /// Number of encoded segments, by rendition.
    pub segments: HashMap<String, u32>,
}
