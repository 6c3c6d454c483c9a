//! Video formats: bit depth, chroma subsampling, HDR, interlacing, transparency, frame rate.

use crate::support::{Clip, Job, count_frames, decode, ffprobe, gray_frames, options, transcoded};
use reelmill_media::plan::{Codec, Options};
use rstest::rstest;

const ENCODE: &str = "-c:v libx264 -preset ultrafast";

/// Codec, pixel format and colour of a rung as a decoder reads them.
fn format(job: &Job, rung: &str) -> String {
    let show = "-select_streams v:0 -show_entries stream=codec_name,pix_fmt,color_space,color_transfer,color_primaries";
    ffprobe(show, &job.joined(rung))
}

/// Mean luma of the first frame, 0 to 255.
fn luma(job: &Job, rung: &str) -> u8 {
    gray_frames(&job.joined(rung), 1, 1)[0]
}

#[rstest]
#[case::yuv444("full.mkv", "-pix_fmt yuv444p -c:v libx264 -preset ultrafast")]
#[case::prores_422("half.mov", "-pix_fmt yuv422p10le -c:v prores_ks -profile:v 2")]
#[case::ten_bit("deep.mkv", "-pix_fmt yuv420p10le -c:v libx264 -preset ultrafast")]
#[case::transparent("transparent.mov", "-pix_fmt argb -c:v qtrle")]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_any_pixel_format_yields_8_bit_420(#[case] name: &str, #[case] args: &str) {
    let clip = Clip::new(name, &format!("-f lavfi -i testsrc2=s=256x144:r=25:d=1 {args}"));
    let job = transcoded(&clip.file, &options(&[])).await;
    assert!(format(&job, "144p").starts_with("h264,yuv420p"), "{name}: {}", format(&job, "144p"));
    assert_eq!(count_frames(&job.joined("144p")), 25, "{name}");
}

/// Two seconds of grey at 203 nits, the reference white of HDR.
fn hdr_clip(transfer: &str, level: u32) -> Clip {
    hdr_clip_with(transfer, level, "")
}

/// The same with more x265 parameters.
fn hdr_clip_with(transfer: &str, level: u32, params: &str) -> Clip {
    Clip::new(
        "hdr.mp4",
        &format!(
            "-f lavfi -i color=black:s=256x144:r=24:d=2,format=yuv420p10le,geq=lum={level}:cb=512:cr=512 -c:v libx265 \
             -preset ultrafast -tag:v hvc1 -color_primaries bt2020 -color_trc {transfer} -colorspace bt2020nc \
             -x265-params log-level=error:colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc{params}"
        ),
    )
}

#[rstest]
#[case::pq("smpte2084", 572)]
#[case::hlg("arib-std-b67", 721)]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_hdr_is_tone_mapped_to_sdr(#[case] transfer: &str, #[case] level: u32) {
    // 58 % of PQ and 75 % of HLG are 203 nits.
    let clip = hdr_clip(transfer, level);
    let job = transcoded(&clip.file, &options(&[])).await;
    assert_eq!(job.rungs(), ["144p"]);
    assert_eq!(format(&job, "144p"), "h264,yuv420p,bt709,bt709,bt709", "{transfer}");
    let luma = luma(&job, "144p");
    assert!((150..=250).contains(&luma), "{transfer}: reference white is neither grey nor clipped: {luma}");
    assert!(job.text("master.m3u8").contains("VIDEO-RANGE=SDR"));
}

