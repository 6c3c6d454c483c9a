//! Expected properties of single files that phones and cameras wrote, checked on the outputs that `formats.rs` encodes.

use crate::support::{Job, assert_duration, ffprobe, first_gray_frame, gray_frames};
use std::path::Path;

/// Mean difference, of 255, of the first frame of source and output.
const MAX_DIFFERENCE: f64 = 8.0;
/// Tolerance of the playing time, seconds.
const DURATION_TOLERANCE: f64 = 0.15;

/// Rotated or mirrored videos: file, rung, and width and height of its progressive file.
const ROTATED: [(&str, &str, &str); 5] = [
    ("PHP-FFMpeg+PHP-FFMpeg/portrait.MOV", "320p", "320,568"),
    ("streamio+streamio-ffmpeg/sideways movie.mov", "480p", "480,640"),
    ("Zulko+moviepy/fire2.mp4", "720p", "1280,720"),
    ("holepunchto+bare-media/orientation-90-hflip.mov", "120p", "160,120"),
    ("holepunchto+bare-media/orientation-180.mov", "120p", "120,160"),
];

/// Videos with timestamps that are easily misread: file, seconds, and whether it has audio.
const TIMED: [(&str, f64, bool); 6] = [
    ("rails+rails/video.webm", 5.229, true),
    ("streamio+streamio-ffmpeg/awesome movie.mov", 7.563, true),
    ("androidx+media/bbb_2500ms.ts", 2.51, true),
    ("Vanilagy+mediabunny/sar_2x1.mp4", 5.0, false),
    ("luke-cha+fate-suite/empty_edit_5s.mp4", 10.0, false),
    ("pytorch+torchcodec/nasa_13013.mp4", 13.0, true),
];

/// Names of all files with expectations.
pub fn names() -> impl Iterator<Item = &'static str> {
    ROTATED.iter().map(|case| case.0).chain(TIMED.iter().map(|case| case.0))
}

/// Asserts what is expected of the valid file `name`, if anything.
pub fn assert_expected(name: &str, file: &Path, job: &Job) {
    for (_, rung, size) in ROTATED.iter().filter(|case| case.0 == name) {
        let output = job.progressive(rung);
        assert_eq!(ffprobe("-select_streams v -show_entries stream=width,height", &output), *size, "{name}");
        let difference = first_frame_difference(file, &output);
        assert!(difference < MAX_DIFFERENCE, "{name}: {difference}");
    }
    for (_, seconds, has_audio) in TIMED.iter().filter(|case| case.0 == name) {
        assert_duration(&job.progressive(job.rungs()[0]), *seconds, DURATION_TOLERANCE);
        assert_eq!(job.path("audio-0.m3u8").exists(), *has_audio, "{name}");
        assert!(job.poster().exists(), "{name}");
    }
}

/// Mean difference of the first frames as ffmpeg shows them: it applies rotation by default.
fn first_frame_difference(source: &Path, output: &Path) -> f64 {
    const SIDE: u32 = 32;
    // All of the output is decoded: it must be free of errors.
    let (a, b) = (first_gray_frame(source, SIDE, SIDE), gray_frames(output, SIDE, SIDE));
    let sum: f64 = a.iter().zip(&b[..a.len()]).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
    sum / f64::from(SIDE * SIDE)
}
