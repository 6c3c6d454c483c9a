//! Encoder settings of a rung: codec, preset, quality and rate limits.

use serde::{Deserialize, Serialize};

/// A video codec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// H.264, encoded by x264.
    #[default]
    H264,
    /// H.265, encoded by x265.
    Hevc,
    /// AV1, encoded by SVT-AV1.
    Av1,
    /// VP9, encoded by libvpx.
    Vp9,
}

impl Codec {
    /// Every codec.
    pub const ALL: [Self; 4] = [Self::H264, Self::Hevc, Self::Av1, Self::Vp9];

    /// Frames by which its encoder, with our options, decodes ahead of presentation.
    fn reorder_frames(self) -> u32 {
        match self {
            Self::H264 | Self::Hevc => 2,
            Self::Av1 | Self::Vp9 => 0,
        }
    }

    /// The shortest side that its encoder accepts, pixels.
    fn min_short_side(self) -> u32 {
        match self {
            Self::H264 | Self::Vp9 => 2,
            Self::Hevc => 16,
            Self::Av1 => 64,
        }
    }
}

/// Encoding time against file size at equal quality.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// The shortest encoding time.
    #[default]
    Fast,
    /// With H.264 about 1.4 times the time of `fast`, and 5 % smaller.
    Balanced,
    /// With H.264 about 3.6 times the time of `fast`, and 10 % smaller.
    Small,
}

/// x264's presets, and the options set in addition.
///
/// Trellis quantisation, which `veryfast` leaves out, costs 6 % of its time and saves a seventh of the bits at equal VMAF;
/// `faster` saves as much in 1.7 times the time. With trellis, the coarsest motion vectors and no small partitions need
/// fewer bits than `veryfast`, in three quarters of its time: `docs/BENCHMARKS.md`.
const X264_PRESETS: [(&str, &str); 3] =
    [("veryfast", "trellis=1:subme=1:partitions=i8x8,i4x4"), ("veryfast", "trellis=1"), ("medium", "")];

/// A preset without additional options.
fn untuned(preset: &'static str) -> (&'static str, &'static str) {
    (preset, "")
}

/// The options of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Video codec.
    pub codec: Codec,
    /// Encoding time against file size.
    pub preset: Preset,
    /// Short sides of the rungs; empty for the default ladder.
    pub rungs: Vec<u32>,
    /// Whether an HDR source gets an HDR rung in addition.
    pub keep_hdr: bool,
    /// Time of the poster, seconds.
    pub poster_seconds: Option<f64>,
    /// Threads per encoder that may have several.
    pub threads: u32,
}

/// Encoder settings of one rung.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoding {
    /// Codec.
    pub codec: Codec,
    /// Preset as the encoder names it.
    pub preset: String,
    /// Differences from that preset, as options of the encoder separated by colons.
    #[serde(default)]
    pub tuning: String,
    /// Constant rate factor, on the encoder's scale.
    pub crf: u32,
    /// Peak bit rate, bits per second.
    pub max_rate: u32,
    /// Decoder buffer size, bits.
    pub buffer: u32,
    /// Bits per sample: 8 or 10.
    pub depth: u32,
    /// Whether B-frames are disabled, so that decode order is presentation order.
    #[serde(default)]
    pub no_b_frames: bool,
}

impl Encoding {
    /// Frames by which it is decoded ahead of presentation, because of B-frames.
    pub(super) fn reorder_frames(&self) -> u32 {
        if self.no_b_frames { 0 } else { self.codec.reorder_frames() }
    }

    /// Settings for a rung of standard dynamic range. `is_high_rate` for more than 30 frames per second. Falls back to
    /// H.264 if the requested codec's encoder does not accept frames this small.
    pub(crate) fn sdr(options: &Options, short: u32, is_high_rate: bool) -> Self {
        let codec = if short < options.codec.min_short_side() { Codec::H264 } else { options.codec };
        Self::with(codec, options.preset, 8, short, is_high_rate)
    }

    /// Settings for an HDR rung in 10 bits. Replaces H.264, which has no widely supported profile for that.
    pub(super) fn hdr(options: &Options, short: u32, is_high_rate: bool) -> Self {
        Self::with(Self::hdr_codec(options), options.preset, 10, short, is_high_rate)
    }

    /// Whether the codec for HDR accepts frames this small.
    pub(super) fn supports_hdr(options: &Options, short: u32) -> bool {
        short >= Self::hdr_codec(options).min_short_side()
    }

    fn hdr_codec(options: &Options) -> Codec {
        if options.codec == Codec::H264 { Codec::Hevc } else { options.codec }
    }

    fn with(codec: Codec, preset: Preset, depth: u32, short: u32, is_high_rate: bool) -> Self {
        let (crf, presets, percent) = match codec {
            Codec::H264 => (23, X264_PRESETS, 100),
            Codec::Hevc => (25, ["superfast", "fast", "medium"].map(untuned), 70),
            Codec::Av1 => (35, ["10", "8", "6"].map(untuned), 60),
            Codec::Vp9 => (33, ["5", "3", "2"].map(untuned), 70),
        };
        let (preset, tuning) = presets[match preset {
            Preset::Fast => 0,
            Preset::Balanced => 1,
            Preset::Small => 2,
        }];
        // Twice the frame rate needs about half as many bits again, as consecutive frames differ less.
        let h264_rate = h264_max_rate(short) / if is_high_rate { 2 } else { 3 } * 3;
        let max_rate = h264_rate / 100 * percent;
        Self {
            codec,
            preset: preset.to_owned(),
            tuning: tuning.to_owned(),
            crf,
            max_rate,
            buffer: max_rate * 2,
            depth,
            no_b_frames: false,
        }
    }
}

/// Peak bit rate of H.264 at up to 30 frames per second, bits per second.
fn h264_max_rate(short: u32) -> u32 {
    match short {
        2160.. => 18_000_000,
        1440.. => 10_000_000,
        1080.. => 6_000_000,
        720.. => 3_500_000,
        480.. => 1_700_000,
        360.. => 1_000_000,
        240.. => 600_000,
        _ => 400_000,
    }
}
