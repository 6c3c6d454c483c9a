//! Reads the log that ffmpeg writes of the frames of the grid.

use std::time::{Duration, Instant};

use tokio::{
    io::{self, AsyncReadExt},
    net::unix::pipe,
};

use crate::engine::{
    activity::Activity,
    progress::{publisher::ProgressPublisher, rate_meter::RateMeter},
};

/// Interval at which progress is published.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(250);

/// Reads the log until the pipe is closed. Every new frame counts as activity.
pub(crate) async fn read_frame_log(
    mut pipe: pipe::Receiver,
    progress: ProgressPublisher,
    activity: &Activity,
) -> io::Result<()> {
    let mut log = FrameLog::new(progress);
    let mut chunk = vec![0; 4096];
    loop {
        let count = pipe.read(&mut chunk).await?;
        if count == 0 {
            log.finish();
            return Ok(());
        }
        if log.push(&String::from_utf8_lossy(&chunk[..count]), Instant::now()) {
            activity.touch();
        }
    }
}

/// Parses lines of the form `frame:N …`. Others are ignored.
struct FrameLog {
    progress: ProgressPublisher,
    frames: u64,
    rate: RateMeter,
    incomplete_line: String,
}

impl FrameLog {
    fn new(progress: ProgressPublisher) -> Self {
        Self { progress, frames: 0, rate: RateMeter::default(), incomplete_line: String::new() }
    }

    /// Parses text as it arrives. Returns whether there was a new frame.
    fn push(&mut self, text: &str, now: Instant) -> bool {
        let before = self.frames;
        self.incomplete_line.push_str(text);
        while let Some(end) = self.incomplete_line.find('\n') {
            let line: String = self.incomplete_line.drain(..=end).collect();
            if let Some(fields) = line.strip_prefix("frame:") {
                self.frame(fields, now);
            }
        }
        before != self.frames
    }

    /// Publishes the last frame.
    fn finish(&self) {
        if self.frames > 0 {
            self.progress.frames_encoded(self.frames, self.rate.per_second());
        }
    }

    /// `fields` begin with the frame's number, from 0.
    fn frame(&mut self, fields: &str, now: Instant) {
        let number = fields.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
        let Some(number) = number else { return };
        self.frames = number + 1;
        let is_published = |since| self.rate.has_sample_since(since);
        if now.checked_sub(PUBLISH_INTERVAL).is_some_and(is_published) {
            return;
        }
        self.rate.add(now, self.frames as f64);
        self.progress.frames_encoded(self.frames, self.rate.per_second());
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::FrameLog;
    use crate::engine::progress::publisher::{Goal, ProgressPublisher};

    #[test]
    fn push_publishes_snapshots_that_never_decrease() {
        let (progress, watch) = ProgressPublisher::new();
        let goal = Goal { frames: Some(400.0), seconds: None, frame_rate: Some(50.0), encoded_percent: 96.0 };
        progress.set_goal(goal);
        let mut log = FrameLog::new(progress.clone());
        let begun = Instant::now();
        let after = |millis| begun + Duration::from_millis(millis);
        assert!(log.push("frame:0    pts:300     pts_time:6\ngrid=1\n", begun));
        assert!(!log.push("frame:100  pts:400", after(1000)), "the line is incomplete");
        assert_eq!(watch.borrow().frames, 1);
        assert!(log.push("     pts_time:8\ngrid=1\n", after(1000)));
        let snapshot = watch.borrow().clone();
        assert_eq!((snapshot.frames, snapshot.fps, snapshot.speed), (101, 100.0, 2.0));
        assert_eq!((snapshot.percent * 100.0).round(), 2424.0);
        assert_eq!(snapshot.eta.map(|eta| eta.as_millis()), Some(2990));
        log.push("frame:110  pts:410     pts_time:8.2\n", after(1100));
        assert_eq!(watch.borrow().frames, 101, "not at every frame");
        // Another run of ffmpeg counts from the beginning.
        FrameLog::new(progress.clone()).push("frame:9 pts:309\n", after(2000));
        assert_eq!(watch.borrow().frames, 101);
        progress.finish();
        assert_eq!(watch.borrow().percent, 100.0);
    }

    #[test]
    fn push_measures_rate_over_last_seconds() {
        let (progress, watch) = ProgressPublisher::new();
        progress.set_goal(Goal { frame_rate: Some(25.0), ..Goal::default() });
        let mut log = FrameLog::new(progress);
        let begun = Instant::now();
        for second in 0..20 {
            // A burst at first, then ten frames per second.
            log.push(&format!("frame:{} pts:0\n", 100 + second * 10), begun + Duration::from_secs(second));
        }
        assert_eq!((watch.borrow().fps, watch.borrow().speed), (10.0, 0.4));
    }
}