#[rstest]
#[case::pq("smpte2084", 572, "PQ")]
#[case::hlg("arib-std-b67", 721, "HLG")]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_hdr_with_keep_hdr_adds_hdr_rung(
    #[case] transfer: &str,
    #[case] level: u32,
    #[case] range: &str,
) {
    let clip = hdr_clip(transfer, level);
    let job = transcoded(&clip.file, &Options { keep_hdr: true, ..options(&[]) }).await;
    assert_eq!(job.rungs(), ["144p-hdr", "144p"]);
    assert_eq!(format(&job, "144p"), "h264,yuv420p,bt709,bt709,bt709");
    assert_eq!(format(&job, "144p-hdr"), format!("hevc,yuv420p10le,bt2020nc,{transfer},bt2020"));
    assert!(job.track("144p-hdr").codec.starts_with("hvc1.2."), "{}", job.track("144p-hdr").codec);
    let samples = decode(&job.joined("144p-hdr"), "-map 0:v -frames:v 1 -pix_fmt gray10le -f rawvideo -");
    let first = u32::from(u16::from_le_bytes([samples[0], samples[1]]));
    // Gray has full range: 64 to 940 become 0 to 1023.
    let kept = first * 876 / 1023 + 64;
    assert!(kept.abs_diff(level) <= 4, "{transfer}: {kept}, not {level}");
    assert!(job.text("master.m3u8").contains(&format!("VIDEO-RANGE={range}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_hdr_keeps_mastering_metadata() {
    let params = ":master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=900,300";
    let clip = hdr_clip_with("smpte2084", 572, params);
    let job = transcoded(&clip.file, &Options { keep_hdr: true, ..options(&[]) }).await;
    let side_data = |file: &std::path::Path| {
        ffprobe("-select_streams v:0 -read_intervals %+#1 -show_entries frame_side_data", file)
    };
    let kept = side_data(&job.joined("144p-hdr"));
    for part in ["13250/50000", "34000/50000", "10000000/10000", "900"] {
        assert!(kept.contains(part), "{part} in {kept}, of {}", side_data(&clip.file));
    }
    assert!(!side_data(&job.joined("144p")).contains("/50000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_interlaced_video_is_deinterlaced() {
    let clip = Clip::new(
        "clip.ts",
        "-f lavfi -i testsrc2=s=320x240:r=50:d=2 -vf interlace -flags +ildct+ilme -c:v mpeg2video -q:v 4 -top 1",
    );
    assert_deinterlaced(&clip, "240p").await;
    // DV states interlacing in each frame, not in the header.
    let args =
        "-f lavfi -i testsrc2=s=720x576:r=50:d=2 -vf interlace -flags +ildct -c:v dvvideo -pix_fmt yuv420p";
    assert_deinterlaced(&Clip::new("clip.dv", args), "480p").await;
}

async fn assert_deinterlaced(clip: &Clip, rung: &str) {
    let job = transcoded(&clip.file, &options(&[])).await;
    assert!(job.source.video.as_ref().is_some_and(|video| video.interlaced));
    assert_eq!(job.frames(rung), 50);
    let order = ffprobe("-select_streams v:0 -show_entries stream=field_order", &job.joined(rung));
    assert_eq!(order, "progressive");
    // Combing: in moving interlaced video every other line is displaced.
    let combing = |file: &std::path::Path| {
        let lines = decode(file, "-map 0:v -frames:v 20 -vf crop=2:200:200:20,format=gray -f rawvideo -");
        let rows: Vec<i32> = lines.chunks_exact(2).map(|row| i32::from(row[0])).collect();
        let differences =
            rows.chunks_exact(200).flat_map(|frame| frame.windows(3).map(|r| (r[0] + r[2] - 2 * r[1]).abs()));
        differences.sum::<i32>()
    };
    let (before, after) = (combing(&clip.file), combing(&job.joined(rung)));
    assert!(after * 2 < before, "{before} before, {after} after");
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_transparent_video_is_shown_on_black() {
    let half = "geq=r=200:g=40:b=40:a='if(lt(X,128),255,0)'";
    let clip = Clip::new(
        "clear.mov",
        &format!("-f lavfi -i color=black:s=256x144:r=25:d=1,format=argb,{half} -c:v qtrle -pix_fmt argb"),
    );
    let job = transcoded(&clip.file, &options(&[])).await;
    let pixels = decode(
        &job.joined("144p"),
        "-map 0:v -frames:v 1 -vf scale=8:1:flags=area -pix_fmt rgb24 -f rawvideo -",
    );
    assert!(pixels[0] > 180 && pixels[1] < 60, "the opaque half keeps its colour: {pixels:?}");
    assert!(pixels[21..].iter().all(|&part| part < 12), "the transparent half is black: {pixels:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_keeps_colours_and_tags_them() {
    // A screen recording in RGB, and a video without colour information.
    let green = "-f lavfi -i color=0x20c020:s=1280x720:r=25:d=1,format=rgb24";
    let untagged = "-vf scale=out_color_matrix=bt709 -pix_fmt yuv420p -c:v libx264 -preset ultrafast -qp 4";
    for (name, args) in [("screen.mov", "-c:v qtrle"), ("untagged.mkv", untagged)] {
        let clip = Clip::new(name, &format!("{green} {args}"));
        let job = transcoded(&clip.file, &options(&[720, 240])).await;
        for rung in ["720p", "240p"] {
            assert_eq!(format(&job, rung), "h264,yuv420p,bt709,bt709,bt709", "{name} {rung}");
            let args = "-map 0:v -frames:v 1 -vf scale=in_color_matrix=bt709,format=rgb24,scale=1:1:flags=area -pix_fmt rgb24 -f rawvideo -";
            let pixel = decode(&job.joined(rung), args);
            let near = pixel
                .iter()
                .zip([0x20, 0xc0, 0x20])
                .all(|(actual, expected): (&u8, u8)| actual.abs_diff(expected) < 8);
            assert!(near, "{name} {rung}: {pixel:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn encode_hdr_rung_only_has_sdr_poster() {
    let clip = hdr_clip("smpte2084", 572);
    let mut job = Job::planned(&clip.file, &Options { keep_hdr: true, ..options(&[]) }).await;
    // Like a work unit of a long video, which has some rungs only.
    job.plan.work_units[0].rungs = vec![0];
    job.encode(0).await.expect("done");
    let white = gray_frames(&job.poster(), 1, 1)[0];
    assert!((150..=250).contains(&white), "mapped to SDR: {white}");
}

#[rstest]
#[case::av1(Codec::Av1)]
#[case::hevc(Codec::Hevc)]
#[case::vp9(Codec::Vp9)]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_below_codec_minimum_size_falls_back(#[case] codec: Codec) {
    let clip = Clip::new("tiny.mp4", &format!("-f lavfi -i testsrc2=s=64x36:r=25:d=1 {ENCODE}"));
    let job = transcoded(&clip.file, &Options { codec, ..options(&[]) }).await;
    assert_eq!(job.frames("36p"), 25, "{codec:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_high_frame_rate_is_halved_on_lower_rungs() {
    let clip =
        Clip::new("fast.mp4", &format!("-f lavfi -i testsrc2=s=640x360:r=60000/1001 -frames:v 300 {ENCODE}"));
    let job = transcoded(&clip.file, &options(&[360, 144])).await;
    assert_eq!((job.frames("360p"), job.frames("144p")), (300, 150));
    let (fast, slow) = (job.track("360p"), job.track("144p"));
    let starts = |track: &reelmill_media::playlists::Track| {
        track.segments.iter().map(|segment| (segment.start * 1000.0).round()).collect::<Vec<_>>()
    };
    assert_eq!(starts(&fast), starts(&slow), "segments are aligned");
    let rate = |rung: &str| {
        ffprobe("-select_streams v:0 -show_entries stream=avg_frame_rate", &job.progressive(rung))
    };
    assert_eq!((rate("360p").as_str(), rate("144p").as_str()), ("60000/1001", "30000/1001"));

    let clip = Clip::new("slow.mp4", &format!("-f lavfi -i testsrc2=s=128x96:r=240:d=1 {ENCODE}"));
    let job = transcoded(&clip.file, &options(&[])).await;
    assert_eq!(job.frames("96p"), 60, "60 fps at most");
    let job = transcoded(&clip.file, &options(&[96, 72])).await;
    assert_eq!(job.frames("72p"), 30, "half the frame rate on a lower rung");
}

#[rstest]
#[case::mp4("one.mp4")]
#[case::mkv("one.mkv")]
#[case::ts("one.ts")]
#[case::avi("one.avi")]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_single_frame_yields_video(#[case] name: &str) {
    let clip = Clip::new(name, &format!("-f lavfi -i testsrc2=s=128x72:r=25 -frames:v 1 {ENCODE}"));
    let job = transcoded(&clip.file, &options(&[])).await;
    assert_eq!(job.frames("72p"), 1, "{name}");
    assert_eq!(count_frames(&job.progressive("72p")), 1, "{name}");
    let poster = ffprobe("-show_entries stream=width,height", &job.poster());
    assert_eq!(poster, "128,72", "{name}");
}
