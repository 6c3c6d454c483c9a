//! How far jobs are, put together from what their workers report to this process.
//!
//! What was told is never taken back, by the next process either: more than what is stored is told only once it is stored.
//! So that not every report is written, a little more is stored than is told; a process that begins anew begins there.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reelmill_media::plan::WorkUnit;
use reelmill_proto::{
    duration,
    transcode::{Job, Progress, job::State},
};

use crate::{
    convert::job_message,
    domain::{JobState, TaskKind},
    error::TranscodeError,
    plans::{Planned, Plans},
    reached::{MOST_PERCENT, Reached, note},
    store::{Generation, JobRow, Store, TaskRow},
};

/// Watchers hear of a job at most so often, milliseconds.
const TELL_EVERY_MS: i64 = 250;
/// What is stored is looked up at most so often, milliseconds.
const REFRESH_EVERY_MS: i64 = 1000;
/// The time left follows from this much of the past, milliseconds.
const WINDOW_MS: i64 = 30_000;
/// The least time and way that a pace is told from: milliseconds, percent.
const SHORTEST_PACE_MS: i64 = 2000;
const LEAST_WAY: f64 = 0.5;
/// From so many jobs on, those without a worker at this process are forgotten.
const MOST_JOBS: usize = 1000;
/// What this process knows of running jobs.
#[derive(Default)]
pub(crate) struct Tracker {
    jobs: Mutex<HashMap<String, Tracked>>,
}

struct Tracked {
    row: JobRow,
    planned: Option<Arc<Planned>>,
    /// Places of the shares that are made.
    made: HashSet<i32>,
    refreshed_at: i64,
    told_at: i64,
    /// By task, while they run.
    reports: HashMap<String, Report>,
    /// What follows is never less.
    counted: Reached,
    told: Reached,
    /// What may be told.
    stored: Reached,
    /// What this process has stored or is about to store: what is more is of another one.
    own: Reached,
    /// Moments and percents of the last half minute.
    past: VecDeque<(i64, f64)>,
}

struct Report {
    kind: i32,
    ordinal: i32,
    progress: Progress,
}

impl Tracker {
    /// Takes in what a worker reports of its task. The job's row when it is time to tell watchers.
    pub(crate) async fn reported(
        &self,
        store: &Store,
        plans: &Plans,
        (job, task): (&JobRow, &TaskRow),
        progress: Progress,
        now: i64,
    ) -> Result<Option<JobRow>, TranscodeError> {
        let stale = {
            let mut jobs = self.jobs();
            if jobs.len() >= MOST_JOBS {
                jobs.retain(|_, tracked| !tracked.reports.is_empty());
            }
            let tracked = jobs.entry(job.id.clone()).or_insert_with(|| Tracked::new(job.clone()));
            let report = Report { kind: task.kind, ordinal: task.ordinal, progress };
            tracked.reports.insert(task.id.clone(), report);
            if now < tracked.told_at + TELL_EVERY_MS {
                return Ok(None);
            }
            tracked.told_at = now;
            let stale = tracked.planned.is_none() || now >= tracked.refreshed_at + REFRESH_EVERY_MS;
            stale.then(|| tracked.refreshed_at = now).is_some()
        };
        if stale && let Some(row) = store.job(&job.id).await? {
            let generation = Generation::of(&row);
            let planned = plans.of(&generation).await?;
            let made = store.made(&generation).await?;
            if let Some(tracked) = self.jobs().get_mut(&job.id) {
                let stored = Reached::of(&job_message(&row)?);
                if tracked.planned.is_none() || !stored.is_within(&tracked.own) {
                    tracked.begin_at(&stored);
                }
                tracked.planned = planned;
                tracked.made = made.into_iter().collect();
                tracked.renew(&row);
            }
        }
        if let Some(ahead) = self.count(&job.id, now) {
            let is_stored = note(store, &job.id, &ahead).await.unwrap_or_else(|error| {
                tracing::warn!(job = job.id, %error, "progress is not told before it can be stored");
                false
            });
            if let Some(tracked) = self.jobs().get_mut(&job.id).filter(|_| is_stored) {
                tracked.stored.raise(&ahead);
                tracked.tell();
            }
        }
        let jobs = self.jobs();
        let running = jobs.get(&job.id).map(|tracked| &tracked.row);
        Ok(running.filter(|row| row.state == JobState::Running as i32).cloned())
    }

