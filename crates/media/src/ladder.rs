//! The ladder: the sizes a video is encoded in. Never larger than the source, never distorted, always even.

use crate::geometry::Size;

/// Short sides of the rungs, highest first.
const SHORT_SIDES: [u32; 6] = [2160, 1440, 1080, 720, 480, 360];
/// Short side of an additional rung for small sources.
const SMALL_SOURCE_SHORT_SIDE: u32 = 240;
/// A source with a shorter short side than this is small.
const SMALL_SOURCE_BELOW: u32 = 480;

/// The size of a rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RungSize {
    /// The short side, after which the rung is named: 720 for `720p`, portrait or landscape.
    pub short: u32,
    /// Pixels, both even.
    pub size: Size,
}

/// The ladder for a display size, highest first. A source smaller than the lowest rung gets one rung of its own size.
/// Short sides in `requested` replace the default ladder, if there are any; those above the source are left out.
pub fn ladder(display: Size, requested: &[u32]) -> Vec<RungSize> {
    let short = display.short();
    let mut shorts: Vec<u32> = if requested.is_empty() {
        let small = (SMALL_SOURCE_SHORT_SIDE * 5 / 4..SMALL_SOURCE_BELOW)
            .contains(&short)
            .then_some(SMALL_SOURCE_SHORT_SIDE);
        SHORT_SIDES.into_iter().chain(small).collect()
    } else {
        requested.iter().map(|&short| even_down(short)).collect()
    };
    shorts.retain(|&rung| rung <= short);
    if requested.is_empty() && short < SHORT_SIDES[SHORT_SIDES.len() - 1] || shorts.is_empty() {
        shorts.push(even_down(short));
    }
    shorts.sort_unstable_by(|a, b| b.cmp(a));
    shorts.dedup();
    shorts.into_iter().map(|short| rung_size(display, short)).collect()
}

/// The size with this short side and the nearest even long side, at most the source's.
pub fn rung_size(display: Size, short: u32) -> RungSize {
    let (from_short, from_long) =
        (u64::from(display.short().max(1)), u64::from(display.width.max(display.height)));
    let ideal_halves = (from_long * u64::from(short) + from_short) / (from_short * 2);
    let long =
        u32::try_from(ideal_halves * 2).unwrap_or(u32::MAX).min(even_down(display.width.max(display.height)));
    let size = if display.width >= display.height {
        Size { width: long, height: short }
    } else {
        Size { width: short, height: long }
    };
    RungSize { short, size }
}

/// Rounds down to an even number, at least 2, the smallest side in 4:2:0.
fn even_down(pixels: u32) -> u32 {
    (pixels & !1).max(2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{ladder, rung_size};
    use crate::geometry::Size;

    fn sizes(width: u32, height: u32) -> Vec<(u32, u32)> {
        ladder(Size { width, height }, &[]).iter().map(|rung| (rung.size.width, rung.size.height)).collect()
    }

    #[test]
    fn ladder_of_common_sizes_is_as_expected() {
        let full = [(3840, 2160), (2560, 1440), (1920, 1080), (1280, 720), (854, 480), (640, 360)];
        assert_eq!(sizes(3840, 2160), full);
        assert_eq!(sizes(4096, 2160)[0], (4096, 2160));
        assert_eq!(sizes(1080, 1920), [(1080, 1920), (720, 1280), (480, 854), (360, 640)]);
        assert_eq!(sizes(640, 480), [(640, 480), (480, 360)]);
        assert_eq!(sizes(720, 400), [(648, 360), (432, 240)]);
        assert_eq!(sizes(426, 240), [(426, 240)]);
        assert_eq!(sizes(640, 360), [(640, 360), (426, 240)]);
        assert_eq!(sizes(400, 300), [(400, 300), (320, 240)]);
        assert_eq!(sizes(293, 178), [(292, 178)]);
        assert_eq!(sizes(1, 1), [(2, 2)]);
        assert_eq!(sizes(16, 4000), [(16, 4000)]);
        assert_eq!(sizes(1919, 1080)[0], (1918, 1080));
    }

    #[test]
    fn ladder_with_requested_rungs_replaces_the_default() {
        let shorts = |requested: &[u32]| -> Vec<u32> {
            ladder(Size { width: 1920, height: 1080 }, requested).iter().map(|rung| rung.short).collect()
        };
        assert_eq!(shorts(&[480, 720]), [720, 480]);
        assert_eq!(shorts(&[2160, 721, 720]), [720]);
        assert_eq!(shorts(&[4320]), [1080], "the source's own size when all are above it");
    }

    proptest! {
        #[test]
        fn ladder_sizes_are_even_within_the_source_and_undistorted(width in 2u32..9000, height in 2u32..9000) {
            let rungs = ladder(Size { width, height }, &[]);
            prop_assert!(!rungs.is_empty());
            for rung in rungs {
                let Size { width: w, height: h } = rung.size;
                prop_assert!(w % 2 == 0 && h % 2 == 0 && w >= 2 && h >= 2);
                prop_assert!(w <= width && h <= height);
                let (ideal, long) = if width >= height {
                    (f64::from(width) * f64::from(h) / f64::from(height), f64::from(w))
                } else {
                    (f64::from(height) * f64::from(w) / f64::from(width), f64::from(h))
                };
                // The nearest even number, or one less where the source's odd side is the limit.
                prop_assert!((long - ideal).abs() <= 1.0 + 1e-9, "{ideal} {long}");
            }
        }

        #[test]
        fn rung_size_is_even(width in 1u32..9000, height in 1u32..9000, short in 1u32..200) {
            let size = rung_size(Size { width, height }, short * 2).size;
            prop_assert!(size.width.is_multiple_of(2) && size.height.is_multiple_of(2));
        }
    }
}
