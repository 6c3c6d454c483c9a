//! How far an encoding is: ffmpeg's `-progress` lines read into a snapshot that others may watch.

use reelmill_media::plan::{Plan, Share};
use std::time::Duration;
use tokio::sync::watch;

/// The share of a single task's work, in percent, that is done when the last frame is encoded. What is left is
/// to join the progressive files.
const ENCODED_PERCENT: f64 = 96.0;

/// The state of a task at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// 0 to 100; only ever grows.
    pub percent: f64,
    /// Frames on the plan's grid that are encoded.
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
    /// Frames on the grid for each one that is encoded.
    every: u32,
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
        // ffmpeg counts the frames of its first output.
        let first = plan.picture.as_ref().and_then(|picture| picture.rungs.get(*share.rungs.first()?));
        let every = first.map_or(1, |rung| rung.every.max(1));
        let encoded = if plan.is_single() { ENCODED_PERCENT } else { 99.0 };
        self.goal.send_replace(Goal { frames, seconds: plan.duration(), every, encoded });
    }

    pub(super) fn finished(&self) {
        self.snapshot.send_modify(|snapshot| {
            snapshot.percent = 100.0;
            snapshot.eta = Some(Duration::ZERO);
        });
    }

    fn report(&self, report: &Report) {
        let goal = *self.goal.borrow();
        let every = f64::from(goal.every.max(1));
        self.snapshot.send_modify(|snapshot| {
            snapshot.frames = snapshot.frames.max(report.frames * u64::from(goal.every.max(1)));
            snapshot.fps = report.fps * every;
            snapshot.speed = report.speed;
            let (done, all, rate) = match (goal.frames, goal.seconds) {
                (Some(frames), _) => (snapshot.frames as f64, frames, snapshot.fps),
                (None, Some(seconds)) => (report.out_time as f64 / 1e6, seconds, report.speed),
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

/// Reads `key=value` lines; each block of them ends with `progress=`.
pub(super) struct Lines {
    progress: Progress,
    report: Report,
    rest: String,
}

#[derive(Default)]
struct Report {
    frames: u64,
    out_time: i64,
    fps: f64,
    speed: f64,
}

impl Lines {
    pub(super) fn new(progress: Progress) -> Self {
        Self { progress, report: Report::default(), rest: String::new() }
    }

    /// Takes text as it comes. Tells whether the encoding went on since the last block.
    pub(super) fn push(&mut self, text: &str) -> bool {
        let before = (self.report.frames, self.report.out_time);
        self.rest.push_str(text);
        while let Some(end) = self.rest.find('\n') {
            let line: String = self.rest.drain(..=end).collect();
            self.line(line.trim());
        }
        before != (self.report.frames, self.report.out_time)
    }

    fn line(&mut self, line: &str) {
        let Some((key, value)) = line.split_once('=') else { return };
        let value = value.trim();
        match key {
            "frame" => self.report.frames = value.parse().unwrap_or(self.report.frames),
            "fps" => self.report.fps = value.parse().unwrap_or(0.0),
            "out_time_us" => self.report.out_time = value.parse().unwrap_or(self.report.out_time),
            "speed" => self.report.speed = value.trim_end_matches('x').trim().parse().unwrap_or(0.0),
            "progress" => self.progress.report(&self.report),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Goal, Lines, Progress};

    #[test]
    fn lines_become_a_snapshot_that_only_grows() {
        let (progress, watch) = Progress::new();
        progress.goal.send_replace(Goal { frames: Some(400.0), seconds: None, every: 2, encoded: 96.0 });
        let mut lines = Lines::new(progress.clone());
        assert!(lines.push("frame=100\nfps=50.0\nout_time_us=4000000\nspeed=1.5x\nprogr"));
        assert_eq!(watch.borrow().frames, 0, "the block is not whole");
        assert!(!lines.push("ess=continue\n"));
        let seen = watch.borrow().clone();
        assert_eq!((seen.frames, seen.fps, seen.speed, seen.percent), (200, 100.0, 1.5, 48.0));
        assert_eq!(seen.eta.map(|eta| eta.as_secs()), Some(2));
        lines.push("frame=90\nfps=N/A\nspeed=N/A\nprogress=end\n");
        assert_eq!((watch.borrow().frames, watch.borrow().percent), (200, 48.0));
        progress.finished();
        assert_eq!(watch.borrow().percent, 100.0);
    }

    #[test]
    fn sound_is_measured_in_seconds() {
        let (progress, watch) = Progress::new();
        progress.goal.send_replace(Goal { frames: None, seconds: Some(10.0), every: 1, encoded: 100.0 });
        Lines::new(progress).push("out_time_us=2500000\nspeed=5x\nprogress=continue\n");
        let seen = watch.borrow().clone();
        assert_eq!((seen.percent, seen.eta.map(|eta| eta.as_millis())), (25.0, Some(1500)));
    }
}
