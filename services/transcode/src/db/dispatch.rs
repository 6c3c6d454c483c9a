//! Statements that queue, lease and renew tasks: one statement each, on the database's time.

use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait as _, QueryFilter as _,
    QuerySelect as _, Statement, TransactionTrait as _, Value,
    sea_query::{Expr, OnConflict},
};

use super::{
    connection::Db,
    entity::{TaskRow, job, owner_share, task},
};
use crate::{
    domain::{JobState, Lease, OwnerLimits, OwnerTasks, TaskClass, TaskKind, TaskState, VirtualTime},
    error::TranscodeError,
};

/// A worker's request for a task.
#[derive(Clone, Copy)]
pub(crate) struct LeaseRequest<'a> {
    pub(crate) class: TaskClass,
    pub(crate) worker: &'a str,
    pub(crate) encoder_build: &'a str,
    pub(crate) nonce: &'a str,
    pub(crate) lease_ttl_ms: i64,
}

/// A task that was queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueuedTask {
    pub(crate) class: TaskClass,
    /// Encoder build that must run it; empty for any.
    pub(crate) required_build: String,
}

#[cfg(test)]
impl Db {
    /// Adds copies of the first task, of many owners, in each state.
    pub(super) async fn multiply_tasks(&self, count: usize) {
        let first = task::Entity::find().one(&self.connection).await.unwrap().unwrap();
        for batch in 0..count / 1000 {
            let rows = (0..1000).map(|index| {
                let number = batch * 1000 + index;
                let states = [TaskState::Queued, TaskState::Waiting, TaskState::Succeeded, TaskState::Queued];
                let row = TaskRow {
                    id: format!("t{number}"),
                    owner: format!("owner{}", number % 1000),
                    state: states[number % states.len()],
                    class: TaskClass::ALL[number % TaskClass::ALL.len()],
                    required_build: if number % 3 == 0 { String::new() } else { "any build".to_owned() },
                    virtual_start: number as i64,
                    ..first.clone()
                };
                sea_orm::ActiveModelTrait::reset_all(sea_orm::IntoActiveModel::into_active_model(row))
            });
            task::Entity::insert_many(rows).exec_without_returning(&self.connection).await.unwrap();
        }
        self.connection.execute_unprepared("ANALYZE").await.unwrap();
    }

    /// The database's plan of the statement that leases a task.
    pub(super) async fn explain_lease(&self, request: LeaseRequest<'_>) -> String {
        let explain = match self.connection.get_database_backend() {
            sea_orm::DbBackend::Sqlite => "EXPLAIN QUERY PLAN ",
            _ => "EXPLAIN ",
        };
        let statement =
            self.statement(&format!("{explain}{}", self.dispatch_sql.lease), self.lease_values(request));
        let column = match self.connection.get_database_backend() {
            sea_orm::DbBackend::Sqlite => "detail",
            _ => "QUERY PLAN",
        };
        let rows = self.connection.query_all_raw(statement).await.unwrap();
        let lines: Vec<String> = rows.iter().map(|row| row.try_get("", column).unwrap()).collect();
        lines.join("\n")
    }
}

impl Db {
    fn statement(&self, sql: &str, values: Vec<Value>) -> Statement {
        Statement::from_sql_and_values(self.connection.get_database_backend(), sql, values)
    }

    /// Leases the queued task of a class that is next and that the worker can run.
    pub(crate) async fn lease(&self, request: LeaseRequest<'_>) -> Result<Option<TaskRow>, TranscodeError> {
        let statement = self.statement(&self.dispatch_sql.lease, self.lease_values(request));
        Ok(task::Entity::find().from_raw_sql(statement).one(&self.lease_connection).await?)
    }

    fn lease_values(&self, request: LeaseRequest<'_>) -> Vec<Value> {
        vec![
            self.statement_time().into(),
            request.lease_ttl_ms.into(),
            request.worker.into(),
            request.encoder_build.into(),
            request.nonce.into(),
            text(request.class),
        ]
    }

