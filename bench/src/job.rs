//! A whole job against the bare ffmpeg commands that make the same outputs.

use std::path::Path;

use anyhow::ensure;

use crate::{
    figures::{Figures, median},
    process,
    system::{System, run},
};

const CLIP: &str = "clip.mp4";
/// The rungs of a 1080p source, by name, size and the caps that the plan sets.
const RUNGS: [(&str, &str, &str, &str); 4] = [
    ("1080p", "1920:1080", "5000k", "10000k"),
    ("720p", "1280:720", "2800k", "5600k"),
    ("480p", "854:480", "1400k", "2800k"),
    ("360p", "640:360", "800k", "1600k"),
];

/// Complete-call to READY of a 60 s 1080p clip, CPU seconds of every process; in turn with the baseline.
pub async fn measure(figures: &mut Figures, runs: usize) -> anyhow::Result<()> {
    let system = System::start().await?;
    make_clip(system.folder.path()).await?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        bare.push(baseline(system.folder.path()).await?);
        ours.push(whole_job(&system).await?);
    }
    let ratios = ours.iter().zip(&bare).map(|(ours, bare)| ours / bare).collect();
    figures.note("whole job, 60 s 1080p: CPU of everything", median(ours), "s", None)?;
    figures.note("bare ffmpeg with the same outputs: CPU", median(bare), "s", None)?;
    figures.note("whole job over bare ffmpeg", median(ratios), "x", Some(1.10))
}

async fn whole_job(system: &System) -> anyhow::Result<f64> {
    let clip = system.path(CLIP).display().to_string();
    let pid = system.pid()?;
    // The upload's cost, the client's too, is counted as well, to our disadvantage.
    let before = process::cpu_seconds(pid)? + process::children_cpu_seconds()?;
    let video = system.client(&["upload", "--wait", "--json", "--no-resume", &clip]).await?;
    ensure!(video["state"] == "READY", "{video}");
    Ok(process::cpu_seconds(pid)? + process::children_cpu_seconds()? - before)
}

/// Moving shapes with grain, and a tone: nothing an encoder gets for free.
async fn make_clip(folder: &Path) -> anyhow::Result<()> {
    let picture = "testsrc2=size=1920x1080:rate=30:duration=60,noise=alls=6:allf=t,format=yuv420p";
    let args = ["-v", "error", "-y", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "sine=duration=60"];
    let codec = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "20", "-g", "120", "-c:a", "aac", CLIP];
    run("ffmpeg", &[&args[..], &codec[..]].concat(), folder).await
}

/// One decode, a cascade of lanczos scales, four x264 veryfast, AAC once, CMAF HLS, a poster; then one
/// remux a rung. CPU seconds.
async fn baseline(folder: &Path) -> anyhow::Result<f64> {
    let before = process::children_cpu_seconds()?;
    let mut graph = String::from("[0:v:0]fps=30");
    for (place, (_, size, ..)) in RUNGS.iter().enumerate() {
        graph.push_str(&format!(
            ",scale={size}:flags=lanczos,format=yuv420p,split=2[v{place}][n{place}];[n{place}]null"
        ));
    }
    graph.push_str(",select=gte(t\\,6),scale=640:360[poster]");
    let mut args: Vec<String> = words(&format!("-v error -nostdin -y -i {CLIP} -filter_complex"));
    args.push(graph);
    for (place, (name, _, maxrate, bufsize)) in RUNGS.iter().enumerate() {
        args.extend(words(&format!(
            "-map [v{place}] -c:v libx264 -threads 2 -preset veryfast -crf 23 -maxrate {maxrate} -bufsize {bufsize} \
             -g 9999 -keyint_min 9999 -sc_threshold 0 -force_key_frames expr:gte(t,n_forced*4) -f hls -hls_time 4 \
             -hls_playlist_type vod -hls_segment_type fmp4 -hls_fmp4_init_filename {name}-init.mp4 \
             -hls_segment_filename {name}-%05d.m4s {name}.m3u8"
        )));
    }
    args.extend(words(
        "-map 0:a:0 -c:a aac -b:a 128k -f hls -hls_time 4 -hls_playlist_type vod -hls_segment_type fmp4 \
         -hls_fmp4_init_filename audio-init.mp4 -hls_segment_filename audio-%05d.m4s audio.m3u8 \
         -map [poster] -frames:v 1 poster.jpg",
    ));
    run("ffmpeg", &borrowed(&args), folder).await?;
    for (name, ..) in RUNGS {
        let args = words(&format!(
            "-v error -nostdin -y -i {name}.m3u8 -i audio.m3u8 -map 0:v -map 1:a -c copy -movflags +faststart out-{name}.mp4"
        ));
        run("ffmpeg", &borrowed(&args), folder).await?;
    }
    Ok(process::children_cpu_seconds()? - before)
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn borrowed(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}
