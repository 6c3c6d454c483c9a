//! One long video on eight workers, compared with one worker. Each worker is limited to a quarter of a core.

use std::time::Instant;

use anyhow::{Context as _, ensure};

use crate::{
    clips::generate,
    distributed::DistributedSystem,
    figures::{Figures, Goal, median, print_line},
    options::Options,
    quota::Quota,
};

const CLIP: &str = "clip.mp4";
const WORKERS: usize = 8;
const CORES_PER_WORKER: f64 = 0.25;
const DEFAULT_SECONDS: u32 = 600;
const VIDEO: &str = "testsrc2=size=1280x720:rate=30,noise=alls=4:allf=t";
/// One task at a time on a quarter of a core.
const ONE_SLOT: [(&str, &str); 1] = [("WORKER__SLOTS", "1")];

/// Wall time from CompleteUploadSession to READY.
pub async fn measure(figures: &mut Figures, options: &Options) -> anyhow::Result<()> {
    if let Err(error) = Quota::new("try", CORES_PER_WORKER) {
        return print_line(&format!(
            "workers: skipped, because CPU quotas need root and control groups ({error:#})"
        ));
    }
    let seconds = options.seconds.unwrap_or(DEFAULT_SECONDS);
    let cluster = DistributedSystem::start().await?;
    let clip = cluster.system.path(CLIP);
    generate(VIDEO, seconds, &["-preset", "veryfast", "-crf", "23"], &clip).await?;
    let (mut one, mut many) = (Vec::new(), Vec::new());
    for _ in 0..options.runs(1) {
        one.push(round(&cluster, 1).await?);
        many.push(round(&cluster, WORKERS).await?);
    }
    let ratios = one.iter().zip(&many).map(|(one, many)| one / many).collect();
    let name = format!("{seconds} s of 720p on a quarter of a core");
    figures.record(&format!("{name}: 1 worker"), median(one), "s", None)?;
    figures.record(&format!("{name}: {WORKERS} workers"), median(many), "s", None)?;
    figures.record(
        &format!("{WORKERS} workers: speed-up over 1 worker"),
        median(ratios),
        "x",
        Some(Goal::AtLeast(6.5)),
    )
}

/// Uploads the clip to a number of workers; returns the seconds until READY.
async fn round(cluster: &DistributedSystem, count: usize) -> anyhow::Result<f64> {
    let system = &cluster.system;
    let mut workers = Vec::new();
    for index in 0..count {
        let name = format!("worker-{count}-{index}");
        let quota = Quota::new(&name, CORES_PER_WORKER)?;
        workers.push(cluster.start_worker(&name, Some(quota), &ONE_SLOT).await?);
    }
    let clip = system.path(CLIP).display().to_string();
    let video = system.client(&["upload", "--json", "--no-resume", &clip]).await?;
    let started = Instant::now();
    let id = video["name"].as_str().context("no name")?.to_owned();
    let video = system.client(&["watch", "--json", &id]).await?;
    let seconds = started.elapsed().as_secs_f64();
    ensure!(video["state"] == "READY", "{video}");
    let mut throttled = false;
    for worker in &workers {
        throttled |= worker.was_throttled()?;
    }
    ensure!(
        throttled,
        "no worker reached its CPU quota: the quota has no effect, or there was too little work"
    );
    system.client(&["delete", "--yes", "--json", &id]).await?;
    for worker in workers {
        worker.stop().await?;
    }
    Ok(seconds)
}
