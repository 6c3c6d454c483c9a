//! Audio-only sources, several audio tracks, and audio that cannot be decoded.

use crate::support::{Clip, Job, assert_duration, decode, ffprobe, options, transcoded};
use reelmill_media::FailureKind;
use reelmill_media::playlists::Track;
use reelmill_worker::engine::Completion;
use rstest::rstest;
use std::f64::consts::TAU;
use std::path::Path;

const VIDEO: &str = "-f lavfi -i testsrc2=s=128x72:r=25:d=6";
const ENCODE: &str = "-c:v libx264 -preset ultrafast";

/// Amplitude of a tone in samples of 48 kHz, 0 to 1: one bin of a discrete Fourier transform.
fn amplitude(samples: &[f32], hertz: f64) -> f64 {
    let step = TAU * hertz / 48_000.0;
    let (re, im) = samples.iter().enumerate().fold((0.0, 0.0), |(re, im), (index, &sample)| {
        let (sin, cos) = (step * index as f64).sin_cos();
        (re + f64::from(sample) * cos, im + f64::from(sample) * sin)
    });
    2.0 * (re * re + im * im).sqrt() / samples.len() as f64
}

/// Samples of one channel from 1 s to 2 s.
fn channel(file: &Path, channel: u32) -> Vec<f32> {
    let args = format!("-map 0:a:0 -ss 1 -t 1 -af pan=mono|c0=c{channel} -ar 48000 -f f32le -");
    let bytes = decode(file, &args);
    bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect()
}

fn assert_tone(file: &Path, index: u32, hertz: f64) {
    let samples = channel(file, index);
    let (tone, other) = (amplitude(&samples, hertz), amplitude(&samples, hertz * 1.31));
    assert!(tone > 0.05 && tone > other * 10.0, "{} {hertz} Hz: {tone}", file.display());
}

/// Duration of all segments, seconds.
fn duration(track: &Track) -> f64 {
    track.segments.iter().map(|segment| segment.seconds).sum()
}

/// Asserts that an audio-only job has a variant stream and a progressive file.
fn assert_audio_only(job: &Job, seconds: f64) {
    assert!(job.plan.video.is_none() && job.rungs().is_empty());
    let track = job.track("audio-0");
    assert_eq!(track.codec, "mp4a.40.2");
    assert!((duration(&track) - seconds).abs() < 0.05, "{}", duration(&track));
    let master = job.text("master.m3u8");
    assert!(master.contains("#EXT-X-STREAM-INF") && master.contains("CODECS=\"mp4a.40.2\""), "{master}");
    assert_duration(&job.path("master.m3u8"), seconds, 0.1);
    assert_duration(&job.progressive("audio-0"), seconds, 0.1);
    assert_tone(&job.joined("audio-0"), 0, 440.0);
}

#[rstest]
#[case::m4a("song.m4a", "-c:a aac")]
#[case::ogg("song.ogg", "-c:a libvorbis")]
#[case::mp3("tagged.mp3", "-c:a libmp3lame")]
#[case::mp3_without_tags("bare.mp3", "-c:a libmp3lame -id3v2_version 0 -write_xing 0")]
#[case::flac("song.flac", "-c:a flac")]
#[case::wav("song.wav", "-c:a pcm_s16le")]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_audio_only_has_waveform_poster(#[case] name: &str, #[case] args: &str) {
    let clip = Clip::new(name, &format!("-f lavfi -i sine=440:d=10:r=44100 -ac 2 {args}"));
    let job = transcoded(&clip.file, &options(&[])).await;
    assert_audio_only(&job, 10.0);
    let poster = job.poster();
    assert_eq!(ffprobe("-show_entries stream=width,height", &poster), "640,360", "{name}");
    // The waveform of a constant tone fills the middle of the image, not the edges.
    let rows = decode(&poster, "-vf format=gray,scale=1:9:flags=area -f rawvideo -");
    assert!(rows[4] > 30 && rows[0] < 8 && rows[8] < 8, "{name}: {rows:?}");
}