    /// Puts together how far a job is, and tells it. What must be stored first, if that is more than is stored.
    fn count(&self, job: &str, now: i64) -> Option<Reached> {
        let mut jobs = self.jobs();
        let tracked = jobs.get_mut(job)?;
        let planned = tracked.planned.clone()?;
        tracked.count(&planned, now);
        if tracked.tell() {
            return None;
        }
        let ahead = tracked.counted.ahead(&planned);
        tracked.own.raise(&ahead);
        Some(ahead)
    }

    /// A task has no worker any more.
    pub(crate) fn gone(&self, task: &TaskRow) {
        if let Some(tracked) = self.jobs().get_mut(&task.job_id) {
            tracked.reports.remove(&task.id);
        }
    }

    /// A task's share is made.
    pub(crate) fn made(&self, task: &TaskRow) {
        if let Some(tracked) = self.jobs().get_mut(&task.job_id) {
            tracked.reports.remove(&task.id);
            if task.kind == TaskKind::Encode as i32 && task.generation == tracked.row.generation {
                tracked.made.insert(task.ordinal);
            }
        }
    }

    /// How many segments of each rendition are published.
    pub(crate) fn published(&self, job: &str, ready: &[(String, i64)]) {
        if let Some(tracked) = self.jobs().get_mut(job) {
            for (rendition, segments) in ready {
                for known in [&mut tracked.counted, &mut tracked.told] {
                    let progress = known.renditions.entry(rendition.clone()).or_default();
                    progress.segments_ready = progress.segments_ready.max(*segments);
                }
            }
        }
    }

    /// A job was stored anew.
    pub(crate) fn stored(&self, row: &JobRow) {
        if row.state != JobState::Running as i32 && row.state != JobState::Queued as i32 {
            self.jobs().remove(&row.id);
        } else if let Some(tracked) = self.jobs().get_mut(&row.id) {
            tracked.renew(row);
        }
    }

    /// A job starts anew. What was told stays told.
    pub(crate) fn started_anew(&self, job: &str) {
        if let Some(tracked) = self.jobs().get_mut(job) {
            tracked.reports.clear();
            tracked.made.clear();
            tracked.planned = None;
        }
    }

