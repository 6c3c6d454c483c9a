//! When something last went on, for the watchdog.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A shared stopwatch of silence. It stands still while the store is waited for: a store that is away
/// is no fault of an encoder that has nothing to read or nowhere to write.
#[derive(Clone)]
pub(super) struct Activity(Arc<Mutex<Stopwatch>>);

struct Stopwatch {
    /// Silence up to `since`.
    silence: Duration,
    /// When it last began to run; none while it stands still.
    since: Option<Instant>,
    /// Answers of the store that are waited for.
    waiting: usize,
}

/// Stops the stopwatch for as long as it lives.
pub(super) struct Waiting(Activity);

impl Activity {
    pub(super) fn new() -> Self {
        let running = Stopwatch { silence: Duration::ZERO, since: Some(Instant::now()), waiting: 0 };
        Self(Arc::new(Mutex::new(running)))
    }

    /// Something went on.
    pub(super) fn touch(&self) {
        let mut watch = self.stopwatch();
        watch.silence = Duration::ZERO;
        watch.since = watch.since.map(|_| Instant::now());
    }

    /// The store is waited for from now on.
    pub(super) fn waiting(&self) -> Waiting {
        let mut watch = self.stopwatch();
        watch.silence = watch.elapsed();
        watch.since = None;
        watch.waiting += 1;
        Waiting(self.clone())
    }

    /// Whether the store is waited for.
    pub(super) fn is_waiting(&self) -> bool {
        self.stopwatch().waiting > 0
    }

    /// How long nothing has gone on, times of waiting not counted.
    pub(super) fn silence(&self) -> Duration {
        self.stopwatch().elapsed()
    }

    fn stopwatch(&self) -> MutexGuard<'_, Stopwatch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stopwatch {
    fn elapsed(&self) -> Duration {
        self.silence + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut watch = self.0.stopwatch();
        watch.waiting -= 1;
        if watch.waiting == 0 {
            watch.since = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Activity;
    use std::time::{Duration, Instant};

    fn wait_for(silence: Duration, activity: &Activity) {
        let begun = Instant::now();
        while activity.silence() < silence {
            assert!(begun.elapsed() < Duration::from_secs(10), "the stopwatch stands still");
            std::thread::yield_now();
        }
    }

    #[test]
    fn waiting_is_not_silence() {
        let activity = Activity::new();
        wait_for(Duration::from_millis(5), &activity);
        let (first, second) = (activity.waiting(), activity.waiting());
        let silence = activity.silence();
        drop(first);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(5) {
            assert_eq!((activity.silence(), activity.is_waiting()), (silence, true));
        }
        drop(second);
        assert!(!activity.is_waiting());
        wait_for(silence + Duration::from_millis(5), &activity);
        activity.touch();
        assert!(activity.silence() < silence);
    }
}
