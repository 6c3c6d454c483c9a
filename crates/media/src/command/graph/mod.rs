//! The filter graphs of an encode command: all outputs come from one decode.

mod audio;
mod colours;
mod video;

use super::input::Input;
use crate::plan::{Plan, WorkUnit};

/// The graphs of a work unit, decoded from the start of the file or from a position before the work unit.
///
/// Each audio rendition has a graph of its own: within one graph ffmpeg holds back all video frames while it waits for
/// audio, to the end of the file if no audio can be decoded.
///
/// Each frame of the grid is printed to `progress`. ffmpeg's own progress reports start only when every output has
/// started, and a sheet of thumbnails starts when it is full.
pub(super) fn graphs(plan: &Plan, unit: &WorkUnit, input: &Input<'_>, progress: &str) -> Vec<String> {
    let mut graphs = Vec::new();
    if let (Some(video), Some(stream)) = (&plan.video, &plan.source.video) {
        if unit.chunk.is_some() {
            graphs.push(video::graph(plan, video, stream, unit, input, progress));
        }
    } else if unit.poster {
        graphs.push(audio::poster_graph(plan));
    }
    let audio = unit
        .audio
        .iter()
        .filter_map(|&index| Some(audio::graph(plan, index, plan.audio.get(index)?, unit.audio_part, input)));
    graphs.extend(audio);
    graphs
}
