//! Where a job is in the queue, and how fast the queue moves.

use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    Select,
};

use super::{
    connection::Db,
    entity::{JobRow, TaskRow, job, task},
};
use crate::{
    domain::{JobState, RecentJobs, TaskState, new_task_id},
    error::TranscodeError,
};

/// Jobs from which the next ones are estimated.
const RECENT_JOBS: u64 = 20;

impl Db {
    /// About how many jobs are started before a QUEUED one, plus one; none if it is not queued any more.
    pub(crate) async fn queue_position(&self, job: &JobRow) -> Result<Option<i64>, TranscodeError> {
        let first = task::Entity::find_by_id(new_task_id(&job.id, job.generation, 0));
        let Some(first) = first.one(&self.connection).await? else { return Ok(None) };
        let queued = task::Entity::find()
            .filter(task::Column::State.eq(TaskState::Queued))
            .filter(task::Column::Class.eq(first.class));
        let before = match first.state {
            TaskState::Queued => {
                self.count(queued.filter(task::Column::VirtualStart.lt(first.virtual_start))).await?
            }
            TaskState::Held | TaskState::Waiting => {
                let owners = queued.clone().select_only().column(task::Column::Owner).distinct();
                let owners: Vec<String> = owners.into_tuple().all(&self.connection).await?;
                // The owners take turns.
                let turns = i64::try_from(owners.len()).unwrap_or(i64::MAX).max(1);
                let own = self.count(waiting_before(&first)).await?;
                self.count(queued).await?.saturating_add(own.saturating_mul(turns))
            }
            _ => return Ok(None),
        };
        Ok(Some(before.saturating_add(1)))
    }

    /// The last jobs that were started, and that succeeded; nothing while the dispatcher is paused.
    pub(crate) async fn recent_jobs(&self) -> Result<RecentJobs, TranscodeError> {
        if self.is_paused().await? {
            return Ok(RecentJobs::default());
        }
        let started: Vec<Option<i64>> = job::Entity::find()
            .select_only()
            .column(job::Column::StartTime)
            .filter(job::Column::StartTime.is_not_null())
            .order_by_desc(job::Column::StartTime)
            .limit(RECENT_JOBS)
            .into_tuple()
            .all(&self.connection)
            .await?;
        let starts: Vec<i64> = started.into_iter().flatten().collect();
        let span = starts.iter().max().zip(starts.iter().min()).map(|(last, first)| last - first);
        let succeeded: Vec<JobRow> = job::Entity::find()
            .filter(job::Column::State.eq(JobState::Succeeded))
            .order_by_desc(job::Column::EndTime)
            .limit(RECENT_JOBS)
            .all(&self.connection)
            .await?;
        let duration = |job: &JobRow| Some(job.end_time? - job.start_time?);
        let total_ms: i64 = succeeded.iter().filter_map(duration).sum();
        let total_bytes: i64 = succeeded.iter().map(|job| job.source_size_bytes).sum();
        Ok(RecentJobs {
            start_interval_ms: span
                .filter(|_| starts.len() > 1)
                .map(|span| span as f64 / (starts.len() - 1) as f64),
            ms_per_byte: (total_bytes > 0).then(|| total_ms.max(0) as f64 / total_bytes as f64),
        })
    }

    async fn count(&self, tasks: Select<task::Entity>) -> Result<i64, TranscodeError> {
        let count = tasks.select_only().column_as(task::Column::Id.count(), "tasks");
        Ok(count.into_tuple::<i64>().one(&self.connection).await?.unwrap_or(0))
    }
}

/// Waiting tasks of the same owner and class that are queued before this one.
fn waiting_before(first: &TaskRow) -> Select<task::Entity> {
    let same_priority = Condition::all()
        .add(task::Column::JobPriority.eq(first.job_priority))
        .add(task::Column::JobId.lt(&first.job_id));
    task::Entity::find()
        .filter(task::Column::State.eq(first.state))
        .filter(task::Column::Owner.eq(&first.owner))
        .filter(task::Column::Class.eq(first.class))
        .filter(Condition::any().add(task::Column::JobPriority.lt(first.job_priority)).add(same_priority))
}
