//! The parts of an ASS or SSA script that WebVTT can show: styles, and events with their times and text.

use std::collections::HashMap;

/// Size of the canvas of positions, if the script does not state it: ffmpeg's.
const DEFAULT_CANVAS: (f64, f64) = (384.0, 288.0);
/// Columns of an event, as ffmpeg writes it whatever the header says.
const EVENT_COLUMNS: usize = 10;

/// A script.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// Width and height of the canvas of positions.
    pub canvas: (f64, f64),
    pub styles: HashMap<String, Style>,
    pub events: Vec<Event>,
    /// Events without valid times.
    pub invalid_events: usize,
}

/// A style.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    pub bold: bool,
    pub italic: bool,
    pub underline: bool,
    /// As on a numeric keypad: 1 is bottom left, 9 top right.
    pub alignment: u8,
}

impl Default for Style {
    fn default() -> Self {
        Self { bold: false, italic: false, underline: false, alignment: 2 }
    }
}

/// An event: text that is shown for a time.
#[derive(Debug)]
pub(super) struct Event {
    pub start_ms: u64,
    pub end_ms: u64,
    pub style: String,
    /// With markup.
    pub text: String,
}

impl Script {
    pub(super) fn parse(text: &str) -> Self {
        let mut script = Self { canvas: DEFAULT_CANVAS, ..Self::default() };
        let mut section = String::new();
        let mut columns: Vec<String> = Vec::new();
        for line in text.lines() {
            let line = line.trim_start_matches('\u{feff}');
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.trim_end().strip_suffix(']')) {
                section = name.to_ascii_lowercase();
                columns.clear();
                continue;
            }
            let Some((key, value)) = line.split_once(':') else { continue };
            match (section.as_str(), key.trim()) {
                ("script info", "PlayResX") => set_size(&mut script.canvas.0, value),
                ("script info", "PlayResY") => set_size(&mut script.canvas.1, value),
                ("v4+ styles" | "v4 styles", "Format") => {
                    columns = value.split(',').map(|name| name.trim().to_ascii_lowercase()).collect()
                }
                ("v4+ styles" | "v4 styles", "Style") => {
                    let (name, style) = parse_style(&columns, value, section == "v4 styles");
                    script.styles.insert(name, style);
                }
                ("events", "Dialogue") => match parse_event(value) {
                    Some(event) if event.end_ms == 0 => {}
                    Some(event) => script.events.push(event),
                    None => script.invalid_events += 1,
                },
                _ => {}
            }
        }
        script
    }

    /// A style by its name; the default one if there is none.
    pub(super) fn style(&self, name: &str) -> Style {
        let found = self.styles.get(name.trim_start_matches('*')).or_else(|| self.styles.get("Default"));
        found.copied().unwrap_or_default()
    }
}

fn set_size(size: &mut f64, value: &str) {
    if let Some(value) = value.trim().parse().ok().filter(|value: &f64| value.is_finite() && *value > 0.0) {
        *size = value;
    }
}

fn parse_style(columns: &[String], line: &str, is_ssa: bool) -> (String, Style) {
    let fields: HashMap<&str, &str> =
        columns.iter().map(String::as_str).zip(line.split(',').map(str::trim)).collect();
    let is_set = |name: &str| fields.get(name).is_some_and(|value| !matches!(*value, "0" | ""));
    let alignment = fields.get("alignment").and_then(|value| value.parse().ok()).unwrap_or(2);
    let style = Style {
        bold: is_set("bold"),
        italic: is_set("italic"),
        underline: is_set("underline"),
        alignment: if is_ssa { ssa_alignment(alignment) } else { alignment },
    };
    let name = fields.get("name").copied().unwrap_or_default();
    (name.trim_start_matches('*').to_owned(), style)
}

/// The alignment on a keypad of one as SSA counts: 1 to 3 at the bottom, 5 to 7 at the top, 9 to 11 in the middle.
pub(super) fn ssa_alignment(alignment: u8) -> u8 {
    match alignment {
        5..=7 => alignment + 2,
        9..=11 => alignment - 5,
        _ => alignment,
    }
}

fn parse_event(line: &str) -> Option<Event> {
    // The text is the last column, and may contain commas.
    let fields: Vec<&str> = line.splitn(EVENT_COLUMNS, ',').collect();
    let [_layer, start, end, style, _name, _left, _right, _vertical, _effect, text] = fields[..] else {
        return None;
    };
    let (start_ms, end_ms) = (parse_time(start.trim())?, parse_time(end.trim())?);
    let style = style.trim().to_owned();
    // What begins before the video is shown from its start on.
    let [start_ms, end_ms] = [start_ms, end_ms].map(|time| u64::try_from(time).unwrap_or(0));
    Some(Event { start_ms, end_ms, style, text: text.to_owned() })
}

/// Parses `H:MM:SS.CC`. Of a time before zero ffmpeg writes each part as a negative number.
fn parse_time(text: &str) -> Option<i64> {
    let mut parts = text.split([':', '.']);
    let mut next = || parts.next()?.parse::<i64>().ok();
    let (hours, minutes, seconds, hundredths) = (next()?, next()?, next()?, next()?);
    let seconds = hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?.checked_add(seconds)?;
    seconds.checked_mul(1000)?.checked_add(hundredths.checked_mul(10)?)
}
