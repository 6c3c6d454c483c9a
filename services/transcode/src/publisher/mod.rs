//! Publishes jobs: writes playlists as segments are recorded, and finishes jobs whose tasks are done.
//!
//! Playlists list recorded segments only, from the first one without gaps, so they only grow. One process at a time
//! publishes a job, by a claim in the job's row: otherwise an older playlist could overwrite a newer one.

mod final_columns;
mod finish;
mod grow;
mod playlists;
mod recorded_tracks;
mod schedule;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use reelmill_platform::{
    clock::{Clock, duration_millis},
    objects::Objects,
};
use tokio::time::Instant;

pub(crate) use self::schedule::PublicationSchedule;
use self::{
    finish::JobFinisher,
    grow::GrowingJobs,
    playlists::{PlaylistWriter, WrittenFiles},
    recorded_tracks::RecordedTracks,
};
use crate::{
    db::{Db, Generation, JobDetails},
    domain::JobState,
    error::TranscodeError,
    job_changes::JobChanges,
    plans::Plans,
    progress::ProgressTracker,
};

/// Pause of a job that is not playable yet: the missing segment is about to follow.
const PAUSE_BEFORE_PLAYABLE: Duration = Duration::from_millis(100);
/// With more segments than this, what is missing is not about to follow.
const MAX_SEGMENTS_BEFORE_PLAYABLE: usize = 16;
/// Jobs published concurrently.
const CONCURRENT_PUBLICATIONS: usize = 8;
/// Timeout of one publication. The claim is then kept until it expires, so that no other process writes a newer
/// playlist before a delayed request of this one arrives.
const PUBLICATION_TIMEOUT: Duration = Duration::from_secs(10);
/// Lifetime of a claim, milliseconds.
pub(crate) const CLAIM_TTL_MS: i64 = 30_000;
/// Pause after a failed publication.
pub(crate) const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// Age of a change after which any process publishes it: the one that received it has crashed.
pub(crate) const OVERDUE_AFTER: Duration = Duration::from_secs(10);
/// Time without a publication after which a job is forgotten: it is read again if there is one.
const FORGET_AFTER: Duration = Duration::from_secs(120);
/// Interval at which overdue changes are looked for.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// The playlists of long videos are large: the interval grows by one second for each this many segments.
const SEGMENTS_PER_SECOND_OF_PAUSE: f64 = 1000.0;

/// What this process knows of a job that it publishes.
struct PublishedJob {
    tracks: RecordedTracks,
    written: WrittenFiles,
}

/// Publishes jobs.
pub(crate) struct Publisher {
    db: Db,
    plans: Arc<Plans>,
    schedule: Arc<PublicationSchedule>,
    growing: GrowingJobs,
    finisher: JobFinisher,
    clock: Clock,
    publish_interval: Duration,
    /// Id of this process in claims.
    process: String,
    /// By job id.
    jobs: Mutex<HashMap<String, CachedJob>>,
}

/// A cache entry: dropped when it was not used for [`FORGET_AFTER`].
struct CachedJob {
    published: Arc<tokio::sync::Mutex<Option<PublishedJob>>>,
    last_use: Instant,
}

/// What a [`Publisher`] uses.
pub(crate) struct PublisherInputs {
    pub(crate) db: Db,
    pub(crate) plans: Arc<Plans>,
    pub(crate) schedule: Arc<PublicationSchedule>,
    pub(crate) objects: Objects,
    pub(crate) changes: JobChanges,
    pub(crate) progress: Arc<ProgressTracker>,
    pub(crate) clock: Clock,
    /// Shortest interval between two writes of a growing playlist.
    pub(crate) publish_interval: Duration,
}

impl Publisher {
    pub(crate) fn new(inputs: PublisherInputs) -> Self {
        let PublisherInputs { db, plans, schedule, objects, changes, progress, clock, publish_interval } =
            inputs;
        let process = uuid::Uuid::new_v4().simple().to_string();
        let playlists =
            PlaylistWriter { objects, db: db.clone(), process: process.clone(), clock: clock.clone() };
        Self {
            growing: GrowingJobs {
                db: db.clone(),
                playlists: playlists.clone(),
                changes: changes.clone(),
                progress,
                clock: clock.clone(),
            },
            finisher: JobFinisher { db: db.clone(), playlists, changes, clock: clock.clone() },
            db,
            plans,
            schedule,
            clock,
            publish_interval,
            process,
            jobs: Mutex::default(),
        }
    }

    /// Publishes what is scheduled, for ever.
    pub(crate) async fn run(&self) {
        // Concurrently: a publication that is not polled may occupy the database connection that the other loop waits
        // for.
        tokio::join!(self.request_overdue_repeatedly(), self.publish_scheduled());
    }