    /// Adds to a running job how far it is.
    pub(crate) fn overlay(&self, id: &str, job: &mut Job) {
        if job.state() != State::Running {
            return;
        }
        let jobs = self.jobs();
        // Before it knows the plan it knows no more than is stored.
        let Some(tracked) = jobs.get(id).filter(|tracked| tracked.planned.is_some()) else { return };
        let stored = Reached::of(job);
        let mut told = tracked.told.clone();
        if stored.is_within(&tracked.own) {
            // It is ahead of what was told, but for the segments.
            told.raise(&stored.segments());
        } else {
            // Another process told more.
            told.raise(&stored);
        }
        told.show(job);
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<String, Tracked>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tracked {
    fn new(row: JobRow) -> Self {
        Self {
            row,
            planned: None,
            made: HashSet::new(),
            refreshed_at: 0,
            told_at: 0,
            reports: HashMap::new(),
            counted: Reached::default(),
            told: Reached::default(),
            stored: Reached::default(),
            own: Reached::default(),
            past: VecDeque::new(),
        }
    }

    /// Goes on from what is stored: the process before, or another one, may have told as much.
    fn begin_at(&mut self, stored: &Reached) {
        self.counted.raise(stored);
        self.told.raise(stored);
        self.stored.raise(stored);
        self.own.raise(stored);
    }

    fn renew(&mut self, row: &JobRow) {
        if row.revision >= self.row.revision {
            self.row = row.clone();
        }
    }

    /// Puts it all together.
    fn count(&mut self, planned: &Planned, now: i64) {
        let percent = self.job_percent(planned).max(self.counted.job.percent).min(MOST_PERCENT);
        self.past.push_back((now, percent));
        while self.past.front().is_some_and(|(moment, _)| *moment < now - WINDOW_MS) {
            self.past.pop_front();
        }
        let sum = |part: &dyn Fn(&Progress) -> f64| -> f64 {
            self.reports.values().map(|report| part(&report.progress)).filter(|part| part.is_finite()).sum()
        };
        // Sound runs far ahead of the picture and says nothing of its pace.
        let is_picture = |progress: &Progress| progress.fps > 0.0 || planned.plan.video.is_none();
        let fps = sum(&|progress: &Progress| progress.fps);
        let speed = sum(&|progress: &Progress| if is_picture(progress) { progress.speed } else { 0.0 });
        let eta = self.time_left().map(duration);
        let (mut fastest, mut readiest) = (0, None);
        for (id, percent, frames) in self.renditions(planned, percent) {
            let counted = self.counted.renditions.entry(id).or_default();
            counted.percent = counted.percent.max(percent).min(100.0);
            counted.frames = counted.frames.max(frames);
            // All come of one decode, and end together.
            (counted.fps, counted.speed, counted.eta) = (fps, speed, eta);
            fastest = fastest.max(counted.frames);
            readiest = readiest.max(Some(counted.segments_ready));
        }
        self.counted.job = Progress {
            percent,
            frames: fastest.max(self.counted.job.frames),
            fps,
            speed,
            eta,
            segments_ready: readiest.unwrap_or(0),
        };
    }

    /// Tells what was put together, unless it is more than what is stored.
    fn tell(&mut self) -> bool {
        let may = self.counted.is_within(&self.stored);
        if may {
            self.told = self.counted.clone();
        }
        may
    }

    fn job_percent(&self, planned: &Planned) -> f64 {
        let weight = |ordinal: i32| {
            usize::try_from(ordinal).ok().and_then(|place| planned.weights.get(place)).copied().unwrap_or(0.0)
        };
        let made: f64 = self.made.iter().map(|ordinal| weight(*ordinal)).sum();
        let running: f64 =
            self.encoding().map(|(report, _)| weight(report.ordinal) * share_done(&report.progress)).sum();
        (made + running) * 100.0
    }

    /// Reports of shares that are not made yet, and whether it is a share.
    fn encoding(&self) -> impl Iterator<Item = (&Report, i32)> {
        let work_units = self
            .reports
            .values()
            .filter(|report| report.kind != TaskKind::Package as i32 && !self.made.contains(&report.ordinal));
        work_units.map(|report| (report, report.ordinal))
    }

    /// Percent and frames of each rendition.
    fn renditions(&self, planned: &Planned, job_percent: f64) -> Vec<(String, f64, i64)> {
        let plan = &planned.plan;
        let mut found = Vec::new();
        // Of each share, how much of it is made.
        let mut parts: Vec<(&WorkUnit, f64, Option<i64>)> = Vec::new();
        for ordinal in &self.made {
            parts.extend(planned.work_unit(*ordinal).map(|work_unit| (work_unit, 1.0, None)));
        }
        for (report, ordinal) in self.encoding() {
            let frames = Some(report.progress.frames.max(0));
            parts.extend(
                planned.work_unit(ordinal).map(|work_unit| (work_unit, share_done(&report.progress), frames)),
            );
        }
        if let Some(video_plan) = &plan.video {
            let expected = plan.expected_frames();
            for (place, rung) in video_plan.rungs.iter().enumerate() {
                let mut frames = 0.0;
                for (work_unit, _, reported) in
                    parts.iter().filter(|(work_unit, ..)| work_unit.rungs.contains(&place))
                {
                    let all = work_unit.chunk.and_then(|chunk| planned.plan.chunk_frames(chunk));
                    frames += match (reported, all) {
                        (Some(reported), Some(all)) => (*reported as f64).min(all),
                        (Some(reported), None) => *reported as f64,
                        (None, all) => all.unwrap_or(0.0),
                    };
                }
                let percent = expected.map_or(job_percent, |expected| frames / expected * 100.0);
                let frames = frames / f64::from(rung.frame_step.max(1));
                found.push((rung.id.clone(), percent.min(100.0), frames as i64));
            }
        }
        let mut whole = |id: &str, makes: &dyn Fn(&WorkUnit) -> bool| {
            let part = parts.iter().filter(|(work_unit, ..)| makes(work_unit)).map(|(_, part, _)| *part);
            found.push((id.to_owned(), part.fold(0.0, f64::max) * 100.0, 0));
        };
        for (place, audio) in plan.audio.iter().enumerate() {
            whole(&audio.id, &|work_unit| work_unit.audio.contains(&place));
        }
        for (place, text) in plan.subtitles.iter().enumerate() {
            whole(&text.id, &|work_unit| work_unit.subtitles.contains(&place));
        }
        found
    }

    /// At the pace of the last half minute.
    fn time_left(&self) -> Option<Duration> {
        let (&(from, before), &(to, percent)) = self.past.front().zip(self.past.back())?;
        // A pace needs some way: the first moments would promise hours.
        if to - from < SHORTEST_PACE_MS || percent - before < LEAST_WAY {
            return None;
        }
        let pace = (percent - before) / (to - from) as f64;
        let left = (100.0 - percent) / pace;
        (pace > 0.0 && left.is_finite() && left < 1e12).then(|| Duration::from_millis(left as u64))
    }
}

/// How much of a task is done, 0 to 1.
fn share_done(progress: &Progress) -> f64 {
    if progress.percent.is_finite() { (progress.percent / 100.0).clamp(0.0, 1.0) } else { 0.0 }
}
