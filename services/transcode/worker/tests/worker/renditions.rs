//! What comes out of the engine, on clips that ffmpeg makes.

use crate::job::{Job, done, options};
use crate::support::{Clip, Store, assert_seconds, engine, ffmpeg, ffprobe, frames, processes_in};
use reelmill_media::FailureKind;
use reelmill_worker::engine::OutputKind;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Lengths of the segments that a playlist lists, seconds.
fn durations(playlist: &str) -> Vec<f64> {
    let infs = playlist.lines().filter_map(|line| line.strip_prefix("#EXTINF:"));
    infs.map(|line| line.trim_end_matches(',').parse().expect("seconds")).collect()
}

/// The top rung's size as ffprobe sees it in the progressive file.
fn size(job: &Job) -> String {
    let show = "-select_streams v:0 -show_entries stream=width,height,sample_aspect_ratio";
    ffprobe(show, &job.progressive(job.rungs()[0]))
}

async fn made(name: &str, args: &str) -> Job {
    done(&Clip::new(name, args).file, &options(&[])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_1080p_video_becomes_an_aligned_ladder() {
    let job = made(
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
        assert_eq!(keys, 3, "one keyframe a segment");
        let file = job.progressive(rung);
        assert_seconds(&file, 9.0, 0.1);
        let index = std::fs::read(&file).expect("file");
        let place = |kind: &[u8]| index.windows(4).position(|window| window == kind).expect("box");
        assert!(place(b"moov") < place(b"mdat"), "the index comes first");
        assert!(job.track(rung).codec.starts_with("avc1.64"), "{}", job.track(rung).codec);
    }
    assert_eq!(frames(&job.path("360p.m3u8")), 216, "the playlist plays to the end");
    let master = job.text("master.m3u8");
    let attributes =
        ["RESOLUTION=1920x1080", "FRAME-RATE=23.976", "CODECS=\"avc1.64", "mp4a.40.2\"", "AUDIO="];
    let top = master.lines().find(|line| line.contains("1920x1080")).expect("top rung");
    assert!(attributes.iter().all(|attribute| top.contains(attribute)), "{top}");
    let streams = ffprobe("-show_entries program_stream=codec_type", &job.path("master.m3u8"));
    assert!(streams.contains("video") && streams.contains("audio"), "{streams}");
    let sound: f64 = durations(&job.text("audio-0.m3u8")).iter().sum();
    assert!((sound - 9.0).abs() < 0.05, "{sound}");
    let poster = ffprobe("-show_entries stream=codec_name,width,height", &job.poster());
    assert_eq!(poster, "mjpeg,640,360");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_is_what_is_there() {
    let job = made(
        "clip.mov",
        "-f lavfi -i testsrc2=s=640x360:r=30:d=5 -f lavfi -i sine=440:d=5 -c:v libx264 -preset ultrafast -c:a aac",
    )
    .await;
    let recorded = job.board.recorded();
    let told: BTreeMap<_, _> =
        recorded.iter().map(|recorded| (recorded.output.name.clone(), recorded.output.size_bytes)).collect();
    assert_eq!(told.len(), recorded.len(), "nothing is told twice");
    let mut there = BTreeMap::new();
    let root = job.path("0.1");
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else {
                let name = entry.strip_prefix(&root).expect("below").display().to_string();
                there.insert(name, std::fs::metadata(&entry).expect("file").len());
            }
        }
    }
    assert_eq!(told, there);
    let names: Vec<_> = told.keys().map(String::as_str).collect();
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
    assert_eq!(processes_in(job.scratch.path()), 0);
    assert!(job.text("manifest.mpd").contains("360p/seg_00002.m4s"));
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_it_is_is_told_all_along() {
    const FRAMES: u64 = 600;
    let clip =
        Clip::new("clip.mp4", "-f lavfi -i testsrc2=s=1280x720:r=30:d=20 -c:v libx264 -preset ultrafast");
    let job = Job::of(&clip.file, &options(&[])).await;
    let mut told = job.told().await;
    assert_eq!(job.progress().frames, FRAMES);
    told.retain(|told| told.frames < FRAMES);
    assert!(told.is_sorted_by(|one, next| one.frames <= next.frames && one.percent <= next.percent));
    assert!(told.iter().any(|told| told.fps > 0.0 && told.speed > 0.0 && told.eta.is_some()));
    told.dedup_by_key(|told| told.frames);
    assert!(told.len() > 4, "{told:?}");
    assert!(told.iter().any(|told| (20.0..80.0).contains(&told.percent)), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn webm_without_sound() {
    let job = made(
        "clip.webm",
        "-f lavfi -i testsrc2=s=426x240:r=25:d=5 -c:v libvpx -deadline realtime -cpu-used 8",
    )
    .await;
    assert_eq!(size(&job), "426,240,1:1");
    assert_seconds(&job.progressive("240p"), 5.0, 0.05);
    assert!(job.track("240p").codec.starts_with("avc1."));
    assert!(!job.text("master.m3u8").contains("AUDIO"));
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_sizes_and_wide_pixels_are_not_distorted() {
    let job = made(
        "clip.mkv",
        "-f lavfi -i testsrc2=s=361x363:r=25:d=1 -vf setsar=2/1 -c:v libx264 -pix_fmt yuv444p -preset ultrafast",
    )
    .await;
    // 722 x 363 as shown.
    assert_eq!(size(&job), "716,360,1:1");
    assert_eq!(job.rungs()[0], "360p");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turned_video_is_turned_once_with_sound_and_without() {
    for (name, sound) in [("silent.mp4", ""), ("loud.mp4", "-f lavfi -i sine=440:d=1 -c:a aac")] {
        let flat = Clip::new(
            "flat.mp4",
            &format!("-f lavfi -i testsrc2=s=320x180:r=30:d=1 {sound} -c:v libx264 -preset ultrafast"),
        );
        let turned = flat.beside(name);
        ffmpeg(&format!("-i {} -c copy -metadata:s:v rotate=90", flat.file.display()), &turned);
        let job = done(&turned, &options(&[])).await;
        assert_eq!(size(&job), "180,320,1:1", "{name}");
        for output in [job.progressive("180p"), job.joined("180p")] {
            let turn = ffprobe("-select_streams v -show_entries stream_side_data=rotation", &output);
            assert_eq!(turn, "", "{name}: {}", output.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_still_held_for_minutes_keeps_its_time() {
    // 2 s of frames, a picture held for 4 minutes, 2 s of frames.
    let job = made(
        "clip.mp4",
        "-f lavfi -i testsrc2=s=128x72:r=30:d=4 -vf setpts='PTS+if(gte(T\\,2)\\,240/TB\\,0)' -vsync vfr \
         -c:v libx264 -preset ultrafast",
    )
    .await;
    assert!(job.plan.work_units.len() > 5, "it is cut where nothing moves");
    assert_seconds(&job.progressive("72p"), 244.0, 1.1);
    assert_eq!(durations(&job.text("72p.m3u8")).len(), 61);
}

#[tokio::test(flavor = "multi_thread")]
async fn warnings_tell_of_damage_and_the_rest_plays() {
    let clip =
        Clip::new("clip.ts", "-f lavfi -i testsrc2=s=256x144:r=25:d=10 -c:v libx264 -preset veryfast -g 25");
    let mut bytes = std::fs::read(&clip.file).expect("file");
    // The packets of the middle keep their headers; what they carry is damaged.
    let quarter = bytes.len() / 188 / 4 * 188;
    for packet in bytes[quarter..quarter * 3].chunks_exact_mut(188) {
        packet[120] ^= 0x5a;
        packet[150] ^= 0x77;
    }
    std::fs::write(&clip.file, bytes).expect("write");
    let job = Job::of(&clip.file, &options(&[144])).await;
    let done = job.run().await.expect("what is whole plays");
    let reasons: Vec<_> = done.warnings.iter().map(|warning| warning.kind).collect();
    assert_eq!(reasons, [FailureKind::PartlyDamaged]);
    assert_eq!(job.frames("144p"), 250);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_one_file_has_none_and_no_copy() {
    const MOST: u64 = 500_000;
    let clip = Clip::new(
        "clip.mp4",
        "-f lavfi -i testsrc2=s=640x360:r=30:d=20,noise=alls=20:allf=t -c:v libx264 -preset ultrafast",
    );
    let mut engine = engine();
    engine.limits.max_progressive_bytes = MOST;
    let address = Store::start().await.add(&clip.file);
    let job = Job::new(&engine, address, &options(&[360, 72])).await.map_err(|(failure, _)| failure);
    let job = job.expect("planned");
    let mut largest = 0;
    let done = {
        let mut running = std::pin::pin!(job.run());
        loop {
            tokio::select! {
                done = &mut running => break done.expect("done"),
                () = tokio::time::sleep(Duration::from_millis(10)) => largest = largest.max(largest_in(job.scratch.path())),
            }
        }
    };
    let reasons: Vec<_> = done.warnings.iter().map(|warning| warning.kind).collect();
    assert_eq!(reasons, [FailureKind::DownloadTooLarge]);
    let recorded = job.board.recorded();
    let files: Vec<_> =
        recorded.iter().filter(|recorded| recorded.output.kind == OutputKind::Progressive).collect();
    assert_eq!(files.iter().map(|file| file.output.rendition.as_str()).collect::<Vec<_>>(), ["72p"]);
    assert!(std::fs::metadata(job.joined("360p")).expect("segments").len() > 2 * MOST);
    assert!((1..=MOST).contains(&largest), "{largest} bytes in the scratch folder");
}

/// Bytes of a folder's largest file.
fn largest_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("folder").filter_map(Result::ok);
    entries.filter_map(|entry| entry.metadata().ok()).map(|about| about.len()).max().unwrap_or(0)
}