#[rstest]
#[case::m4a("song.m4a", "-c:a aac")]
#[case::mp3("song.mp3", "-c:a libmp3lame")]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_audio_with_cover_has_cover_poster(#[case] name: &str, #[case] args: &str) {
    let cover = Clip::new("cover.png", "-f lavfi -i color=red:s=300x300 -frames:v 1");
    let args = format!(
        "-f lavfi -i sine=440:d=10 -i {{0}} -map 0 -map 1 {args} -c:v mjpeg -disposition:v:0 attached_pic"
    );
    let clip = Clip::from_inputs(name, &[&cover.file], &args);
    let job = transcoded(&clip.file, &options(&[])).await;
    assert_audio_only(&job, 10.0);
    let pixel = decode(&job.poster(), "-vf scale=1:1 -pix_fmt rgb24 -f rawvideo -");
    assert!(pixel[0] > 200 && pixel[1] < 40 && pixel[2] < 40, "{name}: red, not {pixel:?}");
    let size = ffprobe("-show_entries stream=width,height", &job.poster());
    let (width, height) = size.split_once(',').expect("size");
    assert_eq!(width, height, "{name}: the aspect ratio is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_audio_tracks_yields_rendition_per_language() {
    let clip = Clip::new(
        "talk.mkv",
        &format!(
            "{VIDEO} -f lavfi -i sine=440:d=6 -f lavfi -i sine=660:d=6 -f lavfi -i sine=880:d=6 -map 0 -map 1 -map 2 \
             -map 3 {ENCODE} -c:a aac -ac 2 -metadata:s:a:0 language=eng -metadata:s:a:1 language=deu -metadata:s:a:2 \
             language=eng -metadata:s:a:2 title=Commentary -disposition:a:0 0 -disposition:a:1 default"
        ),
    );
    let job = transcoded(&clip.file, &options(&[])).await;
    let languages: Vec<_> =
        job.plan.audio.iter().map(|audio| (audio.language.as_str(), audio.default)).collect();
    assert_eq!(languages, [("deu", true), ("eng", false), ("eng", false)], "the default comes first");
    for (rendition, hertz) in [("audio-0", 660.0), ("audio-1", 440.0), ("audio-2", 880.0)] {
        assert_tone(&job.joined(rendition), 0, hertz);
        assert!((duration(&job.track(rendition)) - 6.0).abs() < 0.05);
    }
    let master = job.text("master.m3u8");
    let media: Vec<_> = master.lines().filter(|line| line.starts_with("#EXT-X-MEDIA:TYPE=AUDIO")).collect();
    assert_eq!(media.len(), 3, "{master}");
    assert!(
        media.iter().any(|line| line.contains("LANGUAGE=\"de\"") && line.contains("DEFAULT=YES")),
        "{master}"
    );
    assert!(
        media.iter().any(|line| line.contains("LANGUAGE=\"en\"") && line.contains("Commentary")),
        "{master}"
    );
    // The progressive file has the default track.
    assert_tone(&job.progressive("72p"), 0, 660.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_surround_yields_stereo_and_surround() {
    let tones: Vec<_> = (0..6).map(|channel| format!("0.2*sin(2*PI*{}*t)", tone(channel))).collect();
    let clip = Clip::new(
        "film.mp4",
        &format!(
            "{VIDEO} -f lavfi -i aevalsrc={}:c=5.1:s=48000:d=6 {ENCODE} -c:a aac -b:a 384k",
            tones.join("|")
        ),
    );
    let job = transcoded(&clip.file, &options(&[])).await;
    let renditions: Vec<_> = job.plan.audio.iter().map(|audio| (audio.id.as_str(), audio.channels)).collect();
    assert_eq!(renditions, [("audio-0", 2), ("audio-0-surround", 6)]);
    let surround = job.joined("audio-0-surround");
    assert_eq!(ffprobe("-show_entries stream=channels", &surround), "6");
    // The fourth channel is the subwoofer's.
    for channel in [0, 1, 2, 4, 5] {
        assert_tone(&surround, channel, f64::from(tone(channel)));
    }
    let stereo = job.joined("audio-0");
    assert_eq!(ffprobe("-show_entries stream=channels", &stereo), "2");
    assert_tone(&stereo, 0, f64::from(tone(0)));
    assert_tone(&stereo, 1, f64::from(tone(1)));
    let master = job.text("master.m3u8");
    assert!(master.contains("CHANNELS=\"2\"") && master.contains("CHANNELS=\"6\""), "{master}");
}

/// Tone of a channel, hertz.
fn tone(channel: u32) -> u32 {
    300 + channel * 170
}

fn reasons(done: &Completion) -> Vec<FailureKind> {
    done.warnings.iter().map(|warning| warning.kind).collect()
}

/// A video whose audio packets have their headers only.
fn clip_with_broken_audio(seconds: u32) -> Clip {
    let video = format!("-f lavfi -i testsrc2=s=128x72:r=25:d={seconds}");
    let clip = Clip::new("clip.avi", &format!("{video} -f lavfi -i sine=440:d={seconds} {ENCODE} -c:a ac3"));
    clip.patch(|bytes| {
        let index = bytes.windows(4).position(|kind| kind == b"idx1").expect("index");
        let mut at = 0;
        while let Some(found) = bytes[at..index].windows(4).position(|kind| kind == b"01wb") {
            let body = at + found + 8;
            let size = u32::from_le_bytes(bytes[body - 4..body].try_into().expect("four")) as usize;
            at = (body + size).min(index);
            bytes[body..at].fill(0x11);
        }
    });
    clip
}

#[rstest]
#[case::single_work_unit(6)]
#[case::own_work_unit(42)]
#[case::two_work_units(304)]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_undecodable_audio_is_skipped_with_a_warning(#[case] seconds: u32) {
    let clip = clip_with_broken_audio(seconds);
    let job = Job::planned(&clip.file, &options(&[])).await;
    assert_eq!(job.plan.is_single(), seconds == 6);
    let done = job.run().await.expect("completed without audio");
    let parts = job.plan.work_units.iter().filter(|work_unit| !work_unit.audio.is_empty()).count();
    // The service keeps one warning of each reason.
    assert_eq!(reasons(&done), vec![FailureKind::TrackSkipped; parts]);
    assert_eq!(job.frames("72p"), seconds * 25);
    assert!(job.track("audio-0").segments.is_empty());
}

#[rstest]
#[case::single_work_unit(6)]
#[case::own_work_unit(42)]
#[case::two_work_units(304)]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_undecodable_second_audio_keeps_the_first(#[case] seconds: u32) {
    let clip = Clip::new(
        "clip.mp4",
        &format!(
            "-f lavfi -i testsrc2=s=128x72:r=25:d={seconds} -f lavfi -i sine=440:d={seconds} -f lavfi -i \
             sine=880:d={seconds} -map 0 -map 1 -map 2 {ENCODE} -c:a aac"
        ),
    );
    // The second track is marked as MPEG-H, for which there is no decoder.
    clip.patch(|bytes| {
        let offsets: Vec<_> =
            (0..bytes.len() - 4).filter(|&at| bytes[at..].starts_with(b"mp4a\0\0\0\0\0\0\0\x01")).collect();
        let [_, second] = offsets[..] else { panic!("{offsets:?}") };
        bytes[second..second + 4].copy_from_slice(b"mhm1");
        let config =
            bytes[second..].windows(4).position(|kind| kind == b"esds").expect("codec configuration")
                + second;
        bytes[config..config + 4].copy_from_slice(b"free");
    });
    let job = Job::planned(&clip.file, &options(&[])).await;
    assert_eq!(job.plan.audio.len(), 2, "{:?}", job.source.audio);
    let done = job.run().await.expect("done");
    let parts = job.plan.work_units.iter().filter(|work_unit| !work_unit.audio.is_empty()).count();
    assert_eq!(reasons(&done), vec![FailureKind::TrackSkipped; parts]);
    assert!((duration(&job.track("audio-0")) - f64::from(seconds)).abs() < 0.05);
    assert_tone(&job.joined("audio-0"), 0, 440.0);
    assert!(job.track("audio-1").segments.is_empty());
    assert_eq!(job.frames("72p"), seconds * 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_audio_with_broken_cover_plays() {
    let cover = Clip::new("cover.png", "-f lavfi -i color=red:s=300x300 -frames:v 1");
    let args = "-f lavfi -i sine=440:d=10 -i {0} -map 0 -map 1 -c:a libmp3lame -c:v copy -disposition:v:0 attached_pic";
    let clip = Clip::from_inputs("song.mp3", &[&cover.file], args);
    clip.patch(|bytes| {
        let data = bytes.windows(4).position(|kind| kind == b"IDAT").expect("image data");
        bytes[data + 4..data + 40].fill(0);
    });
    let job = Job::planned(&clip.file, &options(&[])).await;
    assert!(job.source.cover.is_some());
    let done = job.run().await.expect("done");
    assert_audio_only(&job, 10.0);
    assert!(reasons(&done).iter().all(|reason| *reason == FailureKind::TrackSkipped), "{:?}", reasons(&done));
}

/// A video of `seconds` with a tone that ends at `end`, in parts that begin with these segments.
async fn transcoded_long_audio(seconds: u32, end: u32, parts: &[u32]) -> Job {
    let clip = Clip::new(
        "long.mp4",
        &format!(
            "-f lavfi -i testsrc2=s=128x72:r=5:d={seconds} -f lavfi -i sine=440:d={end}:r=44100 {ENCODE} -g 50 \
             -c:a aac -b:a 192k"
        ),
    );
    let job = transcoded(&clip.file, &options(&[])).await;
    let found = job.plan.work_units.iter().filter(|work_unit| !work_unit.audio.is_empty());
    assert_eq!(found.map(|part| part.audio_part.first_segment).collect::<Vec<_>>(), parts);
    job
}

/// What is left of a tone of 440 Hz, without the tone itself: root mean square over its amplitude.
fn distortion(samples: &[f32]) -> f64 {
    let step = TAU * 440.0 / 48_000.0;
    let waves = |index: usize| (step * index as f64).sin_cos();
    let scale = 2.0 / samples.len() as f64;
    let (sin, cos) = samples.iter().enumerate().fold((0.0, 0.0), |(sin, cos), (index, &sample)| {
        let wave = waves(index);
        (sin + scale * f64::from(sample) * wave.0, cos + scale * f64::from(sample) * wave.1)
    });
    let residual = samples.iter().enumerate().map(|(index, &sample)| {
        let wave = waves(index);
        (f64::from(sample) - sin * wave.0 - cos * wave.1).powi(2)
    });
    (residual.sum::<f64>() / samples.len() as f64).sqrt() / sin.hypot(cos)
}

/// Checks that the tone at a boundary of segments is as clean as elsewhere.
fn assert_continuous(audio: &Path, segment: u32, noise: f64) {
    let boundary = segment * 188 * 1024;
    let first = boundary - 48_000;
    let args = format!(
        "-map 0:a:0 -af pan=mono|c0=c0,atrim=start_sample={first}:end_sample={} -ar 48000 -f f32le -",
        boundary + 48_000
    );
    let samples = samples(&decode(audio, &args));
    // 2400 samples are 22 periods.
    for at in (48_000 - 2048..=48_000 + 2048).step_by(512) {
        let distortion = distortion(&samples[at - 1200..at + 1200]);
        assert!(distortion < noise * 1.5, "segment {segment}, sample {at}: {distortion} {noise}");
    }
}

fn samples(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_long_audio_in_parts_is_continuous() {
    let job = transcoded_long_audio(624, 624, &[0, 4, 80]).await;
    let track = job.track("audio-0");
    assert!((duration(&track) - 624.0).abs() < 0.05, "{}", duration(&track));
    for pair in track.segments.windows(2) {
        assert!((pair[0].start + pair[0].seconds - pair[1].start).abs() < 0.001, "{pair:?}");
        assert!((pair[0].seconds - 188.0 * 1024.0 / 48_000.0).abs() < 0.001, "{pair:?}");
    }
    let audio = job.joined("audio-0");
    let beginning = samples(&decode(&audio, "-map 0:a:0 -t 12 -af pan=mono|c0=c0 -ar 48000 -f f32le -"));
    // The encoder's noise within a part.
    let around = |second: usize| distortion(&beginning[48_000 * second - 1200..48_000 * second + 1200]);
    let noise = (1..11).map(around).fold(0.0, f64::max);
    assert!(noise < 0.03, "{noise}");
    assert_continuous(&audio, 4, noise);
    assert_continuous(&audio, 80, noise);
}

/// The packets of silence are left out of the file, from before the last part to within it.
#[tokio::test(flavor = "multi_thread")]
async fn transcode_long_audio_with_a_gap_between_its_parts_keeps_its_times() {
    let clip = Clip::new(
        "gap.mp4",
        &format!(
            "-f lavfi -i testsrc2=s=128x72:r=5:d=624 -f lavfi -i sine=440:d=624:r=44100 {ENCODE} -g 50 -c:a aac \
             -bsf:a noise=drop='between(pts*tb,300,400)'"
        ),
    );
    let job = transcoded(&clip.file, &options(&[])).await;
    let track = job.track("audio-0");
    assert!((duration(&track) - 624.0).abs() < 0.05, "{}", duration(&track));
    for pair in track.segments.windows(2) {
        assert!((pair[0].start + pair[0].seconds - pair[1].start).abs() < 0.001, "{pair:?}");
    }
    let audio = job.joined("audio-0");
    for (from, is_silent) in [(290, false), (305, true), (395, true), (402, false), (620, false)] {
        let args = format!("-map 0:a:0 -af pan=mono|c0=c0,atrim={from}:{} -ar 48000 -f f32le -", from + 1);
        let loudest =
            samples(&decode(&audio, &args)).iter().fold(0.0_f32, |loudest, sample| loudest.max(sample.abs()));
        assert_eq!(loudest < 0.01, is_silent, "{from} s: {loudest}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_audio_that_ends_in_its_first_part_is_followed_by_silence() {
    let job = transcoded_long_audio(304, 5, &[0, 4]).await;
    assert!((duration(&job.track("audio-0")) - 304.0).abs() < 0.06);
    assert_eq!(job.frames("72p"), 304 * 5);
}

/// Broadcasts change between stereo and surround, for example for advertisements.
#[tokio::test(flavor = "multi_thread")]
async fn transcode_audio_with_changing_channels_continues() {
    let part = |name: &str, hertz: u32, channels: u32, begin: u32| {
        let args = format!(
            "-f lavfi -i testsrc2=s=128x72:r=25:d=6 -f lavfi -i sine={hertz}:d=6 {ENCODE} -g 25 -c:a ac3 -ac {channels} \
             -output_ts_offset {begin}"
        );
        std::fs::read(Clip::new(name, &args).file).expect("part")
    };
    let clip = Clip::empty("clip.ts");
    std::fs::write(&clip.file, [part("a.ts", 440, 2, 0), part("b.ts", 880, 6, 6)].concat()).expect("write");
    let job = Job::planned(&clip.file, &options(&[])).await;
    let done = job.run().await.expect("done");
    assert_eq!(reasons(&done), []);
    assert!((duration(&job.track("audio-0")) - 12.0).abs() < 0.1, "{}", duration(&job.track("audio-0")));
    assert_eq!(job.frames("72p"), 300);
    let audio = job.joined("audio-0");
    assert_tone(&audio, 0, 440.0);
    let late = decode(&audio, "-map 0:a:0 -ss 8 -t 1 -af pan=mono|c0=c0 -ar 48000 -f f32le -");
    let late: Vec<f32> =
        late.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect();
    assert!(amplitude(&late, 880.0) > amplitude(&late, 440.0) * 10.0, "the tone of the second part");
}

/// The waveform is the last output, and ffmpeg reports nothing of an output before it begins.
#[tokio::test(flavor = "multi_thread")]
async fn encode_audio_only_reports_progress_throughout() {
    let clip = Clip::new("song.wav", "-f lavfi -i sine=440:d=900:r=8000 -c:a pcm_s16le");
    let job = Job::planned(&clip.file, &options(&[])).await;
    let mut samples = job.encode_sampling_progress().await;
    assert!(samples.is_sorted_by(|one, next| one.percent <= next.percent));
    assert!(samples.iter().any(|sample| sample.speed > 1.0 && sample.eta.is_some()), "{samples:?}");
    samples.dedup_by_key(|sample| sample.percent.to_bits());
    assert!(
        samples.len() > 4 && samples.iter().any(|sample| (20.0..80.0).contains(&sample.percent)),
        "{samples:?}"
    );
}

#[rstest]
#[case::transport_stream("late.ts", "-c:v libx264 -preset ultrafast -c:a aac -f mpegts")]
#[case::program_stream("late.vob", "-c:v mpeg2video -c:a ac3 -f vob")]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_sound_that_begins_late_keeps_its_time(#[case] name: &str, #[case] codecs: &str) {
    let args = format!(
        "-f lavfi -i testsrc2=s=128x72:r=25:d=14 -itsoffset 9 -f lavfi -i sine=440:d=5 -map 0 -map 1 {codecs}"
    );
    let clip = Clip::new(name, &args);
    let job = Job::planned(&clip.file, &options(&[])).await;
    let done = job.run().await.expect("done");
    assert_eq!(reasons(&done), []);
    let audio = job.joined("audio-0");
    let loudest = |from: u32, to: u32| {
        let args = format!("-map 0:a:0 -af pan=mono|c0=c0,atrim={from}:{to} -ar 48000 -f f32le -");
        samples(&decode(&audio, &args)).iter().fold(0.0_f32, |loudest, sample| loudest.max(sample.abs()))
    };
    assert!(loudest(0, 8) < 0.01 && loudest(10, 13) > 0.05, "{} {}", loudest(0, 8), loudest(10, 13));
}

/// The first channel has 440 Hz, the second one 550 Hz.
#[rstest]
#[case::ambisonics("sphere.mkv", 4, "-c:a libopus -mapping_family 2", 440.0)]
#[case::unknown_layout("many.mov", 12, "-c:a pcm_s16le", 440.0)]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_channels_that_cannot_be_mixed_are_selected(
    #[case] name: &str,
    #[case] channels: usize,
    #[case] codec: &str,
    #[case] hertz: f64,
) {
    let channel = |channel: usize| format!("0.3*sin(2*PI*{}*t)", 440 + 110 * channel.min(1));
    let expressions = (0..channels).map(channel).collect::<Vec<_>>().join("|");
    let layout = if channels == 4 { ":c=4.0" } else { "" };
    let clip = Clip::new(
        name,
        &format!("{VIDEO} -f lavfi -i aevalsrc={expressions}:d=6{layout} -map 0 -map 1 {ENCODE} {codec}"),
    );
    let job = Job::planned(&clip.file, &options(&[])).await;
    let done = job.run().await.expect("done");
    assert_eq!(reasons(&done), []);
    assert_tone(&job.joined("audio-0"), 0, hertz);
}
