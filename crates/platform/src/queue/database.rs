//! The embedded queue: a database table. A single statement claims messages, so no transaction is needed.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, QueryResult, Statement, Value};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use uuid::Uuid;

use super::{
    DEAD_LETTER_VISIBILITY, MAX_BATCH, MAX_DELAY, Message, Queue, QueueConfig, QueueDepth, QueueError,
    migration::Migrator,
};

/// Poll interval for messages sent by other processes. Those of this process wake receivers at once.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Wakes the receivers of this process, by queue URL: each role of the process opens the queue by itself.
static ARRIVALS: LazyLock<Mutex<HashMap<String, Weak<Notify>>>> = LazyLock::new(Mutex::default);

pub(super) struct DatabaseQueue {
    database: DatabaseConnection,
    sql: Sql,
    max_receives: i64,
    arrivals: Arc<Notify>,
}

impl DatabaseQueue {
    pub(super) async fn open(config: &QueueConfig) -> Result<Self, QueueError> {
        let database = crate::database::connect::<Migrator>(&config.url).await?;
        let sql = Sql::of(database.get_database_backend());
        let arrivals = arrivals_of(&config.url);
        Ok(Self { database, sql, max_receives: i64::from(config.max_receives), arrivals })
    }

    async fn execute(&self, sql: &str, values: Vec<Value>) -> Result<u64, DbErr> {
        let statement = Statement::from_sql_and_values(self.database.get_database_backend(), sql, values);
        Ok(self.database.execute_raw(statement).await?.rows_affected())
    }

    async fn query(&self, sql: &str, values: Vec<Value>) -> Result<Vec<QueryResult>, DbErr> {
        let statement = Statement::from_sql_and_values(self.database.get_database_backend(), sql, values);
        self.database.query_all_raw(statement).await
    }

    async fn move_to_dead_letters(&self) -> Result<(), DbErr> {
        self.execute(&self.sql.move_to_dead_letters, vec![self.max_receives.into()]).await.map(drop)
    }

    async fn claim(&self, dead: bool, max: usize, visibility: Duration) -> Result<Vec<Message>, DbErr> {
        self.move_to_dead_letters().await?;
        let nonce = Uuid::new_v4().simple().to_string();
        let limit = i64::try_from(max.min(MAX_BATCH)).unwrap_or(i64::MAX);
        let values =
            vec![nonce.clone().into(), millis(visibility).into(), i64::from(dead).into(), limit.into()];
        let mut rows = self
            .query(&self.sql.claim, values)
            .await?
            .into_iter()
            .map(|row| Ok((row.try_get::<i64>("", "id")?, row)))
            .collect::<Result<Vec<_>, DbErr>>()?;
        rows.sort_unstable_by_key(|(id, _)| *id);
        rows.into_iter().map(|(id, row)| message(id, &nonce, &row)).collect()
    }

    /// Time until the next hidden or delayed message becomes visible; `None` if there is none.
    async fn until_next(&self) -> Result<Option<Duration>, DbErr> {
        let rows = self.query(&self.sql.until_next, vec![]).await?;
        let wait: Option<i64> = rows.first().map(|row| row.try_get("", "wait")).transpose()?.flatten();
        Ok(wait.map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or(0))))
    }
}

#[async_trait]
impl Queue for DatabaseQueue {
    async fn send(&self, body: &str, delay: Duration) -> Result<(), QueueError> {
        self.execute(&self.sql.send, vec![body.into(), millis(delay.min(MAX_DELAY)).into()]).await?;
        self.arrivals.notify_waiters();
        Ok(())
    }

    async fn receive(
        &self,
        max: usize,
        visibility: Duration,
        wait: Duration,
    ) -> Result<Vec<Message>, QueueError> {
        let deadline = Instant::now() + wait;
        loop {
            // Register before the query, so that a message sent in between is not missed.
            let arrival = self.arrivals.notified();
            tokio::pin!(arrival);
            arrival.as_mut().enable();
            let messages = self.claim(false, max, visibility).await?;
            let left = deadline.saturating_duration_since(Instant::now());
            if !messages.is_empty() || left.is_zero() {
                return Ok(messages);
            }
            // At least one millisecond, because the database's clock may round down.
            let next = self.until_next().await?.unwrap_or(POLL_INTERVAL).max(Duration::from_millis(1));
            let _ = timeout(next.min(POLL_INTERVAL).min(left), arrival).await;
        }
    }

    async fn extend(&self, receipt: &str, visibility: Duration) -> Result<(), QueueError> {
        let (id, nonce) = parse(receipt).ok_or(QueueError::ReceiptStale)?;
        let values = vec![millis(visibility).into(), id.into(), nonce.into()];
        if self.execute(&self.sql.extend, values).await? == 0 {
            return Err(QueueError::ReceiptStale);
        }
        if visibility.is_zero() {
            self.arrivals.notify_waiters();
        }
        Ok(())
    }

