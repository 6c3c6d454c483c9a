//! When a failed call is sent again, and after what pause.

use std::time::Duration;

use rand::Rng as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::error::broke_on_its_way;

/// How long a server that has answered before may be away.
pub const PATIENCE: Duration = Duration::from_secs(60);
const TRIES: u32 = 5;
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What is known of a call that failed.
#[derive(Debug, Clone, Copy)]
pub struct Failed {
    /// How often it was sent again already.
    pub repeats: u32,
    /// Since it was first sent.
    pub elapsed: Duration,
    /// Whether the server has answered any call of this process.
    pub reached: bool,
    /// Whether sending it twice does no harm.
    pub repeatable: bool,
}

/// The pause before the call is sent again; none where it must not be, or is hopeless.
pub fn pause(status: &Status, failed: Failed) -> Option<Duration> {
    let asked = status.get_details_retry_info().and_then(|info| info.retry_delay);
    let again = failed.repeats < TRIES;
    if broke_on_its_way(status) {
        // A first call that finds nobody is told at once; a server that restarts is waited for.
        let wait = failed.repeatable && failed.reached && failed.elapsed < PATIENCE;
        return wait.then(|| backoff(failed.repeats));
    }
    match (status.code(), asked) {
        (Code::ResourceExhausted, Some(delay)) if again => Some(delay.min(LONGEST_PAUSE)),
        (Code::Unavailable, Some(delay)) if again && failed.repeatable => Some(delay.min(LONGEST_PAUSE)),
        (Code::Unavailable | Code::DeadlineExceeded, _) if again && failed.repeatable => {
            Some(backoff(failed.repeats))
        }
        _ => None,
    }
}

/// A quarter of a second, doubled with every repeat up to eight seconds, half of it by chance so that
/// many clients don't come back in step.
pub fn backoff(repeats: u32) -> Duration {
    let full = 250u64 << repeats.min(5);
    Duration::from_millis(full / 2 + rand::rng().random_range(0..=full / 2))
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    const FIRST: Failed = Failed { repeats: 0, elapsed: Duration::ZERO, reached: true, repeatable: true };

    fn refusal(code: Code, retry: Option<Duration>) -> Status {
        let mut details = ErrorDetails::with_error_info("R", "reelmill", std::collections::HashMap::new());
        if retry.is_some() {
            details.set_retry_info(retry);
        }
        Status::with_error_details(code, "no", details)
    }

    #[test]
    fn a_quota_is_waited_for_as_long_as_the_server_says_but_not_for_ever() {
        let status = refusal(Code::ResourceExhausted, Some(Duration::from_secs(2)));
        let unsafe_call = Failed { repeatable: false, ..FIRST };
        assert_eq!(pause(&status, unsafe_call), Some(Duration::from_secs(2)));
        assert_eq!(pause(&status, Failed { repeats: TRIES, ..FIRST }), None);
        assert_eq!(pause(&refusal(Code::ResourceExhausted, None), FIRST), None);
    }

    #[test]
    fn what_may_have_had_its_effect_is_not_sent_twice() {
        let away = refusal(Code::Unavailable, Some(Duration::from_secs(1)));
        assert!(pause(&away, FIRST).is_some());
        assert_eq!(pause(&away, Failed { repeatable: false, ..FIRST }), None);
        assert_eq!(pause(&Status::unavailable("tcp"), Failed { repeatable: false, ..FIRST }), None);
    }

    #[test]
    fn a_restarting_server_is_waited_for_and_a_missing_one_is_not() {
        let broken = Status::unavailable("tcp connect error");
        assert!(pause(&broken, Failed { repeats: 50, elapsed: Duration::from_secs(59), ..FIRST }).is_some());
        assert_eq!(pause(&broken, Failed { elapsed: PATIENCE, ..FIRST }), None);
        assert_eq!(pause(&broken, Failed { reached: false, ..FIRST }), None);
    }

    #[test]
    fn refusals_are_final() {
        for code in [Code::NotFound, Code::InvalidArgument, Code::Unauthenticated, Code::Internal] {
            assert_eq!(pause(&refusal(code, None), FIRST), None, "{code:?}");
        }
    }

    #[test]
    fn pauses_grow_and_stay_bounded() {
        for repeats in 0..100 {
            let full = Duration::from_millis(250 << repeats.min(5));
            assert!((full / 2..=full).contains(&backoff(repeats)));
        }
    }
}
