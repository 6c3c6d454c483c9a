//! Peak resident memory of a task's ffmpeg, and of the worker process beside it.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::{
    apart::Worker,
    clips::generate,
    figures::{Figures, Goal},
    options::Options,
    process,
    system::System,
};

/// A source: what it is called, its size, its usual length in seconds (the first is cut into chunks, so that every slot
/// of the worker is busy; the second is one task of six rungs), and the most its ffmpeg should take, MB.
const SOURCES: [(&str, &str, u32, f64); 2] =
    [("1080p", "1920x1080", 40, 600.0), ("4K", "3840x2160", 8, 2200.0)];
/// The worker itself, MB.
const WORKER: f64 = 100.0;

/// The goals are in decimal megabytes.
const MB_PER_MIB: f64 = 1.048_576;

/// The peaks, MiB.
#[derive(Default)]
struct Peaks {
    ffmpeg: f64,
    worker: f64,
}

pub(super) async fn measure(figures: &mut Figures, options: &Options) -> anyhow::Result<()> {
    let system = System::apart().await?;
    let worker = system.worker("worker", None, &[]).await?;
    let mut of_worker = 0.0f64;
    for (name, size, usual, limit) in SOURCES {
        let clip = system.path(&format!("{name}.mp4"));
        let picture = format!("testsrc2=size={size}:rate=30,noise=alls=6:allf=t");
        let seconds = options.seconds.unwrap_or(usual);
        generate(&picture, seconds, &["-preset", "ultrafast", "-crf", "22"], &clip).await?;
        let peaks = watch(&system, &worker, &clip.display().to_string()).await?;
        let name = format!("peak resident of a {name} task's ffmpeg");
        figures.note(&name, peaks.ffmpeg * MB_PER_MIB, "MB", Some(Goal::AtMost(limit)))?;
        of_worker = of_worker.max(peaks.worker);
    }
    figures.note(
        "peak resident of the worker itself",
        of_worker * MB_PER_MIB,
        "MB",
        Some(Goal::AtMost(WORKER)),
    )
}

/// The kernel keeps each process's peak; it is read until the process ends.
async fn watch(system: &System, worker: &Worker, clip: &str) -> anyhow::Result<Peaks> {
    let mut peaks = Peaks::default();
    let mut upload = system.command(&["upload", "--wait", "--json", "--no-resume", clip]);
    let mut client = upload.stdout(std::process::Stdio::null()).spawn()?;
    let ended = loop {
        // Each task's ffmpeg is one process, the only one of its group; the jail became it.
        for ffmpeg in process::children(worker.pid()?, "ffmpeg")? {
            peaks.ffmpeg = peaks.ffmpeg.max(process::peak_resident_mib(ffmpeg).unwrap_or(0.0));
        }
        tokio::select! {
            ended = client.wait() => break ended?,
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    };
    ensure!(ended.success(), "{clip} did not become READY");
    ensure!(peaks.ffmpeg > 0.0, "no ffmpeg was seen");
    peaks.worker = process::peak_resident_mib(worker.pid()?).context("the worker ended")?;
    Ok(peaks)
}
