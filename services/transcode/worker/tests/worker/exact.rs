//! Exact seams: of a video that is cut into chunks every frame is at its place, none missing, repeated or wrong.

use crate::job::{Job, options};
use crate::numbered::{H264, numbered, numbered_with, numbers};
use crate::support::{Clip, Store, engine, ffmpeg, ffprobe};
use reelmill_media::FailureKind;
use std::path::Path;
use std::sync::atomic::Ordering;

/// Frames of 42 seconds at 25 a second: chunks of 1, 2, 4 and 4 segments.
const COUNT: u32 = 1050;
const OPEN_GOP: &str =
    "-c:v libx264 -preset ultrafast -g 75 -x264-params open-gop=1:bframes=3:b-pyramid=normal";

/// Encodes in chunks, and looks at the joined segments: all that players get.
async fn chunked(file: &Path) -> Job {
    let job = Job::of(file, &options(&[144])).await;
    assert!(job.plan.work_units.len() >= 5, "sound and four chunks: {:?}", job.plan.work_units);
    job.run().await.unwrap_or_else(|failure| panic!("{}: {failure}", file.display()));
    job
}

/// Holds the times of a rung's frames against the grid: one after the other, from zero.
fn assert_on_grid(job: &Job, name: &str) {
    let track = job.track("144p");
    let rate = job.plan.video.as_ref().expect("video").rate;
    let mut due = 0.0;
    for segment in &track.segments {
        assert!((segment.start - due).abs() < 0.0001, "{name}: {} begins late or early", segment.uri);
        due += segment.seconds;
    }
    let times = ffprobe("-select_streams v:0 -show_entries packet=pts_time", &job.joined("144p"));
    let mut times: Vec<f64> = times.lines().map(|time| time.parse().expect("time")).collect();
    times.sort_by(f64::total_cmp);
    for (frame, time) in times.iter().enumerate() {
        let expected = rate.seconds_of(frame as u64);
        assert!((time - times[0] - expected).abs() < 0.000_1, "{name}: frame {frame} at {time}");
    }
}

async fn assert_exact(clip: &Clip, count: u32) {
    assert_exact_after(0, clip, count).await;
}

/// The same for a picture that begins so many frames later than the sound: its first one is held until then.
async fn assert_exact_after(held: usize, clip: &Clip, count: u32) {
    let name = clip.file.file_name().expect("name").to_string_lossy().into_owned();
    let job = chunked(&clip.file).await;
    let seen = numbers(&job.joined("144p"));
    let due: Vec<u32> = std::iter::repeat_n(0, held).chain(0..count).collect();
    let wrong = seen.iter().zip(&due).enumerate().find(|(_, (seen, due))| seen != due);
    assert_eq!(wrong, None, "{name}: the first frame that is not the one that is due");
    assert_eq!(seen.len(), due.len(), "{name}");
    assert_on_grid(&job, &name);
    assert_eq!(numbers(&job.progressive("144p")), seen, "{name}: the file to download has the same frames");
}

