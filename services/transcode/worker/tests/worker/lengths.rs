//! Length and clock: all tracks of a video end together, gaps stay gaps, and a clock may begin anywhere.

use crate::support::{
    Clip, Job, combing, decode, frame_number_in, frame_numbers, gray_frames, mono_samples, numbered_clip,
    options, transcoded,
};
use reelmill_media::{FailureKind, playlists::Track};
use rstest::rstest;
use std::path::Path;

const PICTURE: &str = "-f lavfi -i testsrc2=s=128x72:r=25";
const X264: &str = "-c:v libx264 -preset ultrafast -g 50";
const AAC: &str = "-c:v libx264 -preset ultrafast -g 50 -c:a aac";
/// As a browser or a streaming server records: without a length and an index.
const RECORDED: &str = "-c:v libx264 -preset ultrafast -g 50 -c:a aac -live 1";
const RECORDED_FLV: &str = "-c:v libx264 -preset ultrafast -g 50 -c:a aac -flvflags no_duration_filesize";
/// Sizes of the frames that are decoded to find where a picture becomes light.
const TINY: (u32, u32) = (16, 16);

fn seconds(track: &Track) -> f64 {
    track.segments.iter().map(|segment| segment.seconds).sum()
}

/// Asserts that every rendition of a video ends at the same time.
fn assert_ends_together(job: &Job, expected: f64) {
    let audio = job.plan.audio.iter().map(|audio| audio.id.as_str());
    for id in job.rungs().into_iter().chain(audio) {
        let (track, frame) = (job.track(id), 0.04);
        assert!((seconds(&track) - expected).abs() < 0.06 + frame, "{id}: {} of {expected}", seconds(&track));
        let end =
            |pair: &[reelmill_media::playlists::Segment]| pair[0].start + pair[0].seconds - pair[1].start;
        assert!(track.segments.windows(2).all(|pair| end(pair).abs() < 0.001), "{id} has no gaps");
    }
}

/// Loudest sample of each second, 0 to 1.
fn loudness(file: &Path) -> Vec<f64> {
    let loudest = |second: &[i16]| second.iter().map(|&sample| f64::from(sample).abs()).fold(0.0, f64::max);
    mono_samples(file).chunks(48_000).map(|second| loudest(second) / 32_768.0).collect()
}

/// Mean of each frame, 0 to 255.
fn lightness(file: &Path) -> Vec<f64> {
    let frames = gray_frames(file, TINY.0, TINY.1);
    let size = (TINY.0 * TINY.1) as usize;
    frames
        .chunks(size)
        .map(|frame| frame.iter().map(|&pixel| f64::from(pixel)).sum::<f64>() / size as f64)
        .collect()
}

#[rstest]
#[case::mp4("short-sound.mp4", 400, AAC)]
#[case::mp4_of_one_task("short-sound-small.mp4", 30, AAC)]
#[case::mkv("short-sound.mkv", 60, AAC)]
#[case::recorded_mkv("recorded-sound.mkv", 60, RECORDED)]
#[case::ts("short-sound.ts", 60, AAC)]
#[case::flv("short-sound.flv", 60, AAC)]
#[case::recorded_flv("recorded-sound.flv", 60, RECORDED_FLV)]
#[case::avi("short-sound.avi", 60, "-c:v mpeg4 -c:a mp3")]
#[case::wmv("short-sound.wmv", 60, "-c:v wmv2 -c:a wmav2")]
#[case::ogv("short-sound.ogv", 60, "-c:v libtheora -c:a libvorbis")]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_sound_that_ends_early_is_followed_by_silence(
    #[case] name: &str,
    #[case] length: u32,
    #[case] encode: &str,
) {
    let args = format!("{PICTURE}:d={length} -f lavfi -i sine=440:r=44100:d=10 {encode}");
    let clip = Clip::new(name, &args);
    let job = transcoded(&clip.file, &options(&[72])).await;
    assert_ends_together(&job, f64::from(length));
    let loud = loudness(&job.joined("audio-0"));
    assert!(loud[1..9].iter().all(|&second| second > 0.05), "{loud:?}");
    assert!(loud[11..].iter().all(|&second| second < 0.01), "{loud:?}");
}

