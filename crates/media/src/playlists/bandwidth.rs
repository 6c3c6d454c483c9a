//! Bit rates of tracks, as playlists state them.

use serde::{Deserialize, Serialize};

use super::model::Segment;
use crate::plan::SEGMENT_SECONDS;

/// Bit rates of a list of segments, bits per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bandwidth {
    /// The highest bit rate of any segment.
    pub peak: u64,
    /// Total size divided by total duration.
    pub average: u64,
}

impl Bandwidth {
    /// Measures segments. A segment shorter than half of the usual duration is measured together with the one before:
    /// its own bit rate does not affect what a player must fetch in time.
    pub fn of(segments: &[Segment]) -> Self {
        Self::measure(segments, |segment| segment.bytes)
    }

    /// Measures the keyframes at the start of segments.
    pub(super) fn of_keyframes(segments: &[Segment]) -> Self {
        Self::measure(segments, |segment| segment.keyframe_bytes)
    }

    fn measure(segments: &[Segment], bytes: impl Fn(&Segment) -> u64) -> Self {
        let rate = |bytes: f64, seconds: f64| {
            if seconds > 0.0 { (bytes * 8.0 / seconds).ceil() as u64 } else { 0 }
        };
        let (mut peak, mut total_bytes, mut total_seconds) = (0, 0.0, 0.0);
        let mut previous = None;
        for segment in segments {
            let (bytes, seconds) = (bytes(segment) as f64, segment.seconds);
            let is_short = seconds < f64::from(SEGMENT_SECONDS) / 2.0;
            let (more_bytes, more_seconds) = previous.filter(|_| is_short).unwrap_or((0.0, 0.0));
            peak = peak.max(rate(bytes + more_bytes, seconds + more_seconds));
            (total_bytes, total_seconds) = (total_bytes + bytes, total_seconds + seconds);
            previous = Some((bytes, seconds));
        }
        let average = rate(total_bytes, total_seconds);
        Self { peak: peak.max(average), average }
    }

    /// The sum, for two tracks played together.
    pub fn with(self, other: Self) -> Self {
        Self {
            peak: self.peak.saturating_add(other.peak),
            average: self.average.saturating_add(other.average),
        }
    }

    /// The higher of each bit rate.
    pub(super) fn max(self, other: Self) -> Self {
        Self { peak: self.peak.max(other.peak), average: self.average.max(other.average) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Bandwidth;
    use crate::playlists::{Segment, fixtures::segments};

    #[test]
    fn bandwidth_short_last_segment_does_not_raise_the_peak() {
        let mut two = segments("a", 1, 4_000);
        (two[1].seconds, two[1].bytes) = (0.1, 1_000);
        assert_eq!(Bandwidth::of(&two), Bandwidth { peak: 9_757, average: 9_757 });
        assert_eq!(Bandwidth::of(&[]), Bandwidth::default());
    }

    proptest! {
        #[test]
        fn bandwidth_peak_is_at_least_the_average(parts in proptest::collection::vec((0.01f64..9.0, 1u64..1 << 30), 1..50)) {
            let part = |(seconds, bytes)| Segment { seconds, bytes, ..segments("s", 0, 0)[0].clone() };
            let measured = Bandwidth::of(&parts.into_iter().map(part).collect::<Vec<_>>());
            prop_assert!(measured.peak >= measured.average && measured.average > 0);
        }
    }
}
