//! Peak resident memory of a task's ffmpeg and of the worker process.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::{
    clips::generate,
    distributed::{DistributedSystem, Worker},
    figures::{Figures, Goal},
    options::Options,
    process,
    system::System,
};

/// Name, size and default length in seconds of each source, and the goal for its ffmpeg, MB. The first is split into
/// chunks, so that every slot of the worker is busy; the largest tasks of the second have all six rungs.
const SOURCES: [(&str, &str, u32, f64); 2] =
    [("1080p", "1920x1080", 40, 600.0), ("4K", "3840x2160", 8, 2200.0)];
const WORKER_GOAL_MB: f64 = 100.0;

/// The goals are in decimal megabytes.
const MB_PER_MIB: f64 = 1.048_576;

/// Peak resident memory, MiB.
#[derive(Default)]
struct Peaks {
    ffmpeg: f64,
    worker: f64,
}

pub(super) async fn measure(figures: &mut Figures, options: &Options) -> anyhow::Result<()> {
    let cluster = DistributedSystem::start().await?;
    let worker = cluster.start_worker("worker", None, &[]).await?;
    let system = &cluster.system;
    let mut worker_peak = 0.0f64;
    for (name, size, default_seconds, goal) in SOURCES {
        let clip = system.path(&format!("{name}.mp4"));
        let video = format!("testsrc2=size={size}:rate=30,noise=alls=6:allf=t");
        let seconds = options.seconds.unwrap_or(default_seconds);
        generate(&video, seconds, &["-preset", "ultrafast", "-crf", "22"], &clip).await?;
        let peaks = watch(system, &worker, &clip.display().to_string()).await?;
        let name = format!("peak resident of a {name} task's ffmpeg");
        figures.record(&name, peaks.ffmpeg * MB_PER_MIB, "MB", Some(Goal::AtMost(goal)))?;
        worker_peak = worker_peak.max(peaks.worker);
    }
    figures.record(
        "peak resident of the worker itself",
        worker_peak * MB_PER_MIB,
        "MB",
        Some(Goal::AtMost(WORKER_GOAL_MB)),
    )
}

/// Uploads a clip and polls the peaks, which the kernel keeps per process, until the video is READY.
async fn watch(system: &System, worker: &Worker, clip: &str) -> anyhow::Result<Peaks> {
    let mut peaks = Peaks::default();
    let mut upload = system.command(&["upload", "--wait", "--json", "--no-resume", clip]);
    let mut client = upload.stdout(std::process::Stdio::null()).spawn()?;
    let status = loop {
        // The jail execs ffmpeg, so each task's ffmpeg is a direct child of the worker.
        for ffmpeg in process::children(worker.pid()?, "ffmpeg")? {
            peaks.ffmpeg = peaks.ffmpeg.max(process::peak_resident_mib(ffmpeg).unwrap_or(0.0));
        }
        tokio::select! {
            status = client.wait() => break status?,
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    };
    ensure!(status.success(), "{clip} did not become READY");
    ensure!(peaks.ffmpeg > 0.0, "no ffmpeg was seen");
    peaks.worker = process::peak_resident_mib(worker.pid()?).context("the worker ended")?;
    Ok(peaks)
}
