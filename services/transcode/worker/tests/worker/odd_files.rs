//! Odd but real files: the right track is chosen, what changes in mid-stream is followed, and warnings are true.

use crate::support::{Clip, Job, combing, decode, frame_numbers, mono_samples, numbered_clip, options};
use reelmill_media::FailureKind;
use rstest::rstest;
use std::path::Path;

const X264: &str = "-c:v libx264 -preset ultrafast -g 50";

async fn done(file: &Path) -> (Job, Vec<FailureKind>) {
    let job = Job::planned(file, &options(&[])).await;
    let done = job.run().await.unwrap_or_else(|failure| panic!("{}: {failure}", file.display()));
    let kinds = done.warnings.iter().map(|warning| warning.kind).collect();
    (job, kinds)
}

fn seconds(job: &Job, id: &str) -> f64 {
    job.track(id).segments.iter().map(|segment| segment.seconds).sum()
}

fn joined(name: &str, parts: &[&Clip]) -> Clip {
    let parts: Vec<_> = parts.iter().map(|part| std::fs::read(&part.file).expect("part")).collect();
    Clip::with_content(name, parts.concat())
}

/// Few bytes for its length: each slide is shown for minutes.
#[tokio::test(flavor = "multi_thread")]
async fn slides_without_sound_last_as_long_as_they_are_shown() {
    let clip = Clip::new(
        "slides.mp4",
        "-f lavfi -i testsrc2=s=320x180:r=1/200:d=800 -c:v libx264 -preset ultrafast -bf 0",
    );
    assert!(
        std::fs::metadata(&clip.file).expect("file").len() * 8 < 800 * 1000,
        "less than 1,000 bits a second"
    );
    let (job, warnings) = done(&clip.file).await;
    assert_eq!(warnings, []);
    let length = seconds(&job, job.rungs()[0]);
    assert!((length - 800.0).abs() < 1.1, "{length}");
}

#[rstest]
#[case::doubled("f3060.mp4", "testsrc2=s=256x144:r=60:d=20", "if(lt(t\\,10)\\,not(mod(n\\,2))\\,1)", 60.0)]
#[case::doubled_in_matroska(
    "f2550.mkv",
    "testsrc2=s=256x144:r=50:d=20",
    "if(lt(t\\,10)\\,not(mod(n\\,2))\\,1)",
    50.0
)]
#[case::short_lively_part(
    "lively.mp4",
    "testsrc2=s=256x144:r=30:d=320",
    "if(between(t\\,205\\,213)\\,1\\,not(mod(n\\,30)))",
    30.0
)]
#[tokio::test(flavor = "multi_thread")]
async fn rate_is_that_of_the_liveliest_part(
    #[case] name: &str,
    #[case] source: &str,
    #[case] select: &str,
    #[case] expected: f64,
) {
    let args = format!("-f lavfi -i {source} -vf select={select} -fps_mode vfr {X264} -bf 0");
    let clip = Clip::new(name, &args);
    let job = Job::planned(&clip.file, &options(&[])).await;
    let fps = job.plan.video.as_ref().expect("video").rate.fps();
    assert!((fps - expected).abs() < 0.1, "{fps}");
}

/// A track of one picture, or of a few seconds, that stands before the video.
#[rstest]
#[case::picture("still.mkv", "color=red:s=256x144:r=25:d=0.04", "libx264")]
#[case::picture_in_broadcast("still.ts", "color=red:s=256x144:r=25:d=0.04", "libx264")]
#[case::short("short.mp4", "color=red:s=256x144:r=25:d=2", "libx264")]
#[case::slow("slow.mov", "color=red:s=256x144:r=1/10:d=20", "mjpeg")]
#[tokio::test(flavor = "multi_thread")]
async fn video_is_chosen_over_a_still_or_short_track(
    #[case] name: &str,
    #[case] first: &str,
    #[case] codec: &str,
) {
    let clip = Clip::new(
        name,
        &format!(
            "-f lavfi -i {first} -f lavfi -i testsrc2=s=256x144:r=25:d=20 -f lavfi -i sine=440:d=20 -map 0:v -map 1:v -map 2:a \
             {X264} -c:v:0 {codec} -c:a aac -disposition:v:0 default -disposition:v:1 default"
        ),
    );
    let job = Job::planned(&clip.file, &options(&[])).await;
    assert_eq!(job.plan.source.video.as_ref().expect("video").index, 1);
}

#[rstest]
#[case::commentary("comment")]
#[case::description("visual_impaired")]
#[tokio::test(flavor = "multi_thread")]
async fn main_sound_is_played_before_a_supplementary_one(#[case] disposition: &str) {
    let clip = Clip::new(
        "sounds.mkv",
        &format!(
            "-f lavfi -i testsrc2=s=128x72:r=25:d=4 -f lavfi -i sine=440:d=4 -f lavfi -i sine=880:d=4 -map 0:v -map 1:a -map 2:a \
             {X264} -c:a aac -disposition:a:0 default+{disposition} -disposition:a:1 default"
        ),
    );
    let job = Job::planned(&clip.file, &options(&[])).await;
    assert_eq!(job.plan.source.audio.iter().map(|audio| audio.index).collect::<Vec<_>>(), [2, 1]);
}

