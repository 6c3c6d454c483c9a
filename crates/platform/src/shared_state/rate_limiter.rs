//! Rate limits by GCRA, the generic cell rate algorithm (ITU-T I.371). The state of a bucket is one number, its
//! *theoretical arrival time*: when everything taken so far has refilled.

use std::time::Duration;

use async_trait::async_trait;

use super::{SessionState, SharedStateError};

/// Rate limiter with one bucket per key, shared by all replicas.
#[async_trait]
pub trait RateLimiter: Send + Sync {
    /// Takes `units` from every one of the buckets, or from none and returns when to retry. A request for more than a whole
    /// burst costs the burst, since it could never be allowed otherwise. Reads a session in the same round trip, as
    /// [`super::SessionCache::get`] does.
    async fn take(
        &self,
        buckets: &[Bucket<'_>],
        units: u32,
        session: Option<&str>,
    ) -> Result<Taken, SharedStateError>;
}

/// A bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket<'a> {
    /// Its name.
    pub key: &'a str,
    /// Its size.
    pub limit: RateLimit,
}

/// Result of [`RateLimiter::take`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whether the units were taken.
    pub decision: RateDecision,
    /// State of the session. `None` if none was asked for, or on a cache miss.
    pub session: Option<SessionState>,
}

/// Refill rate and capacity of a bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    /// Units refilled each second.
    pub units_per_second: f64,
    /// Capacity: units that can be taken at once from a full bucket.
    pub burst: u32,
}

/// Whether units were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateDecision {
    /// They were.
    Allowed {
        /// Units that are left in the first bucket.
        units_left: u32,
    },
    /// A bucket has too few units. Nothing was taken.
    Limited {
        /// When the same request is allowed if no other one takes units.
        retry_after: Duration,
    },
}

/// Cost of a request, in microseconds of refill time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cost {
    /// Refill time of the requested units.
    pub(super) micros: i64,
    /// Refill time of a whole bucket.
    pub(super) burst_micros: i64,
    /// Units of a second.
    units_per_second: f64,
}

impl Cost {
    pub(super) fn of(units: u32, limit: RateLimit) -> Result<Self, SharedStateError> {
        // One unit a day: keeps all sums far from overflow.
        const MIN_UNITS_PER_SECOND: f64 = 1.0 / 86_400.0;
        if !limit.units_per_second.is_finite()
            || limit.units_per_second < MIN_UNITS_PER_SECOND
            || limit.burst == 0
        {
            return Err(SharedStateError::Limit);
        }
        let micros_of = |units: u32| (f64::from(units) * 1e6 / limit.units_per_second) as i64;
        Ok(Self {
            micros: micros_of(units.min(limit.burst)),
            burst_micros: micros_of(limit.burst),
            units_per_second: limit.units_per_second,
        })
    }

    /// The new theoretical arrival time, and the time to wait before the units can be taken, for a bucket whose arrival
    /// time is `arrival`, all in microseconds. The Lua script for Redis implements the same.
    pub(super) fn take(self, arrival: i64, now: i64) -> (i64, i64) {
        let next = arrival.max(now) + self.micros;
        (next, (next - self.burst_micros - now).max(0))
    }

    /// Units that are left in a bucket.
    pub(super) fn units_left(self, arrival: i64, now: i64) -> u32 {
        let micros = (self.burst_micros - (arrival - now).max(0)).max(0);
        // A rounding error of a millionth of a unit is not a unit less.
        (micros as f64 * self.units_per_second / 1e6 + 1e-6) as u32
    }
}

/// Costs of a request for each of the buckets.
pub(super) fn costs(buckets: &[Bucket<'_>], units: u32) -> Result<Vec<Cost>, SharedStateError> {
    buckets.iter().map(|bucket| Cost::of(units, bucket.limit)).collect()
}

impl RateDecision {
    pub(super) fn limited(wait_micros: i64) -> Self {
        Self::Limited { retry_after: Duration::from_micros(wait_micros.unsigned_abs()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: RateLimit = RateLimit { units_per_second: 2.0, burst: 4 };

    #[test]
    fn take_allows_the_burst_and_then_the_refill_rate() {
        let cost = Cost::of(1, LIMIT).expect("a valid limit");
        let mut arrival = 0;
        let mut allowed = 0;
        // Ten seconds, one request every 10 ms: the burst and two units a second.
        for now in (1_000_000..11_000_000).step_by(10_000) {
            let (next, wait) = cost.take(arrival, now);
            if wait == 0 {
                arrival = next;
                allowed += 1;
            }
        }
        assert_eq!(allowed, 4 + 19);
    }

    #[test]
    fn take_after_retry_after_is_allowed() {
        let all = Cost::of(4, LIMIT).expect("a valid limit");
        let (arrival, wait) = all.take(0, 5_000_000);
        assert_eq!(wait, 0);
        let three = Cost::of(3, LIMIT).expect("a valid limit");
        assert_eq!(three.take(arrival, 5_000_000).1, 1_500_000);
        assert_eq!(three.take(arrival, 6_499_999).1, 1);
        assert_eq!(three.take(arrival, 6_500_000).1, 0);
    }

    #[test]
    fn units_left_are_what_can_be_taken_at_once() {
        let one = Cost::of(1, LIMIT).expect("a valid limit");
        let (arrival, _) = one.take(0, 5_000_000);
        assert_eq!(one.units_left(arrival, 5_000_000), 3);
        assert_eq!(one.units_left(arrival, 5_499_999), 3);
        assert_eq!(one.units_left(arrival, 5_500_000), 4);
        assert_eq!(one.units_left(0, 5_000_000), 4);
    }

    #[test]
    fn cost_above_the_burst_is_the_burst() {
        assert_eq!(Cost::of(1_000, LIMIT).expect("valid"), Cost::of(4, LIMIT).expect("valid"));
    }

    #[test]
    fn cost_of_an_invalid_limit_is_an_error() {
        for (units_per_second, burst) in [(0.0, 1), (-1.0, 1), (f64::NAN, 1), (f64::INFINITY, 1), (1.0, 0)] {
            let limit = RateLimit { units_per_second, burst };
            assert!(matches!(Cost::of(1, limit), Err(SharedStateError::Limit)), "{limit:?}");
        }
    }
}
