//! Which sizes a video is encoded in: never above the source, never distorted, always even.

use crate::geometry::Size;

/// The rungs of the ladder by their short side, highest first.
const RUNGS: [u32; 6] = [2160, 1440, 1080, 720, 480, 360];
/// What small sources get besides.
const SMALL_RUNG: u32 = 240;
/// Below this short side a source is small.
const SMALL_SOURCE: u32 = 480;

/// One size of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The short side, which names the rung: 720 for `720p`, portrait or landscape.
    pub short: u32,
    /// Pixels, both even.
    pub size: Size,
}

/// The ladder of a picture shown at `shown`, highest first. A source below the lowest rung gets one of
/// its own size. `wanted` short sides stand in for the ladder where there are any; those above the source are
/// left out.
pub fn ladder(shown: Size, wanted: &[u32]) -> Vec<Step> {
    let short = shown.short();
    let mut shorts: Vec<u32> = if wanted.is_empty() {
        let small = (SMALL_RUNG * 5 / 4..SMALL_SOURCE).contains(&short).then_some(SMALL_RUNG);
        RUNGS.into_iter().chain(small).collect()
    } else {
        wanted.iter().map(|&short| even_down(short)).collect()
    };
    shorts.retain(|&rung| rung <= short);
    if wanted.is_empty() && short < RUNGS[RUNGS.len() - 1] || shorts.is_empty() {
        shorts.push(even_down(short));
    }
    shorts.sort_unstable_by(|a, b| b.cmp(a));
    shorts.dedup();
    shorts.into_iter().map(|short| step(shown, short)).collect()
}

/// The size with that short side and the nearest even long side, which never exceeds the source's.
pub fn step(shown: Size, short: u32) -> Step {
    let (from_short, from_long) = (u64::from(shown.short().max(1)), u64::from(shown.width.max(shown.height)));
    let ideal_halves = (from_long * u64::from(short) + from_short) / (from_short * 2);
    let long =
        u32::try_from(ideal_halves * 2).unwrap_or(u32::MAX).min(even_down(shown.width.max(shown.height)));
    let size = if shown.width >= shown.height {
        Size { width: long, height: short }
    } else {
        Size { width: short, height: long }
    };
    Step { short, size }
}

/// The largest even number not above, but at least 2, the smallest picture in 4:2:0.
fn even_down(pixels: u32) -> u32 {
    (pixels & !1).max(2)
}

#[cfg(test)]
mod tests {
    use super::{ladder, step};
    use crate::geometry::Size;
    use proptest::prelude::*;

    fn sizes(width: u32, height: u32) -> Vec<(u32, u32)> {
        ladder(Size { width, height }, &[]).iter().map(|step| (step.size.width, step.size.height)).collect()
    }

    #[test]
    fn known_ladders() {
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
    fn wanted_rungs_stand_in_for_the_ladder() {
        let shorts = |wanted: &[u32]| -> Vec<u32> {
            ladder(Size { width: 1920, height: 1080 }, wanted).iter().map(|step| step.short).collect()
        };
        assert_eq!(shorts(&[480, 720]), [720, 480]);
        assert_eq!(shorts(&[2160, 721, 720]), [720]);
        assert_eq!(shorts(&[4320]), [1080], "the source's own size when all are above it");
    }

    proptest! {
        #[test]
        fn even_within_the_source_and_undistorted(width in 2u32..9000, height in 2u32..9000) {
            let shown = Size { width, height };
            let steps = ladder(shown, &[]);
            prop_assert!(!steps.is_empty());
            for step in steps {
                let Size { width: w, height: h } = step.size;
                prop_assert!(w % 2 == 0 && h % 2 == 0 && w >= 2 && h >= 2);
                prop_assert!(w <= width && h <= height);
                let (ideal, long) = if width >= height {
                    (f64::from(width) * f64::from(h) / f64::from(height), f64::from(w))
                } else {
                    (f64::from(height) * f64::from(w) / f64::from(width), f64::from(h))
                };
                // Nearest even, or one less where the source's own odd side is the limit.
                prop_assert!((long - ideal).abs() <= 1.0 + 1e-9, "{ideal} {long}");
            }
        }

        #[test]
        fn poster_sizes_are_even(width in 1u32..9000, height in 1u32..9000, short in 1u32..200) {
            let size = step(Size { width, height }, short * 2).size;
            prop_assert!(size.width.is_multiple_of(2) && size.height.is_multiple_of(2));
        }
    }
}
