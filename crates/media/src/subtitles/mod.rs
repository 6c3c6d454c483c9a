//! Subtitles: from the ASS events that ffmpeg decodes every text format to, to a WebVTT file.
//!
//! ffmpeg's own WebVTT encoder passes text through unescaped and drops positions, and its decoders drop text that is not
//! UTF-8. So ffmpeg passes bytes through ([`crate::command`]), and the rest is done here.

mod ass;
mod charset;
mod markup;
mod webvtt;

use ass::Script;

/// A subtitle track as WebVTT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// The file.
    pub webvtt: String,
    /// Number of cues.
    pub cues: usize,
    /// Events that cannot be read in full: their bytes are in no known charset, or their times are invalid.
    pub lost_events: usize,
}

/// Converts a subtitle track. `presentation_time_offset` is the time of the segments at which the cues' zero is, seconds.
pub fn to_webvtt(ass: &[u8], presentation_time_offset: f64) -> Converted {
    let (text, undecodable_lines) = charset::decode(ass);
    let script = Script::parse(&text);
    let mut cues: Vec<_> = script.events.iter().filter_map(|event| markup::cue(event, &script)).collect();
    // Players expect cues in the order of their start times.
    cues.sort_by_key(|cue| (cue.start_ms, cue.end_ms));
    Converted {
        cues: cues.len(),
        lost_events: script.invalid_events + undecodable_lines,
        webvtt: webvtt::write(&cues, presentation_time_offset),
    }
}

#[cfg(test)]
mod tests;
