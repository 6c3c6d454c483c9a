//! How a video is to be encoded, as its owner asked.

use prost::Message as _;
use reelmill_proto::transcode::{
    TranscodeOptions,
    transcode_options::{Preset, Profile},
};

use crate::UploadError;

/// Rungs that can be asked for.
const MAX_RUNGS: usize = 16;
/// Short sides of a rung, pixels.
const RUNG: std::ops::RangeInclusive<i32> = 64..=4320;
const NANOS: i32 = 1_000_000_000;

/// The options as they are kept; none where nothing was asked for.
pub(crate) fn checked(asked: Option<&TranscodeOptions>) -> Result<Option<Vec<u8>>, UploadError> {
    let Some(asked) = asked.filter(|asked| **asked != TranscodeOptions::default()) else { return Ok(None) };
    if Profile::try_from(asked.profile).is_err() {
        return Err(UploadError::field("options.profile", "there is no such profile"));
    }
    if Preset::try_from(asked.preset).is_err() {
        return Err(UploadError::field("options.preset", "there is no such preset"));
    }
    if asked.rungs.len() > MAX_RUNGS {
        return Err(UploadError::field("options.rungs", format!("must be at most {MAX_RUNGS}")));
    }
    if !asked.rungs.iter().all(|rung| RUNG.contains(rung)) {
        let message = format!("each must be {} to {} pixels", RUNG.start(), RUNG.end());
        return Err(UploadError::field("options.rungs", message));
    }
    if asked.poster_time.is_some_and(|time| time.seconds < 0 || !(0..NANOS).contains(&time.nanos)) {
        return Err(UploadError::field("options.poster_time", "must be a length of time, not negative"));
    }
    Ok(Some(asked.encode_to_vec()))
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
    fn options_within_their_bounds_are_kept_as_they_are() {
        assert_eq!(checked(None).unwrap(), None);
        assert_eq!(checked(Some(&TranscodeOptions::default())).unwrap(), None);
        for good in [rungs(&[64, 4320]), rungs(&[720; 16]), poster(0, 0), poster(90, 500)] {
            let kept = checked(Some(&good)).unwrap().unwrap();
            assert_eq!(TranscodeOptions::decode(kept.as_slice()).unwrap(), good);
        }
    }

    #[test]
    fn options_out_of_bounds_are_refused_by_name() {
        let bad = [
            ("options.rungs", rungs(&[63])),
            ("options.rungs", rungs(&[720, 4321])),
            ("options.rungs", rungs(&[720; 17])),
            ("options.poster_time", poster(-1, 0)),
            ("options.poster_time", poster(0, -1)),
            ("options.poster_time", poster(0, 1_000_000_000)),
            ("options.profile", TranscodeOptions { profile: 99, ..TranscodeOptions::default() }),
            ("options.preset", TranscodeOptions { preset: -1, ..TranscodeOptions::default() }),
        ];
        for (field, options) in bad {
            let refused = checked(Some(&options)).unwrap_err();
            assert!(
                matches!(refused, UploadError::Field { field: told, .. } if told == field),
                "{options:?}"
            );
        }
    }
}
