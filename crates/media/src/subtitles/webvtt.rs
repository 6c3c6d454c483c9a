//! Writes WebVTT (W3C): <https://www.w3.org/TR/webvtt1/>.

use std::fmt::Write as _;

use super::markup::Look;

/// Clock rate of MPEG timestamps, Hz.
const MPEG_CLOCK_HZ: f64 = 90_000.0;

/// A cue.
#[derive(Debug)]
pub(super) struct Cue {
    pub start_ms: u64,
    pub end_ms: u64,
    pub settings: String,
    /// Escaped, with tags.
    pub text: String,
}

/// The text of a cue, escaped as it is written.
#[derive(Default)]
pub(super) struct CueText {
    lines: Vec<String>,
    line: String,
    /// The tags that are open, in order.
    open: Vec<char>,
    /// Whether there is anything to see.
    is_visible: bool,
}

impl CueText {
    pub(super) fn push(&mut self, character: char, look: Look) {
        self.set_look(look);
        self.is_visible |= !character.is_whitespace();
        match character {
            '&' => self.line.push_str("&amp;"),
            '<' => self.line.push_str("&lt;"),
            // Also because `-->` would begin another cue.
            '>' => self.line.push_str("&gt;"),
            '\0' => self.line.push(char::REPLACEMENT_CHARACTER),
            '\r' | '\n' => self.line.push(' '),
            other => self.line.push(other),
        }
    }

    pub(super) fn push_newline(&mut self) {
        self.lines.push(std::mem::take(&mut self.line));
    }

    /// Closes and opens tags.
    fn set_look(&mut self, look: Look) {
        let wanted = [('b', look.bold), ('i', look.italic), ('u', look.underline)];
        let is_wanted = |tag: &char| wanted.contains(&(*tag, true));
        let kept = self.open.iter().take_while(|tag| is_wanted(tag)).count();
        for tag in self.open.drain(kept..).rev() {
            // Writing to a String does not fail.
            let _infallible = write!(self.line, "</{tag}>");
        }
        for (tag, _) in
            wanted.into_iter().filter(|(tag, is_on)| *is_on && !self.open.contains(tag)).collect::<Vec<_>>()
        {
            self.open.push(tag);
            let _infallible = write!(self.line, "<{tag}>");
        }
    }

    /// The text; none if nothing is to be seen.
    pub(super) fn finish(mut self) -> Option<String> {
        self.set_look(Look { bold: false, italic: false, underline: false });
        self.push_newline();
        if !self.is_visible {
            return None;
        }
        let is_blank = |line: &String| line.trim().is_empty();
        let first = self.lines.iter().position(|line| !is_blank(line))?;
        let end = self.lines.iter().rposition(|line| !is_blank(line))? + 1;
        // A blank line would end the cue.
        let lines =
            self.lines[first..end].iter().map(|line| if is_blank(line) { "\u{a0}" } else { line.as_str() });
        Some(lines.collect::<Vec<_>>().join("\n"))
    }
}

/// Writes a file. Its header maps cue times to the segments' timestamps (RFC 8216, section 3.5), if these do not begin at
/// zero.
pub(super) fn write(cues: &[Cue], presentation_time_offset: f64) -> String {
    let mut file = "WEBVTT\n".to_owned();
    if presentation_time_offset > 0.0 {
        let ticks = presentation_time_offset * MPEG_CLOCK_HZ;
        let _infallible = writeln!(file, "X-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:{ticks:.0}");
    }
    for cue in cues {
        let Cue { start_ms, end_ms, settings, text } = cue;
        let space = if settings.is_empty() { "" } else { " " };
        let _infallible =
            writeln!(file, "\n{} --> {}{space}{settings}\n{text}", timestamp(*start_ms), timestamp(*end_ms));
    }
    file
}

fn timestamp(milliseconds: u64) -> String {
    let (seconds, milliseconds) = (milliseconds / 1000, milliseconds % 1000);
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    format!("{:02}:{:02}:{seconds:02}.{milliseconds:03}", minutes / 60, minutes % 60)
}
