//! Files that phones and cameras wrote.

use crate::support::{Run, Store, ffprobe, gray_frames, real_media, transcode};
use std::path::Path;

async fn done(file: &Path) -> Run {
    let run = transcode(&Store::start().await, file).await;
    assert!(run.result.is_ok(), "{}: {:?}", file.display(), run.result);
    run
}

/// Mean difference of the first frames as ffmpeg itself shows them (it turns pictures by default).
fn difference(source: &Path, output: &Path) -> f64 {
    const SIDE: u32 = 32;
    let (a, b) = (gray_frames(source, SIDE), gray_frames(output, SIDE));
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
        let run = done(&file).await;
        let output = run.path(&format!("{rung}.mp4"));
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
        let run = done(&media.join("valid").join(name)).await;
        let outcome = &run.done().outcome;
        let output = run.path(&format!("{}.mp4", outcome.rungs[0].id));
        let actual: f64 = ffprobe("-show_entries format=duration", &output).parse().expect("duration");
        let slack = 0.15;
        assert!((actual - seconds).abs() < slack, "{name}: {actual} s, not {seconds} s");
        assert_eq!(run.path("audio/index.m3u8").exists(), sound, "{name}");
        assert!(!outcome.poster.is_empty(), "{name}");
    }
}
