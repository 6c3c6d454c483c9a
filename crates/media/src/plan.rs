//! The plan of an encoding as a pure function: a probed source in, everything that is decided out.

use crate::geometry::{Orientation, Size};
use crate::ladder::{ladder, step};
use crate::probe::{MAX_SECONDS, Source};
use crate::rate::{Rate, output_rate};

/// Seconds from one keyframe, and so one segment, to the next.
pub const SEGMENT_SECONDS: u32 = 4;
/// Bits a second of the sound.
pub const AUDIO_BITRATE: u32 = 128_000;
/// Samples a second of the sound.
pub const AUDIO_SAMPLE_RATE: u32 = 48_000;
/// The long side of the poster, at most.
const POSTER_LONG_SIDE: u32 = 640;

/// Everything that is decided about an encoding.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Index of the video stream.
    pub video_index: u32,
    /// Index of the audio stream, when there is one.
    pub audio_index: Option<u32>,
    /// Pixels as stored, before the turn.
    pub stored: Size,
    /// The turn that is applied.
    pub orientation: Orientation,
    /// Whether fields are woven into frames first.
    pub deinterlace: bool,
    /// Keep one frame of this many before scaling: sources far above the output rate.
    pub keep_one_in: u32,
    /// Constant output rate.
    pub rate: Rate,
    /// Nothing after this many seconds is encoded.
    pub end_seconds: f64,
    /// Playing time of the source, seconds, when it says.
    pub duration: Option<f64>,
    /// The rungs, highest first; each is scaled from the one before.
    pub rungs: Vec<Rung>,
    /// The poster.
    pub poster: Poster,
    /// Threads of each encoder. Part of the plan, because output bytes depend on it.
    pub threads: u32,
}

/// One rung of the ladder and how it is encoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Rung {
    /// Short name, as `720p`, by the short side.
    pub id: String,
    /// Pixels, even.
    pub size: Size,
    /// Constant rate factor of x264.
    pub crf: u32,
    /// Peak bit rate, bits a second.
    pub max_rate: u32,
    /// Decoder buffer, bits.
    pub buffer: u32,
    /// x264 preset.
    pub preset: &'static str,
}

/// The still that stands for the video.
#[derive(Clone, Debug, PartialEq)]
pub struct Poster {
    /// The first frame at or after this time, seconds, is taken.
    pub at_seconds: f64,
    /// Pixels.
    pub size: Size,
}

impl Plan {
    /// Frames the source should give at the output rate, when its playing time is known.
    pub fn expected_frames(&self) -> Option<f64> {
        self.duration.map(|seconds| (seconds * self.rate.fps()).max(1.0))
    }
}

/// Plans the encoding of `source` with `threads` threads an encoder.
pub fn plan(source: &Source, threads: u32) -> Plan {
    let video = &source.video;
    let shown = video.shown();
    let rate = output_rate(video.nominal_rate, video.mean_rate);
    let rungs: Vec<_> = ladder(shown).into_iter().map(|step| rung(step.short, step.size, rate)).collect();
    Plan {
        video_index: video.index,
        audio_index: source.audio.as_ref().map(|audio| audio.index),
        stored: video.stored,
        orientation: video.orientation,
        deinterlace: video.interlaced,
        keep_one_in: surplus(video.mean_rate, rate),
        rate,
        end_seconds: MAX_SECONDS,
        duration: source.duration,
        rungs,
        poster: poster(shown, video.duration.or(source.duration)),
        threads: threads.max(1),
    }
}

fn rung(short: u32, size: Size, rate: Rate) -> Rung {
    let slow = match short {
        1080.. => 6_000_000,
        720.. => 3_500_000,
        480.. => 1_700_000,
        360.. => 1_000_000,
        240.. => 600_000,
        _ => 400_000,
    };
    // Twice the frames need about half as much again, as each differs less from the last.
    let max_rate = if rate.fps() > 31.0 { slow / 2 * 3 } else { slow };
    Rung { id: format!("{short}p"), size, crf: 23, max_rate, buffer: max_rate * 2, preset: "veryfast" }
}

fn surplus(mean: Option<Rate>, rate: Rate) -> u32 {
    mean.map_or(1, |mean| ((mean.fps() / rate.fps() + 0.05).floor() as u32).clamp(1, 16))
}

fn poster(shown: Size, duration: Option<f64>) -> Poster {
    let long = shown.width.max(shown.height);
    let short = if long > POSTER_LONG_SIDE {
        u64::from(shown.short()) * u64::from(POSTER_LONG_SIDE) / u64::from(long)
    } else {
        u64::from(shown.short())
    };
    let short = u32::try_from(short & !1).unwrap_or(2).max(2);
    let size = step(shown, short).size;
    let capped = Size { width: size.width.min(POSTER_LONG_SIDE), height: size.height.min(POSTER_LONG_SIDE) };
    // A clip of a frame or two may have nothing after its first moment.
    let at_seconds =
        duration.filter(|&seconds| seconds >= 2.0).map_or(0.0, |seconds| (seconds * 100.0).floor() / 1000.0);
    Poster { at_seconds, size: capped }
}

#[cfg(test)]
mod tests {
    use super::plan;
    use crate::geometry::{Orientation, Size};
    use crate::probe::{Source, Video};
    use crate::rate::Rate;
    use proptest::prelude::*;

    fn source(width: u32, height: u32, rate: (u32, u32), duration: Option<f64>) -> Source {
        Source {
            container: "mov".into(),
            duration,
            audio: None,
            video: Video {
                index: 0,
                codec: "h264".into(),
                stored: Size { width, height },
                pixel_aspect: (1, 1),
                orientation: Orientation::Upright,
                nominal_rate: Rate::new(rate.0, rate.1),
                mean_rate: Rate::new(rate.0, rate.1),
                pixel_format: "yuv420p".into(),
                interlaced: false,
                transfer: String::new(),
                duration,
            },
        }
    }

    #[test]
    fn a_usual_video() {
        let plan = plan(&source(1920, 1080, (30, 1), Some(60.0)), 2);
        let ids: Vec<_> = plan.rungs.iter().map(|rung| rung.id.as_str()).collect();
        assert_eq!(ids, ["1080p", "720p", "480p", "360p"]);
        assert_eq!(plan.expected_frames(), Some(1800.0));
        assert_eq!((plan.poster.size.width, plan.poster.size.height), (640, 360));
        assert!((plan.poster.at_seconds - 6.0).abs() < 1e-9);
        assert_eq!(plan.keep_one_in, 1);
    }

    #[test]
    fn slow_motion_is_thinned_before_scaling() {
        assert_eq!(plan(&source(640, 360, (240, 1), None), 2).keep_one_in, 4);
        assert_eq!(plan(&source(640, 360, (90, 1), None), 2).keep_one_in, 1);
    }

    proptest! {
        #[test]
        fn every_source_has_a_whole_plan(w in 1u32..16_000, h in 1u32..16_000, num in 1u32..100_000,
                                         den in 1u32..5000, seconds in proptest::option::of(0.001f64..43_000.0)) {
            let plan = plan(&source(w, h, (num, den), seconds), 0);
            prop_assert!(!plan.rungs.is_empty() && plan.threads >= 1);
            prop_assert!(plan.rungs.windows(2).all(|pair| pair[0].size.pixels() > pair[1].size.pixels()));
            prop_assert!(plan.poster.size.width <= 640 && plan.poster.size.height <= 640);
            prop_assert!(plan.poster.size.width.is_multiple_of(2) && plan.poster.size.height >= 2);
            prop_assert!(seconds.is_none_or(|seconds| plan.poster.at_seconds <= seconds));
        }
    }
}
