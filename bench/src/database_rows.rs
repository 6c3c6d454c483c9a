//! SQL that fills a dispatcher's database with copies of one planned job: finished jobs without anything else, and running
//! jobs of which one task waits. Another task counts as unfinished, so that completing the one does not finish the job.

use anyhow::Context as _;
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection};
use serde_json::json;

const OWNERS: u32 = 1000;

/// The rows to insert.
pub struct Rows<'a> {
    /// Id of the job that is copied, and removed.
    pub template: &'a str,
    pub finished: u32,
    pub waiting: u32,
    /// State of the jobs of the waiting tasks.
    pub waiting_state: &'a str,
    /// Encoder build that the waiting tasks require; empty for any.
    pub required_build: &'a str,
}

/// Copies of the rows of one table. Columns are copied from the row `t` of the template, or replaced by SQL in which `n` is
/// the number of the copy.
struct Copies {
    table: &'static str,
    changes: Vec<(&'static str, String)>,
    count: u32,
    condition: String,
}

impl Rows<'_> {
    fn copies(&self) -> Vec<Copies> {
        let &Self { template, finished, waiting, waiting_state, required_build } = self;
        let sql = str::to_owned;
        let job = |id: &str, state: &str, end_time: &str| {
            vec![
                ("id", sql(id)),
                ("request_id", sql(id)),
                ("video", sql("'videos/' || n")),
                ("owner", format!("'owner' || (n % {OWNERS})")),
                ("state", sql(state)),
                ("shard", sql("n % 64")),
                // Not a change that watchers have missed.
                ("revision", sql("0")),
                ("unpublished_since", sql("NULL")),
                ("cleanup_time", sql("NULL")),
                ("end_time", sql(end_time)),
            ]
        };
        let task = vec![
            ("id", sql("'w' || n || 'g0t1'")),
            ("job_id", sql("'w' || n")),
            ("owner", format!("'owner' || (n % {OWNERS})")),
            ("state", sql("'WAITING'")),
            ("start_nonce", sql("NULL")),
            ("fencing_token", sql("0")),
            ("lease_expire_time", sql("0")),
            ("virtual_start", sql("0")),
            ("class", sql("'BULK'")),
            ("required_build", format!("'{required_build}'")),
        ];
        let unfinished = vec![
            ("id", sql("'w' || n || 'g0t0'")),
            ("job_id", sql("'w' || n")),
            ("state", sql("'CANCELLED'")),
            ("start_nonce", sql("NULL")),
        ];
        let is_template = format!("t.id = '{template}'");
        let of_template = |index: u32| format!("t.job_id = '{template}' AND t.task_index = {index}");
        let copies = |table, changes, count, condition| Copies { table, changes, count, condition };
        vec![
            copies("jobs", job("'f' || n", "'SUCCEEDED'", "n"), finished, is_template.clone()),
            copies("jobs", job("'w' || n", &format!("'{waiting_state}'"), "NULL"), waiting, is_template),
            copies("plans", vec![("job_id", sql("'w' || n"))], waiting, format!("t.job_id = '{template}'")),
            copies("tasks", task, waiting, of_template(1)),
            copies("tasks", unfinished, waiting, of_template(0)),
        ]
    }

    /// What follows the copies.
    fn last_statements(&self) -> Vec<String> {
        let template = self.template;
        vec![
            format!("DELETE FROM tasks WHERE job_id = '{template}'"),
            format!("DELETE FROM jobs WHERE id = '{template}'"),
        ]
    }

    /// The statements for Postgres.
    pub fn postgres(&self) -> String {
        let copy = |Copies { table, changes, count, condition }: Copies| {
            let changes: serde_json::Map<_, _> =
                changes.into_iter().map(|(column, sql)| (column.to_owned(), json!(sql))).collect();
            format!(
                "DO $copy$ BEGIN EXECUTE (SELECT 'INSERT INTO {table} SELECT ' || string_agg(COALESCE(
                     $json${changes}$json$::jsonb ->> column_name, 't.' || quote_ident(column_name)), ', '
                     ORDER BY ordinal_position)
                     || $sql$ FROM {table} t, generate_series(1, {count}) n WHERE {condition}$sql$
                 FROM information_schema.columns WHERE table_name = '{table}'); END $copy$",
                changes = serde_json::Value::Object(changes)
            )
        };
        // Indexes are built at the end, which is faster.
        let saved = "CREATE TEMP TABLE saved AS SELECT indexname, indexdef FROM pg_indexes
             WHERE tablename IN ('jobs', 'tasks') AND indexname LIKE ANY ('{jobs_by_%,tasks_by_%}');
             SET maintenance_work_mem = '256MB';
             DO $$ DECLARE i record; BEGIN FOR i IN SELECT * FROM saved LOOP EXECUTE 'DROP INDEX ' || i.indexname;
             END LOOP; END $$";
        let restored = "DO $$ DECLARE i record; BEGIN FOR i IN SELECT * FROM saved LOOP EXECUTE i.indexdef; END LOOP; END $$";
        let mut statements = vec![saved.to_owned()];
        statements.extend(self.copies().into_iter().map(copy));
        statements.extend(self.last_statements());
        statements.extend([restored.to_owned(), "ANALYZE".to_owned()]);
        statements.join(";\n")
    }

    /// Fills a database of SQLite.
    pub async fn insert_into_sqlite(&self, url: &str) -> anyhow::Result<()> {
        let connection = Database::connect(url).await?;
        for Copies { table, changes, count, condition } in self.copies() {
            let changed =
                |column: &str| changes.iter().find(|(name, _)| *name == column).map(|(_, sql)| sql.clone());
            let columns = columns(&connection, table).await?;
            let values: Vec<_> = columns
                .iter()
                .map(|column| changed(column).unwrap_or_else(|| format!("t.\"{column}\"")))
                .collect();
            let statement = format!(
                "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})
                 INSERT INTO {table} (\"{}\") SELECT {} FROM numbers, {table} t WHERE {condition}",
                columns.join("\", \""),
                values.join(", ")
            );
            connection.execute_unprepared(&statement).await?;
        }
        for statement in self.last_statements() {
            connection.execute_unprepared(&statement).await?;
        }
        connection.execute_unprepared("ANALYZE").await?;
        connection.close().await?;
        Ok(())
    }
}

async fn columns(connection: &DatabaseConnection, table: &str) -> anyhow::Result<Vec<String>> {
    let sql = format!("SELECT name FROM pragma_table_info('{table}')");
    let statement = sea_orm::Statement::from_string(connection.get_database_backend(), sql);
    let rows = connection.query_all_raw(statement).await?;
    let names = rows.iter().map(|row| row.try_get_by_index(0));
    let names: Vec<String> = names.collect::<Result<_, _>>().context("names of the columns")?;
    Ok(names)
}
