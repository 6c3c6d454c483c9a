//! The persisted watermark: an upper bound of the progress that any process has published.
//!
//! Example: process A publishes 10 % and stores 11 %, so that it need not write before every publication. After A ends,
//! process B publishes at least 11 %, because A may have published as much. A itself must not publish the extra 1 % that
//! no worker has reported; that is why the row names the process that raised it (`progress_writer`).

use std::{collections::BTreeMap, sync::Arc};

use reelmill_proto::transcode::Progress;

use super::{aggregate::MAX_RUNNING_PERCENT, marks::JobProgress};
use crate::{
    db::{Db, Generation, JobDetails, JobTransaction, RenditionRow},
    error::TranscodeError,
    plans::{JobPlan, Plans},
};

/// Head-room persisted beyond the published percent.
const HEADROOM_PERCENT: f64 = 1.0;
/// Least head-room persisted beyond the published frames.
const HEADROOM_MIN_FRAMES: i64 = 50;
/// Head-room persisted beyond the published frames: as a divisor of the total.
const HEADROOM_FRAMES_DIVISOR: i64 = 50;

/// Reads and raises the watermarks in the database.
pub(super) struct Watermarks {
    db: Db,
    plans: Arc<Plans>,
    /// Id of this process.
    process: String,
}

/// The state of a job in the database.
pub(super) struct Persisted {
    pub(super) details: JobDetails,
    pub(super) plan: Option<Arc<JobPlan>>,
    pub(super) completed_work_units: Vec<i32>,
}

/// Result of [`Watermarks::raise`].
pub(super) enum Raise {
    /// The job has ended: its watermark is not raised any more.
    JobEnded,
    /// Raised.
    Raised {
        /// The watermark that another process stored last, which it may have published; zero if that was this process.
        published_by_others: JobProgress,
    },
}

impl Watermarks {
    pub(super) fn new(db: Db, plans: Arc<Plans>) -> Self {
        Self { db, plans, process: uuid::Uuid::new_v4().simple().to_string() }
    }

    /// Reads a job; none if there is none.
    pub(super) async fn load(&self, job: &str) -> Result<Option<Persisted>, TranscodeError> {
        let Some(details) = self.db.job_details(job).await? else { return Ok(None) };
        let generation = Generation::of(&details.row);
        let plan = self.plans.get(&generation).await?;
        let completed_work_units = self.db.completed_work_units(&details.row).await?;
        Ok(Some(Persisted { details, plan, completed_work_units }))
    }

    /// Whether this process was the last to raise the watermark. Then it includes this process's head-room, which must
    /// not be published; otherwise another process may have published as much.
    pub(super) fn is_own(&self, details: &JobDetails) -> bool {
        details.row.progress_writer == self.process
    }

    /// Raises the watermark of a job.
    pub(super) async fn raise(&self, job: &str, progress: &JobProgress) -> Result<Raise, TranscodeError> {
        let mut transaction = self.db.lock_job(job).await?;
        if !transaction.is_open() {
            return Ok(Raise::JobEnded);
        }
        let renditions = transaction.renditions().await?;
        let details = JobDetails { row: transaction.job.clone(), renditions, warnings: Vec::new() };
        let before = JobProgress::persisted(&details);
        let raised = before.clone().raised(progress);
        let published_by_others = if self.is_own(&details) { JobProgress::default() } else { before };
        save(&mut transaction, details.renditions, &raised).await?;
        transaction.job.progress_writer.clone_from(&self.process);
        transaction.commit_without_revision().await?;
        Ok(Raise::Raised { published_by_others })
    }
}

/// Raises the numbers of published segments of a locked job. Segments have no head-room: they are exact.
pub(crate) async fn raise_segments(
    transaction: &mut JobTransaction,
    segments: &JobProgress,
) -> Result<(), TranscodeError> {
    let renditions = transaction.renditions().await?;
    let details = JobDetails { row: transaction.job.clone(), renditions, warnings: Vec::new() };
    let raised = JobProgress::persisted(&details).raised(segments);
    save(transaction, details.renditions, &raised).await
}

/// Writes the progress of a locked job and of those of its renditions that it changes.
async fn save(
    transaction: &mut JobTransaction,
    renditions: Vec<RenditionRow>,
    progress: &JobProgress,
) -> Result<(), TranscodeError> {
    for row in renditions {
        let Some(progress) = progress.renditions.get(&row.rendition_id) else { continue };
        let saved = RenditionRow {
            progress_percent: progress.percent,
            progress_frames: progress.frames,
            progress_segments_ready: progress.segments_ready,
            ..row.clone()
        };
        if saved != row {
            transaction.save_rendition(saved).await?;
        }
    }
    transaction.job.progress_percent = progress.job.percent;
    transaction.job.progress_frames = progress.job.frames;
    transaction.job.progress_segments_ready = progress.job.segments_ready;
    Ok(())
}

/// Progress with head-room: a little more, but no more frames than there will be as far as that is known.
pub(super) fn with_headroom(progress: &JobProgress, plan: &JobPlan) -> JobProgress {
    let expected = plan.plan.expected_frames();
    let raise = |progress: &Progress, frame_step: u32, max_percent: f64| {
        let frames = progress.frames + HEADROOM_MIN_FRAMES.max(progress.frames / HEADROOM_FRAMES_DIVISOR);
        let max_frames = expected.map_or(0, |expected| (expected / f64::from(frame_step)) as i64 - 1);
        Progress {
            percent: (progress.percent + HEADROOM_PERCENT).min(max_percent).max(progress.percent),
            frames: if progress.frames > 0 { frames.min(max_frames).max(progress.frames) } else { 0 },
            ..Progress::default()
        }
    };
    let rungs = plan.plan.video.iter().flat_map(|video_plan| &video_plan.rungs);
    let frame_steps: BTreeMap<_, _> = rungs.map(|rung| (rung.id.as_str(), rung.frame_step.max(1))).collect();
    let renditions = progress.renditions.iter().map(|(id, progress)| {
        let frame_step = frame_steps.get(id.as_str()).copied().unwrap_or(1);
        (id.clone(), raise(progress, frame_step, 100.0))
    });
    JobProgress { job: raise(&progress.job, 1, MAX_RUNNING_PERCENT), renditions: renditions.collect() }
}
