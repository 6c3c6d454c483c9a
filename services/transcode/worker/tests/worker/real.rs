//! Files that phones and cameras wrote.

use crate::job::{done, options};
use crate::support::{assert_seconds, ffprobe, gray_frames, real_media};
use std::path::Path;

/// Mean difference of the first frames as ffmpeg itself shows them (it turns pictures by default).
fn difference(source: &Path, output: &Path) -> f64 {
    const SIDE: u32 = 32;
    let (a, b) = (gray_frames(source, SIDE, SIDE), gray_frames(output, SIDE, SIDE));
    let pixels = (SIDE * SIDE) as usize;
    let sum: f64 = a[..pixels].iter().zip(&b[..pixels]).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
    sum / f64::from(SIDE * SIDE)
}

#[tokio::test(flavor = "multi_thread")]
async fn phone_videos_are_turned() {
    let Some(media) = real_media() else { return };
    let cases = [
        ("PHP-FFMpeg+PHP-FFMpeg/portrait.MOV", "320p", "320,568"),
        ("streamio+streamio-ffmpeg/sideways movie.mov", "480p", "480,640"),
        ("Zulko+moviepy/fire2.mp4", "720p", "1280,720"),
        ("holepunchto+bare-media/orientation-90-hflip.mov", "120p", "160,120"),
        ("holepunchto+bare-media/orientation-180.mov", "120p", "120,160"),
    ];
    for (name, rung, size) in cases {
        let file = media.join("valid").join(name);
        let job = done(&file, &options(&[])).await;
        let output = job.progressive(rung);
        assert_eq!(ffprobe("-select_streams v -show_entries stream=width,height", &output), size, "{name}");
        let difference = difference(&file, &output);
        assert!(difference < 8.0, "{name}: {difference}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_files_keep_their_length() {
    let Some(media) = real_media() else { return };
    let cases = [
        ("rails+rails/video.webm", 5.229, true),
        ("streamio+streamio-ffmpeg/awesome movie.mov", 7.563, true),
        ("androidx+media/bbb_2500ms.ts", 2.51, true),
        ("Vanilagy+mediabunny/sar_2x1.mp4", 5.0, false),
        ("luke-cha+fate-suite/empty_edit_5s.mp4", 10.0, false),
        ("pytorch+torchcodec/nasa_13013.mp4", 13.0, true),
    ];
    for (name, seconds, sound) in cases {
        let job = done(&media.join("valid").join(name), &options(&[])).await;
        assert_seconds(&job.progressive(job.rungs()[0]), seconds, 0.15);
        assert_eq!(job.path("audio-0.m3u8").exists(), sound, "{name}");
        assert!(job.poster().exists(), "{name}");
    }
}