/// A broadcast whose tracks go on under other PIDs.
#[tokio::test(flavor = "multi_thread")]
async fn track_that_moves_to_another_pid_goes_on() {
    let part = |name: &str, more: &str| numbered_clip(name, "25", 250, &format!("{X264} -c:a aac {more}"));
    let moved = part("second.ts", "-streamid 0:300 -streamid 1:301 -output_ts_offset 10");
    let clip = joined("moved.ts", &[&part("first.ts", ""), &moved]);
    let (job, _) = done(&clip.file).await;
    let rung = job.rungs()[0];
    assert!((seconds(&job, rung) - 20.0).abs() < 0.2, "{}", seconds(&job, rung));
    // The last picture of the first part, which nothing completes, follows at the end.
    let rest = Clip::from_inputs("rest.mp4", &[&job.joined(rung)], "-i {0} -t 19 -c copy");
    let shown = frame_numbers(&rest.file);
    assert!(shown[240] >= 238 && shown[470] >= 215, "{} {}", shown[240], shown[470]);
    let samples = mono_samples(&job.joined("audio-0"));
    let late = &samples[48_000 * 15..48_000 * 16];
    assert!(late.iter().any(|sample| sample.abs() > 1000), "sound of the second part");
}

/// The combs of the interlaced part would differ from line to line.
#[rstest]
#[case::matroska("mixed.mkv")]
#[case::mp4("mixed.mp4")]
#[tokio::test(flavor = "multi_thread")]
async fn interlaced_part_is_deinterlaced_in_any_container(#[case] name: &str) {
    let moving = "testsrc2=s=352x288:r=50:d=4";
    let progressive =
        Clip::new("p.ts", &format!("-f lavfi -i {moving},fps=25 {X264} -x264-params interlaced=0 -f mpegts"));
    let interlaced = Clip::new(
        "i.ts",
        &format!(
            "-f lavfi -i {moving},interlace=lowpass=0 {X264} -x264-params tff=1 -output_ts_offset 4 -f mpegts"
        ),
    );
    // The parameters that the container states are those of the part that comes first.
    let both = joined("mixed.ts", &[&interlaced, &progressive, &interlaced]);
    let clip = Clip::from_inputs(name, &[&both.file], "-i {0} -c copy");
    let (job, _) = done(&clip.file).await;
    let rung = &job.plan.video.as_ref().expect("video").rungs[0];
    let (width, height) = (rung.size.width as usize, rung.size.height as usize);
    let frames = decode(&job.joined(&rung.id), "-f rawvideo -pix_fmt gray -");
    let count = frames.len() / (width * height);
    let of_frame = |number: usize| combing(&frames[number * width * height..][..width * height], width);
    let (before, after) = (of_frame(count / 2), of_frame(count - 30));
    assert!(after < before * 1.15, "{before} {after}");
}

/// A song with one picture: of this kind the container does not say how long it is shown.
#[rstest]
#[case::broadcast("one.ts", "-c:v libx264 -c:a aac")]
#[case::ogg("one.ogv", "-c:v libtheora -c:a libvorbis")]
#[tokio::test(flavor = "multi_thread")]
async fn single_picture_is_shown_as_long_as_the_song(#[case] name: &str, #[case] codecs: &str) {
    let clip = Clip::new(
        name,
        &format!("-f lavfi -i color=green:s=256x144:r=25:d=0.04 -f lavfi -i sine=440:d=60 {codecs}"),
    );
    let (job, warnings) = done(&clip.file).await;
    assert_eq!(warnings, []);
    for id in [job.rungs()[0], "audio-0"] {
        assert!((seconds(&job, id) - 60.0).abs() < 0.2, "{id}: {}", seconds(&job, id));
    }
}

/// As a radio server records: each song is a stream of its own.
#[tokio::test(flavor = "multi_thread")]
async fn songs_that_follow_one_another_in_ogg_are_all_played() {
    let song = |tone: u32| Clip::new("song.ogg", &format!("-f lavfi -i sine={tone}:d=10 -c:a libvorbis"));
    let (first, second) = (song(440), song(880));
    for parts in [[&first, &second], [&first, &first]] {
        let (job, warnings) = done(&joined("radio.ogg", &parts).file).await;
        assert_eq!(warnings, []);
        let length = seconds(&job, "audio-0");
        assert!((length - 20.0).abs() < 0.3, "{length}");
    }
}

#[rstest]
#[case::matroska("two.mkv", "")]
#[case::mp4("two.mp4", "-movflags +faststart")]
#[case::mp4_index_at_the_end("two-end.mp4", "")]
#[tokio::test(flavor = "multi_thread")]
async fn recording_that_follows_in_the_same_file_is_reported(#[case] name: &str, #[case] more: &str) {
    let part = Clip::new(
        name,
        &format!("-f lavfi -i testsrc2=s=128x72:r=25:d=10 -f lavfi -i sine=440:d=10 {X264} -c:a aac {more}"),
    );
    let (job, warnings) = done(&joined(name, &[&part, &part]).file).await;
    assert_eq!(warnings, [FailureKind::RecordingSkipped]);
    assert!((seconds(&job, job.rungs()[0]) - 10.0).abs() < 0.2);
    let (_, warnings) = done(&part.file).await;
    assert_eq!(warnings, []);
}

