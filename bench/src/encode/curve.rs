//! Rate-quality curves: CRF, VMAF and bytes of encodes of one rung, and interpolation between them.

use std::{collections::BTreeMap, ops::RangeInclusive};

/// CRFs that the search may use.
const CRF_RANGE: RangeInclusive<f64> = 14.0..=32.0;
/// VMAF values that differ by no more count as equal.
const VMAF_EPSILON: f64 = 0.05;

/// One encode of a rung.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub crf: f64,
    pub vmaf: f64,
    pub bytes: f64,
}

/// The CRF that reaches `vmaf`, rounded down to a whole one, so that the rung is at least as good. Interpolates between
/// the nearest points on both sides. With points on one side only, goes a few steps beyond the nearest one: a line
/// through two points is nearly flat where a bit rate cap applies.
pub(super) fn crf_for(points: &BTreeMap<u32, Point>, vmaf: f64) -> u32 {
    const VMAF_PER_CRF: f64 = 1.5;
    const MAX_STEP: f64 = 4.0;
    let by_vmaf = |a: &&Point, b: &&Point| a.vmaf.total_cmp(&b.vmaf);
    let below = points.values().filter(|point| point.vmaf < vmaf).max_by(by_vmaf);
    let above = points.values().filter(|point| point.vmaf >= vmaf).min_by(by_vmaf);
    let extrapolate =
        |from: &Point| from.crf - ((vmaf - from.vmaf) / VMAF_PER_CRF).clamp(-MAX_STEP, MAX_STEP);
    let crf = match (below, above) {
        (Some(below), Some(above)) => {
            above.crf + (below.crf - above.crf) * (above.vmaf - vmaf) / (above.vmaf - below.vmaf)
        }
        (Some(point), None) => (extrapolate(point) - 1.0).ceil(),
        (None, Some(point)) => extrapolate(point).max(point.crf + 1.0),
        (None, None) => *CRF_RANGE.start(),
    };
    crf.clamp(*CRF_RANGE.start(), *CRF_RANGE.end()).floor() as u32
}

/// Bytes for a VMAF: linear in the logarithm of bytes, through the two nearest points. If these are equal in VMAF, the
/// smaller one. If more bytes do not give a higher VMAF, because a bit rate cap applies, the better one.
pub(super) fn bytes_at(points: &[Point], vmaf: f64) -> f64 {
    let mut nearest: Vec<&Point> = points.iter().collect();
    nearest.sort_by(|a, b| (a.vmaf - vmaf).abs().total_cmp(&(b.vmaf - vmaf).abs()));
    let [a, b, ..] = nearest[..] else { return nearest.first().map_or(f64::NAN, |only| only.bytes) };
    let difference = a.vmaf - b.vmaf;
    if difference.abs() <= VMAF_EPSILON {
        return a.bytes.min(b.bytes);
    }
    if difference * (a.bytes - b.bytes) <= 0.0 {
        return if difference > 0.0 { a.bytes } else { b.bytes };
    }
    let (log_a, log_b) = (a.bytes.ln(), b.bytes.ln());
    (log_a + (log_b - log_a) * (vmaf - a.vmaf) / -difference).exp()
}

#[cfg(test)]
mod tests {
    use super::{Point, bytes_at, crf_for};

    fn point(crf: f64, vmaf: f64, bytes: f64) -> Point {
        Point { crf, vmaf, bytes }
    }

    #[test]
    fn crf_for_interpolates_and_extrapolates_to_the_better_side() {
        let known = [(23, point(23.0, 80.0, 100.0)), (20, point(20.0, 86.0, 140.0))].into();
        assert_eq!(crf_for(&known, 86.0), 20);
        assert_eq!(crf_for(&known, 83.0), 21, "21.5, rounded down");
        assert_eq!(crf_for(&known, 89.0), 17, "beyond the best point, one step more than extrapolated");
        assert_eq!(crf_for(&known, 77.0), 25);
        assert_eq!(crf_for(&known, 10.0), 27, "the step is limited");
    }

    #[test]
    fn bytes_at_of_flat_curve_returns_the_smaller_point() {
        let flat = [point(23.0, 99.0, 100.0), point(20.0, 99.0, 150.0)];
        assert!((bytes_at(&flat, 95.0) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn crf_for_of_capped_curve_interpolates() {
        let capped = [(23, point(23.0, 85.0, 100.0)), (20, point(20.0, 82.0, 101.0))].into();
        assert_eq!(crf_for(&capped, 83.0), 21, "between the two, whichever is the better one");
    }
}
