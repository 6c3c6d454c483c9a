//! How far an encoding is: what ffmpeg prints of each frame of the grid, `frame:N`, or how far sound without a picture has
//! come, read into a snapshot that others may watch.

use reelmill_media::plan::{Plan, WorkUnit};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The share of a single task's work, in percent, that is done when the last frame is encoded. What is left is
/// to join the progressive files.
const ENCODED_PERCENT: f64 = 96.0;
/// The pace follows from the frames of this much of the past.
const WINDOW: Duration = Duration::from_secs(5);
/// How often the snapshot is renewed.
const EVERY: Duration = Duration::from_millis(250);

/// The state of a task at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// 0 to 100; only ever grows.
    pub percent: f64,
    /// Frames on the plan's grid that went to the encoders.
    pub frames: u64,
    /// Frames a second of wall time.
    pub fps: f64,
    /// Seconds of video a second of wall time.
    pub speed: f64,
    /// Time left.
    pub eta: Option<Duration>,
}

/// What a task is measured by.
#[derive(Clone, Copy, Debug, Default)]
struct Goal {
    /// Frames on the grid, when they are known beforehand.
    frames: Option<f64>,
    /// Seconds, where there are no frames.
    seconds: Option<f64>,
    /// Frames of the grid a second, where there is a picture.
    rate: Option<f64>,
    /// Percent when all is encoded.
    encoded: f64,
}

/// Where a task tells how far it is.
#[derive(Clone)]
pub struct Progress {
    snapshot: watch::Sender<Snapshot>,
    goal: watch::Sender<Goal>,
    /// Of sound without a picture.
    heard: Arc<Mutex<Pace>>,
}

impl Progress {
    /// A progress and a way to watch it.
    pub fn new() -> (Self, watch::Receiver<Snapshot>) {
        let (snapshot, receiver) = watch::channel(Snapshot::default());
        (Self { snapshot, goal: watch::Sender::default(), heard: Arc::default() }, receiver)
    }

    /// A share is begun, or begun anew.
    pub(super) fn begin(&self, plan: &Plan, work_unit: &WorkUnit) {
        let frames = work_unit.chunk.and_then(|chunk| plan.chunk_frames(chunk));
        let video_plan = plan.video.as_ref().filter(|_| work_unit.chunk.is_some());
        let rate = video_plan.map(|video_plan| video_plan.rate.fps());
        let encoded = if plan.is_single() { ENCODED_PERCENT } else { 99.0 };
        self.goal.send_replace(Goal { frames, seconds: plan.duration(), rate, encoded });
    }

    pub(super) fn finished(&self) {
        self.snapshot.send_modify(|snapshot| {
            snapshot.percent = 100.0;
            snapshot.eta = Some(Duration::ZERO);
        });
    }

    /// Sound was made up to a moment, seconds. Where there is a picture that is what counts.
    pub(super) fn heard(&self, until: f64, now: Instant) {
        let goal = *self.goal.borrow();
        if goal.rate.is_some() {
            return;
        }
        let mut pace = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        // Tracks are made side by side.
        if pace.last() < until {
            pace.note(now, until);
            self.snapshot.send_modify(|snapshot| {
                snapshot.speed = pace.a_second();
                snapshot.advance(until, goal.seconds, snapshot.speed, goal.encoded);
            });
        }
    }

    /// So many frames of the grid were made.
    fn seen(&self, frames: u64, fps: f64) {
        let goal = *self.goal.borrow();
        self.snapshot.send_modify(|snapshot| {
            snapshot.frames = snapshot.frames.max(frames);
            snapshot.fps = fps;
            let rate = goal.rate.unwrap_or(f64::INFINITY);
            snapshot.speed = fps / rate;
            let seconds = || goal.seconds.map(|seconds| seconds * rate);
            snapshot.advance(snapshot.frames as f64, goal.frames.or_else(seconds), fps, goal.encoded);
        });
    }
}

impl Snapshot {
    /// So much is done, of so much if that is known, at so much a second; all of it is `encoded` percent.
    fn advance(&mut self, done: f64, all: Option<f64>, a_second: f64, encoded: f64) {
        let Some(all) = all else { return };
        let share = (done / all.max(0.001)).clamp(0.0, 1.0);
        self.percent = self.percent.max(share * encoded);
        let left = all - done;
        let seconds = (a_second > 0.0 && left >= 0.0).then(|| left / a_second);
        self.eta = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    }
}

/// How fast something goes on, by the last seconds.
#[derive(Default)]
struct Pace {
    /// Moments of the past, and how far it was.
    past: VecDeque<(Instant, f64)>,
}

impl Pace {
    fn note(&mut self, now: Instant, done: f64) {
        self.past.push_back((now, done));
        while self.past.front().is_some_and(|(first, _)| *first + WINDOW < now) {
            self.past.pop_front();
        }
    }

