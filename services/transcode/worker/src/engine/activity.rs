//! Activity of a task, for the watchdog that kills a stalled encoder.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Shared stopwatch of the time without activity. It is paused while a request to the object store is in
/// flight: an encoder that cannot read or write because of a slow object store has not stalled.
#[derive(Clone)]
pub(crate) struct Activity(Arc<Mutex<Stopwatch>>);

struct Stopwatch {
    /// Time without activity up to `running_since`.
    idle: Duration,
    /// `None` while paused.
    running_since: Option<Instant>,
    /// Requests in flight.
    requests: usize,
}

/// Pauses the stopwatch until it is dropped.
pub(crate) struct RequestInFlight(Activity);

impl Activity {
    pub(crate) fn new() -> Self {
        let running = Stopwatch { idle: Duration::ZERO, running_since: Some(Instant::now()), requests: 0 };
        Self(Arc::new(Mutex::new(running)))
    }

    /// Notes activity: restarts the stopwatch.
    pub(crate) fn touch(&self) {
        let mut watch = self.stopwatch();
        watch.idle = Duration::ZERO;
        watch.running_since = watch.running_since.map(|_| Instant::now());
    }

    /// Pauses the stopwatch for a request to the object store.
    pub(crate) fn begin_request(&self) -> RequestInFlight {
        let mut watch = self.stopwatch();
        watch.idle = watch.elapsed();
        watch.running_since = None;
        watch.requests += 1;
        RequestInFlight(self.clone())
    }

    /// Whether a request to the object store is in flight.
    pub(crate) fn has_request_in_flight(&self) -> bool {
        self.stopwatch().requests > 0
    }

    /// Time since the last activity, without the time of requests.
    pub(crate) fn idle(&self) -> Duration {
        self.stopwatch().elapsed()
    }

    fn stopwatch(&self) -> MutexGuard<'_, Stopwatch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stopwatch {
    fn elapsed(&self) -> Duration {
        self.idle + self.running_since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        let mut watch = self.0.stopwatch();
        watch.requests -= 1;
        if watch.requests == 0 {
            watch.running_since = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Activity;

    fn wait_until_idle_for(idle: Duration, activity: &Activity) {
        let begun = Instant::now();
        while activity.idle() < idle {
            assert!(begun.elapsed() < Duration::from_secs(10), "the stopwatch does not run");
            std::thread::yield_now();
        }
    }

    #[test]
    fn idle_during_request_does_not_grow() {
        let activity = Activity::new();
        wait_until_idle_for(Duration::from_millis(5), &activity);
        let (first, second) = (activity.begin_request(), activity.begin_request());
        let idle = activity.idle();
        drop(first);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(5) {
            assert_eq!((activity.idle(), activity.has_request_in_flight()), (idle, true));
        }
        drop(second);
        assert!(!activity.has_request_in_flight());
        wait_until_idle_for(idle + Duration::from_millis(5), &activity);
        activity.touch();
        assert!(activity.idle() < idle);
    }
}
