//! Requested options of a job: validated, and completed by the configuration.

use reelmill_media::plan::{Codec, Options, Preset};
use reelmill_proto::{
    seconds,
    transcode::{
        TranscodeOptions,
        transcode_options::{Preset as RequestedPreset, Profile},
    },
};

use crate::{config::TranscodeConfig, error::TranscodeError};

/// Most rungs in a request.
const MAX_RUNGS: usize = 16;
/// Short side of the largest rung, pixels.
const MAX_RUNG_PIXELS: i32 = 4320;

/// The highest number of a programme of a broadcast.
const MAX_PROGRAM: i32 = 65_535;

/// Values of the options that a request leaves open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlannerDefaults {
    codec: Codec,
    preset: Preset,
    encoder_threads: u32,
}

impl PlannerDefaults {
    pub(crate) fn of(config: &TranscodeConfig) -> Self {
        Self {
            codec: config.default_profile,
            preset: config.default_preset,
            encoder_threads: config.encoder_threads,
        }
    }
}

/// Validates requested options.
///
/// # Errors
/// A field has a value that is not allowed.
pub(crate) fn validate(options: &TranscodeOptions) -> Result<(), TranscodeError> {
    if options.rungs.len() > MAX_RUNGS {
        return Err(TranscodeError::field("options.rungs", format!("must be at most {MAX_RUNGS}")));
    }
    if options.rungs.iter().any(|rung| !(2..=MAX_RUNG_PIXELS).contains(rung)) {
        let message = format!("must be short sides in pixels, 2 to {MAX_RUNG_PIXELS}");
        return Err(TranscodeError::field("options.rungs", message));
    }
    if Profile::try_from(options.profile).is_err() {
        return Err(TranscodeError::field("options.profile", "is unknown"));
    }
    if RequestedPreset::try_from(options.preset).is_err() {
        return Err(TranscodeError::field("options.preset", "is unknown"));
    }
    if !(0..=MAX_PROGRAM).contains(&options.source_program) {
        let message = format!("must be the number of a programme, at most {MAX_PROGRAM}");
        return Err(TranscodeError::field("options.source_program", message));
    }
    if options.poster_time.as_ref().is_some_and(|time| seconds(time) < 0.0) {
        return Err(TranscodeError::field("options.poster_time", "must not be negative"));
    }
    Ok(())
}

/// The planner's options: the requested ones, completed by the defaults.
pub(crate) fn planner_options(requested: &TranscodeOptions, defaults: &PlannerDefaults) -> Options {
    Options {
        codec: match requested.profile() {
            Profile::Unspecified => defaults.codec,
            Profile::H264 => Codec::H264,
            Profile::Hevc => Codec::Hevc,
            Profile::Av1 => Codec::Av1,
            Profile::Vp9 => Codec::Vp9,
        },
        preset: match requested.preset() {
            RequestedPreset::Unspecified => defaults.preset,
            RequestedPreset::Fast => Preset::Fast,
            RequestedPreset::Balanced => Preset::Balanced,
            RequestedPreset::Small => Preset::Small,
        },
        rungs: requested.rungs.iter().filter_map(|&rung| u32::try_from(rung).ok()).collect(),
        keep_hdr: requested.keep_hdr,
        poster_seconds: requested.poster_time.as_ref().map(seconds),
        threads: defaults.encoder_threads,
    }
}
