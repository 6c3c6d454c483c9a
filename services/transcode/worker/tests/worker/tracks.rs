//! Sound without a picture, several tracks of it, and text.

use crate::job::{Job, done, options};
use crate::support::{Clip, assert_seconds, decode, ffmpeg, ffprobe};
use reelmill_media::FailureKind;
use reelmill_media::playlists::Track;
use reelmill_worker::engine::Completion;
use std::f64::consts::TAU;
use std::path::Path;

const PICTURE: &str = "-f lavfi -i testsrc2=s=128x72:r=25:d=6";
const ENCODE: &str = "-c:v libx264 -preset ultrafast";

/// How strong a tone is in samples of 48 kHz, 0 to 1 (Goertzel's way, without its shortcut).
fn strength(samples: &[f32], hertz: f64) -> f64 {
    let turn = TAU * hertz / 48_000.0;
    let (re, im) = samples.iter().enumerate().fold((0.0, 0.0), |(re, im), (at, &sample)| {
        let (sin, cos) = (turn * at as f64).sin_cos();
        (re + f64::from(sample) * cos, im + f64::from(sample) * sin)
    });
    2.0 * (re * re + im * im).sqrt() / samples.len() as f64
}

/// The second second of one channel.
fn channel(file: &Path, channel: u32) -> Vec<f32> {
    let args = format!("-map 0:a:0 -ss 1 -t 1 -af pan=mono|c0=c{channel} -ar 48000 -f f32le -");
    let bytes = decode(file, &args);
    bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect()
}

fn assert_tone(file: &Path, place: u32, hertz: f64) {
    let samples = channel(file, place);
    let (there, elsewhere) = (strength(&samples, hertz), strength(&samples, hertz * 1.31));
    assert!(there > 0.05 && there > elsewhere * 10.0, "{} {hertz} Hz: {there}", file.display());
}

fn length(track: &Track) -> f64 {
    track.segments.iter().map(|segment| segment.seconds).sum()
}

/// Sound alone is played by a variant of its own, and downloaded as one file.
fn assert_plays(job: &Job, seconds: f64) {
    assert!(job.plan.video.is_none() && job.rungs().is_empty());
    let track = job.track("audio-0");
    assert_eq!(track.codec, "mp4a.40.2");
    assert!((length(&track) - seconds).abs() < 0.05, "{}", length(&track));
    let master = job.text("master.m3u8");
    assert!(master.contains("#EXT-X-STREAM-INF") && master.contains("CODECS=\"mp4a.40.2\""), "{master}");
    assert_seconds(&job.path("master.m3u8"), seconds, 0.1);
    assert_seconds(&job.progressive("audio-0"), seconds, 0.1);
    assert_tone(&job.joined("audio-0"), 0, 440.0);
}

