//! The commands that a worker runs for a video of one work unit: one ffmpeg for the whole plan, then one remux per rung.
//! Here they read and write files. The overhead of the worker, its jail and the object store is part of the `job` group.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use reelmill_media::{
    command::{self, Input, InputFile, ProbeDepth, Stream},
    plan::{self, Options, Plan, Preset},
    probe::{self, Source},
};
use tokio::process::Command;

use super::runner::{Encoded, Runner};
use crate::process;

/// Threads per encoder in the default configuration.
const ENCODER_THREADS: u32 = 2;

/// Probes a clip.
pub(super) async fn probe(clip: &Path) -> anyhow::Result<Source> {
    let uri = clip.display().to_string();
    let args = from_file(command::probe(
        InputFile { uri: &uri, container: "", merges_tracks: false },
        ProbeDepth::Usual,
    ));
    let output = Command::new("ffprobe").args(args).output().await?;
    ensure!(output.status.success(), "ffprobe: {}", String::from_utf8_lossy(&output.stderr));
    probe::parse(&output.stdout, None).map_err(|failure| anyhow::anyhow!("{}: {failure:?}", clip.display()))
}

/// The plan of a job with these options, as for a source of unknown duration: in one work unit. An empty slice means all
/// rungs.
pub(super) fn plan(source: &Source, preset: Preset, rungs: &[u32]) -> anyhow::Result<Plan> {
    let mut source = Source { duration: None, ..source.clone() };
    if let Some(video) = &mut source.video {
        video.duration = None;
    }
    let source = &source;
    let options = Options { preset, rungs: rungs.to_vec(), threads: ENCODER_THREADS, ..Options::default() };
    let plan = plan::plan(source, &options);
    ensure!(plan.is_single(), "the plan has several work units");
    Ok(plan)
}

/// Produces all outputs of the plan: rungs, audio, poster, thumbnails and one progressive MP4 per rung.
pub(super) async fn encode(runner: &Runner<'_>, plan: &Plan, name: &str) -> anyhow::Result<Encoded> {
    let work_unit = plan.work_units.first().context("no work unit")?;
    let address = runner.clip.path.display().to_string();
    // A worker verifies the stated end first; here it is assumed to be right.
    let end = plan.source.video.as_ref().and_then(|video| video.stated_end);
    let input = Input { address: &address, seek: None, end, audio_format_changes: false };
    let command = command::encode(plan, work_unit, &input);
    let video = plan.video.as_ref().context("no video track")?;
    let file_of = |stream: Stream| match stream {
        Stream::Rung(index) => format!("{name}-{}.fragments", video.rungs[index].id),
        Stream::Audio(index) => format!("{name}-audio-{index}.fragments"),
        Stream::Progress => "/dev/null".to_owned(),
        other => format!("{name}-{other:?}"),
    };
    let files: Vec<String> = command.streams.iter().map(|&stream| file_of(stream)).collect();
    let before = process::children_cpu_seconds()?;
    runner.ffmpeg(&to_files(from_file(command.args), &files)?).await?;
    let audio = command.streams.iter().position(|stream| *stream == Stream::Audio(0));
    let mut outputs = Vec::new();
    for (index, stream) in command.streams.iter().enumerate() {
        if let Stream::Rung(rung) = stream {
            let output = format!("{name}-{}.mp4", video.rungs[*rung].id);
            let audio = audio.map(|audio| files[audio].as_str());
            runner.ffmpeg(&command::remux(Some(&files[index]), audio, &output)).await?;
            outputs.push(output);
        }
    }
    Ok(Encoded { cpu_seconds: process::children_cpu_seconds()? - before, files: outputs })
}

/// Replaces the protocols that a worker allows, those of its loopback proxy, by files.
fn from_file(args: Vec<String>) -> Vec<String> {
    args.into_iter().map(|arg| if arg == "http,tcp" { "file".to_owned() } else { arg }).collect()
}

/// Replaces the pipes that a worker reads from by files.
fn to_files(mut args: Vec<String>, files: &[String]) -> anyhow::Result<Vec<String>> {
    for arg in &mut args {
        let Some(pipe) = arg.strip_prefix("pipe:") else { continue };
        let index = pipe.parse::<usize>()?.checked_sub(command::FIRST_FD as usize);
        match index.and_then(|index| files.get(index)) {
            Some(file) => *arg = format!("file:{file}"),
            None => bail!("{arg}: no such output"),
        }
    }
    Ok(args)
}
