//! The progress of one job, computed from the latest report of each task. Without I/O and without locks.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use reelmill_media::plan::WorkUnit;
use reelmill_proto::{duration, transcode::Progress};

use super::marks::JobProgress;
use crate::{domain::TaskKind, plans::JobPlan};

/// Highest percent of a job that has not ended.
pub(super) const MAX_RUNNING_PERCENT: f64 = 99.0;
/// Period that the time left is estimated from, milliseconds.
const PACE_WINDOW_MS: i64 = 30_000;
/// Shortest period for an estimate, milliseconds.
const PACE_MIN_MS: i64 = 2000;
/// Least progress within the period for an estimate, percent.
const PACE_MIN_PERCENT: f64 = 0.5;
/// Longest estimate, milliseconds.
const MAX_TIME_LEFT_MS: f64 = 1e12;

/// Aggregated progress of a job.
#[derive(Clone, Default)]
pub(super) struct Aggregate {
    /// Indices of the work units that are encoded.
    completed: BTreeSet<i32>,
    /// By task id, while the tasks run.
    reports: BTreeMap<String, Report>,
    /// Never decreases.
    progress: JobProgress,
    /// Times and percents of the last [`PACE_WINDOW_MS`].
    history: VecDeque<(i64, f64)>,
}

#[derive(Clone)]
struct Report {
    kind: TaskKind,
    task_index: i32,
    progress: Progress,
}

/// The part of a work unit that is encoded.
struct EncodedPart<'a> {
    work_unit: &'a WorkUnit,
    /// 0 to 1.
    ratio: f64,
    /// Frames reported so far; none once completed.
    reported_frames: Option<i64>,
}

impl Aggregate {
    /// Replaces the latest report of a task.
    pub(super) fn report(&mut self, task: &str, kind: TaskKind, task_index: i32, progress: Progress) {
        self.reports.insert(task.to_owned(), Report { kind, task_index, progress });
    }

    /// Removes the report of a task that no longer runs.
    pub(super) fn remove_report(&mut self, task: &str) {
        self.reports.remove(task);
    }

    /// Whether any task reports.
    pub(super) fn has_reports(&self) -> bool {
        !self.reports.is_empty()
    }

    /// Marks a work unit as encoded.
    pub(super) fn complete(&mut self, work_unit: i32) {
        self.completed.insert(work_unit);
    }

    /// Replaces the encoded work units.
    pub(super) fn set_completed(&mut self, work_units: impl IntoIterator<Item = i32>) {
        self.completed = work_units.into_iter().collect();
    }

    /// Replaces the encoded work units by those of another aggregate.
    pub(super) fn copy_completed(&mut self, other: &Self) {
        self.completed.clone_from(&other.completed);
    }

    /// Starts over with the next generation. The progress stays.
    pub(super) fn restart(&mut self) {
        self.reports.clear();
        self.completed.clear();
    }

    /// Raises the progress, for example to what another process has published.
    pub(super) fn raise(&mut self, other: &JobProgress) {
        self.progress.raise(other);
    }

    /// Adopts the progress of a copy that was updated.
    pub(super) fn adopt(&mut self, updated: Self) {
        self.history = updated.history;
        self.progress = updated.progress.raised(&self.progress);
    }

    pub(super) fn progress(&self) -> &JobProgress {
        &self.progress
    }

    /// Computes the progress from the reports.
    pub(super) fn update(&mut self, plan: &JobPlan, now: i64) {
        let percent = self.job_percent(plan).max(self.progress.job.percent).min(MAX_RUNNING_PERCENT);
        self.history.push_back((now, percent));
        while self.history.front().is_some_and(|(time, _)| *time < now - PACE_WINDOW_MS) {
            self.history.pop_front();
        }
        let has_video = plan.plan.video.is_some();
        let fps = self.sum(|progress| progress.fps);
        // Audio is encoded much faster than video: its speed says nothing about the whole.
        let speed = self.sum(|progress| if progress.fps > 0.0 || !has_video { progress.speed } else { 0.0 });
        let eta = self.time_left().map(duration);
        let mut updated = JobProgress::default();
        for (id, percent, frames) in self.renditions(plan, percent) {
            let percent = percent.min(100.0);
            // All renditions are encoded from one decoded stream and end together.
            updated.renditions.insert(id, Progress { percent, frames, fps, speed, eta, segments_ready: 0 });
        }
        updated.job = Progress { percent, frames: 0, fps, speed, eta, segments_ready: 0 };
        updated.raise(&self.progress);
        for progress in updated.renditions.values() {
            updated.job.frames = updated.job.frames.max(progress.frames);
            updated.job.segments_ready = updated.job.segments_ready.max(progress.segments_ready);
        }
        self.progress = updated;
    }

