//! The index of thumbnails: WebVTT cues, each with a rectangle of a sprite sheet as a media fragment (W3C Media Fragments
//! URI 1.0, 4.2.2).

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::text::escape_uri;
use crate::geometry::Size;

/// A sprite sheet: rows of thumbnails, one per `interval`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sheet {
    /// URL, relative to the presentation's root.
    pub uri: String,
    /// Time of the first thumbnail, seconds.
    pub start: f64,
    /// Time from one thumbnail to the next, seconds.
    pub interval: f64,
    /// Number of thumbnails.
    pub count: u32,
    /// Thumbnails per row.
    pub columns: u32,
    /// Size of one thumbnail.
    pub tile: Size,
}

/// The text of `thumbnails.vtt`. The last thumbnail of a sheet is shown until the next one begins, or until `end`, seconds, if
/// that is later than its interval.
pub fn webvtt(sheets: &[Sheet], end: f64) -> String {
    let mut text = String::from("WEBVTT\n");
    for (number, sheet) in sheets.iter().enumerate() {
        let end_of_sheet = sheets.get(number + 1).map_or(end, |next| next.start);
        let uri = escape_uri(&sheet.uri);
        let columns = sheet.columns.max(1);
        let (width, height) = (sheet.tile.width, sheet.tile.height);
        for index in 0..sheet.count {
            let from = sheet.start + f64::from(index) * sheet.interval;
            let x = u64::from(index % columns) * u64::from(width);
            let y = u64::from(index / columns) * u64::from(height);
            let is_last = index + 1 == sheet.count;
            let next = from + sheet.interval;
            let to = if is_last { end_of_sheet.max(next) } else { next };
            // Writing to a string cannot fail.
            let _infallible = write!(
                text,
                "\n{} --> {}\n{uri}#xywh={x},{y},{width},{height}\n",
                timestamp(from),
                timestamp(to)
            );
        }
    }
    text
}

fn timestamp(seconds: f64) -> String {
    let all = (seconds.max(0.0) * 1000.0).round() as u64;
    let (hours, minutes) = (all / 3_600_000, all / 60_000 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{:03}", all / 1000 % 60, all % 1000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Sheet, webvtt};
    use crate::geometry::Size;

    fn sheet(uri: &str, start: f64, count: u32) -> Sheet {
        let tile = Size { width: 160, height: 90 };
        Sheet { uri: uri.into(), start, interval: 2.5, count, columns: 2, tile }
    }

    #[test]
    fn webvtt_cue_has_the_time_and_rectangle_of_each_thumbnail() {
        assert_eq!(
            webvtt(&[sheet("1a/sprite 0.jpg", 0.0, 3), sheet("2a/sprite_1.jpg", 7.5, 1)], 9.0),
            "WEBVTT\n\n00:00:00.000 --> 00:00:02.500\n1a/sprite%200.jpg#xywh=0,0,160,90\n\
             \n00:00:02.500 --> 00:00:05.000\n1a/sprite%200.jpg#xywh=160,0,160,90\n\
             \n00:00:05.000 --> 00:00:07.500\n1a/sprite%200.jpg#xywh=0,90,160,90\n\
             \n00:00:07.500 --> 00:00:10.000\n2a/sprite_1.jpg#xywh=0,0,160,90\n"
        );
        assert_eq!(webvtt(&[], 9.0), "WEBVTT\n");
        let still = webvtt(&[sheet("a", 0.0, 1), sheet("b", 30.0, 1)], 31.0);
        assert!(
            still.contains("00:00:00.000 --> 00:00:30.000\na")
                && still.contains("00:00:30.000 --> 00:00:32.500\nb")
        );
        let held = webvtt(&[sheet("a", 0.0, 2)], 60.0);
        assert!(
            held.contains("00:00:00.000 --> 00:00:02.500") && held.contains("00:00:02.500 --> 00:01:00.000")
        );
    }

    proptest! {
        #[test]
        fn webvtt_has_one_cue_per_thumbnail(uri in any::<String>(), count in 0u32..50, columns in 0u32..9) {
            let text = webvtt(&[Sheet { columns, ..sheet(&uri, 0.0, count) }], 0.0);
            prop_assert_eq!(text.lines().count() as u32, 1 + 3 * count);
            prop_assert_eq!(text.matches("-->").count() as u32, count);
        }
    }
}
