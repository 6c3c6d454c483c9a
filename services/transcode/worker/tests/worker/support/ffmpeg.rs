//! Runs ffmpeg and ffprobe on sources and outputs. Arguments are blank-separated.

use std::path::Path;
use std::process::Command;

/// Runs ffmpeg with the given arguments and an output file.
pub fn ffmpeg(args: &str, output: &Path) {
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-y"])
        .args(args.split_whitespace())
        .arg(output)
        .status()
        .expect("ffmpeg");
    assert!(status.success(), "ffmpeg {args}");
}

/// Output of ffprobe in lines of comma-separated values.
pub fn ffprobe(args: &str, file: &Path) -> String {
    let output = Command::new("ffprobe")
        .args(["-v", "error"])
        .args(args.split_whitespace())
        .args(["-of", "csv=p=0"])
        .arg(file)
        .output()
        .expect("ffprobe");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "ffprobe {args} {}: {errors}", file.display());
    let text = String::from_utf8(output.stdout).expect("text");
    // Side data leaves empty columns and lines.
    let lines = text.lines().map(|line| line.trim_end_matches(',')).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

/// Frames of the first video stream, counted by decoding it.
pub fn count_frames(file: &Path) -> u32 {
    let counted = ffprobe("-select_streams v:0 -count_frames -show_entries stream=nb_read_frames", file);
    counted.lines().next().and_then(|line| line.parse().ok()).expect("frames")
}

/// Duration by the container, seconds.
pub fn duration_seconds(file: &Path) -> f64 {
    ffprobe("-show_entries format=duration", file).parse().expect("duration")
}

/// Asserts that a file's duration is within `tolerance` seconds of the expected one.
pub fn assert_duration(file: &Path, expected: f64, tolerance: f64) {
    let actual = duration_seconds(file);
    assert!((actual - expected).abs() <= tolerance, "{}: {actual} s, not {expected} s", file.display());
}

/// Decodes the first video stream to gray frames of `width` x `height`, one byte a pixel.
pub fn gray_frames(file: &Path, width: u32, height: u32) -> Vec<u8> {
    let scaled = format!("format=gray,scale={width}:{height}:flags=area");
    decode(file, &format!("-map 0:v:0 -vf {scaled} -fps_mode passthrough -f rawvideo -"))
}

/// Decodes the first frame to gray pixels of `width` x `height`, one byte a pixel.
pub fn first_gray_frame(file: &Path, width: u32, height: u32) -> Vec<u8> {
    let scaled = format!("format=gray,scale={width}:{height}:flags=area");
    decode(file, &format!("-map 0:v:0 -vf {scaled} -frames:v 1 -f rawvideo -"))
}

/// Decodes the first audio stream to mono samples, 48000 a second.
pub fn mono_samples(file: &Path) -> Vec<i16> {
    let bytes = decode(file, "-map 0:a:0 -ac 1 -ar 48000 -f s16le -");
    bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// Decodes a file with the given output arguments and returns standard output. Fails on any decoding error.
pub fn decode(file: &Path, args: &str) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(file)
        .args(args.split_whitespace())
        .output()
        .expect("ffmpeg");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !errors.contains("decoding"), "{}: {errors}", file.display());
    output.stdout
}

/// How much the lines of a gray frame differ from the next one, over how much they differ from the one after: high for combs,
/// which two fields of different times leave.
pub fn combing(frame: &[u8], width: usize) -> f64 {
    let difference = |distance: usize| -> f64 {
        let pairs = frame.iter().zip(&frame[distance * width..]).take(frame.len() - 2 * width);
        pairs.map(|(pixel, below)| f64::from(pixel.abs_diff(*below))).sum()
    };
    difference(1) / difference(2)
}