    fn sum(&self, value: impl Fn(&Progress) -> f64) -> f64 {
        self.reports.values().map(|report| value(&report.progress)).filter(|value| value.is_finite()).sum()
    }

    fn job_percent(&self, plan: &JobPlan) -> f64 {
        let completed: f64 = self.completed.iter().map(|index| plan.weight(*index)).sum();
        let running: f64 =
            self.running().map(|report| plan.weight(report.task_index) * ratio(&report.progress)).sum();
        (completed + running) * 100.0
    }

    /// Reports of the work units that are being encoded.
    fn running(&self) -> impl Iterator<Item = &Report> {
        self.reports
            .values()
            .filter(|report| report.kind != TaskKind::Package && !self.completed.contains(&report.task_index))
    }

    fn encoded_parts<'a>(&self, plan: &'a JobPlan) -> Vec<EncodedPart<'a>> {
        let completed = self.completed.iter().filter_map(|index| {
            Some(EncodedPart { work_unit: plan.work_unit(*index)?, ratio: 1.0, reported_frames: None })
        });
        let running = self.running().filter_map(|report| {
            Some(EncodedPart {
                work_unit: plan.work_unit(report.task_index)?,
                ratio: ratio(&report.progress),
                reported_frames: Some(report.progress.frames.max(0)),
            })
        });
        completed.chain(running).collect()
    }

    /// Id, percent and frames of each rendition.
    fn renditions(&self, job_plan: &JobPlan, job_percent: f64) -> Vec<(String, f64, i64)> {
        let plan = &job_plan.plan;
        let parts = self.encoded_parts(job_plan);
        let mut renditions = Vec::new();
        if let Some(video_plan) = &plan.video {
            let expected = plan.expected_frames();
            for (index, rung) in video_plan.rungs.iter().enumerate() {
                let of_rung = parts.iter().filter(|part| part.work_unit.rungs.contains(&index));
                let frames: f64 = of_rung.map(|part| part_frames(job_plan, part)).sum();
                let percent = expected.map_or(job_percent, |expected| frames / expected * 100.0);
                let frames = frames / f64::from(rung.frame_step.max(1));
                renditions.push((rung.id.clone(), percent, frames as i64));
            }
        }
        // Audio of one or two parts, and subtitles, which one work unit extracts.
        let track = |id: &str, encodes: &dyn Fn(&WorkUnit) -> bool| {
            let work = |work_unit: &WorkUnit| plan.work(work_unit).max(f64::MIN_POSITIVE);
            let all: f64 = plan.work_units.iter().filter(|unit| encodes(unit)).map(work).sum();
            let encoded = parts.iter().filter(|part| encodes(part.work_unit));
            let done: f64 = encoded.map(|part| work(part.work_unit) * part.ratio).sum();
            (id.to_owned(), if all > 0.0 { (done / all).min(1.0) * 100.0 } else { 0.0 }, 0)
        };
        for (index, audio) in plan.audio.iter().enumerate() {
            renditions.push(track(&audio.id, &|work_unit| work_unit.audio.contains(&index)));
        }
        for (index, subtitles) in plan.subtitles.iter().enumerate() {
            renditions.push(track(&subtitles.id, &|work_unit| work_unit.subtitles.contains(&index)));
        }
        renditions
    }

    /// Estimated time left, at the pace of the last [`PACE_WINDOW_MS`].
    fn time_left(&self) -> Option<Duration> {
        let (&(first_time, first_percent), &(time, percent)) =
            self.history.front().zip(self.history.back())?;
        if time - first_time < PACE_MIN_MS || percent - first_percent < PACE_MIN_PERCENT {
            return None;
        }
        let percent_per_ms = (percent - first_percent) / (time - first_time) as f64;
        let left_ms = (100.0 - percent) / percent_per_ms;
        let is_known = percent_per_ms > 0.0 && left_ms.is_finite() && left_ms < MAX_TIME_LEFT_MS;
        is_known.then(|| Duration::from_millis(left_ms as u64))
    }
}

/// Encoded frames of a part, on the frame grid of the plan.
fn part_frames(plan: &JobPlan, part: &EncodedPart<'_>) -> f64 {
    let chunk_frames = part.work_unit.chunk.and_then(|chunk| plan.plan.chunk_frames(chunk));
    match (part.reported_frames, chunk_frames) {
        (Some(reported), Some(all)) => (reported as f64).min(all),
        (Some(reported), None) => reported as f64,
        (None, all) => all.unwrap_or(0.0),
    }
}