    /// Renews a lease; none if it was lost.
    pub(crate) async fn renew(
        &self,
        task: &str,
        lease: Lease,
        ttl_ms: i64,
    ) -> Result<Option<TaskRow>, TranscodeError> {
        let values =
            vec![self.statement_time().into(), ttl_ms.into(), task.into(), lease.fencing_token.into()];
        let statement = self.statement(&self.dispatch_sql.renew, values);
        Ok(task::Entity::find().from_raw_sql(statement).one(&self.lease_connection).await?)
    }

    /// Shortens a lease to `ttl_ms` from now, unless it was renewed since it expired at `expire_time`; returns whether it
    /// was shortened.
    pub(crate) async fn shorten(
        &self,
        task: &str,
        lease: Lease,
        expire_time: i64,
        ttl_ms: i64,
    ) -> Result<bool, TranscodeError> {
        let values = vec![
            self.statement_time().into(),
            ttl_ms.into(),
            task.into(),
            lease.fencing_token.into(),
            expire_time.into(),
        ];
        let statement = self.statement(&self.dispatch_sql.shorten, values);
        Ok(self.lease_connection.execute_raw(statement).await?.rows_affected() > 0)
    }

    /// Ends the retry delays that are over; returns the owners of the tasks.
    pub(crate) async fn end_retry_delays(&self) -> Result<Vec<String>, TranscodeError> {
        self.end_delays(&self.dispatch_sql.end_delays_over, self.statement_time().into()).await
    }

    /// Ends the delays of tasks that require an encoder build, which a worker has again; returns their owners.
    pub(crate) async fn end_delays_of_build(&self, build: &str) -> Result<Vec<String>, TranscodeError> {
        self.end_delays(&self.dispatch_sql.end_delays_of_build, build.into()).await
    }

    async fn end_delays(&self, sql: &str, value: Value) -> Result<Vec<String>, TranscodeError> {
        let statement = self.statement(sql, vec![value]);
        let rows = self.connection.query_all_raw(statement).await?;
        let owners: Result<Vec<String>, DbErr> = rows.iter().map(|row| row.try_get("", "owner")).collect();
        let mut owners = owners?;
        owners.sort();
        owners.dedup();
        Ok(owners)
    }

    /// The first owner after `after`, by name, with tasks that wait to be queued.
    pub(crate) async fn next_waiting_owner(&self, after: &str) -> Result<Option<String>, TranscodeError> {
        let first_of = async |state: TaskState| -> Result<Option<String>, DbErr> {
            let waiting = task::Entity::find()
                .select_only()
                .column(task::Column::Owner)
                .filter(task::Column::State.eq(state))
                .filter(task::Column::ReadyTime.eq(0))
                .filter(task::Column::Owner.gt(after));
            sea_orm::QueryOrder::order_by_asc(waiting, task::Column::Owner)
                .limit(1)
                .into_tuple()
                .one(&self.connection)
                .await
        };
        let (held, waiting) = (first_of(TaskState::Held).await?, first_of(TaskState::Waiting).await?);
        Ok(held.into_iter().chain(waiting).min())
    }