/// Files that state where they end, cut off at 55 % of their bytes.
#[rstest]
#[case::avi("cut.avi", "-c:v mpeg4 -b:v 800k -c:a libmp3lame")]
#[case::asf("cut.wmv", "-c:v wmv2 -b:v 800k -c:a wmav2")]
#[case::wav("cut.wav", "-vn -c:a pcm_s16le")]
#[tokio::test(flavor = "multi_thread")]
async fn cut_off_file_is_reported(#[case] name: &str, #[case] codecs: &str) {
    let clip = Clip::new(
        name,
        &format!("-f lavfi -i testsrc2=s=256x144:r=25:d=40 -f lavfi -i sine=440:r=44100:d=40 {codecs}"),
    );
    let (_, warnings) = done(&clip.file).await;
    assert_eq!(warnings, [], "complete");
    clip.patch(|bytes| bytes.truncate(bytes.len() * 55 / 100));
    let (job, warnings) = done(&clip.file).await;
    // FILE_TRUNCATED is reported when the job is finished, by comparison with the stated length.
    let stated = job.plan.expected_seconds();
    assert!(stated.is_some_and(|stated| (stated - 40.0).abs() < 1.0), "{stated:?} {warnings:?}");
    let first = job.rungs().first().copied().unwrap_or("audio-0").to_owned();
    let length = seconds(&job, &first);
    assert!((18.0..26.0).contains(&length), "{length}");
}

/// A transmission error that changes the time of one picture must not freeze those after it.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_time_of_one_picture_freezes_nothing() {
    let clip = numbered_clip("wild.ts", "25", 500, "-c:v libx264 -preset ultrafast -g 50 -bf 0 -c:a mp2");
    clip.patch(|bytes| {
        let starts: Vec<usize> = (0..bytes.len() / 188)
            .map(|packet| packet * 188)
            .filter_map(|at| {
                let packet = &bytes[at..at + 188];
                let payload = if packet[3] & 0x20 == 0 { 4 } else { 5 + usize::from(packet[4]) };
                let is_picture = packet[1] & 0x5f == 0x41 && packet[2] == 0;
                (is_picture && packet.get(payload..payload + 3) == Some(&[0, 0, 1])).then_some(at + payload)
            })
            .collect();
        // Ten minutes later, in the bits of a presentation time.
        let (at, ticks) = (starts[250] + 9, 610_u64 * 90_000);
        let bits = |shift: u32, mask: u64| u8::try_from(ticks >> shift & mask).expect("bits");
        let marker = bytes[at] & 0xf0;
        bytes[at] = marker | bits(30, 7) << 1 | 1;
        (bytes[at + 1], bytes[at + 2]) = (bits(22, 255), bits(15, 127) << 1 | 1);
        (bytes[at + 3], bytes[at + 4]) = (bits(7, 255), bits(0, 127) << 1 | 1);
    });
    let (job, _) = done(&clip.file).await;
    let shown = frame_numbers(&job.joined(job.rungs()[0]));
    assert!(shown.len().abs_diff(500) <= 3, "{} frames", shown.len());
    assert!(shown[400] >= 398 && shown[300] >= 298, "{} {}", shown[300], shown[400]);
    assert!(shown.is_sorted(), "pictures are in order");
}

/// Bytes that a disk lost in the middle of a file; and bytes that are not part of it after its end, which nobody misses.
#[rstest]
#[case::matroska("hole.mkv", "-c:a aac")]
#[case::broadcast("hole.ts", "-c:a aac")]
#[case::flash("hole.flv", "-c:a aac")]
#[tokio::test(flavor = "multi_thread")]
async fn missing_data_in_the_middle_are_reported(#[case] name: &str, #[case] codecs: &str) {
    let clip = Clip::new(
        name,
        &format!("-f lavfi -i testsrc2=s=256x144:r=25:d=40 -f lavfi -i sine=440:d=40 {X264} {codecs}"),
    );
    let intact = std::fs::read(&clip.file).expect("file");
    clip.patch(|bytes| bytes.extend([0x5a; 100_000]));
    assert_eq!(done(&clip.file).await.1, [], "bytes after the end");
    clip.patch(|bytes| {
        *bytes = intact;
        let tenth = bytes.len() / 10;
        bytes[tenth * 4..tenth * 6].fill(0);
    });
    let (job, mut warnings) = done(&clip.file).await;
    // Each task reports it.
    warnings.dedup();
    assert_eq!(warnings, [FailureKind::PartlyDamaged]);
    assert!((seconds(&job, job.rungs()[0]) - 40.0).abs() < 1.0, "{}", seconds(&job, job.rungs()[0]));
}
