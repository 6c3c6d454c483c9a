//! What the rules for odd files cost: probing, a picture that is held, a variable frame rate, and hostile files.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use reelmill_media::command::{self, InputFile, ProbeDepth};
use tokio::process::Command;

use crate::{
    clips::real_files,
    ffmpeg::{self, words},
    figures::{Figures, Goal, median},
    options::Options,
    process,
    system::System,
};

/// Pairs of probes for each file.
const PROBES: usize = 15;
/// Length of the clips of constant and variable frame rate, seconds.
const VARIABLE_SECONDS: u32 = 12;
/// Length of the picture before it is held, and of the sound, seconds.
const PICTURE_SECONDS: u32 = 20;
const SOUND_SECONDS: u32 = 920;
/// Length of the moving picture with which the held one is compared, seconds.
const MOVING_SECONDS: u32 = 60;
/// CPU seconds that a hostile file may cost beyond its content.
const MAX_HOSTILE_SECONDS: f64 = 5.0;
/// The whole ladder costs about this much more than its highest rung.
const LADDER: f64 = 2.0;
/// Moving shapes, and grain.
const VIDEO: &str = "testsrc2=size=1280x720:rate=30";
const GRAIN: &str = "noise=alls=6:allf=t";
const X264: &str = "-c:v libx264 -preset veryfast -g 60 -pix_fmt yuv420p";

pub async fn measure(figures: &mut Figures, options: &Options) -> anyhow::Result<()> {
    let system = System::start().await?;
    probe(figures, &system).await?;
    variable_rate(figures, &system, options.runs(7)).await?;
    held_picture(figures, &system).await?;
    hostile(figures, &system).await
}

async fn generated(system: &System, name: &str, args: &str) -> anyhow::Result<PathBuf> {
    let path = system.path(name);
    let all = words(&format!("-v error -y {args} {}", path.display()));
    ffmpeg::run(&all, system.folder(), false).await?;
    Ok(path)
}

/// CPU seconds of the whole system for a job that may fail, and the size of what it encoded, bytes.
async fn job(system: &System, clip: &Path) -> anyhow::Result<(f64, f64)> {
    let clip = clip.display().to_string();
    let pid = system.pid()?;
    let upload = system.command(&["upload", "--json", "--no-resume", &clip]).output().await?;
    if !upload.status.success() {
        // Refused before anything was encoded.
        return Ok((0.0, 0.0));
    }
    let video: serde_json::Value = serde_json::from_slice(&upload.stdout)?;
    let name = video["name"].as_str().context("no name")?.to_owned();
    let before = process::cpu_seconds(pid)?;
    let watched = system.command(&["watch", "--json", &name]).output().await?;
    let cpu = process::cpu_seconds(pid)? - before;
    let video: serde_json::Value = serde_json::from_slice(&watched.stdout).unwrap_or_default();
    let sizes = video["renditions"].as_array().map_or(0.0, |renditions| {
        renditions.iter().filter_map(|rendition| rendition["sizeBytes"].as_str()?.parse::<f64>().ok()).sum()
    });
    Ok((cpu, sizes))
}

/// CPU of the command that describes an ordinary file, over that of ffprobe with the options that it needs in any case.
async fn probe(figures: &mut Figures, system: &System) -> anyhow::Result<()> {
    let long = generated(
        system,
        "long.mp4",
        &format!("-f lavfi -i testsrc2=size=640x360:rate=30 -f lavfi -i sine -t 600 {X264} -c:a aac"),
    )
    .await?;
    let mut ratios = Vec::new();
    for file in real_files()?.into_iter().chain([long]) {
        let input = file.display().to_string();
        let plain =
            words("-v error -show_streams -show_format -show_packets -read_intervals %+#4 -of json -i");
        let plain = [plain, vec![input.clone()]].concat();
        let ours: Vec<String> =
            command::probe(InputFile { uri: &input, container: "", merges_tracks: false }, ProbeDepth::Usual)
                .into_iter()
                .map(|arg| if arg == "http,tcp" { "file".to_owned() } else { arg })
                .collect();
        let (mut of_ours, mut of_plain) = (0.0, 0.0);
        for _ in 0..PROBES {
            of_plain += ffprobe(&plain).await?;
            of_ours += ffprobe(&ours).await?;
        }
        ratios.push(of_ours / of_plain);
    }
    let files = ratios.len();
    figures.record(
        &format!("probe of {files} ordinary files: over ffprobe, CPU"),
        median(ratios),
        "x",
        Some(Goal::AtMost(1.02)),
    )
}

async fn ffprobe(args: &[String]) -> anyhow::Result<f64> {
    let before = process::children_cpu_seconds()?;
    let output = Command::new("ffprobe").args(args).output().await?;
    ensure!(output.status.success(), "ffprobe: {}", String::from_utf8_lossy(&output.stderr));
    Ok(process::children_cpu_seconds()? - before)
}

