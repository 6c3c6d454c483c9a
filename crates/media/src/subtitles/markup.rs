//! The markup of an ASS event's text, as a WebVTT cue.

use super::{
    ass::{Event, Script, Style, ssa_alignment},
    webvtt::{Cue, CueText},
};

/// How a cue's text looks from a place on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub bold: bool,
    pub italic: bool,
    pub underline: bool,
}

impl From<Style> for Look {
    fn from(style: Style) -> Self {
        Self { bold: style.bold, italic: style.italic, underline: style.underline }
    }
}

/// What the markup of an event has set so far.
struct State {
    look: Look,
    alignment: u8,
    /// On the canvas.
    position: Option<(f64, f64)>,
    /// Whether the text is a vector drawing.
    is_drawing: bool,
}

/// The cue of an event; none if it shows no text.
pub(super) fn cue(event: &Event, script: &Script) -> Option<Cue> {
    let style = script.style(&event.style);
    let mut state =
        State { look: style.into(), alignment: style.alignment, position: None, is_drawing: false };
    let mut text = CueText::default();
    let mut rest = event.text.as_str();
    while let Some(first) = rest.chars().next() {
        if first == '{'
            && let Some((block, after)) = rest[1..].split_once('}')
        {
            apply_block(&mut state, block, style, script);
            rest = after;
            continue;
        }
        let escaped = rest.strip_prefix('\\').and_then(|after| after.chars().next());
        let (shown, length) = match escaped {
            _ if state.is_drawing => (None, first.len_utf8()),
            Some('N') => (Some('\n'), 2),
            Some('n') => (Some(' '), 2),
            Some('h') => (Some('\u{a0}'), 2),
            Some(literal @ ('{' | '}' | '\\')) => (Some(literal), 2),
            _ => (Some(first), first.len_utf8()),
        };
        match shown {
            Some('\n') => text.push_newline(),
            Some(character) => text.push(character, state.look),
            None => {}
        }
        rest = &rest[length..];
    }
    let text = text.finish()?;
    Some(Cue {
        start_ms: event.start_ms,
        // A cue must last for some time.
        end_ms: event.end_ms.max(event.start_ms + 1),
        settings: settings(state.alignment, state.position, script.canvas),
        text,
    })
}

/// Applies the tags of a block such as `{\i1\an8}`. Others than those that WebVTT can show have no effect.
fn apply_block(state: &mut State, block: &str, style: Style, script: &Script) {
    for tag in block.split('\\').skip(1) {
        let tag = tag.trim_end();
        let number = |name: &str| tag.strip_prefix(name).and_then(|value| value.parse::<u32>().ok());
        if let Some(point) = tag.strip_prefix("pos(") {
            state.position = parse_point(point).or(state.position);
        } else if let Some(alignment) = number("an") {
            state.alignment = u8::try_from(alignment).unwrap_or(state.alignment);
        } else if let Some(alignment) = number("a") {
            state.alignment = u8::try_from(alignment).map_or(state.alignment, ssa_alignment);
        } else if let Some(on) = number("i") {
            state.look.italic = on > 0;
        } else if let Some(weight) = number("b") {
            // 1, or a weight of a font.
            state.look.bold = weight == 1 || weight >= 600;
        } else if let Some(on) = number("u") {
            state.look.underline = on > 0;
        } else if let Some(scale) = number("p") {
            state.is_drawing = scale > 0;
        } else if let Some(name) = tag.strip_prefix('r').filter(|name| !name.starts_with("nd")) {
            state.look = if name.is_empty() { style.into() } else { script.style(name).into() };
        }
    }
}

fn parse_point(text: &str) -> Option<(f64, f64)> {
    let (x, y) = text.trim_end_matches(')').split_once(',')?;
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    Some((number(x)?, number(y)?))
}

/// Cue settings; empty for the usual place, at the bottom in the centre.
fn settings(alignment: u8, position: Option<(f64, f64)>, canvas: (f64, f64)) -> String {
    let mut settings = Vec::new();
    let percent = |at: f64, size: f64| (at / size * 100.0).clamp(0.0, 100.0).round();
    match (position, alignment) {
        (Some((x, y)), _) => {
            // The top of the cue; about two lines fit below.
            settings.push(format!("line:{}%", percent(y, canvas.1).min(90.0)));
            settings.push(format!("position:{}%", percent(x, canvas.0)));
        }
        (None, 7..=9) => settings.push("line:0".to_owned()),
        (None, 4..=6) => settings.push("line:50%".to_owned()),
        _ => {}
    }
    match alignment {
        1 | 4 | 7 => settings.push("align:left".to_owned()),
        3 | 6 | 9 => settings.push("align:right".to_owned()),
        _ => {}
    }
    settings.join(" ")
}
