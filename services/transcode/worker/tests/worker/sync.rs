//! Sound and picture stay together: a flash and a beep at every full second.

use crate::job::{Job, done, options};
use crate::numbered::{H264, numbered};
use crate::support::{Clip, ffmpeg, ffprobe, gray_frames, samples};
use reelmill_media::plan::{Codec, Options, Preset};
use std::path::Path;

const FPS: f64 = 30.0;
/// What a viewer may be asked to bear, seconds.
const BEARABLE: f64 = 0.020;

/// Times of the first bright frame after a dark one.
fn flashes(file: &Path) -> Vec<f64> {
    let bright: Vec<bool> = gray_frames(file, 1, 1).iter().map(|&pixel| pixel > 128).collect();
    let times = times(file, "v:0");
    assert_eq!(times.len(), bright.len(), "each frame has its time");
    let onsets = (1..bright.len()).filter(|&at| bright[at] && !bright[at - 1]);
    onsets.map(|at| times[at]).collect()
}

/// When each packet is played, as the file says, in the order of time.
fn times(file: &Path, stream: &str) -> Vec<f64> {
    let told = ffprobe(&format!("-select_streams {stream} -show_entries packet=pts_time"), file);
    let mut times: Vec<f64> =
        told.split_whitespace().filter_map(|time| time.trim_matches(',').parse().ok()).collect();
    times.sort_by(f64::total_cmp);
    times
}

/// Times of the first loud sample after half a second of quiet.
fn beeps(file: &Path) -> Vec<f64> {
    let times = times(file, "a:0");
    let gaps = times.windows(2).map(|pair| (pair[1] - pair[0] - 1024.0 / 48_000.0).abs());
    assert!(gaps.fold(0.0, f64::max) < 0.000_1, "one packet follows the other");
    let mut quiet = 0;
    let mut onsets = Vec::new();
    for (at, sample) in samples(file).into_iter().enumerate() {
        if sample.unsigned_abs() < 3000 {
            quiet += 1;
            continue;
        }
        if quiet > 24_000 {
            onsets.push(times[0] + at as f64 / 48_000.0);
        }
        quiet = 0;
    }
    onsets
}

/// Frames of one gray pixel each, white at every full second, scaled up.
fn claps(name: &str, seconds: usize, args: &str) -> Clip {
    let clip = Clip::named(name);
    let pixels = clip.beside("pixels.gray");
    let frames = (0..seconds * FPS as usize).map(|frame| if frame % FPS as usize == 0 { 255 } else { 0 });
    std::fs::write(&pixels, frames.collect::<Vec<u8>>()).expect("write");
    ffmpeg(
        &format!(
            "-f rawvideo -pix_fmt gray -s 1x1 -framerate {FPS} -i {} -f lavfi -i \
             aevalsrc='if(lt(mod(t\\,1)\\,0.05)\\,sin(2*PI*1000*t)\\,0)':s=44100:d={seconds} \
             -vf scale=128:72,format=yuv420p -c:v libx264 -preset ultrafast -bf 2 -g 75 {args}",
            pixels.display()
        ),
        &clip.file,
    );
    clip
}

fn assert_together(name: &str, picture: &Path, sound: &Path, count: usize) {
    let (flashes, beeps) = (flashes(picture), beeps(sound));
    assert_eq!((flashes.len(), beeps.len()), (count, count), "{name}: {flashes:?} {beeps:?}");
    for (flash, beep) in flashes.iter().zip(&beeps) {
        assert!((flash - beep).abs() <= BEARABLE, "{name}: flash {flash}, beep {beep}");
    }
}

async fn assert_kept_together(name: &str, seconds: usize, args: &str) {
    let clip = claps(name, seconds, args);
    let job = Job::of(&clip.file, &options(&[])).await;
    job.run().await.unwrap_or_else(|failure| panic!("{name}: {failure}"));
    assert_eq!(job.plan.is_single(), seconds < 32, "{name}");
    // At the very first moment there is no onset to see.
    let count = seconds - 1;
    assert_together(name, &job.joined("72p"), &job.joined("audio-0"), count);
    let file = job.progressive("72p");
    assert_together(name, &file, &file, count);
}

#[tokio::test(flavor = "multi_thread")]
async fn flash_and_beep_stay_together() {
    assert_kept_together("pcm.mov", 9, "-c:a pcm_s16le").await;
    assert_kept_together("aac.mp4", 9, "-c:a aac").await;
    assert_kept_together("opus.mkv", 9, "-c:a libopus").await;
    assert_kept_together("late.ts", 9, "-c:a aac -output_ts_offset 3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn they_stay_together_across_chunks() {
    assert_kept_together("aac.mp4", 42, "-c:a aac").await;
    assert_kept_together("opus.mkv", 42, "-c:a libopus").await;
    assert_kept_together("mp2.ts", 42, "-c:a mp2 -output_ts_offset 70").await;
}

/// Readers built on ffmpeg move a track later whose pictures are shown before they are decoded: none is, in any codec,
/// at any rate, in a chunk of any length.
#[tokio::test(flavor = "multi_thread")]
async fn every_track_begins_at_the_same_moment_whoever_reads_it() {
    for (rate, frames, codec, preset, lead) in [
        ("60", 240, Codec::H264, Preset::Fast, 4.0 / 60.0),
        ("30", 961, Codec::H264, Preset::Fast, 2.0 / 30.0),
        ("25", 101, Codec::H264, Preset::Balanced, 2.0 / 25.0),
        ("25", 102, Codec::H264, Preset::Small, 2.0 / 25.0),
        ("5", 25, Codec::H264, Preset::Fast, 0.0),
        ("24000/1001", 96, Codec::Hevc, Preset::Fast, 2002.0 / 24_000.0),
        ("25", 101, Codec::Hevc, Preset::Balanced, 2.0 / 25.0),
        ("25", 102, Codec::Hevc, Preset::Small, 2.0 / 25.0),
        ("25", 50, Codec::Av1, Preset::Fast, 0.0),
        ("25", 50, Codec::Vp9, Preset::Fast, 0.0),
    ] {
        let clip = numbered("clip.mp4", rate, frames, &format!("{H264} -c:a aac"));
        let job = done(&clip.file, &Options { codec, preset, ..options(&[144, 96]) }).await;
        for track in ["144p", "96p", "audio-0"] {
            let start: f64 =
                ffprobe("-show_entries stream=start_time", &job.joined(track)).parse().expect("time");
            assert!((start - lead).abs() < 0.0001, "{rate} {track}: {start}, not {lead}");
        }
        let shown = times(&job.joined("144p"), "v:0");
        let gaps = shown.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.fold(0.0, f64::max) < shown[1] - shown[0] + 0.001, "{rate}: no picture is late");
        assert_eq!(shown.len(), usize::try_from(frames).expect("frames"), "{rate}");
    }
}
