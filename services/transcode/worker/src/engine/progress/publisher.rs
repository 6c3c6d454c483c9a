//! Publishes a task's progress snapshots.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use reelmill_media::plan::{Plan, WorkUnit};
use tokio::sync::watch;

use crate::engine::progress::{rate_meter::RateMeter, snapshot::Snapshot};

/// Percent when the only task of a job has encoded everything. Joining the progressive files remains.
const SINGLE_TASK_ENCODED_PERCENT: f64 = 96.0;
/// The same for one task of several, which joins nothing.
const WORK_UNIT_ENCODED_PERCENT: f64 = 99.0;

/// What a task's progress is measured by.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Goal {
    /// Number of frames, if it is known in advance.
    pub frames: Option<f64>,
    /// Duration, seconds, if it is known.
    pub seconds: Option<f64>,
    /// Frame rate, if the task encodes video.
    pub frame_rate: Option<f64>,
    /// Percent when everything is encoded.
    pub encoded_percent: f64,
}

/// Publishes the progress of one task.
#[derive(Clone)]
pub struct ProgressPublisher {
    snapshot: watch::Sender<Snapshot>,
    goal: watch::Sender<Goal>,
    /// For tasks without video.
    audio_rate: Arc<Mutex<RateMeter>>,
}

impl ProgressPublisher {
    /// A publisher, and a receiver of its snapshots.
    pub fn new() -> (Self, watch::Receiver<Snapshot>) {
        let (snapshot, receiver) = watch::channel(Snapshot::default());
        (Self { snapshot, goal: watch::Sender::default(), audio_rate: Arc::default() }, receiver)
    }

    /// A work unit is started or restarted.
    pub(crate) fn start(&self, plan: &Plan, work_unit: &WorkUnit) {
        let frames = work_unit.chunk.and_then(|chunk| plan.chunk_frames(chunk));
        let video_plan = plan.video.as_ref().filter(|_| work_unit.chunk.is_some());
        let frame_rate = video_plan.map(|video_plan| video_plan.rate.fps());
        let encoded_percent =
            if plan.is_single() { SINGLE_TASK_ENCODED_PERCENT } else { WORK_UNIT_ENCODED_PERCENT };
        self.set_goal(Goal { frames, seconds: plan.duration(), frame_rate, encoded_percent });
    }

    pub(crate) fn set_goal(&self, goal: Goal) {
        self.goal.send_replace(goal);
    }

    /// The task is completed.
    pub(crate) fn finish(&self) {
        self.snapshot.send_modify(|snapshot| {
            snapshot.percent = 100.0;
            snapshot.eta = Some(Duration::ZERO);
        });
    }

    /// Audio is encoded up to `end`, in seconds. Ignored by tasks with video, which are measured by frames.
    pub(crate) fn audio_encoded(&self, end: f64, now: Instant) {
        let goal = *self.goal.borrow();
        if goal.frame_rate.is_some() {
            return;
        }
        let mut rate = self.audio_rate.lock().unwrap_or_else(PoisonError::into_inner);
        // Several tracks are encoded at the same time: only the one furthest ahead counts.
        if rate.last_value() < end {
            rate.add(now, end);
            self.snapshot.send_modify(|snapshot| {
                snapshot.speed = rate.per_second();
                snapshot.advance(end, goal.seconds, snapshot.speed, goal.encoded_percent);
            });
        }
    }

    /// `frames` frames of the grid are encoded, currently `fps` per second.
    pub(crate) fn frames_encoded(&self, frames: u64, fps: f64) {
        let goal = *self.goal.borrow();
        self.snapshot.send_modify(|snapshot| {
            snapshot.frames = snapshot.frames.max(frames);
            snapshot.fps = fps;
            let frame_rate = goal.frame_rate.unwrap_or(f64::INFINITY);
            snapshot.speed = fps / frame_rate;
            let estimated = || goal.seconds.map(|seconds| seconds * frame_rate);
            let total = goal.frames.or_else(estimated);
            snapshot.advance(snapshot.frames as f64, total, fps, goal.encoded_percent);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Goal, ProgressPublisher};

    #[test]
    fn audio_encoded_is_measured_in_seconds() {
        let (progress, watch) = ProgressPublisher::new();
        let goal = Goal { frames: None, seconds: Some(10.0), frame_rate: None, encoded_percent: 100.0 };
        progress.set_goal(goal);
        let begun = Instant::now();
        progress.audio_encoded(1.0, begun);
        progress.audio_encoded(2.5, begun + Duration::from_millis(300));
        // Another track, a little behind.
        progress.audio_encoded(2.0, begun + Duration::from_millis(400));
        let snapshot = watch.borrow().clone();
        assert_eq!((snapshot.percent, snapshot.eta.map(|eta| eta.as_millis())), (25.0, Some(1500)));
    }
}
