//! Checks the recorded tracks of a fully encoded video: whether they play, and with which warnings.

use reelmill_media::{plan::Plan, playlists::Segment};
use reelmill_proto::{Reason, transcode::Warning};

/// Least missing part of the expected duration for a warning, 0 to 1.
const MISSING_TAIL_MIN_RATIO: f64 = 0.005;
/// Least missing duration for a warning, seconds.
const MISSING_TAIL_MIN_SECONDS: f64 = 2.0;

/// The recorded segments of a planned track.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TrackView<'a> {
    /// Rendition id.
    pub(crate) id: &'a str,
    /// Segments from the first one, without gaps.
    pub(crate) segments: &'a [Segment],
    /// Number of frames of each segment.
    pub(crate) frames: &'a [i32],
    /// Whether more segments are recorded behind a gap.
    pub(crate) has_gap: bool,
}

/// Why a video cannot be played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unplayable {
    pub(crate) reason: Reason,
    /// A sentence for the uploader.
    pub(crate) message: String,
}

fn unplayable(message: &str) -> Unplayable {
    Unplayable { reason: Reason::DecodeFailed, message: message.to_owned() }
}

fn warning(reason: Reason, message: String) -> Warning {
    Warning { reason: reason.as_str_name().to_owned(), message }
}

/// Checks the recorded tracks; returns warnings for the uploader. Audio tracks without segments are left out.
///
/// # Errors
/// Nothing was encoded, a segment is missing, or the rungs are not aligned.
pub(crate) fn check_tracks(plan: &Plan, tracks: &[TrackView<'_>]) -> Result<Vec<Warning>, Unplayable> {
    if tracks.iter().any(|track| track.has_gap) {
        return Err(unplayable(
            "A part in the middle of the file could not be decoded. Export the video again, and upload that.",
        ));
    }
    let find = |id: &str| tracks.iter().find(|track| track.id == id);
    let nothing_decoded = || {
        unplayable(
            "Nothing in the file could be decoded. Check that it plays on your computer, and upload it again.",
        )
    };
    let end_time = if let Some(video_plan) = &plan.video {
        let rungs: Vec<_> =
            video_plan.rungs.iter().filter_map(|rung| Some((find(&rung.id)?, rung.frame_step))).collect();
        let Some(&(first, _)) = rungs.first().filter(|(first, _)| !first.segments.is_empty()) else {
            return Err(nothing_decoded());
        };
        if !are_aligned(&rungs, video_plan.segment_frames, 1.0 / video_plan.rate.fps()) {
            return Err(unplayable(
                "The video could not be decoded twice with the same result. Export it again, and upload that.",
            ));
        }
        end_time(first)
    } else {
        let audio = plan.audio.iter().filter_map(|audio| find(&audio.id));
        let end = audio.map(end_time).fold(0.0, f64::max);
        if end <= 0.0 {
            return Err(nothing_decoded());
        }
        end
    };
    let is_missing = |id: &str| find(id).is_none_or(|track| track.segments.is_empty());
    let skipped = plan.audio.iter().filter(|audio| is_missing(&audio.id)).map(|audio| {
        let message = format!("The audio track {:?} could not be decoded and was left out.", audio.name);
        warning(Reason::TrackSkipped, message)
    });
    Ok(skipped.chain(missing_tail(plan, end_time)).collect())
}

/// End of a track, seconds.
fn end_time(track: &TrackView<'_>) -> f64 {
    track.segments.last().map_or(0.0, |last| last.start + last.seconds)
}

/// Whether a player can switch between the rungs at every segment. Each rung comes with its frame step.
fn are_aligned(rungs: &[(&TrackView<'_>, u32)], segment_frames: u32, frame_seconds: f64) -> bool {
    let Some(&(first, first_step)) = rungs.first() else { return true };
    rungs.iter().all(|&(rung, step)| {
        let tolerance = f64::from(step.max(first_step)) * frame_seconds + 0.001;
        let full = i64::from(segment_frames / step.max(1));
        let last = rung.segments.len().saturating_sub(1);
        let same = |(one, other): (&Segment, &Segment)| {
            (one.start - other.start).abs() <= tolerance && (one.seconds - other.seconds).abs() <= tolerance
        };
        rung.segments.len() == first.segments.len()
            && rung.segments.iter().zip(first.segments).all(same)
            && rung.frames.iter().take(last).all(|&frames| i64::from(frames) == full)
    })
}

/// A warning when the encoded video is shorter than the file's metadata says.
fn missing_tail(plan: &Plan, end: f64) -> Option<Warning> {
    let expected = plan.expected_seconds()?;
    let missing = expected - end;
    (missing > MISSING_TAIL_MIN_SECONDS && missing > expected * MISSING_TAIL_MIN_RATIO).then(|| {
        let message =
            format!("The file is truncated: only the first {} of {} are there.", time(end), time(expected));
        warning(Reason::FileTruncated, message)
    })
}

/// Formats a time as players do: `1:02:03`, `2:03`.
fn time(seconds: f64) -> String {
    let all = seconds.max(0.0).round() as u64;
    let (hours, minutes, seconds) = (all / 3600, all / 60 % 60, all % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sample;

    fn planned(fps: u32, seconds: f64) -> Plan {
        sample::planned(720, fps, seconds, 2)
    }

    /// An owned [`TrackView`].
    struct Track {
        id: String,
        segments: Vec<Segment>,
        frames: Vec<i32>,
        has_gap: bool,
    }

    fn track(id: &str, frames: u32, segment_frames: u32, fps: f64) -> Track {
        let (mut segments, mut counts) = (Vec::new(), Vec::new());
        let mut first = 0;
        while first < frames {
            let count = segment_frames.min(frames - first);
            let (start, seconds) = (f64::from(first) / fps, f64::from(count) / fps);
            segments.push(Segment { uri: "s".into(), start, seconds, bytes: 1, keyframe_bytes: 0 });
            counts.push(count as i32);
            first += count;
        }
        Track { id: id.to_owned(), segments, frames: counts, has_gap: false }
    }

    fn check(plan: &Plan, tracks: &[Track]) -> Result<Vec<String>, Reason> {
        let views: Vec<_> = tracks
            .iter()
            .map(|track| TrackView {
                id: &track.id,
                segments: &track.segments,
                frames: &track.frames,
                has_gap: track.has_gap,
            })
            .collect();
        let warnings = check_tracks(plan, &views).map_err(|unplayable| unplayable.reason)?;
        Ok(warnings.into_iter().map(|warning| format!("{} {}", warning.reason, warning.message)).collect())
    }

    #[test]
    fn check_complete_tracks_with_half_rate_rungs_has_no_warnings() {
        let plan = planned(60, 60.0);
        let half = |frames: u32| frames.div_ceil(2);
        let tracks = |frames| {
            let audio = track("audio-0", frames / 60 * 50, 200, 50.0);
            let (top, middle) = (track("720p", frames, 240, 60.0), track("480p", half(frames), 120, 30.0));
            [top, middle, track("360p", half(frames), 120, 30.0), audio]
        };
        assert_eq!(check(&plan, &tracks(3600)), Ok(vec![]));
        assert_eq!(check(&plan, &tracks(3599)), Ok(vec![]), "an odd last frame");
    }

    #[test]
    fn check_gap_or_misaligned_rungs_is_unplayable() {
        let plan = planned(30, 60.0);
        let all = || ["720p", "480p", "360p"].map(|id| track(id, 1800, 120, 30.0));
        let audio = || track("audio-0", 3000, 200, 50.0);
        let with = |change: fn(&mut [Track; 3])| {
            let mut rungs = all();
            change(&mut rungs);
            let [a, b, c] = rungs;
            check(&plan, &[a, b, c, audio()])
        };
        assert_eq!(with(|_| {}), Ok(vec![]));
        assert_eq!(with(|rungs| rungs[1].has_gap = true), Err(Reason::DecodeFailed));
        assert_eq!(
            with(|rungs| drop(rungs[2].segments.pop())),
            Err(Reason::DecodeFailed),
            "one rung is shorter"
        );
        assert_eq!(
            with(|rungs| rungs[2].frames[3] = 100),
            Err(Reason::DecodeFailed),
            "frames are missing within a segment"
        );
        assert_eq!(
            with(|rungs| rungs.iter_mut().for_each(|rung| rung.segments.clear())),
            Err(Reason::DecodeFailed)
        );
    }

    #[test]
    fn check_missing_tail_and_audio_returns_warnings() {
        let plan = planned(30, 3723.0);
        let rungs = ["720p", "480p", "360p"].map(|id| track(id, 1830, 120, 30.0));
        assert_eq!(
            check(&plan, &rungs),
            Ok(vec![
                "TRACK_SKIPPED The audio track \"Main\" could not be decoded and was left out.".to_owned(),
                "FILE_TRUNCATED The file is truncated: only the first 1:01 of 1:02:03 are there.".to_owned(),
            ])
        );
    }

    #[test]
    fn check_reports_a_missing_tail_of_more_than_two_seconds_and_half_a_percent() {
        let is_reported = |stated: f64, frames: u32| {
            let rungs = ["720p", "480p", "360p"].map(|id| track(id, frames, 120, 30.0));
            let warnings = check(&planned(30, stated), &rungs).expect("playable");
            warnings.iter().any(|warning| warning.starts_with("FILE_TRUNCATED"))
        };
        let cases =
            [(10.0, 243, false), (10.0, 237, true), (3600.0, 107_500, false), (3600.0, 107_400, true)];
        for (stated, frames, expected) in cases {
            assert_eq!(is_reported(stated, frames), expected, "{frames} frames of {stated} s");
        }
    }
}
