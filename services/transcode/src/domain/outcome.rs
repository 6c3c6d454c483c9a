//! What became of a plan once all its shares are made.

use reelmill_media::{plan::Plan, playlists::Segment};
use reelmill_proto::{Reason, transcode::Warning};

/// A tail that is missing is mentioned from this share of the whole on ...
const MISSING_SHARE: f64 = 0.05;
/// ... and from so many seconds on.
const MISSING_SECONDS: f64 = 1.0;

/// What was recorded of a planned track.
#[derive(Debug, Clone, Copy)]
pub struct Made<'a> {
    /// Its name.
    pub id: &'a str,
    /// Segments from the first on, without gaps.
    pub segments: &'a [Segment],
    /// Frames of each.
    pub frames: &'a [i32],
    /// Whether there are more behind a gap.
    pub has_gap: bool,
}

/// Why it can't be played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// The stable reason.
    pub reason: Reason,
    /// A sentence for people.
    pub message: String,
}

fn unusable(reason: Reason, message: impl Into<String>) -> Unusable {
    Unusable { reason, message: message.into() }
}

fn warning(reason: Reason, message: String) -> Warning {
    Warning { reason: reason.as_str_name().to_owned(), message }
}

/// Whether what was made can be played, and what is to be said of it. Tracks without segments are left out.
///
/// # Errors
/// Nothing was made, a stretch is missing, or the rungs do not fit one another.
pub fn verdict(plan: &Plan, made: &[Made<'_>]) -> Result<Vec<Warning>, Unusable> {
    if made.iter().any(|track| track.has_gap) {
        let message = "A part in the middle of the file could not be decoded. Export the video again, \
                       and upload that.";
        return Err(unusable(Reason::DecodeFailed, message));
    }
    let of = |id: &str| made.iter().find(|track| track.id == id);
    let nothing = || {
        let message = "Nothing in the file could be decoded. Check that it plays on your computer, \
                       and upload it again.";
        unusable(Reason::DecodeFailed, message)
    };
    let mut warnings = Vec::new();
    let sound: Vec<_> = plan.audio.iter().filter_map(|audio| of(&audio.id)).collect();
    let end = if let Some(video_plan) = &plan.video {
        let rungs: Vec<_> =
            video_plan.rungs.iter().filter_map(|rung| Some((of(&rung.id)?, rung.frame_step))).collect();
        let Some(&(first, _)) = rungs.first().filter(|(first, _)| !first.segments.is_empty()) else {
            return Err(nothing());
        };
        if !are_aligned(&rungs, video_plan.segment_frames, 1.0 / video_plan.rate.fps()) {
            let message = "The video could not be decoded twice with the same result. Export it again, \
                           and upload that.";
            return Err(unusable(Reason::DecodeFailed, message));
        }
        end(first)
    } else {
        let end = sound.iter().map(|track| end(track)).fold(0.0, f64::max);
        if end <= 0.0 {
            return Err(nothing());
        }
        end
    };
    for audio in plan.audio.iter().filter(|audio| of(&audio.id).is_none_or(|track| track.segments.is_empty()))
    {
        let message = format!("The sound track {:?} could not be decoded and was left out.", audio.name);
        warnings.push(warning(Reason::TrackSkipped, message));
    }
    warnings.extend(missing_tail(plan, end));
    Ok(warnings)
}

fn end(track: &Made<'_>) -> f64 {
    track.segments.last().map_or(0.0, |last| last.start + last.seconds)
}

/// Whether a player may switch between the rungs at every segment.
fn are_aligned(rungs: &[(&Made<'_>, u32)], segment_frames: u32, frame: f64) -> bool {
    let Some(&(first, first_every)) = rungs.first() else { return true };
    rungs.iter().all(|&(rung, every)| {
        let slack = f64::from(every.max(first_every)) * frame + 0.001;
        let full = i64::from(segment_frames / every.max(1));
        let last = rung.segments.len().saturating_sub(1);
        let same = |(one, other): (&Segment, &Segment)| {
            (one.start - other.start).abs() <= slack && (one.seconds - other.seconds).abs() <= slack
        };
        rung.segments.len() == first.segments.len()
            && rung.segments.iter().zip(first.segments).all(same)
            && rung.frames.iter().take(last).all(|&frames| i64::from(frames) == full)
    })
}

fn missing_tail(plan: &Plan, end: f64) -> Option<Warning> {
    let frames = plan.video.as_ref().zip(plan.expected_frames());
    let expected = frames.map(|(video_plan, frames)| frames / video_plan.rate.fps()).or(plan.duration())?;
    let missing = expected - end;
    (missing > MISSING_SECONDS && missing > expected * MISSING_SHARE).then(|| {
        let message = format!(
            "The file ends before its contents do: only the first {} of {} are there.",
            time(end),
            time(expected)
        );
        warning(Reason::FileTruncated, message)
    })
}

/// As players show it: `1:02:03`, `2:03`.
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

    /// A track of so many frames, cut into segments.
    struct Kept {
        id: String,
        segments: Vec<Segment>,
        frames: Vec<i32>,
        has_gap: bool,
    }

    fn kept(id: &str, frames: u32, a_segment: u32, fps: f64) -> Kept {
        let (mut segments, mut counts) = (Vec::new(), Vec::new());
        let mut at = 0;
        while at < frames {
            let count = a_segment.min(frames - at);
            let (start, seconds) = (f64::from(at) / fps, f64::from(count) / fps);
            segments.push(Segment { uri: "s".into(), start, seconds, bytes: 1, keyframe_bytes: 0 });
            counts.push(count as i32);
            at += count;
        }
        Kept { id: id.to_owned(), segments, frames: counts, has_gap: false }
    }

    fn judged(plan: &Plan, tracks: &[Kept]) -> Result<Vec<String>, Reason> {
        let made: Vec<_> = tracks
            .iter()
            .map(|kept| Made {
                id: &kept.id,
                segments: &kept.segments,
                frames: &kept.frames,
                has_gap: kept.has_gap,
            })
            .collect();
        let warnings = verdict(plan, &made).map_err(|unusable| unusable.reason)?;
        Ok(warnings.into_iter().map(|warning| format!("{} {}", warning.reason, warning.message)).collect())
    }

    #[test]
    fn a_whole_video_has_no_warnings_even_where_the_lower_rungs_have_half_the_frames() {
        let plan = planned(60, 60.0);
        let half = |frames: u32| frames.div_ceil(2);
        let tracks = |frames| {
            let audio = kept("audio-0", frames / 60 * 50, 200, 50.0);
            let (top, middle) = (kept("720p", frames, 240, 60.0), kept("480p", half(frames), 120, 30.0));
            [top, middle, kept("360p", half(frames), 120, 30.0), audio]
        };
        assert_eq!(judged(&plan, &tracks(3600)), Ok(vec![]));
        assert_eq!(judged(&plan, &tracks(3599)), Ok(vec![]), "an odd last frame");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let plan = planned(30, 60.0);
        let all = || ["720p", "480p", "360p"].map(|id| kept(id, 1800, 120, 30.0));
        let audio = || kept("audio-0", 3000, 200, 50.0);
        let with = |change: fn(&mut [Kept; 3])| {
            let mut rungs = all();
            change(&mut rungs);
            let [a, b, c] = rungs;
            judged(&plan, &[a, b, c, audio()])
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
            "a hole within a segment"
        );
        assert_eq!(
            with(|rungs| rungs.iter_mut().for_each(|rung| rung.segments.clear())),
            Err(Reason::DecodeFailed)
        );
    }

    #[test]
    fn a_missing_tail_and_missing_sound_are_warned_of() {
        let plan = planned(30, 3723.0);
        let rungs = ["720p", "480p", "360p"].map(|id| kept(id, 1830, 120, 30.0));
        assert_eq!(
            judged(&plan, &rungs),
            Ok(vec![
                "TRACK_SKIPPED The sound track \"Main\" could not be decoded and was left out.".to_owned(),
                "FILE_TRUNCATED The file ends before its contents do: only the first 1:01 of 1:02:03 are there."
                    .to_owned(),
            ])
        );
    }
}
