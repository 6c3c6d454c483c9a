//! The SQL of the statements that queue, lease and renew tasks.

use std::sync::Arc;

use sea_orm::DbBackend;

/// The statements for one database.
pub(super) struct DispatchSql {
    pub(super) lease: String,
    pub(super) renew: String,
    pub(super) shorten: String,
    pub(super) queue: String,
    pub(super) end_delays_over: String,
    pub(super) end_delays_of_build: String,
    pub(super) unqueue: String,
}

impl DispatchSql {
    pub(super) fn of(backend: DbBackend) -> Arc<Self> {
        let (now, skip_locked) = match backend {
            // One process: its clock.
            DbBackend::Sqlite => ("$1", ""),
            // $1 is NULL except in tests, which set the time.
            _ => (
                "COALESCE($1, CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint))",
                "FOR UPDATE SKIP LOCKED",
            ),
        };
        let order = "virtual_start, job_priority, id";
        let startable =
            format!("state = 'QUEUED' AND class = $6 AND (excluded_worker <> $3 OR excluded_until <= {now})");
        let first = |build: &str| {
            format!(
                "SELECT * FROM (SELECT {order} FROM tasks
                 WHERE {startable} AND required_build = {build} ORDER BY {order} LIMIT 1 {skip_locked})"
            )
        };
        let (any, own) = (first("''"), first("$4"));
        let end_delays = |which: &str| {
            format!(
                "UPDATE tasks SET ready_time = 0
                 WHERE id IN (SELECT id FROM tasks WHERE state = 'WAITING' AND ready_time > 0
                                  AND {which} {skip_locked})
                 RETURNING owner"
            )
        };
        let waiting_order = "job_priority, stage, job_id, job_position, id";
        Self {
            // Tasks for any build and tasks for this build are two ranges of the index: the lesser of their heads is used.
            lease: format!(
                "UPDATE tasks SET state = 'RUNNING', fencing_token = fencing_token + 1,
                     lease_expire_time = {now} + $2, worker = $3, encoder_build = $4, start_nonce = $5
                 WHERE id = (SELECT id FROM ({any} AS a UNION ALL {own} AS b) AS heads ORDER BY {order} LIMIT 1)
                 AND state = 'QUEUED'
                 AND NOT EXISTS (SELECT 1 FROM dispatch_state WHERE paused)
                 AND NOT EXISTS (SELECT 1 FROM workers WHERE name = $3 AND draining)
                 RETURNING *"
            ),
            renew: format!(
                "UPDATE tasks SET lease_expire_time = {now} + $2
                 WHERE id = $3 AND fencing_token = $4 AND state = 'RUNNING' RETURNING *"
            ),
            shorten: format!(
                "UPDATE tasks SET lease_expire_time = {now} + $2
                 WHERE id = $3 AND fencing_token = $4 AND state = 'RUNNING' AND lease_expire_time = $5
                   AND {now} + $2 < lease_expire_time"
            ),
            queue: format!(
                "UPDATE tasks SET state = 'QUEUED', virtual_start = $5 + next.cost_before
                 FROM (SELECT id, CAST(COALESCE(SUM(cost) OVER (ORDER BY {waiting_order}
                           ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS bigint) AS cost_before
                       FROM (SELECT id, cost, job_priority, stage, job_id, job_position FROM tasks
                             WHERE state = $3 AND owner = $1 AND class = $2 AND ready_time = 0
                             ORDER BY {waiting_order} LIMIT $4 {skip_locked}) AS waiting) AS next
                 WHERE tasks.id = next.id AND tasks.state = $3
                 RETURNING tasks.required_build, tasks.virtual_start + tasks.cost AS virtual_finish"
            ),
            end_delays_over: end_delays(&format!("ready_time <= {now}")),
            end_delays_of_build: end_delays("required_build = $1"),
            unqueue: format!(
                "UPDATE tasks SET state = CASE WHEN kind = 'PREPARE' AND fencing_token = 0 AND job_id IN
                     (SELECT id FROM jobs WHERE owner = $1 AND state = 'QUEUED') THEN 'HELD' ELSE 'WAITING' END
                 WHERE id IN (SELECT id FROM tasks WHERE state = 'QUEUED' AND owner = $1 AND class = $2 {skip_locked})
                 AND state = 'QUEUED' RETURNING virtual_start"
            ),
        }
        .into()
    }
}
