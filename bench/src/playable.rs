//! Time from CompleteUploadSession to the first playable segment: on an idle system for several lengths of video, and while
//! all bulk slots are busy.

use std::path::{Path, PathBuf};

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

/// Lengths of short clips.
const CLIP_SECONDS: [u32; 3] = [2, 12, 29];
/// Length of the long videos of the other owner, seconds, and their number: encoding them takes longer than the measurement.
const BACKLOG_SECONDS: u32 = 600;
const BACKLOG_VIDEOS: usize = 4;
/// Profile of the other owner.
const OTHER_OWNER: &str = "other";
/// Clips uploaded while all slots are busy.
const BUSY_CLIPS: usize = 20;
/// Encoders that run when all bulk slots are busy.
const BULK_ENCODERS: usize = 2;

/// The median for each length, and the ratio of the longest to the shortest.
pub async fn measure(figures: &mut Figures, options: &Options) -> anyhow::Result<()> {
    let system = System::start().await?;
    let clip = loop_clip(&system).await?;
    let shortest = options.seconds.unwrap_or(DEFAULT_SECONDS);
    for seconds in CLIP_SECONDS {
        let times = times_to_playable(&system, &clip, seconds, options.runs(3)).await?;
        let name = format!("complete-call to playable, {seconds} s of 1080p, median");
        figures.record(&name, median(times), "s", Some(Goal::AtMost(2.5)))?;
    }
    let mut medians = Vec::new();
    for seconds in MULTIPLES.map(|multiple| shortest * multiple) {
        let median = median(times_to_playable(&system, &clip, seconds, options.runs(3)).await?);
        let name = format!("complete-call to playable, {seconds} s of 1080p, median");
        figures.record(&name, median, "s", Some(Goal::AtMost(2.2)))?;
        medians.push(median);
    }
    let ratio = medians.last().zip(medians.first()).map_or(f64::NAN, |(longest, first)| longest / first);
    let name = format!("the same, {} times the length over once", MULTIPLES[MULTIPLES.len() - 1]);
    figures.record(&name, ratio, "x", Some(Goal::AtMost(1.2)))
}

/// With all bulk slots busy on long videos of another owner: a minute of video, time after time.
pub async fn measure_busy(figures: &mut Figures, options: &Options) -> anyhow::Result<()> {
    let system = System::start().await?;
    system.add_user(OTHER_OWNER, "other@example.org").await?;
    let clip = loop_clip(&system).await?;
    repeat(&clip, BACKLOG_SECONDS, "long.mp4", system.folder()).await?;
    let long = system.path("long.mp4").display().to_string();
    for _ in 0..BACKLOG_VIDEOS {
        let args = ["upload", "--json", "--no-resume", &long];
        system.client_of(OTHER_OWNER, &args).await?;
    }
    let seconds = options.seconds.unwrap_or(DEFAULT_SECONDS);
    let name = format!("{seconds}.mp4");
    repeat(&clip, seconds, &name, system.folder()).await?;
    let mut times = Vec::new();
    for _ in 0..options.runs(BUSY_CLIPS) {
        process::wait_until_children(system.pid()?, "ffmpeg", BULK_ENCODERS).await?;
        times.push(time_to_playable(&system, &name).await?);
    }
    let worst = times.iter().copied().fold(0.0, f64::max);
    let (count, what) = (times.len(), format!("complete-call to playable, {seconds} s, all bulk slots busy"));
    figures.record(&format!("{what}, median of {count}"), median(times), "s", Some(Goal::AtMost(3.0)))?;
    figures.record(&format!("{what}, worst of {count}"), worst, "s", Some(Goal::AtMost(5.0)))
}

/// The clip that is repeated: roughly what a phone or a screen recorder produces.
async fn loop_clip(system: &System) -> anyhow::Result<PathBuf> {
    let clip = system.path("loop.mp4");
    let encoder = ["-preset", "veryfast", "-b:v", "4M", "-maxrate", "5M", "-bufsize", "8M"];
    generate(VIDEO, LOOP_SECONDS, &encoder, &clip).await?;
    Ok(clip)
}

async fn times_to_playable(
    system: &System,
    clip: &Path,
    seconds: u32,
    runs: usize,
) -> anyhow::Result<Vec<f64>> {
    let name = format!("{seconds}.mp4");
    repeat(clip, seconds, &name, system.folder()).await?;
    let mut times = Vec::new();
    for _ in 0..runs {
        times.push(time_to_playable(system, &name).await?);
        process::wait_until_childless(system.pid()?, "ffmpeg").await?;
    }
    std::fs::remove_file(system.path(&name))?;
    Ok(times)
}

/// Repeats the clip by stream copy. The index is at the end of the file, as most recorders write it.
async fn repeat(clip: &Path, seconds: u32, name: &str, folder: &Path) -> anyhow::Result<()> {
    let (clip, length) = (clip.display().to_string(), seconds.to_string());
    let args = ["-v", "error", "-y", "-stream_loop", "-1", "-i", &clip, "-t", &length, "-c", "copy", name];
    ffmpeg::run(&args, folder, false).await
}

/// Uploads a file and deletes the video as soon as it is playable.
async fn time_to_playable(system: &System, name: &str) -> anyhow::Result<f64> {
    let file = system.path(name).display().to_string();
    let video = system.client(&["upload", "--until", "playable", "--json", "--no-resume", &file]).await?;
    ensure!(video["playable"] == true, "{video}");
    let seconds = video["timeToPlayableSeconds"].as_f64().context("no time to playable")?;
    let id = video["name"].as_str().context("no name")?;
    system.client(&["delete", "--yes", "--json", id]).await?;
    Ok(seconds)
}
