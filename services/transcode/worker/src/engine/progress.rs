//! How far an encoding is: what ffmpeg tells of it, read into a snapshot that others may watch. Of each frame of the grid
//! it prints `frame:N`, and four times a second the lines of `-progress`.

use reelmill_media::plan::{Plan, Share};
use std::collections::VecDeque;
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
}

impl Progress {
    /// A progress and a way to watch it.
    pub fn new() -> (Self, watch::Receiver<Snapshot>) {
        let (snapshot, receiver) = watch::channel(Snapshot::default());
        (Self { snapshot, goal: watch::Sender::default() }, receiver)
    }

    /// A share is begun, or begun anew.
    pub(super) fn begin(&self, plan: &Plan, share: &Share) {
        let frames = share.chunk.and_then(|chunk| plan.frames_of(chunk));
        let picture = plan.picture.as_ref().filter(|_| share.chunk.is_some());
        let rate = picture.map(|picture| picture.rate.fps());
        let encoded = if plan.is_single() { ENCODED_PERCENT } else { 99.0 };
        self.goal.send_replace(Goal { frames, seconds: plan.duration(), rate, encoded });
    }

    pub(super) fn finished(&self) {
        self.snapshot.send_modify(|snapshot| {
            snapshot.percent = 100.0;
            snapshot.eta = Some(Duration::ZERO);
        });
    }

    fn report(&self, report: &Report) {
        let goal = *self.goal.borrow();
        self.snapshot.send_modify(|snapshot| {
            snapshot.frames = snapshot.frames.max(report.frames);
            snapshot.fps = report.fps();
            snapshot.speed = goal.rate.map_or(report.speed, |rate| snapshot.fps / rate);
            let (done, all, rate) = match (goal.frames, goal.seconds) {
                (Some(frames), _) => (snapshot.frames as f64, frames, snapshot.fps),
                (None, Some(seconds)) => (report.out_time as f64 / 1e6, seconds, snapshot.speed),
                (None, None) => return,
            };
            let share = (done / all.max(0.001)).clamp(0.0, 1.0);
            snapshot.percent = snapshot.percent.max(share * goal.encoded);
            let left = all - done;
            snapshot.eta =
                (rate > 0.0 && left >= 0.0).then(|| Duration::try_from_secs_f64(left / rate).ok()).flatten();
        });
    }
}

/// Reads lines `frame:N …`, and `key=value`; each block of these ends with `progress=`.
pub(super) struct Lines {
    progress: Progress,
    report: Report,
    rest: String,
}

#[derive(Default)]
struct Report {
    frames: u64,
    out_time: i64,
    speed: f64,
    /// Moments of the past, and the frames that there were.
    past: VecDeque<(Instant, u64)>,
}

impl Report {
    fn fps(&self) -> f64 {
        let (Some((from, before)), Some((to, after))) = (self.past.front(), self.past.back()) else {
            return 0.0;
        };
        let seconds = to.duration_since(*from).as_secs_f64();
        if seconds > 0.0 { after.saturating_sub(*before) as f64 / seconds } else { 0.0 }
    }
}

impl Lines {
    pub(super) fn new(progress: Progress) -> Self {
        Self { progress, report: Report::default(), rest: String::new() }
    }

    /// Takes text as it comes. Tells whether the encoding went on.
    pub(super) fn push(&mut self, text: &str, now: Instant) -> bool {
        let before = (self.report.frames, self.report.out_time);
        self.rest.push_str(text);
        while let Some(end) = self.rest.find('\n') {
            let line: String = self.rest.drain(..=end).collect();
            self.line(line.trim(), now);
        }
        before != (self.report.frames, self.report.out_time)
    }

    fn line(&mut self, line: &str, now: Instant) {
        if let Some(frame) = line.strip_prefix("frame:") {
            return self.frame(frame, now);
        }
        let Some((key, value)) = line.split_once('=') else { return };
        let value = value.trim();
        match key {
            "out_time_us" => self.report.out_time = value.parse().unwrap_or(self.report.out_time),
            "speed" => self.report.speed = value.trim_end_matches('x').trim().parse().unwrap_or(0.0),
            "progress" => self.progress.report(&self.report),
            _ => {}
        }
    }

    /// A frame's number, from 0, and more about it.
    fn frame(&mut self, about: &str, now: Instant) {
        let number = about.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
        let Some(number) = number else { return };
        self.report.frames = number + 1;
        let past = &mut self.report.past;
        if past.back().is_some_and(|(last, _)| now < *last + EVERY) {
            return;
        }
        past.push_back((now, self.report.frames));
        while past.front().is_some_and(|(first, _)| *first + WINDOW < now) {
            past.pop_front();
        }
        self.progress.report(&self.report);
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
        lines.push("frame=7\nout_time_us=-5\nspeed=N/A\nprogress=continue\n", after(1100));
        assert_eq!(watch.borrow().frames, 111, "the frames of an output are not the grid's");
        // Another attempt counts from the beginning.
        Lines::new(progress.clone()).push("frame:9 pts:309\n", after(2000));
        assert_eq!(watch.borrow().frames, 111);
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
        Lines::new(progress).push("out_time_us=2500000\nspeed=5x\nprogress=continue\n", Instant::now());
        let seen = watch.borrow().clone();
        assert_eq!((seen.percent, seen.eta.map(|eta| eta.as_millis())), (25.0, Some(1500)));
    }
}
