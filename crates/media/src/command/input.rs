//! The input of an encode command.

use super::args::{InputFile, probe_limits, words};
use crate::{plan::Plan, probe::MAX_PIXELS};

/// The source of a work unit, and where in it decoding starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Input<'a> {
    /// URL of the file, on the loopback interface.
    pub address: &'a str,
    /// Where to seek, seconds after the start of the file; far enough before the first frame needed to reach a keyframe.
    pub seek: Option<f64>,
    /// End of the last frame in the file's timestamps, if it is known and ffmpeg may underestimate it.
    pub end: Option<f64>,
    /// Whether channels or sample rate of an audio stream change in mid-stream.
    pub audio_format_changes: bool,
}

pub(super) fn input_args(plan: &Plan, input: &Input<'_>) -> Vec<String> {
    let mut args = InputFile::of(input.address, &plan.source).demuxer();
    args.extend(plan.source.probed_seconds.map(probe_limits).unwrap_or_default());
    // The graph rotates (`-noautorotate`). A frame size that changes in mid-stream must not rebuild the graph, which
    // would restart its frame grid: the graph's first scale filter handles the change.
    args.extend(words("-noautorotate"));
    args.extend(words(if input.audio_format_changes { "-reinit_filter:v 0" } else { "-reinit_filter 0" }));
    args.push("-max_pixels".into());
    args.push(MAX_PIXELS.to_string());
    if let Some(seek) = input.seek {
        args.extend(words(&format!("-ss {seek:.6} -noaccurate_seek")));
    }
    if plan.duration().is_none() {
        // The clock may jump: without -copyts ffmpeg closes the gaps, which nobody could fill.
        args.extend(words(&format!("-itsoffset {:.6}", plan.source.start_time - plan.time_origin)));
    } else {
        // A gap in one track must not move what follows in it, and all tasks of a job must count from the same zero,
        // wherever in the file they start.
        args.extend(words(&format!("-copyts -itsoffset {:.6}", -plan.time_origin)));
    }
    args.extend(["-i".into(), input.address.into()]);
    args
}
