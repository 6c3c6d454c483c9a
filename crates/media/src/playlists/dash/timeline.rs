//! The times of a `SegmentTimeline`.

use super::super::model::Segment;

/// The duration of each segment, and its start unless that is the end of the one before, ticks. Equal durations are not
/// joined by `@r`: dash.js 5 finds only the first URL of such a run in a `SegmentList`.
pub(super) fn timeline(segments: &[Segment], timescale: u32) -> Vec<(Option<u64>, u64)> {
    let to_ticks = |seconds: f64| (seconds * f64::from(timescale)).round() as u64;
    // Seconds are rounded: a segment ends at the start of the next one, if that is within a millisecond.
    let slack = u64::from(timescale / 1000).max(1);
    let mut end = None;
    let mut times = Vec::with_capacity(segments.len());
    for (index, segment) in segments.iter().enumerate() {
        let (start, mut ticks) = (to_ticks(segment.start), to_ticks(segment.seconds).max(1));
        if let Some(next) = segments.get(index + 1).map(|next| to_ticks(next.start))
            && next > start
            && next.abs_diff(start.saturating_add(ticks)) <= slack
        {
            ticks = next - start;
        }
        times.push(((end != Some(start)).then_some(start), ticks));
        end = Some(start.saturating_add(ticks));
    }
    times
}

#[cfg(test)]
mod tests {
    use super::timeline;
    use crate::playlists::{Segment, fixtures::segments};

    #[test]
    fn timeline_follows_rounded_seconds_and_gaps() {
        let segment = |start: f64, seconds: f64| Segment { start, seconds, ..segments("s", 0, 9)[0].clone() };
        // 188 and 187 frames of AAC, rounded; the third is followed by a gap.
        let cuts = [(0.0, 4.010_7), (4.010_667, 3.989_333), (8.0, 3.989_333), (12.0, 1.0)];
        let list: Vec<_> = cuts.iter().map(|&(start, seconds)| segment(start, seconds)).collect();
        let expected = [(Some(0), 192_512), (None, 191_488), (None, 191_488), (Some(576_000), 48_000)];
        assert_eq!(timeline(&list, 48_000), expected);
    }
}
