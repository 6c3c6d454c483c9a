//! Tasks in the database: which are to be started, sent, ended.

use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    sea_query::Expr,
};

use super::{Generation, Store, TaskRow, entity::task};
use crate::{
    domain::{Lease, TaskKind, TaskState},
    error::TranscodeError,
};

/// How many candidates are looked at once: more workers than that hardly ask in the same moment.
const CANDIDATES: u64 = 16;

/// How many tasks of a generation are in each stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stage {
    /// PREPARE and ENCODE tasks that have not succeeded.
    pub encoding: i64,
    /// PACKAGE tasks that have not succeeded.
    pub packaging: i64,
    /// PACKAGE tasks in all.
    pub packages: i64,
}

impl Store {
    /// A task.
    pub(crate) async fn task(&self, id: &str) -> Result<Option<TaskRow>, TranscodeError> {
        Ok(task::Entity::find_by_id(id).one(&self.database).await?)
    }

    /// Tasks that a worker of that build may start, the most urgent first: by priority, then the oldest job first.
    ///
    /// A PREPARE task has priority 0, a long video's later chunks have ever higher numbers: so the first look at a
    /// new upload, and the first seconds of each video, always go before somebody else's bulk.
    pub(crate) async fn startable(&self, now: i64, build: &str) -> Result<Vec<TaskRow>, TranscodeError> {
        let queued = Condition::all()
            .add(task::Column::State.eq(TaskState::Queued as i32))
            .add(task::Column::ReadyAt.lte(now));
        let lost = Condition::all()
            .add(task::Column::State.eq(TaskState::Running as i32))
            .add(task::Column::LeaseExpiresAt.lte(now));
        let mut found = Vec::new();
        for wanted in [queued, lost] {
            let rows = task::Entity::find()
                .filter(wanted.add(task::Column::RequiredBuild.is_in(["", build])))
                .order_by_asc(task::Column::Priority)
                .order_by_asc(task::Column::JobId)
                .order_by_asc(task::Column::Ordinal)
                .limit(CANDIDATES);
            found.extend(rows.all(&self.database).await?);
        }
        found.sort_by(|a, b| (a.priority, &a.job_id, a.ordinal).cmp(&(b.priority, &b.job_id, b.ordinal)));
        Ok(found)
    }

    /// How far a generation's tasks are.
    pub(crate) async fn stage(&self, of: &Generation) -> Result<Stage, TranscodeError> {
        stage(&self.database, of).await
    }

    /// The places of the shares that are made.
    pub(crate) async fn made(&self, of: &Generation) -> Result<Vec<i32>, TranscodeError> {
        let done = in_generation(of)
            .add(task::Column::Kind.eq(TaskKind::Encode as i32))
            .add(task::Column::State.eq(TaskState::Succeeded as i32));
        let rows = task::Entity::find().select_only().column(task::Column::Ordinal).filter(done);
        Ok(rows.into_tuple().all(&self.database).await?)
    }

    /// Moves a lease's end, if the lease still holds. Says whether it does.
    pub(crate) async fn renew(&self, task: &str, lease: Lease, until: i64) -> Result<bool, TranscodeError> {
        self.move_lease(held(task, lease), until).await
    }

    /// Brings a lease's end forward, if it still holds and nobody moved its end from where it was `seen`.
    pub(crate) async fn shorten(
        &self,
        task: &str,
        lease: Lease,
        seen: i64,
        until: i64,
    ) -> Result<bool, TranscodeError> {
        let unmoved = held(task, lease).add(task::Column::LeaseExpiresAt.eq(seen));
        self.move_lease(unmoved.add(task::Column::LeaseExpiresAt.gt(until)), until).await
    }

    /// Whether a worker of that build is at work, at whatever task.
    pub(crate) async fn is_at_work(&self, build: &str, now: i64) -> Result<bool, TranscodeError> {
        let leased = Condition::all()
            .add(task::Column::State.eq(TaskState::Running as i32))
            .add(task::Column::EncoderBuild.eq(build))
            .add(task::Column::LeaseExpiresAt.gt(now));
        Ok(task::Entity::find().filter(leased).limit(1).one(&self.database).await?.is_some())
    }

