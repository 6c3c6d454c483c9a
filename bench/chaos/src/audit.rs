//! What the databases and the object store say after a run: chunks that were completed twice, second jobs, and what is left.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use crate::servers::Servers;

/// A trigger that records each completion of a task.
const TRIGGER: &str = "
    CREATE TABLE chaos_completions (job_id text, task_index int, generation int, kind text, token bigint);
    CREATE FUNCTION chaos_complete() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO chaos_completions
        VALUES (NEW.job_id, NEW.task_index, NEW.generation, NEW.kind, NEW.fencing_token);
        RETURN NEW;
    END $$;
    CREATE TRIGGER chaos_completions AFTER UPDATE ON tasks FOR EACH ROW
    WHEN (NEW.state = 'SUCCEEDED' AND OLD.state <> 'SUCCEEDED') EXECUTE FUNCTION chaos_complete();";
/// Time in which everything that was deleted must be gone.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(90);

/// Tables that are empty when all videos are gone.
const TABLES: [(&str, &[&str]); 2] = [
    (
        "transcode",
        &[
            "jobs",
            "job_renditions",
            "job_warnings",
            "tasks",
            "plans",
            "outputs",
            "segment_parts",
            "manifests",
        ],
    ),
    ("upload", &["uploads", "claimed_parts", "videos", "video_renditions", "video_warnings"]),
];

/// Installs the trigger.
pub async fn install(servers: &Servers) -> Result<()> {
    servers.postgres.execute("transcode", TRIGGER).await
}

/// Chunks that were encoded more than once after they had been completed.
pub async fn completed_twice(servers: &Servers) -> Result<Vec<String>> {
    let sql = "SELECT job_id, task_index, count(*) FROM chaos_completions WHERE kind = 'ENCODE'
               GROUP BY job_id, task_index HAVING count(*) > 1";
    servers.postgres.query("transcode", sql).await
}

/// Videos with more than one job.
pub async fn videos_with_several_jobs(servers: &Servers) -> Result<Vec<String>> {
    let sql = "SELECT video, count(*) FROM jobs GROUP BY video HAVING count(*) > 1";
    servers.postgres.query("transcode", sql).await
}

/// Moves the last cleanups forward, which are due after up to an hour, and waits until they have happened.
pub async fn clean_up_now(servers: &Servers) -> Result<()> {
    let deadline = Instant::now() + CLEANUP_TIMEOUT;
    loop {
        move_cleanups_forward(servers).await?;
        let sql = "SELECT count(*) FROM jobs WHERE cleanup_time IS NOT NULL";
        let due = servers.postgres.query("transcode", sql).await?;
        if due == ["0"] || Instant::now() > deadline {
            return Ok(());
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// As if a job had ended, and a video had been deleted, more than an hour earlier.
async fn move_cleanups_forward(servers: &Servers) -> Result<()> {
    let is_due_later = "cleanup_time > extract(epoch FROM now()) * 1000";
    let jobs = format!(
        "UPDATE jobs SET end_time = end_time - 4000000, cleanup_time = end_time - 2000000 WHERE {is_due_later}"
    );
    let videos = format!(
        "UPDATE videos SET delete_time = delete_time - 4000000, cleanup_time = delete_time - 200000
         WHERE delete_time IS NOT NULL AND {is_due_later}"
    );
    servers.postgres.execute("transcode", &jobs).await?;
    servers.postgres.execute("upload", &videos).await
}

/// What is left a while after all videos were deleted: objects, jobs and tasks.
pub async fn leftovers(servers: &Servers) -> Result<Vec<String>> {
    let mut before = Vec::new();
    let mut deadline = Instant::now() + CLEANUP_TIMEOUT;
    loop {
        move_cleanups_forward(servers).await?;
        let mut left = servers.object_keys().await?;
        for (database, tables) in TABLES {
            for table in tables {
                let sql = format!("SELECT count(*) FROM {table}");
                let rows = servers.postgres.query(database, &sql).await?;
                let rows = rows.into_iter().filter(|count| count != "0");
                left.extend(rows.map(|count| format!("{count} rows of {database}.{table}")));
            }
        }
        if left != before {
            // After hours of use there are thousands of videos.
            deadline = Instant::now() + CLEANUP_TIMEOUT;
            before.clone_from(&left);
        }
        if left.is_empty() || Instant::now() > deadline {
            return Ok(left);
        }
        sleep(Duration::from_secs(1)).await;
    }
}
