//! Videos that are encoded in chunks: every frame is at its index, none is missing, repeated or wrong.

use crate::support::{
    Clip, FileServer, H264, Job, engine, ffprobe, frame_numbers, numbered_clip, numbered_clip_filtered,
    options,
};
use reelmill_media::FailureKind;
use rstest::rstest;
use std::path::Path;
use std::sync::atomic::Ordering;

/// Frames of 42 seconds at 25 fps: chunks of 1, 2, 4 and 4 segments.
const COUNT: u32 = 1050;
const AAC: &str = "-c:a aac -b:a 64k";
const VP9: &str = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -row-mt 1 -b:v 300k -g 128 -auto-alt-ref 1 \
                   -lag-in-frames 16";
const OPEN_GOP: &str =
    "-c:v libx264 -preset ultrafast -g 75 -x264-params open-gop=1:bframes=3:b-pyramid=normal";

/// Transcodes a file, which must be cut into chunks.
async fn chunked(file: &Path) -> Job {
    let job = Job::planned(file, &options(&[144])).await;
    assert!(job.plan.work_units.len() >= 5, "audio and four chunks: {:?}", job.plan.work_units);
    job.run().await.unwrap_or_else(|failure| panic!("{}: {failure}", file.display()));
    job
}

/// Asserts that the timestamps of the rung's frames are on the grid of its frame rate, from zero.
fn assert_on_grid(job: &Job, name: &str) {
    let track = job.track("144p");
    let rate = job.plan.video.as_ref().expect("video").rate;
    let mut expected = 0.0;
    for segment in &track.segments {
        assert!(
            (segment.start - expected).abs() < 0.0001,
            "{name}: {} does not begin where the previous one ends",
            segment.uri
        );
        expected += segment.seconds;
    }
    let times = ffprobe("-select_streams v:0 -show_entries packet=pts_time", &job.joined("144p"));
    let mut times: Vec<f64> = times.lines().map(|time| time.parse().expect("time")).collect();
    times.sort_by(f64::total_cmp);
    for (frame, time) in times.iter().enumerate() {
        let expected = rate.seconds_of(frame as u64);
        assert!((time - times[0] - expected).abs() < 0.000_1, "{name}: frame {frame} at {time}");
    }
}

/// Asserts that the chunks have the frames `0..count`. Where video begins later than audio, the first one is repeated
/// `repeats` times before.
async fn assert_exact(repeats: usize, clip: &Clip, count: u32) {
    let name = clip.file.file_name().expect("name").to_string_lossy().into_owned();
    let job = chunked(&clip.file).await;
    let actual = frame_numbers(&job.joined("144p"));
    let expected: Vec<u32> = std::iter::repeat_n(0, repeats).chain(0..count).collect();
    let wrong = actual.iter().zip(&expected).enumerate().find(|(_, (actual, expected))| actual != expected);
    assert_eq!(wrong, None, "{name}: the first wrong frame");
    assert_eq!(actual.len(), expected.len(), "{name}");
    assert_on_grid(&job, &name);
    assert_eq!(
        frame_numbers(&job.progressive("144p")),
        actual,
        "{name}: the progressive file has the same frames"
    );
}

/// Asserts that chunks have the same frames as a single pass, for sources that are not on the grid of a frame rate.
async fn assert_same_as_single_chunk(clip: &Clip) -> Vec<u32> {
    let name = clip.file.display();
    let one = Job::planned(&clip.file, &options(&[144])).await.into_single_chunk();
    one.run().await.unwrap_or_else(|failure| panic!("{name}: {failure}"));
    let job = chunked(&clip.file).await;
    let (expected, actual) = (frame_numbers(&one.joined("144p")), frame_numbers(&job.joined("144p")));
    let wrong = expected.iter().zip(&actual).enumerate().find(|(_, (expected, actual))| expected != actual);
    assert_eq!(wrong, None, "{name}: the first frame that differs from a single pass");
    assert_eq!(expected.len(), actual.len(), "{name}");
    assert_on_grid(&job, &name.to_string());
    actual
}