    /// Queues waiting tasks of an owner, as many as `limits` allow.
    pub(crate) async fn queue_tasks(
        &self,
        owner: &str,
        limits: OwnerLimits,
    ) -> Result<Vec<QueuedTask>, TranscodeError> {
        let classes = self.classes_to_queue(owner, limits).await?;
        if classes.is_empty() {
            return Ok(Vec::new());
        }
        let transaction = self.connection.begin().await?;
        let mut all_queued = Vec::new();
        for class in classes {
            let mut queued = Vec::new();
            let finish = lock_share(&transaction, owner, class).await?;
            let tasks = owner_tasks(&transaction, owner, class).await?;
            let first_start = virtual_time(&transaction, class).await?.next_start(finish);
            let count = limits.tasks_to_queue(tasks);
            let mut next_start = first_start;
            for state in [TaskState::Waiting, TaskState::Held] {
                let tasks_left = count - i64::try_from(queued.len()).unwrap_or(count);
                let count = match state {
                    TaskState::Held => limits.jobs_to_start(tasks, tasks_left),
                    _ => tasks_left,
                };
                if count <= 0 {
                    continue;
                }
                let values = vec![owner.into(), text(class), text(state), count.into(), next_start.into()];
                let rows =
                    transaction.query_all_raw(self.statement(&self.dispatch_sql.queue, values)).await?;
                for row in rows {
                    next_start = next_start.max(row.try_get("", "virtual_finish")?);
                    queued.push(QueuedTask { class, required_build: row.try_get("", "required_build")? });
                }
            }
            if next_start > first_start {
                save_share(&transaction, owner, class, next_start).await?;
            }
            all_queued.extend(queued);
        }
        transaction.commit().await?;
        Ok(all_queued)
    }

    /// Queued tasks, at most `limit`, in no order.
    pub(crate) async fn queued_tasks(&self, limit: u64) -> Result<Vec<QueuedTask>, TranscodeError> {
        let queued: Vec<(TaskClass, String)> = task::Entity::find()
            .select_only()
            .columns([task::Column::Class, task::Column::RequiredBuild])
            .filter(task::Column::State.eq(TaskState::Queued))
            .limit(limit)
            .into_tuple()
            .all(&self.connection)
            .await?;
        let queued = queued.into_iter().map(|(class, required_build)| QueuedTask { class, required_build });
        Ok(queued.collect())
    }

