//! Result of an encode.

use std::collections::HashMap;

use crate::engine::output::track_upload::UploadedTrack;

/// What one run of ffmpeg encoded.
#[derive(Default)]
pub(crate) struct Encoded {
    /// Rungs, with their index in the plan.
    pub rungs: Vec<(usize, UploadedTrack)>,
    /// Audio tracks, with their index in the plan.
    pub audio: Vec<(usize, UploadedTrack)>,
    /// Whether text of a subtitle track is missing.
    pub lacks_subtitles: bool,
    /// Times between which nothing is recorded, if it is for long, seconds.
    pub gap: Option<(f64, f64)>,
    /// Whether many frames of the source were damaged.
    pub is_damaged: bool,
    /// Whether the file ends within a packet.
    pub is_cut_off: bool,
    /// Whether ffmpeg skipped bytes of the file.
    pub may_lack_data: bool,
    /// Whether its result may be due to this machine: ffmpeg exited with an error, or tracks were left out because of one.
    pub may_be_incomplete: bool,
    /// Whether a rung starts later than it should, because the demuxer landed after the keyframe.
    pub starts_late: bool,
    /// Whether ffmpeg stopped because the format of an audio track changes within it.
    pub has_audio_format_change: bool,
}

impl Encoded {
    /// Adds its segments to those that are recorded already: they are uploaded, and the next run encodes the same ones.
    pub(crate) fn add_to(&self, recorded: &mut HashMap<String, u32>) {
        for (rendition, segments) in self.segments() {
            let known = recorded.entry(rendition.to_owned()).or_default();
            *known = segments.max(*known);
        }
    }

    /// Whether a rendition has fewer segments than in another run.
    pub(crate) fn has_less_than(&self, other: &Self) -> bool {
        let own: HashMap<_, _> = self.segments().collect();
        other.segments().any(|(rendition, segments)| own.get(rendition).copied().unwrap_or(0) < segments)
    }

    /// Number of uploaded segments, by rendition.
    pub(crate) fn segments(&self) -> impl Iterator<Item = (&str, u32)> {
        let tracks = self.rungs.iter().chain(&self.audio);
        tracks.map(|(_, track)| (track.rendition.as_str(), track.segments))
    }
}