    /// Publishes every running job, now; returns how many there are. A failure for one job is logged.
    pub(crate) async fn sweep(&self) -> Result<usize, TranscodeError> {
        let (mut count, mut last) = (0, String::new());
        loop {
            let jobs = self.db.running_planned_jobs(&last).await?;
            let Some(last_job) = jobs.last() else { return Ok(count) };
            last.clone_from(last_job);
            for job in &jobs {
                if let Err(error) = self.publish(job).await {
                    tracing::warn!(job, %error, "playlists could not be written: retrying");
                    self.schedule.request(job);
                }
            }
            count += jobs.len();
        }
    }

    async fn request_overdue_repeatedly(&self) {
        loop {
            let before = self.clock.now_millis() - duration_millis(OVERDUE_AFTER);
            match self.db.jobs_to_publish(before).await {
                Ok(jobs) => jobs.iter().for_each(|job| self.schedule.request(job)),
                Err(error) => tracing::warn!(%error, "jobs to publish could not be read: retrying"),
            }
            self.forget_unused();
            tokio::time::sleep(SWEEP_INTERVAL).await;
        }
    }

    async fn publish_scheduled(&self) {
        let mut publications = FuturesUnordered::new();
        loop {
            while publications.len() < CONCURRENT_PUBLICATIONS
                && let Some(job) = self.schedule.start_next(Instant::now())
            {
                publications.push(async move {
                    let pause = self.publish_or_retry(&job).await;
                    self.schedule.finish(&job, pause);
                });
            }
            let is_full = publications.len() >= CONCURRENT_PUBLICATIONS;
            let next_start = self.schedule.next_start().filter(|_| !is_full);
            tokio::select! {
                Some(()) = publications.next(), if !publications.is_empty() => {}
                () = self.schedule.changed() => {}
                () = sleep_until(next_start) => {}
            }
        }
    }

    /// Publishes a job; returns the pause until its next publication, none when it has ended.
    async fn publish_or_retry(&self, job: &str) -> Option<Duration> {
        match self.publish(job).await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::warn!(job, %error, "playlists could not be written: retrying");
                self.schedule.request(job);
                Some(RETRY_INTERVAL)
            }
        }
    }

    async fn publish(&self, id: &str) -> Result<Option<Duration>, TranscodeError> {
        let details = self.db.job_details(id).await?;
        let Some(details) = details.filter(|details| details.row.state == JobState::Running) else {
            self.jobs.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
            return Ok(None);
        };
        if !details.row.planned {
            return Ok(Some(self.publish_interval));
        }
        let now = self.clock.now_millis();
        if !self.db.claim_publication(id, &self.process, now, now + CLAIM_TTL_MS).await? {
            self.schedule.request(id);
            return Ok(Some(self.publish_interval));
        }
        let known = self.known(id);
        let mut known = known.lock().await;
        let publication = tokio::time::timeout(PUBLICATION_TIMEOUT, self.write(&details, &mut known));
        let written = publication.await.map_err(|_| TranscodeError::ObjectStoreTimeout)?;
        let published = written.is_ok().then_some(details.row.unpublished_since).flatten();
        self.db.release_publication(id, &self.process, published).await?;
        written.map(Some)
    }

    /// Writes what is new of a job; returns the pause until its next publication.
    async fn write(
        &self,
        details: &JobDetails,
        known: &mut Option<PublishedJob>,
    ) -> Result<Duration, TranscodeError> {
        let generation = Generation::of(&details.row);
        let plan = self.plans.require(&generation).await?;
        // Count before reading the outputs: those of every task that counts as succeeded are then read.
        let counts = self.db.task_counts(&generation).await?;
        let PublishedJob { tracks, written } = match known {
            Some(known) if known.tracks.generation == generation => known,
            _ => known.insert(PublishedJob {
                tracks: RecordedTracks::new(generation, &plan),
                written: WrittenFiles::default(),
            }),
        };
        tracks.refresh(&self.db).await?;
        if counts.encoding == 0 {
            self.finisher.finish(&details.row, &plan, tracks, written, counts).await?;
        } else {
            self.growing.publish(details, &plan, tracks, written).await?;
        }
        Ok(self.pause(details, tracks.max_segments()))
    }

    /// The pause until the next publication of a job.
    fn pause(&self, details: &JobDetails, segments: usize) -> Duration {
        if details.row.playable_time.is_none() && segments <= MAX_SEGMENTS_BEFORE_PLAYABLE {
            return PAUSE_BEFORE_PLAYABLE.min(self.publish_interval);
        }
        self.publish_interval + Duration::from_secs_f64(segments as f64 / SEGMENTS_PER_SECOND_OF_PAUSE)
    }

    fn known(&self, job: &str) -> Arc<tokio::sync::Mutex<Option<PublishedJob>>> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || CachedJob { published: Arc::default(), last_use: Instant::now() };
        let job = jobs.entry(job.to_owned()).or_insert_with(new);
        job.last_use = Instant::now();
        Arc::clone(&job.published)
    }

    /// Forgets jobs that have ended, or that other processes publish.
    fn forget_unused(&self) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.retain(|_, job| job.last_use.elapsed() < FORGET_AFTER);
        drop(jobs);
        self.schedule.forget_past_pauses();
    }
}

/// Sleeps until `time`; for ever if there is none.
async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