/// Where the source has no frame for every place on the grid, one pass says what is due.
async fn assert_as_in_one_pass(clip: &Clip) -> Vec<u32> {
    let name = clip.file.display();
    let one = Job::of(&clip.file, &options(&[144])).await.in_one_pass();
    one.run().await.unwrap_or_else(|failure| panic!("{name}: {failure}"));
    let job = chunked(&clip.file).await;
    let (due, seen) = (numbers(&one.joined("144p")), numbers(&job.joined("144p")));
    let wrong = due.iter().zip(&seen).enumerate().find(|(_, (due, seen))| due != seen);
    assert_eq!(wrong, None, "{name}: the first frame that differs from one pass");
    assert_eq!(due.len(), seen.len(), "{name}");
    assert_on_grid(&job, &name.to_string());
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn mp4_of_every_group_of_pictures() {
    let aac = "-c:a aac -b:a 64k";
    assert_exact(
        &numbered("closed.mp4", "25", COUNT, &format!("{H264} -g 50 {aac} -movflags +faststart")),
        COUNT,
    )
    .await;
    assert_exact(&numbered("open.mp4", "25", COUNT, &format!("{OPEN_GOP} {aac}")), COUNT).await;
    let long = format!("{H264} -g 600 -keyint_min 600 -sc_threshold 0 {aac}");
    assert_exact(&numbered("long.mp4", "25", COUNT, &long), COUNT).await;
    let fragments = format!("{H264} -g 50 {aac} -movflags +frag_keyframe+empty_moov+default_base_moof");
    // Written without an edit list, reordered pictures begin late.
    assert_exact_after(2, &numbered("fragments.mp4", "25", COUNT, &fragments), COUNT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn matroska_and_webm() {
    assert_exact(&numbered("open.mkv", "30000/1001", 1260, &format!("{OPEN_GOP} -c:a libopus")), 1260).await;
    let vp9 = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -row-mt 1 -b:v 300k -g 128 -auto-alt-ref 1 \
               -lag-in-frames 16 -c:a libopus";
    assert_exact(&numbered("hidden.webm", "25", COUNT, vp9), COUNT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transport_streams_flash_and_avi() {
    assert_exact(&numbered("open.ts", "25", COUNT, &format!("{OPEN_GOP} -c:a mp2")), COUNT).await;
    let flash = format!("{H264} -g 50 -c:a libmp3lame -ar 44100");
    assert_exact(&numbered("closed.flv", "25", COUNT, &flash), COUNT).await;
    let avi = "-c:v mpeg4 -vtag DIVX -q:v 4 -bf 2 -g 100 -c:a libmp3lame -ar 44100";
    // It has times of decoding only, so that reordered pictures are shown one frame late.
    assert_exact_after(1, &numbered("reordered.avi", "25", COUNT, avi), COUNT).await;
}

/// What comes after a chunk is neither read nor decoded.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_costs_its_own_part_of_the_source() {
    let clip = numbered(
        "long.mp4",
        "25",
        2000,
        &format!("{H264} -g 50 -b:v 8M -minrate 8M -x264-params nal-hrd=cbr -bufsize 8M -c:a aac"),
    );
    let store = Store::start().await;
    let planned = Job::new(&engine(), store.add(&clip.file), &options(&[144])).await;
    let job = planned.map_err(|(failure, _)| failure).expect("planned");
    let work_unit = job
        .plan
        .work_units
        .iter()
        .position(|work_unit| work_unit.chunk == Some(1))
        .expect("the second chunk");
    assert!(job.plan.work_units[work_unit].thumbnails, "they end by the chunk's end alone");
    let before = store.served.load(Ordering::SeqCst);
    job.encode(work_unit).await.expect("done");
    let read = store.served.load(Ordering::SeqCst) - before;
    let size = std::fs::metadata(&clip.file).expect("file").len();
    // Ten per cent are its own. The index, the seek and what lies in sockets ahead of a reader come on top: some
    // megabytes each, and all of 80 would be read to the end.
    assert!(read * 100 < size * 75, "{read} of {size} bytes for a tenth of the video");
}

/// Recordings that were joined as they are: the clock leaps forward by minutes, then back.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_leaps() {
    let args = |begin: u32| format!("{H264} -g 50 -c:a mp2 -output_ts_offset {begin}");
    let parts = [(100, 400), (700, 500), (20, 300)];
    let clip = Clip::named("leaps.ts");
    let mut joined = Vec::new();
    for (begin, count) in parts {
        let part = numbered("part.ts", "25", count, &args(begin));
        joined.extend(std::fs::read(&part.file).expect("file"));
    }
    std::fs::write(&clip.file, joined).expect("write");
    let job = Job::of(&clip.file, &options(&[144])).await;
    assert!(job.plan.is_single(), "it is not cut: {:?}", job.plan.work_units);
    job.run().await.expect("done");
    let seen = numbers(&job.joined("144p"));
    let due: Vec<u32> = parts.into_iter().flat_map(|(_, count)| 0..count).collect();
    let mut rest = seen.iter();
    let shown = due.iter().take_while(|number| rest.any(|seen| seen == *number)).count();
    assert_eq!(shown, due.len(), "every frame is shown, each in its turn");
    assert!(seen.len().abs_diff(due.len()) <= 50, "gaps are closed: {} frames of {}", seen.len(), due.len());
    assert_on_grid(&job, "leaps.ts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_rate() {
    // A phone in the dark: a third of the frames left out, the others a little early or late.
    let filters = ",select=gt(random(7)\\,0.3),settb=1/600,setpts=PTS+trunc(random(5)*6)";
    let args = format!(
        "{H264} -g 60 -fps_mode passthrough -enc_time_base 1:600 -video_track_timescale 600 -c:a aac"
    );
    let clip = numbered_with("dark.mov", "30", 1260, filters, &args);
    let seen = assert_as_in_one_pass(&clip).await;
    assert!(seen.is_sorted(), "time never goes back");
    let kept = numbers(&clip.file);
    let shown: Vec<u32> = kept.iter().copied().filter(|number| seen.contains(number)).collect();
    assert!(shown.len() * 100 >= kept.len() * 99, "{} of {} frames are shown", shown.len(), kept.len());
}

/// ffmpeg is not told how long pictures of such a file last, and would let the last one fall away.
#[tokio::test(flavor = "multi_thread")]
async fn a_last_picture_of_untold_length() {
    for (rate, timescale, length) in [("25", 600, COUNT), ("25", 90_000, 50), ("10", 1000, 50)] {
        let args = format!(
            "{H264} -g 50 -fps_mode passthrough -enc_time_base 1:{timescale} -video_track_timescale {timescale} -c:a aac"
        );
        let clip = numbered("untold.mp4", rate, length, &args);
        let job = Job::of(&clip.file, &options(&[144])).await;
        assert!(job.plan.source.video.as_ref().expect("video").stated_end.is_some(), "{rate} {timescale}");
        job.run().await.expect("done");
        assert_eq!(numbers(&job.joined("144p")), (0..length).collect::<Vec<_>>(), "{rate} {timescale}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn edit_lists() {
    // Cut without encoding: pictures before 3.7 s are there for decoding alone.
    let whole = numbered("whole.mp4", "25", 1150, &format!("{OPEN_GOP} -c:a aac"));
    let cut = Clip::new("cut.mov", &format!("-ss 3.7 -i {} -map 0 -c copy", whole.file.display()));
    let seen = assert_as_in_one_pass(&cut).await;
    let first = seen[0];
    assert!((92..=93).contains(&first), "{first}");
    assert!(seen.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seen:?}");
    assert_eq!(seen.last(), Some(&1149));

    // The picture begins later than the sound: its first frame is held.
    let late = Clip::named("late.mov");
    ffmpeg(
        &format!("-itsoffset 0.52 -i {0} -i {0} -map 0:v -map 1:a -c copy", whole.file.display()),
        &late.file,
    );
    let seen = assert_as_in_one_pass(&late).await;
    let held = seen.iter().take_while(|&&number| number == 0).count();
    assert_eq!(held, 14, "0.52 s are 13 frames, and the first itself");
    assert!(seen[held - 1..].windows(2).all(|pair| pair[1] == pair[0] + 1), "{seen:?}");
}

/// The index still names keyframes where nothing can be decoded, at the very seams: the last good picture is held.
#[tokio::test(flavor = "multi_thread")]
async fn a_hole_across_seams_is_filled() {
    let clip = numbered("hole.mp4", "25", COUNT, &format!("{H264} -g 50 -c:a aac"));
    let packets = ffprobe("-select_streams v:0 -show_entries packet=pts_time,size,pos", &clip.file);
    let mut bytes = std::fs::read(&clip.file).expect("file");
    for line in packets.lines() {
        let mut numbers = line.split(',').map(|number| number.parse::<f64>().expect("number"));
        let (time, size, at) = (numbers.next(), numbers.next(), numbers.next());
        let (Some(time), Some(size), Some(at)) = (time, size, at) else { panic!("{line}") };
        // A whole chunk, from 4 to 12, and two seconds of the next.
        if (3.99..13.99).contains(&time) {
            bytes[at as usize..(at + size) as usize].fill(0);
        }
    }
    std::fs::write(&clip.file, bytes).expect("write");
    let job = Job::of(&clip.file, &options(&[144])).await;
    let done = job.run().await.expect("what is there can be played");
    assert!(
        done.warnings.iter().any(|warning| warning.kind == FailureKind::PartlyDamaged),
        "{:?}",
        done.warnings
    );
    assert_eq!(job.frames("144p"), COUNT);
    assert_on_grid(&job, "hole.mp4");
    let seen = numbers(&job.joined("144p"));
    assert_eq!(seen[..95], (0..95).collect::<Vec<_>>()[..], "before it");
    assert_eq!(seen[350..], (350..COUNT).collect::<Vec<_>>()[..], "behind it");
}
