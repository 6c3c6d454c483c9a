//! PlanJob: plans a job from its probed source, and creates its tasks.

use std::sync::Arc;

use reelmill_media::{plan, probe};
use reelmill_platform::clock::Clock;
use reelmill_proto::transcode::PlanJobRequest;

use super::{
    lease::{LeasedTask, Leases, LockedTask, PresentedLease},
    planned_renditions::planned_renditions,
    work_unit_tasks::create_tasks,
};
use crate::{
    db::TaskRow,
    domain::{JobEvent, TaskKind, TaskRules},
    error::TranscodeError,
    job_changes::JobChanges,
    messages,
    options::{PlannerDefaults, planner_options},
    publisher::PublicationSchedule,
};

/// A container may report a little more than is encoded: highest accepted duration, relative to the longest video.
const MAX_DURATION_FACTOR: f64 = 2.0;

/// Plans jobs.
pub(crate) struct JobPlanner {
    pub(crate) leases: Leases,
    pub(crate) changes: JobChanges,
    pub(crate) publications: Arc<PublicationSchedule>,
    pub(crate) clock: Clock,
    pub(crate) defaults: PlannerDefaults,
}

impl JobPlanner {
    /// Plans the job of a PREPARE task, which becomes its first ENCODE task, and creates the others. A repeated call
    /// changes nothing.
    pub(crate) async fn plan(&self, request: &PlanJobRequest) -> Result<LeasedTask, TranscodeError> {
        let presented = PresentedLease::parse(request.lease.as_ref())?;
        let source = parse_source(&request.source)?;
        let (locked, ()) = self.leases.lock(&presented, TaskRules::check).await?;
        let LockedTask { mut transaction, task } = locked;
        match task.kind {
            TaskKind::Prepare => {}
            TaskKind::Encode => return Ok(LeasedTask { job: transaction.job.clone(), task }),
            TaskKind::Package => {
                return Err(TranscodeError::field("lease", "is not the lease of a PrepareTask"));
            }
        }
        let requested = messages::requested_options(&transaction.job).unwrap_or_default();
        let plan = plan::plan(&source, &planner_options(&requested, &self.defaults));
        let first = TaskRow { kind: TaskKind::Encode, required_build: task.encoder_build.clone(), ..task };
        transaction.insert_plan(serde_json::to_string(&plan)?, plan.work_units.len()).await?;
        transaction.save_task(first.clone()).await?;
        create_tasks(&mut transaction, &plan, &first.required_build).await?;
        let previous = transaction.renditions().await?;
        let renditions = planned_renditions(&transaction.job.id, &plan, &previous);
        transaction.replace_renditions(renditions).await?;
        transaction.stop_waiting();
        // Unless the call that leased the task was cut off before it announced this.
        transaction.advance(JobEvent::TaskStarted, self.clock.now_millis());
        messages::set_source_info(&mut transaction.job, request.source_info.as_ref());
        let job = self.changes.commit(transaction).await?.row;
        self.publications.request(&job.id);
        Ok(LeasedTask { job, task: first })
    }
}

/// Parses a probed source; rejects what cannot be planned.
fn parse_source(json: &[u8]) -> Result<probe::Source, TranscodeError> {
    let invalid = |message: String| TranscodeError::field("source", message);
    let source: probe::Source = serde_json::from_slice(json).map_err(|error| invalid(error.to_string()))?;
    let durations = [source.duration, source.video.as_ref().and_then(|video| video.duration)];
    let max_seconds = probe::MAX_SECONDS * MAX_DURATION_FACTOR;
    if durations.into_iter().flatten().any(|seconds| !(0.0..=max_seconds).contains(&seconds)) {
        return Err(invalid("the duration is negative or longer than the longest video".to_owned()));
    }
    if source.video.is_none() && source.audio.is_empty() {
        return Err(invalid("there is neither a video nor an audio track".to_owned()));
    }
    if source.video.as_ref().is_some_and(|video| video.stored.pixels() == 0) {
        return Err(invalid("the video has no pixels".to_owned()));
    }
    Ok(source)
}
