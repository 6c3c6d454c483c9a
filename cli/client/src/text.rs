//! Text and numbers formatted for people and safe to print on a terminal.

use std::time::Duration;

use unicode_width::UnicodeWidthChar;

/// Replaces characters that could control the terminal or hide text: control characters, line separators,
/// direction overrides and zero-width characters (except the joiner that emoji need).
pub fn sanitize(text: &str) -> String {
    text.chars().map(|c| if is_unsafe(c) { '\u{fffd}' } else { c }).collect()
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200b}' | '\u{200c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// Width of a text on a terminal, columns.
pub fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// Truncates a text to at most `columns`, ending with an ellipsis if it was longer.
pub fn truncate(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut remaining = columns.saturating_sub(1);
    let mut out = String::new();
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if wide > remaining {
            break;
        }
        remaining -= wide;
        out.push(c);
    }
    out.push('…');
    out
}

/// Bytes as `1.4 GB` (decimal units).
pub fn format_size(bytes: i64) -> String {
    let mut value = bytes as f64;
    if value < 1000.0 {
        return format!("{bytes} B");
    }
    let mut unit = "";
    for next in ["kB", "MB", "GB", "TB", "PB"] {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// A duration as `1:02:03` or `2:03`.
pub fn format_clock(length: Duration) -> String {
    let seconds = length.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// A duration of the API as [`format_clock`] prints it; empty if there is none.
pub fn format_duration(duration: Option<&prost_types::Duration>) -> String {
    duration.map(reelmill_proto::seconds).map_or_else(String::new, |seconds| {
        format_clock(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default())
    })
}

/// A timestamp as `2026-11-22 13:06` UTC; empty if there is none.
pub fn format_time(timestamp: Option<&prost_types::Timestamp>) -> String {
    let Some(seconds) = timestamp.map(|timestamp| timestamp.seconds) else { return String::new() };
    let Ok(at) = time::OffsetDateTime::from_unix_timestamp(seconds) else { return String::new() };
    let (date, hour, minute) = (at.date(), at.hour(), at.minute());
    format!("{date} {hour:02}:{minute:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sanitize_control_characters_are_replaced() {
        let evil = "a\x1b]0;owned\x07b\r\nc\u{202e}d\u{2028}\u{9b}31m";
        let safe = sanitize(evil);
        assert!(safe.chars().all(|c| !is_unsafe(c)), "{safe:?}");
        assert!(safe.starts_with('a') && safe.contains("owned"));
        assert_eq!(sanitize("Ünïcode 映画 👩‍🚀"), "Ünïcode 映画 👩‍🚀");
    }

    #[test]
    fn truncate_wide_characters_are_kept_whole() {
        assert_eq!(truncate("映画映画", 5), "映画…");
        assert_eq!(width(&truncate("映画映画", 4)), 3);
        assert_eq!(truncate("short", 5), "short");
        assert_eq!(truncate("étoile", 3), "ét…");
    }

    #[test]
    fn format_size_uses_decimal_units() {
        let sizes = [format_size(0), format_size(999), format_size(1_000), format_size(1_449_000_000)];
        assert_eq!(sizes.join(","), "0 B,999 B,1.0 kB,1.4 GB");
        assert_eq!(format_size(999_600), "1.0 MB");
    }

    #[test]
    fn format_clock_prints_hours_only_if_there_are_any() {
        assert_eq!(format_clock(Duration::from_secs(3723)), "1:02:03");
        assert_eq!(format_clock(Duration::from_secs(59)), "0:59");
    }

    #[test]
    fn format_time_prints_minutes_in_utc() {
        assert_eq!(format_time(Some(&reelmill_proto::timestamp(1_795_352_400_000))), "2026-11-22 13:00");
    }

    proptest::proptest! {
        #[test]
        fn truncate_never_exceeds_its_columns(text: String, columns in 1usize..80) {
            proptest::prop_assert!(width(&truncate(&sanitize(&text), columns)) <= columns);
        }
    }
}
