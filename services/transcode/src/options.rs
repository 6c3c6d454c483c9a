//! What callers wish of an encoding, checked and completed by the configuration.

use reelmill_media::plan::{Codec, Options, Preset};
use reelmill_proto::{
    seconds,
    transcode::{
        TranscodeOptions,
        transcode_options::{Preset as PresetWish, Profile},
    },
};

use crate::{config::TranscodeConfig, error::TranscodeError};

/// How many rungs may be wished for.
const MAX_RUNGS: usize = 16;
/// The short side of the largest.
const LARGEST_RUNG: i32 = 4320;

/// Refuses what nobody can mean.
pub(crate) fn check(options: &TranscodeOptions) -> Result<(), TranscodeError> {
    if options.rungs.len() > MAX_RUNGS {
        return Err(TranscodeError::field("options.rungs", format!("must be at most {MAX_RUNGS}")));
    }
    if options.rungs.iter().any(|rung| !(2..=LARGEST_RUNG).contains(rung)) {
        let message = format!("must be short sides in pixels, 2 to {LARGEST_RUNG}");
        return Err(TranscodeError::field("options.rungs", message));
    }
    if Profile::try_from(options.profile).is_err() {
        return Err(TranscodeError::field("options.profile", "is not known"));
    }
    if PresetWish::try_from(options.preset).is_err() {
        return Err(TranscodeError::field("options.preset", "is not known"));
    }
    if options.poster_time.as_ref().is_some_and(|moment| seconds(moment) < 0.0) {
        return Err(TranscodeError::field("options.poster_time", "must not be negative"));
    }
    Ok(())
}

/// As the planner takes them.
pub(crate) fn complete(options: Option<&TranscodeOptions>, config: &TranscodeConfig) -> Options {
    let wished = options.cloned().unwrap_or_default();
    Options {
        codec: match wished.profile() {
            Profile::Unspecified => config.default_profile,
            Profile::H264 => Codec::H264,
            Profile::Hevc => Codec::Hevc,
            Profile::Av1 => Codec::Av1,
            Profile::Vp9 => Codec::Vp9,
        },
        preset: match wished.preset() {
            PresetWish::Unspecified => config.default_preset,
            PresetWish::Fast => Preset::Fast,
            PresetWish::Balanced => Preset::Balanced,
            PresetWish::Small => Preset::Small,
        },
        rungs: wished.rungs.iter().filter_map(|&rung| u32::try_from(rung).ok()).collect(),
        keep_hdr: wished.keep_hdr,
        poster_seconds: wished.poster_time.as_ref().map(seconds),
        threads: config.encoder_threads,
    }
}
