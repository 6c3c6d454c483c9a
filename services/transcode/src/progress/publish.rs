//! What is published of running jobs: rate-limited per job, never more than the persisted watermark.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use reelmill_proto::transcode::{Job, Progress, WatchJobsResponse, job::State};

use super::{
    aggregate::Aggregate,
    marks::JobProgress,
    watermark::{Persisted, Raise, Watermarks, with_headroom},
};
use crate::{
    db::{Db, JobDetails, TaskRow},
    domain::{JobState, TaskKind},
    error::TranscodeError,
    messages,
    plans::{JobPlan, Plans},
};

/// Shortest interval between two publications of a job's progress, milliseconds.
const PUBLISH_INTERVAL_MS: i64 = 250;
/// Longest age of what is known of a job's row, plan and completed tasks, milliseconds.
const REFRESH_INTERVAL_MS: i64 = 1000;
/// Tracked jobs above which those without reports are dropped.
const MAX_TRACKED_JOBS: usize = 1000;

/// A worker's report of its task.
pub(crate) struct TaskReport<'a> {
    pub(crate) task: &'a TaskRow,
    pub(crate) progress: Progress,
}

/// Tracks the progress of the jobs whose workers report to this process.
pub(crate) struct ProgressTracker {
    watermarks: Watermarks,
    /// By job id.
    jobs: Mutex<HashMap<String, TrackedJob>>,
}

/// `published` never exceeds `watermark`. The aggregate may exceed both, until the watermark was raised.
#[derive(Default)]
struct TrackedJob {
    /// None before the first refresh, like the plan.
    details: Option<JobDetails>,
    plan: Option<Arc<JobPlan>>,
    aggregate: Aggregate,
    /// What callers of this process see.
    published: JobProgress,
    /// What this process may publish.
    watermark: JobProgress,
    refresh_time: i64,
    publish_time: i64,
}

/// What is to do about a report.
enum Step {
    /// Nothing: the last publication of the job is too recent.
    Skip,
    /// Nothing but to publish.
    Publish(Option<Box<JobDetails>>),
    /// Read or write the database first.
    Update(Box<Update>),
}

/// A copy of a tracked job, updated outside the lock.
struct Update {
    must_refresh: bool,
    plan: Option<Arc<JobPlan>>,
    aggregate: Aggregate,
    watermark: JobProgress,
    /// What the refresh has read.
    details: Option<JobDetails>,
    may_publish: bool,
}

impl ProgressTracker {
    pub(crate) fn new(db: Db, plans: Arc<Plans>) -> Self {
        Self { watermarks: Watermarks::new(db, plans), jobs: Mutex::default() }
    }

    /// Adds a report. Returns the message to publish, with the job's progress, if one is due and the job is running.
    pub(crate) async fn report(
        &self,
        report: TaskReport<'_>,
        now: i64,
    ) -> Result<Option<WatchJobsResponse>, TranscodeError> {
        let job = report.task.job_id.clone();
        let details = match self.add_report(report, now) {
            Step::Skip => None,
            Step::Publish(details) => details.map(|details| *details),
            Step::Update(mut update) => {
                self.refresh_and_persist(&job, &mut update, now).await?;
                self.jobs().get_mut(&job).and_then(|tracked| tracked.apply(*update))
            }
        };
        let running = details.filter(|details| details.row.state == JobState::Running);
        Ok(running.map(|details| self.watch_jobs_response(&details)))
    }

    fn add_report(&self, report: TaskReport<'_>, now: i64) -> Step {
        let TaskReport { task, progress } = report;
        let mut jobs = self.jobs();
        if jobs.len() >= MAX_TRACKED_JOBS {
            jobs.retain(|_, tracked| tracked.aggregate.has_reports());
        }
        let tracked = jobs.entry(task.job_id.clone()).or_default();
        tracked.aggregate.report(&task.id, task.kind, task.task_index, progress);
        if now < tracked.publish_time + PUBLISH_INTERVAL_MS {
            return Step::Skip;
        }
        tracked.publish_time = now;
        tracked.next_step(now)
    }

    /// Refreshes a copy of a tracked job, updates it, and raises the watermark if it is exceeded.
    async fn refresh_and_persist(
        &self,
        job: &str,
        update: &mut Update,
        now: i64,
    ) -> Result<(), TranscodeError> {
        if update.must_refresh
            && let Some(persisted) = self.watermarks.load(job).await?
        {
            let is_own = self.watermarks.is_own(&persisted.details);
            update.refresh(persisted, is_own);
        }
        let Some(plan) = &update.plan else { return Ok(()) };
        update.aggregate.update(plan, now);
        update.may_publish = update.aggregate.progress().is_within(&update.watermark);
        if !update.may_publish {
            let raised = with_headroom(update.aggregate.progress(), plan);
            match self.watermarks.raise(job, &raised).await {
                Ok(Raise::Raised { published_by_others }) => {
                    update.aggregate.raise(&published_by_others);
                    update.watermark.raise(&raised);
                    update.watermark.raise(&published_by_others);
                    update.may_publish = true;
                }
                Ok(Raise::JobEnded) => {}
                Err(error) => {
                    tracing::warn!(job, %error, "progress is not published: its watermark could not be stored");
                }
            }
        }
        Ok(())
    }