    fn last(&self) -> f64 {
        self.past.back().map_or(0.0, |(_, done)| *done)
    }

    fn was_noted_since(&self, moment: Instant) -> bool {
        self.past.back().is_some_and(|(last, _)| *last > moment)
    }

    fn a_second(&self) -> f64 {
        let (Some((from, before)), Some((to, after))) = (self.past.front(), self.past.back()) else {
            return 0.0;
        };
        let seconds = to.duration_since(*from).as_secs_f64();
        if seconds > 0.0 { (after - before).max(0.0) / seconds } else { 0.0 }
    }
}

/// Reads lines `frame:N …`; others are nothing.
pub(super) struct Lines {
    progress: Progress,
    frames: u64,
    pace: Pace,
    rest: String,
}

impl Lines {
    pub(super) fn new(progress: Progress) -> Self {
        Self { progress, frames: 0, pace: Pace::default(), rest: String::new() }
    }

    /// Takes text as it comes. Tells whether the encoding went on.
    pub(super) fn push(&mut self, text: &str, now: Instant) -> bool {
        let before = self.frames;
        self.rest.push_str(text);
        while let Some(end) = self.rest.find('\n') {
            let line: String = self.rest.drain(..=end).collect();
            if let Some(about) = line.strip_prefix("frame:") {
                self.frame(about, now);
            }
        }
        before != self.frames
    }

    /// There will be no more.
    pub(super) fn end(&self) {
        if self.frames > 0 {
            self.progress.seen(self.frames, self.pace.a_second());
        }
    }

    /// A frame's number, from 0, and more about it.
    fn frame(&mut self, about: &str, now: Instant) {
        let number = about.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
        let Some(number) = number else { return };
        self.frames = number + 1;
        if now.checked_sub(EVERY).is_some_and(|before| self.pace.was_noted_since(before)) {
            return;
        }
        self.pace.note(now, self.frames as f64);
        self.progress.seen(self.frames, self.pace.a_second());
    }
}

#[cfg(test)]
mod tests {
    use super::{Goal, Lines, Progress};
    use std::time::{Duration, Instant};

    #[test]
    fn frames_become_a_snapshot_that_only_grows() {
        let (progress, watch) = Progress::new();
        let goal = Goal { frames: Some(400.0), seconds: None, rate: Some(50.0), encoded: 96.0 };
        progress.goal.send_replace(goal);
        let mut lines = Lines::new(progress.clone());
        let begun = Instant::now();
        let after = |millis| begun + Duration::from_millis(millis);
        assert!(lines.push("frame:0    pts:300     pts_time:6\ngrid=1\n", begun));
        assert!(!lines.push("frame:100  pts:400", after(1000)), "the line is not whole");
        assert_eq!(watch.borrow().frames, 1);
        assert!(lines.push("     pts_time:8\ngrid=1\n", after(1000)));
        let seen = watch.borrow().clone();
        assert_eq!((seen.frames, seen.fps, seen.speed), (101, 100.0, 2.0));
        assert_eq!((seen.percent * 100.0).round(), 2424.0);
        assert_eq!(seen.eta.map(|eta| eta.as_millis()), Some(2990));
        lines.push("frame:110  pts:410     pts_time:8.2\n", after(1100));
        assert_eq!(watch.borrow().frames, 101, "not at every frame");
        // Another attempt counts from the beginning.
        Lines::new(progress.clone()).push("frame:9 pts:309\n", after(2000));
        assert_eq!(watch.borrow().frames, 101);
        progress.finished();
        assert_eq!(watch.borrow().percent, 100.0);
    }

    #[test]
    fn the_pace_is_that_of_the_last_seconds() {
        let (progress, watch) = Progress::new();
        progress.goal.send_replace(Goal { rate: Some(25.0), ..Goal::default() });
        let mut lines = Lines::new(progress);
        let begun = Instant::now();
        for second in 0..20 {
            // A burst at first, then ten a second.
            lines.push(&format!("frame:{} pts:0\n", 100 + second * 10), begun + Duration::from_secs(second));
        }
        assert_eq!((watch.borrow().fps, watch.borrow().speed), (10.0, 0.4));
    }

    #[test]
    fn sound_is_measured_in_seconds() {
        let (progress, watch) = Progress::new();
        progress.goal.send_replace(Goal { frames: None, seconds: Some(10.0), rate: None, encoded: 100.0 });
        let begun = Instant::now();
        progress.heard(1.0, begun);
        progress.heard(2.5, begun + Duration::from_millis(300));
        // Another track, a little behind.
        progress.heard(2.0, begun + Duration::from_millis(400));
        let seen = watch.borrow().clone();
        assert_eq!((seen.percent, seen.eta.map(|eta| eta.as_millis())), (25.0, Some(1500)));
    }
}
