//! VMAF and size of encoded rungs.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use reelmill_media::{geometry::Size, rate::Rate};
use serde_json::Value;
use tokio::process::Command;

use super::{
    curve::Point,
    peers::SourceInfo,
    runner::{Encoded, Runner},
    worker,
};
use crate::figures::print_line;

/// VMAF is computed for every third frame, the same ones in both files.
const VMAF_FRAME_INTERVAL: u32 = 3;
/// Gives both inputs the same colour tags. Otherwise ffmpeg converts colours between an untagged source and the tagged
/// encode, which lowers VMAF.
const COLOR_TAGS: &str = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv";
/// Below this, different frames must have been compared.
const MIN_PLAUSIBLE_VMAF: f64 = 20.0;

/// How frames are compared: scaled to this size, at this rate.
pub(super) struct Reference {
    pub size: Size,
    pub rate: Rate,
}

impl Reference {
    /// The source's display size, for which VMAF is defined; it need not be the size of a rung.
    pub async fn of(runner: &Runner<'_>, source: &SourceInfo) -> anyhow::Result<Self> {
        let largest = *source.sizes.first().context("no rungs")?;
        let video = worker::probe(&runner.clip.path).await?.video;
        Ok(Self { size: video.map_or(largest, |video| video.display_size()), rate: source.rate })
    }

    /// Measures each rung, encoded at the CRF given for it.
    pub async fn points(
        &self,
        runner: &Runner<'_>,
        encoded: &Encoded,
        crfs: &[f64],
    ) -> anyhow::Result<Vec<Point>> {
        let mut points = Vec::new();
        for (file, &crf) in encoded.files.iter().zip(crfs) {
            let vmaf = self.vmaf(runner, file).await?;
            let bytes = video_bytes(runner, file).await?;
            if runner.verbose {
                print_line(&format!("  {file}: CRF {crf}, VMAF {vmaf:.2}, {bytes} bytes"))?;
            }
            points.push(Point { crf, vmaf, bytes });
        }
        Ok(points)
    }

    /// Mean VMAF (v0.6.1) of a rung against the source. Frames are matched by number.
    async fn vmaf(&self, runner: &Runner<'_>, file: &str) -> anyhow::Result<f64> {
        let Self { size, rate } = self;
        let report = runner.folder.join("vmaf.json");
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let numbered = format!("format=yuv420p,settb=AVTB,setpts=N/({rate})/TB");
        let graph = format!(
            "[0:v:0]{COLOR_TAGS},scale={}:{}:flags=bicubic,setsar=1,{numbered}[encoded];\
             [1:v:0]{COLOR_TAGS},fps={rate},setsar=1,{numbered}[source];\
             [encoded][source]libvmaf=n_threads={threads}:n_subsample={VMAF_FRAME_INTERVAL}:\
             log_fmt=json:log_path=vmaf.json:shortest=1",
            size.width, size.height
        );
        let output = Command::new(vmaf_ffmpeg().await?)
            .args(["-v", "error", "-nostdin", "-i", file, "-i"])
            .arg(&runner.clip.path)
            .args(["-lavfi", &graph, "-f", "null", "-"])
            .current_dir(runner.folder)
            .output()
            .await?;
        ensure!(output.status.success(), "VMAF of {file}: {}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&std::fs::read(report)?)?;
        let score = report["pooled_metrics"]["vmaf"]["mean"].as_f64().context("no VMAF")?;
        ensure!(
            score > MIN_PLAUSIBLE_VMAF,
            "{file}: a VMAF of {score} means that different frames were compared"
        );
        Ok(score)
    }
}

/// The ffmpeg with libvmaf from the tests' Python environment. It is used for VMAF only, not for encoding.
async fn vmaf_ffmpeg() -> anyhow::Result<PathBuf> {
    let tools = std::env::var_os("REELMILL_TOOLS")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools/bin")), PathBuf::from);
    let python = tools.join("python");
    let script = "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())";
    let output = Command::new(&python)
        .args(["-c", script])
        .output()
        .await
        .with_context(|| format!("{} is missing: make bench installs it", python.display()))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

/// Bytes of the first video stream, without container overhead.
async fn video_bytes(runner: &Runner<'_>, file: &str) -> anyhow::Result<f64> {
    let args = ["-v", "error", "-select_streams", "v:0", "-show_entries", "packet=size", "-of", "csv=p=0"];
    let output = Command::new("ffprobe").args(args).arg(file).current_dir(runner.folder).output().await?;
    ensure!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
    let sizes = String::from_utf8(output.stdout)?;
    let bytes: f64 = sizes.lines().filter_map(|line| line.trim_end_matches(',').parse::<f64>().ok()).sum();
    ensure!(bytes > 0.0, "{file} has no video stream");
    Ok(bytes)
}
