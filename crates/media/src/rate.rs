//! Frame rates as exact fractions, and the rate a source is encoded at.

use std::fmt;

/// Frames a second as an exact fraction; both parts above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    fn near(self, other: Self, share: f64) -> bool {
        (self.fps() / other.fps() - 1.0).abs() <= share
    }

    /// The standard rate within 0.05 %, else itself. 24 and 24000/1001 are 0.1 % apart.
    fn snapped(self) -> Self {
        STANDARD.into_iter().find(|rate| rate.near(self, 0.0005)).unwrap_or(self)
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
/// Where the two agree the nominal one is exact. Where they do not (variable rate, or a timescale
/// posing as a rate, as 90000/1) the next standard rate that loses no frame on average is taken.
pub fn output_rate(nominal: Option<Rate>, mean: Option<Rate>) -> Rate {
    let chosen = match (nominal, mean) {
        (Some(nominal), Some(mean)) if nominal.near(mean, 0.03) => nominal.snapped(),
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
    }

    #[test]
    fn timescales_are_no_rates() {
        assert_eq!(rate("600/1", "24600/1469"), "20/1");
        assert_eq!(rate("90000/1", "750000/71393"), "12/1");
        assert_eq!(rate("90000/1", "0/0"), "30/1");
        assert_eq!(rate("120/1", "120/1"), "60/1");
        assert_eq!(rate("1/100", "1/100"), "1/1");
    }

    proptest! {
        #[test]
        fn always_between_one_and_sixty(a in any::<(u32, u32)>(), b in any::<(u32, u32)>()) {
            let chosen = output_rate(Rate::new(a.0, a.1), Rate::new(b.0, b.1));
            prop_assert!((1.0..=60.0).contains(&chosen.fps()));
        }
    }
}
