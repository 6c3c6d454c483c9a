//! Queries of the registered workers, and of jobs whose encoder build no worker has.

use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
    sea_query::{Expr, OnConflict},
};

use super::{
    connection::Db,
    entity::{WorkerRow, dispatch_state, task, worker},
};
use crate::{
    domain::{TaskClass, TaskState},
    error::TranscodeError,
};

/// Jobs returned at once.
const STRANDED_BATCH: u64 = 200;

impl Db {
    /// Inserts a worker, or updates it; returns whether it shall drain.
    pub(crate) async fn register_worker(&self, row: WorkerRow) -> Result<bool, TranscodeError> {
        let name = row.name.clone();
        let updated = [
            worker::Column::Host,
            worker::Column::Version,
            worker::Column::EncoderBuild,
            worker::Column::BulkSlots,
            worker::Column::ExpressSlots,
            worker::Column::LastSeenTime,
        ];
        worker::Entity::insert(row.into_active_model().reset_all())
            .on_conflict(OnConflict::column(worker::Column::Name).update_columns(updated).to_owned())
            .exec_without_returning(&self.connection)
            .await?;
        let row = worker::Entity::find_by_id(name).one(&self.connection).await?;
        Ok(row.is_some_and(|row| row.draining))
    }

    /// Registered workers, by name.
    pub(crate) async fn workers(&self) -> Result<Vec<WorkerRow>, TranscodeError> {
        Ok(worker::Entity::find().order_by_asc(worker::Column::Name).all(&self.connection).await?)
    }

    /// Sets whether a worker shall drain; returns whether there is such a worker.
    pub(crate) async fn set_draining(&self, name: &str, draining: bool) -> Result<bool, TranscodeError> {
        let updated = worker::Entity::update_many()
            .col_expr(worker::Column::Draining, Expr::value(draining))
            .filter(worker::Column::Name.eq(name))
            .exec(&self.connection)
            .await?;
        Ok(updated.rows_affected > 0)
    }

    /// Deletes the workers that were last seen before `time`.
    pub(crate) async fn delete_workers_before(&self, time: i64) -> Result<(), TranscodeError> {
        let old = worker::Entity::delete_many().filter(worker::Column::LastSeenTime.lt(time));
        old.exec(&self.connection).await?;
        Ok(())
    }

    /// When a worker with this encoder build was last seen.
    pub(crate) async fn build_last_seen_time(&self, build: &str) -> Result<Option<i64>, TranscodeError> {
        let last = worker::Entity::find()
            .select_only()
            .column_as(worker::Column::LastSeenTime.max(), "time")
            .filter(worker::Column::EncoderBuild.eq(build));
        Ok(last.into_tuple::<Option<i64>>().one(&self.connection).await?.flatten())
    }

    /// The encoder builds that queued or waiting tasks require.
    pub(crate) async fn required_builds(&self) -> Result<Vec<String>, TranscodeError> {
        let mut builds = Vec::new();
        for (state, class) in unstarted() {
            let mut last = String::new();
            // One read of the index for each build.
            loop {
                let next: Option<String> = task::Entity::find()
                    .select_only()
                    .column(task::Column::RequiredBuild)
                    .filter(task::Column::State.eq(state))
                    .filter(task::Column::Class.eq(class))
                    .filter(task::Column::RequiredBuild.gt(&last))
                    .order_by_asc(task::Column::RequiredBuild)
                    .limit(1)
                    .into_tuple()
                    .one(&self.connection)
                    .await?;
                let Some(build) = next else { break };
                builds.push(build.clone());
                last = build;
            }
        }
        builds.sort();
        builds.dedup();
        Ok(builds)
    }

    /// Ids of jobs after `after` with queued or waiting tasks that require an encoder build.
    pub(crate) async fn jobs_of_build(
        &self,
        build: &str,
        after: &str,
    ) -> Result<Vec<String>, TranscodeError> {
        let jobs = task::Entity::find()
            .select_only()
            .column(task::Column::JobId)
            .distinct()
            .filter(task::Column::State.is_in([TaskState::Queued, TaskState::Waiting]))
            .filter(task::Column::Class.is_in(TaskClass::ALL))
            .filter(task::Column::RequiredBuild.eq(build))
            .filter(task::Column::JobId.gt(after))
            .order_by_asc(task::Column::JobId)
            .limit(STRANDED_BATCH);
        Ok(jobs.into_tuple().all(&self.connection).await?)
    }

    /// Claims the sweep over the backlog if it is due at `now`; the next one is due at `next`.
    pub(crate) async fn claim_backlog_sweep(&self, now: i64, next: i64) -> Result<bool, TranscodeError> {
        let claimed = dispatch_state::Entity::update_many()
            .col_expr(dispatch_state::Column::BacklogSweepTime, Expr::value(next))
            .filter(dispatch_state::Column::BacklogSweepTime.lte(now))
            .exec(&self.connection)
            .await?;
        Ok(claimed.rows_affected > 0)
    }
}

fn unstarted() -> impl Iterator<Item = (TaskState, TaskClass)> {
    let states = [TaskState::Queued, TaskState::Waiting];
    states.into_iter().flat_map(|state| TaskClass::ALL.map(|class| (state, class)))
}
