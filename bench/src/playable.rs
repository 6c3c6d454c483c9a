//! Time from CompleteUploadSession to the first playable segment, for several lengths of video.

use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::{
    clips::generate,
    ffmpeg,
    figures::{Figures, Goal, median},
    options::Options,
    process,
    system::System,
};

const VIDEO: &str = "testsrc2=size=1920x1080:rate=30,noise=alls=6:allf=t";
/// Length of the clip that is repeated.
const LOOP_SECONDS: u32 = 20;
/// Length of the shortest video.
const DEFAULT_SECONDS: u32 = 60;
/// Lengths of the videos, as multiples of the shortest.
const MULTIPLES: [u32; 3] = [1, 10, 60];

/// The median for each length, and the ratio of the longest to the shortest.
pub async fn measure(figures: &mut Figures, options: &Options) -> anyhow::Result<()> {
    let system = System::start().await?;
    let clip = system.path("loop.mp4");
    // Roughly what a phone or a screen recorder produces.
    let encoder = ["-preset", "veryfast", "-b:v", "4M", "-maxrate", "5M", "-bufsize", "8M"];
    generate(VIDEO, LOOP_SECONDS, &encoder, &clip).await?;
    let shortest = options.seconds.unwrap_or(DEFAULT_SECONDS);
    let mut medians = Vec::new();
    for seconds in MULTIPLES.map(|multiple| shortest * multiple) {
        let name = format!("{seconds}.mp4");
        repeat(&clip, seconds, &name, system.folder()).await?;
        let mut times = Vec::new();
        for _ in 0..options.runs(3) {
            times.push(time_to_playable(&system, &name).await?);
        }
        std::fs::remove_file(system.path(&name))?;
        let median = median(times);
        let name = format!("complete-call to playable, {seconds} s of 1080p, median");
        figures.record(&name, median, "s", Some(Goal::AtMost(3.0)))?;
        medians.push(median);
    }
    let ratio = medians.last().zip(medians.first()).map_or(f64::NAN, |(longest, first)| longest / first);
    let name = format!("the same, {} times the length over once", MULTIPLES[MULTIPLES.len() - 1]);
    figures.record(&name, ratio, "x", Some(Goal::AtMost(1.2)))
}

/// Repeats the clip by stream copy. The index is at the end of the file, as most recorders write it.
async fn repeat(clip: &Path, seconds: u32, name: &str, folder: &Path) -> anyhow::Result<()> {
    let (clip, length) = (clip.display().to_string(), seconds.to_string());
    let args = ["-v", "error", "-y", "-stream_loop", "-1", "-i", &clip, "-t", &length, "-c", "copy", name];
    ffmpeg::run(&args, folder, false).await
}

/// Uploads a file and deletes the video as soon as it is playable, so that the machine is idle for the next one.
async fn time_to_playable(system: &System, name: &str) -> anyhow::Result<f64> {
    let file = system.path(name).display().to_string();
    let video = system.client(&["upload", "--until", "playable", "--json", "--no-resume", &file]).await?;
    ensure!(video["playable"] == true, "{video}");
    let seconds = video["timeToPlayableSeconds"].as_f64().context("no time to playable")?;
    let id = video["name"].as_str().context("no name")?;
    system.client(&["delete", "--yes", "--json", id]).await?;
    process::wait_until_childless(system.pid()?, "ffmpeg").await?;
    Ok(seconds)
}
