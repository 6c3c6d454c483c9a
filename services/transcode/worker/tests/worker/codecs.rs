//! Each codec yields a playable ladder with the codec strings of RFC 6381.

use crate::support::{H264, ffprobe, frame_numbers, numbered_clip, options, transcoded};
use reelmill_media::plan::{Codec, Options};
use rstest::rstest;

#[rstest]
#[case::h264(Codec::H264, "h264", "avc1.64")]
#[case::hevc(Codec::Hevc, "hevc", "hvc1.1.6.")]
#[case::av1(Codec::Av1, "av1", "av01.0.")]
#[case::vp9(Codec::Vp9, "vp9", "vp09.00.")]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_each_codec_plays_every_frame(
    #[case] codec: Codec,
    #[case] name: &str,
    #[case] codec_string: &str,
) {
    let clip = numbered_clip("clip.mp4", "25", 250, &format!("{H264} -g 50 -c:a aac"));
    let job = transcoded(&clip.file, &Options { codec, ..options(&[144, 96]) }).await;
    for rung in ["144p", "96p"] {
        let joined = job.joined(rung);
        assert_eq!(frame_numbers(&joined), (0..250).collect::<Vec<_>>(), "{name} {rung}");
        let track = job.track(rung);
        assert_eq!(track.segments.len(), 3, "{name} {rung}");
        assert!(track.codec.starts_with(codec_string), "{name} {rung}: {}", track.codec);
        let stream = ffprobe("-select_streams v:0 -show_entries stream=codec_name,profile,level", &joined);
        assert_codec(name, &stream, &track.codec);
        let packets = ffprobe("-select_streams v -show_entries packet=flags", &joined);
        assert_eq!(packets.lines().filter(|flags| flags.starts_with('K')).count(), 3, "{name} {rung}");
    }
    assert_eq!(frame_numbers(&job.progressive("144p")).len(), 250, "{name}");
    let master = job.text("master.m3u8");
    assert!(master.contains(&job.track("144p").codec), "{name}: {master}");
}

/// Compares a codec string with what ffprobe reads from the stream: name, profile, level.
fn assert_codec(name: &str, stream: &str, codec: &str) {
    let fields: Vec<&str> = stream.split(',').collect();
    let [probed, profile, level] = fields[..] else { panic!("{stream}") };
    assert_eq!(probed, name);
    let parts: Vec<&str> = codec.split('.').collect();
    match name {
        "h264" => {
            assert_eq!(profile, "High");
            assert_eq!(format!("{:02x}", level.parse::<u32>().expect("level")), parts[1][4..].to_lowercase());
        }
        "hevc" => {
            assert_eq!(profile, "Main");
            assert_eq!(format!("L{level}"), parts[3]);
        }
        "av1" => {
            assert_eq!(profile, "Main");
            assert_eq!(format!("{:02}M", level.parse::<u32>().expect("level")), parts[2]);
            assert_eq!(parts[3], "08");
        }
        _ => {
            assert_eq!(profile, "Profile 0");
            assert_eq!(parts[3], "08");
        }
    }
}
