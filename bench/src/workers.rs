//! One long video on eight workers against one, each held to a quarter of a core.

use std::time::Instant;

use anyhow::{Context as _, ensure};

use crate::{
    clips::generate,
    figures::{Figures, Goal, median, say},
    options::Options,
    quota::Quota,
    system::System,
};

const WORKERS: usize = 8;
/// Of one core.
const SHARE: f64 = 0.25;
const SECONDS: u32 = 600;
/// 720p: the whole on one quarter of a core takes about an hour.
const PICTURE: &str = "testsrc2=size=1280x720:rate=30,noise=alls=4:allf=t";
/// So that a share of a core is worked at one task at a time.
const ONE_SLOT: [(&str, &str); 1] = [("WORKER__SLOTS", "1")];

/// Complete-call to READY.
pub async fn measure(figures: &mut Figures, options: &Options) -> anyhow::Result<()> {
    if let Err(error) = Quota::new("try", SHARE) {
        return say(&format!("workers: skipped, for CPU quotas need root and control groups ({error:#})"));
    }
    let seconds = options.seconds.unwrap_or(SECONDS);
    let system = System::apart().await?;
    generate(PICTURE, seconds, &["-preset", "veryfast", "-crf", "23"], &system.path("clip.mp4")).await?;
    let (mut one, mut many) = (Vec::new(), Vec::new());
    for _ in 0..options.runs(1) {
        one.push(round(&system, 1).await?);
        many.push(round(&system, WORKERS).await?);
    }
    let ratios = one.iter().zip(&many).map(|(one, many)| one / many).collect();
    let name = format!("{seconds} s of 720p on a quarter of a core");
    figures.note(&format!("{name}: 1 worker"), median(one), "s", None)?;
    figures.note(&format!("{name}: {WORKERS} workers"), median(many), "s", None)?;
    figures.note(
        &format!("{WORKERS} workers: so many times as fast"),
        median(ratios),
        "x",
        Some(Goal::AtLeast(6.5)),
    )
}

/// Wall seconds.
async fn round(system: &System, workers: usize) -> anyhow::Result<f64> {
    let mut crew = Vec::new();
    for place in 0..workers {
        let name = format!("worker-{workers}-{place}");
        let quota = Quota::new(&name, SHARE)?;
        crew.push(system.worker(&name, Some(quota), &ONE_SLOT).await?);
    }
    let clip = system.path("clip.mp4").display().to_string();
    let video = system.client(&["upload", "--json", "--no-resume", &clip]).await?;
    let begun = Instant::now();
    let id = video["name"].as_str().context("no name")?.to_owned();
    let video = system.client(&["watch", "--json", &id]).await?;
    let took = begun.elapsed().as_secs_f64();
    ensure!(video["state"] == "READY", "{video}");
    let mut held = false;
    for worker in &crew {
        held |= worker.was_held()?;
    }
    ensure!(held, "no worker ever came to its limit: the quota does not hold, or there was too little work");
    system.client(&["delete", "--yes", "--json", &id]).await?;
    for worker in crew {
        worker.end().await?;
    }
    Ok(took)
}
