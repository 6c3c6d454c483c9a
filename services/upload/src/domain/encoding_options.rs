//! Encoding options that the owner requested for a video.

use reelmill_proto::transcode::{TranscodeOptions, transcode_options as proto};
use sea_orm::{DeriveActiveEnum, EnumIter, prelude::StringLen};

use crate::error::UploadError;

const MAX_RUNGS: usize = 16;
/// Allowed short sides of a rung, pixels.
const RUNG_PIXELS: std::ops::RangeInclusive<i32> = 64..=4320;
/// Numbers of programmes; 0 leaves the choice to the server.
const PROGRAMS: std::ops::RangeInclusive<i32> = 0..=65_535;
const NANOS_PER_SECOND: i32 = 1_000_000_000;

/// Requested encoding options. `None` and empty fields follow the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EncodingOptions {
    pub profile: Option<Profile>,
    pub preset: Option<Preset>,
    /// Short sides of the requested rungs, pixels.
    pub rungs: Vec<i32>,
    pub keep_hdr: bool,
    /// Position of the poster in the video, nanoseconds.
    pub poster_time_nanos: Option<i64>,
    /// Number of the programme of a broadcast.
    pub source_program: Option<i32>,
}

/// Video codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))")]
pub(crate) enum Profile {
    #[sea_orm(string_value = "H264")]
    H264,
    #[sea_orm(string_value = "HEVC")]
    Hevc,
    #[sea_orm(string_value = "AV1")]
    Av1,
    #[sea_orm(string_value = "VP9")]
    Vp9,
}

/// Computing time against size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))")]
pub(crate) enum Preset {
    #[sea_orm(string_value = "FAST")]
    Fast,
    #[sea_orm(string_value = "BALANCED")]
    Balanced,
    #[sea_orm(string_value = "SMALL")]
    Small,
}

impl EncodingOptions {
    /// Validates the options of a request.
    pub(crate) fn parse(options: Option<&TranscodeOptions>) -> Result<Self, UploadError> {
        let Some(options) = options else { return Ok(Self::default()) };
        if options.rungs.len() > MAX_RUNGS {
            return Err(UploadError::field("options.rungs", format!("must be at most {MAX_RUNGS}")));
        }
        if !options.rungs.iter().all(|rung| RUNG_PIXELS.contains(rung)) {
            let message = format!("each must be {} to {} pixels", RUNG_PIXELS.start(), RUNG_PIXELS.end());
            return Err(UploadError::field("options.rungs", message));
        }
        if !PROGRAMS.contains(&options.source_program) {
            let message = format!("must be the number of a programme, at most {}", PROGRAMS.end());
            return Err(UploadError::field("options.source_program", message));
        }
        Ok(Self {
            profile: parse_profile(options.profile)?,
            preset: parse_preset(options.preset)?,
            rungs: options.rungs.clone(),
            keep_hdr: options.keep_hdr,
            poster_time_nanos: options.poster_time.as_ref().map(parse_poster_time).transpose()?,
            source_program: Some(options.source_program).filter(|&number| number > 0),
        })
    }

    /// The options as a message. `None` if nothing was requested.
    pub(crate) fn to_message(&self) -> Option<TranscodeOptions> {
        if *self == Self::default() {
            return None;
        }
        let profile = match self.profile {
            None => proto::Profile::Unspecified,
            Some(Profile::H264) => proto::Profile::H264,
            Some(Profile::Hevc) => proto::Profile::Hevc,
            Some(Profile::Av1) => proto::Profile::Av1,
            Some(Profile::Vp9) => proto::Profile::Vp9,
        };
        let preset = match self.preset {
            None => proto::Preset::Unspecified,
            Some(Preset::Fast) => proto::Preset::Fast,
            Some(Preset::Balanced) => proto::Preset::Balanced,
            Some(Preset::Small) => proto::Preset::Small,
        };
        Some(TranscodeOptions {
            profile: profile.into(),
            preset: preset.into(),
            rungs: self.rungs.clone(),
            keep_hdr: self.keep_hdr,
            poster_time: self.poster_time_nanos.map(duration_of_nanos),
            source_program: self.source_program.unwrap_or_default(),
        })
    }
}