async fn assert_waveform(cases: &[(&str, &str)]) {
    for (name, args) in cases {
        let clip = Clip::new(name, &format!("-f lavfi -i sine=440:d=10:r=44100 -ac 2 {args}"));
        let job = done(&clip.file, &options(&[])).await;
        assert_plays(&job, 10.0);
        let poster = job.poster();
        assert_eq!(ffprobe("-show_entries stream=width,height", &poster), "640,360", "{name}");
        // A steady tone fills the middle of the picture and leaves the edges empty.
        let rows = decode(&poster, "-vf format=gray,scale=1:9:flags=area -f rawvideo -");
        assert!(rows[4] > 30 && rows[0] < 8 && rows[8] < 8, "{name}: {rows:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_alone_gets_its_waveform_for_a_poster() {
    let untagged = ("bare.mp3", "-c:a libmp3lame -id3v2_version 0 -write_xing 0");
    assert_waveform(&[("song.m4a", "-c:a aac"), ("song.ogg", "-c:a libvorbis"), untagged]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_sound_in_files_that_never_hold_pictures() {
    let lossless = [("song.flac", "-c:a flac"), ("song.wav", "-c:a pcm_s16le")];
    assert_waveform(&[("tagged.mp3", "-c:a libmp3lame"), lossless[0], lossless[1]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_with_a_cover_shows_it() {
    let cover = Clip::new("cover.png", "-f lavfi -i color=red:s=300x300 -frames:v 1");
    for (name, args) in [("song.m4a", "-c:a aac"), ("song.mp3", "-c:a libmp3lame")] {
        let clip = Clip::new(
            name,
            &format!(
                "-f lavfi -i sine=440:d=10 -i {} -map 0 -map 1 {args} -c:v mjpeg -disposition:v:0 attached_pic",
                cover.file.display()
            ),
        );
        let job = done(&clip.file, &options(&[])).await;
        assert_plays(&job, 10.0);
        let pixel = decode(&job.poster(), "-vf scale=1:1 -pix_fmt rgb24 -f rawvideo -");
        assert!(pixel[0] > 200 && pixel[1] < 40 && pixel[2] < 40, "{name}: red, not {pixel:?}");
        let size = ffprobe("-show_entries stream=width,height", &job.poster());
        let (width, height) = size.split_once(',').expect("size");
        assert_eq!(width, height, "{name}: not distorted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_language_is_a_rendition_of_its_own() {
    let clip = Clip::new(
        "talk.mkv",
        &format!(
            "{PICTURE} -f lavfi -i sine=440:d=6 -f lavfi -i sine=660:d=6 -f lavfi -i sine=880:d=6 -map 0 -map 1 -map 2 \
             -map 3 {ENCODE} -c:a aac -ac 2 -metadata:s:a:0 language=eng -metadata:s:a:1 language=deu -metadata:s:a:2 \
             language=eng -metadata:s:a:2 title=Commentary -disposition:a:0 0 -disposition:a:1 default"
        ),
    );
    let job = done(&clip.file, &options(&[])).await;
    let languages: Vec<_> =
        job.plan.audio.iter().map(|audio| (audio.language.as_str(), audio.default)).collect();
    assert_eq!(languages, [("deu", true), ("eng", false), ("eng", false)], "the default comes first");
    for (rendition, hertz) in [("audio-0", 660.0), ("audio-1", 440.0), ("audio-2", 880.0)] {
        assert_tone(&job.joined(rendition), 0, hertz);
        assert!((length(&job.track(rendition)) - 6.0).abs() < 0.05);
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
    // The file to download has the default's sound.
    assert_tone(&job.progressive("72p"), 0, 660.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn surround_is_kept_beside_stereo() {
    let tones: Vec<_> = (0..6).map(|place| format!("0.2*sin(2*PI*{}*t)", tone(place))).collect();
    let clip = Clip::new(
        "film.mp4",
        &format!(
            "{PICTURE} -f lavfi -i aevalsrc={}:c=5.1:s=48000:d=6 {ENCODE} -c:a aac -b:a 384k",
            tones.join("|")
        ),
    );
    let job = done(&clip.file, &options(&[])).await;
    let renditions: Vec<_> = job.plan.audio.iter().map(|audio| (audio.id.as_str(), audio.channels)).collect();
    assert_eq!(renditions, [("audio-0", 2), ("audio-0-surround", 6)]);
    let surround = job.joined("audio-0-surround");
    assert_eq!(ffprobe("-show_entries stream=channels", &surround), "6");
    // The fourth is the subwoofer's.
    for place in [0, 1, 2, 4, 5] {
        assert_tone(&surround, place, f64::from(tone(place)));
    }
    let stereo = job.joined("audio-0");
    assert_eq!(ffprobe("-show_entries stream=channels", &stereo), "2");
    assert_tone(&stereo, 0, f64::from(tone(0)));
    assert_tone(&stereo, 1, f64::from(tone(1)));
    let master = job.text("master.m3u8");
    assert!(master.contains("CHANNELS=\"2\"") && master.contains("CHANNELS=\"6\""), "{master}");
}

/// Each loudspeaker's own tone, hertz.
fn tone(place: u32) -> u32 {
    300 + place * 170
}

#[tokio::test(flavor = "multi_thread")]
async fn text_becomes_webvtt() {
    let text = Clip::named("text.srt");
    let cues =
        "1\n00:00:01,000 --> 00:00:02,500\nGrüße\n\n2\n00:00:03,000 --> 00:00:04,000\nand <i>more</i>\n";
    std::fs::write(&text.file, cues).expect("write");
    for (name, codec) in [("film.mkv", "subrip"), ("film.mp4", "mov_text")] {
        let film = text.beside(name);
        ffmpeg(
            &format!(
                "{PICTURE} -i {0} -i {0} -map 0 -map 1 -map 2 {ENCODE} -c:s {codec} -metadata:s:s:0 language=deu \
                 -metadata:s:s:1 language=fra -disposition:s:0 default -disposition:s:1 forced",
                text.file.display()
            ),
            &film,
        );
        let job = done(&film, &options(&[])).await;
        for track in ["subtitles-0", "subtitles-1"] {
            let file = job.file(|output| output.rendition == track).expect("text");
            let text = std::fs::read_to_string(file).expect("text");
            // Two frames of 25 a second, in the ninety-thousandths that HLS counts in.
            let head = "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:7200\n\n";
            assert!(text.starts_with(head), "{name}: {text}");
            assert!(text.contains("00:01.000 --> 00:02.500\nGrüße\n"), "{name}: {text}");
            assert!(text.contains("00:03.000 --> 00:04.000\n"), "{name}: {text}");
        }
        let master = job.text("master.m3u8");
        let line = |language: &str| {
            let is_it = |line: &&str| line.contains("TYPE=SUBTITLES") && line.contains(language);
            master.lines().find(is_it).unwrap_or_else(|| panic!("{name}: {master}"))
        };
        assert!(line("LANGUAGE=\"de\"").contains("DEFAULT=YES"), "{name}: {master}");
        assert!(line("LANGUAGE=\"fr\"").contains("FORCED=YES"), "{name}: {master}");
        assert!(job.text("subtitles-0.m3u8").contains("subtitles-0/text.vtt"));
    }
}

fn reasons(done: &Completion) -> Vec<FailureKind> {
    done.warnings.iter().map(|warning| warning.kind).collect()
}

/// A video of so many seconds with sound of which every packet keeps its header and nothing else.
fn with_broken_sound(seconds: u32) -> Clip {
    let picture = format!("-f lavfi -i testsrc2=s=128x72:r=25:d={seconds}");
    let clip =
        Clip::new("clip.avi", &format!("{picture} -f lavfi -i sine=440:d={seconds} {ENCODE} -c:a ac3"));
    let mut bytes = std::fs::read(&clip.file).expect("file");
    let index = bytes.windows(4).position(|kind| kind == b"idx1").expect("index");
    let mut at = 0;
    while let Some(found) = bytes[at..index].windows(4).position(|kind| kind == b"01wb") {
        let body = at + found + 8;
        let size = u32::from_le_bytes(bytes[body - 4..body].try_into().expect("four")) as usize;
        at = (body + size).min(index);
        bytes[body..at].fill(0x11);
    }
    std::fs::write(&clip.file, bytes).expect("write");
    clip
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_that_cannot_be_decoded_is_left_out_with_a_warning() {
    // One task, and a task of its own.
    for seconds in [6, 42] {
        let clip = with_broken_sound(seconds);
        let job = Job::of(&clip.file, &options(&[])).await;
        assert_eq!(job.plan.is_single(), seconds == 6);
        let done = job.run().await.expect("a silent video is better than none");
        assert_eq!(reasons(&done), [FailureKind::TrackSkipped]);
        assert_eq!(job.frames("72p"), seconds * 25);
        assert!(job.track("audio-0").segments.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_sound_is_kept_where_another_cannot_be_decoded() {
    for seconds in [6, 42] {
        let clip = Clip::new(
            "clip.mp4",
            &format!(
                "-f lavfi -i testsrc2=s=128x72:r=25:d={seconds} -f lavfi -i sine=440:d={seconds} -f lavfi -i \
                 sine=880:d={seconds} -map 0 -map 1 -map 2 {ENCODE} -c:a aac"
            ),
        );
        // The second one claims to be MPEG-H, for which there is no decoder.
        let mut bytes = std::fs::read(&clip.file).expect("file");
        let places: Vec<_> =
            (0..bytes.len() - 4).filter(|&at| bytes[at..].starts_with(b"mp4a\0\0\0\0\0\0\0\x01")).collect();
        let [_, second] = places[..] else { panic!("{places:?}") };
        bytes[second..second + 4].copy_from_slice(b"mhm1");
        let about = bytes[second..].windows(4).position(|kind| kind == b"esds").expect("what it is") + second;
        bytes[about..about + 4].copy_from_slice(b"free");
        std::fs::write(&clip.file, bytes).expect("write");
        let job = Job::of(&clip.file, &options(&[])).await;
        assert_eq!(job.plan.audio.len(), 2, "{:?}", job.source.audio);
        let done = job.run().await.expect("done");
        assert_eq!(reasons(&done), [FailureKind::TrackSkipped]);
        assert_tone(&job.joined("audio-0"), 0, 440.0);
        assert!(job.track("audio-1").segments.is_empty());
        assert_eq!(job.frames("72p"), seconds * 25);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_song_is_played_without_a_cover_that_is_broken() {
    let cover = Clip::new("cover.png", "-f lavfi -i color=red:s=300x300 -frames:v 1");
    let args = format!("-f lavfi -i sine=440:d=10 -i {} -map 0 -map 1 -c:a libmp3lame", cover.file.display());
    let clip = Clip::new("song.mp3", &format!("{args} -c:v copy -disposition:v:0 attached_pic"));
    let mut bytes = std::fs::read(&clip.file).expect("file");
    let data = bytes.windows(4).position(|kind| kind == b"IDAT").expect("a picture");
    bytes[data + 4..data + 40].fill(0);
    std::fs::write(&clip.file, bytes).expect("write");
    let job = Job::of(&clip.file, &options(&[])).await;
    assert!(job.source.cover.is_some());
    let done = job.run().await.expect("done");
    assert_plays(&job, 10.0);
    assert!(reasons(&done).iter().all(|reason| *reason == FailureKind::TrackSkipped), "{:?}", reasons(&done));
}

/// Broadcasts change from two channels to six and back, as programmes and advertisements come.
#[tokio::test(flavor = "multi_thread")]
async fn sound_goes_on_where_its_channels_change() {
    let part = |name: &str, hertz: u32, channels: u32, begin: u32| {
        let args = format!(
            "-f lavfi -i testsrc2=s=128x72:r=25:d=6 -f lavfi -i sine={hertz}:d=6 {ENCODE} -g 25 -c:a ac3 -ac {channels} \
             -output_ts_offset {begin}"
        );
        std::fs::read(Clip::new(name, &args).file).expect("part")
    };
    let clip = Clip::named("clip.ts");
    std::fs::write(&clip.file, [part("a.ts", 440, 2, 0), part("b.ts", 880, 6, 6)].concat()).expect("write");
    let job = Job::of(&clip.file, &options(&[])).await;
    let done = job.run().await.expect("done");
    assert_eq!(reasons(&done), []);
    assert!((length(&job.track("audio-0")) - 12.0).abs() < 0.1, "{}", length(&job.track("audio-0")));
    assert_eq!(job.frames("72p"), 300);
    let heard = job.joined("audio-0");
    assert_tone(&heard, 0, 440.0);
    let late = decode(&heard, "-map 0:a:0 -ss 8 -t 1 -af pan=mono|c0=c0 -ar 48000 -f f32le -");
    let late: Vec<f32> =
        late.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect();
    assert!(strength(&late, 880.0) > strength(&late, 440.0) * 10.0, "the second programme's sound");
}

/// The waveform is drawn last, and ffmpeg tells nothing of an output before it begins.
#[tokio::test(flavor = "multi_thread")]
async fn how_far_a_song_is_is_told_all_along() {
    let clip = Clip::new("song.wav", "-f lavfi -i sine=440:d=900:r=8000 -c:a pcm_s16le");
    let job = Job::of(&clip.file, &options(&[])).await;
    let mut told = job.told().await;
    assert!(told.is_sorted_by(|one, next| one.percent <= next.percent));
    assert!(told.iter().any(|told| told.speed > 1.0 && told.eta.is_some()), "{told:?}");
    told.dedup_by_key(|told| told.percent.to_bits());
    assert!(told.len() > 4 && told.iter().any(|told| (20.0..80.0).contains(&told.percent)), "{told:?}");
}
