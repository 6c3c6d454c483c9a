//! Renditions, playlists, progressive files and progress of generated clips.

use crate::support::{
    Clip, FileServer, Job, assert_duration, count_frames, count_processes_in, decode, engine, ffprobe,
    options, transcoded,
};
use reelmill_media::FailureKind;
use reelmill_worker::engine::OutputKind;
use rstest::rstest;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Durations of a playlist's segments, seconds.
fn durations(playlist: &str) -> Vec<f64> {
    let infs = playlist.lines().filter_map(|line| line.strip_prefix("#EXTINF:"));
    infs.map(|line| line.trim_end_matches(',').parse().expect("seconds")).collect()
}

/// Width, height and sample aspect ratio of the top rung's progressive file.
fn size(job: &Job) -> String {
    let show = "-select_streams v:0 -show_entries stream=width,height,sample_aspect_ratio";
    ffprobe(show, &job.progressive(job.rungs()[0]))
}

async fn transcoded_clip(name: &str, args: &str) -> Job {
    transcoded(&Clip::new(name, args).file, &options(&[])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_1080p_yields_aligned_ladder() {
    let job = transcoded_clip(
        "clip.mp4",
        "-f lavfi -i testsrc2=s=1920x1080:r=24000/1001:d=9 -f lavfi -i sine=440:d=9 -shortest -c:v libx264 \
         -preset ultrafast -c:a aac -ac 2",
    )
    .await;
    assert_eq!(job.rungs(), ["1080p", "720p", "480p", "360p"]);
    let first = durations(&job.text("1080p.m3u8"));
    assert_eq!(first.len(), 3, "9 s in segments of 4");
    for rung in job.rungs() {
        assert_eq!(durations(&job.text(&format!("{rung}.m3u8"))), first, "segments are aligned");
        assert_eq!(job.frames(rung), 216);
        let joined = job.joined(rung);
        let packets = ffprobe("-select_streams v -show_entries packet=flags", &joined);
        assert_eq!(packets.lines().count(), 216, "{rung}: no frame is lost or repeated");
        let keys = packets.lines().filter(|flags| flags.starts_with('K')).count();
        assert_eq!(keys, 3, "one keyframe per segment");
        let file = job.progressive(rung);
        assert_duration(&file, 9.0, 0.1);
        let index = std::fs::read(&file).expect("file");
        let offset = |kind: &[u8]| index.windows(4).position(|window| window == kind).expect("box");
        assert!(offset(b"moov") < offset(b"mdat"), "the index comes first");
        assert!(job.track(rung).codec.starts_with("avc1.64"), "{}", job.track(rung).codec);
    }
    assert_eq!(count_frames(&job.path("360p.m3u8")), 216, "the playlist plays to the end");
    let master = job.text("master.m3u8");
    let attributes =
        ["RESOLUTION=1920x1080", "FRAME-RATE=23.976", "CODECS=\"avc1.64", "mp4a.40.2\"", "AUDIO="];
    let top = master.lines().find(|line| line.contains("1920x1080")).expect("top rung");
    assert!(attributes.iter().all(|attribute| top.contains(attribute)), "{top}");
    let streams = ffprobe("-show_entries program_stream=codec_type", &job.path("master.m3u8"));
    assert!(streams.contains("video") && streams.contains("audio"), "{streams}");
    let audio: f64 = durations(&job.text("audio-0.m3u8")).iter().sum();
    assert!((audio - 9.0).abs() < 0.05, "{audio}");
    let poster = ffprobe("-show_entries stream=codec_name,width,height", &job.poster());
    assert_eq!(poster, "mjpeg,640,360");
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_records_every_uploaded_output() {
    let job = transcoded_clip(
        "clip.mov",
        "-f lavfi -i testsrc2=s=640x360:r=30:d=5 -f lavfi -i sine=440:d=5 -c:v libx264 -preset ultrafast -c:a aac",
    )
    .await;
    let recorded = job.outputs.recorded();
    let sizes: BTreeMap<_, _> =
        recorded.iter().map(|recorded| (recorded.output.name.clone(), recorded.output.size_bytes)).collect();
    assert_eq!(sizes.len(), recorded.len(), "no output is recorded twice");
    let mut uploaded = BTreeMap::new();
    let root = job.path("0.1");
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else {
                let name = entry.strip_prefix(&root).expect("below").display().to_string();
                uploaded.insert(name, std::fs::metadata(&entry).expect("file").len());
            }
        }
    }
    assert_eq!(sizes, uploaded);
    let names: Vec<_> = sizes.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "240p.mp4",
            "240p/init.mp4",
            "240p/seg_00001.m4s",
            "240p/seg_00002.m4s",
            "360p.mp4",
            "360p/init.mp4",
            "360p/seg_00001.m4s",
            "360p/seg_00002.m4s",
            "audio-0/init.mp4",
            "audio-0/seg_00001.m4s",
            "audio-0/seg_00002.m4s",
            "poster.jpg",
            "thumbnails/sheet_00000.jpg",
        ]
    );
    assert_eq!((job.progress().percent, job.progress().frames), (100.0, 150));
    assert_eq!(count_processes_in(job.scratch.path()), 0);
    assert!(job.text("manifest.mpd").contains("360p/seg_00002.m4s"));
}

