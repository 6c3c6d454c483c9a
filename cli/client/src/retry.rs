//! Retry policy: whether a failed call is sent again, and after which delay.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::status::is_connection_failure;

/// How long a server that has responded before may be unreachable until a command gives up.
pub const MAX_OUTAGE: Duration = Duration::from_secs(60);
/// Retries of a call that the server received and could not serve.
const MAX_RETRIES: u32 = 5;
/// Upper limit for the delay that a server asks for.
const MAX_REQUESTED_DELAY: Duration = Duration::from_secs(30);

/// Delays without their jitter, which adds up to the delay itself: 125 to 250 ms, doubled with each
/// attempt up to 4 to 8 s. The jitter prevents many clients from retrying in lockstep.
const BACKOFF_MIN: Duration = Duration::from_millis(125);
const BACKOFF_MAX: Duration = Duration::from_secs(4);

/// Exponential backoff with jitter, without an end.
#[derive(Debug)]
pub struct Backoff(<ExponentialBuilder as BackoffBuilder>::Backoff);

impl Backoff {
    /// Starts with the shortest delay.
    pub fn new() -> Self {
        let builder = ExponentialBuilder::new()
            .with_min_delay(BACKOFF_MIN)
            .with_max_delay(BACKOFF_MAX)
            .with_jitter()
            .without_max_times();
        Self(builder.build())
    }

    /// The delay before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        self.0.next().unwrap_or(BACKOFF_MAX)
    }
}

/// The attempts of one call.
#[derive(Debug)]
pub struct CallAttempts {
    first_sent: Instant,
    retries: u32,
    backoff: Backoff,
    is_idempotent: bool,
}

impl CallAttempts {
    /// The first attempt of a call that is sent now.
    pub fn new(is_idempotent: bool) -> Self {
        Self { first_sent: Instant::now(), retries: 0, backoff: Backoff::new(), is_idempotent }
    }

    /// The delay before the next attempt, or `None` if the call must not be repeated.
    pub fn next_delay(&mut self, status: &Status, server_has_responded: bool) -> Option<Duration> {
        let failed = FailedCall {
            retries: self.retries,
            elapsed: self.first_sent.elapsed(),
            server_has_responded,
            is_idempotent: self.is_idempotent,
        };
        let backoff = self.backoff.next_delay();
        self.retries += 1;
        match decide(status, failed) {
            RetryDecision::GiveUp => None,
            RetryDecision::RetryAfter(delay) => Some(delay),
            RetryDecision::RetryWithBackoff => Some(backoff),
        }
    }
}

/// What the retry rule depends on.
#[derive(Debug, Clone, Copy)]
struct FailedCall {
    /// Retries so far.
    retries: u32,
    /// Time since the first attempt.
    elapsed: Duration,
    /// Whether the server has responded to any call of this process.
    server_has_responded: bool,
    /// Whether the call can be repeated without harm.
    is_idempotent: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RetryDecision {
    GiveUp,
    /// After the delay that the server asked for.
    RetryAfter(Duration),
    RetryWithBackoff,
}

fn decide(status: &Status, failed: FailedCall) -> RetryDecision {
    let requested = status.get_details_retry_info().and_then(|info| info.retry_delay);
    let requested = requested.map(|delay| delay.min(MAX_REQUESTED_DELAY));
    let may_retry = failed.retries < MAX_RETRIES;
    if is_connection_failure(status) {
        // A server that never responded is reported at once; one that restarts is waited for.
        let is_outage = failed.server_has_responded && failed.elapsed < MAX_OUTAGE;
        return if failed.is_idempotent && is_outage {
            RetryDecision::RetryWithBackoff
        } else {
            RetryDecision::GiveUp
        };
    }
    match (status.code(), requested) {
        // The server did not execute the call, so that any call can be repeated.
        (Code::ResourceExhausted, Some(delay)) if may_retry => RetryDecision::RetryAfter(delay),
        (Code::Unavailable, Some(delay)) if may_retry && failed.is_idempotent => {
            RetryDecision::RetryAfter(delay)
        }
        (Code::Unavailable | Code::DeadlineExceeded, _) if may_retry && failed.is_idempotent => {
            RetryDecision::RetryWithBackoff
        }
        _ => RetryDecision::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    const FIRST: FailedCall =
        FailedCall { retries: 0, elapsed: Duration::ZERO, server_has_responded: true, is_idempotent: true };

    fn status(code: Code, retry_delay: Option<Duration>) -> Status {
        let mut details = ErrorDetails::with_error_info("R", "reelmill", HashMap::new());
        if retry_delay.is_some() {
            details.set_retry_info(retry_delay);
        }
        Status::with_error_details(code, "no", details)
    }

    #[test]
    fn decide_exhausted_quota_retries_after_the_requested_delay() {
        let status = status(Code::ResourceExhausted, Some(Duration::from_secs(2)));
        let not_idempotent = FailedCall { is_idempotent: false, ..FIRST };
        assert_eq!(decide(&status, not_idempotent), RetryDecision::RetryAfter(Duration::from_secs(2)));
    }

    #[test]
    fn decide_exhausted_quota_after_max_retries_gives_up() {
        let status = status(Code::ResourceExhausted, Some(Duration::from_secs(2)));
        assert_eq!(decide(&status, FailedCall { retries: MAX_RETRIES, ..FIRST }), RetryDecision::GiveUp);
    }

    #[test]
    fn decide_exhausted_quota_without_requested_delay_gives_up() {
        assert_eq!(decide(&status(Code::ResourceExhausted, None), FIRST), RetryDecision::GiveUp);
    }

    #[test]
    fn decide_call_that_is_not_idempotent_is_not_sent_twice() {
        let not_idempotent = FailedCall { is_idempotent: false, ..FIRST };
        let unavailable = status(Code::Unavailable, Some(Duration::from_secs(1)));
        assert_eq!(decide(&unavailable, FIRST), RetryDecision::RetryAfter(Duration::from_secs(1)));
        assert_eq!(decide(&unavailable, not_idempotent), RetryDecision::GiveUp);
        assert_eq!(decide(&Status::unavailable("tcp"), not_idempotent), RetryDecision::GiveUp);
    }

    #[test]
    fn decide_restarting_server_is_retried_until_max_outage() {
        let broken = Status::unavailable("tcp connect error");
        let late = FailedCall { retries: 50, elapsed: Duration::from_secs(59), ..FIRST };
        assert_eq!(decide(&broken, late), RetryDecision::RetryWithBackoff);
        let over = FailedCall { elapsed: MAX_OUTAGE, ..FIRST };
        assert_eq!(decide(&broken, over), RetryDecision::GiveUp);
    }

    #[test]
    fn decide_server_that_never_responded_gives_up() {
        let broken = Status::unavailable("tcp connect error");
        let never = FailedCall { server_has_responded: false, ..FIRST };
        assert_eq!(decide(&broken, never), RetryDecision::GiveUp);
    }

    #[test]
    fn decide_rejected_call_gives_up() {
        for code in [Code::NotFound, Code::InvalidArgument, Code::Unauthenticated, Code::Internal] {
            assert_eq!(decide(&status(code, None), FIRST), RetryDecision::GiveUp, "{code:?}");
        }
    }

    #[test]
    fn next_delay_doubles_up_to_the_maximum_with_jitter() {
        let mut backoff = Backoff::new();
        for attempt in 0..100 {
            let full = Duration::from_millis(250 << attempt.min(5));
            let delay = backoff.next_delay();
            assert!((full / 2..=full).contains(&delay), "attempt {attempt}: {delay:?}");
        }
    }
}
