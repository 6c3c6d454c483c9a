//! Which jobs are to be published next, and when.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// Schedule of this process's publications: each job at most once at a time, and not before its pause is over.
#[derive(Default)]
pub(crate) struct PublicationSchedule {
    state: Mutex<State>,
    changed: Notify,
}

/// All by job id.
#[derive(Default)]
struct State {
    requested: HashMap<String, Request>,
    /// Ends of pauses after a publication.
    paused_until: HashMap<String, Instant>,
    running: HashSet<String>,
}

/// A requested publication.
#[derive(Clone, Copy)]
struct Request {
    start: Instant,
    /// Whether it does not wait for the end of a pause.
    skips_pause: bool,
}

impl PublicationSchedule {
    /// Requests a publication of a job: now, or when its pause is over.
    pub(crate) fn request(&self, job: &str) {
        self.add(job, false);
    }

    /// Requests a publication of a job now, also in a pause: it is the next step of the job.
    pub(crate) fn request_now(&self, job: &str) {
        self.add(job, true);
    }

    fn add(&self, job: &str, skips_pause: bool) {
        let mut state = self.state();
        let now = Instant::now();
        let pause_end = state.paused_until.get(job).copied().filter(|_| !skips_pause);
        let start = pause_end.map_or(now, |end| end.max(now));
        let request = state.requested.entry(job.to_owned()).or_insert(Request { start, skips_pause });
        request.start = request.start.min(start);
        request.skips_pause |= skips_pause;
        drop(state);
        self.changed.notify_one();
    }

    /// The next job whose publication is due at `now`; it counts as running until [`PublicationSchedule::finish`].
    pub(super) fn start_next(&self, now: Instant) -> Option<String> {
        let mut state = self.state();
        let due = state
            .requested
            .iter()
            .filter(|(job, request)| request.start <= now && !state.running.contains(*job));
        let job = due.min_by_key(|(_, request)| request.start).map(|(job, _)| job.clone())?;
        state.requested.remove(&job);
        state.running.insert(job.clone());
        Some(job)
    }

    /// Ends a running publication. The next one starts after `pause`; without one, the job has ended.
    pub(super) fn finish(&self, job: &str, pause: Option<Duration>) {
        let mut state = self.state();
        state.running.remove(job);
        state.paused_until.remove(job);
        if let Some(pause) = pause {
            let end = Instant::now() + pause;
            state.paused_until.insert(job.to_owned(), end);
            if let Some(request) = state.requested.get_mut(job).filter(|request| !request.skips_pause) {
                request.start = request.start.max(end);
            }
        }
    }

    /// Forgets pauses that are over.
    pub(super) fn forget_past_pauses(&self) {
        let now = Instant::now();
        self.state().paused_until.retain(|_, end| *end > now);
    }

    /// The start time of the next requested publication.
    pub(super) fn next_start(&self) -> Option<Instant> {
        let state = self.state();
        let waiting = state.requested.iter().filter(|(job, _)| !state.running.contains(*job));
        waiting.map(|(_, request)| request.start).min()
    }

    /// Waits for a request.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_next_runs_each_job_once_at_a_time_and_after_its_pause() {
        let schedule = PublicationSchedule::default();
        schedule.request("a");
        schedule.request("a");
        let now = Instant::now();
        assert_eq!(schedule.start_next(now).as_deref(), Some("a"));
        schedule.request("a");
        assert_eq!(schedule.start_next(Instant::now()), None, "it is running");
        schedule.finish("a", Some(Duration::from_secs(60)));
        assert_eq!(schedule.start_next(Instant::now()), None, "it is paused");
        let next = schedule.next_start().expect("it is requested");
        assert!(next >= now + Duration::from_secs(60));
        assert_eq!(schedule.start_next(next).as_deref(), Some("a"));
        schedule.finish("a", None);
        assert_eq!((schedule.start_next(next), schedule.next_start()), (None, None));
    }

    #[test]
    fn request_now_does_not_wait_for_a_pause() {
        let schedule = PublicationSchedule::default();
        let pause = Some(Duration::from_secs(60));
        schedule.request("a");
        schedule.start_next(Instant::now());
        schedule.request("a");
        schedule.request_now("a");
        assert_eq!(schedule.start_next(Instant::now()), None, "it is running");
        schedule.finish("a", pause);
        assert_eq!(schedule.start_next(Instant::now()).as_deref(), Some("a"), "requested while it ran");
        schedule.finish("a", pause);
        schedule.request("a");
        assert_eq!(schedule.start_next(Instant::now()), None, "it is paused");
        schedule.request_now("a");
        assert_eq!(schedule.start_next(Instant::now()).as_deref(), Some("a"), "requested in its pause");
    }
}
