//! How good a rung is, and how many bytes its picture has.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use reelmill_media::{geometry::Size, rate::Rate};
use serde_json::Value;
use tokio::process::Command;

use super::Bench;

/// VMAF looks at one frame in so many; the same ones of both.
const EVERY: u32 = 3;
/// Two pictures of the same frame are never as far apart.
const LEAST: f64 = 20.0;

/// The ffmpeg that has libvmaf, from the tests' Python environment. It encodes nothing that is measured.
pub(super) async fn scorer() -> anyhow::Result<PathBuf> {
    let tools = std::env::var_os("REELMILL_TOOLS")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools/bin")), PathBuf::from);
    let python = tools.join("python");
    let script = "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())";
    let output = Command::new(&python)
        .args(["-c", script])
        .output()
        .await
        .with_context(|| format!("{}: make bench installs it", python.display()))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

/// VMAF (v0.6.1, mean) of a rung that is shown at the source's size, against the source. Frames are compared by their
/// numbers.
pub(super) async fn vmaf(bench: &Bench<'_>, file: &str, size: Size, rate: Rate) -> anyhow::Result<f64> {
    let report = bench.folder.join("vmaf.json");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let numbered = format!("format=yuv420p,settb=AVTB,setpts=N/({rate})/TB");
    let graph = format!(
        "[0:v:0]scale={}:{}:flags=bicubic,setsar=1,{numbered}[made];[1:v:0]fps={rate},setsar=1,{numbered}[source];\
         [made][source]libvmaf=n_threads={threads}:n_subsample={EVERY}:log_fmt=json:log_path=vmaf.json:shortest=1",
        size.width, size.height
    );
    let output = Command::new(scorer().await?)
        .args(["-v", "error", "-nostdin", "-i", file, "-i"])
        .arg(&bench.clip.path)
        .args(["-lavfi", &graph, "-f", "null", "-"])
        .current_dir(bench.folder)
        .output()
        .await?;
    ensure!(output.status.success(), "VMAF of {file}: {}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&std::fs::read(report)?)?;
    let score = report["pooled_metrics"]["vmaf"]["mean"].as_f64().context("no VMAF")?;
    ensure!(score > LEAST, "{file}: a VMAF of {score} means that other frames were compared");
    Ok(score)
}

/// Bytes of the first picture stream, without its container.
pub(super) async fn picture_bytes(bench: &Bench<'_>, file: &str) -> anyhow::Result<f64> {
    let args = ["-v", "error", "-select_streams", "v:0", "-show_entries", "packet=size", "-of", "csv=p=0"];
    let output = Command::new("ffprobe").args(args).arg(file).current_dir(bench.folder).output().await?;
    ensure!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
    let sizes = String::from_utf8(output.stdout)?;
    let bytes: f64 = sizes.lines().filter_map(|line| line.trim_end_matches(',').parse::<f64>().ok()).sum();
    ensure!(bytes > 0.0, "{file} has no picture");
    Ok(bytes)
}
