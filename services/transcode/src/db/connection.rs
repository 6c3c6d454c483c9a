//! The connection that all queries use, and the key of most of them.

use std::sync::Arc;

use reelmill_platform::clock::Clock;
use sea_orm::{DatabaseConnection, DbBackend};

use super::{dispatch_sql::DispatchSql, entity::JobRow};

/// Queries of the transcode role's database.
#[derive(Clone)]
pub(crate) struct Db {
    pub(super) connection: DatabaseConnection,
    /// For leases: their renewal does not wait for a connection that other statements occupy.
    pub(super) lease_connection: DatabaseConnection,
    pub(super) dispatch_sql: Arc<DispatchSql>,
    clock: Clock,
}

impl Db {
    pub(crate) fn new(
        connection: DatabaseConnection,
        lease_connection: DatabaseConnection,
        clock: Clock,
    ) -> Self {
        let dispatch_sql = DispatchSql::of(connection.get_database_backend());
        Self { connection, lease_connection, dispatch_sql, clock }
    }

    /// The time of a statement, Unix milliseconds; none if the database's own is used.
    pub(super) fn statement_time(&self) -> Option<i64> {
        let uses_own = self.connection.get_database_backend() != DbBackend::Sqlite && !self.clock.is_manual();
        (!uses_own).then(|| self.clock.now_millis())
    }
}

/// One start of a job: tasks, plan and outputs belong to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Generation {
    pub(crate) job: String,
    pub(crate) number: i32,
}

impl Generation {
    /// The current generation of a job.
    pub(crate) fn of(job: &JobRow) -> Self {
        Self { job: job.id.clone(), number: job.generation }
    }
}
