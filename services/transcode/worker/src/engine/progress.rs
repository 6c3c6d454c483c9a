//! How far an encoding is: ffmpeg's `-progress` lines read into a snapshot that others may watch.

use reelmill_media::plan::Plan;
use reelmill_media::probe::Source;
use std::time::Duration;
use tokio::sync::watch;

/// The share of the work, in percent, that is done when the last frame is encoded. What is left is
/// to put the progressive files and playlists in the store.
const ENCODED_PERCENT: f64 = 96.0;

/// The state of an encoding at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// What is encoded; none until probed.
    pub work: Option<Work>,
    /// 0 to 100; only ever grows.
    pub percent: f64,
    /// Frames encoded.
    pub frames: u64,
    /// Frames a second of wall time.
    pub fps: f64,
    /// Seconds of video a second of wall time.
    pub speed: f64,
    /// Time left.
    pub eta: Option<Duration>,
    /// How many of the plan's rungs are done, from the first.
    pub rungs_done: usize,
}

/// The source and its plan.
#[derive(Clone, Debug)]
pub struct Work {
    /// What the source is.
    pub source: Source,
    /// What is made of it.
    pub plan: Plan,
}

/// Where an encoding tells how far it is.
#[derive(Clone)]
pub struct Progress(watch::Sender<Snapshot>);

impl Progress {
    /// A progress and a way to watch it.
    pub fn new() -> (Self, watch::Receiver<Snapshot>) {
        let (sender, receiver) = watch::channel(Snapshot::default());
        (Self(sender), receiver)
    }

    pub(super) fn planned(&self, source: &Source, plan: &Plan) {
        let work = Work { source: source.clone(), plan: plan.clone() };
        self.0.send_modify(|snapshot| snapshot.work = Some(work));
    }

    /// Rungs whose progressive file is in the store, of all of them.
    pub(super) fn rungs_done(&self, done: usize, of: usize) {
        let share = done as f64 / of.max(1) as f64;
        self.0.send_modify(|snapshot| {
            snapshot.rungs_done = done;
            snapshot.eta = None;
            snapshot.percent = snapshot.percent.max(ENCODED_PERCENT + (99.0 - ENCODED_PERCENT) * share);
        });
    }

    pub(super) fn finished(&self) {
        self.0.send_modify(|snapshot| {
            snapshot.percent = 100.0;
            snapshot.eta = Some(Duration::ZERO);
        });
    }

    fn report(&self, report: &Report, expected_frames: Option<f64>) {
        self.0.send_modify(|snapshot| {
            snapshot.frames = snapshot.frames.max(report.frames);
            snapshot.fps = report.fps;
            snapshot.speed = report.speed;
            let Some(expected) = expected_frames else { return };
            let share = (snapshot.frames as f64 / expected).clamp(0.0, 1.0);
            snapshot.percent = snapshot.percent.max(share * ENCODED_PERCENT);
            let left = expected - snapshot.frames as f64;
            snapshot.eta = (report.fps > 0.0 && left >= 0.0)
                .then(|| Duration::try_from_secs_f64(left / report.fps).ok())
                .flatten();
        });
    }
}

/// Reads `key=value` lines; each block of them ends with `progress=`.
pub(super) struct Lines {
    progress: Progress,
    expected_frames: Option<f64>,
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
    pub(super) fn new(progress: Progress, expected_frames: Option<f64>) -> Self {
        Self { progress, expected_frames, report: Report::default(), rest: String::new() }
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
            "progress" => self.progress.report(&self.report, self.expected_frames),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Lines, Progress};

    #[test]
    fn lines_become_a_snapshot_that_only_grows() {
        let (progress, watch) = Progress::new();
        let mut lines = Lines::new(progress.clone(), Some(200.0));
        assert!(lines.push("frame=100\nfps=50.0\nout_time_us=4000000\nspeed=1.5x\nprogr"));
        assert_eq!(watch.borrow().frames, 0, "the block is not whole");
        assert!(!lines.push("ess=continue\n"));
        let seen = watch.borrow().clone();
        assert_eq!((seen.frames, seen.fps, seen.speed, seen.percent), (100, 50.0, 1.5, 48.0));
        assert_eq!(seen.eta.map(|eta| eta.as_secs()), Some(2));
        lines.push("frame=90\nfps=N/A\nspeed=N/A\nprogress=end\n");
        assert_eq!((watch.borrow().frames, watch.borrow().percent), (100, 48.0));
        progress.rungs_done(1, 2);
        assert_eq!(watch.borrow().percent, 97.5);
    }
}
