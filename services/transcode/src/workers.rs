//! Registered workers, and the jobs that wait for an encoder build that none of them has.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use reelmill_platform::clock::{Clock, duration_millis};
use reelmill_proto::{
    Reason, duration,
    transcode::{Failure, RegisterWorkerRequest, RegisterWorkerResponse},
};

use crate::{
    db::{Db, JobTransaction, WorkerRow},
    error::TranscodeError,
    job_changes::JobChanges,
    plans::Plans,
    progress::ProgressTracker,
    scheduler::Scheduler,
};

/// Interval of a worker's calls.
const REGISTER_INTERVAL: Duration = Duration::from_secs(10);
/// Time after which a worker that does not call is taken for gone: several calls.
const GONE_AFTER: Duration = Duration::from_secs(35);
/// Time after which a worker that does not call is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Longest name of a worker, its host, its release, or its encoder build, bytes.
const MAX_NAME_BYTES: usize = 256;
/// Restarts of a job because no worker had its encoder build any more. Then it waits for such a worker.
const MAX_REPLANS: i32 = 3;
/// A job of which all is done but a little waits this much longer for its encoder build than one of which nothing is done.
const DONE_WAIT_FACTOR: f64 = 9.0;
/// How long a sweep looks at the jobs of one encoder build; the next one continues.
const BUILD_SWEEP_TIME: Duration = Duration::from_secs(5);
/// How long the tasks of a job are not queued after no worker with its encoder build was found.
const STRANDED_DELAY: Duration = Duration::from_secs(120);
/// Message of a job that waits for an encoder build.
const BUILD_UNAVAILABLE: &str = "no worker has the encoder build that this video was started with";

/// The registered workers.
pub(crate) struct Workers {
    pub(crate) db: Db,
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) clock: Clock,
}

impl Workers {
    /// Registers a worker, or notes that it still runs.
    pub(crate) async fn register(
        &self,
        request: RegisterWorkerRequest,
    ) -> Result<RegisterWorkerResponse, TranscodeError> {
        let RegisterWorkerRequest { name, host, version, encoder_build, bulk_slots, express_slots } = request;
        let texts =
            [("name", &name), ("host", &host), ("version", &version), ("encoder_build", &encoder_build)];
        for (field, text) in texts {
            let is_required = matches!(field, "name" | "encoder_build");
            if text.len() > MAX_NAME_BYTES || is_required && text.is_empty() {
                return Err(TranscodeError::field(field, format!("must be 1 to {MAX_NAME_BYTES} bytes")));
            }
        }
        let now = self.clock.now_millis();
        let build = encoder_build.clone();
        let build_was_gone = is_gone(self.db.build_last_seen_time(&build).await?.unwrap_or(0), now);
        let row = WorkerRow {
            name,
            host,
            version,
            encoder_build,
            bulk_slots,
            express_slots,
            first_seen_time: now,
            last_seen_time: now,
            draining: false,
        };
        let draining = self.db.register_worker(row).await?;
        if build_was_gone {
            for owner in self.db.end_delays_of_build(&build).await? {
                self.scheduler.request(&owner);
            }
        }
        Ok(RegisterWorkerResponse { draining, interval: Some(duration(REGISTER_INTERVAL)) })
    }
}

/// Whether a worker that was last seen at `last_seen_time` is taken for gone.
pub(crate) fn is_gone(last_seen_time: i64, now: i64) -> bool {
    now - last_seen_time >= duration_millis(GONE_AFTER)
}

/// Jobs whose tasks wait for an encoder build that no worker has. Segments of two builds must not be mixed, so such a job
/// is planned and encoded again from the start if no worker with the build registers in time.
pub(crate) struct StrandedJobs {
    pub(crate) db: Db,
    pub(crate) plans: Arc<Plans>,
    pub(crate) changes: JobChanges,
    pub(crate) progress: Arc<ProgressTracker>,
    pub(crate) scheduler: Arc<Scheduler>,
    /// How long a job of which nothing is done waits for its build.
    pub(crate) replan_after: Duration,
    /// The last job that was looked at of each build, to continue after it.
    pub(crate) last_jobs: Mutex<HashMap<String, String>>,
}

impl StrandedJobs {
    /// Looks at the next jobs of each build that no worker has, for a few seconds: there may be very many. Restarts
    /// those that have waited long enough, and notes on the others what they wait for.
    pub(crate) async fn sweep(&self, now: i64) -> Result<(), TranscodeError> {
        self.db.delete_workers_before(now - duration_millis(FORGOTTEN_AFTER)).await?;
        for build in self.db.required_builds().await? {
            let last_seen = self.db.build_last_seen_time(&build).await?.unwrap_or(0);
            if !is_gone(last_seen, now) {
                continue;
            }
            let began = Instant::now();
            while began.elapsed() < BUILD_SWEEP_TIME {
                let jobs = self.next_jobs(&build).await?;
                for job in &jobs {
                    if let Err(error) = self.handle(job, &build, now - last_seen, now).await {
                        tracing::warn!(job, %error, "a job without its encoder build was not handled");
                    }
                }
                if jobs.is_empty() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The next page of a build's jobs; empty after the last one, and then the first ones again.
    async fn next_jobs(&self, build: &str) -> Result<Vec<String>, TranscodeError> {
        let last = self.last_jobs().remove(build).unwrap_or_default();
        let jobs = self.db.jobs_of_build(build, &last).await?;
        if let Some(last) = jobs.last() {
            self.last_jobs().insert(build.to_owned(), last.clone());
        }
        Ok(jobs)
    }

    fn last_jobs(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.last_jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn handle(&self, job: &str, build: &str, unseen_ms: i64, now: i64) -> Result<(), TranscodeError> {
        let mut transaction = self.db.lock_job(job).await?;
        if !transaction.is_open() || transaction.has_running_task().await? {
            return Ok(());
        }
        let wait_ms = self.wait_ms(&transaction).await?;
        if unseen_ms >= wait_ms && transaction.job.replans < MAX_REPLANS {
            tracing::warn!(job, build, "no worker has the encoder build of this job: it is planned again");
            transaction.replan().await?;
            transaction.stop_waiting();
            self.progress.job_restarted(job);
            self.changes.commit(transaction).await?;
            return Ok(());
        }
        let waiting = Failure {
            reason: Reason::EncoderBuildUnavailable.as_str_name().to_owned(),
            message: BUILD_UNAVAILABLE.to_owned(),
        };
        transaction.wait_for(&waiting, now);
        // They would keep other tasks of their owner from being queued.
        transaction.delay_tasks(build, now + duration_millis(STRANDED_DELAY)).await?;
        let owner = transaction.job.owner.clone();
        self.changes.commit_tasks(transaction).await?;
        self.scheduler.request(&owner);
        Ok(())
    }

    /// How long a job waits for its build: longer, the more of it is done.
    async fn wait_ms(&self, transaction: &JobTransaction) -> Result<i64, TranscodeError> {
        let replan_after_ms = duration_millis(self.replan_after);
        let plan = self.plans.require_in(transaction).await?;
        let completed = transaction.completed_work_units().await?;
        let done: f64 = completed.into_iter().map(|index| plan.weight(index)).sum();
        #[allow(clippy::cast_possible_truncation)]
        let wait_ms = (replan_after_ms as f64 * (1.0 + DONE_WAIT_FACTOR * done.clamp(0.0, 1.0))) as i64;
        Ok(wait_ms)
    }
}
