//! Frame rates as exact fractions, and the rate a source is encoded at.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Frames a second as an exact fraction; both parts above zero. Written as `30000/1001`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    num: u32,
    den: u32,
}

/// The rates that cameras and screens have, slowest first.
const STANDARD: [Rate; 14] = [
    Rate { num: 1, den: 1 },
    Rate { num: 5, den: 1 },
    Rate { num: 10, den: 1 },
    Rate { num: 12, den: 1 },
    Rate { num: 15, den: 1 },
    Rate { num: 20, den: 1 },
    Rate { num: 24_000, den: 1001 },
    Rate { num: 24, den: 1 },
    Rate { num: 25, den: 1 },
    Rate { num: 30_000, den: 1001 },
    Rate { num: 30, den: 1 },
    Rate { num: 50, den: 1 },
    Rate { num: 60_000, den: 1001 },
    Rate { num: 60, den: 1 },
];

/// The highest rate that is encoded.
const FASTEST: Rate = Rate { num: 60, den: 1 };

impl Rate {
    /// A rate, unless a part is zero.
    pub const fn new(num: u32, den: u32) -> Option<Self> {
        if num == 0 || den == 0 { None } else { Some(Self { num, den }) }
    }

    /// Reads `30000/1001` or `25`. None for zero, negative or broken values.
    pub fn parse(text: &str) -> Option<Self> {
        let (num, den) = text.split_once('/').unwrap_or((text, "1"));
        Self::new(num.trim().parse().ok()?, den.trim().parse().ok()?)
    }

    /// Frames a second.
    pub fn fps(self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }

    /// Half as many frames a second.
    pub fn halved(self) -> Self {
        if self.num.is_multiple_of(2) {
            Self { num: self.num / 2, den: self.den }
        } else {
            Self { num: self.num, den: self.den.saturating_mul(2) }
        }
    }

    /// The moment of a frame, seconds.
    pub fn seconds_of(self, frame: u64) -> f64 {
        frame as f64 * f64::from(self.den) / f64::from(self.num)
    }

    /// Ticks a second in which every frame lies on a whole tick.
    pub fn timescale(self) -> u32 {
        let mut ticks = self.num;
        while ticks < 10_000 {
            ticks *= 2;
        }
        ticks
    }

    /// How long so many frames are, in ticks of [`Self::timescale`].
    pub fn ticks_of(self, frames: u32) -> u32 {
        (self.timescale() / self.num).saturating_mul(self.den).saturating_mul(frames)
    }

    /// Whether both count the same frames: a container's own rate and the mean.
    pub(crate) fn agrees_with(self, mean: Self) -> bool {
        self.near(mean, 0.03)
    }

    fn near(self, other: Self, share: f64) -> bool {
        (self.fps() / other.fps() - 1.0).abs() <= share
    }

    /// Whether it is one of those that cameras have.
    fn is_camera(self) -> bool {
        (23.0..=60.5).contains(&self.fps()) && STANDARD.into_iter().any(|rate| rate.near(self, 0.0005))
    }

    /// Whether a mean of so many frames comes of this rate: some are missing, or fields are counted.
    fn may_hold(self, mean: Self) -> bool {
        (self.fps() * 0.5..=self.fps()).contains(&mean.fps())
            || mean.near(Self { den: self.den, num: self.num.saturating_mul(2) }, 0.03)
    }

    /// The standard rate within 0.05 %, else itself. 24 and 24000/1001 are 0.1 % apart.
    fn snapped(self) -> Self {
        STANDARD.into_iter().find(|rate| rate.near(self, 0.0005)).unwrap_or(self)
    }
}

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is no rate"))
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.num, self.den)
    }
}

/// The constant rate a source is encoded at, from the rate its container names (`nominal`, the
/// lowest that holds every timestamp) and its mean rate.
///
/// Where the two agree the nominal one is exact. So it is where it is a camera's and at least half of its frames are
/// there. Else (a timescale posing as a rate, as 90000/1) the next standard rate that loses no frame on average is taken.
pub fn output_rate(nominal: Option<Rate>, mean: Option<Rate>) -> Rate {
    let chosen = match (nominal, mean) {
        (Some(nominal), Some(mean)) if nominal.agrees_with(mean) => nominal.snapped(),
        // A camera that left out frames, or a container that counts fields: no frame that was shot is lost.
        (Some(nominal), Some(mean)) if nominal.is_camera() && nominal.may_hold(mean) => nominal.snapped(),
        (Some(nominal), None) if nominal.fps() <= FASTEST.fps() => nominal.snapped(),
        (_, Some(mean)) => {
            STANDARD.into_iter().find(|rate| rate.fps() >= mean.fps() * 0.97).unwrap_or(FASTEST)
        }
        _ => Rate { num: 30, den: 1 },
    };
    if chosen.fps() > FASTEST.fps() {
        FASTEST
    } else if chosen.fps() < 1.0 {
        STANDARD[0]
    } else {
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::{Rate, output_rate};
    use proptest::prelude::*;

    fn rate(nominal: &str, mean: &str) -> String {
        output_rate(Rate::parse(nominal), Rate::parse(mean)).to_string()
    }

    #[test]
    fn real_sources_keep_their_rate() {
        assert_eq!(rate("30000/1001", "37200/1241"), "30000/1001");
        assert_eq!(rate("24000/1001", "24000/1001"), "24000/1001");
        assert_eq!(rate("8797/1000", "387068/45465"), "10/1", "3 % off: counted as variable");
        assert_eq!(rate("30000299/1000000", "30/1"), "30/1");
        assert_eq!(rate("30/1", "0/0"), "30/1");
        assert_eq!(rate("30/1", "21/1"), "30/1", "a camera in the dark");
        assert_eq!(rate("60/1", "5/1"), "5/1", "a screen on which little happens");
        assert_eq!(rate("30/1", "60/1"), "30/1", "fields");
    }

    #[test]
    fn timescales_are_no_rates() {
        assert_eq!(rate("600/1", "24600/1469"), "20/1");
        assert_eq!(rate("90000/1", "750000/71393"), "12/1");
        assert_eq!(rate("90000/1", "0/0"), "30/1");
        assert_eq!(rate("120/1", "120/1"), "60/1");
        assert_eq!(rate("1/100", "1/100"), "1/1");
    }

    #[test]
    fn frames_lie_on_whole_ticks() {
        for (text, ticks) in
            [("30/1", 15_360), ("24000/1001", 24_000), ("25/1", 12_800), ("60000/1001", 60_000)]
        {
            assert_eq!(Rate::parse(text).expect("rate").timescale(), ticks, "{text}");
        }
        assert_eq!(Rate::parse("30/1").expect("rate").ticks_of(2), 1024);
        assert_eq!(Rate::parse("24000/1001").expect("rate").ticks_of(2), 2002);
        assert_eq!(Rate::parse("60000/1001").expect("rate").halved().to_string(), "30000/1001");
        assert_eq!(Rate::parse("45/1").expect("rate").halved().to_string(), "45/2");
    }

    proptest! {
        #[test]
        fn always_between_one_and_sixty(a in any::<(u32, u32)>(), b in any::<(u32, u32)>()) {
            let chosen = output_rate(Rate::new(a.0, a.1), Rate::new(b.0, b.1));
            prop_assert!((1.0..=60.0).contains(&chosen.fps()));
        }
    }
}