    async fn delete(&self, receipt: &str) -> Result<(), QueueError> {
        if let Some((id, nonce)) = parse(receipt) {
            self.execute(&self.sql.delete, vec![id.into(), nonce.into()]).await?;
        }
        Ok(())
    }

    async fn dead_letters(&self, max: usize) -> Result<Vec<Message>, QueueError> {
        Ok(self.claim(true, max, DEAD_LETTER_VISIBILITY).await?)
    }

    async fn depth(&self) -> Result<QueueDepth, QueueError> {
        self.move_to_dead_letters().await?;
        let rows = self.query(&self.sql.depth, vec![]).await?;
        let mut depth = QueueDepth::default();
        for row in rows {
            let count: i64 = row.try_get("", "messages")?;
            let count = u64::try_from(count).unwrap_or(0);
            match row.try_get::<String>("", "place")?.as_str() {
                "dead" => depth.dead_letters = count,
                "visible" => depth.visible = count,
                _ => depth.hidden = count,
            }
        }
        Ok(depth)
    }
}

/// The statements for one database. Times are the database's, in Unix milliseconds, so that the clocks of senders and
/// receivers do not matter.
struct Sql {
    send: String,
    move_to_dead_letters: String,
    claim: String,
    until_next: String,
    extend: String,
    delete: String,
    depth: String,
}

impl Sql {
    fn of(backend: DbBackend) -> Self {
        let (now, skip_locked) = match backend {
            DbBackend::Sqlite => ("CAST(unixepoch('subsec') * 1000 AS INTEGER)", ""),
            _ => {
                ("CAST(extract(epoch FROM statement_timestamp()) * 1000 AS bigint)", "FOR UPDATE SKIP LOCKED")
            }
        };
        Self {
            send: format!(
                "INSERT INTO queue_messages (body, visible_at, receipt, receive_count, dead)
                 VALUES ($1, {now} + $2, '', 0, 0)"
            ),
            move_to_dead_letters: format!(
                "UPDATE queue_messages SET dead = 1
                 WHERE dead = 0 AND visible_at <= {now} AND receive_count >= $1"
            ),
            claim: format!(
                "UPDATE queue_messages
                 SET receipt = $1, visible_at = {now} + $2, receive_count = receive_count + 1
                 WHERE id IN (SELECT id FROM queue_messages WHERE dead = $3 AND visible_at <= {now}
                              ORDER BY visible_at, id LIMIT $4 {skip_locked})
                 RETURNING id, body, receive_count"
            ),
            until_next: format!("SELECT MIN(visible_at) - {now} AS wait FROM queue_messages WHERE dead = 0"),
            extend: format!(
                "UPDATE queue_messages SET visible_at = {now} + $1
                 WHERE id = $2 AND receipt = $3 AND visible_at > {now}"
            ),
            depth: format!(
                "SELECT place, COUNT(*) AS messages FROM (
                     SELECT CASE WHEN dead = 1 THEN 'dead' WHEN visible_at <= {now} THEN 'visible'
                                 ELSE 'hidden' END AS place FROM queue_messages) AS placed
                 GROUP BY place"
            ),
            delete: "DELETE FROM queue_messages WHERE id = $1 AND receipt = $2".to_owned(),
        }
    }
}

fn arrivals_of(url: &str) -> Arc<Notify> {
    let mut all = ARRIVALS.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|_, notify| notify.strong_count() > 0);
    if let Some(notify) = all.get(url).and_then(Weak::upgrade) {
        return notify;
    }
    let notify = Arc::new(Notify::new());
    all.insert(url.to_owned(), Arc::downgrade(&notify));
    notify
}

fn message(id: i64, nonce: &str, row: &QueryResult) -> Result<Message, DbErr> {
    let receive_count: i64 = row.try_get("", "receive_count")?;
    Ok(Message {
        body: row.try_get("", "body")?,
        receipt: format!("{id}.{nonce}"),
        receive_count: u32::try_from(receive_count).unwrap_or(u32::MAX),
    })
}

fn parse(receipt: &str) -> Option<(i64, &str)> {
    let (id, nonce) = receipt.split_once('.')?;
    Some((id.parse().ok()?, nonce))
}

fn millis(duration: Duration) -> i64 {
    // A cap that cannot overflow when it is added to the current time.
    const CENTURY: i64 = 100 * 365 * 24 * 60 * 60 * 1000;
    i64::try_from(duration.as_millis()).unwrap_or(CENTURY).min(CENTURY)
}
