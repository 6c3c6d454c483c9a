//! The connection that all queries use, and the key of most of them.

use sea_orm::DatabaseConnection;

use super::entity::JobRow;

/// Queries of the transcode role's database.
#[derive(Clone)]
pub(crate) struct Db {
    pub(super) connection: DatabaseConnection,
}

impl Db {
    pub(crate) fn new(connection: DatabaseConnection) -> Self {
        Self { connection }
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