#[rstest]
#[case::closed_gop("closed.mp4", format!("{H264} -g 50 {AAC} -movflags +faststart"), 0)]
#[case::open_gop("open.mp4", format!("{OPEN_GOP} {AAC}"), 0)]
#[case::long_gop("long.mp4", format!("{H264} -g 600 -keyint_min 600 -sc_threshold 0 {AAC}"), 0)]
// Without an edit list, video with reordered frames begins late.
#[case::fragments("fragments.mp4", format!("{H264} -g 50 {AAC} -movflags +frag_keyframe+empty_moov+default_base_moof"), 2)]
#[case::hidden_frames("hidden.webm", format!("{VP9} -c:a libopus"), 0)]
#[case::transport_stream("open.ts", format!("{OPEN_GOP} -c:a mp2"), 0)]
#[case::flash("closed.flv", format!("{H264} -g 50 -c:a libmp3lame -ar 44100"), 0)]
// AVI has decoding timestamps only, so that reordered frames are shown one frame late.
#[case::avi("reordered.avi", "-c:v mpeg4 -vtag DIVX -q:v 4 -bf 2 -g 100 -c:a libmp3lame -ar 44100".to_owned(), 1)]
#[tokio::test(flavor = "multi_thread")]
async fn chunks_of_any_container_and_gop_are_exact(
    #[case] name: &str,
    #[case] args: String,
    #[case] repeats: usize,
) {
    assert_exact(repeats, &numbered_clip(name, "25", COUNT, &args), COUNT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_of_ntsc_frame_rate_are_exact() {
    let clip = numbered_clip("open.mkv", "30000/1001", 1260, &format!("{OPEN_GOP} -c:a libopus"));
    assert_exact(0, &clip, 1260).await;
}

/// The source after the end of a chunk is neither read nor decoded.
#[tokio::test(flavor = "multi_thread")]
async fn chunk_reads_its_part_of_the_source_only() {
    let clip = numbered_clip(
        "long.mp4",
        "25",
        2000,
        &format!("{H264} -g 50 -b:v 8M -minrate 8M -x264-params nal-hrd=cbr -bufsize 8M -c:a aac"),
    );
    let server = FileServer::start().await;
    let job = Job::planned_with(&engine(), server.add(&clip.file), &options(&[144])).await;
    let work_unit = job
        .plan
        .work_units
        .iter()
        .position(|work_unit| work_unit.chunk == Some(1))
        .expect("the second chunk");
    assert!(job.plan.work_units[work_unit].thumbnails, "the thumbnails end with the chunk");
    let before = server.bytes_served.load(Ordering::SeqCst);
    job.encode(work_unit).await.expect("done");
    let read = server.bytes_served.load(Ordering::SeqCst) - before;
    let size = std::fs::metadata(&clip.file).expect("file").len();
    // The chunk is a tenth of the file. The index, the seek and read-ahead in sockets add some megabytes each; reading
    // to the end would be 80 MB.
    assert!(read * 100 < size * 75, "{read} of {size} bytes for a tenth of the video");
}

/// Concatenated recordings: the clock jumps forward by minutes, then back.
#[tokio::test(flavor = "multi_thread")]
async fn clock_discontinuity_keeps_every_frame() {
    let args = |begin: u32| format!("{H264} -g 50 -c:a mp2 -output_ts_offset {begin}");
    let parts = [(100, 400), (700, 500), (20, 300)];
    let clip = Clip::empty("jumps.ts");
    let mut joined = Vec::new();
    for (begin, count) in parts {
        let part = numbered_clip("part.ts", "25", count, &args(begin));
        joined.extend(std::fs::read(&part.file).expect("file"));
    }
    std::fs::write(&clip.file, joined).expect("write");
    let job = Job::planned(&clip.file, &options(&[144])).await;
    assert!(job.plan.is_single(), "a single chunk: {:?}", job.plan.work_units);
    job.run().await.expect("done");
    let actual = frame_numbers(&job.joined("144p"));
    let expected: Vec<u32> = parts.into_iter().flat_map(|(_, count)| 0..count).collect();
    let mut rest = actual.iter();
    let shown = expected.iter().take_while(|number| rest.any(|seen| seen == *number)).count();
    assert_eq!(shown, expected.len(), "every frame is shown, in order");
    assert!(
        actual.len().abs_diff(expected.len()) <= 50,
        "gaps are removed: {} frames of {}",
        actual.len(),
        expected.len()
    );
    assert_on_grid(&job, "jumps.ts");
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_of_variable_frame_rate_match_single_pass() {
    // Like a phone in the dark: a third of the frames are missing, the others have jitter.
    let filters = ",select=gt(random(7)\\,0.3),settb=1/600,setpts=PTS+trunc(random(5)*6)";
    let args = format!(
        "{H264} -g 60 -fps_mode passthrough -enc_time_base 1:600 -video_track_timescale 600 -c:a aac"
    );
    let clip = numbered_clip_filtered("dark.mov", "30", 1260, filters, &args);
    let seen = assert_same_as_single_chunk(&clip).await;
    assert!(seen.is_sorted(), "frames are in order");
    let kept = frame_numbers(&clip.file);
    let shown: Vec<u32> = kept.iter().copied().filter(|number| seen.contains(number)).collect();
    assert!(shown.len() * 100 >= kept.len() * 99, "{} of {} frames are shown", shown.len(), kept.len());
}

/// Without frame durations in the container, ffmpeg would drop the last frame.
#[rstest]
#[case::chunked("25", 600, COUNT)]
#[case::short("25", 90_000, 50)]
#[case::low_rate("10", 1000, 50)]
#[tokio::test(flavor = "multi_thread")]
async fn last_frame_of_unknown_duration_is_kept(
    #[case] rate: &str,
    #[case] timescale: u32,
    #[case] length: u32,
) {
    let args = format!(
        "{H264} -g 50 -fps_mode passthrough -enc_time_base 1:{timescale} -video_track_timescale {timescale} -c:a aac"
    );
    let clip = numbered_clip("unknown.mp4", rate, length, &args);
    let job = Job::planned(&clip.file, &options(&[144])).await;
    assert!(job.plan.source.video.as_ref().expect("video").stated_end.is_some(), "{rate} {timescale}");
    job.run().await.expect("done");
    assert_eq!(frame_numbers(&job.joined("144p")), (0..length).collect::<Vec<_>>(), "{rate} {timescale}");
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_of_video_with_edit_list_match_single_pass() {
    // Cut without encoding: frames before 3.7 s are for decoding only.
    let whole = numbered_clip("whole.mp4", "25", 1150, &format!("{OPEN_GOP} -c:a aac"));
    let cut = Clip::from_inputs("cut.mov", &[&whole.file], "-ss 3.7 -i {0} -map 0 -c copy");
    let seen = assert_same_as_single_chunk(&cut).await;
    let first = seen[0];
    assert!((92..=93).contains(&first), "{first}");
    assert!(seen.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seen:?}");
    assert_eq!(seen.last(), Some(&1149));

    // Video begins later than audio: its first frame is repeated.
    let args = "-itsoffset 0.52 -i {0} -i {0} -map 0:v -map 1:a -c copy";
    let late = Clip::from_inputs("late.mov", &[&whole.file], args);
    let seen = assert_same_as_single_chunk(&late).await;
    let repeats = seen.iter().take_while(|&&number| number == 0).count();
    assert_eq!(repeats, 14, "13 frames of 0.52 s, and the first itself");
    assert!(seen[repeats - 1..].windows(2).all(|pair| pair[1] == pair[0] + 1), "{seen:?}");
}

/// The index names keyframes that cannot be decoded, at chunk boundaries too: the last decoded frame is repeated.
#[tokio::test(flavor = "multi_thread")]
async fn undecodable_chunk_is_filled_with_the_last_frame() {
    let clip = numbered_clip("hole.mp4", "25", COUNT, &format!("{H264} -g 50 -c:a aac"));
    let packets = ffprobe("-select_streams v:0 -show_entries packet=pts_time,size,pos", &clip.file);
    clip.patch(|bytes| {
        for line in packets.lines() {
            let mut values = line.split(',').map(|number| number.parse::<f64>().expect("number"));
            let (time, size, at) = (values.next(), values.next(), values.next());
            let (Some(time), Some(size), Some(at)) = (time, size, at) else { panic!("{line}") };
            // A whole chunk, from 4 s to 12 s, and two seconds of the next.
            if (3.99..13.99).contains(&time) {
                bytes[at as usize..(at + size) as usize].fill(0);
            }
        }
    });
    let job = Job::planned(&clip.file, &options(&[144])).await;
    let done = job.run().await.expect("completed with the rest");
    assert!(
        done.warnings.iter().any(|warning| warning.kind == FailureKind::PartlyDamaged),
        "{:?}",
        done.warnings
    );
    assert_eq!(job.frames("144p"), COUNT);
    assert_on_grid(&job, "hole.mp4");
    let seen = frame_numbers(&job.joined("144p"));
    assert_eq!(seen[..95], (0..95).collect::<Vec<_>>()[..], "before the hole");
    assert_eq!(seen[350..], (350..COUNT).collect::<Vec<_>>()[..], "after the hole");
}
