//! A migrated database for tests.

use std::time::Duration;

use reelmill_platform::{clock::Clock, database::connect};
use reelmill_testkit::Postgres;

use super::{Db, migration::Migrator};

/// A migrated database that lasts as long as the value.
pub(crate) struct TestDb {
    pub(crate) db: Db,
    clock: Clock,
    _postgres: Option<Postgres>,
}

#[derive(Clone, Copy)]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
}

impl TestDb {
    /// Its time is `now`, Unix milliseconds, until it is advanced.
    pub(crate) async fn open(backend: Backend, now: i64) -> Self {
        let (url, postgres) = match backend {
            Backend::Sqlite => ("sqlite::memory:".to_owned(), None),
            Backend::Postgres => {
                let postgres = Postgres::start().await.unwrap();
                (postgres.create_database("transcode").await.unwrap(), Some(postgres))
            }
        };
        let connection = connect::<Migrator>(&url).await.unwrap();
        let clock = Clock::manual(now);
        Self { db: Db::new(connection.clone(), connection, clock.clone()), clock, _postgres: postgres }
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now_millis()
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}