    /// Removes the report of a task whose report stream has ended.
    pub(crate) fn report_stream_ended(&self, task: &TaskRow) {
        if let Some(tracked) = self.jobs().get_mut(&task.job_id) {
            tracked.aggregate.remove_report(&task.id);
        }
    }

    /// Counts the work of a completed task.
    pub(crate) fn task_completed(&self, task: &TaskRow) {
        if let Some(tracked) = self.jobs().get_mut(&task.job_id) {
            tracked.aggregate.remove_report(&task.id);
            let generation = tracked.details.as_ref().map(|details| details.row.generation);
            if task.kind == TaskKind::Encode && generation.is_none_or(|number| number == task.generation) {
                tracked.aggregate.complete(task.task_index);
            }
        }
    }

    /// Counts published segments of renditions.
    pub(crate) fn segments_published(&self, job: &str, segments: &JobProgress) {
        if let Some(tracked) = self.jobs().get_mut(job) {
            tracked.aggregate.raise(segments);
            tracked.published.raise(segments);
        }
    }

    /// Takes over a job that was committed under a new revision.
    pub(crate) fn job_committed(&self, details: &JobDetails) {
        let mut jobs = self.jobs();
        if details.row.state.has_ended() {
            jobs.remove(&details.row.id);
        } else if let Some(tracked) = jobs.get_mut(&details.row.id) {
            tracked.set_details(details.clone());
        }
    }

    /// Starts over with a job's next generation. What was published stays.
    pub(crate) fn job_restarted(&self, job: &str) {
        if let Some(tracked) = self.jobs().get_mut(job) {
            tracked.aggregate.restart();
            tracked.plan = None;
        }
    }

    /// The job with its published progress: what callers get.
    pub(crate) fn job(&self, details: &JobDetails) -> Job {
        let mut job = messages::job_with_watermark(details);
        self.set_published_progress(details, &mut job);
        job
    }

    /// The job as the upload service sees it.
    pub(crate) fn watch_jobs_response(&self, details: &JobDetails) -> WatchJobsResponse {
        messages::watch_jobs_response(details, self.job(details))
    }

    /// Replaces the watermark of a running job by the progress that this process has published.
    fn set_published_progress(&self, details: &JobDetails, job: &mut Job) {
        if job.state() != State::Running {
            return;
        }
        let jobs = self.jobs();
        // Without the plan this process has published nothing: the watermark is all there is.
        let Some(tracked) = jobs.get(&details.row.id).filter(|tracked| tracked.plan.is_some()) else {
            return;
        };
        let persisted = JobProgress::persisted(details);
        let seen = if self.watermarks.is_own(details) { persisted.segments() } else { persisted };
        tracked.published.clone().raised(&seen).apply_to(job);
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<String, TrackedJob>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TrackedJob {
    fn next_step(&mut self, now: i64) -> Step {
        let must_refresh = self.plan.is_none() || now >= self.refresh_time + REFRESH_INTERVAL_MS;
        if must_refresh {
            self.refresh_time = now;
        } else if let Some(plan) = &self.plan {
            self.aggregate.update(plan, now);
            if self.aggregate.progress().is_within(&self.watermark) {
                self.published = self.aggregate.progress().clone().raised(&self.published);
                return Step::Publish(self.details.clone().map(Box::new));
            }
        }
        Step::Update(Box::new(Update {
            must_refresh,
            plan: self.plan.clone(),
            aggregate: self.aggregate.clone(),
            watermark: self.watermark.clone(),
            details: None,
            may_publish: false,
        }))
    }

    /// Copies what was read and written into the tracked job. Returns the job, which is published with its new progress,
    /// or with the earlier one if the watermark could not be raised.
    fn apply(&mut self, update: Update) -> Option<JobDetails> {
        if let Some(details) = update.details {
            self.set_details(details);
            self.plan = update.plan;
            self.aggregate.copy_completed(&update.aggregate);
        }
        self.watermark.raise(&update.watermark);
        if update.may_publish {
            self.published = update.aggregate.progress().clone().raised(&self.published);
        }
        self.aggregate.adopt(update.aggregate);
        self.details.clone()
    }

    fn set_details(&mut self, details: JobDetails) {
        if self.details.as_ref().is_none_or(|known| details.row.revision >= known.row.revision) {
            self.details = Some(details);
        }
    }
}

impl Update {
    fn refresh(&mut self, persisted: Persisted, is_own: bool) {
        let Persisted { details, plan, completed_work_units } = persisted;
        if self.plan.is_none() || !is_own {
            // The process before, or another one, may have published as much.
            let published = JobProgress::persisted(&details);
            self.aggregate.raise(&published);
            self.watermark.raise(&published);
        }
        self.plan = plan;
        self.aggregate.set_completed(completed_work_units);
        self.details = Some(details);
    }
}
