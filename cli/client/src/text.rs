//! Words and numbers for people, safe to put on a terminal.

use std::time::Duration;

use unicode_width::UnicodeWidthChar;

/// Replaces what could drive a terminal or hide text: control characters, line separators,
/// direction overrides and zero-width characters (but for the joiner that emoji need).
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if is_harmful(c) { '\u{fffd}' } else { c }).collect()
}

fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200b}' | '\u{200c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// Columns that a text takes on a terminal.
pub fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// Cuts a text to at most `columns`, with an ellipsis where it was cut.
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut room = columns.saturating_sub(1);
    let mut out = String::new();
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if wide > room {
            break;
        }
        room -= wide;
        out.push(c);
    }
    out.push('…');
    out
}

/// Bytes as `1.4 GB` (powers of ten).
pub fn size(bytes: i64) -> String {
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

/// A length of time as `1:02:03` or `2:03`.
pub fn clock(length: Duration) -> String {
    let seconds = length.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// The contract's length of time as [`clock`] prints it; empty where there is none.
pub fn length(duration: Option<&prost_types::Duration>) -> String {
    duration.map(reelmill_proto::seconds).map_or_else(String::new, |seconds| {
        clock(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default())
    })
}

/// A moment as `2026-11-22 13:06` UTC; empty where there is none.
pub fn moment(timestamp: Option<&prost_types::Timestamp>) -> String {
    let Some(seconds) = timestamp.map(|timestamp| timestamp.seconds) else { return String::new() };
    let Ok(at) = time::OffsetDateTime::from_unix_timestamp(seconds) else { return String::new() };
    let (date, hour, minute) = (at.date(), at.hour(), at.minute());
    format!("{date} {hour:02}:{minute:02}")
}

/// Lays rows out in columns, the last one cut so that a row fits in `columns`. Every cell is made
/// harmless first.
pub fn table(head: &[&str], rows: &[Vec<String>], columns: usize) -> String {
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| harmless(cell)).collect()).collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|at| {
            rows.iter()
                .chain([&head])
                .filter_map(|row| row.get(at))
                .map(|cell| width(cell))
                .max()
                .unwrap_or(0)
        })
        .collect();
    let before_last: usize = widths.iter().rev().skip(1).map(|wide| wide + 2).sum();
    let last = columns.saturating_sub(before_last).max(10);
    std::iter::once(&head).chain(&rows).map(|row| line(row, &widths, last)).collect::<Vec<_>>().join("\n")
}

fn line(row: &[String], widths: &[usize], last: usize) -> String {
    let mut out = String::new();
    for (at, cell) in row.iter().enumerate() {
        if at + 1 == row.len() {
            out.push_str(&cut(cell, last));
        } else {
            out.push_str(cell);
            out.push_str(&" ".repeat((widths[at] + 2).saturating_sub(width(cell))));
        }
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_can_not_drive_the_terminal() {
        let evil = "a\x1b]0;owned\x07b\r\nc\u{202e}d\u{2028}\u{9b}31m";
        let safe = harmless(evil);
        assert!(safe.chars().all(|c| !is_harmful(c)), "{safe:?}");
        assert!(safe.starts_with('a') && safe.contains("owned"));
        assert_eq!(harmless("Ünïcode 映画 👩‍🚀"), "Ünïcode 映画 👩‍🚀");
    }

    #[test]
    fn wide_characters_are_cut_by_columns_and_never_in_the_middle() {
        assert_eq!(cut("映画映画", 5), "映画…");
        assert_eq!(width(&cut("映画映画", 4)), 3);
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("étoile", 3), "ét…");
    }

    #[test]
    fn columns_line_up_and_rows_stay_one_line() {
        let rows = vec![
            vec!["videos/1".into(), "READY".into(), "one\ntwo".into()],
            vec!["videos/映画".into(), "FAILED".into(), "x".repeat(200)],
        ];
        let table = table(&["NAME", "STATE", "TITLE"], &rows, 60);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        let column = |line: &str, word: &str| width(&line[..line.find(word).unwrap()]);
        assert_eq!(column(lines[0], "STATE"), column(lines[1], "READY"));
        assert_eq!(column(lines[0], "STATE"), column(lines[2], "FAILED"));
        assert!(lines.iter().all(|line| width(line) <= 60));
    }

    #[test]
    fn sizes_and_times_read_well() {
        assert_eq!(
            [size(0), size(999), size(1_000), size(1_449_000_000)].join(","),
            "0 B,999 B,1.0 kB,1.4 GB"
        );
        assert_eq!(size(999_600), "1.0 MB");
        assert_eq!(clock(Duration::from_secs(3723)), "1:02:03");
        assert_eq!(clock(Duration::from_secs(59)), "0:59");
        assert_eq!(moment(Some(&reelmill_proto::timestamp(1_795_352_400_000))), "2026-11-22 13:00");
    }

    proptest::proptest! {
        #[test]
        fn a_cut_never_exceeds_its_columns(text: String, columns in 1usize..80) {
            proptest::prop_assert!(width(&cut(&harmless(&text), columns)) <= columns);
        }
    }
}
