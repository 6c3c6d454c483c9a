//! How a rung is encoded: codec, preset, quality and caps.

use serde::{Deserialize, Serialize};

/// A codec of the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// H.264, by x264.
    #[default]
    H264,
    /// H.265, by x265.
    Hevc,
    /// AV1, by SVT-AV1.
    Av1,
    /// VP9, by libvpx.
    Vp9,
}

impl Codec {
    /// Every codec.
    pub const ALL: [Self; 4] = [Self::H264, Self::Hevc, Self::Av1, Self::Vp9];

    /// Frames by which its encoder, with our options, decodes ahead of what is shown.
    fn reordered(self) -> u32 {
        match self {
            Self::H264 | Self::Hevc => 2,
            Self::Av1 | Self::Vp9 => 0,
        }
    }

    /// Pixels of the shortest side that its encoder takes.
    fn smallest(self) -> u32 {
        match self {
            Self::H264 | Self::Vp9 => 2,
            Self::Hevc => 16,
            Self::Av1 => 64,
        }
    }
}

/// Computing time against size at equal quality.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Least computing time.
    #[default]
    Fast,
    /// With H.264 about 1.4 times the time, and a twentieth smaller.
    Balanced,
    /// With H.264 about 3.6 times the time of `fast`, and a tenth smaller.
    Small,
}

/// x264's presets and what is set besides. The trellis, which `veryfast` leaves out, costs 6 % of its time and saves a
/// seventh of the bits at equal VMAF, as much as `faster` does in 1.7 times the time. With it, the coarsest motion vectors
/// and no small partitions still need fewer bits than `veryfast`, in three quarters of its time: `docs/BENCHMARKS.md`.
const X264: [(&str, &str); 3] =
    [("veryfast", "trellis=1:subme=1:partitions=i8x8,i4x4"), ("veryfast", "trellis=1"), ("medium", "")];

/// A preset as it is.
fn plain(preset: &'static str) -> (&'static str, &'static str) {
    (preset, "")
}

/// What may be wished for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// The codec of the picture.
    pub codec: Codec,
    /// Computing time against size.
    pub preset: Preset,
    /// Rungs by their short side; empty: the ladder.
    pub rungs: Vec<u32>,
    /// Keep an HDR source's range in a rung of its own.
    pub keep_hdr: bool,
    /// The moment the poster shows, seconds.
    pub poster_seconds: Option<f64>,
    /// Threads of each encoder that may have several.
    pub threads: u32,
}

/// How one rung is encoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoding {
    /// The codec.
    pub codec: Codec,
    /// The encoder's own name of the preset.
    pub preset: String,
    /// What differs from that preset, in the encoder's own options, separated by colons.
    #[serde(default)]
    pub tuning: String,
    /// Constant rate factor, in the encoder's own scale.
    pub crf: u32,
    /// Peak bit rate, bits a second.
    pub max_rate: u32,
    /// Decoder buffer, bits.
    pub buffer: u32,
    /// 8 or 10 bits a sample.
    pub depth: u32,
    /// Whether no picture refers to a later one.
    #[serde(default)]
    pub in_order: bool,
}

impl Encoding {
    /// Frames by which it is decoded ahead of what is shown, since pictures that refer to later ones come after those.
    pub(super) fn reordered(&self) -> u32 {
        if self.in_order { 0 } else { self.codec.reordered() }
    }

    /// For a rung of that short side, at more than 30 frames a second where `fast`. H.264 where the wanted codec's encoder
    /// takes no pictures as small.
    pub(crate) fn of(options: &Options, short: u32, fast: bool) -> Self {
        let codec = if short < options.codec.smallest() { Codec::H264 } else { options.codec };
        Self::with(codec, options.preset, 8, short, fast)
    }

    /// The same in ten bits. H.264 has no profile for it that players know.
    pub(super) fn hdr(options: &Options, short: u32, fast: bool) -> Self {
        Self::with(Self::hdr_codec(options), options.preset, 10, short, fast)
    }

    /// Whether there is an encoder for it.
    pub(super) fn has_hdr(options: &Options, short: u32) -> bool {
        short >= Self::hdr_codec(options).smallest()
    }

    fn hdr_codec(options: &Options) -> Codec {
        if options.codec == Codec::H264 { Codec::Hevc } else { options.codec }
    }

    fn with(codec: Codec, preset: Preset, depth: u32, short: u32, fast: bool) -> Self {
        let (crf, presets, percent) = match codec {
            Codec::H264 => (23, X264, 100),
            Codec::Hevc => (25, ["superfast", "fast", "medium"].map(plain), 70),
            Codec::Av1 => (35, ["10", "8", "6"].map(plain), 60),
            Codec::Vp9 => (33, ["5", "3", "2"].map(plain), 70),
        };
        let (preset, tuning) = presets[match preset {
            Preset::Fast => 0,
            Preset::Balanced => 1,
            Preset::Small => 2,
        }];
        // Twice the frames need about half as much again, as each differs less from the last.
        let rate = cap(short) / if fast { 2 } else { 3 } * 3;
        let max_rate = rate / 100 * percent;
        Self {
            codec,
            preset: preset.to_owned(),
            tuning: tuning.to_owned(),
            crf,
            max_rate,
            buffer: max_rate * 2,
            depth,
            in_order: false,
        }
    }
}

/// Peak bit rate of H.264 at up to 30 frames a second.
fn cap(short: u32) -> u32 {
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
