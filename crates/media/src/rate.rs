//! Frame rates as exact fractions, and the output rate of a source.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::probe::packet_times;

/// Frames per second as an exact fraction of two positive numbers. Written as `30000/1001`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    num: u32,
    den: u32,
}

/// Common rates of cameras and screens, lowest first.
const STANDARD_RATES: [Rate; 14] = [
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

/// How long a busy part of a video must be to count, seconds.
const BUSY_SECONDS: f64 = 1.0;
/// ffprobe prints times to the microsecond.
const TIME_RESOLUTION_SECONDS: f64 = 0.000_001;
/// The highest output rate.
const MAX_RATE: Rate = Rate { num: 60, den: 1 };

impl Rate {
    /// A rate, or none if a part is zero.
    pub const fn new(num: u32, den: u32) -> Option<Self> {
        if num == 0 || den == 0 { None } else { Some(Self { num, den }) }
    }

    /// Parses `30000/1001` or `25`. None for zero, negative or broken values.
    pub fn parse(text: &str) -> Option<Self> {
        let (num, den) = text.split_once('/').unwrap_or((text, "1"));
        Self::new(num.trim().parse().ok()?, den.trim().parse().ok()?)
    }

    /// Frames per second.
    pub fn fps(self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }

    /// Half the rate.
    pub fn halved(self) -> Self {
        if self.num.is_multiple_of(2) {
            Self { num: self.num / 2, den: self.den }
        } else {
            Self { num: self.num, den: self.den.saturating_mul(2) }
        }
    }

    /// Time of a frame, seconds.
    pub fn seconds_of(self, frame: u64) -> f64 {
        frame as f64 * f64::from(self.den) / f64::from(self.num)
    }

    /// Ticks per second, so that every frame starts at a whole tick.
    pub fn timescale(self) -> u32 {
        let mut ticks = self.num;
        while ticks < 10_000 {
            ticks *= 2;
        }
        ticks
    }

    /// Duration of a number of frames, ticks of [`Self::timescale`].
    pub fn ticks_of(self, frames: u32) -> u32 {
        (self.timescale() / self.num).saturating_mul(self.den).saturating_mul(frames)
    }

    /// Whether this nominal rate and a mean rate are within 3 %.
    pub(crate) fn agrees_with(self, mean: Self) -> bool {
        self.near(mean, 0.03)
    }

    fn near(self, other: Self, tolerance: f64) -> bool {
        (self.fps() / other.fps() - 1.0).abs() <= tolerance
    }

    /// Whether it is a usual rate of cameras.
    fn is_camera_rate(self) -> bool {
        (23.0..=60.5).contains(&self.fps()) && STANDARD_RATES.into_iter().any(|rate| rate.near(self, 0.0005))
    }

    /// Whether a stream of this rate may have that mean because up to half of its frames are missing.
    fn may_skip_to(self, mean: Self) -> bool {
        (self.fps() * 0.5..=self.fps()).contains(&mean.fps())
    }

    /// Whether a stream of this rate has that mean because its fields are counted.
    fn counts_fields(self, mean: Self) -> bool {
        mean.near(Self { den: self.den, num: self.num.saturating_mul(2) }, 0.03)
    }

    /// Whether it is a usual rate of cameras and screens.
    pub(crate) fn is_standard(self) -> bool {
        STANDARD_RATES.into_iter().any(|rate| rate.near(self, 0.005))
    }

    /// The standard rate within 0.05 %, or else itself. 24 and 24000/1001 are 0.1 % apart.
    fn snapped(self) -> Self {
        STANDARD_RATES.into_iter().find(|rate| rate.near(self, 0.0005)).unwrap_or(self)
    }
}

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is not a frame rate"))
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

/// The constant output rate of a source, from the rate its container states (`nominal`, the lowest rate that represents
/// every timestamp) and its mean rate.
///
/// The nominal rate is exact if the two agree, or if it is a camera's and at least half of its frames exist. Otherwise it
/// may be a timescale, such as 90000/1, or that of a screen that was still most of the time: the result is then the next
/// standard rate that drops no frame on average, nor in the `busiest` second, if that is known.
pub fn output_rate(nominal: Option<Rate>, mean: Option<Rate>, busiest: Option<Rate>) -> Rate {
    let stated_mean = mean;
    // Whole frames are counted: 12.5 a second are 13 in the busiest one.
    let is_livelier = |busiest: &Rate| mean.is_none_or(|mean| busiest.fps() - mean.fps() >= 1.0);
    let busiest = busiest.filter(is_livelier);
    let mean = match (mean, busiest) {
        (Some(mean), Some(busiest)) if busiest.fps() > mean.fps() => Some(busiest),
        _ => mean,
    };
    let chosen = match (nominal, mean) {
        (Some(nominal), Some(mean)) if nominal.agrees_with(mean) => nominal.snapped(),
        // A camera that skipped frames, or a container that counts fields: no recorded frame is dropped.
        (Some(nominal), Some(mean))
            if nominal.is_camera_rate()
                && (nominal.may_skip_to(mean)
                    || stated_mean.is_some_and(|stated| nominal.counts_fields(stated))) =>
        {
            nominal.snapped()
        }
        (Some(nominal), None) if nominal.fps() <= MAX_RATE.fps() => nominal.snapped(),
        (_, Some(mean)) => {
            let exact = STANDARD_RATES.into_iter().find(|rate| rate.near(mean, 0.0005));
            let next = || STANDARD_RATES.into_iter().find(|rate| rate.fps() >= mean.fps() * 0.97);
            exact.or_else(next).unwrap_or(MAX_RATE)
        }
        _ => Rate { num: 30, den: 1 },
    };
    if chosen.fps() > MAX_RATE.fps() {
        MAX_RATE
    } else if chosen.fps() < 1.0 {
        STANDARD_RATES[0]
    } else {
        chosen
    }
}

/// The rate in the busiest second of samples of a video: lists of packets as
/// `ffprobe -show_entries packet=pts_time,dts_time,flags -of csv=p=0` prints them.
pub fn busiest_rate(packets: &str) -> Option<Rate> {
    let mut times: Vec<f64> = packet_times(packets).collect();
    times.sort_by(f64::total_cmp);
    times.dedup();
    let (mut first, mut most) = (0, 0);
    for (last, &end) in times.iter().enumerate() {
        while end - times[first] >= BUSY_SECONDS - TIME_RESOLUTION_SECONDS {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    Rate::new(u32::try_from(most).ok()?, BUSY_SECONDS as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Rate, busiest_rate, output_rate};

    fn rate(nominal: &str, mean: &str) -> String {
        output_rate(Rate::parse(nominal), Rate::parse(mean), None).to_string()
    }

    #[test]
    fn output_rate_is_that_of_the_busiest_second() {
        let rate = |nominal, mean, busiest| {
            output_rate(Rate::parse(nominal), Rate::parse(mean), Rate::parse(busiest)).to_string()
        };
        assert_eq!(rate("30/1", "33/4", "30/1"), "30/1", "a screen that is still most of the time");
        assert_eq!(rate("60/1", "5/1", "14/1"), "15/1");
        assert_eq!(rate("90000/1", "9/1", "29/1"), "30000/1001");
        assert_eq!(rate("90000/1", "20/1", "18/1"), "20/1", "the samples have missed the busiest second");
        assert_eq!(rate("30/1", "28/1", "30/1"), "30/1");
        assert_eq!(rate("30/1", "40/1", "60/1"), "60/1", "a camera that doubled its rate, not fields");
        assert_eq!(rate("25/1", "32/1", "50/1"), "50/1");
        assert_eq!(rate("75/2", "75/2", "50/1"), "50/1", "a mean that is stated as the rate");
        assert_eq!(rate("75/2", "75/2", "38/1"), "75/2", "a constant unusual rate");
        assert_eq!(rate("25/2", "25/2", "13/1"), "25/2", "half of PAL");
        assert_eq!(rate("15/2", "15/2", "8/1"), "15/2");
    }

    #[test]
    fn busiest_rate_counts_frames_within_a_second() {
        let still = (0..20).map(|n| format!("{n}.000,0,K__\n"));
        let busy = (0..45).map(|n| format!("{:.3},0,___\n", 30.0 + f64::from(n) / 30.0));
        let list: String = still.chain(busy).chain(["N/A,N/A,___\njunk\n".to_owned()]).collect();
        assert_eq!(busiest_rate(&list), Rate::parse("30"));
        assert_eq!(busiest_rate("1.0,0,K\n1.0,0,K\n"), Rate::parse("1"));
        assert_eq!(busiest_rate(""), None);
    }

    #[test]
    fn output_rate_of_real_sources_is_kept() {
        assert_eq!(rate("30000/1001", "37200/1241"), "30000/1001");
        assert_eq!(rate("24000/1001", "24000/1001"), "24000/1001");
        assert_eq!(rate("8797/1000", "387068/45465"), "10/1", "3 % off: treated as variable");
        assert_eq!(rate("30000299/1000000", "30/1"), "30/1");
        assert_eq!(rate("30/1", "0/0"), "30/1");
        assert_eq!(rate("30/1", "21/1"), "30/1", "a camera in low light");
        assert_eq!(rate("60/1", "5/1"), "5/1", "a mostly static screen recording");
        assert_eq!(rate("30/1", "60/1"), "30/1", "fields");
    }

    #[test]
    fn output_rate_of_timescale_is_a_standard_rate() {
        assert_eq!(rate("600/1", "24600/1469"), "20/1");
        assert_eq!(rate("90000/1", "750000/71393"), "12/1");
        assert_eq!(rate("90000/1", "0/0"), "30/1");
        assert_eq!(rate("120/1", "120/1"), "60/1");
        assert_eq!(rate("1/100", "1/100"), "1/1");
    }

    #[test]
    fn timescale_gives_every_frame_a_whole_tick() {
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
        fn output_rate_is_between_one_and_sixty(
            a in any::<(u32, u32)>(), b in any::<(u32, u32)>(), c in any::<(u32, u32)>()
        ) {
            let chosen = output_rate(Rate::new(a.0, a.1), Rate::new(b.0, b.1), Rate::new(c.0, c.1));
            prop_assert!((1.0..=60.0).contains(&chosen.fps()));
        }
    }
}