#[tokio::test(flavor = "multi_thread")]
async fn encode_reports_progress_throughout() {
    const FRAMES: u64 = 600;
    let clip =
        Clip::new("clip.mp4", "-f lavfi -i testsrc2=s=640x360:r=30:d=20 -c:v libx264 -preset ultrafast");
    let job = Job::planned(&clip.file, &options(&[])).await;
    let mut samples = job.encode_sampling_progress().await;
    assert_eq!(job.progress().frames, FRAMES);
    samples.retain(|sample| sample.frames < FRAMES);
    assert!(samples.is_sorted_by(|one, next| one.frames <= next.frames && one.percent <= next.percent));
    assert!(samples.iter().any(|sample| sample.fps > 0.0 && sample.speed > 0.0 && sample.eta.is_some()));
    samples.dedup_by_key(|sample| sample.frames);
    assert!(samples.len() > 4, "{samples:?}");
    assert!(samples.iter().any(|sample| (20.0..80.0).contains(&sample.percent)), "{samples:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_webm_without_audio_has_no_audio_rendition() {
    let job = transcoded_clip(
        "clip.webm",
        "-f lavfi -i testsrc2=s=426x240:r=25:d=5 -c:v libvpx -deadline realtime -cpu-used 8",
    )
    .await;
    assert_eq!(size(&job), "426,240,1:1");
    assert_duration(&job.progressive("240p"), 5.0, 0.05);
    assert!(job.track("240p").codec.starts_with("avc1."));
    assert!(!job.text("master.m3u8").contains("AUDIO"));
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_odd_size_and_wide_pixels_keeps_aspect_ratio() {
    let job = transcoded_clip(
        "clip.mkv",
        "-f lavfi -i testsrc2=s=361x363:r=25:d=1 -vf setsar=2/1 -c:v libx264 -pix_fmt yuv444p -preset ultrafast",
    )
    .await;
    // The display size is 722 x 363.
    assert_eq!(size(&job), "716,360,1:1");
    assert_eq!(job.rungs()[0], "360p");
}

#[rstest]
#[case::without_audio("silent.mp4", "")]
#[case::with_audio("audio.mp4", "-f lavfi -i sine=440:d=1 -c:a aac")]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_rotated_video_applies_rotation_once(#[case] name: &str, #[case] audio: &str) {
    let flat = Clip::new(
        "flat.mp4",
        &format!("-f lavfi -i testsrc2=s=320x180:r=30:d=1 {audio} -c:v libx264 -preset ultrafast"),
    );
    let rotated = Clip::from_inputs(name, &[&flat.file], "-i {0} -c copy -metadata:s:v rotate=90");
    let job = transcoded(&rotated.file, &options(&[])).await;
    assert_eq!(size(&job), "180,320,1:1", "{name}");
    for output in [job.progressive("180p"), job.joined("180p")] {
        let rotation = ffprobe("-select_streams v -show_entries stream_side_data=rotation", &output);
        assert_eq!(rotation, "", "{name}: {}", output.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_frame_shown_for_minutes_keeps_duration() {
    // 2 s of frames, a frame that is shown for 4 minutes, 2 s of frames.
    let job = transcoded_clip(
        "clip.mp4",
        "-f lavfi -i testsrc2=s=128x72:r=30:d=4 -vf setpts='PTS+if(gte(T\\,2)\\,240/TB\\,0)' -vsync vfr \
         -c:v libx264 -preset ultrafast",
    )
    .await;
    assert!(job.plan.work_units.len() > 3, "it is cut into chunks within the long frame");
    assert_duration(&job.progressive("72p"), 244.0, 1.1);
    assert_eq!(durations(&job.text("72p.m3u8")).len(), 61);
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_damaged_video_plays_with_a_warning() {
    let clip =
        Clip::new("clip.ts", "-f lavfi -i testsrc2=s=256x144:r=25:d=10 -c:v libx264 -preset veryfast -g 25");
    clip.patch(|bytes| {
        // Damages the payload of the packets in the middle, not their headers.
        let quarter = bytes.len() / 188 / 4 * 188;
        for packet in bytes[quarter..quarter * 3].chunks_exact_mut(188) {
            packet[120] ^= 0x5a;
            packet[150] ^= 0x77;
        }
    });
    let job = Job::planned(&clip.file, &options(&[144])).await;
    let done = job.run().await.expect("the intact part plays");
    let reasons: Vec<_> = done.warnings.iter().map(|warning| warning.kind).collect();
    assert_eq!(reasons, [FailureKind::PartlyDamaged]);
    assert_eq!(job.frames("144p"), 250);
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_above_progressive_limit_has_no_progressive_file() {
    const MAX_BYTES: u64 = 500_000;
    let clip = Clip::new(
        "clip.mp4",
        "-f lavfi -i testsrc2=s=640x360:r=30:d=20,noise=alls=20:allf=t -c:v libx264 -preset ultrafast",
    );
    let mut engine = engine();
    engine.limits.max_progressive_bytes = MAX_BYTES;
    let address = FileServer::start().await.add(&clip.file);
    let job = Job::planned_with(&engine, address, &options(&[360, 72])).await;
    let mut largest = 0;
    let done = {
        let mut encoding = std::pin::pin!(job.run());
        loop {
            tokio::select! {
                done = &mut encoding => break done.expect("done"),
                () = tokio::time::sleep(Duration::from_millis(10)) => largest = largest.max(largest_in(job.scratch.path())),
            }
        }
    };
    let reasons: Vec<_> = done.warnings.iter().map(|warning| warning.kind).collect();
    assert_eq!(reasons, [FailureKind::DownloadTooLarge]);
    let recorded = job.outputs.recorded();
    let files: Vec<_> =
        recorded.iter().filter(|recorded| recorded.output.kind == OutputKind::Progressive).collect();
    assert_eq!(files.iter().map(|file| file.output.rendition.as_str()).collect::<Vec<_>>(), ["72p"]);
    assert!(std::fs::metadata(job.joined("360p")).expect("segments").len() > 2 * MAX_BYTES);
    assert!((1..=MAX_BYTES).contains(&largest), "{largest} bytes in the scratch folder");
}

/// Size of the largest file in a folder, bytes.
fn largest_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("folder").filter_map(Result::ok);
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).max().unwrap_or(0)
}

/// The display aspect of the file is replaced by the lines that are cropped: 92 at the top and at the bottom.
#[tokio::test(flavor = "multi_thread")]
async fn transcode_matroska_that_is_cropped_has_no_bars() {
    let bars = "drawbox=h=92:color=black:t=fill,drawbox=y=628:h=92:color=black:t=fill,setsar=2";
    let clip = Clip::new(
        "cropped.mkv",
        &format!("-f lavfi -i color=white:s=1280x720:r=25:d=1,{bars} -c:v libx264 -preset ultrafast"),
    );
    clip.patch(|bytes| {
        for (from, to) in
            [(b"\x54\xb0\x81\x20", b"\x54\xbb\x81\x5c"), (b"\x54\xba\x81\x09", b"\x54\xaa\x81\x5c")]
        {
            let at = bytes.windows(4).position(|window| window == from).expect("display aspect");
            bytes[at..at + 4].copy_from_slice(to);
        }
    });
    let job = transcoded(&clip.file, &options(&[])).await;
    let video = job.plan.video.as_ref().expect("video");
    let (id, size) = (&video.rungs[0].id, video.rungs[0].size);
    // 1280 x 536 pixels of the source.
    assert_eq!((size.width, size.height), (1146, 480));
    let pixels = decode(&job.joined(id), "-frames:v 1 -pix_fmt gray -f rawvideo -");
    assert_eq!(pixels.len(), 1146 * 480);
    assert!(pixels.iter().all(|&pixel| pixel > 200), "a bar is left");
}