    /// Lets the queued tasks of an owner wait again, so that they are queued in the order that their priorities now have.
    pub(crate) async fn unqueue_tasks(&self, owner: &str) -> Result<(), TranscodeError> {
        let transaction = self.connection.begin().await?;
        for class in TaskClass::ALL {
            lock_share(&transaction, owner, class).await?;
            let statement = self.statement(&self.dispatch_sql.unqueue, vec![owner.into(), text(class)]);
            let mut first: Option<i64> = None;
            for row in transaction.query_all_raw(statement).await? {
                let start: i64 = row.try_get("", "virtual_start")?;
                first = Some(first.map_or(start, |first| first.min(start)));
            }
            let Some(first) = first else { continue };
            save_share(&transaction, owner, class, first).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// The classes in which the owner has waiting tasks, and few queued ones.
    async fn classes_to_queue(
        &self,
        owner: &str,
        limits: OwnerLimits,
    ) -> Result<Vec<TaskClass>, TranscodeError> {
        let mut classes = Vec::new();
        for class in TaskClass::ALL {
            let ids = |states: &[TaskState], limit: i64| {
                task::Entity::find()
                    .select_only()
                    .column(task::Column::Id)
                    .filter(task::Column::State.is_in(states.iter().copied()))
                    .filter(task::Column::Owner.eq(owner))
                    .filter(task::Column::Class.eq(class))
                    .filter(task::Column::ReadyTime.eq(0))
                    .limit(u64::try_from(limit).unwrap_or(0))
                    .into_tuple::<String>()
            };
            let waiting = ids(&[TaskState::Waiting, TaskState::Held], 1).one(&self.connection).await?;
            if waiting.is_none() {
                continue;
            }
            let queued = ids(&[TaskState::Queued], limits.queued).all(&self.connection).await?;
            if limits.has_few_queued(i64::try_from(queued.len()).unwrap_or(i64::MAX)) {
                classes.push(class);
            }
        }
        Ok(classes)
    }
}

/// The stored text of a class or state.
fn text(value: impl sea_orm::ActiveEnum<Value = String>) -> Value {
    value.to_value().into()
}

/// Locks an owner's share of a class; returns when the owner's last task finishes, in virtual time.
async fn lock_share(
    transaction: &DatabaseTransaction,
    owner: &str,
    class: TaskClass,
) -> Result<i64, TranscodeError> {
    let new = owner_share::ActiveModel {
        owner: sea_orm::Set(owner.to_owned()),
        class: sea_orm::Set(class),
        virtual_finish: sea_orm::Set(0),
    };
    owner_share::Entity::insert(new)
        .on_conflict(
            OnConflict::columns([owner_share::Column::Owner, owner_share::Column::Class])
                .do_nothing()
                .to_owned(),
        )
        .exec_without_returning(transaction)
        .await?;
    let share = owner_share::Entity::find_by_id((owner.to_owned(), class)).lock_exclusive();
    Ok(share.one(transaction).await?.map_or(0, |share| share.virtual_finish))
}

async fn save_share(
    transaction: &DatabaseTransaction,
    owner: &str,
    class: TaskClass,
    virtual_finish: i64,
) -> Result<(), TranscodeError> {
    owner_share::Entity::update_many()
        .col_expr(owner_share::Column::VirtualFinish, Expr::value(virtual_finish))
        .filter(owner_share::Column::Owner.eq(owner))
        .filter(owner_share::Column::Class.eq(class))
        .exec(transaction)
        .await?;
    Ok(())
}

/// State, class, kind and job of a queued or running task.
type ActiveTask = (TaskState, TaskClass, TaskKind, String);

/// What an owner has queued and running.
async fn owner_tasks(
    transaction: &DatabaseTransaction,
    owner: &str,
    class: TaskClass,
) -> Result<OwnerTasks, TranscodeError> {
    let active: Vec<ActiveTask> = task::Entity::find()
        .select_only()
        .columns([task::Column::State, task::Column::Class, task::Column::Kind])
        .column(task::Column::JobId)
        .filter(task::Column::State.is_in([TaskState::Queued, TaskState::Running]))
        .filter(task::Column::Owner.eq(owner))
        .into_tuple()
        .all(transaction)
        .await?;
    let running_jobs = job::Entity::find()
        .select_only()
        .column(job::Column::Id)
        .filter(job::Column::Owner.eq(owner))
        .filter(job::Column::State.eq(JobState::Running));
    let running_jobs: Vec<String> = running_jobs.into_tuple().all(transaction).await?;
    let count = |selected: &dyn Fn(&ActiveTask) -> bool| {
        i64::try_from(active.iter().filter(|task| selected(task)).count()).unwrap_or(i64::MAX)
    };
    // Also one that was leased just now, while its job is not RUNNING yet.
    let starts_job =
        |(_, _, kind, job): &ActiveTask| *kind == TaskKind::Prepare && !running_jobs.contains(job);
    Ok(OwnerTasks {
        queued: count(&|(state, of_class, ..)| *state == TaskState::Queued && *of_class == class),
        active: count(&|_| true),
        started_jobs: i64::try_from(running_jobs.len()).unwrap_or(i64::MAX) + count(&starts_job),
    })
}

/// The virtual time of a class.
async fn virtual_time(
    transaction: &DatabaseTransaction,
    class: TaskClass,
) -> Result<VirtualTime, TranscodeError> {
    let of_state = |state: TaskState| {
        task::Entity::find()
            .select_only()
            .filter(task::Column::State.eq(state))
            .filter(task::Column::Class.eq(class))
    };
    let running = of_state(TaskState::Running).column_as(task::Column::VirtualStart.max(), "time");
    let queued = of_state(TaskState::Queued).column_as(task::Column::VirtualStart.min(), "time");
    let finish = owner_share::Entity::find()
        .select_only()
        .column_as(owner_share::Column::VirtualFinish.max(), "time")
        .filter(owner_share::Column::Class.eq(class));
    Ok(VirtualTime {
        running: running.into_tuple::<Option<i64>>().one(transaction).await?.flatten(),
        queued: queued.into_tuple::<Option<i64>>().one(transaction).await?.flatten(),
        finish: finish.into_tuple::<Option<i64>>().one(transaction).await?.flatten(),
    })
}
