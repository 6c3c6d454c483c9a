//! Pictures of every kind: deep, wide, bright, woven, fast, and a single one.

use crate::job::{Job, done, options};
use crate::support::{Clip, decode, ffprobe, frames, gray_frames};
use reelmill_media::plan::{Codec, Options};

const ENCODE: &str = "-c:v libx264 -preset ultrafast";

/// What a player's decoder sees.
fn format(job: &Job, rung: &str) -> String {
    let show = "-select_streams v:0 -show_entries stream=codec_name,pix_fmt,color_space,color_transfer,color_primaries";
    ffprobe(show, &job.joined(rung))
}

/// Mean luma of the first frame, 0 to 255 as a screen shows it.
fn luma(job: &Job, rung: &str) -> u8 {
    gray_frames(&job.joined(rung), 1, 1)[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_and_fully_sampled_pictures_become_what_every_player_decodes() {
    let cases = [
        ("full.mkv", "-pix_fmt yuv444p -c:v libx264 -preset ultrafast"),
        ("half.mov", "-pix_fmt yuv422p10le -c:v prores_ks -profile:v 2"),
        ("deep.mkv", "-pix_fmt yuv420p10le -c:v libx264 -preset ultrafast"),
        ("seen-through.mov", "-pix_fmt argb -c:v qtrle"),
    ];
    for (name, args) in cases {
        let clip = Clip::new(name, &format!("-f lavfi -i testsrc2=s=256x144:r=25:d=1 {args}"));
        let job = done(&clip.file, &options(&[])).await;
        assert!(format(&job, "144p").starts_with("h264,yuv420p"), "{name}: {}", format(&job, "144p"));
        assert_eq!(frames(&job.joined("144p")), 25, "{name}");
    }
}

/// Two seconds of grey at 203 nits, the white of HDR programmes.
fn bright(transfer: &str, level: u32) -> Clip {
    mastered(transfer, level, "")
}

/// The same with more to tell of the light.
fn mastered(transfer: &str, level: u32, told: &str) -> Clip {
    Clip::new(
        "bright.mp4",
        &format!(
            "-f lavfi -i color=black:s=256x144:r=24:d=2,format=yuv420p10le,geq=lum={level}:cb=512:cr=512 -c:v libx265 \
             -preset ultrafast -tag:v hvc1 -color_primaries bt2020 -color_trc {transfer} -colorspace bt2020nc \
             -x265-params log-level=error:colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc{told}"
        ),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn high_ranges_of_brightness_are_mapped_to_the_standard_one() {
    // 58 % of PQ and 75 % of HLG are 203 nits.
    for (transfer, level) in [("smpte2084", 572), ("arib-std-b67", 721)] {
        let clip = bright(transfer, level);
        let job = done(&clip.file, &options(&[])).await;
        assert_eq!(job.rungs(), ["144p"]);
        assert_eq!(format(&job, "144p"), "h264,yuv420p,bt709,bt709,bt709", "{transfer}");
        let luma = luma(&job, "144p");
        assert!((150..=250).contains(&luma), "{transfer}: white is neither grey nor burnt out: {luma}");
        assert!(job.text("master.m3u8").contains("VIDEO-RANGE=SDR"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_high_range_is_kept_where_it_is_wished_for() {
    for (transfer, level, range) in [("smpte2084", 572, "PQ"), ("arib-std-b67", 721, "HLG")] {
        let clip = bright(transfer, level);
        let job = done(&clip.file, &Options { keep_hdr: true, ..options(&[]) }).await;
        assert_eq!(job.rungs(), ["144p-hdr", "144p"]);
        assert_eq!(format(&job, "144p"), "h264,yuv420p,bt709,bt709,bt709");
        assert_eq!(format(&job, "144p-hdr"), format!("hevc,yuv420p10le,bt2020nc,{transfer},bt2020"));
        assert!(job.track("144p-hdr").codec.starts_with("hvc1.2."), "{}", job.track("144p-hdr").codec);
        let samples = decode(&job.joined("144p-hdr"), "-map 0:v -frames:v 1 -pix_fmt gray10le -f rawvideo -");
        let first = u32::from(u16::from_le_bytes([samples[0], samples[1]]));
        // Gray is of full range: 64 to 940 become 0 to 1023.
        let kept = first * 876 / 1023 + 64;
        assert!(kept.abs_diff(level) <= 4, "{transfer}: {kept}, not {level}");
        assert!(job.text("master.m3u8").contains(&format!("VIDEO-RANGE={range}")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_display_is_told_what_light_the_source_was_mastered_with() {
    let told = ":master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=900,300";
    let clip = mastered("smpte2084", 572, told);
    let job = done(&clip.file, &Options { keep_hdr: true, ..options(&[]) }).await;
    let light = |file: &std::path::Path| {
        ffprobe("-select_streams v:0 -read_intervals %+#1 -show_entries frame_side_data", file)
    };
    let kept = light(&job.joined("144p-hdr"));
    for part in ["13250/50000", "34000/50000", "10000000/10000", "900"] {
        assert!(kept.contains(part), "{part} in {kept}, of {}", light(&clip.file));
    }
    assert!(!light(&job.joined("144p")).contains("/50000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn interlaced_video_is_deinterlaced() {
    let clip = Clip::new(
        "clip.ts",
        "-f lavfi -i testsrc2=s=320x240:r=50:d=2 -vf interlace -flags +ildct+ilme -c:v mpeg2video -q:v 4 -top 1",
    );
    assert_deinterlaced(&clip, "240p").await;
    // DV does not say it of the file, only of each frame.
    let args =
        "-f lavfi -i testsrc2=s=720x576:r=50:d=2 -vf interlace -flags +ildct -c:v dvvideo -pix_fmt yuv420p";
    assert_deinterlaced(&Clip::new("clip.dv", args), "480p").await;
}

async fn assert_deinterlaced(clip: &Clip, rung: &str) {
    let job = done(&clip.file, &options(&[])).await;
    assert!(job.source.video.as_ref().is_some_and(|video| video.interlaced));
    assert_eq!(job.frames(rung), 50);
    let order = ffprobe("-select_streams v:0 -show_entries stream=field_order", &job.joined(rung));
    assert_eq!(order, "progressive");
    // Between two fields of a moving picture every other line jumps; of a progressive one they don't.
    let combed = |file: &std::path::Path| {
        let lines = decode(file, "-map 0:v -frames:v 20 -vf crop=2:200:200:20,format=gray -f rawvideo -");
        let rows: Vec<i32> = lines.chunks_exact(2).map(|row| i32::from(row[0])).collect();
        let jumps =
            rows.chunks_exact(200).flat_map(|frame| frame.windows(3).map(|r| (r[0] + r[2] - 2 * r[1]).abs()));
        jumps.sum::<i32>()
    };
    let (before, after) = (combed(&clip.file), combed(&job.joined(rung)));
    assert!(after * 2 < before, "{before} before, {after} after");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_seen_through_shows_black() {
    let half = "geq=r=200:g=40:b=40:a='if(lt(X,128),255,0)'";
    let clip = Clip::new(
        "clear.mov",
        &format!("-f lavfi -i color=black:s=256x144:r=25:d=1,format=argb,{half} -c:v qtrle -pix_fmt argb"),
    );
    let job = done(&clip.file, &options(&[])).await;
    let pixels = decode(
        &job.joined("144p"),
        "-map 0:v -frames:v 1 -vf scale=8:1:flags=area -pix_fmt rgb24 -f rawvideo -",
    );
    assert!(pixels[0] > 180 && pixels[1] < 60, "what hides all is there: {pixels:?}");
    assert!(pixels[21..].iter().all(|&part| part < 12), "the rest is black: {pixels:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_come_out_as_they_are_told() {
    // A recording of a screen, and a video that tells nothing: players go by what the rungs tell.
    let green = "-f lavfi -i color=0x20c020:s=1280x720:r=25:d=1,format=rgb24";
    let untold = "-vf scale=out_color_matrix=bt709 -pix_fmt yuv420p -c:v libx264 -preset ultrafast -qp 4";
    for (name, args) in [("screen.mov", "-c:v qtrle"), ("untold.mkv", untold)] {
        let clip = Clip::new(name, &format!("{green} {args}"));
        let job = done(&clip.file, &options(&[720, 240])).await;
        for rung in ["720p", "240p"] {
            assert_eq!(format(&job, rung), "h264,yuv420p,bt709,bt709,bt709", "{name} {rung}");
            let args = "-map 0:v -frames:v 1 -vf scale=in_color_matrix=bt709,format=rgb24,scale=1:1:flags=area -pix_fmt rgb24 -f rawvideo -";
            let pixel = decode(&job.joined(rung), args);
            let near = pixel.iter().zip([0x20, 0xc0, 0x20]).all(|(is, due): (&u8, u8)| is.abs_diff(due) < 8);
            assert!(near, "{name} {rung}: {pixel:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bright_rung_alone_has_stills_too() {
    let clip = bright("smpte2084", 572);
    let mut job = Job::of(&clip.file, &Options { keep_hdr: true, ..options(&[]) }).await;
    // As a share of a long video is.
    job.plan.work_units[0].rungs = vec![0];
    job.encode(0).await.expect("done");
    let white = gray_frames(&job.poster(), 1, 1)[0];
    assert!((150..=250).contains(&white), "mapped to the standard range: {white}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_small_for_a_codec_is_made_in_another() {
    let clip = Clip::new("tiny.mp4", &format!("-f lavfi -i testsrc2=s=64x36:r=25:d=1 {ENCODE}"));
    for codec in [Codec::Av1, Codec::Hevc, Codec::Vp9] {
        let job = done(&clip.file, &Options { codec, ..options(&[]) }).await;
        assert_eq!(job.frames("36p"), 25, "{codec:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fast_video_is_halved_on_the_lower_rungs() {
    let clip = Clip::new(
        "fast.mp4",
        &format!("-f lavfi -i testsrc2=s=1280x720:r=60000/1001 -frames:v 300 {ENCODE}"),
    );
    let job = done(&clip.file, &options(&[720, 144])).await;
    assert_eq!((job.frames("720p"), job.frames("144p")), (300, 150));
    let (fast, slow) = (job.track("720p"), job.track("144p"));
    let starts = |track: &reelmill_media::playlists::Track| {
        track.segments.iter().map(|segment| (segment.start * 1000.0).round()).collect::<Vec<_>>()
    };
    assert_eq!(starts(&fast), starts(&slow), "segments are aligned");
    let rate = |rung: &str| {
        ffprobe("-select_streams v:0 -show_entries stream=avg_frame_rate", &job.progressive(rung))
    };
    assert_eq!((rate("720p").as_str(), rate("144p").as_str()), ("60000/1001", "30000/1001"));

    let clip = Clip::new("slow.mp4", &format!("-f lavfi -i testsrc2=s=128x96:r=240:d=1 {ENCODE}"));
    let job = done(&clip.file, &options(&[])).await;
    assert_eq!(job.frames("96p"), 60, "60 a second at most");
    let job = done(&clip.file, &options(&[96, 72])).await;
    assert_eq!(job.frames("72p"), 30, "half of them on a lower rung");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_frame_is_a_video() {
    for name in ["one.mp4", "one.mkv", "one.ts", "one.avi"] {
        let clip = Clip::new(name, &format!("-f lavfi -i testsrc2=s=128x72:r=25 -frames:v 1 {ENCODE}"));
        let job = done(&clip.file, &options(&[])).await;
        assert_eq!(job.frames("72p"), 1, "{name}");
        assert_eq!(frames(&job.progressive("72p")), 1, "{name}");
        let poster = ffprobe("-show_entries stream=width,height", &job.poster());
        assert_eq!(poster, "128,72", "{name}");
    }
}