    async fn move_lease(&self, wanted: Condition, until: i64) -> Result<bool, TranscodeError> {
        let moved = task::Entity::update_many()
            .col_expr(task::Column::LeaseExpiresAt, Expr::value(until))
            .filter(wanted)
            .exec(&self.database)
            .await?;
        Ok(moved.rows_affected > 0)
    }

    /// Queued tasks that the queue must be told of, the longest due first.
    pub(crate) async fn tasks_to_send(&self, now: i64, limit: u64) -> Result<Vec<TaskRow>, TranscodeError> {
        let due = Condition::all()
            .add(task::Column::State.eq(TaskState::Queued as i32))
            .add(task::Column::SendDue.lte(now));
        let rows = task::Entity::find().filter(due).order_by_asc(task::Column::SendDue).limit(limit);
        Ok(rows.all(&self.database).await?)
    }

    /// Notes that the queue was told, and when to tell it again should nothing come of it.
    pub(crate) async fn sent(&self, task: &TaskRow, next_due: i64) -> Result<(), TranscodeError> {
        task::Entity::update_many()
            .col_expr(task::Column::SendDue, Expr::value(next_due))
            .col_expr(task::Column::Sends, Expr::value(task.sends.saturating_add(1)))
            .filter(task::Column::Id.eq(&task.id))
            .filter(task::Column::State.eq(TaskState::Queued as i32))
            .filter(task::Column::SendDue.eq(task.send_due))
            .exec(&self.database)
            .await?;
        Ok(())
    }

    /// Running tasks whose lease has ended.
    pub(crate) async fn tasks_expired(&self, now: i64) -> Result<Vec<TaskRow>, TranscodeError> {
        let expired = Condition::all()
            .add(task::Column::State.eq(TaskState::Running as i32))
            .add(task::Column::LeaseExpiresAt.lte(now));
        Ok(task::Entity::find().filter(expired).limit(200).all(&self.database).await?)
    }

    /// When the next queued task must be sent or the next lease ends; none when nothing is at hand.
    pub(crate) async fn next_due(&self) -> Result<Option<i64>, TranscodeError> {
        let first = |state: TaskState, column: task::Column| {
            task::Entity::find()
                .filter(task::Column::State.eq(state as i32))
                .order_by_asc(column)
                .limit(1)
                .one(&self.database)
        };
        let send = first(TaskState::Queued, task::Column::SendDue).await?.map(|task| task.send_due);
        let lease =
            first(TaskState::Running, task::Column::LeaseExpiresAt).await?.map(|task| task.lease_expires_at);
        Ok(send.into_iter().chain(lease).min())
    }
}

/// How far a generation's tasks are, also within a transaction.
pub(super) async fn stage(
    database: &impl sea_orm::ConnectionTrait,
    of: &Generation,
) -> Result<Stage, TranscodeError> {
    let counts: Vec<(i32, i32, i64)> = task::Entity::find()
        .select_only()
        .column(task::Column::Kind)
        .column(task::Column::State)
        .column_as(task::Column::Id.count(), "count")
        .filter(in_generation(of))
        .group_by(task::Column::Kind)
        .group_by(task::Column::State)
        .into_tuple()
        .all(database)
        .await?;
    let mut stage = Stage::default();
    for (kind, state, count) in counts {
        let open = if state == TaskState::Succeeded as i32 { 0 } else { count };
        if kind == TaskKind::Package as i32 {
            stage.packages += count;
            stage.packaging += open;
        } else {
            stage.encoding += open;
        }
    }
    Ok(stage)
}

pub(super) fn in_generation(of: &Generation) -> Condition {
    Condition::all().add(task::Column::JobId.eq(&of.job)).add(task::Column::Generation.eq(of.number))
}

fn held(task: &str, lease: Lease) -> Condition {
    Condition::all()
        .add(task::Column::Id.eq(task))
        .add(task::Column::FencingToken.eq(lease.fencing_token))
        .add(task::Column::State.eq(TaskState::Running as i32))
}
