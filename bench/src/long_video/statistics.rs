//! What the role does with its database, from Postgres's statistics.

use std::time::Instant;

use anyhow::Context as _;
use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, Statement, TryGetable};

/// Postgres role of the queries that measure: their statements are left out.
pub(super) const MEASURING_ROLE: &str = "bench";

/// Rows that belong to the job.
#[derive(Clone, Copy, Default)]
pub(super) struct JobRows {
    pub(super) rows: f64,
    /// Size of their columns as stored, bytes.
    pub(super) bytes: f64,
}

/// Counters of the role's use of the database.
pub(super) struct Counters {
    time: Instant,
    /// Without BEGIN, COMMIT and ROLLBACK.
    pub(super) statements: f64,
    pub(super) transactions: f64,
    /// Position in the WAL.
    pub(super) wal_bytes: f64,
}

/// Difference of two [`Counters`].
pub(super) struct Used {
    pub(super) seconds: f64,
    pub(super) statements: f64,
    pub(super) wal_bytes: f64,
}

impl Counters {
    pub(super) fn since(&self, before: &Self) -> Used {
        Used {
            seconds: self.time.duration_since(before.time).as_secs_f64(),
            statements: self.statements - before.statements,
            wal_bytes: self.wal_bytes - before.wal_bytes,
        }
    }
}

/// Queries of Postgres's statistics.
pub(super) struct Statistics {
    connection: DatabaseConnection,
    /// Counts the rows of all tables that belong to jobs, and their bytes.
    rows_sql: String,
}

impl Statistics {
    pub(super) async fn connect(url: &str) -> anyhow::Result<Self> {
        let authority = url.split_once('@').context("a URL without a user")?.1;
        let mut options = ConnectOptions::new(format!("postgres://{MEASURING_ROLE}@{authority}"));
        options.max_connections(1);
        let connection = Database::connect(options).await?;
        let tables_sql = "SELECT string_agg(format(
                 'SELECT COUNT(*) AS rows, SUM(%s) AS bytes FROM %I', bytes, table_name), ' UNION ALL ')
             FROM (SELECT table_name, string_agg(format('COALESCE(pg_column_size(%I), 0)', column_name), ' + ') AS bytes
                   FROM information_schema.columns WHERE table_schema = 'public' GROUP BY table_name
                   HAVING table_name = 'jobs' OR bool_or(column_name = 'job_id')) AS tables";
        let tables: String = value(&connection, tables_sql).await?;
        let rows_sql =
            format!("SELECT SUM(rows)::float8, COALESCE(SUM(bytes), 0)::float8 FROM ({tables}) AS tables");
        Ok(Self { connection, rows_sql })
    }

    pub(super) async fn counters(&self) -> anyhow::Result<Counters> {
        let statements = format!(
            "SELECT COALESCE(SUM(calls), 0)::float8 FROM pg_stat_statements
             WHERE userid <> '{MEASURING_ROLE}'::regrole AND query !~* '^(BEGIN|COMMIT|ROLLBACK)'
               AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
        );
        let position = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8";
        Ok(Counters {
            time: Instant::now(),
            statements: value(&self.connection, &statements).await?,
            transactions: self.transactions().await?,
            wal_bytes: value(&self.connection, position).await?,
        })
    }

    /// Committed transactions without those that measure. A connection reports its own with some delay.
    pub(super) async fn transactions(&self) -> anyhow::Result<f64> {
        let sql = format!(
            "SELECT (xact_commit - (SELECT COALESCE(SUM(calls), 0) FROM pg_stat_statements
                 WHERE userid = '{MEASURING_ROLE}'::regrole))::float8
             FROM pg_stat_database WHERE datname = current_database()"
        );
        value(&self.connection, &sql).await
    }

    pub(super) async fn job_rows(&self) -> anyhow::Result<JobRows> {
        let row = query(&self.connection, &self.rows_sql).await?;
        Ok(JobRows { rows: row.try_get_by_index(0)?, bytes: row.try_get_by_index(1)? })
    }

    /// Size of all tables with their indexes.
    pub(super) async fn table_bytes(&self) -> anyhow::Result<f64> {
        let sql = "SELECT SUM(pg_total_relation_size(oid))::float8 FROM pg_class
             WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
        value(&self.connection, sql).await
    }
}

async fn query(connection: &DatabaseConnection, sql: &str) -> anyhow::Result<sea_orm::QueryResult> {
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    connection.query_one_raw(statement).await?.context("no row")
}

async fn value<T: TryGetable>(connection: &DatabaseConnection, sql: &str) -> anyhow::Result<T> {
    Ok(query(connection, sql).await?.try_get_by_index(0)?)
}
