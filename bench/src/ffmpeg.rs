//! Runs ffmpeg.

use std::{path::Path, process::Stdio};

use anyhow::ensure;
use tokio::process::Command;

use crate::figures::print_line;

/// Runs ffmpeg in `folder` until it exits; `verbose` prints the command first.
pub async fn run<S: AsRef<str>>(args: &[S], folder: &Path, verbose: bool) -> anyhow::Result<()> {
    let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
    if verbose {
        print_line(&format!("  ffmpeg {}", args.join(" ")))?;
    }
    let status = Command::new("ffmpeg").args(&args).current_dir(folder).stdin(Stdio::null()).status().await?;
    ensure!(status.success(), "ffmpeg {args:?} ended with {status}");
    Ok(())
}

/// Splits a command line at white space.
pub fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}
