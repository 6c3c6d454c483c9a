//! Runs commands on one clip.

use std::path::Path;

use crate::{clips::Clip, ffmpeg};

/// A clip and how to measure it.
pub(super) struct Runner<'a> {
    pub folder: &'a Path,
    pub clip: &'a Clip,
    /// Whether to print commands and VMAF scores.
    pub verbose: bool,
    /// Number of times that CPU seconds are measured; the median counts.
    pub runs: usize,
}

/// Result of encoding all rungs of a clip.
pub(super) struct Encoded {
    pub cpu_seconds: f64,
    /// A decodable file per rung, relative to the runner's folder.
    pub files: Vec<String>,
}

impl Runner<'_> {
    pub async fn ffmpeg(&self, args: &[String]) -> anyhow::Result<()> {
        ffmpeg::run(args, self.folder, self.verbose).await
    }
}
