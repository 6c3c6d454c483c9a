//! The commands a worker runs for a short video: one ffmpeg for all of its plan, then a remux a rung. They read the clip
//! as a file here, and write to files; what the worker, its store and its jail cost on top is in the whole job's figure.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use reelmill_media::{
    command::{self, Input, Stream},
    plan::{self, Options, Plan, Preset},
    probe::{self, Source},
};
use tokio::process::Command;

use super::{Bench, Made};
use crate::process;

/// Threads of each encoder, as the default configuration has them.
const THREADS: u32 = 2;

/// What the clip is.
pub(super) async fn probe(clip: &Path) -> anyhow::Result<Source> {
    let args = from_file(command::probe(&clip.display().to_string()));
    let output = Command::new("ffprobe").args(args).output().await?;
    ensure!(output.status.success(), "ffprobe: {}", String::from_utf8_lossy(&output.stderr));
    probe::parse(&output.stdout).map_err(|failure| anyhow::anyhow!("{}: {failure:?}", clip.display()))
}

/// What a job with these wishes and nothing else would do.
pub(super) fn plan(source: &Source, preset: Preset, rungs: &[u32]) -> anyhow::Result<Plan> {
    let options = Options { preset, rungs: rungs.to_vec(), threads: THREADS, ..Options::default() };
    let plan = plan::plan(source, &options);
    ensure!(plan.is_single(), "the clip is so long that it would be cut into chunks");
    Ok(plan)
}

/// Makes everything of the plan: all rungs, the sound, poster, thumbnails and a progressive MP4 a rung.
pub(super) async fn make(bench: &Bench<'_>, plan: &Plan, name: &str) -> anyhow::Result<Made> {
    let work_unit = plan.work_units.first().context("no share")?;
    let address = bench.clip.path.display().to_string();
    // The worker looks whether the end of the clip can be believed.
    let end = plan.source.video.as_ref().and_then(|video| video.stated_end);
    let input = Input { address: &address, seek: None, end, audio_format_changes: false };
    let encode = command::encode(plan, work_unit, &input);
    let video_plan = plan.video.as_ref().context("no picture")?;
    let file_of = |stream: Stream| match stream {
        Stream::Rung(place) => format!("{name}-{}.fragments", video_plan.rungs[place].id),
        Stream::Audio(place) => format!("{name}-audio-{place}.fragments"),
        Stream::Progress => "/dev/null".to_owned(),
        other => format!("{name}-{other:?}"),
    };
    let files: Vec<String> = encode.streams.iter().map(|&stream| file_of(stream)).collect();
    let before = process::children_cpu_seconds()?;
    bench.ffmpeg(&to_files(from_file(encode.args), &files)?).await?;
    let sound = encode.streams.iter().position(|stream| *stream == Stream::Audio(0));
    let mut made = Vec::new();
    for (place, stream) in encode.streams.iter().enumerate() {
        if let Stream::Rung(rung) = stream {
            let output = format!("{name}-{}.mp4", video_plan.rungs[*rung].id);
            let sound = sound.map(|sound| files[sound].as_str());
            bench.ffmpeg(&command::remux(Some(&files[place]), sound, &output)).await?;
            made.push(output);
        }
    }
    Ok(Made { cpu: process::children_cpu_seconds()? - before, files: made })
}

/// The worker reads through a loopback proxy and allows nothing else.
fn from_file(args: Vec<String>) -> Vec<String> {
    args.into_iter().map(|arg| if arg == "http,tcp" { "file".to_owned() } else { arg }).collect()
}

/// The worker reads from pipes what is written to files here.
fn to_files(mut args: Vec<String>, files: &[String]) -> anyhow::Result<Vec<String>> {
    for arg in &mut args {
        let Some(pipe) = arg.strip_prefix("pipe:") else { continue };
        let place = pipe.parse::<usize>()?.checked_sub(command::FIRST_FD as usize);
        match place.and_then(|place| files.get(place)) {
            Some(file) => *arg = format!("file:{file}"),
            None => bail!("{arg}: no such output"),
        }
    }
    Ok(args)
}
