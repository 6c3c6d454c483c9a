//! Sound and picture stay together: a flash and a beep at every full second.

use crate::support::{Store, ffmpeg, gray_frames, samples, transcode};
use std::path::Path;
use tempfile::TempDir;

const FPS: f64 = 30.0;
/// What a viewer may be asked to bear, seconds.
const BEARABLE: f64 = 0.020;

/// Times of the first bright frame after a dark one.
fn flashes(file: &Path) -> Vec<f64> {
    let bright: Vec<bool> = gray_frames(file, 2).chunks_exact(4).map(|pixels| pixels[0] > 128).collect();
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

async fn assert_together(audio_codec: &str, name: &str, shift: &str) {
    let folder = TempDir::new().expect("folder");
    let file = folder.path().join(name);
    ffmpeg(
        &format!(
            "-f lavfi -i color=black:s=320x180:r=30:d=9,geq=lum='if(lt(mod(T\\,1)\\,0.03)\\,235\\,16)':cb=128:cr=128 \
             -f lavfi -i aevalsrc='if(lt(mod(t\\,1)\\,0.05)\\,sin(2*PI*1000*t)\\,0)':s=44100:d=9 \
             -c:v libx264 -preset ultrafast -c:a {audio_codec} {shift}"
        ),
        &file,
    );
    let run = transcode(&Store::start().await, &file).await;
    assert!(run.result.is_ok(), "{:?}", run.result);
    let output = run.path("180p.mp4");
    let (flashes, beeps) = (flashes(&output), beeps(&output));
    assert_eq!((flashes.len(), beeps.len()), (8, 8), "{flashes:?} {beeps:?}");
    for (flash, beep) in flashes.iter().zip(&beeps) {
        assert!((flash - beep).abs() <= BEARABLE, "{name}: flash {flash}, beep {beep}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flash_and_beep_stay_together() {
    assert_together("pcm_s16le", "pcm.mov", "").await;
    assert_together("aac", "aac.mp4", "").await;
    assert_together("libopus", "opus.mkv", "").await;
    assert_together("aac", "late.ts", "-output_ts_offset 3").await;
}
