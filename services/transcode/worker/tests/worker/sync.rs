//! Sound and picture stay together: a flash and a beep at every full second.

use crate::job::{Job, options};
use crate::support::{Clip, ffmpeg, gray_frames, samples};
use std::path::Path;

const FPS: f64 = 30.0;
/// What a viewer may be asked to bear, seconds.
const BEARABLE: f64 = 0.020;

/// Times of the first bright frame after a dark one.
fn flashes(file: &Path) -> Vec<f64> {
    let bright: Vec<bool> = gray_frames(file, 1, 1).iter().map(|&pixel| pixel > 128).collect();
    let onsets = (1..bright.len()).filter(|&at| bright[at] && !bright[at - 1]);
    onsets.map(|at| at as f64 / FPS).collect()
}

/// Times of the first loud sample after half a second of quiet.
fn beeps(file: &Path) -> Vec<f64> {
    let mut quiet = 0;
    let mut onsets = Vec::new();
    for (at, sample) in samples(file).into_iter().enumerate() {
        if sample.unsigned_abs() < 3000 {
            quiet += 1;
            continue;
        }
        if quiet > 24_000 {
            onsets.push(at as f64 / 48_000.0);
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
