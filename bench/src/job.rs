//! CPU time of a whole job, compared with bare ffmpeg commands that produce the same outputs.

use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::{
    clips::generate,
    ffmpeg::{self, words},
    figures::{Figures, Goal, median},
    options::Options,
    process,
    system::System,
};

const CLIP: &str = "clip.mp4";
/// Moving shapes with grain, which no encoder can skip.
const VIDEO: &str = "testsrc2=size=1920x1080:rate=30,noise=alls=6:allf=t";
/// A video of one task, and one that is split into chunks.
const DEFAULT_SECONDS: [u32; 2] = [30, 300];
/// Longer videos are split into chunks.
const MAX_SINGLE_TASK_SECONDS: u32 = 32;
/// x264 parameters that the default plan sets in addition to the preset.
const X264_PARAMS: &str = "trellis=1:subme=1:partitions=i8x8,i4x4";
/// The rungs of a 1080p source, as the plan sets them: name, size, maximum bit rate, buffer size.
const RUNGS: [(&str, &str, &str, &str); 4] = [
    ("1080p", "1920:1080", "6000k", "12000k"),
    ("720p", "1280:720", "3500k", "7000k"),
    ("480p", "854:480", "1700k", "3400k"),
    ("360p", "640:360", "1000k", "2000k"),
];

/// CPU seconds of all processes from CompleteUploadSession to READY, for a 1080p clip. Runs alternate with the baseline.
pub async fn measure(figures: &mut Figures, options: &Options) -> anyhow::Result<()> {
    let lengths = options.seconds.map_or(DEFAULT_SECONDS.to_vec(), |seconds| vec![seconds]);
    for seconds in lengths {
        let system = System::start().await?;
        // Roughly what a camera records.
        let encoder = ["-preset", "veryfast", "-b:v", "10M", "-maxrate", "12M", "-bufsize", "20M"];
        generate(VIDEO, seconds, &encoder, &system.path(CLIP)).await?;
        let (mut job, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..options.runs(3) {
            bare.push(baseline(system.folder(), seconds, options.verbose).await?);
            job.push(whole_job(&system).await?);
        }
        let ratios = job.iter().zip(&bare).map(|(job, bare)| job / bare).collect();
        let (chunked, goal) =
            if seconds > MAX_SINGLE_TASK_SECONDS { (", in chunks", 1.07) } else { ("", 1.05) };
        let name = format!("whole job, {seconds} s of 1080p{chunked}");
        figures.record(&format!("{name}: CPU of everything"), median(job), "s", None)?;
        figures.record("bare ffmpeg with the same outputs: CPU", median(bare), "s", None)?;
        figures.record(
            &format!("{name}: over bare ffmpeg"),
            median(ratios),
            "x",
            Some(Goal::AtMost(goal)),
        )?;
    }
    Ok(())
}

async fn whole_job(system: &System) -> anyhow::Result<f64> {
    let clip = system.path(CLIP).display().to_string();
    let pid = system.pid()?;
    let video = system.client(&["upload", "--json", "--no-resume", &clip]).await?;
    let name = video["name"].as_str().context("no name")?.to_owned();
    let before = process::cpu_seconds(pid)?;
    let video = system.client(&["watch", "--json", &name]).await?;
    ensure!(video["state"] == "READY", "{video}");
    Ok(process::cpu_seconds(pid)? - before)
}

/// CPU seconds of: one decode, cascaded lanczos scaling, four x264 encodes with the plan's options, one AAC encode, CMAF
/// HLS, a poster, thumbnails; then one remux per rung.
async fn baseline(folder: &Path, seconds: u32, verbose: bool) -> anyhow::Result<f64> {
    let before = process::children_cpu_seconds()?;
    let mut graph = String::from("[0:v:0]fps=30");
    for (index, (_, size, ..)) in RUNGS.iter().enumerate() {
        graph.push_str(&format!(
            ",scale={size}:flags=lanczos,format=yuv420p,split=2[v{index}][n{index}];[n{index}]null"
        ));
    }
    let thumbnail_interval = if seconds > MAX_SINGLE_TASK_SECONDS { 120 } else { 30 };
    graph.push_str(&format!(
        ",split=2[a][b];[a]select=gte(t\\,{})*isnan(prev_selected_t),scale=640:360[poster];\
         [b]select=not(mod(n\\,{thumbnail_interval})),scale=160:90:flags=bilinear,tile=5x5[sheets]",
        f64::from(seconds.min(120)) / 10.0
    ));
    let mut args: Vec<String> = words(&format!("-v error -nostdin -y -i {CLIP} -filter_complex"));
    args.push(graph);
    for (index, (name, _, maxrate, bufsize)) in RUNGS.iter().enumerate() {
        args.extend(words(&format!(
            "-map [v{index}] -c:v libx264 -threads 1 -preset veryfast -x264-params {X264_PARAMS} -crf 23 -maxrate {maxrate} -bufsize {bufsize} \
             -g 120 -keyint_min 120 -sc_threshold 0 -f hls -hls_time 4 \
             -hls_playlist_type vod -hls_segment_type fmp4 -hls_fmp4_init_filename {name}-init.mp4 \
             -hls_segment_filename {name}-%05d.m4s {name}.m3u8"
        )));
    }
    args.extend(words(
        "-map 0:a:0 -c:a aac -b:a 128k -f hls -hls_time 4 -hls_playlist_type vod -hls_segment_type fmp4 \
         -hls_fmp4_init_filename audio-init.mp4 -hls_segment_filename audio-%05d.m4s audio.m3u8 \
         -map [poster] -frames:v 1 poster.jpg -map [sheets] -fps_mode passthrough sheet-%03d.jpg",
    ));
    ffmpeg::run(&args, folder, verbose).await?;
    for (name, ..) in RUNGS {
        let args = words(&format!(
            "-v error -nostdin -y -i {name}.m3u8 -i audio.m3u8 -map 0:v -map 1:a -c copy -movflags +faststart out-{name}.mp4"
        ));
        ffmpeg::run(&args, folder, verbose).await?;
    }
    Ok(process::children_cpu_seconds()? - before)
}
