//! Audio and video stay in sync: sources have a flash and a beep at every full second.

use crate::support::{
    Clip, H264, Job, ffprobe, gray_frames, mono_samples, numbered_clip, options, transcoded,
};
use reelmill_media::plan::{Codec, Options, Preset};
use rstest::rstest;
use std::path::Path;

const FPS: f64 = 30.0;
/// Largest offset between flash and beep, seconds.
const MAX_OFFSET: f64 = 0.020;

/// Timestamps of white frames that follow a black one, seconds.
fn flashes(file: &Path) -> Vec<f64> {
    let white: Vec<bool> = gray_frames(file, 1, 1).iter().map(|&pixel| pixel > 128).collect();
    let times = times(file, "v:0");
    assert_eq!(times.len(), white.len(), "each frame has a timestamp");
    let onsets = (1..white.len()).filter(|&frame| white[frame] && !white[frame - 1]);
    onsets.map(|frame| times[frame]).collect()
}

/// Presentation timestamps of a stream's packets in order, seconds.
fn times(file: &Path, stream: &str) -> Vec<f64> {
    let lines = ffprobe(&format!("-select_streams {stream} -show_entries packet=pts_time"), file);
    let mut times: Vec<f64> =
        lines.split_whitespace().filter_map(|time| time.trim_matches(',').parse().ok()).collect();
    times.sort_by(f64::total_cmp);
    times
}

/// Timestamps of the first loud sample after half a second of silence, seconds.
fn beeps(file: &Path) -> Vec<f64> {
    let times = times(file, "a:0");
    let gaps = times.windows(2).map(|pair| (pair[1] - pair[0] - 1024.0 / 48_000.0).abs());
    assert!(gaps.fold(0.0, f64::max) < 0.000_1, "packets follow each other without gaps");
    let mut quiet = 0;
    let mut onsets = Vec::new();
    for (index, sample) in mono_samples(file).into_iter().enumerate() {
        if sample.unsigned_abs() < 3000 {
            quiet += 1;
            continue;
        }
        if quiet > 24_000 {
            onsets.push(times[0] + index as f64 / 48_000.0);
        }
        quiet = 0;
    }
    onsets
}

/// Generates a clip with a white frame and a beep at every full second.
fn flash_and_beep_clip(name: &str, seconds: usize, args: &str) -> Clip {
    let frames = (0..seconds * FPS as usize).map(|frame| if frame % FPS as usize == 0 { 255 } else { 0 });
    let pixels = Clip::with_content("pixels.gray", frames.collect::<Vec<u8>>());
    Clip::from_inputs(
        name,
        &[&pixels.file],
        &format!(
            "-f rawvideo -pix_fmt gray -s 1x1 -framerate {FPS} -i {{0}} -f lavfi -i \
             aevalsrc='if(lt(mod(t\\,1)\\,0.05)\\,sin(2*PI*1000*t)\\,0)':s=44100:d={seconds} \
             -vf scale=128:72,format=yuv420p -c:v libx264 -preset ultrafast -bf 2 -g 75 {args}"
        ),
    )
}

fn assert_flashes_match_beeps(name: &str, video: &Path, audio: &Path, count: usize) {
    let (flashes, beeps) = (flashes(video), beeps(audio));
    assert_eq!((flashes.len(), beeps.len()), (count, count), "{name}: {flashes:?} {beeps:?}");
    for (flash, beep) in flashes.iter().zip(&beeps) {
        assert!((flash - beep).abs() <= MAX_OFFSET, "{name}: flash {flash}, beep {beep}");
    }
}

async fn assert_in_sync(name: &str, seconds: usize, args: &str) {
    let clip = flash_and_beep_clip(name, seconds, args);
    let job = Job::planned(&clip.file, &options(&[])).await;
    job.run().await.unwrap_or_else(|failure| panic!("{name}: {failure}"));
    assert_eq!(job.plan.is_single(), seconds < 32, "{name}");
    // The flash at 0 s has no black frame before it.
    let count = seconds - 1;
    assert_flashes_match_beeps(name, &job.joined("72p"), &job.joined("audio-0"), count);
    let file = job.progressive("72p");
    assert_flashes_match_beeps(name, &file, &file, count);
}

#[rstest]
#[case::pcm_mov("pcm.mov", "-c:a pcm_s16le")]
#[case::aac_mp4("aac.mp4", "-c:a aac")]
#[case::opus_mkv("opus.mkv", "-c:a libopus")]
#[case::late_ts("late.ts", "-c:a aac -output_ts_offset 3")]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_keeps_audio_in_sync(#[case] name: &str, #[case] args: &str) {
    assert_in_sync(name, 9, args).await;
}

#[rstest]
#[case::aac_mp4("aac.mp4", "-c:a aac")]
#[case::opus_mkv("opus.mkv", "-c:a libopus")]
#[case::mp2_ts("mp2.ts", "-c:a mp2 -output_ts_offset 70")]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_in_chunks_keeps_audio_in_sync(#[case] name: &str, #[case] args: &str) {
    assert_in_sync(name, 42, args).await;
}

/// Readers built on ffmpeg delay a track with frames whose presentation time is before their decoding time. No track has
/// any, in any codec, at any frame rate, in a chunk of any length.
#[rstest]
#[case("60", 240, Codec::H264, Preset::Fast, 4.0 / 60.0)]
#[case("30", 961, Codec::H264, Preset::Fast, 2.0 / 30.0)]
#[case("25", 101, Codec::H264, Preset::Balanced, 2.0 / 25.0)]
#[case("25", 102, Codec::H264, Preset::Small, 2.0 / 25.0)]
#[case("5", 25, Codec::H264, Preset::Fast, 0.0)]
#[case("24000/1001", 96, Codec::Hevc, Preset::Fast, 2002.0 / 24_000.0)]
#[case("25", 101, Codec::Hevc, Preset::Balanced, 2.0 / 25.0)]
#[case("25", 102, Codec::Hevc, Preset::Small, 2.0 / 25.0)]
#[case("25", 50, Codec::Av1, Preset::Fast, 0.0)]
#[case("25", 50, Codec::Vp9, Preset::Fast, 0.0)]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_track_starts_at_its_lead_time(
    #[case] rate: &str,
    #[case] frames: u32,
    #[case] codec: Codec,
    #[case] preset: Preset,
    #[case] lead: f64,
) {
    let clip = numbered_clip("clip.mp4", rate, frames, &format!("{H264} -c:a aac"));
    let job = transcoded(&clip.file, &Options { codec, preset, ..options(&[144, 96]) }).await;
    for track in ["144p", "96p", "audio-0"] {
        let start: f64 =
            ffprobe("-show_entries stream=start_time", &job.joined(track)).parse().expect("time");
        assert!((start - lead).abs() < 0.0001, "{rate} {track}: {start}, not {lead}");
    }
    let shown = times(&job.joined("144p"), "v:0");
    let gaps = shown.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps.fold(0.0, f64::max) < shown[1] - shown[0] + 0.001, "{rate}: no frame is late");
    assert_eq!(shown.len(), usize::try_from(frames).expect("frames"), "{rate}");
}