fn parse_profile(number: i32) -> Result<Option<Profile>, UploadError> {
    match proto::Profile::try_from(number) {
        Ok(proto::Profile::Unspecified) => Ok(None),
        Ok(proto::Profile::H264) => Ok(Some(Profile::H264)),
        Ok(proto::Profile::Hevc) => Ok(Some(Profile::Hevc)),
        Ok(proto::Profile::Av1) => Ok(Some(Profile::Av1)),
        Ok(proto::Profile::Vp9) => Ok(Some(Profile::Vp9)),
        Err(_) => Err(UploadError::field("options.profile", "there is no such profile")),
    }
}

fn parse_preset(number: i32) -> Result<Option<Preset>, UploadError> {
    match proto::Preset::try_from(number) {
        Ok(proto::Preset::Unspecified) => Ok(None),
        Ok(proto::Preset::Fast) => Ok(Some(Preset::Fast)),
        Ok(proto::Preset::Balanced) => Ok(Some(Preset::Balanced)),
        Ok(proto::Preset::Small) => Ok(Some(Preset::Small)),
        Err(_) => Err(UploadError::field("options.preset", "there is no such preset")),
    }
}

fn parse_poster_time(time: &prost_types::Duration) -> Result<i64, UploadError> {
    let is_valid = time.seconds >= 0 && (0..NANOS_PER_SECOND).contains(&time.nanos);
    nanos_of_duration(time)
        .filter(|_| is_valid)
        .ok_or_else(|| UploadError::field("options.poster_time", "must be a duration, not negative"))
}

/// A duration in nanoseconds. `None` if it exceeds 292 years.
pub(crate) fn nanos_of_duration(duration: &prost_types::Duration) -> Option<i64> {
    duration.seconds.checked_mul(i64::from(NANOS_PER_SECOND))?.checked_add(i64::from(duration.nanos))
}

/// The duration message of a number of nanoseconds.
pub(crate) fn duration_of_nanos(nanos: i64) -> prost_types::Duration {
    let nanos_per_second = i64::from(NANOS_PER_SECOND);
    prost_types::Duration {
        seconds: nanos / nanos_per_second,
        nanos: i32::try_from(nanos % nanos_per_second).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rungs(rungs: &[i32]) -> TranscodeOptions {
        TranscodeOptions { rungs: rungs.to_vec(), ..TranscodeOptions::default() }
    }

    fn poster(seconds: i64, nanos: i32) -> TranscodeOptions {
        let poster_time = Some(prost_types::Duration { seconds, nanos });
        TranscodeOptions { poster_time, ..TranscodeOptions::default() }
    }

    #[test]
    fn parse_absent_or_default_options_requests_nothing() {
        assert_eq!(EncodingOptions::parse(None).unwrap().to_message(), None);
        assert_eq!(EncodingOptions::parse(Some(&TranscodeOptions::default())).unwrap().to_message(), None);
    }

    #[test]
    fn parse_valid_options_keeps_every_field() {
        let all = TranscodeOptions {
            profile: proto::Profile::Vp9.into(),
            preset: proto::Preset::Balanced.into(),
            keep_hdr: true,
            source_program: 65_535,
            ..poster(90, 500)
        };
        for options in [rungs(&[64, 4320]), rungs(&[720; 16]), poster(0, 0), poster(90, 500), all] {
            assert_eq!(EncodingOptions::parse(Some(&options)).unwrap().to_message(), Some(options));
        }
    }

    #[test]
    fn parse_invalid_option_names_its_field() {
        let invalid = [
            ("options.rungs", rungs(&[63])),
            ("options.rungs", rungs(&[720, 4321])),
            ("options.rungs", rungs(&[720; 17])),
            ("options.poster_time", poster(-1, 0)),
            ("options.poster_time", poster(0, -1)),
            ("options.poster_time", poster(0, 1_000_000_000)),
            ("options.poster_time", poster(i64::MAX, 0)),
            ("options.profile", TranscodeOptions { profile: 99, ..TranscodeOptions::default() }),
            (
                "options.source_program",
                TranscodeOptions { source_program: -1, ..TranscodeOptions::default() },
            ),
            (
                "options.source_program",
                TranscodeOptions { source_program: 65_536, ..TranscodeOptions::default() },
            ),
            ("options.preset", TranscodeOptions { preset: -1, ..TranscodeOptions::default() }),
        ];
        for (expected, options) in invalid {
            let error = EncodingOptions::parse(Some(&options)).unwrap_err();
            assert!(matches!(error, UploadError::Field { field, .. } if field == expected), "{options:?}");
        }
    }
}
