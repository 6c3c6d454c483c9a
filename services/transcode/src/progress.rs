//! How far jobs are, put together from what their workers report to this process.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reelmill_media::plan::Share;
use reelmill_proto::{
    duration,
    transcode::{Job, Progress, job::State},
};

use crate::{
    domain::{JobState, TaskKind},
    error::TranscodeError,
    plans::{Planned, Plans},
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
/// A job is not done before it is.
const MOST_PERCENT: f64 = 99.0;

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
    told: Told,
    /// Moments and percents of the last half minute.
    past: VecDeque<(i64, f64)>,
}

struct Report {
    kind: i32,
    ordinal: i32,
    progress: Progress,
}

/// The last that was told; what follows is never less.
#[derive(Default)]
struct Told {
    job: Progress,
    renditions: HashMap<String, Progress>,
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
                tracked.planned = planned;
                tracked.made = made.into_iter().collect();
                tracked.renew(&row);
            }
        }
        let mut jobs = self.jobs();
        let Some(tracked) = jobs.get_mut(&job.id) else { return Ok(None) };
        tracked.count(now);
        Ok((tracked.row.state == JobState::Running as i32).then(|| tracked.row.clone()))
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
                let told = tracked.told.renditions.entry(rendition.clone()).or_default();
                told.segments_ready = told.segments_ready.max(*segments);
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
        let Some(tracked) = jobs.get(id) else { return };
        job.progress = Some(tracked.told.job);
        for rendition in &mut job.renditions {
            if let Some(told) = tracked.told.renditions.get(&rendition.rendition_id) {
                let stored = rendition.progress.map_or(0, |progress| progress.segments_ready);
                rendition.progress =
                    Some(Progress { segments_ready: told.segments_ready.max(stored), ..*told });
            }
        }
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
            told: Told::default(),
            past: VecDeque::new(),
        }
    }

    fn renew(&mut self, row: &JobRow) {
        if row.revision >= self.row.revision {
            self.row = row.clone();
        }
    }

    /// Puts it all together.
    fn count(&mut self, now: i64) {
        let Some(planned) = self.planned.clone() else { return };
        let percent = self.job_percent(&planned).max(self.told.job.percent).min(MOST_PERCENT);
        self.past.push_back((now, percent));
        while self.past.front().is_some_and(|(moment, _)| *moment < now - WINDOW_MS) {
            self.past.pop_front();
        }
        let sum = |part: &dyn Fn(&Progress) -> f64| -> f64 {
            self.reports.values().map(|report| part(&report.progress)).filter(|part| part.is_finite()).sum()
        };
        // Sound runs far ahead of the picture and says nothing of its pace.
        let is_picture = |progress: &Progress| progress.fps > 0.0 || planned.plan.picture.is_none();
        let fps = sum(&|progress: &Progress| progress.fps);
        let speed = sum(&|progress: &Progress| if is_picture(progress) { progress.speed } else { 0.0 });
        let eta = self.time_left().map(duration);
        let (mut fastest, mut readiest) = (0, None);
        for (id, percent, frames) in self.renditions(&planned, percent) {
            let told = self.told.renditions.entry(id).or_default();
            told.percent = told.percent.max(percent).min(100.0);
            told.frames = told.frames.max(frames);
            // All come of one decode, and end together.
            (told.fps, told.speed, told.eta) = (fps, speed, eta);
            fastest = fastest.max(told.frames);
            readiest = readiest.max(Some(told.segments_ready));
        }
        self.told.job = Progress {
            percent,
            frames: fastest.max(self.told.job.frames),
            fps,
            speed,
            eta,
            segments_ready: readiest.unwrap_or(0),
        };
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
        let shares = self
            .reports
            .values()
            .filter(|report| report.kind != TaskKind::Package as i32 && !self.made.contains(&report.ordinal));
        shares.map(|report| (report, report.ordinal))
    }

    /// Percent and frames of each rendition.
    fn renditions(&self, planned: &Planned, job_percent: f64) -> Vec<(String, f64, i64)> {
        let plan = &planned.plan;
        let mut found = Vec::new();
        // Of each share, how much of it is made.
        let mut parts: Vec<(&Share, f64, Option<i64>)> = Vec::new();
        for ordinal in &self.made {
            parts.extend(planned.share(*ordinal).map(|share| (share, 1.0, None)));
        }
        for (report, ordinal) in self.encoding() {
            let frames = Some(report.progress.frames.max(0));
            parts.extend(planned.share(ordinal).map(|share| (share, share_done(&report.progress), frames)));
        }
        if let Some(picture) = &plan.picture {
            let expected = plan.expected_frames();
            for (place, rung) in picture.rungs.iter().enumerate() {
                let mut frames = 0.0;
                for (share, _, reported) in parts.iter().filter(|(share, ..)| share.rungs.contains(&place)) {
                    let all = share.chunk.and_then(|chunk| planned.plan.frames_of(chunk));
                    frames += match (reported, all) {
                        (Some(reported), Some(all)) => (*reported as f64).min(all),
                        (Some(reported), None) => *reported as f64,
                        (None, all) => all.unwrap_or(0.0),
                    };
                }
                let percent = expected.map_or(job_percent, |expected| frames / expected * 100.0);
                let frames = frames / f64::from(rung.every.max(1));
                found.push((rung.id.clone(), percent.min(100.0), frames as i64));
            }
        }
        let mut whole = |id: &str, makes: &dyn Fn(&Share) -> bool| {
            let part = parts.iter().filter(|(share, ..)| makes(share)).map(|(_, part, _)| *part);
            found.push((id.to_owned(), part.fold(0.0, f64::max) * 100.0, 0));
        };
        for (place, audio) in plan.audio.iter().enumerate() {
            whole(&audio.id, &|share| share.audio.contains(&place));
        }
        for (place, text) in plan.subtitles.iter().enumerate() {
            whole(&text.id, &|share| share.subtitles.contains(&place));
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