/// A video as a phone records it, with jitter and a few frames missing, over the same frames at a constant rate.
async fn variable_rate(figures: &mut Figures, system: &System, runs: usize) -> anyhow::Result<()> {
    let source = format!("-f lavfi -i {VIDEO},{GRAIN} -f lavfi -i sine -t {VARIABLE_SECONDS}");
    let constant = generated(system, "constant.mp4", &format!("{source} {X264} -b:v 8M -c:a aac")).await?;
    let jitter = "select=gt(random(3)\\,0.01),settb=1/90000,setpts=PTS+trunc(random(5)*300)";
    let phone = generated(
        system,
        "phone.mp4",
        &format!(
            "{source} -vf {jitter} -fps_mode passthrough -enc_time_base 1:90000 {X264} -b:v 8M -c:a aac"
        ),
    )
    .await?;
    let (mut constant_cpu, mut phone_cpu, mut bytes) = (f64::INFINITY, f64::INFINITY, 0.0);
    for _ in 0..runs {
        let (of_constant, constant_bytes) = job(system, &constant).await?;
        let (of_phone, phone_bytes) = job(system, &phone).await?;
        ensure!(constant_bytes > 0.0, "the size of the renditions is unknown");
        // Other processes only add to it: the least is the most exact.
        constant_cpu = constant_cpu.min(of_constant);
        phone_cpu = phone_cpu.min(of_phone);
        bytes = phone_bytes / constant_bytes;
    }
    let name = "variable frame rate of a phone, over a constant one";
    figures.record(&format!("{name}: CPU"), phone_cpu / constant_cpu, "x", Some(Goal::AtMost(1.02)))?;
    figures.record(&format!("{name}: bytes"), bytes, "x", Some(Goal::AtMost(1.02)))
}

/// What 900 s of a held picture cost, over 900 s of a moving one; sound is encoded in both.
async fn held_picture(figures: &mut Figures, system: &System) -> anyhow::Result<()> {
    let video = async |name: &str, picture: u32, sound: u32| {
        let sound = if sound > 0 { format!("-f lavfi -i sine=d={sound}") } else { String::new() };
        let args = format!("-f lavfi -i {VIDEO}:duration={picture},{GRAIN} {sound} {X264} -b:v 6M -c:a aac");
        let path = generated(system, name, &args).await?;
        anyhow::Ok(job(system, &path).await?.0)
    };
    let held = video("held.mp4", PICTURE_SECONDS, SOUND_SECONDS).await?;
    let short = video("short.mp4", PICTURE_SECONDS, PICTURE_SECONDS).await?;
    let sound = generated(
        system,
        "sound.m4a",
        &format!("-f lavfi -i sine=d={} -c:a aac", SOUND_SECONDS - PICTURE_SECONDS),
    )
    .await?;
    let sound = job(system, &sound).await?.0;
    let silent = video("silent.mp4", PICTURE_SECONDS, 0).await?;
    let moving = video("moving.mp4", PICTURE_SECONDS + MOVING_SECONDS, 0).await? - silent;
    let seconds = f64::from(SOUND_SECONDS - PICTURE_SECONDS);
    let moving = moving / f64::from(MOVING_SECONDS) * seconds;
    let held = held - short - sound;
    figures.record("900 s of held 720p picture: CPU", held, "s", None)?;
    figures.record(
        "900 s of held picture: over 900 s of moving picture",
        held / moving,
        "x",
        Some(Goal::AtMost(0.03)),
    )
}

/// The hostile file that costs most beyond what its content costs when bare ffmpeg encodes it.
async fn hostile(figures: &mut Figures, system: &System) -> anyhow::Result<()> {
    let Some(media) = std::env::var_os("REELMILL_MEDIA") else { return Ok(()) };
    let (mut most, mut name, mut files) = (0.0, String::new(), 0);
    for file in files_in(&PathBuf::from(media).join("hostile"))? {
        let (cpu, _) = job(system, &file).await?;
        files += 1;
        if cpu <= most {
            continue;
        }
        let before = process::children_cpu_seconds()?;
        let input = file.display().to_string();
        let args = ["-v", "quiet", "-i", &input, "-c:v", "libx264", "-preset", "veryfast", "-f", "null", "-"];
        // It may fail: then there is no content.
        let _status = Command::new("timeout").arg("60").arg("ffmpeg").args(args).output().await?;
        let content = (process::children_cpu_seconds()? - before) * LADDER;
        if cpu - content > most {
            (most, name) = (cpu - content, input);
        }
    }
    let name =
        Path::new(&name).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    figures.record(
        &format!("{files} hostile files, the worst ({name}): CPU beyond its content"),
        most,
        "s",
        Some(Goal::AtMost(MAX_HOSTILE_SECONDS)),
    )
}

/// All files in a folder, sorted by path.
fn files_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
