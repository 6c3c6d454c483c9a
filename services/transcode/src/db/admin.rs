//! Queries for the operator: over all owners.

use std::collections::HashMap;

use reelmill_mesh::paging::Cursor;
use reelmill_platform::database::after_in_list;
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, sea_query::Expr,
};

use super::{
    connection::Db,
    entity::{dispatch_state, job, task},
    job_details::JobDetails,
};
use crate::{
    domain::{JobState, TaskClass, TaskState},
    error::TranscodeError,
};

/// Owners in a list of the busiest.
const BUSIEST_OWNERS: usize = 20;

/// Unfinished tasks of an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnerLoad {
    pub(crate) owner: String,
    pub(crate) waiting: i64,
    pub(crate) running: i64,
}

/// Tasks of a job by state, and the workers that run them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct JobTasks {
    pub(crate) waiting: i32,
    pub(crate) queued: i32,
    pub(crate) running: i32,
    pub(crate) succeeded: i32,
    pub(crate) workers: Vec<String>,
}

impl Db {
    /// Whether the dispatcher is paused.
    pub(crate) async fn is_paused(&self) -> Result<bool, TranscodeError> {
        let state = dispatch_state::Entity::find_by_id(1).one(&self.connection).await?;
        Ok(state.is_some_and(|state| state.paused))
    }

    /// Pauses or resumes the dispatcher.
    pub(crate) async fn set_paused(&self, paused: bool) -> Result<(), TranscodeError> {
        dispatch_state::Entity::update_many()
            .col_expr(dispatch_state::Column::Paused, Expr::value(paused))
            .exec(&self.connection)
            .await?;
        Ok(())
    }

    /// Numbers of unfinished tasks by class and state.
    pub(crate) async fn unfinished_tasks(&self) -> Result<Vec<(TaskClass, TaskState, i64)>, TranscodeError> {
        let counts = task::Entity::find()
            .select_only()
            .columns([task::Column::Class, task::Column::State])
            .column_as(task::Column::Id.count(), "tasks")
            .filter(task::Column::State.is_in(TaskState::OPEN))
            .group_by(task::Column::Class)
            .group_by(task::Column::State);
        Ok(counts.into_tuple().all(&self.connection).await?)
    }

    /// The owners with the most unfinished tasks.
    pub(crate) async fn busiest_owners(&self) -> Result<Vec<OwnerLoad>, TranscodeError> {
        let counts: Vec<(String, TaskState, i64)> = task::Entity::find()
            .select_only()
            .columns([task::Column::Owner, task::Column::State])
            .column_as(task::Column::Id.count(), "tasks")
            .filter(task::Column::State.is_in(TaskState::OPEN))
            .group_by(task::Column::Owner)
            .group_by(task::Column::State)
            .into_tuple()
            .all(&self.connection)
            .await?;
        let mut loads: HashMap<String, OwnerLoad> = HashMap::new();
        for (owner, state, count) in counts {
            let new = || OwnerLoad { owner: owner.clone(), waiting: 0, running: 0 };
            let load = loads.entry(owner.clone()).or_insert_with(new);
            if state == TaskState::Running { load.running += count } else { load.waiting += count }
        }
        let mut loads: Vec<OwnerLoad> = loads.into_values().collect();
        loads.sort_by(|a, b| {
            let size = |load: &OwnerLoad| load.waiting + load.running;
            size(b).cmp(&size(a)).then_with(|| a.owner.cmp(&b.owner))
        });
        loads.truncate(BUSIEST_OWNERS);
        Ok(loads)
    }

    /// Number of jobs that wait for a dependency.
    pub(crate) async fn waiting_jobs(&self) -> Result<i64, TranscodeError> {
        let waiting = job::Entity::find()
            .select_only()
            .column_as(job::Column::Id.count(), "jobs")
            .filter(job::Column::State.is_in([JobState::Queued, JobState::Running]))
            .filter(job::Column::WaitingSince.is_not_null());
        Ok(waiting.into_tuple::<i64>().one(&self.connection).await?.unwrap_or(0))
    }

    /// Jobs of all owners after the cursor, the newest first.
    pub(crate) async fn jobs_in_states(
        &self,
        states: &[JobState],
        after: Option<&Cursor>,
        limit: u64,
    ) -> Result<Vec<JobDetails>, TranscodeError> {
        let jobs = job::Entity::find()
            .filter(job::Column::State.is_in(states.iter().copied()))
            .filter(after_in_list(after.map(Cursor::position), job::Column::CreateTime, job::Column::Id))
            .order_by_desc(job::Column::CreateTime)
            .order_by_desc(job::Column::Id)
            .limit(limit);
        self.details(jobs).await
    }

    /// Tasks of jobs, by job id.
    pub(crate) async fn tasks_of_jobs(
        &self,
        jobs: &[&str],
    ) -> Result<HashMap<String, JobTasks>, TranscodeError> {
        let rows: Vec<(String, TaskState, String)> = task::Entity::find()
            .select_only()
            .columns([task::Column::JobId, task::Column::State, task::Column::Worker])
            .filter(task::Column::JobId.is_in(jobs.iter().copied()))
            .order_by_asc(task::Column::Worker)
            .into_tuple()
            .all(&self.connection)
            .await?;
        let mut tasks: HashMap<String, JobTasks> = HashMap::new();
        for (job, state, worker) in rows {
            let job = tasks.entry(job).or_default();
            match state {
                TaskState::Held | TaskState::Waiting => job.waiting += 1,
                TaskState::Queued => job.queued += 1,
                TaskState::Running => {
                    job.running += 1;
                    if !job.workers.contains(&worker) {
                        job.workers.push(worker);
                    }
                }
                TaskState::Succeeded => job.succeeded += 1,
                TaskState::Failed | TaskState::Cancelled => {}
            }
        }
        Ok(tasks)
    }

    /// Running tasks: worker, job id and task id.
    pub(crate) async fn running_tasks(&self) -> Result<Vec<(String, String, String)>, TranscodeError> {
        let running = task::Entity::find()
            .select_only()
            .columns([task::Column::Worker, task::Column::JobId, task::Column::Id])
            .filter(task::Column::State.eq(TaskState::Running))
            .order_by_asc(task::Column::Id);
        Ok(running.into_tuple().all(&self.connection).await?)
    }
}