#[rstest]
#[case::mp4("short-picture.mp4", 100, "-c:v copy -c:a aac")]
#[case::mkv("short-picture.mkv", 100, "-c:v copy -c:a aac")]
#[case::recorded_mkv("recorded-picture.mkv", 100, "-c:v copy -c:a aac -live 1")]
#[case::ts("short-picture.ts", 100, "-c:v copy -c:a aac")]
#[case::program_stream("short-picture.mpg", 100, "-c:v mpeg2video -q:v 2 -c:a mp2")]
#[case::flv("short-picture.flv", 100, "-c:v copy -c:a aac")]
#[case::recorded_flv("recorded-picture.flv", 100, "-c:v copy -c:a aac -flvflags no_duration_filesize")]
#[case::avi("short-picture.avi", 100, "-c:v mpeg4 -q:v 2 -c:a mp3")]
#[case::wmv("short-picture.wmv", 100, "-c:v wmv2 -q:v 2 -c:a wmav2")]
#[case::ogv("short-picture.ogv", 100, "-c:v libtheora -q:v 9 -c:a libvorbis")]
#[case::a_few_frames("almost.mp4", 11, "-c:v copy -c:a aac")]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_picture_that_ends_early_is_held(
    #[case] name: &str,
    #[case] length: u32,
    #[case] encode: &str,
) {
    let picture = numbered_clip("numbered.mp4", "25", 250, "-c:v libx264 -preset ultrafast -g 50");
    let args = format!("-i {{0}} -f lavfi -i sine=440:r=44100:d={length} -map 0:v -map 1:a {encode}");
    let clip = Clip::from_inputs(name, &[&picture.file], &args);
    let job = transcoded(&clip.file, &options(&[])).await;
    assert_ends_together(&job, f64::from(length));
    let rung = job.rungs()[0].to_owned();
    let numbers = frame_numbers(&job.joined(&rung));
    // Some codecs add a few frames of sound.
    let frames = numbers.len() as u32;
    assert!((length * 25..=length * 25 + 2).contains(&frames), "{frames}");
    // In some containers the picture begins a frame after the sound.
    let late = usize::from(numbers[1] == 0);
    let shown = std::iter::repeat_n(0, late).chain(0..250).chain(std::iter::repeat(249)).take(numbers.len());
    assert!(numbers.iter().copied().eq(shown), "{numbers:?}");
    assert_eq!(frame_numbers(&job.progressive(&rung)).len(), numbers.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_held_picture_is_encoded_once() {
    let clip = Clip::new(
        "song.mp4",
        "-f lavfi -i testsrc2=s=640x360:r=25:d=0.04 -f lavfi -i sine=440:d=600 -c:v libx264 -c:a aac",
    );
    let job = transcoded(&clip.file, &options(&[])).await;
    assert_ends_together(&job, 600.0);
    let track = job.track(job.rungs()[0]);
    let video = job.plan.video.as_ref().expect("video");
    let last = video.chunks.last().and_then(|chunk| chunk.frames).expect("an end");
    assert!(last <= 300 && track.segments.len() == 150, "{last} frames are encoded");
    let vtt = job.text("thumbnails.vtt");
    assert!(vtt.trim_end().lines().rev().nth(1).is_some_and(|line| line.contains("--> 00:10:00.0")), "{vtt}");
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_last_slide_is_shown() {
    let slide = |color: &str| {
        Clip::new(&format!("{color}.png"), &format!("-f lavfi -i color={color}:s=320x180 -frames:v 1"))
    };
    let slides = [slide("black"), slide("gray"), slide("white")];
    let list = Clip::with_content(
        "list.txt",
        slides
            .iter()
            .map(|slide| format!("file '{}'\nduration 6\n", slide.file.display()))
            .collect::<String>(),
    );
    for (name, sound) in [("slides.mp4", "-f lavfi -i sine=440:d=18"), ("silent-slides.mp4", "")] {
        let args = format!("-f concat -safe 0 -i {{0}} {sound} -fps_mode vfr -c:v libx264 -c:a aac");
        let clip = Clip::from_inputs(name, &[&list.file], &args);
        let job = transcoded(&clip.file, &options(&[])).await;
        let light = lightness(&job.joined(job.rungs()[0]));
        let white = light.iter().filter(|&&mean| mean > 200.0).count() as f64;
        let expected = if sound.is_empty() { 1.0 } else { 6.0 };
        let rate = job.plan.video.as_ref().expect("video").rate.fps();
        assert!(white / rate >= expected, "{name}: {light:?}");
    }
}

#[rstest]
#[case::sound("a")]
#[case::picture("v")]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_gap_in_one_track_moves_nothing(#[case] track: &str) {
    let flash = "color=black:s=128x72:r=25:d=28,drawbox=color=white:t=fill:enable='gte(t,23)'";
    let beep = "aevalsrc='if(gte(t,23),0.5*sin(880*t),0)':d=28";
    let whole =
        Clip::new("whole.ts", &format!("-f lavfi -i {flash} -f lavfi -i {beep} {X264} -g 25 -c:a aac"));
    let args = format!("-i {{0}} -map 0 -c copy -copyts -bsf:{track} noise=drop='between(pts*tb,6.4,19.4)'");
    let gap = Clip::from_inputs(&format!("gap-{track}.ts"), &[&whole.file], &args);
    let job = transcoded(&gap.file, &options(&[])).await;
    let light = lightness(&job.joined(job.rungs()[0]));
    let flash = light.iter().position(|&mean| mean > 128.0).expect("a flash") as f64 / 25.0;
    let samples = mono_samples(&job.joined("audio-0"));
    let beep = samples.iter().position(|&sample| sample.abs() > 2000).expect("a beep") as f64 / 48_000.0;
    assert!((flash - 23.0).abs() < 0.1 && (beep - 23.0).abs() < 0.1, "{flash} {beep}");
}

#[rstest]
#[case::mkv("late.mkv", 600)]
#[case::flv("late.flv", 600)]
#[case::longer_than_allowed("dvb.mkv", 72_000)]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_clock_that_begins_late_costs_nothing(#[case] name: &str, #[case] offset: u32) {
    let args = format!("{PICTURE}:d=20 -f lavfi -i sine=440:d=20 {X264} -c:a aac -output_ts_offset {offset}");
    let clip = Clip::new(name, &args);
    let job = transcoded(&clip.file, &options(&[])).await;
    assert!(
        job.source.duration.is_some_and(|seconds| (seconds - 20.0).abs() < 0.2),
        "{:?}",
        job.source.duration
    );
    assert_ends_together(&job, 20.0);
    assert!(job.plan.is_single(), "no task for a time before the clock begins");
}

#[rstest]
#[case::mkv("cut.mkv")]
#[case::flv("cut.flv")]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_file_that_is_cut_off_after_its_sound_ends_together(#[case] name: &str) {
    let clip = Clip::new(name, &format!("{PICTURE}:d=60 -f lavfi -i sine=440:d=10 {AAC}"));
    clip.patch(|bytes| bytes.truncate(bytes.len() / 2));
    let job = transcoded(&clip.file, &options(&[])).await;
    let there = job.source.duration.expect("known");
    assert!((20.0..40.0).contains(&there), "{there}");
    assert_eq!(job.source.stated_duration.map(f64::round), Some(60.0));
    assert_ends_together(&job, there);
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_second_recording_in_an_flv_is_left_out_with_a_warning() {
    let recording = |length: u32| {
        let args = format!(
            "{PICTURE}:d={length} -f lavfi -i sine=440:r=44100:d={length} {X264} -ac 2 -c:a pcm_s16le"
        );
        std::fs::read(Clip::new("recording.flv", &args).file).expect("file")
    };
    // ffmpeg takes a second header for a tag of 5 MB, and reads what follows that.
    for (first, second) in [(20, 20), (20, 3), (3, 20), (20, 60)] {
        let both = Clip::with_content("both.flv", [recording(first), recording(second)].concat());
        let job = Job::planned(&both.file, &options(&[])).await;
        let done = job.run().await.expect("the first one plays");
        assert_eq!(
            done.warnings.iter().map(|warning| warning.kind).collect::<Vec<_>>(),
            [FailureKind::RecordingSkipped],
            "{first} s and {second} s"
        );
        assert_ends_together(&job, f64::from(first));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_lively_part_of_a_still_screen_keeps_its_pictures() {
    let clip = Clip::new(
        "screen.mp4",
        "-f lavfi -i testsrc2=s=320x180:r=30:d=40 -vf select='if(lt(t,30),not(mod(n,30)),1)' -fps_mode vfr -c:v \
         libx264 -preset ultrafast -bf 0",
    );
    let job = transcoded(&clip.file, &options(&[])).await;
    assert_eq!(job.plan.video.as_ref().expect("video").rate.fps(), 30.0);
    let frames = gray_frames(&job.joined(job.rungs()[0]), 64, 36);
    let frames: Vec<_> = frames.chunks(64 * 36).collect();
    let lively = &frames[31 * 30..39 * 30];
    let distinct = lively.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(distinct > 230, "{distinct} of 239");
}

/// Width and height of a white square in the middle of the last frames.
fn square(job: &Job) -> (usize, usize) {
    let rung = &job.plan.video.as_ref().expect("video").rungs[0];
    let (width, height) = (rung.size.width as usize, rung.size.height as usize);
    let frames = decode(&job.joined(&rung.id), "-f rawvideo -pix_fmt gray -");
    let frame = &frames[frames.len() - 10 * width * height..][..width * height];
    let wide = frame[height / 2 * width..][..width].iter().filter(|&&pixel| pixel > 190).count();
    let high = (0..height).filter(|row| frame[row * width + width / 2] > 190).count();
    (wide, high)
}

#[rstest]
#[case::turned("testsrc2=s=640x360:r=25:d=4", "360x640", (80, 220), (200, 200), "", X264)]
#[case::wide_pixels(
    "testsrc2=s=720x576:r=25:d=4,setsar=16/15",
    "720x576",
    (260, 146),
    (200, 284),
    ",setsar=64/45",
    "-c:v mpeg2video -b:v 4M -g 12"
)]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_shape_that_changes_keeps_its_aspect_ratio(
    #[case] before: &str,
    #[case] size: &str,
    #[case] at: (u32, u32),
    #[case] side: (u32, u32),
    #[case] more: &str,
    #[case] encode: &str,
) {
    let first = Clip::new("before.ts", &format!("-f lavfi -i {before} {encode} -f mpegts"));
    let square_of = format!(
        "color=gray:s={size}:r=25:d=4,drawbox=x={}:y={}:w={}:h={}:color=white:t=fill{more}",
        at.0, at.1, side.0, side.1
    );
    let then =
        Clip::new("after.ts", &format!("-f lavfi -i {square_of} {encode} -output_ts_offset 4 -f mpegts"));
    let read = |clip: &Clip| std::fs::read(&clip.file).expect("clip");
    let joined = Clip::with_content("joined.ts", [read(&first), read(&then)].concat());
    let job = transcoded(&joined.file, &options(&[])).await;
    let (wide, high) = square(&job);
    assert!(wide > 20 && (wide as f64 / high as f64 - 1.0).abs() < 0.1, "{wide} x {high}");
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_poster_of_a_held_picture_is_one_of_its_frames() {
    let picture = numbered_clip("few.mp4", "25", 30, "-c:v libx264 -preset ultrafast");
    let args = "-i {0} -f lavfi -i sine=440:d=40 -map 0:v -map 1:a -c:v copy -c:a aac";
    let clip = Clip::from_inputs("few-held.mp4", &[&picture.file], args);
    let job = transcoded(&clip.file, &options(&[])).await;
    assert!(frame_number_in(&job.poster(), "null") < 30);
}

/// A broadcast that is progressive at its start: combs of the interlaced part would differ from line to line.
#[tokio::test(flavor = "multi_thread")]
async fn transcode_stretch_that_is_interlaced_is_deinterlaced() {
    let moving = "testsrc2=s=720x576:r=50:d=4";
    let encode = "-c:v mpeg2video -b:v 8M -g 12 -f mpegts";
    let progressive = Clip::new("p.ts", &format!("-f lavfi -i {moving},fps=25 {encode}"));
    let interlaced = Clip::new(
        "i.ts",
        &format!("-f lavfi -i {moving},interlace=lowpass=0 -flags +ilme+ildct {encode} -output_ts_offset 4"),
    );
    let read = |clip: &Clip| std::fs::read(&clip.file).expect("clip");
    let joined = Clip::with_content("mixed.ts", [read(&progressive), read(&interlaced)].concat());
    let job = transcoded(&joined.file, &options(&[576])).await;
    let frames = decode(&job.joined(job.rungs()[0]), "-f rawvideo -pix_fmt gray -");
    let rung = &job.plan.video.as_ref().expect("video").rungs[0];
    let (width, height) = (rung.size.width as usize, rung.size.height as usize);
    let of_frame = |number: usize| combing(&frames[number * width * height..][..width * height], width);
    let (before, after) = (of_frame(50), of_frame(150));
    assert!(after < before * 1.15, "{before} {after}");
}
