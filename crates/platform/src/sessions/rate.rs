//! Rate limits by GCRA, the generic cell rate algorithm (ITU-T I.371): a bucket is one number, the *theoretical
//! arrival time*, by which all that was taken so far is paid back.

use std::time::Duration;

use super::HubError;

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    /// Units that come back each second.
    pub units_per_second: f64,
    /// Units that may be taken at once from a full bucket.
    pub burst: u32,
}

/// Whether units were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// They were.
    Allowed,
    /// They were not, and nothing was charged.
    Refused {
        /// When the same would be allowed, if nobody else takes any.
        retry_after: Duration,
    },
}

/// What a request costs, in microseconds of refilling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cost {
    /// Of the units asked for.
    pub(super) micros: i64,
    /// Of a whole bucket.
    pub(super) burst_micros: i64,
}

impl Cost {
    pub(super) fn of(units: u32, limit: RateLimit) -> Result<Self, HubError> {
        // A unit a day is the slowest rate that is still meant; it keeps all sums far from overflow.
        const SLOWEST: f64 = 1.0 / 86_400.0;
        if !limit.units_per_second.is_finite() || limit.units_per_second < SLOWEST || limit.burst == 0 {
            return Err(HubError::Limit);
        }
        let micros_of = |units: u32| (f64::from(units) * 1e6 / limit.units_per_second) as i64;
        Ok(Self { micros: micros_of(units.min(limit.burst)), burst_micros: micros_of(limit.burst) })
    }

    /// The new arrival time and the decision, for a bucket whose arrival time is `arrival` (all in microseconds).
    /// The Lua script for Redis does the same.
    pub(super) fn take(self, arrival: i64, now: i64) -> (i64, Decision) {
        let next = arrival.max(now) + self.micros;
        let wait = next - self.burst_micros - now;
        if wait > 0 {
            return (arrival, Decision::Refused { retry_after: Duration::from_micros(wait.unsigned_abs()) });
        }
        (next, Decision::Allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: RateLimit = RateLimit { units_per_second: 2.0, burst: 4 };

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_what_comes_back() {
        let cost = Cost::of(1, LIMIT).expect("a valid limit");
        let mut arrival = 0;
        let mut allowed = 0;
        // Ten seconds, asked every 10 ms: the burst and two units a second.
        for now in (1_000_000..11_000_000).step_by(10_000) {
            let (next, decision) = cost.take(arrival, now);
            arrival = next;
            allowed += u32::from(decision == Decision::Allowed);
        }
        assert_eq!(allowed, 4 + 19);
    }

    #[test]
    fn what_is_refused_passes_exactly_when_it_was_told() {
        let all = Cost::of(4, LIMIT).expect("a valid limit");
        let (arrival, first) = all.take(0, 5_000_000);
        assert_eq!(first, Decision::Allowed);
        let three = Cost::of(3, LIMIT).expect("a valid limit");
        let (unchanged, refused) = three.take(arrival, 5_000_000);
        assert_eq!(unchanged, arrival);
        assert_eq!(refused, Decision::Refused { retry_after: Duration::from_millis(1_500) });
        assert!(matches!(three.take(arrival, 6_499_999).1, Decision::Refused { .. }));
        assert_eq!(three.take(arrival, 6_500_000).1, Decision::Allowed);
    }

    #[test]
    fn more_than_the_burst_costs_the_burst() {
        assert_eq!(Cost::of(1_000, LIMIT).expect("valid"), Cost::of(4, LIMIT).expect("valid"));
    }

    #[test]
    fn limits_that_let_nothing_through_are_refused() {
        for (units_per_second, burst) in [(0.0, 1), (-1.0, 1), (f64::NAN, 1), (f64::INFINITY, 1), (1.0, 0)] {
            let limit = RateLimit { units_per_second, burst };
            assert!(matches!(Cost::of(1, limit), Err(HubError::Limit)), "{limit:?}");
        }
    }
}
