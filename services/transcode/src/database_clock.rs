//! The time of the database's server. All processes of the role use it, so that the clock of one host does not matter.

use std::time::Duration;

use reelmill_platform::clock::Clock;
use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, DbErr, Statement};

/// Interval between two readings.
const READ_INTERVAL: Duration = Duration::from_secs(10);

/// Follows the database's clock.
#[derive(Clone)]
pub(crate) struct DatabaseClock {
    pub(crate) connection: DatabaseConnection,
    pub(crate) clock: Clock,
}

/// The clock of the role: `own` on SQLite, whose only process this is, and in tests that set the time; otherwise one that
/// follows the database's.
pub(crate) async fn database_clock(connection: &DatabaseConnection, own: Clock) -> Result<Clock, DbErr> {
    if own.is_manual() || connection.get_database_backend() == DbBackend::Sqlite {
        return Ok(own);
    }
    Ok(Clock::following(read(connection).await?))
}

impl DatabaseClock {
    /// Reads the database's clock again and again.
    pub(crate) async fn run(&self) {
        if self.connection.get_database_backend() == DbBackend::Sqlite {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(READ_INTERVAL).await;
            match read(&self.connection).await {
                Ok(millis) => self.clock.follow(millis),
                Err(error) => tracing::debug!(%error, "the database's clock could not be read"),
            }
        }
    }
}

async fn read(connection: &DatabaseConnection) -> Result<i64, DbErr> {
    let sql = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint) AS millis";
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let row = connection.query_one_raw(statement).await?;
    row.ok_or_else(|| DbErr::RecordNotFound("the time".to_owned()))?.try_get("", "millis")
}
