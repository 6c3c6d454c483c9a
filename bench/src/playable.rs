//! From the complete-call to the first playable segment, by the length of the video.

use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::{
    clips::generate,
    figures::{Figures, Goal, median},
    options::Options,
    process,
    system::{System, run},
};

const PICTURE: &str = "testsrc2=size=1920x1080:rate=30,noise=alls=6:allf=t";
/// What is looped.
const LOOP: u32 = 20;
/// Seconds of the shortest video, unless told otherwise.
const SHORTEST: u32 = 60;
/// How many times as long as the shortest.
const TIMES: [u32; 3] = [1, 10, 60];

/// Medians, and the longest against the shortest.
pub async fn measure(figures: &mut Figures, options: &Options) -> anyhow::Result<()> {
    let system = System::start().await?;
    let clip = system.path("loop.mp4");
    // About what a phone or a screen recorder makes.
    let encoder = ["-preset", "veryfast", "-b:v", "4M", "-maxrate", "5M", "-bufsize", "8M"];
    generate(PICTURE, LOOP, &encoder, &clip).await?;
    let shortest = options.seconds.unwrap_or(SHORTEST);
    let mut medians = Vec::new();
    for seconds in TIMES.map(|times| shortest * times) {
        let name = format!("{seconds}.mp4");
        repeat(&clip, seconds, &name, system.folder.path()).await?;
        let mut took = Vec::new();
        for _ in 0..options.runs(3) {
            took.push(once(&system, &name).await?);
        }
        std::fs::remove_file(system.path(&name))?;
        let middle = median(took);
        let name = format!("complete-call to playable, {seconds} s of 1080p, median");
        figures.note(&name, middle, "s", Some(Goal::AtMost(3.0)))?;
        medians.push(middle);
    }
    let ratio = medians.last().zip(medians.first()).map_or(f64::NAN, |(longest, first)| longest / first);
    let name = format!("the same, {} times the length over once", TIMES[TIMES.len() - 1]);
    figures.note(&name, ratio, "x", Some(Goal::AtMost(1.2)))
}

/// The clip over and over, without encoding it again; the index at the end, as most recorders leave it.
async fn repeat(clip: &Path, seconds: u32, name: &str, folder: &Path) -> anyhow::Result<()> {
    let (clip, length) = (clip.display().to_string(), seconds.to_string());
    let args = ["-v", "error", "-y", "-stream_loop", "-1", "-i", &clip, "-t", &length, "-c", "copy", name];
    run("ffmpeg", &args, folder).await
}

/// Uploads, and ends what is left to encode as soon as it plays: the next one finds the machine idle.
async fn once(system: &System, name: &str) -> anyhow::Result<f64> {
    let file = system.path(name).display().to_string();
    let video = system.client(&["upload", "--until", "playable", "--json", "--no-resume", &file]).await?;
    ensure!(video["playable"] == true, "{video}");
    let took = video["timeToPlayableSeconds"].as_f64().context("no time to playable")?;
    let id = video["name"].as_str().context("no name")?;
    system.client(&["delete", "--yes", "--json", id]).await?;
    process::until_childless(system.pid()?, "ffmpeg").await?;
    Ok(took)
}
