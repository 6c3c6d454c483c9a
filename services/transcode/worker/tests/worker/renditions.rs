//! What comes out of the engine, on clips that ffmpeg makes.

use crate::support::{Run, Store, ffmpeg, ffprobe, processes_in, transcode};
use std::path::Path;
use tempfile::TempDir;

/// Lengths of the segments that a playlist lists, seconds.
fn durations(playlist: &str) -> Vec<f64> {
    let infs = playlist.lines().filter_map(|line| line.strip_prefix("#EXTINF:"));
    infs.map(|line| line.trim_end_matches(',').parse().expect("seconds")).collect()
}

fn frames(file: &Path) -> u32 {
    let counted = ffprobe("-select_streams v:0 -count_frames -show_entries stream=nb_read_frames", file);
    counted.lines().next().and_then(|line| line.parse().ok()).expect("frames")
}

fn seconds(file: &Path) -> f64 {
    ffprobe("-show_entries format=duration", file).parse().expect("duration")
}

fn assert_seconds(file: &Path, expected: f64, within: f64) {
    let actual = seconds(file);
    assert!((actual - expected).abs() <= within, "{}: {actual} s, not {expected} s", file.display());
}

/// The top rung's size as ffprobe sees it in the progressive file.
fn size(run: &Run) -> String {
    let top = &run.done().outcome.rungs[0].id;
    ffprobe(
        "-select_streams v:0 -show_entries stream=width,height,sample_aspect_ratio",
        &run.path(&format!("{top}.mp4")),
    )
}