/// Reported part of a task's work, 0 to 1.
fn ratio(progress: &Progress) -> f64 {
    if progress.percent.is_finite() { (progress.percent / 100.0).clamp(0.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::sample;

    fn job_plan(seconds: f64) -> JobPlan {
        let plan = sample::planned(720, 30, seconds, 2);
        JobPlan::parse(serde_json::to_string(&plan).unwrap()).unwrap()
    }

    /// What happens to the task of a work unit.
    #[derive(Debug, Clone)]
    enum Event {
        Report(i32, f64, i64),
        Lost(i32),
        Completed(i32),
    }

    fn event() -> impl Strategy<Value = Event> {
        // Also work units that the plan does not have, and nonsense from a broken worker.
        let percent = prop_oneof![-10.0f64..150.0, Just(f64::NAN), Just(f64::INFINITY)];
        prop_oneof![
            4 => (0..9i32, percent, -5i64..5000).prop_map(|(unit, percent, frames)| Event::Report(unit, percent, frames)),
            1 => (0..9i32).prop_map(Event::Lost),
            1 => (0..9i32).prop_map(Event::Completed),
        ]
    }

    impl Aggregate {
        fn apply(&mut self, event: &Event) {
            match *event {
                Event::Report(unit, percent, frames) => {
                    let progress = Progress { percent, frames, fps: 30.0, speed: 1.0, ..Progress::default() };
                    self.report(&format!("t{unit}"), TaskKind::Encode, unit, progress);
                }
                Event::Lost(unit) => self.remove_report(&format!("t{unit}")),
                Event::Completed(unit) => {
                    self.remove_report(&format!("t{unit}"));
                    self.complete(unit);
                }
            }
        }
    }

    proptest! {
        /// Whatever workers report, and however often they are lost.
        #[test]
        fn update_never_decreases_and_is_bounded(events in prop::collection::vec(event(), 1..40)) {
            let plan = job_plan(60.0);
            let expected = plan.plan.expected_frames().unwrap();
            let mut aggregate = Aggregate::default();
            let mut before = JobProgress::default();
            for (event, now) in events.iter().zip((0..).step_by(250)) {
                aggregate.apply(event);
                aggregate.update(&plan, now);
                let progress = aggregate.progress().clone();
                prop_assert!(before.is_within(&progress), "{progress:?} after {before:?}");
                prop_assert!(progress.job.percent <= MAX_RUNNING_PERCENT && progress.job.frames as f64 <= expected);
                for rendition in progress.renditions.values() {
                    prop_assert!((0.0..=100.0).contains(&rendition.percent));
                    prop_assert!(rendition.frames >= 0 && rendition.frames as f64 <= expected);
                }
                before = progress;
            }
        }

        /// The latest report of each task counts, in whichever order the tasks report.
        #[test]
        fn update_does_not_depend_on_order_of_tasks(
            (reports, shuffled) in prop::collection::btree_map(0..6i32, (0.0f64..100.0, 0i64..500), 1..6)
                .prop_flat_map(|reports| {
                    let reports: Vec<_> = reports.into_iter().collect();
                    (Just(reports.clone()), Just(reports).prop_shuffle())
                }),
        ) {
            let plan = job_plan(60.0);
            let aggregated = |reports: &[(i32, (f64, i64))]| {
                let mut aggregate = Aggregate::default();
                for (unit, (percent, frames)) in reports {
                    aggregate.apply(&Event::Report(*unit, *percent, *frames));
                }
                aggregate.update(&plan, 0);
                aggregate.progress().clone()
            };
            prop_assert_eq!(aggregated(&reports), aggregated(&shuffled));
        }
    }

    #[test]
    fn update_completed_work_units_reach_all_frames_but_not_100_percent() {
        let plan = job_plan(60.0);
        let mut aggregate = Aggregate::default();
        aggregate.set_completed(0..i32::try_from(plan.plan.work_units.len()).unwrap());
        aggregate.update(&plan, 0);
        let progress = aggregate.progress();
        assert_eq!(progress.job.percent, MAX_RUNNING_PERCENT);
        assert_eq!(progress.job.frames, 1800);
        assert!(progress.renditions.values().all(|rendition| (rendition.percent - 100.0).abs() < 1e-9));
    }
}
