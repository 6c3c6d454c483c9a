//! Sizes, pixel aspect ratio and orientation: from the stored size of a frame to its display size.

use serde::{Deserialize, Serialize};

/// A size in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

impl Size {
    /// The shorter side.
    pub fn short(self) -> u32 {
        self.width.min(self.height)
    }

    /// Number of pixels.
    pub fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// The size with width and height swapped.
    fn transposed(self) -> Self {
        Self { width: self.height, height: self.width }
    }
}

/// Greatest common divisor, at least 1.
pub(crate) fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}

/// How the stored frame is rotated and mirrored for display.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Orientation {
    /// As stored.
    #[default]
    Upright,
    /// Left and right swapped.
    MirroredHorizontally,
    /// Top and bottom swapped.
    MirroredVertically,
    /// Rotated by 180 degrees.
    HalfTurn,
    /// Rotated by 90 degrees clockwise.
    Clockwise,
    /// Rotated by 90 degrees counterclockwise.
    Counterclockwise,
    /// Mirrored along the main diagonal.
    Transposed,
    /// Mirrored along the other diagonal.
    Antitransposed,
}

impl Orientation {
    /// From a display matrix `[a b u c d v x y w]` in 16.16 fixed point: a point of the stored frame is displayed at
    /// `x' = a x + c y`, `y' = b x + d y` (ISO/IEC 14496-12, 6.2.2). Other angles are rounded to the nearest right angle.
    pub fn from_matrix(matrix: &[i64; 9]) -> Self {
        let [a, b, _, c, d, ..] = *matrix;
        if a.saturating_abs().saturating_add(d.saturating_abs())
            >= b.saturating_abs().saturating_add(c.saturating_abs())
        {
            match (a < 0, d < 0) {
                (false, false) => Self::Upright,
                (true, false) => Self::MirroredHorizontally,
                (false, true) => Self::MirroredVertically,
                (true, true) => Self::HalfTurn,
            }
        } else {
            match (b < 0, c < 0) {
                (false, true) => Self::Clockwise,
                (true, false) => Self::Counterclockwise,
                (false, false) => Self::Transposed,
                (true, true) => Self::Antitransposed,
            }
        }
    }

    /// From a counterclockwise rotation in degrees, as in ffprobe's `rotation`.
    pub fn from_degrees(counterclockwise: f64) -> Self {
        if !counterclockwise.is_finite() {
            return Self::Upright;
        }
        match (counterclockwise / 90.0).round().rem_euclid(4.0) as u8 {
            1 => Self::Counterclockwise,
            2 => Self::HalfTurn,
            3 => Self::Clockwise,
            _ => Self::Upright,
        }
    }

    /// Whether it swaps width and height.
    pub fn swaps_sides(self) -> bool {
        matches!(self, Self::Clockwise | Self::Counterclockwise | Self::Transposed | Self::Antitransposed)
    }

    /// Its rotation without mirroring, degrees clockwise: 0, 90, 180 or 270.
    pub fn degrees(self) -> i32 {
        match self {
            Self::Upright | Self::MirroredHorizontally | Self::MirroredVertically => 0,
            Self::Clockwise | Self::Antitransposed => 90,
            Self::HalfTurn => 180,
            Self::Counterclockwise | Self::Transposed => 270,
        }
    }

    /// The ffmpeg filters that apply it.
    pub fn filters(self) -> &'static [&'static str] {
        match self {
            Self::Upright => &[],
            Self::MirroredHorizontally => &["hflip"],
            Self::MirroredVertically => &["vflip"],
            Self::HalfTurn => &["hflip", "vflip"],
            Self::Clockwise => &["transpose=clock"],
            Self::Counterclockwise => &["transpose=cclock"],
            Self::Transposed => &["transpose=cclock_flip"],
            Self::Antitransposed => &["transpose=clock_flip"],
        }
    }
}

/// The display size of a frame: `stored`, scaled horizontally by the pixel aspect ratio, then rotated. A pixel aspect
/// ratio beyond 10:1 indicates a broken file and is ignored.
pub fn display_size(stored: Size, pixel_aspect: (u32, u32), orientation: Orientation) -> Size {
    let (num, den) = (u64::from(pixel_aspect.0), u64::from(pixel_aspect.1));
    let plausible = num > 0 && den > 0 && num <= den * 10 && den <= num * 10;
    let width = if plausible {
        let wide = (u64::from(stored.width) * num + den / 2) / den;
        u32::try_from(wide.max(1)).unwrap_or(stored.width)
    } else {
        stored.width
    };
    let size = Size { width, height: stored.height };
    if orientation.swaps_sides() { size.transposed() } else { size }
}

#[cfg(test)]
mod tests {
    use super::{Orientation, Size, display_size};

    #[test]
    fn display_size_applies_pixel_aspect_and_rotation() {
        let display = |w, h, sar, o| {
            let size = display_size(Size { width: w, height: h }, sar, o);
            (size.width, size.height)
        };
        assert_eq!(display(720, 576, (64, 45), Orientation::Upright), (1024, 576));
        assert_eq!(display(640, 360, (2, 3), Orientation::Upright), (427, 360));
        assert_eq!(display(160, 240, (1, 2), Orientation::Clockwise), (240, 80));
        assert_eq!(display(48, 144, (148_477_457, 1), Orientation::Upright), (48, 144));
        assert_eq!(display(1920, 1080, (0, 1), Orientation::Counterclockwise), (1080, 1920));
    }

    #[test]
    fn orientation_from_matrix_equals_orientation_from_degrees() {
        let one = 65536;
        let orientation = |a, b, c, d| Orientation::from_matrix(&[a, b, 0, c, d, 0, 0, 0, 1 << 30]);
        assert_eq!(orientation(one, 0, 0, one), Orientation::from_degrees(0.0));
        assert_eq!(orientation(0, one, -one, 0), Orientation::from_degrees(-90.0));
        assert_eq!(orientation(-one, 0, 0, -one), Orientation::from_degrees(-180.0));
        assert_eq!(orientation(0, -one, one, 0), Orientation::from_degrees(90.0));
        assert_eq!(orientation(0, -one, one, 0).degrees(), 270);
        assert_eq!(orientation(-one, 0, 0, one), Orientation::MirroredHorizontally);
        assert_eq!(orientation(i64::MIN, i64::MIN, i64::MIN, i64::MIN), Orientation::HalfTurn);
    }
}