async fn made(args: &str, name: &str) -> Run {
    let folder = TempDir::new().expect("folder");
    let file = folder.path().join(name);
    ffmpeg(args, &file);
    transcode(&Store::start().await, &file).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_1080p_video_becomes_an_aligned_ladder() {
    let run = made(
        "-f lavfi -i testsrc2=s=1920x1080:r=24000/1001:d=9 -f lavfi -i sine=440:d=9 -shortest -c:v libx264 \
         -preset ultrafast -c:a aac -ac 2",
        "clip.mp4",
    )
    .await;
    let outcome = &run.done().outcome;
    let rungs: Vec<_> = outcome.rungs.iter().map(|rung| rung.id.as_str()).collect();
    assert_eq!(rungs, ["1080p", "720p", "480p", "360p"]);

    let first = durations(&run.text("1080p/index.m3u8"));
    assert_eq!(first.len(), 3, "9 s in segments of 4");
    for rung in &outcome.rungs {
        let playlist = run.path(&format!("{}/index.m3u8", rung.id));
        assert_eq!(durations(&run.text(&format!("{}/index.m3u8", rung.id))), first, "segments are aligned");
        assert_eq!(frames(&playlist), 216, "{}: no frame is lost or repeated", rung.id);
        assert_eq!(rung.frames, 216);
        let keys = ffprobe("-select_streams v -skip_frame nokey -show_entries frame=pict_type", &playlist);
        assert_eq!(keys.lines().count(), 3, "one keyframe a segment: {keys}");
        let file = run.path(&format!("{}.mp4", rung.id));
        assert_seconds(&file, 9.0, 0.1);
        assert_eq!(std::fs::metadata(&file).expect("file").len(), rung.size_bytes);
        let index = std::fs::read(&file).expect("file");
        let place = |kind: &[u8]| index.windows(4).position(|window| window == kind).expect("box");
        assert!(place(b"moov") < place(b"mdat"), "the index comes first");
        assert!(rung.codecs.starts_with("avc1.64") && rung.codecs.ends_with(",mp4a.40.2"), "{}", rung.codecs);
    }
    let master = run.text("master.m3u8");
    assert!(master.contains("RESOLUTION=1920x1080,FRAME-RATE=23.976,AUDIO=\"audio\"\n1080p/index.m3u8\n"));
    let sound: f64 = durations(&run.text("audio/index.m3u8")).iter().sum();
    assert!((sound - 9.0).abs() < 0.05, "{sound}");
    let poster = ffprobe("-show_entries stream=codec_name,width,height", &run.path("poster.jpg"));
    assert_eq!(poster, "mjpeg,640,360");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_is_what_is_there() {
    let run = made(
        "-f lavfi -i testsrc2=s=640x360:r=30:d=5 -f lavfi -i sine=440:d=5 -c:v libx264 -preset ultrafast -c:a aac",
        "clip.mov",
    )
    .await;
    let outcome = &run.done().outcome;
    let mut told: Vec<_> =
        outcome.outputs.iter().map(|output| (output.name.clone(), output.size_bytes)).collect();
    let mut there = Vec::new();
    let mut folders = vec![run.folder.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else {
                let name = entry.strip_prefix(run.folder.path()).expect("below").display().to_string();
                there.push((name, std::fs::metadata(&entry).expect("file").len()));
            }
        }
    }
    told.sort();
    there.sort();
    assert_eq!(told, there);
    let names: Vec<_> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "360p.mp4",
            "360p/index.m3u8",
            "360p/init.mp4",
            "360p/seg_00001.m4s",
            "360p/seg_00002.m4s",
            "audio/index.m3u8",
            "audio/init.mp4",
            "audio/seg_00001.m4s",
            "audio/seg_00002.m4s",
            "master.m3u8",
            "poster.jpg"
        ]
    );
    let last = run.progress.borrow().clone();
    assert_eq!((last.percent, last.frames, last.rungs_done), (100.0, 150, 1));
    assert_eq!(processes_in(run.scratch.path()), 0);
    let bandwidth = outcome.rungs[0].bandwidth;
    assert!(bandwidth.peak >= bandwidth.average && bandwidth.average > 128_000, "{bandwidth:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn webm_without_sound() {
    let run = made(
        "-f lavfi -i testsrc2=s=426x240:r=25:d=5 -c:v libvpx -deadline realtime -cpu-used 8",
        "clip.webm",
    )
    .await;
    assert_eq!(size(&run), "426,240,1:1");
    assert_seconds(&run.path("240p.mp4"), 5.0, 0.05);
    assert!(run.done().outcome.rungs[0].codecs.starts_with("avc1."));
    assert!(!run.text("master.m3u8").contains("AUDIO"));
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_sizes_and_wide_pixels_are_not_distorted() {
    let run = made(
        "-f lavfi -i testsrc2=s=361x363:r=25:d=1 -vf setsar=2/1 -c:v libx264 -pix_fmt yuv444p -preset ultrafast",
        "clip.mkv",
    )
    .await;
    // 722 x 363 as shown.
    assert_eq!(size(&run), "716,360,1:1");
    assert_eq!(run.done().outcome.rungs[0].id, "360p");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turned_video_is_turned_once_with_sound_and_without() {
    let folder = TempDir::new().expect("folder");
    for (name, sound) in [("silent.mp4", ""), ("loud.mp4", "-f lavfi -i sine=440:d=1 -c:a aac")] {
        let (flat, turned) = (folder.path().join("flat.mp4"), folder.path().join(name));
        ffmpeg(
            &format!("-f lavfi -i testsrc2=s=320x180:r=30:d=1 {sound} -c:v libx264 -preset ultrafast"),
            &flat,
        );
        ffmpeg(&format!("-i {} -c copy -metadata:s:v rotate=90", flat.display()), &turned);
        let run = transcode(&Store::start().await, &turned).await;
        assert_eq!(size(&run), "180,320,1:1", "{name}");
        for output in ["180p.mp4", "180p/index.m3u8"] {
            let turn =
                ffprobe("-select_streams v -show_entries stream_side_data=rotation", &run.path(output));
            assert_eq!(turn, "", "{name}: {output}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_still_held_for_minutes_keeps_its_time() {
    // 2 s of frames, a picture held for 4 minutes, 2 s of frames.
    let run = made(
        "-f lavfi -i testsrc2=s=320x180:r=30:d=4 -vf setpts='PTS+if(gte(T\\,2)\\,240/TB\\,0)' -vsync vfr \
         -c:v libx264 -preset ultrafast",
        "clip.mp4",
    )
    .await;
    assert_seconds(&run.path("180p.mp4"), 244.0, 1.1);
    assert_eq!(durations(&run.text("180p/index.m3u8")).len(), 61);
}

#[tokio::test(flavor = "multi_thread")]
async fn interlaced_video_is_deinterlaced_and_slow_motion_thinned() {
    let run = made(
        "-f lavfi -i testsrc2=s=320x240:r=50:d=2 -vf interlace -flags +ildct+ilme -c:v mpeg2video -top 1",
        "clip.ts",
    )
    .await;
    let plan = run.progress.borrow().work.clone().expect("planned").plan;
    assert!(plan.deinterlace, "{plan:?}");
    assert_eq!(run.done().outcome.rungs[0].frames, 50);

    let run =
        made("-f lavfi -i testsrc2=s=128x96:r=240:d=1 -c:v libx264 -preset ultrafast", "slow.mp4").await;
    assert_eq!(run.done().outcome.rungs[0].frames, 60);
}
