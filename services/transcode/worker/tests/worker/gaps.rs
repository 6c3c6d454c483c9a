//! Gaps in a file: they stay gaps up to a limit, cost next to nothing, and longer ones are reported.

use crate::support::{Clip, H264, Job, frame_numbers, numbered_clip, numbered_clip_filtered, options};
use reelmill_media::{FailureKind, playlists::Segment};
use rstest::rstest;

/// Moves what follows 10 s by so many seconds.
fn later(filter: &str, seconds: u32) -> String {
    format!("{filter}=PTS+if(gte(T\\,10)\\,{seconds}/TB\\,0)")
}

/// Asserts that frames have their time: 250 before a gap from 10 s on, and as many after it.
fn assert_shown(job: &Job, gap: usize) {
    let shown = frame_numbers(&job.joined("144p"));
    assert!(shown.len().abs_diff(500 + gap * 25) <= 2, "{} frames", shown.len());
    for (frame, number) in
        [(0, 0), (200, 200), (260, 249), (240 + gap * 25, 249), (260 + gap * 25, 260), (490 + gap * 25, 490)]
    {
        assert!(shown[frame].abs_diff(number) <= 1, "frame {frame}: {} instead of {number}", shown[frame]);
    }
}

/// The pictures of a segment, without its times.
fn pictures(job: &Job, segment: &Segment) -> Vec<u8> {
    let bytes = std::fs::read(job.path(&segment.uri)).expect("segment");
    let mdat = bytes.windows(4).position(|name| name == b"mdat").expect("mdat");
    bytes[mdat..].to_vec()
}

#[rstest]
#[case::mp4("gap.mp4", "aac")]
#[case::mkv("gap.mkv", "libopus")]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_long_gap_stays_is_reported_and_is_encoded_once_per_task(
    #[case] name: &str,
    #[case] audio: &str,
) {
    let args = format!("{H264} -g 50 -fps_mode vfr -af {} -c:a {audio}", later("asetpts", 300));
    let clip = numbered_clip_filtered(name, "25", 500, &format!(",{}", later("setpts", 300)), &args);
    let job = Job::planned(&clip.file, &options(&[144])).await;
    let done = job.run().await.expect("done");
    let [warning] = &done.warnings[..] else { panic!("one warning: {:?}", done.warnings) };
    assert_eq!(warning.kind, FailureKind::TimeGap);
    let gap = ["from 0:00:09 to 0:05:09", "from 0:00:09 to 0:05:10"];
    assert!(gap.iter().any(|gap| warning.message.contains(gap)), "{}", warning.message);
    assert_shown(&job, 300);
    let segments = job.track("144p").segments;
    let chunk = job.plan.video.as_ref().expect("video").chunks[3];
    let first = chunk.first_segment as usize;
    let still: Vec<_> = segments[first..first + 4].iter().map(|segment| pictures(&job, segment)).collect();
    assert!(still.windows(2).all(|pair| pair[0] == pair[1]), "{} bytes", still[0].len());
    let sound: f64 = job.track("audio-0").segments.iter().map(|segment| segment.seconds).sum();
    assert!((sound - 320.0).abs() < 0.1, "{sound} s of sound");
}

/// Sound under a picture that does not change is no gap.
#[tokio::test(flavor = "multi_thread")]
async fn transcode_picture_shown_for_minutes_is_no_gap() {
    let picture = numbered_clip_filtered(
        "slides.mp4",
        "25",
        500,
        &format!(",{}", later("setpts", 150)),
        &format!("{H264} -g 50 -fps_mode vfr -an"),
    );
    let clip = Clip::from_inputs(
        "slides-sound.mp4",
        &[&picture.file],
        "-i {0} -f lavfi -i sine=440:d=170 -map 0:v -map 1:a -c:v copy -c:a aac",
    );
    let job = Job::planned(&clip.file, &options(&[144])).await;
    let done = job.run().await.expect("done");
    assert!(done.warnings.is_empty(), "{:?}", done.warnings);
    assert_shown(&job, 150);
}

/// A broadcast that was interrupted: the clock goes on. A short interruption stays, and a long one is taken out.
#[rstest]
#[case::short(40, true)]
#[case::long(400, false)]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_gap_of_a_broadcast_stays_up_to_two_minutes(#[case] gap: u32, #[case] stays: bool) {
    let part = |offset: u32| {
        let args = format!("{H264} -g 50 -c:a mp2 -output_ts_offset {offset}");
        std::fs::read(numbered_clip("part.ts", "25", 250, &args).file).expect("file")
    };
    let clip = Clip::with_content("gap.ts", [part(0), part(10 + gap)].concat());
    let job = Job::planned(&clip.file, &options(&[144])).await;
    let done = job.run().await.expect("done");
    let kinds: Vec<_> = done.warnings.iter().map(|warning| warning.kind).collect();
    let shown = frame_numbers(&job.joined("144p"));
    if stays {
        assert_eq!(kinds, []);
        assert!(shown.len().abs_diff(500 + gap as usize * 25) <= 5, "{} frames", shown.len());
        assert_eq!(shown[240 + gap as usize * 25], 249);
    } else {
        assert_eq!(kinds, [FailureKind::TimeGap]);
        assert!(shown.len().abs_diff(500) <= 30, "{} frames", shown.len());
    }
}
